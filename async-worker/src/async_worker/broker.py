"""Kafka: the consumer and the producer of the worker."""

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
from .event import KIND, KIND_HEARTBEAT, Message, Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from .settings import Settings

__all__ = ["KafkaBroker", "connect", "connect_producer", "dead_letter_headers", "to_message"]

log = structlog.stdlib.get_logger(__name__)

# One attempt to connect. Between attempts the worker checks whether it has to stop.
BOOTSTRAP_TIMEOUT_MS = 3_000
FETCH_BYTES = 4_194_304
# All partitions together: it bounds the memory of a fetch.
FETCH_BYTES_ALL = 16_777_216
DELIVERY_TIMEOUT = 5
COMMIT_TIMEOUT_MS = 5_000
CLOSE_TIMEOUT = 5
# After this the other workers take over the partitions of a worker that was killed.
SESSION_TIMEOUT_MS = 8_000
HEARTBEAT_INTERVAL_MS = 2_000
# kafka-python's metric: seconds since the consumer last sent a heartbeat.
HEARTBEAT_AGE = "last-heartbeat-seconds-ago"
# Pauses between two polls while Kafka does not answer a heartbeat: the first, and the longest.
PAUSES = (0.001, 0.1)
# kafka-python may forget a join that outlasts a poll (docs/kafka-python.md). Joining takes longer
# only while another worker does not answer.
REJOIN_AFTER = 30.0
# A broker accepts messages of 1 MiB by default, and the headers make a dead letter larger.
DEAD_LETTER_BYTES = 2_097_152
# Headers of a dead letter. A redrive removes them.
REASON, STACK_CLASS, VALUE_OMITTED = "reason", "stack-class", "value-omitted"
ORIGIN_TOPIC, ORIGIN_PARTITION, ORIGIN_OFFSET = "origin-topic", "origin-partition", "origin-offset"
# The partitions have another owner, which reads the messages again. That is harmless.
REBALANCED = (
    CommitFailedError,
    IllegalGenerationError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)

# While a password is changed, Kafka and this worker may have different ones for a moment.
LOGIN_ERRORS = (
    IllegalSaslStateError,
    SaslAuthenticationFailedError,
    UnsupportedSaslMechanismError,
)


class KafkaBroker:
    """A consumer in its group, and a producer. Both are used from one thread only."""

    def __init__(self, settings: Settings) -> None:
        """Create the topics, connect and subscribe; raise Unavailable when no broker answers."""
        self._settings = settings
        # Whether Kafka has the last heartbeat that it was sent, and the future of that heartbeat.
        self._delivered = True
        self._heartbeat: Any = None
        self._heartbeats_sent = 0
        # The offsets to commit: those of the messages that are processed.
        self._uncommitted: dict[TopicPartition, int] = {}
        self._commit_error: Exception | None = None
        # Until when the next commit waits for Kafka's answer to the last one.
        self._commit_deadline = 0.0
        # The offset of the next message.
        self._positions: dict[TopicPartition, int] = {}
        # When this worker was last in its group, or joined it again.
        self._last_joined = time.monotonic()
        with ExitStack() as resources:
            _create_topics(settings)
            self._producer = connect_producer(settings)
            resources.callback(self._producer.close, timeout=0)
            self._consumer = connect(
                KafkaConsumer,
                settings,
                group_id=settings.group_id,
                # Offsets are committed once the events are stored, never by a timer.
                enable_auto_commit=False,
                # A group without offsets has stored nothing yet.
                auto_offset_reset="earliest",
                # The other workers go on when one starts or stops.
                partition_assignment_strategy=(CooperativeStickyAssignor,),
                allow_auto_create_topics=False,
                max_poll_records=settings.batch_size,
                # More than a batch, so that the next one arrives while this one is stored.
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
            resources.pop_all()

    @property
    def joined(self) -> bool:
        """Whether this worker is in its group and has its partitions."""
        return bool(self._consumer.group_metadata().state == MemberState.STABLE)

    @property
    def delivering(self) -> bool:
        """Whether the last heartbeat reached Kafka."""
        return self._delivered

    def poll(self, timeout: float) -> list[Message]:
        """Return the next messages, in the order of each partition; none after the timeout."""
        self._rejoin_when_forgotten()
        if self._uncommitted:
            try:
                self._commit_uncommitted()
            except Unavailable as error:
                log.warning("offsets not committed", reason=str(error))
        try:
            polled = self._poll(timeout)
        except KafkaError as error:
            if _is_permanent(error):
                raise Fatal(f"Kafka refuses to be read: {error!r}") from error
            raise Unavailable(f"Kafka cannot be read: {error!r}") from error
        for partition, records in polled.items():
            self._positions[partition] = records[-1].offset + 1
        return [to_message(record) for records in polled.values() for record in records]

    def _poll(self, timeout: float) -> Mapping[TopicPartition, Sequence[Any]]:
        """Return the next records, or none after the timeout.

        While a heartbeat is late, kafka-python 3.0.12 polls without a pause, and each poll adds a
        callback to the pending fetch: 10 MB a second (docs/kafka-python.md). So kafka-python may
        wait only until the next heartbeat is due; after that the pauses are made here.
        """
        deadline = time.monotonic() + timeout
        shortest, longest = PAUSES
        pause = shortest
        while True:
            remaining = max(0.0, deadline - time.monotonic())
            polled: Mapping[TopicPartition, Sequence[Any]] = self._consumer.poll(
                timeout_ms=int(min(remaining, self._until_heartbeat()) * 1000)
            )
            remaining = deadline - time.monotonic()
            if polled or remaining < shortest:
                return polled
            time.sleep(min(pause, remaining))
            pause = min(2 * pause, longest)

    def _rejoin_when_forgotten(self) -> None:
        now = time.monotonic()
        if self.joined:
            self._last_joined = now
        elif now - self._last_joined > REJOIN_AFTER:
            log.warning("not in the group, joining it again", seconds=REJOIN_AFTER)
            self._last_joined = now
            self._consumer.unsubscribe()
            self._consumer.subscribe([self._settings.topic])

    def _until_heartbeat(self) -> float:
        """Return the seconds until the consumer's next heartbeat."""
        # Before it has joined its group, the consumer sends none.
        if not self.joined:
            return math.inf
        return max(0.0, HEARTBEAT_INTERVAL_MS / 1000 - float(self._heartbeat_age.value()))

    def progress(self) -> Progress:
        """Return how far the assigned partitions are read, without a request to Kafka."""
        self._positions = self._only_assigned(self._positions)
        lags = {
            partition.partition: max(0, end - offset)
            for partition, offset in self._positions.items()
            if (end := self._consumer.highwater(partition)) is not None
        }
        positions = {partition.partition: offset for partition, offset in self._positions.items()}
        return Progress(positions, lags, len(self._consumer.assignment()))

    def _only_assigned(self, offsets: dict[TopicPartition, int]) -> dict[TopicPartition, int]:
        assigned = self._consumer.assignment()
        return {partition: offset for partition, offset in offsets.items() if partition in assigned}

    def commit(self, messages: Iterable[Message]) -> None:
        """Commit the offsets up to these messages in the background.

        Raise Unavailable when the previous commit failed; the next one includes its offsets.
        `close` waits until the last offsets are committed.
        """
        for message in {message.partition: message for message in messages}.values():
            self._uncommitted[TopicPartition(message.topic, message.partition)] = message.offset + 1
        self._commit_uncommitted()

    def _commit_uncommitted(self) -> None:
        """Raise the error of the last commit, or start the next unless the last one is pending."""
        error, self._commit_error = self._commit_error, None
        if isinstance(error, KafkaError):
            if _is_permanent(error) and not isinstance(error, REBALANCED):
                raise Fatal(f"Kafka refuses the offsets: {error!r}") from error
            raise Unavailable(f"offsets are not committed: {error!r}")
        if error is not None:
            raise error
        now = time.monotonic()
        if now < self._commit_deadline:
            return
        self._uncommitted = self._only_assigned(self._uncommitted)
        if self._uncommitted:
            # If Kafka never answers, the next commit replaces this one.
            self._commit_deadline = now + COMMIT_TIMEOUT_MS / 1000
            self._consumer.commit_async(_offsets(self._uncommitted), callback=self._on_commit)

    def _on_commit(
        self, offsets: Mapping[TopicPartition, OffsetAndMetadata], result: object
    ) -> None:
        # kafka-python calls this in the consumer's thread, while it polls or commits.
        self._commit_deadline = 0.0
        if isinstance(result, Exception):
            self._commit_error = result
            return
        for partition, offset in offsets.items():
            if self._uncommitted.get(partition) == offset.offset:
                del self._uncommitted[partition]

    def rewind(self, messages: Sequence[Message]) -> None:
        """Read these messages again, except those of partitions that another worker has now."""
        first: dict[TopicPartition, int] = {}
        for message in messages:
            first.setdefault(TopicPartition(message.topic, message.partition), message.offset)
        for partition, offset in self._only_assigned(first).items():
            self._consumer.seek(partition, offset)
            self._positions[partition] = offset

    def pause(self) -> None:
        """Read nothing but stay in the group. A poll may assign partitions that are not paused."""
        self._consumer.pause(*self._consumer.assignment())

    def resume(self) -> None:
        """Read again after `pause`."""
        self._consumer.resume(*self._consumer.assignment())

    def dead_letter(self, message: Message, error: Exception) -> None:
        """Send a message, the reason and its origin to the dead-letter topic; wait for Kafka."""
        headers = dead_letter_headers(message, error)
        try:
            try:
                self._send_dead_letter(message.key, message.value, headers)
            except MessageSizeTooLargeError:
                # The worker did not create this topic. The value can still be read at its origin.
                size = str(len(message.value or b"")).encode("ascii")
                self._send_dead_letter(message.key, b"", [*headers, (VALUE_OMITTED, size)])
        except KafkaError as failure:
            if _is_permanent(failure):
                raise Fatal(f"Kafka refuses the dead letter: {failure!r}") from failure
            raise Unavailable(f"Kafka did not take the dead letter: {failure!r}") from failure

    def _send_dead_letter(
        self, key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]]
    ) -> None:
        # kafka-python sends no message that has neither a key nor a value.
        value = b"" if key is None and value is None else value
        topic = self._settings.dead_letter_topic
        self._producer.send(topic, key=key, value=value, headers=headers).get(
            timeout=DELIVERY_TIMEOUT + 1
        )

    def heartbeat(self, value: bytes, key: bytes) -> None:
        """Send a heartbeat without waiting for it; do nothing while the last one is pending.

        The assigned partitions get one after the other, so that heartbeats test each of them.
        """
        if self._heartbeat is not None and not self._heartbeat.is_done:
            return
        assigned = sorted(self._consumer.assignment())
        self._heartbeats_sent += 1
        index = self._heartbeats_sent
        partition = assigned[index % len(assigned)].partition if assigned else None
        try:
            self._heartbeat = self._producer.send(
                self._settings.topic,
                key=key,
                value=value,
                headers=[(KIND, KIND_HEARTBEAT)],
                partition=partition,
            )
        except KafkaError:
            self._delivered = False
        else:
            self._heartbeat.add_both(self._on_heartbeat)

    def _on_heartbeat(self, result: object) -> None:
        # kafka-python calls this in the producer's thread. Assigning a bool needs no lock.
        self._delivered = not isinstance(result, Exception)

    def close(self) -> None:
        """Commit the last offsets, leave the group and close all connections.

        The other workers take over the partitions as soon as this one leaves.
        """
        for failure, step in {
            "offsets not committed, their messages are read again": self._commit_last,
            "the group could not be left, the others wait for it": self._leave,
            "the producer could not be closed": self._close_producer,
        }.items():
            try:
                step()
            except Exception as error:  # noqa: BLE001  the next step may succeed
                log.warning(failure, reason=repr(error))

    def _commit_last(self) -> None:
        if uncommitted := self._only_assigned(self._uncommitted):
            self._consumer.commit(_offsets(uncommitted), timeout_ms=COMMIT_TIMEOUT_MS)

    def _leave(self) -> None:
        self._consumer.close(autocommit=False, timeout_ms=CLOSE_TIMEOUT * 1000)

    def _close_producer(self) -> None:
        self._producer.close(timeout=CLOSE_TIMEOUT)


def _offsets(offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, OffsetAndMetadata]:
    return {partition: OffsetAndMetadata(offset, "", -1) for partition, offset in offsets.items()}


def _create_topics(settings: Settings) -> None:
    topics: dict[str, dict[str, Any]] = {
        settings.topic: {
            "num_partitions": settings.topic_partitions,
            "replication_factor": settings.topic_replication,
        },
        # Dead letters are few: keep them until somebody removes them.
        settings.dead_letter_topic: {
            "num_partitions": 1,
            "replication_factor": settings.topic_replication,
            "configs": {"retention.ms": "-1", "max.message.bytes": str(DEAD_LETTER_BYTES)},
        },
    }
    admin = connect(KafkaAdminClient, settings)
    try:
        for name, options in topics.items():
            try:
                admin.create_topics({name: options}, wait_for_metadata=True)
            except TopicAlreadyExistsError:
                continue
    except KafkaError as error:
        # Brokers register one after the other, so there may be too few replicas for a moment.
        if _is_permanent(error) and not isinstance(error, InvalidReplicationFactorError):
            raise Fatal(f"Kafka refuses to make the topics: {error!r}") from error
        raise Unavailable(f"the topics cannot be made yet: {error!r}") from error
    finally:
        admin.close()


def _is_permanent(error: KafkaError) -> bool:
    """Return whether no retry can succeed."""
    return not error.retriable and not isinstance(error, LOGIN_ERRORS)


def to_message(record: Any) -> Message:  # noqa: ANN401  kafka-python is untyped
    """Return a record of kafka-python as a message."""
    return Message(
        record.topic,
        record.partition,
        record.offset,
        record.key,
        record.value,
        tuple(record.headers),
    )


def dead_letter_headers(message: Message, error: Exception) -> list[tuple[str, bytes]]:
    """Return the headers of a dead letter: the message's own, the reason and the origin."""
    return [
        *message.headers,
        (REASON, str(error).encode("utf-8", "backslashreplace")),
        (STACK_CLASS, type(error).__name__.encode("utf-8")),
        (ORIGIN_TOPIC, message.topic.encode("utf-8")),
        (ORIGIN_PARTITION, str(message.partition).encode("ascii")),
        (ORIGIN_OFFSET, str(message.offset).encode("ascii")),
    ]


def connect(
    client: Callable[..., Any],
    settings: Settings,
    **options: object,
) -> Any:  # noqa: ANN401  kafka-python is untyped
    """Build a kafka-python client, or close its connections and raise Unavailable or Fatal."""
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
        if _is_permanent(error):
            raise Fatal(f"the brokers {brokers} refuse this worker: {error!r}") from error
        raise Unavailable(f"cannot connect to {brokers}: {error!r}") from error


def connect_producer(
    settings: Settings,
    **options: object,
) -> Any:  # noqa: ANN401  kafka-python is untyped
    """Build a producer that waits DELIVERY_TIMEOUT seconds for Kafka."""
    return connect(
        KafkaProducer,
        settings,
        acks="all",
        # A retry may write a message twice. The worker stores each id once.
        enable_idempotence=False,
        allow_auto_create_topics=False,
        max_block_ms=DELIVERY_TIMEOUT * 1000,
        delivery_timeout_ms=DELIVERY_TIMEOUT * 1000,
        request_timeout_ms=DELIVERY_TIMEOUT * 1000,
        max_request_size=DEAD_LETTER_BYTES,
        **options,
    )
