"""Kafka: the only module that talks to it."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import structlog
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    IllegalSaslStateError,
    InvalidReplicationFactorError,
    KafkaError,
    MessageSizeTooLargeError,
    RebalanceInProgressError,
    SaslAuthenticationFailedError,
    TopicAlreadyExistsError,
    UnknownMemberIdError,
    UnsupportedSaslMechanismError,
)
from kafka.structs import MemberState
from ledger.broker_network import open_client

from .errors import Fatal, Unavailable
from .event import KIND, KIND_HEARTBEAT, Message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from kafka.consumer.fetcher import ConsumerRecord

    from .settings import Settings

__all__ = ["KafkaBroker", "connect", "dead_letter_headers", "message_of"]

log = structlog.stdlib.get_logger(__name__)

# How long one attempt to reach any broker may take; between attempts the worker looks whether it was told to stop.
BOOTSTRAP_TIMEOUT_MS = 3_000
FETCH_BYTES = 4_194_304
# All partitions together: what one fetch can take of the memory.
FETCH_BYTES_ALL = 16_777_216
DELIVERY_TIMEOUT = 5
COMMIT_TIMEOUT_MS = 5_000
CLOSE_TIMEOUT = 5
# How long the others wait before they take over from a worker that died without a word.
SESSION_TIMEOUT_MS = 8_000
HEARTBEAT_INTERVAL_MS = 2_000
# kafka-python's metric: seconds since the consumer last sent a heartbeat.
HEARTBEAT_AGE = "last-heartbeat-seconds-ago"
# Pauses between two looks for messages while Kafka does not answer a heartbeat: the first, and the longest.
LATE_PAUSE = (0.001, 0.1)
# A dead letter is larger than the message by its headers, and the largest that a broker takes by default is 1 MiB.
DEAD_LETTER_BYTES = 2_097_152
# What goes with a dead letter, and is taken off again when it is put back.
REASON, STACK_CLASS, VALUE_OMITTED = "reason", "stack-class", "value-omitted"
ORIGIN_TOPIC, ORIGIN_PARTITION, ORIGIN_OFFSET = "origin-topic", "origin-partition", "origin-offset"
# The group has moved on: somebody else reads these messages again, which changes nothing.
SUPERSEDED = (
    CommitFailedError,
    IllegalGenerationError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)

# A password is changed here and there one after the other; until both are done, waiting is right.
LOGIN_REFUSED = (
    IllegalSaslStateError,
    SaslAuthenticationFailedError,
    UnsupportedSaslMechanismError,
)


class KafkaBroker:
    """A consumer in its group and a producer, both used from one thread only."""

    def __init__(self, settings: Settings) -> None:
        """Connect and subscribe, making the topics first; raise Unavailable when no broker answers."""
        self._settings = settings
        self._delivered = True
        self._pending: Any = None
        self._refused: KafkaError | None = None
        self._answer_by = 0.0
        self._owed: dict[TopicPartition, int] = {}
        self._beats = 0
        self._positions: dict[TopicPartition, int] = {}
        with ExitStack() as opened:
            _make_topics(settings)
            self._producer = connect(
                KafkaProducer,
                settings,
                acks="all",
                # A retry may be written twice; ids make that harmless.
                enable_idempotence=False,
                allow_auto_create_topics=False,
                max_block_ms=DELIVERY_TIMEOUT * 1000,
                delivery_timeout_ms=DELIVERY_TIMEOUT * 1000,
                request_timeout_ms=DELIVERY_TIMEOUT * 1000,
                max_request_size=DEAD_LETTER_BYTES,
            )
            opened.callback(self._producer.close, timeout=0)
            self._consumer = connect(
                KafkaConsumer,
                settings,
                group_id=settings.group_id,
                # Offsets are committed once the effect is stored, never by time.
                enable_auto_commit=False,
                # A group without offsets has stored nothing yet.
                auto_offset_reset="earliest",
                # A worker that comes or goes leaves the others at work.
                partition_assignment_strategy=(CooperativeStickyAssignor,),
                allow_auto_create_topics=False,
                max_poll_records=settings.batch_size,
                # More than a batch, so that the next one is on its way while this one is stored.
                max_partition_fetch_bytes=FETCH_BYTES,
                fetch_max_bytes=FETCH_BYTES_ALL,
                session_timeout_ms=SESSION_TIMEOUT_MS,
                heartbeat_interval_ms=HEARTBEAT_INTERVAL_MS,
            )
            metrics = self._consumer.metrics(raw=True)
            self._heartbeat_age = next(
                metrics[name] for name in metrics if name.name == HEARTBEAT_AGE
            )
            self._consumer.subscribe([settings.topic])
            opened.pop_all()

    @property
    def joined(self) -> bool:
        """Tell whether this worker is a member of its group with its share of partitions settled."""
        return bool(self._consumer.group_metadata().state == MemberState.STABLE)

    @property
    def delivering(self) -> bool:
        """Tell whether the last heartbeat that was answered for reached Kafka."""
        return self._delivered

    def poll(self, timeout: float) -> list[Message]:
        """Return the next messages, in order within each partition; nothing when there are none in time."""
        if self._owed:
            try:
                self._pay()
            except Unavailable as error:
                log.warning("offsets not committed", reason=str(error))
        try:
            polled = self._look(timeout)
        except KafkaError as error:
            if _hopeless(error):
                raise Fatal(f"Kafka refuses to be read: {error!r}") from error
            raise Unavailable(f"Kafka cannot be read: {error!r}") from error
        for partition, records in polled.items():
            self._positions[partition] = records[-1].offset + 1
        return [message_of(record) for records in polled.values() for record in records]

    def _look(self, timeout: float) -> Mapping[TopicPartition, Sequence[ConsumerRecord]]:
        """Return what comes next, or nothing when time is up.

        While a heartbeat is late, kafka-python 3.0.12 looks for messages without a pause, and each
        look leaves a callback at the fetch under way: 10 MB a second (docs/kafka-python.md). So it
        may wait only until the next heartbeat is due; after that the pauses are made here.
        """
        deadline = time.monotonic() + timeout
        pause, longest = LATE_PAUSE
        while True:
            left = max(0.0, deadline - time.monotonic())
            polled: Mapping[TopicPartition, Sequence[ConsumerRecord]] = self._consumer.poll(
                timeout_ms=int(min(left, self._until_heartbeat()) * 1000)
            )
            left = deadline - time.monotonic()
            if polled or left < LATE_PAUSE[0]:
                return polled
            time.sleep(min(pause, left))
            pause = min(2 * pause, longest)

    def _until_heartbeat(self) -> float:
        """Return the seconds until the consumer's next heartbeat is due; it sends none before it has joined."""
        if not self.joined:
            return math.inf
        return max(0.0, HEARTBEAT_INTERVAL_MS / 1000 - float(self._heartbeat_age.value()))

    def progress(self) -> tuple[dict[int, int], dict[int, int], int]:
        """Return, without asking Kafka, how far each partition is read, how much is left, and how many are ours."""
        owned = self._consumer.assignment()
        self._positions = {
            partition: offset for partition, offset in self._positions.items() if partition in owned
        }
        lags = {
            partition.partition: max(0, end - offset)
            for partition, offset in self._positions.items()
            if (end := self._consumer.highwater(partition)) is not None
        }
        return (
            {partition.partition: offset for partition, offset in self._positions.items()},
            lags,
            len(owned),
        )

    def commit(self, messages: Iterable[Message]) -> None:
        """Note that everything up to these messages is done.

        Kafka is told in the background, so that the next batch need not wait for its answer; raise Unavailable when it did
        not take the last ones. These are owed until it has, and `close` waits for that.
        """
        for message in {message.partition: message for message in messages}.values():
            self._owed[TopicPartition(message.topic, message.partition)] = message.offset + 1
        self._pay()

    def _pay(self) -> None:
        """Raise what became of the last commit, if it failed, and send what is owed by now."""
        error, self._refused = self._refused, None
        if error is not None:
            if _hopeless(error) and not isinstance(error, SUPERSEDED):
                raise Fatal(f"Kafka refuses the offsets: {error!r}") from error
            raise Unavailable(f"offsets are not committed: {error!r}")
        now = time.monotonic()
        if now < self._answer_by:
            return
        if owed := self._ours():
            # Should an answer never come, the next attempt replaces this one.
            self._answer_by = now + COMMIT_TIMEOUT_MS / 1000
            self._consumer.commit_async(_offsets(owed), callback=self._committed)

    def _committed(
        self, offsets: Mapping[TopicPartition, OffsetAndMetadata], answer: object
    ) -> None:
        # Called while the consumer polls or commits, in its thread.
        self._answer_by = 0.0
        if isinstance(answer, KafkaError):
            self._refused = answer
            return
        for partition, offset in offsets.items():
            if self._owed.get(partition) == offset.offset:
                del self._owed[partition]

    def _ours(self) -> dict[TopicPartition, int]:
        """Return what is owed and still ours to commit; the other partitions are read again by whoever has them."""
        owned = self._consumer.assignment()
        self._owed = {
            partition: offset for partition, offset in self._owed.items() if partition in owned
        }
        return dict(self._owed)

    def rewind(self, messages: Sequence[Message]) -> None:
        """Have these messages read again, unless another worker reads their partition by now."""
        owned = self._consumer.assignment()
        first: dict[TopicPartition, int] = {}
        for message in messages:
            first.setdefault(TopicPartition(message.topic, message.partition), message.offset)
        for partition, offset in first.items():
            if partition in owned:
                self._consumer.seek(partition, offset)
                self._positions[partition] = offset

    def hold(self) -> None:
        """Read nothing for a while but stay in the group; again after each poll, which may bring new partitions."""
        self._consumer.pause(*self._consumer.assignment())

    def release(self) -> None:
        """Read on."""
        self._consumer.resume(*self._consumer.assignment())

    def dead_letter(self, message: Message, error: Exception) -> None:
        """Put a message aside with the reason and where it came from; return once Kafka has it."""
        headers = dead_letter_headers(message, error)
        try:
            try:
                self._put_aside(message.key, message.value, headers)
            except MessageSizeTooLargeError:
                # The topic may be older than this worker, or made by others: what it was is still at its origin.
                size = str(len(message.value or b"")).encode("ascii")
                self._put_aside(message.key, b"", [*headers, (VALUE_OMITTED, size)])
        except KafkaError as failure:
            if _hopeless(failure):
                raise Fatal(f"Kafka refuses the dead letter: {failure!r}") from failure
            raise Unavailable(f"Kafka did not take the dead letter: {failure!r}") from failure

    def _put_aside(
        self, key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]]
    ) -> None:
        # kafka-python sends no message without both key and value; an empty value says the same to a reader.
        value = b"" if key is None and value is None else value
        topic = self._settings.dead_letter_topic
        self._producer.send(topic, key=key, value=value, headers=headers).get(
            timeout=DELIVERY_TIMEOUT + 1
        )

    def heartbeat(self, value: bytes, key: bytes) -> None:
        """Send a heartbeat without waiting for it; skipped while the last one is still under way.

        It goes to each partition in turn that this worker reads, so that it proves the whole way, and every partition of it.
        """
        if self._pending is not None and not self._pending.is_done:
            return
        owned = sorted(self._consumer.assignment())
        self._beats += 1
        partition = owned[self._beats % len(owned)].partition if owned else None
        try:
            self._pending = self._producer.send(
                self._settings.topic,
                key=key,
                value=value,
                headers=[(KIND, KIND_HEARTBEAT)],
                partition=partition,
            )
        except KafkaError:
            self._delivered = False
        else:
            self._pending.add_both(self._settle)

    def _settle(self, result: object) -> None:
        # Called by the producer's thread; assigning a bool needs no lock.
        self._delivered = not isinstance(result, Exception)

    def close(self) -> None:
        """Commit what is owed, leave the group, so that the others take over at once, and let go of all connections."""
        for what, step in {
            "offsets not committed, their messages are read again": self._commit_last,
            "the group could not be left, the others wait for it": self._leave,
            "the producer could not be closed": self._close_producer,
        }.items():
            try:
                step()
            except Exception as error:  # noqa: BLE001  whatever it is, the process ends, and the next step may work
                log.warning(what, reason=repr(error))

    def _commit_last(self) -> None:
        if owed := self._ours():
            self._consumer.commit(_offsets(owed), timeout_ms=COMMIT_TIMEOUT_MS)

    def _leave(self) -> None:
        self._consumer.close(autocommit=False, timeout_ms=CLOSE_TIMEOUT * 1000)

    def _close_producer(self) -> None:
        self._producer.close(timeout=CLOSE_TIMEOUT)


def _offsets(offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, OffsetAndMetadata]:
    return {partition: OffsetAndMetadata(offset, "", -1) for partition, offset in offsets.items()}


def _make_topics(settings: Settings) -> None:
    wanted: dict[str, dict[str, Any]] = {
        settings.topic: {
            "num_partitions": settings.topic_partitions,
            "replication_factor": settings.topic_replication,
        },
        # Kept until somebody has looked: dead letters are few.
        settings.dead_letter_topic: {
            "num_partitions": 1,
            "replication_factor": settings.topic_replication,
            "configs": {"retention.ms": "-1", "max.message.bytes": str(DEAD_LETTER_BYTES)},
        },
    }
    admin = connect(KafkaAdminClient, settings)
    try:
        for name, options in wanted.items():
            try:
                admin.create_topics({name: options}, wait_for_metadata=True)
            except TopicAlreadyExistsError:
                continue
    except KafkaError as error:
        # Brokers register one by one: what cannot be replicated yet can be in a moment.
        if _hopeless(error) and not isinstance(error, InvalidReplicationFactorError):
            raise Fatal(f"Kafka refuses to make the topics: {error!r}") from error
        raise Unavailable(f"the topics cannot be made yet: {error!r}") from error
    finally:
        admin.close()


def _hopeless(error: KafkaError) -> bool:
    """Tell whether no waiting heals it."""
    return not error.retriable and not isinstance(error, LOGIN_REFUSED)


def message_of(record: ConsumerRecord) -> Message:
    """Return a record as we know it."""
    return Message(
        record.topic,
        record.partition,
        record.offset,
        record.key,
        record.value,
        tuple(record.headers),
    )


def dead_letter_headers(message: Message, error: Exception) -> list[tuple[str, bytes]]:
    """Return a message's own headers and, after them, why and from where it was put aside."""
    return [
        *message.headers,
        (REASON, str(error).encode("utf-8", "backslashreplace")),
        (STACK_CLASS, type(error).__name__.encode("utf-8")),
        (ORIGIN_TOPIC, message.topic.encode("utf-8")),
        (ORIGIN_PARTITION, str(message.partition).encode("ascii")),
        (ORIGIN_OFFSET, str(message.offset).encode("ascii")),
    ]


def connect(client: Callable[..., Any], settings: Settings, **options: object) -> Any:  # noqa: ANN401  kafka-python is untyped
    """Build a kafka-python client, or raise Unavailable; nothing is left behind when its constructor fails."""
    brokers = ", ".join(settings.broker_url)
    try:
        return open_client(
            client,
            settings,
            bootstrap_timeout_ms=BOOTSTRAP_TIMEOUT_MS,
            client_id="async-worker",
            **options,
        )
    except KafkaError as error:
        if _hopeless(error):
            raise Fatal(f"the brokers {brokers} refuse this worker: {error!r}") from error
        raise Unavailable(f"cannot connect to {brokers}: {error!r}") from error
