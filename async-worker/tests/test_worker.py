import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pytest
from async_worker import worker
from async_worker.errors import Unavailable
from async_worker.event import Deployment, Heartbeat, Message, encode_heartbeat
from async_worker.health import Vitals
from async_worker.metrics import Metrics
from async_worker.store import Stored
from async_worker.worker import Worker
from ledger.tracing import Tracing
from opentelemetry.trace import SpanKind


class Broker:
    """One partition of Kafka and a diary of what is done to it, in order."""

    joined = True
    delivering = True

    def __init__(self, diary: list[str]) -> None:
        self.diary = diary
        self.log: list[Message] = []
        self.position = 0
        self.held = False
        self.committed = 0
        self.dead: list[tuple[int, str]] = []
        self.classes: list[str] = []
        self.beats: list[bytes] = []
        self.errors: dict[str, list[Exception]] = {}

    def _maybe_fail(self, action: str) -> None:
        if self.errors.get(action):
            raise self.errors[action].pop(0)

    def poll(self, timeout: float) -> list[Message]:
        assert timeout > 0
        self._maybe_fail("poll")
        if self.held:
            return []
        batch, self.position = self.log[self.position :], len(self.log)
        return batch

    def progress(self) -> tuple[dict[int, int], dict[int, int], int]:
        return {0: self.position}, {0: len(self.log) - self.position}, 1

    def commit(self, messages: Iterable[Message]) -> None:
        self._maybe_fail("commit")
        self.diary.append("commit")
        self.committed = max(message.offset for message in messages) + 1

    def rewind(self, messages: Sequence[Message]) -> None:
        if messages:
            self.position = min(self.position, messages[0].offset)

    def hold(self) -> None:
        self.held = True

    def release(self) -> None:
        self.held = False

    def dead_letter(self, message: Message, error: Exception) -> None:
        self._maybe_fail("dead_letter")
        self.diary.append("dead letter")
        self.dead.append((message.offset, str(error)))
        self.classes.append(type(error).__name__)

    def heartbeat(self, value: bytes, key: bytes) -> None:
        assert key == b"me"
        self.beats.append(value)


class DataError(Exception):
    """A driver's error."""


class Ledger:
    def __init__(self, diary: list[str]) -> None:
        self.diary = diary
        self.rows: dict[str, Deployment] = {}
        self.refused: set[str] = set()
        self.outage = 0
        self.news = 0
        self.batches: list[int] = []

    def add(self, rows: Sequence[Deployment]) -> Stored:
        self.check()
        self.diary.append("store")
        self.batches.append(len(rows))
        rejected: list[tuple[Deployment, Exception]] = [
            (row, DataError("too strange")) for row in rows if row.id in self.refused
        ]
        new = {
            row.id: row for row in rows if row.id not in self.refused and row.id not in self.rows
        }
        self.rows.update(new)
        return Stored(rejected, len(rows) - len(rejected) - len(new), self.news)

    def check(self) -> None:
        if self.outage:
            self.outage -= 1
            raise Unavailable("refused")


class Traces(Tracing):
    """Notes the spans."""

    def __init__(self) -> None:
        super().__init__()
        self.enabled = True
        self.spans: list[tuple[str, SpanKind, int, Mapping[str, str], Mapping[str, Any]]] = []

    def record(
        self,
        name: str,
        kind: SpanKind,
        *,
        start_ns: int,
        carrier: Mapping[str, str],
        attributes: dict[str, str | int],
    ) -> None:
        self.spans.append((name, kind, start_ns, carrier, attributes))


class World:
    """The worker with everything around it."""

    def __init__(self) -> None:
        self.diary: list[str] = []
        self.broker = Broker(self.diary)
        self.ledger = Ledger(self.diary)
        self.vitals = Vitals()
        self.metrics = Metrics()
        self.stop = False
        self.ends = 0
        self.worker = self.make_worker(Tracing())

    def make_worker(self, tracing: Tracing) -> Worker:
        return Worker(
            self.broker,
            self.ledger,
            self.vitals,
            self.metrics,
            tracing,
            instance="me",
            heartbeat_interval=3600,
            stopping=lambda: self.stop,
            ended=self.end,
        )

    def end(self) -> None:
        self.ends += 1

    def measured(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "POLL_TIMEOUT", 0.001)
    monkeypatch.setattr(worker, "BACKOFF_MAX", 0.002)


@pytest.fixture
def world() -> World:
    return World()


def event_id(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


@pytest.fixture
def put(world: World, make_message: Callable[..., Message]) -> Callable[..., None]:
    """Append good events to the topic."""

    def put(count: int) -> None:
        for _ in range(count):
            offset = len(world.broker.log)
            world.broker.log.append(make_message(offset, id=event_id(offset)))

    return put


def append(world: World, value: bytes | None, kind: bytes = b"deployment") -> None:
    offset = len(world.broker.log)
    world.broker.log.append(Message("deployments", 0, offset, b"k", value, (("kind", kind),)))


def test_a_batch_is_stored_at_once_and_committed_after(
    world: World, put: Callable[..., None]
) -> None:
    put(3)
    world.worker.turn()
    assert world.ledger.batches == [3]
    assert world.diary == ["store", "commit"]
    assert world.broker.committed == 3


def test_nothing_new_commits_nothing(world: World) -> None:
    world.worker.turn()
    assert world.diary == []


def test_an_outage_of_the_database_loses_and_reorders_nothing(
    world: World, put: Callable[..., None]
) -> None:
    put(2)
    world.ledger.outage = 3
    world.worker.turn()
    assert world.broker.committed == 0
    put(1)
    world.worker.turn()
    assert list(world.ledger.rows) == [event_id(0), event_id(1), event_id(2)]
    assert world.broker.committed == 3
    assert not world.broker.held


def test_while_the_database_is_away_nothing_is_read_but_the_group_is_kept(
    world: World, put: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(1)
    world.ledger.outage = 2
    polls: list[bool] = []
    poll = world.broker.poll

    def watched(timeout: float) -> list[Message]:
        polls.append(world.broker.held)
        return poll(timeout)

    monkeypatch.setattr(world.broker, "poll", watched)
    world.worker.turn()
    assert polls[0] is False
    assert len(polls) > 1
    assert all(polls[1:])


def test_what_a_new_partition_brings_during_an_outage_is_read_again(
    world: World, put: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(1)
    world.ledger.outage = 2
    monkeypatch.setattr(world.broker, "hold", lambda: None)
    world.worker.turn()
    assert world.broker.position == 0


def test_what_can_never_be_processed_is_put_aside_and_the_rest_stored(
    world: World, put: Callable[..., None]
) -> None:
    put(1)
    append(world, b"{")
    append(world, None)
    put(1)
    world.worker.turn()
    assert [offset for offset, _ in world.broker.dead] == [1, 2]
    assert list(world.ledger.rows) == [event_id(0), event_id(3)]
    assert world.diary == ["store", "dead letter", "dead letter", "commit"]


def test_a_row_the_database_refuses_is_put_aside_with_its_reason(
    world: World, put: Callable[..., None]
) -> None:
    put(2)
    world.ledger.refused = {event_id(0)}
    world.worker.turn()
    assert world.broker.dead == [(0, "too strange")]
    assert world.broker.classes == ["DataError"]
    assert list(world.ledger.rows) == [event_id(1)]
    assert world.broker.committed == 2


def test_dead_letters_keep_their_order_whatever_is_wrong_with_them(
    world: World, put: Callable[..., None]
) -> None:
    put(1)
    append(world, b"{")
    put(1)
    world.ledger.refused = {event_id(0), event_id(2)}
    world.worker.turn()
    assert [offset for offset, _ in world.broker.dead] == [0, 1, 2]


def test_a_dead_letter_that_is_not_taken_is_not_skipped(world: World) -> None:
    append(world, b"{")
    world.broker.errors["dead_letter"] = [Unavailable("away")]
    world.worker.turn()
    assert world.broker.committed == 0
    world.worker.turn()
    assert [offset for offset, _ in world.broker.dead] == [0]
    assert world.broker.committed == 1


def test_a_commit_that_fails_reads_nothing_again(world: World, put: Callable[..., None]) -> None:
    put(1)
    world.broker.errors["commit"] = [Unavailable("rebalancing")]
    world.worker.turn()
    put(1)
    world.worker.turn()
    assert world.ledger.batches == [1, 1]
    assert world.broker.committed == 2


def test_kafka_that_is_away_is_waited_out(world: World, put: Callable[..., None]) -> None:
    put(1)
    world.broker.errors["poll"] = [Unavailable("away"), Unavailable("away")]
    world.worker.turn()
    world.worker.turn()
    assert world.broker.committed == 1


def test_a_bug_ends_the_worker_before_anything_is_committed(
    world: World, put: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> None:
        raise TypeError

    put(1)
    monkeypatch.setattr(world.ledger, "add", broken)
    with pytest.raises(TypeError):
        world.worker.run()
    assert world.broker.committed == 0


def test_a_heartbeat_is_sent_at_its_interval_only(world: World) -> None:
    world.worker.turn()
    world.worker.turn()
    assert len(world.broker.beats) == 1
    world.worker._next_heartbeat = 0
    world.worker.turn()
    assert len(world.broker.beats) == 2


def test_its_own_heartbeat_is_measured_and_not_stored(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 1000.25)
    append(world, encode_heartbeat(Heartbeat("me", 1000.0)), kind=b"heartbeat")
    world.worker.turn()
    assert world.measured("worker_heartbeat_round_trip_seconds_sum") == 0.25
    assert world.measured("worker_heartbeat_last_timestamp_seconds") == 1000.25
    assert world.ledger.rows == {}
    assert world.broker.committed == 1


def test_another_workers_heartbeat_is_not_measured_by_this_ones_clock(world: World) -> None:
    append(world, encode_heartbeat(Heartbeat("another", 1000.0)), kind=b"heartbeat")
    world.worker.turn()
    assert world.measured("worker_heartbeat_round_trip_seconds_count") == 0
    assert world.measured("worker_messages_total", outcome="heartbeat") == 1
    assert world.broker.committed == 1


def test_every_message_is_counted_by_what_came_of_it(
    world: World, put: Callable[..., None]
) -> None:
    put(3)
    world.broker.log.append(world.broker.log[0]._replace(offset=3))
    append(world, b"{")
    append(world, encode_heartbeat(Heartbeat("me", 1000.0)), kind=b"heartbeat")
    world.ledger.refused = {event_id(1)}
    world.worker.turn()
    counts = {
        outcome: world.measured("worker_messages_total", outcome=outcome)
        for outcome in ("stored", "duplicate", "dead_letter", "heartbeat")
    }
    assert counts == {"stored": 2, "duplicate": 1, "dead_letter": 2, "heartbeat": 1}
    assert world.measured("worker_dead_letters_total", reason="Undecodable") == 1
    assert world.measured("worker_dead_letters_total", reason="DataError") == 1
    assert world.measured("worker_batch_messages_sum") == 6
    assert world.measured("worker_batch_seconds_count") == 1


def test_outages_and_the_attempts_within_them_are_counted(
    world: World, put: Callable[..., None]
) -> None:
    put(1)
    world.ledger.outage = 3
    world.worker.turn()
    assert world.measured("worker_outages_total") == 1
    assert world.measured("worker_retries_total") == 2


def test_offsets_that_are_not_taken_are_counted(world: World, put: Callable[..., None]) -> None:
    put(1)
    world.broker.errors["commit"] = [Unavailable("rebalancing")]
    world.worker.turn()
    assert world.measured("worker_commit_failures_total") == 1
    assert world.measured("worker_outages_total") == 0


def test_one_line_a_batch_and_each_event_only_when_debugging(
    world: World,
    put: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
    structured: Callable[..., Any],
) -> None:
    put(3)
    with caplog.at_level(logging.INFO):
        world.worker.turn()
    (line,) = structured(caplog)
    assert line.items() >= {"event": "batch stored", "stored": 3, "dead_letter": 0}.items()
    caplog.clear()
    put(2)
    with caplog.at_level(logging.DEBUG, "async_worker"):
        world.worker.turn()
    assert [line["event_id"] for line in structured(caplog) if line["event"] == "deployment"] == [
        event_id(3),
        event_id(4),
    ]


def test_a_dead_letter_is_logged_with_its_request(
    world: World, caplog: pytest.LogCaptureFixture, structured: Callable[..., Any]
) -> None:
    world.broker.log.append(Message("deployments", 0, 0, None, b"{", (("request-id", b"r-1"),)))
    with caplog.at_level(logging.ERROR):
        world.worker.turn()
    (line,) = structured(caplog)
    assert (line["event"], line["request_id"], line["offset"]) == ("dead letter", "r-1", 0)


@pytest.mark.parametrize(("news", "ends"), [(0, 0), (2, 1)])
def test_the_notifier_is_woken_when_a_deployment_has_ended(
    world: World, put: Callable[..., None], news: int, ends: int
) -> None:
    put(3)
    world.ledger.news = news
    world.worker.turn()
    assert world.ends == ends


def test_each_event_is_a_span_below_its_request(
    world: World, put: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time_ns", lambda: 77)
    put(2)
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    first = world.broker.log[0]
    world.broker.log[0] = first._replace(headers=(*first.headers, ("traceparent", parent.encode())))
    append(world, encode_heartbeat(Heartbeat("me", 1000.0)), kind=b"heartbeat")
    traces = Traces()
    world.make_worker(traces).turn()
    assert [span[:4] for span in traces.spans] == [
        ("process deployments", SpanKind.CONSUMER, 77, {"traceparent": parent}),
        ("process deployments", SpanKind.CONSUMER, 77, {}),
    ]
    assert traces.spans[1][4]["deployment.id"] == event_id(1)
    assert traces.spans[1][4]["messaging.kafka.offset"] == 1


def test_what_was_read_shows_in_the_vitals(world: World, put: Callable[..., None]) -> None:
    put(2)
    world.worker.turn()
    assert world.vitals.lags == {0: 0}
    assert world.vitals._owned == 1


def test_a_broken_heartbeat_is_put_aside(world: World) -> None:
    append(world, b"{}", kind=b"heartbeat")
    world.worker.turn()
    assert len(world.broker.dead) == 1


def test_each_turn_shows_in_the_vitals(world: World) -> None:
    assert world.vitals.idle() == "this worker has not joined its group"
    world.worker.turn()
    assert world.vitals.idle() is None


def test_stopping_ends_the_run_after_the_batch(
    world: World, put: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(1)
    add = world.ledger.add

    def stopped_meanwhile(rows: Sequence[Deployment]) -> object:
        world.stop = True
        return add(rows)

    monkeypatch.setattr(world.ledger, "add", stopped_meanwhile)
    world.worker.run()
    assert world.broker.committed == 1


def test_stopping_ends_the_wait_for_the_database(world: World, put: Callable[..., None]) -> None:
    put(1)
    world.ledger.outage = 1_000_000
    check = world.ledger.check

    def stopped_meanwhile() -> None:
        world.stop = world.ledger.outage < 999_998
        check()

    world.ledger.check = stopped_meanwhile  # type: ignore[method-assign]
    world.worker.run()
    assert world.broker.committed == 0
