"""The loop: read a batch, store it, put aside what cannot be stored, and only then say it is done."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import structlog
from opentelemetry.trace import SpanKind

from .errors import Unavailable, Undecodable
from .event import Deployment, Heartbeat, Message, decode, decode_heartbeat, encode_heartbeat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ledger.tracing import Tracing

    from .health import Vitals
    from .metrics import Metrics
    from .store import Stored

__all__ = ["Broker", "Ledger", "Worker"]

log = structlog.stdlib.get_logger(__name__)

# How long one look for messages may take: also how late the worker notices that it was told to stop.
POLL_TIMEOUT = 0.5
BACKOFF_MAX = 10.0
# Headers of a message: which request it came by, and the trace it belongs to (W3C).
REQUEST_ID = "request-id"
TRACE_HEADERS = ("traceparent", "tracestate")


class Broker(Protocol):
    """What the worker needs of Kafka."""

    @property
    def joined(self) -> bool:
        """Whether this worker has its share of the partitions."""

    @property
    def delivering(self) -> bool:
        """Whether the last heartbeat reached Kafka."""

    def poll(self, timeout: float) -> list[Message]:
        """Return the next messages."""

    def progress(self) -> tuple[dict[int, int], dict[int, int], int]:
        """How far each partition is read, how much is left there, how many partitions are ours."""

    def commit(self, messages: Iterable[Message]) -> None:
        """Note that everything up to these messages is done."""

    def rewind(self, messages: Sequence[Message]) -> None:
        """Have these messages read again."""

    def hold(self) -> None:
        """Stop reading, stay in the group."""

    def release(self) -> None:
        """Read on."""

    def dead_letter(self, message: Message, error: Exception) -> None:
        """Put a message aside."""

    def heartbeat(self, value: bytes, key: bytes) -> None:
        """Send a heartbeat."""


class Ledger(Protocol):
    """What the worker needs of the database."""

    def add(self, rows: Sequence[Deployment]) -> Stored:
        """Store rows; tell which of them can never be stored."""

    def check(self) -> None:
        """Raise Unavailable unless rows can be stored."""


@dataclass
class Batch:
    """One poll's messages, sorted by what is to be done with them."""

    deployments: list[tuple[Message, Deployment]] = field(default_factory=list)
    heartbeats: list[Heartbeat] = field(default_factory=list)
    undecodable: list[tuple[Message, Exception]] = field(default_factory=list)

    @classmethod
    def of(cls, messages: Iterable[Message]) -> Batch:
        """Decode every message."""
        batch = cls()
        for message in messages:
            try:
                if message.is_heartbeat:
                    batch.heartbeats.append(decode_heartbeat(message.value))
                else:
                    batch.deployments.append((message, decode(message.value)))
            except Undecodable as error:
                batch.undecodable.append((message, error))
        return batch


class Worker:
    """Runs in the thread that owns the broker; other threads may read `vitals` only."""

    def __init__(  # noqa: PLR0913  what it works with, one by one
        self,
        broker: Broker,
        ledger: Ledger,
        vitals: Vitals,
        metrics: Metrics,
        tracing: Tracing,
        *,
        instance: str,
        heartbeat_interval: float,
        stopping: Callable[[], bool],
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        """Work until `stopping`; `ended` is called when a deployment has ended."""
        self._broker = broker
        self._ledger = ledger
        self._vitals = vitals
        self._metrics = metrics
        self._tracing = tracing
        self._instance = instance
        self._heartbeat_interval = heartbeat_interval
        self._stopping = stopping
        self._ended = ended
        self._next_heartbeat = time.monotonic()
        self._backoff = POLL_TIMEOUT

    def run(self) -> None:
        """Work until told to stop; the batch under way is finished first."""
        while not self._stopping():
            self.turn()

    def turn(self) -> None:
        """Read and process one batch, or wait for what is away."""
        self._pulse()
        messages: list[Message] = []
        try:
            messages = self._broker.poll(POLL_TIMEOUT)
            self._vitals.read(*self._broker.progress(), messages=len(messages))
            if messages:
                self._process(messages)
        except Unavailable as error:
            self._metrics.outages.inc()
            log.warning("waiting, nothing is lost", reason=str(error), seconds=self._backoff)
            self._broker.rewind(messages)
            self._wait_out()
        else:
            self._backoff = POLL_TIMEOUT

    def _process(self, messages: Sequence[Message]) -> None:
        began, began_ns = time.perf_counter(), time.time_ns()
        batch = Batch.of(messages)
        stored = self._ledger.add([row for _, row in batch.deployments])
        aside = sorted(
            batch.undecodable + _refused(batch, stored),
            key=lambda put: (put[0].partition, put[0].offset),
        )
        for message, error in aside:
            self._broker.dead_letter(message, error)
            log.error(
                "dead letter",
                reason=str(error),
                partition=message.partition,
                offset=message.offset,
                request_id=message.text(REQUEST_ID),
            )
        for heartbeat in batch.heartbeats:
            self._measure(heartbeat)
        seconds = time.perf_counter() - began
        self._count(batch, stored, aside, seconds)
        if self._tracing.enabled:
            self._trace(batch, began_ns)
        try:
            self._broker.commit(messages)
        except Unavailable as error:
            # The next commit covers these too; until then they may be read again, which changes nothing.
            self._metrics.commit_failures.inc()
            log.warning("offsets not committed", reason=str(error))

    def _count(
        self,
        batch: Batch,
        stored: Stored,
        aside: Sequence[tuple[Message, Exception]],
        seconds: float,
    ) -> None:
        new = len(batch.deployments) - len(stored.rejected) - stored.duplicates
        outcomes = {
            "stored": new,
            "duplicate": stored.duplicates,
            "dead_letter": len(aside),
            "heartbeat": len(batch.heartbeats),
        }
        for outcome, count in outcomes.items():
            self._metrics.messages.labels(outcome).inc(count)
        for _, error in aside:
            self._metrics.dead_letters.labels(type(error).__name__).inc()
        self._metrics.batch_messages.observe(sum(outcomes.values()))
        self._metrics.batch_seconds.observe(seconds)
        if batch.deployments or aside:
            log.info("batch stored", **outcomes, milliseconds=round(seconds * 1000, 1))
        if log.is_enabled_for(logging.DEBUG):
            for message, row in batch.deployments:
                log.debug(
                    "deployment",
                    event_id=row.id,
                    component=row.component,
                    request_id=message.text(REQUEST_ID),
                )
        if stored.news:
            self._ended()

    def _trace(self, batch: Batch, began_ns: int) -> None:
        for message, row in batch.deployments:
            carrier = {
                name: text for name in TRACE_HEADERS if (text := message.text(name)) is not None
            }
            self._tracing.record(
                f"process {message.topic}",
                SpanKind.CONSUMER,
                start_ns=began_ns,
                carrier=carrier,
                attributes={
                    "messaging.system": "kafka",
                    "messaging.operation.type": "process",
                    "messaging.operation.name": "process",
                    "messaging.destination.name": message.topic,
                    "messaging.destination.partition.id": str(message.partition),
                    "messaging.kafka.offset": message.offset,
                    "deployment.id": row.id,
                },
            )

    def _wait_out(self) -> None:
        """Stay in the group without reading until the database answers again."""
        while not self._stopping():
            deadline = time.monotonic() + self._backoff
            self._backoff = min(self._backoff * 2, BACKOFF_MAX)
            while (left := deadline - time.monotonic()) > 0 and not self._stopping():
                self._idle(min(left, POLL_TIMEOUT))
            try:
                self._ledger.check()
            except Unavailable as error:
                self._metrics.retries.inc()
                log.warning("still waiting", reason=str(error), seconds=self._backoff)
            else:
                break
        self._broker.release()

    def _idle(self, timeout: float) -> None:
        self._pulse()
        self._broker.hold()
        try:
            # A rebalance may bring partitions that are not held yet: what they give is to be read again later.
            self._broker.rewind(self._broker.poll(timeout))
        except Unavailable as error:
            self._metrics.retries.inc()
            log.warning("still waiting", reason=str(error))
            time.sleep(timeout)

    def _pulse(self) -> None:
        """Show that the loop turns, to /health and to the topic."""
        self._vitals.turned(joined=self._broker.joined, delivering=self._broker.delivering)
        now = time.monotonic()
        if now >= self._next_heartbeat:
            self._next_heartbeat = now + self._heartbeat_interval
            heartbeat = Heartbeat(self._instance, time.time())
            self._broker.heartbeat(encode_heartbeat(heartbeat), self._instance.encode("utf-8"))

    def _measure(self, heartbeat: Heartbeat) -> None:
        # Another worker's clock may differ, so only a worker's own heartbeats tell the truth.
        if heartbeat.instance != self._instance:
            return
        now = time.time()
        round_trip = max(0.0, now - heartbeat.sent_at)
        self._metrics.heartbeat_round_trip.observe(round_trip)
        self._metrics.heartbeat_last.set(now)
        log.info("heartbeat", round_trip_ms=round(round_trip * 1000, 1))


def _refused(batch: Batch, stored: Stored) -> list[tuple[Message, Exception]]:
    """Return the messages whose rows the database refused."""
    if not stored.rejected:
        return []
    errors = {id(row): error for row, error in stored.rejected}
    return [(message, errors[id(row)]) for message, row in batch.deployments if id(row) in errors]
