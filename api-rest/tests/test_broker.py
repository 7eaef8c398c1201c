"""Only kafka-python itself is replaced; tests/integration has the real thing."""

from collections.abc import Callable
from typing import Any

import pytest
from api_rest import broker
from api_rest.broker import KafkaBroker
from api_rest.errors import Problem, Unavailable
from api_rest.lag import Lag, LagMonitor
from api_rest.settings import Settings
from kafka import OffsetSpec, TopicPartition
from kafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    InvalidRecordError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    NodeNotReadyError,
    NotCoordinatorError,
    RecordListTooLargeError,
    SaslAuthenticationFailedError,
    TopicAuthorizationFailedError,
    UnknownBrokerIdError,
)
from kafka.structs import OffsetAndMetadata, OffsetAndTimestamp


class Future:
    def __init__(self, error: Exception | None) -> None:
        self.exception = error

    def get(self, timeout: float) -> None:
        assert timeout >= 0
        if self.exception:
            raise self.exception


class Producer:
    def __init__(self, **options: object) -> None:
        self.options: dict[str, Any] = options
        self.sent: list[tuple[str, dict[str, object]]] = []
        self.error: Exception | None = None
        self.closed = False

    def send(self, topic: str, **message: object) -> Future:
        self.sent.append((topic, message))
        return Future(self.error)

    def flush(self, timeout: float) -> None:
        assert timeout > 0

    def close(self, timeout: float) -> None:
        assert timeout >= 0
        self.closed = True


class Admin:
    def __init__(self, **options: object) -> None:
        self.options: dict[str, Any] = options
        self.topic: dict[str, Any] = {
            "error_code": 0,
            "partitions": [{"partition_index": 0, "leader_id": 1}],
        }
        self.error: Exception | None = None
        self.closed = False
        self.ends = {0: 7}
        self.begins = {0: 2}
        self.committed = {0: 5}
        self.group_error: Exception | None = None
        self.asked = 0

    def list_partition_offsets(
        self, requested: dict[TopicPartition, OffsetSpec]
    ) -> dict[TopicPartition, object]:
        self.asked += 1
        offsets = {OffsetSpec.LATEST: self.ends, OffsetSpec.EARLIEST: self.begins}
        return {
            at: OffsetAndTimestamp(offsets[which][at.partition], -1, None)
            for at, which in requested.items()
        }

    def list_group_offsets(
        self, requested: dict[str, list[TopicPartition]]
    ) -> dict[str, dict[TopicPartition, object]]:
        if self.group_error:
            raise self.group_error
        ((group, partitions),) = requested.items()
        return {
            group: {
                at: OffsetAndMetadata(self.committed[at.partition], "", None) for at in partitions
            }
        }

    def describe_topics(self, names: list[str]) -> list[dict[str, Any]]:
        assert names == ["deployments"]
        if self.error:
            raise self.error
        return [self.topic]

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def connected(
    monkeypatch: pytest.MonkeyPatch, make_settings: Callable[..., Settings]
) -> KafkaBroker:
    monkeypatch.setattr(broker, "KafkaProducer", Producer)
    monkeypatch.setattr(broker, "KafkaAdminClient", Admin)
    return KafkaBroker(make_settings(BROKER_URL="a,b:1", DELIVERY_TIMEOUT="3"), LagMonitor())


def test_the_producer_uses_the_settings_and_waits_for_all_replicas(
    connected: KafkaBroker,
) -> None:
    options = connected._producer.options
    assert options["bootstrap_servers"] == ["a:9092", "b:1"]
    assert options["acks"] == "all"
    assert options["delivery_timeout_ms"] == 3000


def test_an_event_is_keyed_by_its_component(connected: KafkaBroker) -> None:
    connected.publish(key="api-rest", value=b"{}", headers={"request-id": "r1"})
    headers = [("kind", b"deployment"), ("request-id", b"r1")]
    assert connected._producer.sent == [
        ("deployments", {"value": b"{}", "key": b"api-rest", "headers": headers})
    ]


@pytest.mark.parametrize(
    "error",
    [
        KafkaTimeoutError("too late"),
        OSError("too late"),
        RuntimeError("too late"),
        ValueError("too late"),
        TypeError("too late"),
    ],
)
def test_an_event_without_acknowledgement_is_unavailable(
    connected: KafkaBroker, error: Exception
) -> None:
    connected._producer.error = error
    with pytest.raises(Unavailable, match="too late"):
        connected.publish(key="api-rest", value=b"{}", headers={})


@pytest.mark.parametrize(
    "error", [MessageSizeTooLargeError("max.message.bytes"), RecordListTooLargeError("segment")]
)
def test_an_event_too_large_for_kafka_is_413(connected: KafkaBroker, error: KafkaError) -> None:
    connected._producer.error = error
    with pytest.raises(Problem) as caught:
        connected.publish(key="api-rest", value=b"{}", headers={})
    assert (caught.value.status, caught.value.code) == (413, "too-large")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (TopicAuthorizationFailedError("deployments"), "may not write"),
        (ClusterAuthorizationFailedError("idempotent"), "may not write"),
        (InvalidRecordError("timestamp"), "refuses the event"),
    ],
)
def test_an_event_that_kafka_refuses_is_a_503_that_says_so(
    connected: KafkaBroker,
    error: KafkaError,
    message: str,
    caplog: pytest.LogCaptureFixture,
    structured: Callable[[pytest.LogCaptureFixture], list[dict[str, Any]]],
) -> None:
    connected._producer.error = error
    with pytest.raises(Problem, match=message) as caught:
        connected.publish(key="api-rest", value=b"{}", headers={})
    assert (caught.value.status, caught.value.code) == (503, "refused-by-kafka")
    assert "Retry-After" in caught.value.headers
    assert [line["reason"] for line in structured(caplog)] == [repr(error)]


def test_a_refused_login_is_no_refused_event(connected: KafkaBroker) -> None:
    connected._producer.error = SaslAuthenticationFailedError("invalid credentials")
    with pytest.raises(Unavailable, match="invalid credentials"):
        connected.publish(key="api-rest", value=b"{}", headers={})


def test_a_missing_topic_is_why_an_event_is_not_acknowledged(connected: KafkaBroker) -> None:
    connected._producer.error = KafkaTimeoutError("no metadata")
    connected._admin.topic = {"error_code": 3, "partitions": []}
    with pytest.raises(Unavailable):
        connected.check()
    with pytest.raises(Unavailable, match="no metadata") as caught:
        connected.publish(key="api-rest", value=b"{}", headers={})
    assert caught.value.plain == "the topic deployments does not exist yet; async-worker creates it"
    connected._admin.topic = Admin().topic
    connected.check()
    with pytest.raises(Unavailable) as caught:
        connected.publish(key="api-rest", value=b"{}", headers={})
    assert caught.value.plain == ""


def test_the_check_fails_without_the_publishing_thread(connected: KafkaBroker) -> None:
    connected._publisher.close()
    with pytest.raises(Unavailable, match="has ended"):
        connected.check()


def test_the_check_passes_if_every_partition_has_a_leader(connected: KafkaBroker) -> None:
    connected.check()


@pytest.mark.parametrize(
    ("topic", "reason"),
    [
        ({"error_code": 3, "partitions": []}, "does not exist yet"),
        ({"error_code": 29, "partitions": []}, "may not be used by api-rest's login"),
        ({"error_code": 17, "partitions": []}, "Kafka's error 17"),
        ({"error_code": 0, "partitions": []}, "cannot be used"),
        (
            {"error_code": 0, "partitions": [{"partition_index": 0, "leader_id": -1}]},
            "have no leader",
        ),
    ],
)
def test_the_check_fails_for_an_unusable_topic(
    connected: KafkaBroker, topic: dict[str, Any], reason: str
) -> None:
    connected._admin.topic = topic
    with pytest.raises(Unavailable, match=reason) as caught:
        connected.check()
    assert caught.value.plain == str(caught.value)


def test_the_check_fails_if_kafka_does_not_answer(connected: KafkaBroker) -> None:
    connected._admin.error = KafkaTimeoutError("kafka:9092")
    with pytest.raises(Unavailable, match="kafka:9092") as caught:
        connected.check()
    assert caught.value.plain == ""


def test_the_check_repeats_the_last_error_between_attempts(connected: KafkaBroker) -> None:
    for error in (
        KafkaTimeoutError("invalid credentials"),
        NodeNotReadyError("No node_id provided"),
    ):
        connected._admin.error = error
        with pytest.raises(Unavailable, match="invalid credentials"):
            connected.check()


def test_the_check_samples_the_lag(connected: KafkaBroker) -> None:
    connected.check()
    assert connected._lag.lag() == Lag(2, 0.0)


def test_a_group_that_has_stored_nothing_begins_at_the_first_event(connected: KafkaBroker) -> None:
    connected._admin.committed = {0: -1}
    connected.check()
    assert connected._lag.lag() == Lag(5, 0.0)


def test_the_lag_is_sampled_every_few_seconds(
    connected: KafkaBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        connected.check()
    assert connected._admin.asked == 1
    monkeypatch.setattr(connected, "_next_sample", 0.0)
    connected.check()
    assert connected._admin.asked == 2


@pytest.mark.parametrize(
    "error", [GroupAuthorizationFailedError("async-worker"), KeyError("a bug")]
)
def test_a_failed_sample_is_logged_once_and_no_problem(
    connected: KafkaBroker,
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    structured: Callable[[pytest.LogCaptureFixture], list[dict[str, Any]]],
) -> None:
    monkeypatch.setattr(broker, "SAMPLE_EVERY", 0)
    connected._admin.group_error = error
    for _ in range(3):
        connected.check()
    assert connected._lag.lag() is None
    assert [line["event"] for line in structured(caplog)] == ["not known how far events are stored"]
    connected._admin.group_error = None
    connected.check()
    assert connected._lag.lag() == Lag(2, 0.0)


@pytest.mark.parametrize(
    "error", [NotCoordinatorError(), UnknownBrokerIdError(), RuntimeError("the loop is closed")]
)
def test_a_failed_sample_makes_a_new_client_look_up_the_coordinator(
    connected: KafkaBroker, error: Exception
) -> None:
    first = connected._admin
    first.group_error = error
    connected.check()
    assert first.closed
    assert connected._admin is not first
    assert connected._admin.options["request_timeout_ms"] == broker.PROBE_TIMEOUT_MS


def test_the_client_stays_while_no_other_connects(
    connected: KafkaBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: object) -> None:
        raise KafkaTimeoutError

    monkeypatch.setattr(broker, "KafkaAdminClient", fail)
    first = connected._admin
    first.group_error = NotCoordinatorError()
    connected.check()
    assert connected._admin is first
    assert not first.closed


def test_a_failed_check_takes_no_sample(connected: KafkaBroker) -> None:
    connected._admin.error = KafkaTimeoutError()
    with pytest.raises(Unavailable):
        connected.check()
    assert connected._admin.asked == 0


def test_close_closes_both_connections(connected: KafkaBroker) -> None:
    connected.close()
    assert connected._producer.closed
    assert connected._admin.closed


def test_a_failed_admin_leaves_no_producer_behind(
    monkeypatch: pytest.MonkeyPatch, make_settings: Callable[..., Settings]
) -> None:
    made: list[Producer] = []

    def producer(**options: object) -> Producer:
        made.append(Producer(**options))
        return made[0]

    def admin(**_: object) -> Admin:
        raise KafkaTimeoutError

    monkeypatch.setattr(broker, "KafkaProducer", producer)
    monkeypatch.setattr(broker, "KafkaAdminClient", admin)
    with pytest.raises(Unavailable):
        KafkaBroker(make_settings(), LagMonitor())
    assert made[0].closed


def test_the_network_is_closed_when_no_broker_answers(
    monkeypatch: pytest.MonkeyPatch, make_settings: Callable[..., Settings]
) -> None:
    opened: list[Any] = []

    def producer(
        *, kafka_client: Callable[..., Any], bootstrap_servers: list[str], **_: object
    ) -> Producer:
        opened.append(kafka_client(bootstrap_servers=bootstrap_servers))
        raise KafkaTimeoutError

    monkeypatch.setattr(broker, "KafkaProducer", producer)
    with pytest.raises(Unavailable, match="cannot connect to a:9092"):
        KafkaBroker(make_settings(BROKER_URL="a"), LagMonitor())
    assert [client._net._closed for client in opened] == [True]
