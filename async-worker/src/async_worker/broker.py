"""Kafka: the only module that talks to it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    InvalidReplicationFactorError,
    KafkaError,
    RebalanceInProgressError,
    TopicAlreadyExistsError,
    UnknownMemberIdError,
)
from kafka.net.compat import KafkaNetClient
from kafka.structs import MemberState

from .errors import Unavailable
from .event import KIND, KIND_HEARTBEAT, Message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .settings import Settings

__all__ = ["KafkaBroker"]

# How long one attempt to reach any broker may take; between attempts the worker looks whether it was told to stop.
BOOTSTRAP_TIMEOUT_MS = 3_000
RECONNECT_BACKOFF_MAX_MS = 2_000
# kafka-python's own default waits up to 30 s for a host that swallows packets.
CONNECT_TIMEOUTS = {"socket_connection_setup_timeout_ms": 2_000, "socket_connection_setup_timeout_max_ms": 2_000}
DELIVERY_TIMEOUT = 5
COMMIT_TIMEOUT_MS = 5_000
CLOSE_TIMEOUT = 5
# How long the others wait before they take over from a worker that died without a word.
SESSION_TIMEOUT_MS = 15_000
# The group has moved on: somebody else reads these messages again, which changes nothing.
SUPERSEDED = (CommitFailedError, IllegalGenerationError, RebalanceInProgressError, UnknownMemberIdError)


class KafkaBroker:
    """A consumer in its group and a producer, both used from one thread only."""

    def __init__(self, settings: Settings) -> None:
        """Connect and subscribe, making the topics first; raise Unavailable when no broker answers."""
        self._settings = settings
        self._delivered = True
        self._pending: Any = None
        with ExitStack() as opened:
            _make_topics(settings)
            self._producer = _connect(
                KafkaProducer,
                settings,
                acks="all",
                # A retry may be written twice; ids make that harmless.
                enable_idempotence=False,
                allow_auto_create_topics=False,
                max_block_ms=DELIVERY_TIMEOUT * 1000,
                delivery_timeout_ms=DELIVERY_TIMEOUT * 1000,
                request_timeout_ms=DELIVERY_TIMEOUT * 1000,
            )
            opened.callback(self._producer.close, timeout=0)
            self._consumer = _connect(
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
                session_timeout_ms=SESSION_TIMEOUT_MS,
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
        try:
            polled = self._consumer.poll(timeout_ms=int(timeout * 1000))
        except KafkaError as error:
            if not error.retriable:
                raise
            raise Unavailable(f"Kafka cannot be read: {error!r}") from error
        return [
            Message(record.topic, record.partition, record.offset, record.key, record.value, tuple(record.headers))
            for records in polled.values()
            for record in records
        ]

    def commit(self, messages: Iterable[Message]) -> None:
        """Note that everything up to these messages is done; raise Unavailable when Kafka does not take that."""
        owned = self._consumer.assignment()
        offsets = {
            partition: OffsetAndMetadata(message.offset + 1, "", -1)
            for message in messages
            if (partition := TopicPartition(message.topic, message.partition)) in owned
        }
        if not offsets:
            return
        try:
            self._consumer.commit(offsets, timeout_ms=COMMIT_TIMEOUT_MS)
        except KafkaError as error:
            if not error.retriable and not isinstance(error, SUPERSEDED):
                raise
            raise Unavailable(f"offsets are not committed: {error!r}") from error

    def rewind(self, messages: Sequence[Message]) -> None:
        """Have these messages read again, unless another worker reads their partition by now."""
        owned = self._consumer.assignment()
        first: dict[TopicPartition, int] = {}
        for message in messages:
            first.setdefault(TopicPartition(message.topic, message.partition), message.offset)
        for partition, offset in first.items():
            if partition in owned:
                self._consumer.seek(partition, offset)

    def hold(self) -> None:
        """Read nothing for a while but stay in the group; again after each poll, which may bring new partitions."""
        self._consumer.pause(*self._consumer.assignment())

    def release(self) -> None:
        """Read on."""
        self._consumer.resume(*self._consumer.assignment())

    def dead_letter(self, message: Message, reason: str) -> None:
        """Put a message aside with the reason and where it came from; return once Kafka has it."""
        headers = [
            *message.headers,
            ("reason", reason.encode("utf-8", "backslashreplace")),
            ("origin-topic", message.topic.encode("utf-8")),
            ("origin-partition", str(message.partition).encode("ascii")),
            ("origin-offset", str(message.offset).encode("ascii")),
        ]
        # Kafka has no message without both key and value; an empty value says the same to a reader.
        value = b"" if message.key is None and message.value is None else message.value
        try:
            future = self._producer.send(
                self._settings.dead_letter_topic, key=message.key, value=value, headers=headers
            )
            future.get(timeout=DELIVERY_TIMEOUT + 1)
        except KafkaError as error:
            raise Unavailable(f"Kafka did not take the dead letter: {error!r}") from error

    def heartbeat(self, value: bytes, key: bytes) -> None:
        """Send a heartbeat without waiting for it; skipped while the last one is still under way."""
        if self._pending is not None and not self._pending.is_done:
            return
        try:
            self._pending = self._producer.send(
                self._settings.topic, key=key, value=value, headers=[(KIND, KIND_HEARTBEAT)]
            )
        except KafkaError:
            self._delivered = False
        else:
            self._pending.add_both(self._settle)

    def _settle(self, result: object) -> None:
        # Called by the producer's thread; assigning a bool needs no lock.
        self._delivered = not isinstance(result, Exception)

    def close(self) -> None:
        """Leave the group, so that the others take over at once, and let go of all connections."""
        self._consumer.close(autocommit=False, timeout_ms=CLOSE_TIMEOUT * 1000)
        self._producer.close(timeout=CLOSE_TIMEOUT)


def _make_topics(settings: Settings) -> None:
    wanted: dict[str, dict[str, Any]] = {
        settings.topic: {"num_partitions": settings.topic_partitions, "replication_factor": settings.topic_replication},
        # Kept until somebody has looked: dead letters are few.
        settings.dead_letter_topic: {
            "num_partitions": 1,
            "replication_factor": settings.topic_replication,
            "configs": {"retention.ms": "-1"},
        },
    }
    admin = _connect(KafkaAdminClient, settings)
    try:
        for name, options in wanted.items():
            try:
                admin.create_topics({name: options}, wait_for_metadata=True)
            except TopicAlreadyExistsError:
                continue
    except KafkaError as error:
        # Brokers register one by one: what cannot be replicated yet can be in a moment.
        if not error.retriable and not isinstance(error, InvalidReplicationFactorError):
            raise
        raise Unavailable(f"the topics cannot be made yet: {error!r}") from error
    finally:
        admin.close()


def _connect(client: Callable[..., Any], settings: Settings, **options: object) -> Any:  # noqa: ANN401  kafka-python is untyped
    """Build a kafka-python client, or raise Unavailable; nothing is left behind when its constructor fails."""
    network: list[Any] = []

    def remember(**arguments: object) -> Any:  # noqa: ANN401
        network.append(KafkaNetClient(**arguments, **CONNECT_TIMEOUTS))
        return network[-1]

    try:
        return client(
            bootstrap_servers=list(settings.broker_url),
            bootstrap_timeout_ms=BOOTSTRAP_TIMEOUT_MS,
            reconnect_backoff_max_ms=RECONNECT_BACKOFF_MAX_MS,
            client_id="async-worker",
            kafka_client=remember,
            **options,
        )
    except KafkaError as error:
        for opened in network:
            opened.close()
        if not error.retriable:
            raise
        raise Unavailable(f"no broker of {', '.join(settings.broker_url)} answers: {error!r}") from error
