"""Kafka: the only module that talks to it. Importing it costs 0.1 s, so `backends` does so in the background."""

from collections.abc import Callable, Mapping
from typing import Any

from kafka import KafkaAdminClient, KafkaProducer
from kafka.errors import KafkaError
from kafka.net.compat import KafkaNetClient

from .errors import Unavailable
from .event import KIND_HEADER
from .publisher import LINGER_MS, Publisher
from .settings import Settings

__all__ = ["KafkaBroker"]

# How long one attempt to reach any broker may take before the next one.
BOOTSTRAP_TIMEOUT_MS = 5_000
RECONNECT_BACKOFF_MAX_MS = 2_000
# Short enough for a readiness probe: an answer that takes longer is as good as none.
PROBE_TIMEOUT_MS = 2_000
# kafka-python's own default waits up to 30 s for a host that swallows packets.
CONNECT_TIMEOUTS = {"socket_connection_setup_timeout_ms": 2_000, "socket_connection_setup_timeout_max_ms": 2_000}


class KafkaBroker:
    """A connected producer, and an admin client that tells whether the topic can be written."""

    def __init__(self, settings: Settings) -> None:
        """Connect, or raise Unavailable when no broker answers in time."""
        self._topic = settings.topic
        self._timeout = settings.delivery_timeout
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
        carried = [KIND_HEADER, *((name, text.encode("ascii")) for name, text in headers.items())]
        try:
            self._publisher.publish(key.encode("utf-8"), value, carried)
        except KafkaError as error:
            raise Unavailable(f"Kafka did not acknowledge the event: {error!r}") from error

    def check(self) -> None:
        """Raise Unavailable unless every partition of the topic has a leader that this app can be told of."""
        try:
            (topic,) = self._admin.describe_topics([self._topic])
        except KafkaError as error:
            raise Unavailable(f"Kafka does not answer: {error!r}") from error
        leaderless = [entry["partition_index"] for entry in topic["partitions"] if entry["leader_id"] < 0]
        if topic["error_code"] or not topic["partitions"]:
            raise Unavailable(f"the topic {self._topic} cannot be used (Kafka's error {topic['error_code']})")
        if leaderless:
            raise Unavailable(f"partitions {leaderless} of the topic {self._topic} have no leader")

    def close(self) -> None:
        """Let go of both connections."""
        self._publisher.close()
        self._producer.close(timeout=self._timeout)
        self._admin.close()


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
            client_id="api-rest",
            kafka_client=remember,
            **options,
        )
    except KafkaError as error:
        for opened in network:
            opened.close()
        raise Unavailable(f"no broker of {', '.join(settings.broker_url)} answers: {error!r}") from error
