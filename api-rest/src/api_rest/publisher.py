"""Publishes many events at a time: a request to Kafka costs hardly more with a hundred events than with one."""

from __future__ import annotations

from contextlib import suppress
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any

from kafka.errors import KafkaError, KafkaTimeoutError

__all__ = ["LINGER_MS", "Publisher"]

# For the producer: longer than it takes to hand over a batch, so that nothing leaves before flush() sends it whole.
LINGER_MS = 50
BATCH = 500


class _Event:
    """An event, and the request that waits for it."""

    def __init__(self, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> None:
        self._key = key
        self._value = value
        self._headers = headers
        self._future: Any = None
        self.given_up = False
        self.error: Exception | None = None
        # A bare lock: waking a thread by threading.Event costs several times as much.
        self.settled = Lock()
        self.settled.acquire()

    def send(self, producer: Any, topic: str) -> None:  # noqa: ANN401  kafka-python is untyped
        """Hand it to the producer, unless nobody waits any more."""
        if self.given_up:
            return
        try:
            self._future = producer.send(topic, value=self._value, key=self._key, headers=self._headers)
        except Exception as error:  # noqa: BLE001  the request raises it
            self.error = error

    def settle(self) -> None:
        """Let the request go on."""
        if self._future is not None and not self._future.succeeded():
            self.error = self._future.exception or KafkaTimeoutError("no answer in time")
        self.settled.release()


class Publisher:
    """A thread that sends what came together while the last batch was under way."""

    def __init__(self, producer: Any, topic: str, timeout: float) -> None:  # noqa: ANN401
        self._producer = producer
        self._topic = topic
        self._timeout = timeout
        self._waiting: SimpleQueue[_Event | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="publish", daemon=True)
        self._thread.start()

    def publish(self, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> None:
        """Return once Kafka has acknowledged the event, or raise what kept it from that, a KafkaError as a rule."""
        event = _Event(key, value, headers)
        self._waiting.put(event)
        # The producer gives up by itself; the extra second only lets it be the one to say why.
        if not event.settled.acquire(timeout=self._timeout + 1):
            event.given_up = True
            raise KafkaTimeoutError("no answer in time")
        if event.error is not None:
            raise event.error

    def close(self) -> None:
        """Send what waits, and end."""
        self._waiting.put(None)
        self._thread.join(self._timeout)

    def _run(self) -> None:
        while batch := self._next():
            for event in batch:
                event.send(self._producer, self._topic)
            with suppress(KafkaError):  # each event knows its own
                self._producer.flush(timeout=self._timeout)
            for event in batch:
                event.settle()

    def _next(self) -> list[_Event]:
        """Wait for an event and return it with those that came meanwhile; nothing once closed."""
        batch: list[_Event] = []
        while event := self._waiting.get():
            batch.append(event)
            if len(batch) == BATCH or self._waiting.empty():
                return batch
        if batch:
            self._waiting.put(None)
        return batch
