"""Kafka: the only module that talks to it.

Importing it takes 0.1 s, so `backends` imports it in a thread.
"""

import time
from collections.abc import Iterable, Mapping
from typing import Any

import structlog
from kafka import KafkaAdminClient, KafkaProducer, OffsetSpec, TopicPartition
from kafka.errors import (
    AuthorizationError,
    BrokerResponseError,
    KafkaError,
    MessageSizeTooLargeError,
    NodeNotReadyError,
    RecordListTooLargeError,
    SaslAuthenticationFailedError,
)
from ledger.broker_network import open_client

from .errors import Problem, Unavailable
from .event import KIND_HEADER
from .lag import LagMonitor
from .publisher import ENDED, LINGER_MS, Publisher
from .settings import Settings

__all__ = ["KafkaBroker"]

log = structlog.stdlib.get_logger(__name__)

# How long one attempt to reach a broker may take.
BOOTSTRAP_TIMEOUT_MS = 5_000
# Short enough for a readiness probe.
PROBE_TIMEOUT_MS = 2_000
# In seconds: a sample takes three requests.
SAMPLE_EVERY = 3.0
# What kafka-python raises when a retry may help. Besides its own errors: OSError by sockets and
# TLS, RuntimeError by its event loop and transports while they close, ValueError and TypeError by a
# topic that is being recreated and has no partitions yet.
RETRYABLE = (KafkaError, OSError, RuntimeError, ValueError, TypeError)
# In seconds: only a change of Kafka's configuration helps against a refusal.
RETRY_REFUSED_AFTER = "60"
# By Kafka's error for a topic.
TOPIC_PROBLEMS = {
    3: "does not exist yet; async-worker creates it",
    29: "may not be used by api-rest's login",
}


class KafkaBroker:
    """A connected producer, and an admin client that checks the topic.

    lag: receives samples of how far the worker's group has stored the topic.
    """

    def __init__(self, settings: Settings, lag: LagMonitor) -> None:
        """Connect, or raise Unavailable when no broker answers in time."""
        self._settings = settings
        self._topic = settings.topic
        self._group = settings.worker_group
        self._lag = lag
        self._next_sample = 0.0
        self._sample_error = ""
        self._timeout = settings.delivery_timeout
        self._reason = "Kafka does not answer"
        # Why the last check could not use the topic.
        self._topic_problem = ""
        timeout_ms = settings.delivery_timeout * 1000
        # kafka-python retries until the delivery timeout. Without Kafka's idempotence a retry may
        # write an event twice, which the worker stores once. Starting saves a round trip.
        self._producer = _connect(
            KafkaProducer,
            settings,
            acks="all",
            enable_idempotence=False,
            allow_auto_create_topics=False,
            max_block_ms=timeout_ms,
            delivery_timeout_ms=timeout_ms,
            # Lingering and the request together must fit into the delivery timeout.
            request_timeout_ms=timeout_ms - LINGER_MS,
            linger_ms=LINGER_MS,
            # Nothing reads them, and each event would cost more.
            metrics_enabled=False,
        )
        try:
            self._admin = _connect_admin(settings)
        except Unavailable:
            self._producer.close(timeout=0)
            raise
        self._publisher = Publisher(self._producer, self._topic, self._timeout)

    def publish(self, *, key: str, value: bytes, headers: Mapping[str, str]) -> None:
        """Return once every in-sync replica has the event, or raise Unavailable.

        Raises a Problem for an event that Kafka refuses. Kafka answers, so others may still pass.
        """
        component = key.encode("utf-8")
        record_headers = [
            KIND_HEADER,
            *((name, text.encode("ascii")) for name, text in headers.items()),
        ]
        try:
            self._publisher.publish(component, value, record_headers)
        except (MessageSizeTooLargeError, RecordListTooLargeError) as error:
            raise Problem(413, "too-large", "Kafka takes no event as large as this") from error
        except RETRYABLE as error:
            if _is_refusal(error):
                raise self._refused(error) from error
            raise Unavailable(
                f"Kafka did not acknowledge the event: {error!r}", plain=self._topic_problem
            ) from error

    def _refused(self, error: Exception) -> Problem:
        log.warning("Kafka refuses an event", topic=self._topic, reason=repr(error))
        message = (
            f"api-rest may not write to Kafka's topic {self._topic}"
            if isinstance(error, AuthorizationError)
            else "Kafka refuses the event"
        )
        return Problem(
            503,
            "refused-by-kafka",
            f"{message}; the operator finds the reason in api-rest's log",
            headers={"Retry-After": RETRY_REFUSED_AFTER},
        )

    def check(self) -> None:
        """Raise Unavailable unless events can be sent and every partition has a leader.

        Every few seconds, also sample how far the topic is stored.
        """
        if not self._publisher.alive:
            raise Unavailable(ENDED)
        try:
            (topic,) = self._admin.describe_topics([self._topic])
        except NodeNotReadyError:
            # The client pauses between two attempts: the last error says more.
            raise Unavailable(self._reason) from None
        except KafkaError as error:
            self._reason = f"Kafka does not answer: {error!r}"
            raise Unavailable(self._reason) from error
        self._topic_problem = _topic_problem(self._topic, topic)
        if self._topic_problem:
            raise Unavailable(self._topic_problem, plain=self._topic_problem)
        if (now := time.monotonic()) >= self._next_sample:
            self._next_sample = now + SAMPLE_EVERY
            self._sample(
                TopicPartition(self._topic, entry["partition_index"])
                for entry in topic["partitions"]
            )

    def _sample(self, partitions: Iterable[TopicPartition]) -> None:
        """Sample how far the topic is stored; a failure is only logged."""
        try:
            # Ends first: events that arrive between the requests do not count as waiting.
            ends = self._offsets(partitions, OffsetSpec.LATEST)
            committed = self._admin.list_group_offsets({self._group: list(ends)})[self._group]
            stored = {
                partition: position.offset
                for partition, position in committed.items()
                if position.offset >= 0
            }
            # A group without a commit begins at the first event that Kafka still has.
            begins = self._offsets(ends.keys() - stored.keys(), OffsetSpec.EARLIEST)
        except Exception as error:  # noqa: BLE001  the app works without
            if isinstance(error, RETRYABLE) and not _is_refusal(error):
                self._replace_admin()
            if type(error).__name__ != self._sample_error:
                self._sample_error = type(error).__name__
                log.warning(
                    "not known how far events are stored", group=self._group, reason=repr(error)
                )
            return
        self._sample_error = ""
        self._lag.sample(_by_number(ends), _by_number({**begins, **stored}))

    def _replace_admin(self) -> None:
        """Connect anew: kafka-python 3.0.12 never looks up the group's coordinator again."""
        try:
            admin = _connect_admin(self._settings)
        except Unavailable:
            return  # the next failure tries again
        former, self._admin = self._admin, admin
        former.close()

    def _offsets(
        self, partitions: Iterable[TopicPartition], spec: OffsetSpec
    ) -> dict[TopicPartition, int]:
        specs = dict.fromkeys(partitions, spec)
        offsets = self._admin.list_partition_offsets(specs) if specs else {}
        return {partition: offset.offset for partition, offset in offsets.items()}

    def close(self) -> None:
        """Close both connections."""
        self._publisher.close()
        self._producer.close(timeout=self._timeout)
        self._admin.close()


def _is_refusal(error: Exception) -> bool:
    """Return whether Kafka answered that it does not do this, and a retry changes nothing.

    A refused login is none: a connection comes before every event.
    """
    return (
        isinstance(error, BrokerResponseError)
        and not error.retriable
        and not isinstance(error, SaslAuthenticationFailedError)
    )


def _topic_problem(name: str, topic: Mapping[str, Any]) -> str:
    """Return why a topic, as Kafka describes it, cannot be used; nothing if it can."""
    code, partitions = topic["error_code"], topic["partitions"]
    if code or not partitions:
        problem = TOPIC_PROBLEMS.get(code, f"cannot be used (Kafka's error {code})")
        return f"the topic {name} {problem}"
    if leaderless := [entry["partition_index"] for entry in partitions if entry["leader_id"] < 0]:
        return f"partitions {leaderless} of the topic {name} have no leader"
    return ""


def _by_number(offsets: Mapping[TopicPartition, int]) -> dict[int, int]:
    return {partition.partition: offset for partition, offset in offsets.items()}


def _connect_admin(settings: Settings) -> Any:  # noqa: ANN401  kafka-python is untyped
    return _connect(KafkaAdminClient, settings, request_timeout_ms=PROBE_TIMEOUT_MS)


def _connect(client: Any, settings: Settings, **options: object) -> Any:  # noqa: ANN401  untyped
    """Return a connected kafka-python client, or raise Unavailable."""
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
