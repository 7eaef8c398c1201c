import json
import socket
import struct
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from async_worker.errors import Unavailable
from async_worker.event import Progress
from async_worker.health import STALLED_AFTER, STUCK_AFTER, HealthServer, Vitals
from async_worker.metrics import Metrics


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
def url(vitals: Vitals, database: Database, metrics: Metrics) -> Iterator[str]:
    check = lambda: database.check()  # noqa: E731, PLW0108  a test replaces it
    server = HealthServer(0, vitals, check, metrics, "deployments")
    server.serve()
    yield f"http://127.0.0.1:{server.port}"
    server.close()


def get(url: str) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310  our server
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_health_fails_while_the_loop_is_stuck(url: str, vitals: Vitals, clock: Clock) -> None:
    clock.now += STUCK_AFTER
    assert get(f"{url}/health") == (200, {"status": "alive"})
    clock.now += 1
    assert get(f"{url}/health") == (
        503,
        {"status": "stuck", "reasons": ["the loop has not turned for 36 s"]},
    )
    vitals.record_iteration(joined=False, delivering=False)
    assert get(f"{url}/health")[0] == 200


def test_a_consuming_worker_is_ready(url: str, vitals: Vitals) -> None:
    vitals.record_iteration(joined=True, delivering=True)
    assert get(f"{url}/ready") == (200, {"status": "ready"})


@pytest.mark.parametrize(
    ("joined", "delivering", "reason"),
    [(False, True, "has not joined"), (True, False, "does not take this worker's heartbeats")],
)
def test_not_ready_without_kafka(
    url: str,
    vitals: Vitals,
    joined: bool,  # noqa: FBT001
    delivering: bool,  # noqa: FBT001
    reason: str,
) -> None:
    vitals.record_iteration(joined=joined, delivering=delivering)
    status, body = get(f"{url}/ready")
    assert status == 503
    assert reason in body["reasons"][0]


def test_not_ready_without_the_database(url: str, vitals: Vitals, database: Database) -> None:
    vitals.record_iteration(joined=True, delivering=True)
    database.away = True
    reason = "the database does not answer, or its table is not there yet"
    assert get(f"{url}/ready") == (503, {"status": "not ready", "reasons": [reason]})


def test_each_database_problem_is_logged_once(
    url: str,
    vitals: Vitals,
    database: Database,
    caplog: pytest.LogCaptureFixture,
    structured: Callable[..., Any],
) -> None:
    vitals.record_iteration(joined=True, delivering=True)
    for away in (True, True, False, True):
        database.away = away
        get(f"{url}/ready")
    assert [line["reason"] for line in structured(caplog)] == ["refused", "refused"]


def test_not_ready_while_stuck(url: str, vitals: Vitals, clock: Clock) -> None:
    vitals.record_iteration(joined=True, delivering=True)
    clock.now += STUCK_AFTER + 1
    assert get(f"{url}/ready")[0] == 503


def iterate(vitals: Vitals, clock: Clock, seconds: float) -> None:
    clock.now += seconds
    vitals.record_iteration(joined=True, delivering=True)


def test_not_ready_while_messages_of_a_partition_are_not_read(
    url: str, vitals: Vitals, clock: Clock
) -> None:
    iterate(vitals, clock, 0)
    vitals.record_read(Progress({0: 5, 1: 7}, {0: 0, 1: 3}, 2), messages=1)
    iterate(vitals, clock, STALLED_AFTER)
    vitals.record_read(Progress({0: 9, 1: 7}, {0: 0, 1: 8}, 2), messages=4)
    assert get(f"{url}/ready")[0] == 200
    iterate(vitals, clock, 1)
    status, body = get(f"{url}/ready")
    assert (status, body["reasons"]) == (
        503,
        ["partition 1 has 8 messages, and none was read for 31 s"],
    )
    assert get(f"{url}/health")[0] == 200
    vitals.record_read(Progress({0: 9, 1: 8}, {0: 0, 1: 7}, 2), messages=1)
    assert get(f"{url}/ready")[0] == 200


def test_ready_while_a_partition_has_no_new_messages(
    url: str, vitals: Vitals, clock: Clock
) -> None:
    vitals.record_read(Progress({0: 5}, {0: 0}, 1), messages=1)
    iterate(vitals, clock, STALLED_AFTER + 1)
    assert get(f"{url}/ready")[0] == 200


def test_not_ready_without_its_own_heartbeats(url: str, vitals: Vitals, clock: Clock) -> None:
    vitals.record_read(Progress({}, {}, 1), messages=0)
    iterate(vitals, clock, 60)
    assert get(f"{url}/ready")[0] == 200
    iterate(vitals, clock, 1)
    status, body = get(f"{url}/ready")
    assert status == 503
    assert "nothing was read for 61 s" in body["reasons"][0]


def test_a_worker_without_partitions_is_ready(url: str, vitals: Vitals, clock: Clock) -> None:
    vitals.record_read(Progress({}, {}, 0), messages=0)
    iterate(vitals, clock, 3600)
    assert get(f"{url}/ready")[0] == 200
    vitals.record_read(Progress({}, {}, 1), messages=0)
    assert get(f"{url}/ready")[0] == 200, "a new partition may be silent for as long as any other"


def test_metrics_are_in_prometheus_format(url: str, vitals: Vitals, metrics: Metrics) -> None:
    vitals.record_iteration(joined=True, delivering=True)
    vitals.record_read(Progress({0: 5, 2: 1}, {0: 4, 2: 0}, 2), messages=1)
    metrics.messages.labels("stored").inc(3)
    with urllib.request.urlopen(f"{url}/metrics", timeout=5) as response:  # noqa: S310  our server
        assert response.headers["Content-Type"].startswith("text/plain")
        lines = response.read().decode().splitlines()
    assert 'worker_messages_total{outcome="stored"} 3.0' in lines
    assert 'worker_consumer_lag_messages{partition="0",topic="deployments"} 4.0' in lines
    assert "worker_ready 1.0" in lines
    assert any(line.startswith("process_resident_memory_bytes") for line in lines)
    vitals.record_iteration(joined=False, delivering=True)
    vitals.record_read(Progress({2: 1}, {2: 0}, 1), messages=0)
    with urllib.request.urlopen(f"{url}/metrics", timeout=5) as response:  # noqa: S310  our server
        page = response.read().decode()
    assert 'partition="0"' not in page, "another worker has this partition"
    assert "worker_ready 0.0" in page


def test_other_paths_are_not_found(url: str) -> None:
    assert get(f"{url}/nowhere")[0] == 404


def test_a_probe_may_disconnect_early(
    url: str, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    host, port = url.removeprefix("http://").split(":")
    disconnected = threading.Event()

    def slow() -> None:
        disconnected.wait(5)

    database.check = slow  # type: ignore[method-assign]
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"GET /ready HTTP/1.0\r\n\r\n")
        connection.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )  # close with a reset
    disconnected.set()
    get(f"{url}/health")
    time.sleep(0.2)
    assert capsys.readouterr().err == ""
