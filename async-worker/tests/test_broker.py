"""Only kafka-python itself is replaced; tests/integration has the real thing."""

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
    """Notes the topics that are asked for; raises what a test wants."""

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
    """A clock that only waiting moves, in place of the module `time`."""

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
        self.owned = {FIRST, SECOND}
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

    def assignment(self) -> set[TopicPartition]:
        return set(self.owned)

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

    def answer(self, answer: object) -> None:
        """Let Kafka answer the last commit."""
        offsets, callback = self.commits[-1]
        callback(offsets, answer)

    def asked(self) -> list[dict[int, int]]:
        return [
            {partition.partition: kept.offset for partition, kept in offsets.items()}
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


def test_offsets_are_never_committed_by_time_and_nothing_is_skipped(connected: KafkaBroker) -> None:
    options = connected._consumer.options
    assert options["bootstrap_servers"] == ["a:9092", "b:1"]
    assert options["enable_auto_commit"] is False
    assert options["auto_offset_reset"] == "earliest"
    assert options["partition_assignment_strategy"] == (CooperativeStickyAssignor,)
    assert connected._consumer.topics == ["deployments"]


@pytest.mark.usefixtures("connected")
def test_both_topics_are_made_as_set() -> None:
    assert Admin.created["deployments"] == {"num_partitions": 6, "replication_factor": 3}
    assert Admin.created["deployments.dead-letter"]["replication_factor"] == 3
    assert Admin.closed == 1


def test_topics_that_are_there_are_left_alone(make_settings: Callable[..., Settings]) -> None:
    Admin.error = TopicAlreadyExistsError()
    KafkaBroker(make_settings())


def test_too_few_brokers_yet_is_waited_out(make_settings: Callable[..., Settings]) -> None:
    Admin.error = InvalidReplicationFactorError()
    with pytest.raises(Unavailable, match="cannot be made yet"):
        KafkaBroker(make_settings())
    assert Admin.closed == 1


def test_a_topic_that_may_not_be_made_is_fatal(make_settings: Callable[..., Settings]) -> None:
    Admin.error = TopicAuthorizationFailedError()
    with pytest.raises(Fatal, match="refuses to make the topics"):
        KafkaBroker(make_settings())


def test_a_failed_consumer_leaves_no_producer_behind(
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


def test_messages_come_in_the_order_of_their_partition(connected: KafkaBroker) -> None:
    connected._consumer.records = {SECOND: [record(1, 7), record(1, 8)], FIRST: [record(0, 3)]}
    assert [(message.partition, message.offset) for message in connected.poll(0.5)] == [
        (1, 7),
        (1, 8),
        (0, 3),
    ]
    assert connected.poll(0.5)[0] == Message("deployments", 1, 7, b"k", b"v", (("kind", b"x"),))


def test_it_waits_for_messages_until_the_next_heartbeat_is_due(connected: KafkaBroker) -> None:
    consumer = connected._consumer
    consumer.heartbeat_age = 1.25
    assert connected.poll(0.5) == []
    assert consumer.polls == [500]
    consumer.heartbeat_age = 1.75
    connected.poll(0.5)
    assert consumer.polls[1] == 250


def test_while_a_heartbeat_is_late_it_looks_now_and_then_and_pauses_longer_each_time(
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


def test_what_comes_while_a_heartbeat_is_late_is_returned_at_once(
    connected: KafkaBroker, clock: Clock
) -> None:
    consumer = connected._consumer
    consumer.heartbeat_age = 2.5
    consumer.records = {FIRST: [record(0, 3)]}
    assert [message.offset for message in connected.poll(0.5)] == [3]
    assert clock.sleeps == []


def test_before_it_has_joined_no_heartbeat_is_late(connected: KafkaBroker) -> None:
    consumer = connected._consumer
    consumer.state, consumer.heartbeat_age = MemberState.UNJOINED, float("inf")
    connected.poll(0.5)
    assert consumer.polls == [500]


def test_kafka_that_is_away_is_waited_out(connected: KafkaBroker) -> None:
    connected._consumer.error = KafkaTimeoutError()
    with pytest.raises(Unavailable):
        connected.poll(0.5)


def test_an_error_that_stays_is_fatal(connected: KafkaBroker) -> None:
    connected._consumer.error = TopicAuthorizationFailedError()
    with pytest.raises(Fatal, match="refuses to be read"):
        connected.poll(0.5)


def test_brokers_that_refuse_this_worker_are_fatal(
    monkeypatch: pytest.MonkeyPatch, make_settings: Callable[..., Settings]
) -> None:
    def admin(**_: object) -> Admin:
        raise ClusterAuthorizationFailedError

    monkeypatch.setattr(broker, "KafkaAdminClient", admin)
    with pytest.raises(
        Fatal, match=r"the brokers a:9092 refuse this worker: .*ClusterAuthorizationFailed"
    ):
        KafkaBroker(make_settings(BROKER_URL="a"))


def test_a_login_that_is_refused_is_waited_out(
    monkeypatch: pytest.MonkeyPatch, make_settings: Callable[..., Settings]
) -> None:
    def admin(**_: object) -> Admin:
        raise SaslAuthenticationFailedError("invalid credentials")

    monkeypatch.setattr(broker, "KafkaAdminClient", admin)
    with pytest.raises(Unavailable, match=r"cannot connect to a:9092: .*invalid credentials"):
        KafkaBroker(make_settings(BROKER_URL="a"))


def test_a_login_that_is_refused_later_is_waited_out(connected: KafkaBroker) -> None:
    connected._consumer.error = SaslAuthenticationFailedError("invalid credentials")
    with pytest.raises(Unavailable, match="invalid credentials"):
        connected.poll(0.5)


def test_progress_is_known_without_asking_kafka(connected: KafkaBroker) -> None:
    consumer = connected._consumer
    consumer.records = {FIRST: [record(0, 3), record(0, 4)], SECOND: [record(1, 8)]}
    consumer.highwaters = {FIRST: 9}
    connected.poll(0.5)
    assert connected.progress() == ({0: 5, 1: 9}, {0: 4}, 2)
    connected.rewind([Message("deployments", 0, 3, None, None, ())])
    assert connected.progress() == ({0: 3, 1: 9}, {0: 6}, 2)
    consumer.owned = {SECOND}
    assert connected.progress() == ({1: 9}, {}, 1)


def test_commit_names_the_offset_after_the_last_of_each_partition(
    connected: KafkaBroker, make_message: Callable[..., Message]
) -> None:
    connected.commit([make_message(3), make_message(4), make_message(9, partition=1)])
    assert connected._consumer.asked() == [{0: 5, 1: 10}]


def test_commit_leaves_the_partitions_of_others_alone(
    connected: KafkaBroker, make_message: Callable[..., Message]
) -> None:
    connected._consumer.owned = {SECOND}
    connected.commit([make_message(3), make_message(9, partition=1)])
    assert connected._consumer.asked() == [{1: 10}]


def test_one_commit_is_under_way_at_a_time_and_the_next_has_all_that_is_owed(
    connected: KafkaBroker, make_message: Callable[..., Message]
) -> None:
    connected.commit([make_message(3)])
    connected.commit([make_message(4)])
    connected.commit([make_message(9, partition=1)])
    assert connected._consumer.asked() == [{0: 4}]
    connected._consumer.answer(None)
    connected.poll(0.5)
    assert connected._consumer.asked()[1:] == [{0: 5, 1: 10}]
    connected._consumer.answer(None)
    connected.poll(0.5)
    assert len(connected._consumer.commits) == 2, "what is committed is owed no more"


def test_a_commit_that_is_never_answered_does_not_stop_the_next(
    connected: KafkaBroker, make_message: Callable[..., Message], clock: Clock
) -> None:
    connected.commit([make_message(3)])
    clock.now += 4.9
    connected.commit([make_message(4)])
    assert len(connected._consumer.commits) == 1
    clock.now += 0.2
    connected.commit([make_message(5)])
    assert connected._consumer.asked() == [{0: 4}, {0: 6}]


@pytest.mark.parametrize(
    "error", [KafkaTimeoutError(), CommitFailedError(), RebalanceInProgressError()]
)
def test_a_commit_that_fails_is_no_end(
    connected: KafkaBroker, make_message: Callable[..., Message], error: Exception
) -> None:
    connected.commit([make_message(3)])
    connected._consumer.answer(error)
    with pytest.raises(Unavailable, match="offsets are not committed"):
        connected.commit([make_message(4)])
    connected.poll(0.5)
    assert connected._consumer.asked()[-1] == {0: 5}


def test_a_commit_that_fails_while_nothing_comes_is_sent_again(
    connected: KafkaBroker, make_message: Callable[..., Message]
) -> None:
    connected.commit([make_message(3)])
    connected._consumer.answer(KafkaTimeoutError())
    connected.poll(0.5)
    connected.poll(0.5)
    assert connected._consumer.asked() == [{0: 4}, {0: 4}]


def test_a_commit_that_kafka_refuses_for_good_is_fatal(
    connected: KafkaBroker, make_message: Callable[..., Message]
) -> None:
    connected.commit([make_message(3)])
    connected._consumer.answer(GroupAuthorizationFailedError())
    with pytest.raises(Fatal, match="refuses the offsets"):
        connected.poll(0.5)


def test_rewind_goes_back_to_the_first_of_each_partition_owned(
    connected: KafkaBroker, make_message: Callable[..., Message]
) -> None:
    connected._consumer.owned = {FIRST}
    connected.rewind([make_message(3), make_message(4), make_message(9, partition=1)])
    assert connected._consumer.sought == [(FIRST, 3)]


def test_hold_and_release_reach_all_partitions(connected: KafkaBroker) -> None:
    connected.hold()
    assert connected._consumer.paused == {FIRST, SECOND}
    connected.release()
    assert connected._consumer.paused == set()


def test_a_dead_letter_says_why_and_where_from(
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


def test_an_empty_message_without_a_key_can_be_put_aside(connected: KafkaBroker) -> None:
    connected.dead_letter(Message("deployments", 0, 0, None, None, ()), Undecodable("empty"))
    assert connected._producer.sent[0][1]["value"] == b""


def test_a_dead_letter_that_is_not_taken_is_tried_again(
    connected: KafkaBroker, make_message: Callable[..., Message]
) -> None:
    connected._producer.error = KafkaTimeoutError()
    with pytest.raises(Unavailable):
        connected.dead_letter(make_message(), Undecodable("no JSON"))


def test_a_dead_letter_that_may_never_be_written_is_fatal(
    connected: KafkaBroker, make_message: Callable[..., Message]
) -> None:
    connected._producer.error = TopicAuthorizationFailedError()
    with pytest.raises(Fatal, match="refuses the dead letter"):
        connected.dead_letter(make_message(), Undecodable("no JSON"))


def test_a_dead_letter_too_large_for_its_topic_goes_without_its_value(
    connected: KafkaBroker,
) -> None:
    connected._producer.limit = 100
    connected.dead_letter(
        Message("deployments", 1, 7, b"k", b"x" * 200, ()), Undecodable("no JSON")
    )
    _, (_, sent) = connected._producer.sent
    assert (sent["key"], sent["value"]) == (b"k", b"")
    assert dict(sent["headers"]).items() >= {"value-omitted": b"200", "origin-offset": b"7"}.items()


def test_a_heartbeat_is_marked_by_its_header(connected: KafkaBroker) -> None:
    connected.heartbeat(b"{}", b"me")
    ((topic, sent),) = connected._producer.sent
    assert topic == "deployments"
    assert (sent["key"], sent["value"], sent["headers"]) == (b"me", b"{}", [("kind", b"heartbeat")])


def test_heartbeats_go_round_the_partitions_that_this_worker_reads(connected: KafkaBroker) -> None:
    for _ in range(4):
        connected.heartbeat(b"{}", b"me")
        connected._producer.deliveries[-1].success(None)
    assert sorted(sent["partition"] for _, sent in connected._producer.sent) == [0, 0, 1, 1]
    connected._consumer.owned = set()
    connected.heartbeat(b"{}", b"me")
    assert connected._producer.sent[-1][1]["partition"] is None


def test_heartbeats_do_not_pile_up(connected: KafkaBroker) -> None:
    connected.heartbeat(b"1", b"me")
    connected.heartbeat(b"2", b"me")
    connected._producer.deliveries[0].success(None)
    connected.heartbeat(b"3", b"me")
    assert [sent["value"] for _, sent in connected._producer.sent] == [b"1", b"3"]


def test_delivering_follows_the_last_heartbeat(connected: KafkaBroker) -> None:
    seen = [connected.delivering]
    connected._producer.error = KafkaTimeoutError()
    connected.heartbeat(b"1", b"me")
    seen.append(connected.delivering)
    connected._producer.error = None
    connected.heartbeat(b"2", b"me")
    connected._producer.deliveries[-1].success(None)
    seen.append(connected.delivering)
    assert seen == [True, False, True]


@pytest.mark.parametrize(
    ("state", "expected"),
    [(MemberState.STABLE, True), (MemberState.REBALANCING, False), (MemberState.UNJOINED, False)],
)
def test_joined_means_a_settled_share(connected: KafkaBroker, state: str, expected: bool) -> None:  # noqa: FBT001
    connected._consumer.state = state
    assert connected.joined is expected


def test_close_commits_what_is_owed_and_waits_for_it(
    connected: KafkaBroker, make_message: Callable[..., Message]
) -> None:
    connected.commit([make_message(3)])
    connected.close()
    assert {
        partition: kept.offset for partition, kept in connected._consumer.committed.items()
    } == {FIRST: 4}
    assert connected._consumer.closed


def test_a_last_commit_that_fails_keeps_nobody_in_the_group(
    connected: KafkaBroker, make_message: Callable[..., Message]
) -> None:
    connected.commit([make_message(3)])
    connected._consumer.error = KafkaTimeoutError()
    connected.close()
    assert connected._consumer.closed
    assert connected._producer.closed


def test_close_leaves_the_group(connected: KafkaBroker) -> None:
    connected.close()
    assert connected._consumer.closed
    assert connected._producer.closed
