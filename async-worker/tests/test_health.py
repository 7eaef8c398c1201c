import json
import socket
import struct
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from async_worker.errors import Unavailable
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
    check = lambda: database.check()  # noqa: E731, PLW0108  tests replace it
    server = HealthServer(0, vitals, check, metrics, "deployments")
    server.serve()
    yield f"http://127.0.0.1:{server.port}"
    server.close()


def get(url: str) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310  our own server
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_alive_while_the_loop_turns(url: str, vitals: Vitals, clock: Clock) -> None:
    clock.now += STUCK_AFTER
    assert get(f"{url}/health") == (200, {"status": "alive"})
    clock.now += 1
    assert get(f"{url}/health") == (
        503,
        {"status": "stuck", "reasons": ["the loop has not turned for 36 s"]},
    )
    vitals.turned(joined=False, delivering=False)
    assert get(f"{url}/health")[0] == 200


def test_ready_while_consuming(url: str, vitals: Vitals) -> None:
    vitals.turned(joined=True, delivering=True)
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
    vitals.turned(joined=joined, delivering=delivering)
    status, body = get(f"{url}/ready")
    assert status == 503
    assert reason in body["reasons"][0]


def test_not_ready_without_the_database(url: str, vitals: Vitals, database: Database) -> None:
    vitals.turned(joined=True, delivering=True)
    database.away = True
    reason = "the database does not answer, or its table is not there yet"
    assert get(f"{url}/ready") == (503, {"status": "not ready", "reasons": [reason]})


def test_what_the_driver_says_of_the_database_is_in_the_log_once(
    url: str, vitals: Vitals, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    vitals.turned(joined=True, delivering=True)
    for away in (True, True, False, True):
        database.away = away
        get(f"{url}/ready")
    assert [record.msg["reason"] for record in caplog.records] == ["refused", "refused"]  # type: ignore[index]


def test_not_ready_while_stuck(url: str, vitals: Vitals, clock: Clock) -> None:
    vitals.turned(joined=True, delivering=True)
    clock.now += STUCK_AFTER + 1
    assert get(f"{url}/ready")[0] == 503


def still_turning(vitals: Vitals, clock: Clock, seconds: float) -> None:
    clock.now += seconds
    vitals.turned(joined=True, delivering=True)


def test_not_ready_while_a_partition_has_messages_that_are_not_read(
    url: str, vitals: Vitals, clock: Clock
) -> None:
    still_turning(vitals, clock, 0)
    vitals.read({0: 5, 1: 7}, {0: 0, 1: 3}, owned=2, messages=1)
    still_turning(vitals, clock, STALLED_AFTER)
    vitals.read({0: 9, 1: 7}, {0: 0, 1: 8}, owned=2, messages=4)
    assert get(f"{url}/ready")[0] == 200
    still_turning(vitals, clock, 1)
    status, body = get(f"{url}/ready")
    assert (status, body["reasons"]) == (
        503,
        ["partition 1 has 8 messages, and none was read for 31 s"],
    )
    assert get(f"{url}/health")[0] == 200
    vitals.read({0: 9, 1: 8}, {0: 0, 1: 7}, owned=2, messages=1)
    assert get(f"{url}/ready")[0] == 200


def test_a_partition_that_is_read_to_its_end_may_rest(
    url: str, vitals: Vitals, clock: Clock
) -> None:
    vitals.read({0: 5}, {0: 0}, owned=1, messages=1)
    still_turning(vitals, clock, STALLED_AFTER + 1)
    assert get(f"{url}/ready")[0] == 200


def test_not_ready_when_not_even_its_own_heartbeats_come_back(
    url: str, vitals: Vitals, clock: Clock
) -> None:
    vitals.read({}, {}, owned=1, messages=0)
    still_turning(vitals, clock, 60)
    assert get(f"{url}/ready")[0] == 200
    still_turning(vitals, clock, 1)
    status, body = get(f"{url}/ready")
    assert status == 503
    assert "nothing was read for 61 s" in body["reasons"][0]


def test_a_worker_without_a_partition_is_ready_to_take_one_over(
    url: str, vitals: Vitals, clock: Clock
) -> None:
    vitals.read({}, {}, owned=0, messages=0)
    still_turning(vitals, clock, 3600)
    assert get(f"{url}/ready")[0] == 200
    vitals.read({}, {}, owned=1, messages=0)
    assert get(f"{url}/ready")[0] == 200, "it was given time to read nothing of what it just got"


def test_the_metrics_are_in_prometheus_format(url: str, vitals: Vitals, metrics: Metrics) -> None:
    vitals.turned(joined=True, delivering=True)
    vitals.read({0: 5, 2: 1}, {0: 4, 2: 0}, owned=2, messages=1)
    metrics.messages.labels("stored").inc(3)
    with urllib.request.urlopen(f"{url}/metrics", timeout=5) as response:  # noqa: S310  our own server
        assert response.headers["Content-Type"].startswith("text/plain")
        lines = response.read().decode().splitlines()
    assert 'worker_messages_total{outcome="stored"} 3.0' in lines
    assert 'worker_consumer_lag_messages{partition="0",topic="deployments"} 4.0' in lines
    assert "worker_ready 1.0" in lines
    assert any(line.startswith("process_resident_memory_bytes") for line in lines)
    vitals.turned(joined=False, delivering=True)
    vitals.read({2: 1}, {2: 0}, owned=1, messages=0)
    with urllib.request.urlopen(f"{url}/metrics", timeout=5) as response:  # noqa: S310  our own server
        page = response.read().decode()
    assert 'partition="0"' not in page, "a partition that another worker has"
    assert "worker_ready 0.0" in page


def test_there_is_nothing_else(url: str) -> None:
    assert get(f"{url}/nowhere")[0] == 404


def test_a_probe_that_hangs_up_early_is_no_error(
    url: str, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    host, port = url.removeprefix("http://").split(":")
    hung_up = threading.Event()

    def slow() -> None:
        hung_up.wait(5)

    database.check = slow  # type: ignore[method-assign]
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"GET /ready HTTP/1.0\r\n\r\n")
        connection.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )  # close with a reset
    hung_up.set()
    get(f"{url}/health")
    time.sleep(0.2)
    assert capsys.readouterr().err == ""
