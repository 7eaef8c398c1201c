"""The rows of api-rest's table, and comparisons that are refused."""

from typing import Any

import pytest

from ops.bench import http, kafka
from ops.bench.api import Request, Run, Server, _limits, _require_same_answers, _rows, _run
from ops.bench.stack import BenchError, Container, Images, Stack

STACK = Stack(Images.of({}), kafka_port=1, database_port=2)
SERVERS = tuple(
    Server(title, Container(title, 1, title), "topic") for title in ("api-rest", "FastAPI")
)


def run(
    rate: float, p50: float = 0.001, p99: float = 0.2, errors: int = 0, cpu: float = 0.0005
) -> Run:
    return Run(http.Load(100, rate, p50, p99, errors), cpu, {"server": rate / 1000, "Kafka": 0.25})


def test_rows_are_medians_and_errors_are_added_up() -> None:
    runs = {
        "api-rest": [run(900, errors=1), run(100, 0.003, 0.3, 2, 0.0007), run(300, 0.002, 0.25)],
        "FastAPI": [run(200)] * 3,
    }
    assert list(_rows("POST", 64, runs)) == [
        ["POST", "64", "api-rest", "300", "2.0", "250", "3", "500", "1.50"],
        ["POST", "64", "FastAPI", "200", "1.0", "200", "0", "500", "1.00"],
    ]


def test_the_processors_of_each_part_are_medians() -> None:
    runs = {"api-rest": [run(900), run(100), run(300)], "FastAPI": [run(200)]}
    assert _limits("GET one", 8, runs) == (
        "- GET one, 8 connections: api-rest server 0.30, Kafka 0.25;"
        " FastAPI server 0.20, Kafka 0.25"
    )


def answering(monkeypatch: pytest.MonkeyPatch, theirs: dict[str, tuple[int, Any]]) -> None:
    """Both sides answer correctly, but the other one with these answers."""
    ours = {
        "GET": (200, {"id": "1"}),
        "POST": (202, {"id": "1", "received_at": "now"}),
        "wrong": (422, {}),
    }

    def request(
        address: str, method: str, _path: str, body: dict[str, Any] | None = None
    ) -> tuple[int, Any]:
        kind = "wrong" if body is not None and body["component"] == "?" else method
        return {**ours, **(theirs if address == "FastAPI" else {})}[kind]

    monkeypatch.setattr(http, "request", request)


PATHS = {"POST": "/deployments", "GET one": "/deployments/1"}


@pytest.mark.parametrize(
    ("theirs", "complaint"),
    [
        ({"GET": (200, {"id": "2"})}, "compare GET one: the answers differ"),
        ({"GET": (404, {"id": "1"})}, "compare GET one: the answers differ"),
        ({"POST": (202, {"id": "1"})}, "compare POST: the answers differ"),
        ({"POST": (200, {"id": "1", "received_at": "now"})}, "compare POST: the answers differ"),
        ({"wrong": (202, {})}, r"compare a wrong POST: the answers are \[422, 202\]"),
    ],
)
def test_only_equal_answers_are_compared_apart_from_ids(
    monkeypatch: pytest.MonkeyPatch, theirs: dict[str, tuple[int, Any]], complaint: str
) -> None:
    answering(monkeypatch, {"POST": (202, {"id": "2", "received_at": "then"})})
    _require_same_answers(SERVERS, PATHS)
    answering(monkeypatch, theirs)
    with pytest.raises(BenchError, match=complaint):
        _require_same_answers(SERVERS, PATHS)


class Used(Container):
    """Uses two seconds of the processor between two readings."""

    def cpu_seconds(self) -> float:
        self.pid += 2
        return self.pid


def post(monkeypatch: pytest.MonkeyPatch, *, written: int, errors: int = 0) -> Run:
    """A run with 8 connections and 100 answers; Kafka gets this many events."""
    offsets = iter([1000, 1000 + written])
    monkeypatch.setattr(kafka, "end_offset", lambda *_: next(offsets))
    monkeypatch.setattr(http, "load", lambda *_, **__: http.Load(100, 25.0, 0.1, 0.2, errors))
    monkeypatch.setattr(STACK, "dependency", lambda _: Used("used", 1, "used"))
    server = Server("api-rest", Used("used", 1, "used"), "topic")
    return _run(STACK, server, Request("POST", "/deployments", 8, 4))


@pytest.mark.parametrize(("written", "errors"), [(100, 0), (108, 0), (90, 10)])
def test_a_run_has_the_processors_used_and_open_requests_may_be_written(
    monkeypatch: pytest.MonkeyPatch, written: int, errors: int
) -> None:
    run = post(monkeypatch, written=written, errors=errors)
    assert (run.load.answers, run.cpu) == (100, 0.02)
    assert run.share == {"server": 0.5, "Kafka": 0.5, "database": 0.5}


@pytest.mark.parametrize(("written", "errors"), [(99, 0), (109, 0), (89, 10)])
def test_answered_events_that_are_not_written_are_an_error(
    monkeypatch: pytest.MonkeyPatch, written: int, errors: int
) -> None:
    with pytest.raises(
        BenchError, match=f"count api-rest's events: 100 answers, {written} events on Kafka"
    ):
        post(monkeypatch, written=written, errors=errors)
