"""The recording: exactly the planted failures, and the figures of each phase."""

import json
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.load.generator import event
from tests.load.recording import (
    Phase,
    Recording,
    Request,
    failures,
    parse,
    serials,
    summarise,
    table,
)

PHASES = [Phase("quiet", 0, 100), Phase("drain", 100, 200)]


def request(number: int, **changes: Any) -> Request:
    """A successful request: due in second NUMBER, begun at once, ended half a second later."""
    kind = changes.pop("kind", "POST" if number % 2 == 0 else "GET")
    minute, second = divmod(number, 60)
    successful = Request(
        number=number,
        attempt=0,
        kind=kind,
        path="/deployments/id" if kind == "GET" else None,
        key=None if kind == "GET" else f"run-{number}",
        fresh=number % 4 < 2,
        due=float(number),
        began=float(number),
        ended=number + 0.5,
        status=200 if kind == "GET" else 202,
        error=None,
        step="receive",
        reused=number % 4 >= 2,
        serial="A",
        id=None if kind == "GET" else f"id-{number}",
        received_at=None if kind == "GET" else f"2026-01-01T00:{minute:02}:{second:02}.000000Z",
        payload={} if kind == "GET" else event("run", number),
    )
    return replace(successful, **changes)


def recording(*requests: Request) -> Recording:
    return Recording(requests, 1.0)


def successful(count: int = 200) -> list[Request]:
    return [request(number) for number in range(count)]


def text(requests: list[Request], **end: object) -> str:
    lines: list[dict[str, Any]] = [asdict(request) for request in requests]
    for line in lines:
        del line["payload"]
    numbers = len({request.number for request in requests})
    last = {"end": len(requests), "numbers": numbers, "run": "run", "cpu": 1.5, **end}
    return "\n".join(map(json.dumps, [*lines, last]))


@settings(deadline=None, max_examples=30)
@given(st.sets(st.integers(0, 199)))
def test_exactly_the_planted_failures_are_reported(planted: set[int]) -> None:
    requests = [
        request(n, status=None, error="ConnectionResetError()") if n in planted else request(n)
        for n in range(200)
    ]
    failed = failures(recording(*requests), PHASES)
    assert [failure.request.number for failure in failed] == sorted(planted)
    assert {failure.phase for failure in failed} <= {"quiet", "drain"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"status": None, "error": "timeout"}, "timeout at receive"),
        ({"status": None, "error": "OSError(1)", "step": "connect"}, "OSError(1) at connect"),
        ({"status": 200, "error": "IncompleteReadError"}, "IncompleteReadError at receive"),
        ({"status": 503}, "status 503"),
        ({"status": 503, "message": "shutting down"}, "status 503, shutting down"),
        ({"status": 408}, "status 408"),
        ({"status": 200}, "status 200"),
        ({"id": None}, "an answer without an id"),
    ],
)
def test_a_post_fails(changes: dict[str, Any], reason: str) -> None:
    (failure,) = failures(recording(request(2, **changes)), PHASES)
    assert failure.reason == reason


@pytest.mark.parametrize(
    ("path", "status", "reasons"),
    [
        ("/deployments/id", 200, []),
        ("/deployments/id", 404, []),
        ("/deployments/id", 502, ["status 502"]),
        ("/deployments?limit=10", 404, ["status 404"]),
        ("/", 404, ["status 404"]),
        ("/", 200, []),
    ],
)
def test_a_get_fails(path: str, status: int, reasons: list[str]) -> None:
    failed = failures(recording(request(1, path=path, status=status)), PHASES)
    assert [failure.reason for failure in failed] == reasons


def test_a_successful_repetition_does_not_hide_a_failure() -> None:
    failed = request(2, status=503, id=None)
    repetition = request(2, attempt=1, due=3.0, began=3.0, ended=3.5)
    reported = failures(recording(failed, repetition), PHASES)
    assert [failure.request for failure in reported] == [failed]


@pytest.mark.parametrize(
    ("due", "ended", "phase"),
    [
        (50.0, 50.5, "quiet"),
        (99.0, 103.0, "drain"),
        (150.0, 199.0, "drain"),
        (199.0, 203.0, "drain"),
    ],
)
def test_a_failure_belongs_to_the_phase_it_ended_in(due: float, ended: float, phase: str) -> None:
    failed = request(2, due=due, began=due, ended=ended, status=500)
    (failure,) = failures(recording(failed), PHASES)
    assert failure.phase == phase


def test_the_figures_of_a_phase() -> None:
    requests = [request(n, ended=n + n / 1000) for n in range(1, 101)]
    slow = request(100, kind="slow POST", ended=105.5)
    quiet, drain = summarise(recording(*requests, slow), PHASES)
    assert (quiet.requests, quiet.failed, quiet.slow) == (99, 0, 0)
    assert (round(quiet.p50), round(quiet.p99), round(quiet.longest)) == (50, 99, 99)
    assert (drain.requests, drain.slow, round(drain.p99)) == (2, 1, 100)
    assert quiet.rate == pytest.approx(0.99)
    head, rule, row, _ = table([quiet, drain]).splitlines()
    assert row == "| quiet | 100 | 99 | 1 | 49 | 0 | 0 | 50 | 99 | 99 |"
    assert head.count("|") == rule.count("|") == row.count("|")


def test_requests_between_phases_have_figures_too() -> None:
    requests = request(2), request(300, status=500), request(310)
    last = summarise(recording(*requests), PHASES)[-1]
    assert (last.phase, last.requests, last.failed) == ("between", 2, 1)


def test_the_certificates_of_new_connections_are_counted() -> None:
    requests = [
        request(0),
        request(1, began=5.0, serial="B"),
        request(2, began=6.0, serial="A", reused=True),
        request(4, serial=None),
    ]
    assert serials(recording(*requests), 5.0, 7.0) == {"B": 1}
    assert serials(recording(*requests), 0.0, 5.0) == {"A": 1}


def test_a_recording_is_read_as_it_was_written() -> None:
    requests = successful(10)
    read = parse(text(requests))
    assert read == Recording(tuple(requests), 1.5)
    assert read.accepted == {0, 2, 4, 6, 8}


def test_slow_posts_are_posts_too() -> None:
    requests = recording(request(1), request(2), request(4, kind="slow POST"))
    assert [post.number for post in requests.posts] == [2, 4]


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        ("", "has no end"),
        (text(successful(10)).rsplit("\n", 1)[0], "has no end"),
        (text(successful(10))[:-5], "line 11 of the recording is torn"),
        (text(successful(10), end=11), "has 10 requests, its end says 11"),
        (
            text(successful(10), numbers=12),
            "2 requests of the schedule are missing, the first is 10",
        ),
        ("Traceback", "line 1 of the recording is torn"),
        ('{"x": 1}', "not the generator's"),
    ],
)
def test_an_incomplete_recording_is_an_error(broken: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse(broken)


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({}, "accepted"),
        ({"status": 500, "id": None}, "unknown"),
        ({"status": 302, "id": None}, "unknown"),
        ({"status": 202, "id": None}, "unknown"),
        ({"status": 400, "id": None}, "refused"),
        ({"status": 499, "id": None}, "refused"),
        ({"status": None, "error": "timeout", "id": None}, "unknown"),
        ({"status": None, "error": "refused", "step": "connect", "id": None}, "refused"),
    ],
)
def test_only_a_4xx_and_a_failed_connection_are_certain_refusals(
    changes: dict[str, Any], outcome: str
) -> None:
    assert request(2, **changes).outcome == outcome
