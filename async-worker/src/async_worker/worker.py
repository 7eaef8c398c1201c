"""The loop: read a batch, store it, put aside what cannot be stored, and only then say it is done."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from .errors import Unavailable, Undecodable
from .event import Heartbeat, Message, decode, decode_heartbeat, encode_heartbeat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from .health import Vitals
    from .store import Rejected

__all__ = ["Broker", "Ledger", "Worker"]

log = structlog.stdlib.get_logger(__name__)

# How long one look for messages may take: also how late the worker notices that it was told to stop.
POLL_TIMEOUT = 0.5
BACKOFF_MAX = 10.0


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

    def commit(self, messages: Iterable[Message]) -> None:
        """Note that everything up to these messages is done."""

    def rewind(self, messages: Sequence[Message]) -> None:
        """Have these messages read again."""

    def hold(self) -> None:
        """Stop reading, stay in the group."""

    def release(self) -> None:
        """Read on."""

    def dead_letter(self, message: Message, reason: str) -> None:
        """Put a message aside."""

    def heartbeat(self, value: bytes, key: bytes) -> None:
        """Send a heartbeat."""


class Ledger(Protocol):
    """What the worker needs of the database."""

    def add(self, rows: Sequence[Mapping[str, Any]]) -> Rejected:
        """Store rows; return those that can never be stored."""

    def check(self) -> None:
        """Raise Unavailable unless rows can be stored."""


@dataclass
class Batch:
    """One poll's messages, sorted by what is to be done with them."""

    rows: dict[Message, dict[str, Any]] = field(default_factory=dict)
    heartbeats: list[Heartbeat] = field(default_factory=list)
    undecodable: list[tuple[Message, str]] = field(default_factory=list)

    @classmethod
    def of(cls, messages: Iterable[Message]) -> Batch:
        """Decode every message."""
        batch = cls()
        for message in messages:
            try:
                if message.is_heartbeat:
                    batch.heartbeats.append(decode_heartbeat(message.value))
                else:
                    batch.rows[message] = decode(message.value)
            except Undecodable as error:
                batch.undecodable.append((message, str(error)))
        return batch


class Worker:
    """Runs in the thread that owns the broker; other threads may read `vitals` only."""

    def __init__(
        self,
        broker: Broker,
        ledger: Ledger,
        vitals: Vitals,
        *,
        instance: str,
        heartbeat_interval: float,
        stopping: Callable[[], bool],
    ) -> None:
        self._broker = broker
        self._ledger = ledger
        self._vitals = vitals
        self._instance = instance
        self._heartbeat_interval = heartbeat_interval
        self._stopping = stopping
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
            if messages:
                self._process(messages)
        except Unavailable as error:
            log.warning("waiting, nothing is lost", reason=str(error), seconds=self._backoff)
            self._broker.rewind(messages)
            self._wait_out()
        else:
            self._backoff = POLL_TIMEOUT

    def _process(self, messages: Sequence[Message]) -> None:
        batch = Batch.of(messages)
        rejected = self._ledger.add(list(batch.rows.values()))
        refused = {row["id"]: reason for row, reason in rejected}
        aside = batch.undecodable + [
            (message, f"the database refuses it: {refused[row['id']]}")
            for message, row in batch.rows.items()
            if row["id"] in refused
        ]
        for message, reason in aside:
            self._broker.dead_letter(message, reason)
            log.error("dead letter", reason=reason, partition=message.partition, offset=message.offset)
        for row in batch.rows.values():
            if row["id"] not in refused:
                log.info("deployment stored", event_id=row["id"], component=row["component"], version=row["version"])
        for heartbeat in batch.heartbeats:
            self._measure(heartbeat)
        try:
            self._broker.commit(messages)
        except Unavailable as error:
            # The next commit covers these too; until then they may be read again, which changes nothing.
            log.warning("offsets not committed", reason=str(error))

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
        # Another worker's clock may differ; its own heartbeats tell the truth.
        round_trip = max(0.0, time.time() - heartbeat.sent_at)
        log.info(
            "heartbeat",
            sender=heartbeat.instance,
            own=heartbeat.instance == self._instance,
            round_trip_ms=round(round_trip * 1000, 1),
        )
