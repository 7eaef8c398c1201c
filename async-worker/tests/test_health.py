from collections.abc import Callable, Mapping
from typing import Any

import pytest
from async_worker import health
from async_worker.errors import Unavailable
from async_worker.event import Progress
from async_worker.health import STALLED_AFTER, STUCK_AFTER, Vitals
from async_worker.metrics import Metrics
from ledger.management import Probes


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Database:
    away = False

    def check(self) -> None:
        if self.away:
            raise Unavailable("refused")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def vitals(clock: Clock) -> Vitals:
    return Vitals(clock, heartbeat_interval=10)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
def probes(vitals: Vitals, database: Database, metrics: Metrics) -> Probes:
    return health.probes(vitals, database.check, metrics, "deployments")


def reasons(response: tuple[int, Mapping[str, Any]]) -> list[str]:
    """Return the reasons of a response that says no."""
    status, body = response
    assert status == 503
    return list(body["reasons"])


def test_health_fails_while_the_loop_is_stuck(probes: Probes, vitals: Vitals, clock: Clock) -> None:
    clock.now += STUCK_AFTER
    assert probes.health() == (200, {"status": "alive"})
    clock.now += 1
    assert probes.health() == (
        503,
        {"status": "stuck", "reasons": ["the loop has not turned for 36 s"]},
    )
    vitals.record_iteration(joined=False, delivering=False)
    assert probes.health()[0] == 200


def test_a_consuming_worker_is_ready(probes: Probes, vitals: Vitals) -> None:
    vitals.record_iteration(joined=True, delivering=True)
    assert probes.ready() == (200, {"status": "ready"})


@pytest.mark.parametrize(
    ("joined", "delivering", "reason"),
    [(False, True, "has not joined"), (True, False, "does not take this worker's heartbeats")],
)
def test_not_ready_without_kafka(
    probes: Probes,
    vitals: Vitals,
    joined: bool,
    delivering: bool,
    reason: str,
) -> None:
    vitals.record_iteration(joined=joined, delivering=delivering)
    assert reason in reasons(probes.ready())[0]


def test_not_ready_without_the_database(probes: Probes, vitals: Vitals, database: Database) -> None:
    vitals.record_iteration(joined=True, delivering=True)
    database.away = True
    reason = "the database does not answer, or its table is not there yet"
    assert probes.ready() == (503, {"status": "not ready", "reasons": [reason]})


def test_each_database_problem_is_logged_once(
    probes: Probes,
    vitals: Vitals,
    database: Database,
    caplog: pytest.LogCaptureFixture,
    structured: Callable[..., Any],
) -> None:
    vitals.record_iteration(joined=True, delivering=True)
    for away in (True, True, False, True):
        database.away = away
        probes.ready()
    assert [line["reason"] for line in structured(caplog)] == ["refused", "refused"]


def test_not_ready_while_stuck(probes: Probes, vitals: Vitals, clock: Clock) -> None:
    vitals.record_iteration(joined=True, delivering=True)
    clock.now += STUCK_AFTER + 1
    assert probes.ready()[0] == 503


def iterate(vitals: Vitals, clock: Clock, seconds: float) -> None:
    clock.now += seconds
    vitals.record_iteration(joined=True, delivering=True)


def test_not_ready_while_messages_of_a_partition_are_not_read(
    probes: Probes, vitals: Vitals, clock: Clock
) -> None:
    iterate(vitals, clock, 0)
    vitals.record_read(Progress({0: 5, 1: 7}, {0: 0, 1: 3}, 2), messages=1)
    iterate(vitals, clock, STALLED_AFTER)
    vitals.record_read(Progress({0: 9, 1: 7}, {0: 0, 1: 8}, 2), messages=4)
    assert probes.ready()[0] == 200
    iterate(vitals, clock, 1)
    assert reasons(probes.ready()) == ["partition 1 has 8 messages, and none was read for 31 s"]
    assert probes.health()[0] == 200
    vitals.record_read(Progress({0: 9, 1: 8}, {0: 0, 1: 7}, 2), messages=1)
    assert probes.ready()[0] == 200


def test_ready_while_a_partition_has_no_new_messages(
    probes: Probes, vitals: Vitals, clock: Clock
) -> None:
    vitals.record_read(Progress({0: 5}, {0: 0}, 1), messages=1)
    iterate(vitals, clock, STALLED_AFTER + 1)
    assert probes.ready()[0] == 200


def test_not_ready_without_its_own_heartbeats(probes: Probes, vitals: Vitals, clock: Clock) -> None:
    vitals.record_read(Progress({}, {}, 1), messages=0)
    iterate(vitals, clock, 60)
    assert probes.ready()[0] == 200
    iterate(vitals, clock, 1)
    assert "nothing was read for 61 s" in reasons(probes.ready())[0]


def test_a_worker_without_partitions_is_ready(probes: Probes, vitals: Vitals, clock: Clock) -> None:
    vitals.record_read(Progress({}, {}, 0), messages=0)
    iterate(vitals, clock, 3600)
    assert probes.ready()[0] == 200
    vitals.record_read(Progress({}, {}, 1), messages=0)
    assert probes.ready()[0] == 200, "a new partition may be silent for as long as any other"


def test_metrics_are_in_prometheus_format(probes: Probes, vitals: Vitals, metrics: Metrics) -> None:
    vitals.record_iteration(joined=True, delivering=True)
    vitals.record_read(Progress({0: 5, 2: 1}, {0: 4, 2: 0}, 2), messages=1)
    metrics.messages.labels("stored").inc(3)
    content_type, page = probes.metrics("")
    assert content_type.startswith("text/plain")
    lines = page.decode().splitlines()
    assert 'worker_messages_total{outcome="stored"} 3.0' in lines
    assert 'worker_consumer_lag_messages{partition="0",topic="deployments"} 4.0' in lines
    assert "worker_ready 1.0" in lines
    assert any(line.startswith("process_resident_memory_bytes") for line in lines)
    vitals.record_iteration(joined=False, delivering=True)
    vitals.record_read(Progress({2: 1}, {2: 0}, 1), messages=0)
    _, page = probes.metrics("")
    assert b'partition="0"' not in page, "another worker has this partition"
    assert b"worker_ready 0.0" in page
