"""Puts dead letters back to where they came from, once what was wrong with them is mended."""
# ruff: noqa: T201  a command line speaks by print

from __future__ import annotations

import argparse
import sys
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kafka import KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.errors import KafkaError

from .broker import (
    COMMIT_TIMEOUT_MS,
    DEAD_LETTER_BYTES,
    DELIVERY_TIMEOUT,
    ORIGIN_OFFSET,
    ORIGIN_PARTITION,
    ORIGIN_TOPIC,
    REASON,
    STACK_CLASS,
    VALUE_OMITTED,
    connect,
    message_of,
)
from .errors import Fatal, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .event import Message
    from .settings import Settings

__all__ = ["Letter", "Summary", "arguments", "letter", "redrive"]

REDRIVEN = "redriven"
ADDED = {
    REASON,
    STACK_CLASS,
    VALUE_OMITTED,
    ORIGIN_TOPIC,
    ORIGIN_PARTITION,
    ORIGIN_OFFSET,
    REDRIVEN,
}
AT_ONCE = 500
POLL_TIMEOUT_MS = 1_000
METADATA_TIMEOUT_MS = 10_000
# How many looks may bring nothing although there is something: 30 s.
PATIENCE = 30


@dataclass(frozen=True)
class Letter:
    """A dead letter as it goes back; without a topic when it cannot, and then `reason` says why."""

    topic: str | None
    headers: list[tuple[str, bytes]]
    reason: str


@dataclass
class Summary:
    """What became of the dead letters."""

    moved: int = 0
    left: int = 0
    reasons: Counter[str] = field(default_factory=Counter)


def arguments(given: Sequence[str]) -> argparse.Namespace:
    """Read the command line after `redrive`; argparse says what is wrong and ends with 2."""
    parser = argparse.ArgumentParser(
        prog="async-worker redrive",
        description="Put the messages of the dead-letter topic back to the topics they came from.",
        allow_abbrev=False,
    )
    parser.add_argument("--limit", type=_positive, metavar="N", help="put back at most N messages")
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be put back, and change nothing"
    )
    return parser.parse_args(given)


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def letter(message: Message) -> Letter:
    """Decide where a dead letter goes, and with which headers."""
    last = dict(message.headers)
    reason = last.get(REASON, b"").decode("utf-8", "replace") or "no reason given"
    if VALUE_OMITTED in last:
        return Letter(None, [], f"its value was too large to keep; it is {_origin(last)}")
    if not last.get(ORIGIN_TOPIC):
        return Letter(None, [], "it does not say which topic it came from")
    count = last.get(REDRIVEN, b"0")
    times = int(count) + 1 if count.isdigit() else 1
    headers = [(name, value) for name, value in message.headers if name not in ADDED]
    return Letter(
        last[ORIGIN_TOPIC].decode("utf-8", "replace"),
        [*headers, (REDRIVEN, str(times).encode("ascii"))],
        reason,
    )


def _origin(headers: dict[str, bytes]) -> str:
    topic, partition, offset = (
        headers.get(name, b"?").decode("utf-8", "replace")
        for name in (ORIGIN_TOPIC, ORIGIN_PARTITION, ORIGIN_OFFSET)
    )
    return f"at offset {offset} of partition {partition} of {topic}"


def redrive(settings: Settings, *, limit: int | None, dry_run: bool) -> int:
    """Run the command; return the process's exit code."""
    summary = Summary()
    try:
        with ExitStack() as opened:
            _Redrive(settings, opened, summary, dry_run=dry_run).run(limit)
    except (Unavailable, Fatal, KafkaError) as error:
        reason = str(error) if isinstance(error, Unavailable | Fatal) else repr(error)
        print(f"redrive stopped: {reason}", file=sys.stderr)
        print("What is not counted below is still there; run it again.", file=sys.stderr)
        _report(summary, dry_run=dry_run)
        return 1
    except KeyboardInterrupt:
        print("redrive was interrupted; what is not counted below is still there.", file=sys.stderr)
        _report(summary, dry_run=dry_run)
        return 1
    _report(summary, dry_run=dry_run)
    return 1 if summary.left else 0


def _report(summary: Summary, *, dry_run: bool) -> None:
    print(
        f"{summary.moved} {'would be' if dry_run else 'were'} put back, {summary.left} cannot be."
    )
    for reason, count in summary.reasons.most_common():
        print(f"  {count} x {reason}")


class _Redrive:
    """One run over what the dead-letter topic holds at its start: never over what this run itself brings back."""

    def __init__(
        self, settings: Settings, opened: ExitStack, summary: Summary, *, dry_run: bool
    ) -> None:
        self._topic = settings.dead_letter_topic
        self._summary = summary
        self._dry_run = dry_run
        self._consumer: Any = connect(
            KafkaConsumer,
            settings,
            # A group of its own remembers what was put back already.
            group_id=f"{settings.group_id}.redrive",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_poll_records=AT_ONCE,
            allow_auto_create_topics=False,
        )
        opened.callback(self._consumer.close, autocommit=False)
        self._producer: Any = connect(
            KafkaProducer,
            settings,
            acks="all",
            enable_idempotence=False,
            # One at a time, so that a retry does not put letters into another order.
            max_in_flight_requests_per_connection=1,
            allow_auto_create_topics=False,
            max_block_ms=DELIVERY_TIMEOUT * 1000,
            delivery_timeout_ms=DELIVERY_TIMEOUT * 1000,
            request_timeout_ms=DELIVERY_TIMEOUT * 1000,
            max_request_size=DEAD_LETTER_BYTES,
        )
        opened.callback(self._producer.close, timeout=DELIVERY_TIMEOUT)

    def run(self, limit: int | None) -> None:
        """Put back up to `limit` letters, in order, and note how far this went."""
        partitions = [TopicPartition(self._topic, number) for number in self._partitions()]
        self._consumer.assign(partitions)
        ends = self._consumer.end_offsets(partitions, timeout_ms=METADATA_TIMEOUT_MS)
        left = {
            partition for partition in partitions if self._position(partition) < ends[partition]
        }
        patience = PATIENCE
        while left and patience and (limit is None or self._summary.moved < limit):
            most = AT_ONCE if limit is None else min(AT_ONCE, limit - self._summary.moved)
            polled = self._consumer.poll(timeout_ms=POLL_TIMEOUT_MS, max_records=most)
            patience = PATIENCE if polled else patience - 1
            for partition, records in polled.items():
                known = [
                    message_of(record) for record in records if record.offset < ends[partition]
                ]
                self._put_back(partition, known)
            left = {partition for partition in left if self._position(partition) < ends[partition]}
        if left and not patience:
            raise Unavailable(
                f"{self._topic} cannot be read: Kafka gives nothing although there is something"
            )

    def _partitions(self) -> Iterable[int]:
        numbers = self._consumer.partitions_for_topic(self._topic)
        if not numbers:
            raise Unavailable(
                f"there is no topic {self._topic}: the worker makes it when it starts"
            )
        return sorted(numbers)

    def _position(self, partition: TopicPartition) -> int:
        position = self._consumer.position(partition, timeout_ms=METADATA_TIMEOUT_MS)
        if position is None:
            raise Unavailable(f"Kafka does not say how far {partition.topic} was put back already")
        return int(position)

    def _put_back(self, partition: TopicPartition, messages: Sequence[Message]) -> None:
        sent: list[tuple[Message, Letter, Any]] = []
        for message in messages:
            found = letter(message)
            if found.topic is None:
                self._summary.left += 1
                print(f"left: offset {message.offset} of {message.topic}: {found.reason}")
                continue
            future = None
            if not self._dry_run:
                future = self._producer.send(
                    found.topic, key=message.key, value=message.value, headers=found.headers
                )
            sent.append((message, found, future))
        for message, found, future in sent:
            if future is not None:
                future.get(timeout=DELIVERY_TIMEOUT + 1)
            self._summary.moved += 1
            self._summary.reasons[found.reason] += 1
            what = "would be put back" if self._dry_run else "put back"
            print(
                f"{what}: offset {message.offset} of {message.topic} to {found.topic}: {found.reason}"
            )
        if messages and not self._dry_run:
            offsets = {partition: OffsetAndMetadata(messages[-1].offset + 1, "", -1)}
            self._consumer.commit(offsets, timeout_ms=COMMIT_TIMEOUT_MS)
