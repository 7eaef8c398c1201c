"""Sends dead letters back to their topics, once the reason is fixed."""
# ruff: noqa: T201  a command line prints

from __future__ import annotations

import argparse
import sys
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.errors import KafkaError

from .broker import (
    COMMIT_TIMEOUT_MS,
    DELIVERY_TIMEOUT,
    ORIGIN_OFFSET,
    ORIGIN_PARTITION,
    ORIGIN_TOPIC,
    REASON,
    STACK_CLASS,
    VALUE_OMITTED,
    connect,
    connect_producer,
    to_message,
)
from .errors import Fatal, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .event import Message
    from .settings import Settings

__all__ = ["Letter", "parse_arguments", "redrive", "to_letter"]

# How many times a message was redriven.
REDRIVEN = "redriven"
# Headers of dead letters that do not go back.
REMOVED = {
    REASON,
    STACK_CLASS,
    VALUE_OMITTED,
    ORIGIN_TOPIC,
    ORIGIN_PARTITION,
    ORIGIN_OFFSET,
    REDRIVEN,
}
BATCH_SIZE = 500
POLL_TIMEOUT_MS = 1_000
METADATA_TIMEOUT_MS = 10_000
# How many polls may return nothing before the end of the topic: 30 s.
MAX_EMPTY_POLLS = 30
RUN_AGAIN = "What is not counted below is still there; run it again."


@dataclass(frozen=True)
class Letter:
    """Where a dead letter goes back to."""

    # None: it cannot go back.
    topic: str | None
    headers: list[tuple[str, bytes]]
    # Why it became a dead letter, or why it cannot go back.
    reason: str


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the command line after `redrive`; argparse prints what is wrong and exits with 2."""
    parser = argparse.ArgumentParser(
        prog="async-worker redrive",
        description="Put the messages of the dead-letter topic back to the topics they came from.",
        allow_abbrev=False,
    )
    parser.add_argument("--limit", type=_positive, metavar="N", help="put back at most N messages")
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be put back, and change nothing"
    )
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def to_letter(message: Message) -> Letter:
    """Return where a dead letter goes, and with which headers."""
    # The sender may use the same names; the worker's headers are the last ones.
    last = dict(message.headers)
    reason = last.get(REASON, b"").decode("utf-8", "replace") or "no reason given"
    if VALUE_OMITTED in last:
        return Letter(None, [], f"its value was too large to keep; it is {_origin(last)}")
    if not last.get(ORIGIN_TOPIC):
        return Letter(None, [], "it does not say which topic it came from")
    count = last.get(REDRIVEN, b"0")
    times = int(count) + 1 if count.isdigit() else 1
    headers = [(name, value) for name, value in message.headers if name not in REMOVED]
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
    """Run the command; return the exit code."""
    run = _Redrive(settings, dry_run=dry_run)
    failure = ""
    try:
        with ExitStack() as resources:
            run.connect(resources)
            run.send_back(limit)
    except (Unavailable, Fatal, KafkaError) as error:
        reason = str(error) if isinstance(error, Unavailable | Fatal) else repr(error)
        failure = f"redrive stopped: {reason}\n{RUN_AGAIN}"
    except KeyboardInterrupt:
        failure = "redrive was interrupted; what is not counted below is still there."
    if failure:
        print(failure, file=sys.stderr)
    run.print_summary()
    return 1 if failure or run.unmovable else 0


class _Redrive:
    """One run over the dead letters that are in the topic at its start.

    Messages that fail again become new dead letters; this run does not read those.
    """

    def __init__(self, settings: Settings, *, dry_run: bool) -> None:
        self._settings = settings
        self._topic = settings.dead_letter_topic
        self._dry_run = dry_run
        self.moved = 0
        # How many letters cannot go back.
        self.unmovable = 0
        # Why the moved ones had become dead letters.
        self.reasons: Counter[str] = Counter()

    def print_summary(self) -> None:
        """Print how many letters went back, and why they had become dead letters."""
        verb = "would be" if self._dry_run else "were"
        print(f"{self.moved} {verb} put back, {self.unmovable} cannot be.")
        for reason, count in self.reasons.most_common():
            print(f"  {count} x {reason}")

    def connect(self, resources: ExitStack) -> None:
        """Connect to Kafka; `resources` closes the clients."""
        settings = self._settings
        self._consumer: Any = connect(
            KafkaConsumer,
            settings,
            # The offsets of this group tell which letters went back already.
            group_id=f"{settings.group_id}.redrive",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_poll_records=BATCH_SIZE,
            allow_auto_create_topics=False,
        )
        resources.callback(self._consumer.close, autocommit=False)
        # One request at a time: a retry must not change the order of the letters.
        self._producer: Any = connect_producer(settings, max_in_flight_requests_per_connection=1)
        resources.callback(self._producer.close, timeout=DELIVERY_TIMEOUT)

    def send_back(self, limit: int | None) -> None:
        """Send back up to `limit` letters, in order, and commit the offsets."""
        partitions = [TopicPartition(self._topic, number) for number in self._partitions()]
        self._consumer.assign(partitions)
        ends = self._consumer.end_offsets(partitions, timeout_ms=METADATA_TIMEOUT_MS)
        unread = {
            partition for partition in partitions if self._position(partition) < ends[partition]
        }
        empty_polls = 0
        while unread and empty_polls < MAX_EMPTY_POLLS and (limit is None or self.moved < limit):
            size = BATCH_SIZE if limit is None else min(BATCH_SIZE, limit - self.moved)
            polled = self._consumer.poll(timeout_ms=POLL_TIMEOUT_MS, max_records=size)
            empty_polls = 0 if polled else empty_polls + 1
            for partition, records in polled.items():
                messages = [
                    to_message(record) for record in records if record.offset < ends[partition]
                ]
                self._send_messages(partition, messages)
            unread = {
                partition for partition in unread if self._position(partition) < ends[partition]
            }
        if unread and empty_polls == MAX_EMPTY_POLLS:
            raise Unavailable(f"cannot read {self._topic} to its end: Kafka returns no messages")

    def _partitions(self) -> Iterable[int]:
        numbers = self._consumer.partitions_for_topic(self._topic)
        if not numbers:
            raise Unavailable(
                f"the topic {self._topic} does not exist; the worker creates it when it starts"
            )
        return sorted(numbers)

    def _position(self, partition: TopicPartition) -> int:
        position = self._consumer.position(partition, timeout_ms=METADATA_TIMEOUT_MS)
        if position is None:
            raise Unavailable(
                f"Kafka does not return the position of this group in {partition.topic}"
            )
        return int(position)

    def _send_messages(self, partition: TopicPartition, messages: Sequence[Message]) -> None:
        sent: list[tuple[Message, Letter, Any]] = []
        for message in messages:
            letter = to_letter(message)
            if letter.topic is None:
                self.unmovable += 1
                print(f"left: offset {message.offset} of {message.topic}: {letter.reason}")
                continue
            future = None
            if not self._dry_run:
                future = self._producer.send(
                    letter.topic, key=message.key, value=message.value, headers=letter.headers
                )
            sent.append((message, letter, future))
        for message, letter, future in sent:
            if future is not None:
                future.get(timeout=DELIVERY_TIMEOUT + 1)
            self.moved += 1
            self.reasons[letter.reason] += 1
            action = "would be put back" if self._dry_run else "put back"
            origin = f"offset {message.offset} of {message.topic}"
            print(f"{action}: {origin} to {letter.topic}: {letter.reason}")
        if messages and not self._dry_run:
            offsets = {partition: OffsetAndMetadata(messages[-1].offset + 1, "", -1)}
            self._consumer.commit(offsets, timeout_ms=COMMIT_TIMEOUT_MS)
