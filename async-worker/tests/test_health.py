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
from async_worker.health import STUCK_AFTER, HealthServer, Vitals


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
    return Vitals(clock)


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
def url(vitals: Vitals, database: Database) -> Iterator[str]:
    server = HealthServer(0, vitals, lambda: database.check())  # noqa: PLW0108  tests replace it
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
    assert get(f"{url}/health") == (503, {"status": "stuck", "reasons": ["the loop has not turned for 36 s"]})
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
    assert get(f"{url}/ready") == (503, {"status": "not ready", "reasons": ["refused"]})


def test_not_ready_while_stuck(url: str, vitals: Vitals, clock: Clock) -> None:
    vitals.turned(joined=True, delivering=True)
    clock.now += STUCK_AFTER + 1
    assert get(f"{url}/ready")[0] == 503


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
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close with a reset
    hung_up.set()
    get(f"{url}/health")
    time.sleep(0.2)
    assert capsys.readouterr().err == ""
