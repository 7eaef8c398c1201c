"""Publishes events in batches: a request to Kafka costs little more with many events."""

from __future__ import annotations

import time
from contextlib import suppress
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any

from kafka.errors import KafkaError, KafkaTimeoutError

from .errors import Unavailable

__all__ = ["ENDED", "LINGER_MS", "Publisher"]

# For the producer: longer than passing it a batch takes, so that flush() sends the batch whole.
LINGER_MS = 50
BATCH = 500
ENDED = "the thread that sends events to Kafka has ended"


class _Event:
    """An event, and the state of the request that waits for it."""

    def __init__(self, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> None:
        self._key = key
        self._value = value
        self._headers = headers
        self._future: Any = None
        self.abandoned = False
        self.error: Exception | None = None
        # A lock wakes a thread several times faster than a threading.Event.
        self.settled = Lock()
        self.settled.acquire()

    def send(self, producer: Any, topic: str) -> None:  # noqa: ANN401  kafka-python is untyped
        """Pass it to the producer, unless its request no longer waits."""
        if self.abandoned:
            return
        try:
            self._future = producer.send(
                topic, value=self._value, key=self._key, headers=self._headers
            )
        except Exception as error:  # noqa: BLE001  the request raises it
            self.error = error

    def settle(self, failure: Exception | None, deadline: float) -> None:
        """Wake the request once Kafka has answered, with the event's error if there is one.

        failure: what ended the batch; then no more answers come
        """
        try:
            if self._future is None:
                self.error = self.error or failure or KafkaTimeoutError("it was not sent")
            else:
                self._future.get(timeout=0 if failure else max(0, deadline - time.monotonic()))
        except KafkaTimeoutError:
            self.error = self._future.exception or failure or KafkaTimeoutError("no answer in time")
        except Exception as error:  # noqa: BLE001  the request raises it
            self.error = error
        finally:
            self.settled.release()


class Publisher:
    """A thread that sends the events that arrived during the last batch."""

    def __init__(self, producer: Any, topic: str, timeout: float) -> None:  # noqa: ANN401
        self._producer = producer
        self._topic = topic
        self._timeout = timeout
        self._waiting: SimpleQueue[_Event | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="publish", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def publish(self, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> None:
        """Return once Kafka has acknowledged the event, or raise its error, often a KafkaError."""
        if not self.alive:
            raise Unavailable(ENDED)
        event = _Event(key, value, headers)
        self._waiting.put(event)
        # The producer has the same timeout: one more second lets its error say why.
        if not event.settled.acquire(timeout=self._timeout + 1):
            event.abandoned = True
            raise KafkaTimeoutError("no answer in time")
        if event.error is not None:
            raise event.error

    def close(self) -> None:
        """Send the waiting events, then stop the thread."""
        self._waiting.put(None)
        self._thread.join(self._timeout)

    def _run(self) -> None:
        while batch := self._next():
            deadline = time.monotonic() + self._timeout
            failure: Exception | None = KafkaTimeoutError("it was not sent")
            try:
                for event in batch:
                    event.send(self._producer, self._topic)
                # Each event has its own error. This one may mean that Kafka found a batch too
                # large: the producer splits it, and the answers are still to come.
                with suppress(KafkaError):
                    self._producer.flush(timeout=self._timeout)
                failure = None
            except Exception as error:  # noqa: BLE001  the requests raise it
                failure = error
            finally:
                for event in batch:
                    event.settle(failure, deadline)

    def _next(self) -> list[_Event]:
        """Wait for events and return them; return nothing once closed."""
        batch: list[_Event] = []
        while event := self._waiting.get():
            batch.append(event)
            if len(batch) == BATCH or self._waiting.empty():
                return batch
        if batch:
            self._waiting.put(None)
        return batch
