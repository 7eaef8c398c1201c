import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pytest
from async_worker import worker
from async_worker.broker import KafkaBroker
from async_worker.errors import Unavailable
from async_worker.event import Deployment, Heartbeat, Message, Progress, encode_heartbeat
from async_worker.health import Vitals
from async_worker.metrics import Metrics
from async_worker.store import Store, Stored
from async_worker.worker import Worker, WorkerOptions
from ledger.tracing import Tracing
from opentelemetry.trace import SpanKind


class Broker(KafkaBroker):
    """A topic of one partition, in memory."""

    joined = True
    delivering = True

    def __init__(self, calls: list[str]) -> None:
        self.calls = calls
        self.log: list[Message] = []
        self.position = 0
        self.paused = False
        self.committed = 0
        # Offset, class and text of the error.
        self.dead_letters: list[tuple[int, str, str]] = []
        self.heartbeats: list[bytes] = []
        # The errors that a method raises, by its name.
        self.errors: dict[str, list[Exception]] = {}

    def _raise_error(self, method: str) -> None:
        if self.errors.get(method):
            raise self.errors[method].pop(0)

    def poll(self, timeout: float) -> list[Message]:
        assert timeout > 0
        self._raise_error("poll")
        if self.paused:
            return []
        batch, self.position = self.log[self.position :], len(self.log)
        return batch

    def progress(self) -> Progress:
        return Progress({0: self.position}, {0: len(self.log) - self.position}, 1)

    def commit(self, messages: Iterable[Message]) -> None:
        self._raise_error("commit")
        self.calls.append("commit")
        self.committed = max(message.offset for message in messages) + 1

    def rewind(self, messages: Sequence[Message]) -> None:
        if messages:
            self.position = min(self.position, messages[0].offset)

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def dead_letter(self, message: Message, error: Exception) -> None:
        self._raise_error("dead_letter")
        self.calls.append("dead letter")
        self.dead_letters.append((message.offset, type(error).__name__, str(error)))

    def heartbeat(self, value: bytes, key: bytes) -> None:
        assert key == b"me"
        self.heartbeats.append(value)


class DataError(Exception):
    """A driver's error."""


class Database(Store):
    """A table in memory."""

    def __init__(self, calls: list[str]) -> None:
        self.calls = calls
        self.rows: dict[str, Deployment] = {}
        self.rejected_ids: set[str] = set()
        # How many calls fail from now on.
        self.failing_calls = 0
        self.notifications = 0
        self.batches: list[int] = []

    def add(self, rows: Sequence[Deployment]) -> Stored:
        self.check()
        self.calls.append("store")
        self.batches.append(len(rows))
        rejected: list[tuple[Deployment, Exception]] = [
            (row, DataError("too strange")) for row in rows if row.id in self.rejected_ids
        ]
        new = {
            row.id: row
            for row in rows
            if row.id not in self.rejected_ids and row.id not in self.rows
        }
        self.rows.update(new)
        duplicates = len(rows) - len(rejected) - len(new)
        return Stored(rejected, duplicates, self.notifications)

    def check(self) -> None:
        if self.failing_calls:
            self.failing_calls -= 1
            raise Unavailable("refused")


class RecordedTracing(Tracing):
    """Keeps the spans."""

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


class Harness:
    """A worker with a fake broker and a fake database."""

    def __init__(self) -> None:
        # The calls that change something, in order.
        self.calls: list[str] = []
        self.broker = Broker(self.calls)
        self.database = Database(self.calls)
        self.vitals = Vitals()
        self.metrics = Metrics()
        self.stop = False
        self.ended = 0
        self.worker = self.make_worker(Tracing())

    def make_worker(self, tracing: Tracing) -> Worker:
        options = WorkerOptions(
            tracing=tracing,
            instance="me",
            heartbeat_interval=3600,
            is_stopping=lambda: self.stop,
            on_deployment_ended=self.count_ended,
        )
        return Worker(self.broker, self.database, self.vitals, self.metrics, options)

    def count_ended(self) -> None:
        self.ended += 1

    def metric(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "POLL_TIMEOUT", 0.001)
    monkeypatch.setattr(worker, "BACKOFF_MAX", 0.002)


@pytest.fixture
def harness() -> Harness:
    return Harness()


def event_id(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


@pytest.fixture
def publish(harness: Harness, make_message: Callable[..., Message]) -> Callable[..., None]:
    """Append valid events to the topic."""

    def publish(count: int) -> None:
        for _ in range(count):
            offset = len(harness.broker.log)
            harness.broker.log.append(make_message(offset, id=event_id(offset)))

    return publish


def append(harness: Harness, value: bytes | None, kind: bytes = b"deployment") -> None:
    offset = len(harness.broker.log)
    harness.broker.log.append(Message("deployments", 0, offset, b"k", value, (("kind", kind),)))


def dead_letter_offsets(harness: Harness) -> list[int]:
    return [offset for offset, _, _ in harness.broker.dead_letters]


def test_a_batch_is_stored_in_one_call_and_then_committed(
    harness: Harness, publish: Callable[..., None]
) -> None:
    publish(3)
    harness.worker.run_once()
    assert harness.database.batches == [3]
    assert harness.calls == ["store", "commit"]
    assert harness.broker.committed == 3


def test_an_empty_poll_commits_nothing(harness: Harness) -> None:
    harness.worker.run_once()
    assert harness.calls == []


def test_a_database_outage_keeps_all_events_in_order_and_is_counted(
    harness: Harness, publish: Callable[..., None]
) -> None:
    publish(2)
    harness.database.failing_calls = 3
    harness.worker.run_once()
    assert harness.broker.committed == 0
    assert harness.metric("worker_outages_total") == 1
    assert harness.metric("worker_retries_total") == 2
    publish(1)
    harness.worker.run_once()
    assert list(harness.database.rows) == [event_id(0), event_id(1), event_id(2)]
    assert harness.broker.committed == 3
    assert not harness.broker.paused


def test_during_a_database_outage_the_worker_polls_paused(
    harness: Harness, publish: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(1)
    harness.database.failing_calls = 2
    polls: list[bool] = []
    poll = harness.broker.poll

    def recording_poll(timeout: float) -> list[Message]:
        polls.append(harness.broker.paused)
        return poll(timeout)

    monkeypatch.setattr(harness.broker, "poll", recording_poll)
    harness.worker.run_once()
    assert polls[0] is False
    assert len(polls) > 1
    assert all(polls[1:])


def test_messages_of_a_partition_assigned_during_an_outage_are_read_again(
    harness: Harness, publish: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(1)
    harness.database.failing_calls = 2
    monkeypatch.setattr(harness.broker, "pause", lambda: None)
    harness.worker.run_once()
    assert harness.broker.position == 0


def test_undecodable_messages_become_dead_letters_and_the_others_are_stored(
    harness: Harness, publish: Callable[..., None]
) -> None:
    publish(1)
    append(harness, b"{")
    append(harness, None)
    append(harness, b"{}", kind=b"heartbeat")
    publish(1)
    harness.worker.run_once()
    assert dead_letter_offsets(harness) == [1, 2, 3]
    assert list(harness.database.rows) == [event_id(0), event_id(4)]
    assert harness.calls == ["store", *["dead letter"] * 3, "commit"]


def test_a_rejected_row_becomes_a_dead_letter_with_the_reason(
    harness: Harness, publish: Callable[..., None]
) -> None:
    publish(2)
    harness.database.rejected_ids = {event_id(0)}
    harness.worker.run_once()
    assert harness.broker.dead_letters == [(0, "DataError", "too strange")]
    assert list(harness.database.rows) == [event_id(1)]
    assert harness.broker.committed == 2


def test_dead_letters_keep_the_order_of_the_topic(
    harness: Harness, publish: Callable[..., None]
) -> None:
    publish(1)
    append(harness, b"{")
    publish(1)
    harness.database.rejected_ids = {event_id(0), event_id(2)}
    harness.worker.run_once()
    assert dead_letter_offsets(harness) == [0, 1, 2]


def test_a_failed_dead_letter_is_sent_again_before_the_commit(harness: Harness) -> None:
    append(harness, b"{")
    harness.broker.errors["dead_letter"] = [Unavailable("away")]
    harness.worker.run_once()
    assert harness.broker.committed == 0
    harness.worker.run_once()
    assert dead_letter_offsets(harness) == [0]
    assert harness.broker.committed == 1


def test_after_a_failed_commit_no_message_is_read_again(
    harness: Harness, publish: Callable[..., None]
) -> None:
    publish(1)
    harness.broker.errors["commit"] = [Unavailable("rebalancing")]
    harness.worker.run_once()
    publish(1)
    harness.worker.run_once()
    assert harness.database.batches == [1, 1]
    assert harness.broker.committed == 2
    assert harness.metric("worker_commit_failures_total") == 1
    assert harness.metric("worker_outages_total") == 0


def test_polls_are_retried_while_kafka_is_away(
    harness: Harness, publish: Callable[..., None]
) -> None:
    publish(1)
    harness.broker.errors["poll"] = [Unavailable("away"), Unavailable("away")]
    harness.worker.run_once()
    harness.worker.run_once()
    assert harness.broker.committed == 1


def test_an_unexpected_error_ends_the_worker_before_the_commit(
    harness: Harness, publish: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> None:
        raise TypeError

    publish(1)
    monkeypatch.setattr(harness.database, "add", broken)
    with pytest.raises(TypeError):
        harness.worker.run()
    assert harness.broker.committed == 0


def test_heartbeats_are_sent_at_their_interval(harness: Harness) -> None:
    harness.worker.run_once()
    harness.worker.run_once()
    assert len(harness.broker.heartbeats) == 1
    harness.worker._next_heartbeat = 0
    harness.worker.run_once()
    assert len(harness.broker.heartbeats) == 2


def test_the_round_trip_of_an_own_heartbeat_is_measured(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 1000.25)
    append(harness, encode_heartbeat(Heartbeat("me", 1000.0)), kind=b"heartbeat")
    harness.worker.run_once()
    assert harness.metric("worker_heartbeat_round_trip_seconds_sum") == 0.25
    assert harness.metric("worker_heartbeat_last_timestamp_seconds") == 1000.25
    assert harness.database.rows == {}
    assert harness.broker.committed == 1


def test_the_round_trip_of_another_workers_heartbeat_is_not_measured(harness: Harness) -> None:
    append(harness, encode_heartbeat(Heartbeat("another", 1000.0)), kind=b"heartbeat")
    harness.worker.run_once()
    assert harness.metric("worker_heartbeat_round_trip_seconds_count") == 0
    assert harness.metric("worker_messages_total", outcome="heartbeat") == 1
    assert harness.broker.committed == 1


def test_messages_are_counted_by_outcome(harness: Harness, publish: Callable[..., None]) -> None:
    publish(3)
    harness.broker.log.append(harness.broker.log[0]._replace(offset=3))
    append(harness, b"{")
    append(harness, encode_heartbeat(Heartbeat("me", 1000.0)), kind=b"heartbeat")
    harness.database.rejected_ids = {event_id(1)}
    harness.worker.run_once()
    counts = {
        outcome: harness.metric("worker_messages_total", outcome=outcome)
        for outcome in ("stored", "duplicate", "dead_letter", "heartbeat")
    }
    assert counts == {"stored": 2, "duplicate": 1, "dead_letter": 2, "heartbeat": 1}
    assert harness.metric("worker_dead_letters_total", reason="Undecodable") == 1
    assert harness.metric("worker_dead_letters_total", reason="DataError") == 1
    assert harness.metric("worker_batch_messages_sum") == 6
    assert harness.metric("worker_batch_seconds_count") == 1


def test_each_batch_is_logged_and_each_event_at_debug_level(
    harness: Harness,
    publish: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
    structured: Callable[..., Any],
) -> None:
    publish(3)
    with caplog.at_level(logging.INFO):
        harness.worker.run_once()
    (line,) = structured(caplog)
    assert line.items() >= {"event": "batch stored", "stored": 3, "dead_letter": 0}.items()
    caplog.clear()
    publish(2)
    with caplog.at_level(logging.DEBUG, "async_worker"):
        harness.worker.run_once()
    assert [line["event_id"] for line in structured(caplog) if line["event"] == "deployment"] == [
        event_id(3),
        event_id(4),
    ]


def test_a_dead_letter_is_logged_with_its_request_id(
    harness: Harness, caplog: pytest.LogCaptureFixture, structured: Callable[..., Any]
) -> None:
    harness.broker.log.append(Message("deployments", 0, 0, None, b"{", (("request-id", b"r-1"),)))
    with caplog.at_level(logging.ERROR):
        harness.worker.run_once()
    (line,) = structured(caplog)
    assert (line["event"], line["request_id"], line["offset"]) == ("dead letter", "r-1", 0)


@pytest.mark.parametrize(("notifications", "calls"), [(0, 0), (2, 1)])
def test_the_callback_runs_when_a_deployment_has_ended(
    harness: Harness, publish: Callable[..., None], notifications: int, calls: int
) -> None:
    publish(3)
    harness.database.notifications = notifications
    harness.worker.run_once()
    assert harness.ended == calls


def test_each_event_is_a_span_of_its_requests_trace(
    harness: Harness, publish: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time_ns", lambda: 77)
    publish(2)
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    first = harness.broker.log[0]
    harness.broker.log[0] = first._replace(
        headers=(*first.headers, ("traceparent", parent.encode()))
    )
    append(harness, encode_heartbeat(Heartbeat("me", 1000.0)), kind=b"heartbeat")
    tracing = RecordedTracing()
    harness.make_worker(tracing).run_once()
    assert [span[:4] for span in tracing.spans] == [
        ("process deployments", SpanKind.CONSUMER, 77, {"traceparent": parent}),
        ("process deployments", SpanKind.CONSUMER, 77, {}),
    ]
    assert tracing.spans[1][4]["deployment.id"] == event_id(1)
    assert tracing.spans[1][4]["messaging.kafka.offset"] == 1


def test_each_iteration_and_its_progress_are_recorded(
    harness: Harness, publish: Callable[..., None]
) -> None:
    publish(2)
    assert harness.vitals.idle_reason() == "this worker has not joined its group"
    harness.worker.run_once()
    assert harness.vitals.idle_reason() is None
    assert harness.vitals.lags == {0: 0}


def test_stopping_finishes_the_batch(
    harness: Harness, publish: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(1)
    add = harness.database.add

    def stop_during_call(rows: Sequence[Deployment]) -> object:
        harness.stop = True
        return add(rows)

    monkeypatch.setattr(harness.database, "add", stop_during_call)
    harness.worker.run()
    assert harness.broker.committed == 1


def test_stopping_during_a_database_outage_ends_the_run(
    harness: Harness, publish: Callable[..., None]
) -> None:
    publish(1)
    harness.database.failing_calls = 1_000_000
    check = harness.database.check

    def stop_during_call() -> None:
        harness.stop = harness.database.failing_calls < 999_998
        check()

    harness.database.check = stop_during_call  # type: ignore[method-assign]
    harness.worker.run()
    assert harness.broker.committed == 0
