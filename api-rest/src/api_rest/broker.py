"""Kafka: the only module that talks to it. Importing it costs 0.1 s, so `backends` does so in the background."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import structlog
from kafka import KafkaAdminClient, KafkaProducer, OffsetSpec, TopicPartition
from kafka.errors import KafkaError, MessageSizeTooLargeError, NodeNotReadyError
from ledger.broker_network import open_client

from .errors import Problem, Unavailable
from .event import KIND_HEADER
from .lag import Storing
from .publisher import ENDED, LINGER_MS, Publisher
from .settings import Settings

__all__ = ["KafkaBroker"]

log = structlog.stdlib.get_logger(__name__)

# How long one attempt to reach any broker may take before the next one.
BOOTSTRAP_TIMEOUT_MS = 5_000
# Short enough for a readiness probe: an answer that takes longer is as good as none.
PROBE_TIMEOUT_MS = 2_000
# It takes three requests, and nobody needs to know it to the second.
SAMPLE_EVERY = 3.0
# What kafka-python raises when trying again may help. Besides its own errors: those of sockets and
# TLS (OSError), of its event loop and transports while they are closed (RuntimeError), and of a topic
# that is being made anew, which has no partitions at this moment (ValueError, and TypeError when that
# happens within one call).
AWAY = (KafkaError, OSError, RuntimeError, ValueError, TypeError)


class KafkaBroker:
    """A connected producer, and an admin client that tells whether the topic can be written.

    storing: what is told how far the worker's group has stored the topic.
    """

    def __init__(self, settings: Settings, storing: Storing) -> None:
        """Connect, or raise Unavailable when no broker answers in time."""
        self._topic = settings.topic
        self._group = settings.worker_group
        self._storing = storing
        self._next_sample = 0.0
        self._not_sampled = ""
        self._timeout = settings.delivery_timeout
        self._reason = "Kafka does not answer"
        timeout_ms = settings.delivery_timeout * 1000
        # kafka-python retries by itself until the delivery timeout. Without Kafka's idempotence a retry may be
        # written twice: harmless, since the worker stores an event id once, and it saves a round trip at start.
        self._producer = _connect(
            KafkaProducer,
            settings,
            acks="all",
            enable_idempotence=False,
            allow_auto_create_topics=False,
            max_block_ms=timeout_ms,
            delivery_timeout_ms=timeout_ms,
            # The whole of both must fit into the delivery timeout.
            request_timeout_ms=timeout_ms - LINGER_MS,
            linger_ms=LINGER_MS,
            # Nobody reads them, and each event would pay for them.
            metrics_enabled=False,
        )
        try:
            self._admin = _connect(KafkaAdminClient, settings, request_timeout_ms=PROBE_TIMEOUT_MS)
        except Unavailable:
            self._producer.close(timeout=0)
            raise
        self._publisher = Publisher(self._producer, self._topic, self._timeout)

    def publish(self, *, key: str, value: bytes, headers: Mapping[str, str]) -> None:
        """Return once every in-sync replica has the event, with these headers, or raise Unavailable."""
        component = key.encode("utf-8")
        carried = [KIND_HEADER, *((name, text.encode("ascii")) for name, text in headers.items())]
        try:
            self._publisher.publish(component, value, carried)
        except MessageSizeTooLargeError as error:
            raise Problem(413, "too-large", "Kafka takes no event as large as this") from error
        except AWAY as error:
            raise Unavailable(f"Kafka did not acknowledge the event: {error!r}") from error

    def check(self) -> None:
        """Raise Unavailable unless events can be sent and every partition of the topic has a leader.

        Otherwise also note, every few seconds, how far the topic is stored.
        """
        if not self._publisher.alive:
            raise Unavailable(ENDED)
        try:
            (topic,) = self._admin.describe_topics([self._topic])
        except NodeNotReadyError:
            # It rests between two attempts: the last one says more.
            raise Unavailable(self._reason) from None
        except KafkaError as error:
            self._reason = f"Kafka does not answer: {error!r}"
            raise Unavailable(self._reason) from error
        leaderless = [
            entry["partition_index"] for entry in topic["partitions"] if entry["leader_id"] < 0
        ]
        if topic["error_code"] or not topic["partitions"]:
            raise _unusable(
                f"the topic {self._topic} cannot be used (Kafka's error {topic['error_code']})"
            )
        if leaderless:
            raise _unusable(f"partitions {leaderless} of the topic {self._topic} have no leader")
        if (now := time.monotonic()) >= self._next_sample:
            self._next_sample = now + SAMPLE_EVERY
            self._sample(
                TopicPartition(self._topic, entry["partition_index"])
                for entry in topic["partitions"]
            )

    def _sample(self, partitions: Iterable[TopicPartition]) -> None:
        """Note how far the topic is stored; not to know that is no reason not to serve."""
        try:
            # In this order: what comes meanwhile does not seem to wait.
            ends = self._offsets(partitions, OffsetSpec.LATEST)
            committed = self._admin.list_group_offsets({self._group: list(ends)})[self._group]
            stored = {
                partition: found.offset
                for partition, found in committed.items()
                if found.offset >= 0
            }
            # A group begins at the first event that Kafka still has.
            begins = self._offsets(ends.keys() - stored.keys(), OffsetSpec.EARLIEST)
        except Exception as error:  # noqa: BLE001  no reason not to take events
            # kafka-python 3.0.12 never asks again which broker is the group's coordinator.
            self._admin._manager.cluster._coordinators.clear()  # noqa: SLF001
            if type(error).__name__ != self._not_sampled:
                self._not_sampled = type(error).__name__
                log.warning(
                    "not known how far events are stored", group=self._group, reason=repr(error)
                )
            return
        self._not_sampled = ""
        self._storing.sample(_by_number(ends), _by_number({**begins, **stored}))

    def _offsets(
        self, partitions: Iterable[TopicPartition], which: OffsetSpec
    ) -> dict[TopicPartition, int]:
        wanted = dict.fromkeys(partitions, which)
        found = self._admin.list_partition_offsets(wanted) if wanted else {}
        return {partition: offset.offset for partition, offset in found.items()}

    def close(self) -> None:
        """Let go of both connections."""
        self._publisher.close()
        self._producer.close(timeout=self._timeout)
        self._admin.close()


def _unusable(reason: str) -> Unavailable:
    return Unavailable(reason, plain=reason)


def _by_number(offsets: Mapping[TopicPartition, int]) -> dict[int, int]:
    return {partition.partition: offset for partition, offset in offsets.items()}


def _connect(client: Callable[..., Any], settings: Settings, **options: object) -> Any:  # noqa: ANN401  kafka-python is untyped
    """Build a kafka-python client, or raise Unavailable; nothing is left behind when its constructor fails."""
    try:
        return open_client(
            client,
            settings,
            bootstrap_timeout_ms=BOOTSTRAP_TIMEOUT_MS,
            client_id="api-rest",
            **options,
        )
    except KafkaError as error:
        raise Unavailable(
            f"cannot connect to {', '.join(settings.broker_url)}: {error!r}"
        ) from error
