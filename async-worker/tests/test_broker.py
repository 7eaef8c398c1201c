"""KafkaBroker with fakes of kafka-python; tests/integration has the real Kafka."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from async_worker import broker
from async_worker.broker import KafkaBroker
from async_worker.errors import Fatal, Unavailable, Undecodable
from async_worker.event import Message
from async_worker.settings import Settings
from kafka import OffsetAndMetadata, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import (
    ClusterAuthorizationFailedError,
    CommitFailedError,
    GroupAuthorizationFailedError,
    InvalidReplicationFactorError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    RebalanceInProgressError,
    SaslAuthenticationFailedError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
)
from kafka.future import Future
from kafka.metrics import MetricName
from kafka.structs import MemberState

FIRST, SECOND = TopicPartition("deployments", 0), TopicPartition("deployments", 1)


class Admin:
    """Keeps the created topics, or raises `error`."""

    created: dict[str, dict[str, Any]]
    error: Exception | None
    closed: int

    def create_topics(self, topics: dict[str, dict[str, Any]], *, wait_for_metadata: bool) -> None:
        assert wait_for_metadata
        if error := type(self).error:
            raise error
        type(self).created.update(topics)

    def close(self) -> None:
        type(self).closed += 1


class Delivery(Future):  # type: ignore[misc]  # kafka-python is untyped
    def get(self, timeout: float) -> None:
        assert timeout > 0
        if self.exception:
            raise self.exception


class Producer:
    def __init__(self, **options: object) -> None:
        self.options: dict[str, Any] = options
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.deliveries: list[Delivery] = []
        self.error: Exception | None = None
        self.limit = 0
        self.closed = False

    def send(self, topic: str, **message: object) -> Delivery:
        self.sent.append((topic, message))
        self.deliveries.append(Delivery())
        if self.limit and len(str(message["value"])) > self.limit:
            self.deliveries[-1].failure(MessageSizeTooLargeError())
        if self.error:
            self.deliveries[-1].failure(self.error)
        return self.deliveries[-1]

    def close(self, timeout: float) -> None:
        assert timeout >= 0
        self.closed = True


class Clock:
    """Replaces the module `time`: only sleep() moves the time."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.sleeps: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds


class Consumer:
    clock: Clock

    def __init__(self, **options: object) -> None:
        self.options: dict[str, Any] = options
        self.topics: list[str] = []
        self.left = 0
        self.assigned = {FIRST, SECOND}
        self.records: dict[TopicPartition, list[Any]] = {}
        self.committed: dict[TopicPartition, OffsetAndMetadata] = {}
        self.commits: list[tuple[dict[TopicPartition, OffsetAndMetadata], Callable[..., None]]] = []
        self.highwaters: dict[TopicPartition, int] = {}
        self.sought: list[tuple[TopicPartition, int]] = []
        self.paused: set[TopicPartition] = set()
        self.state = MemberState.STABLE
        self.error: Exception | None = None
        self.closed = False
        self.heartbeat_age = 0.0
        self.polls: list[int] = []

    def metrics(self, *, raw: bool) -> dict[MetricName, SimpleNamespace]:
        assert raw
        ages = {
            "heartbeat-rate": lambda: 0.5,
            "last-heartbeat-seconds-ago": lambda: self.heartbeat_age,
        }
        return {
            MetricName(name, "coordinator"): SimpleNamespace(value=age)
            for name, age in ages.items()
        }

    def subscribe(self, topics: list[str]) -> None:
        self.topics = topics

    def unsubscribe(self) -> None:
        self.topics = []
        self.left += 1

    def assignment(self) -> set[TopicPartition]:
        return set(self.assigned)

    def poll(self, timeout_ms: int) -> dict[TopicPartition, list[Any]]:
        self.polls.append(timeout_ms)
        if self.error:
            raise self.error
        if not self.records:
            self.clock.now += timeout_ms / 1000
        return self.records

    def highwater(self, partition: TopicPartition) -> int | None:
        return self.highwaters.get(partition)

    def commit_async(
        self, offsets: dict[TopicPartition, OffsetAndMetadata], callback: Callable[..., None]
    ) -> None:
        self.commits.append((offsets, callback))

    def finish_commit(self, result: object) -> None:
        """Finish the last commit."""
        offsets, callback = self.commits[-1]
        callback(offsets, result)

    def commit_offsets(self) -> list[dict[int, int]]:
        return [
            {partition.partition: metadata.offset for partition, metadata in offsets.items()}
            for offsets, _ in self.commits
        ]

    def commit(self, offsets: dict[TopicPartition, OffsetAndMetadata], timeout_ms: int) -> None:
        assert timeout_ms > 0
        if self.error:
            raise self.error
        self.committed.update(offsets)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.sought.append((partition, offset))

    def pause(self, *partitions: TopicPartition) -> None:
        self.paused.update(partitions)

    def resume(self, *partitions: TopicPartition) -> None:
        self.paused.difference_update(partitions)

    def group_metadata(self) -> SimpleNamespace:
        return SimpleNamespace(state=self.state)

    def close(self, *, autocommit: bool, timeout_ms: int) -> None:
        assert not autocommit
        assert timeout_ms > 0
        self.closed = True


@pytest.fixture
def clock() -> Clock:
    Consumer.clock = Clock()
    return Consumer.clock


@pytest.fixture(autouse=True)
def _kafka(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    monkeypatch.setattr(broker, "time", clock)
    monkeypatch.setattr(broker, "KafkaAdminClient", lambda **_: Admin())
    monkeypatch.setattr(broker, "KafkaProducer", Producer)
    monkeypatch.setattr(broker, "KafkaConsumer", Consumer)
    Admin.created, Admin.error, Admin.closed = {}, None, 0


@pytest.fixture
def connected(make_settings: Callable[..., Settings]) -> KafkaBroker:
    return KafkaBroker(
        make_settings(BROKER_URL="a,b:1", TOPIC_PARTITIONS="6", TOPIC_REPLICATION="3")
    )


def test_the_consumer_commits_by_hand_and_starts_at_the_first_message(
    connected: KafkaBroker,
) -> None:
    options = connected._consumer.options
    assert options["bootstrap_servers"] == ["a:9092", "b:1"]
    assert options["enable_auto_commit"] is False
    assert options["auto_offset_reset"] == "earliest"
    assert options["partition_assignment_strategy"] == (CooperativeStickyAssignor,)
    assert connected._consumer.topics == ["deployments"]


@pytest.mark.usefixtures("connected")
def test_both_topics_are_created_from_the_settings() -> None:
    assert Admin.created["deployments"] == {"num_partitions": 6, "replication_factor": 3}
    assert Admin.created["deployments.dead-letter"]["replication_factor"] == 3
    assert Admin.closed == 1


def test_existing_topics_are_kept(make_settings: Callable[..., Settings]) -> None:
    Admin.error = TopicAlreadyExistsError()
    KafkaBroker(make_settings())


@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        (InvalidReplicationFactorError(), Unavailable, "cannot be made yet"),
        (TopicAuthorizationFailedError(), Fatal, "refuses to make the topics"),
    ],
)
def test_an_error_while_topics_are_created_is_translated(
    make_settings: Callable[..., Settings],
    error: Exception,
    expected: type[Exception],
    message: str,
) -> None:
    Admin.error = error
    with pytest.raises(expected, match=message):
        KafkaBroker(make_settings())
    assert Admin.closed == 1


def test_the_producer_is_closed_when_the_consumer_fails(
    monkeypatch: pytest.MonkeyPatch, make_settings: Callable[..., Settings]
) -> None:
    made: list[Producer] = []

    def producer(**options: object) -> Producer:
        made.append(Producer(**options))
        return made[0]

    def consumer(**_: object) -> Consumer:
        raise KafkaTimeoutError

    monkeypatch.setattr(broker, "KafkaProducer", producer)
    monkeypatch.setattr(broker, "KafkaConsumer", consumer)
    with pytest.raises(Unavailable):
        KafkaBroker(make_settings())
    assert made[0].closed


def test_the_network_is_closed_when_no_broker_answers(
    monkeypatch: pytest.MonkeyPatch, make_settings: Callable[..., Settings]
) -> None:
    opened: list[Any] = []

    def admin(
        *, kafka_client: Callable[..., Any], bootstrap_servers: list[str], **_: object
    ) -> Admin:
        opened.append(kafka_client(bootstrap_servers=bootstrap_servers))
        raise KafkaTimeoutError

    monkeypatch.setattr(broker, "KafkaAdminClient", admin)
    with pytest.raises(Unavailable, match="cannot connect to a:9092"):
        KafkaBroker(make_settings(BROKER_URL="a"))
    assert [client._net._closed for client in opened] == [True]


def record(partition: int, offset: int) -> SimpleNamespace:
    return SimpleNamespace(
        topic="deployments",
        partition=partition,
        offset=offset,
        key=b"k",
        value=b"v",
        headers=[("kind", b"x")],
    )


def test_poll_keeps_the_order_of_each_partition(connected: KafkaBroker) -> None:
    connected._consumer.records = {SECOND: [record(1, 7), record(1, 8)], FIRST: [record(0, 3)]}
    assert [(message.partition, message.offset) for message in connected.poll(0.5)] == [
        (1, 7),
        (1, 8),
        (0, 3),
    ]
    assert connected.poll(0.5)[0] == Message("deployments", 1, 7, b"k", b"v", (("kind", b"x"),))


def test_a_poll_ends_when_the_next_heartbeat_is_due(connected: KafkaBroker) -> None:
    consumer = connected._consumer
    consumer.heartbeat_age = 1.25
    assert connected.poll(0.5) == []
    assert consumer.polls == [500]
    consumer.heartbeat_age = 1.75
    connected.poll(0.5)
    assert consumer.polls[1] == 250


def test_while_a_heartbeat_is_late_polls_have_growing_pauses(
    connected: KafkaBroker, clock: Clock
) -> None:
    consumer = connected._consumer
    consumer.heartbeat_age = 2.5
    began = clock.now
    assert connected.poll(0.5) == []
    assert clock.now - began == pytest.approx(0.5, abs=0.001)
    assert set(consumer.polls) == {0}
    assert len(consumer.polls) < 15
    assert clock.sleeps[:3] == [0.001, 0.002, 0.004]
    assert max(clock.sleeps) == 0.1


def test_while_a_heartbeat_is_late_messages_are_returned_immediately(
    connected: KafkaBroker, clock: Clock
) -> None:
    consumer = connected._consumer
    consumer.heartbeat_age = 2.5
    consumer.records = {FIRST: [record(0, 3)]}
    assert [message.offset for message in connected.poll(0.5)] == [3]
    assert clock.sleeps == []


def test_an_unjoined_consumer_has_no_late_heartbeat(connected: KafkaBroker) -> None:
    consumer = connected._consumer
    consumer.state, consumer.heartbeat_age = MemberState.UNJOINED, float("inf")
    connected.poll(0.5)
    assert consumer.polls == [500]


@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        (KafkaTimeoutError(), Unavailable, "cannot be read"),
        (SaslAuthenticationFailedError("invalid credentials"), Unavailable, "invalid credentials"),
        (TopicAuthorizationFailedError(), Fatal, "refuses to be read"),
    ],
)
def test_an_error_of_poll_is_translated(
    connected: KafkaBroker, error: Exception, expected: type[Exception], message: str
) -> None:
    connected._consumer.error = error
    with pytest.raises(expected, match=message):
        connected.poll(0.5)


@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        (
            ClusterAuthorizationFailedError(),
            Fatal,
            "the brokers a:9092 refuse this worker: .*ClusterAuthorizationFailed",
        ),
        (
            SaslAuthenticationFailedError("invalid credentials"),
            Unavailable,
            "cannot connect to a:9092: .*invalid credentials",
        ),
    ],
)
def test_an_error_while_connecting_is_translated(
    monkeypatch: pytest.MonkeyPatch,
    make_settings: Callable[..., Settings],
    error: Exception,
    expected: type[Exception],
    message: str,
) -> None:
    def admin(**_: object) -> Admin:
        raise error

    monkeypatch.setattr(broker, "KafkaAdminClient", admin)
    with pytest.raises(expected, match=message):
        KafkaBroker(make_settings(BROKER_URL="a"))


def test_progress_has_positions_lags_and_the_number_of_partitions(connected: KafkaBroker) -> None:
    consumer = connected._consumer
    consumer.records = {FIRST: [record(0, 3), record(0, 4)], SECOND: [record(1, 8)]}
    consumer.highwaters = {FIRST: 9}
    connected.poll(0.5)
    assert connected.progress() == ({0: 5, 1: 9}, {0: 4}, 2)
    connected.rewind([Message("deployments", 0, 3, None, None, ())])
    assert connected.progress() == ({0: 3, 1: 9}, {0: 6}, 2)
    consumer.assigned = {SECOND}
    assert connected.progress() == ({1: 9}, {}, 1)


def test_commit_has_the_next_offset_of_each_partition(
    connected: KafkaBroker, make_message: Callable[..., Message]
) -> None:
    connected.commit([make_message(3), make_message(4), make_message(9, partition=1)])
    assert connected._consumer.commit_offsets() == [{0: 5, 1: 10}]


def test_commit_skips_partitions_of_other_workers(
    connected: KafkaBroker, make_message: Callable[..., Message]
) -> None:
    connected._consumer.assigned = {SECOND}
    connected.commit([make_message(3), make_message(9, partition=1)])
    assert connected._consumer.commit_offsets() == [{1: 10}]


def test_one_commit_is_pending_at_a_time_and_the_next_has_all_offsets(
    connected: KafkaBroker, make_message: Callable[..., Message]
) -> None:
    connected.commit([make_message(3)])
    connected.commit([make_message(4)])
    connected.commit([make_message(9, partition=1)])
    assert connected._consumer.commit_offsets() == [{0: 4}]
    connected._consumer.finish_commit(None)
    connected.poll(0.5)
    assert connected._consumer.commit_offsets()[1:] == [{0: 5, 1: 10}]
    connected._consumer.finish_commit(None)
    connected.poll(0.5)
    assert len(connected._consumer.commits) == 2, "committed offsets are committed once"


def test_a_commit_without_a_response_is_replaced_after_its_timeout(
    connected: KafkaBroker, make_message: Callable[..., Message], clock: Clock
) -> None:
    connected.commit([make_message(3)])
    clock.now += 4.9
    connected.commit([make_message(4)])
    assert len(connected._consumer.commits) == 1
    clock.now += 0.2
    connected.commit([make_message(5)])
    assert connected._consumer.commit_offsets() == [{0: 4}, {0: 6}]


@pytest.mark.parametrize(
    "error", [KafkaTimeoutError(), CommitFailedError(), RebalanceInProgressError()]
)
def test_a_failed_commit_is_retried_with_the_next_offsets(
    connected: KafkaBroker, make_message: Callable[..., Message], error: Exception
) -> None:
    connected.commit([make_message(3)])
    connected._consumer.finish_commit(error)
    with pytest.raises(Unavailable, match="offsets are not committed"):
        connected.commit([make_message(4)])
    connected.poll(0.5)
    assert connected._consumer.commit_offsets()[-1] == {0: 5}


def test_a_failed_commit_is_retried_without_new_messages(
    connected: KafkaBroker, make_message: Callable[..., Message]
) -> None:
    connected.commit([make_message(3)])
    connected._consumer.finish_commit(KafkaTimeoutError())
    connected.poll(0.5)
    connected.poll(0.5)
    assert connected._consumer.commit_offsets() == [{0: 4}, {0: 4}]


def test_a_forbidden_commit_is_fatal(
    connected: KafkaBroker, make_message: Callable[..., Message]
) -> None:
    connected.commit([make_message(3)])
    connected._consumer.finish_commit(GroupAuthorizationFailedError())
    with pytest.raises(Fatal, match="refuses the offsets"):
        connected.poll(0.5)


def test_an_unexpected_exception_in_a_commit_surfaces_and_loses_no_offset(
    connected: KafkaBroker, make_message: Callable[..., Message]
) -> None:
    connected.commit([make_message(3)])
    connected._consumer.finish_commit(LookupError("a bug"))
    with pytest.raises(LookupError, match="a bug"):
        connected.poll(0.5)
    connected.close()
    assert {metadata.offset for metadata in connected._consumer.committed.values()} == {4}


def test_rewind_seeks_the_first_message_of_each_assigned_partition(
    connected: KafkaBroker, make_message: Callable[..., Message]
) -> None:
    connected._consumer.assigned = {FIRST}
    connected.rewind([make_message(3), make_message(4), make_message(9, partition=1)])
    assert connected._consumer.sought == [(FIRST, 3)]


def test_pause_and_resume_affect_all_partitions(connected: KafkaBroker) -> None:
    connected.pause()
    assert connected._consumer.paused == {FIRST, SECOND}
    connected.resume()
    assert connected._consumer.paused == set()


def test_a_dead_letter_has_its_reason_and_origin(
    connected: KafkaBroker, make_message: Callable[..., Message]
) -> None:
    message = make_message(7, partition=1)
    connected.dead_letter(message, Undecodable("no \ud800 JSON"))
    ((topic, sent),) = connected._producer.sent
    assert topic == "deployments.dead-letter"
    assert (sent["key"], sent["value"]) == (message.key, message.value)
    assert dict(sent["headers"]) == {
        "kind": b"deployment",
        "reason": rb"no \ud800 JSON",
        "stack-class": b"Undecodable",
        "origin-topic": b"deployments",
        "origin-partition": b"1",
        "origin-offset": b"7",
    }


def test_an_empty_message_without_a_key_can_be_a_dead_letter(connected: KafkaBroker) -> None:
    connected.dead_letter(Message("deployments", 0, 0, None, None, ()), Undecodable("empty"))
    assert connected._producer.sent[0][1]["value"] == b""


@pytest.mark.parametrize(
    ("error", "expected"),
    [(KafkaTimeoutError(), Unavailable), (TopicAuthorizationFailedError(), Fatal)],
)
def test_an_error_of_a_dead_letter_is_translated(
    connected: KafkaBroker,
    make_message: Callable[..., Message],
    error: Exception,
    expected: type[Exception],
) -> None:
    connected._producer.error = error
    with pytest.raises(expected, match="the dead letter"):
        connected.dead_letter(make_message(), Undecodable("no JSON"))


def test_a_dead_letter_that_is_too_large_loses_its_value(
    connected: KafkaBroker,
) -> None:
    connected._producer.limit = 100
    connected.dead_letter(
        Message("deployments", 1, 7, b"k", b"x" * 200, ()), Undecodable("no JSON")
    )
    _, (_, sent) = connected._producer.sent
    assert (sent["key"], sent["value"]) == (b"k", b"")
    assert dict(sent["headers"]).items() >= {"value-omitted": b"200", "origin-offset": b"7"}.items()


def test_a_heartbeat_has_its_header(connected: KafkaBroker) -> None:
    connected.heartbeat(b"{}", b"me")
    ((topic, sent),) = connected._producer.sent
    assert topic == "deployments"
    assert (sent["key"], sent["value"], sent["headers"]) == (b"me", b"{}", [("kind", b"heartbeat")])


def test_heartbeats_rotate_over_the_assigned_partitions(connected: KafkaBroker) -> None:
    for _ in range(4):
        connected.heartbeat(b"{}", b"me")
        connected._producer.deliveries[-1].success(None)
    assert sorted(sent["partition"] for _, sent in connected._producer.sent) == [0, 0, 1, 1]
    connected._consumer.assigned = set()
    connected.heartbeat(b"{}", b"me")
    assert connected._producer.sent[-1][1]["partition"] is None


def test_no_heartbeat_is_sent_while_another_is_pending(connected: KafkaBroker) -> None:
    connected.heartbeat(b"1", b"me")
    connected.heartbeat(b"2", b"me")
    connected._producer.deliveries[0].success(None)
    connected.heartbeat(b"3", b"me")
    assert [sent["value"] for _, sent in connected._producer.sent] == [b"1", b"3"]


def test_delivering_is_the_result_of_the_last_heartbeat(connected: KafkaBroker) -> None:
    results = [connected.delivering]
    connected._producer.error = KafkaTimeoutError()
    connected.heartbeat(b"1", b"me")
    results.append(connected.delivering)
    connected._producer.error = None
    connected.heartbeat(b"2", b"me")
    connected._producer.deliveries[-1].success(None)
    results.append(connected.delivering)
    assert results == [True, False, True]


def test_a_join_that_takes_too_long_is_repeated(connected: KafkaBroker, clock: Clock) -> None:
    consumer = connected._consumer
    clock.now += 2 * broker.REJOIN_AFTER
    connected.poll(0)
    consumer.state = MemberState.REBALANCING
    clock.now += broker.REJOIN_AFTER
    connected.poll(0)
    assert consumer.left == 0
    for _ in range(2):
        clock.now += 1
        connected.poll(0)
    assert (consumer.left, consumer.topics) == (1, ["deployments"])
    clock.now += broker.REJOIN_AFTER
    connected.poll(0)
    assert consumer.left == 2


@pytest.mark.parametrize(
    ("state", "expected"),
    [(MemberState.STABLE, True), (MemberState.REBALANCING, False), (MemberState.UNJOINED, False)],
)
def test_only_a_stable_member_has_joined(
    connected: KafkaBroker,
    state: str,
    expected: bool,
) -> None:
    connected._consumer.state = state
    assert connected.joined is expected


def test_close_commits_the_last_offsets_and_closes_both_clients(
    connected: KafkaBroker, make_message: Callable[..., Message]
) -> None:
    connected.commit([make_message(3)])
    connected.close()
    committed = connected._consumer.committed
    assert {partition: metadata.offset for partition, metadata in committed.items()} == {FIRST: 4}
    assert connected._consumer.closed
    assert connected._producer.closed


def test_close_leaves_the_group_even_if_the_commit_fails(
    connected: KafkaBroker, make_message: Callable[..., Message]
) -> None:
    connected.commit([make_message(3)])
    connected._consumer.error = KafkaTimeoutError()
    connected.close()
    assert connected._consumer.closed
    assert connected._producer.closed
