"""The loop: reads a batch, stores it, sends dead letters, and commits the offsets last."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
from opentelemetry.trace import SpanKind

from .errors import Unavailable, Undecodable
from .event import Deployment, Heartbeat, Message, decode, decode_heartbeat, encode_heartbeat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ledger.tracing import Tracing

    from .broker import KafkaBroker
    from .health import Vitals
    from .metrics import Metrics
    from .store import Store, Stored

__all__ = ["Worker", "WorkerOptions"]

log = structlog.stdlib.get_logger(__name__)

# Seconds for one poll, and so the time in which the worker notices that it is told to stop.
POLL_TIMEOUT = 0.5
BACKOFF_MAX = 10.0
# Headers of a message: the request that sent it, and its trace (W3C).
REQUEST_ID = "request-id"
TRACE_HEADERS = ("traceparent", "tracestate")


@dataclass
class Batch:
    """The messages of one poll, decoded."""

    deployments: list[tuple[Message, Deployment]] = field(default_factory=list)
    heartbeats: list[Heartbeat] = field(default_factory=list)
    undecodable: list[tuple[Message, Exception]] = field(default_factory=list)

    @classmethod
    def decode(cls, messages: Iterable[Message]) -> Batch:
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


@dataclass(frozen=True)
class WorkerOptions:
    """How a worker runs."""

    tracing: Tracing
    # The name in this worker's heartbeats.
    instance: str
    # Seconds.
    heartbeat_interval: float
    is_stopping: Callable[[], bool]
    on_deployment_ended: Callable[[], None] = lambda: None


class Worker:
    """Runs in the thread that owns the broker; other threads may read `vitals` only."""

    def __init__(
        self,
        broker: KafkaBroker,
        store: Store,
        vitals: Vitals,
        metrics: Metrics,
        options: WorkerOptions,
    ) -> None:
        self._broker = broker
        self._store = store
        self._vitals = vitals
        self._metrics = metrics
        self._options = options
        self._next_heartbeat = time.monotonic()
        self._backoff = POLL_TIMEOUT

    def run(self) -> None:
        """Process batches until told to stop; the current batch is finished first."""
        while not self._options.is_stopping():
            self.run_once()

    def run_once(self) -> None:
        """Process one batch, or wait while Kafka or the database is away."""
        self._show_alive()
        messages: list[Message] = []
        try:
            messages = self._broker.poll(POLL_TIMEOUT)
            self._vitals.record_read(self._broker.progress(), messages=len(messages))
            if messages:
                self._process(messages)
        except Unavailable as error:
            self._metrics.outages.inc()
            log.warning("waiting, nothing is lost", reason=str(error), seconds=self._backoff)
            self._broker.rewind(messages)
            self._wait_for_database()
        else:
            self._backoff = POLL_TIMEOUT

    def _process(self, messages: Sequence[Message]) -> None:
        started, started_ns = time.perf_counter(), time.time_ns()
        batch = Batch.decode(messages)
        stored = self._store.add([row for _, row in batch.deployments])
        dead_letters = sorted(
            batch.undecodable + _rejected(batch, stored),
            key=lambda letter: (letter[0].partition, letter[0].offset),
        )
        for message, error in dead_letters:
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
        seconds = time.perf_counter() - started
        self._count(batch, stored, [error for _, error in dead_letters], seconds)
        if stored.notifications:
            self._options.on_deployment_ended()
        if self._options.tracing.enabled:
            self._trace(batch, started_ns)
        try:
            self._broker.commit(messages)
        except Unavailable as error:
            # The next commit includes these offsets. Until then the messages may be read again,
            # which is harmless.
            self._metrics.commit_failures.inc()
            log.warning("offsets not committed", reason=str(error))

    def _count(
        self, batch: Batch, stored: Stored, errors: Sequence[Exception], seconds: float
    ) -> None:
        outcomes = {
            "stored": len(batch.deployments) - len(stored.rejected) - stored.duplicates,
            "duplicate": stored.duplicates,
            "dead_letter": len(errors),
            "heartbeat": len(batch.heartbeats),
        }
        for outcome, count in outcomes.items():
            self._metrics.messages.labels(outcome).inc(count)
        for error in errors:
            self._metrics.dead_letters.labels(type(error).__name__).inc()
        self._metrics.batch_messages.observe(sum(outcomes.values()))
        self._metrics.batch_seconds.observe(seconds)
        if batch.deployments or errors:
            log.info("batch stored", **outcomes, milliseconds=round(seconds * 1000, 1))
        if log.is_enabled_for(logging.DEBUG):
            for message, row in batch.deployments:
                log.debug(
                    "deployment",
                    event_id=row.id,
                    component=row.component,
                    request_id=message.text(REQUEST_ID),
                )

    def _trace(self, batch: Batch, started_ns: int) -> None:
        for message, row in batch.deployments:
            carrier = {
                name: text for name in TRACE_HEADERS if (text := message.text(name)) is not None
            }
            self._options.tracing.record(
                f"process {message.topic}",
                SpanKind.CONSUMER,
                start_ns=started_ns,
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

    def _wait_for_database(self) -> None:
        """Stay in the group, without reading, until the database answers."""
        while not self._options.is_stopping():
            deadline = time.monotonic() + self._backoff
            self._backoff = min(self._backoff * 2, BACKOFF_MAX)
            while (
                remaining := deadline - time.monotonic()
            ) > 0 and not self._options.is_stopping():
                self._poll_paused(min(remaining, POLL_TIMEOUT))
            try:
                self._store.check()
            except Unavailable as error:
                self._metrics.retries.inc()
                log.warning("still waiting", reason=str(error), seconds=self._backoff)
            else:
                break
        self._broker.resume()

    def _poll_paused(self, timeout: float) -> None:
        self._show_alive()
        self._broker.pause()
        try:
            # A rebalance may assign partitions that are not paused yet: read their messages later.
            self._broker.rewind(self._broker.poll(timeout))
        except Unavailable as error:
            self._metrics.retries.inc()
            log.warning("still waiting", reason=str(error))
            time.sleep(timeout)

    def _show_alive(self) -> None:
        """Tell /health that the loop runs, and send a heartbeat when one is due."""
        self._vitals.record_iteration(
            joined=self._broker.joined, delivering=self._broker.delivering
        )
        now = time.monotonic()
        if now >= self._next_heartbeat:
            self._next_heartbeat = now + self._options.heartbeat_interval
            instance = self._options.instance
            heartbeat = encode_heartbeat(Heartbeat(instance, time.time()))
            self._broker.heartbeat(heartbeat, instance.encode("utf-8"))

    def _measure(self, heartbeat: Heartbeat) -> None:
        # Another worker's clock may differ from this one.
        if heartbeat.instance != self._options.instance:
            return
        now = time.time()
        round_trip = max(0.0, now - heartbeat.sent_at)
        self._metrics.heartbeat_round_trip.observe(round_trip)
        self._metrics.heartbeat_last.set(now)
        log.info("heartbeat", round_trip_ms=round(round_trip * 1000, 1))


def _rejected(batch: Batch, stored: Stored) -> list[tuple[Message, Exception]]:
    """Return the messages whose rows the database rejected."""
    if not stored.rejected:
        return []
    errors = {id(row): error for row, error in stored.rejected}
    return [(message, errors[id(row)]) for message, row in batch.deployments if id(row) in errors]
