"""Publishes many events at a time: a request to Kafka costs hardly more with a hundred events than with one."""

from __future__ import annotations

from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any

from kafka.errors import KafkaTimeoutError

from .errors import Unavailable

__all__ = ["ENDED", "LINGER_MS", "Publisher"]

# For the producer: longer than it takes to hand over a batch, so that nothing leaves before flush() sends it whole.
LINGER_MS = 50
BATCH = 500
ENDED = "the thread that sends events to Kafka has ended"


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
            self._future = producer.send(
                topic, value=self._value, key=self._key, headers=self._headers
            )
        except Exception as error:  # noqa: BLE001  the request raises it
            self.error = error

    def settle(self, failure: Exception | None) -> None:
        """Let the request go on; it is told of the batch's failure unless it has an error of its own."""
        try:
            if self._future is None:
                self.error = self.error or failure or KafkaTimeoutError("it was not sent")
            elif not self._future.succeeded():
                self.error = (
                    self._future.exception or failure or KafkaTimeoutError("no answer in time")
                )
        except Exception as error:  # noqa: BLE001  the request raises it
            self.error = error
        finally:
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

    @property
    def alive(self) -> bool:
        """Whether the thread runs; nothing is sent without it."""
        return self._thread.is_alive()

    def publish(self, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> None:
        """Return once Kafka has acknowledged the event, or raise what kept it from that, a KafkaError as a rule."""
        if not self.alive:
            raise Unavailable(ENDED)
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
            failure: Exception | None = None
            try:
                for event in batch:
                    event.send(self._producer, self._topic)
                self._producer.flush(timeout=self._timeout)
            except Exception as error:  # noqa: BLE001  the requests raise it, and the thread goes on
                failure = error
            finally:
                for event in batch:
                    event.settle(failure)

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
