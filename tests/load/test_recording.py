"""The judge of the traffic: silent about a good run, exact about each failure that is planted in it."""

import json
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delivery.project.files import ROOT
from tests.load.checker import check
from tests.load.recording import (
    OVERLOADED,
    Lag,
    Phase,
    Recording,
    Request,
    attempts,
    failures,
    parse,
    serials,
    summarise,
    table,
)

PHASES = [Phase("quiet", 0, 100), Phase("drain", 100, 200)]


def one(number: int, **changes: object) -> Request:
    """Request number n is due at n, begins at once, and takes half a second."""
    kind = changes.pop("kind", "POST" if number % 2 == 0 else "GET")
    found = Request(
        number=number,
        attempt=0,
        kind=str(kind),
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
        received_at=None
        if kind == "GET"
        else f"2026-01-01T00:{number // 60:02}:{number % 60:02}.000000Z",
    )
    return replace(found, **changes)  # type: ignore[arg-type]


def recording(*requests: Request, lags: tuple[Lag, ...] = ()) -> Recording:
    return Recording(requests, lags, 1.0)


def good(count: int = 200) -> list[Request]:
    return [one(number) for number in range(count)]


def text(requests: list[Request], **end: object) -> str:
    lines: list[dict[str, Any]] = [asdict(request) for request in requests]
    last = {
        "end": len(requests),
        "numbers": len({request.number for request in requests}),
        "cpu": 1.5,
        **end,
    }
    return "\n".join(map(json.dumps, [*lines, last]))


@settings(deadline=None, max_examples=30)
@given(st.sets(st.integers(0, 199)))
def test_every_planted_failure_is_found_and_nothing_else_is(planted: set[int]) -> None:
    requests = [
        one(n, status=None, error="ConnectionResetError()") if n in planted else one(n)
        for n in range(200)
    ]
    found = failures(recording(*requests), PHASES)
    assert [failure.request.number for failure in found] == sorted(planted)
    assert {failure.phase for failure in found} <= {"quiet", "drain"}
    assert {failure.fault for failure in found} <= {"server"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"status": None, "error": "timeout"}, "timeout at receive"),
        (
            {"status": None, "error": "ConnectionRefusedError(111)", "step": "connect"},
            "ConnectionRefusedError(111) at connect",
        ),
        (
            {"status": None, "error": "ConnectionResetError(104)", "step": "send"},
            "ConnectionResetError(104) at send",
        ),
        ({"status": 200, "error": "IncompleteReadError"}, "IncompleteReadError at receive"),
        ({"status": 500}, "status 500"),
        ({"status": 503}, "status 503"),
        ({"status": 503, "said": "shutting down"}, "status 503, shutting down"),
        ({"status": 408}, "status 408"),
        ({"status": 200}, "status 200"),
        ({"id": None}, "an answer without an id"),
    ],
)
def test_a_post_failed(changes: dict[str, Any], reason: str) -> None:
    (failure,) = failures(recording(one(2, **changes)), PHASES)
    assert (failure.reason, failure.fault) == (reason, "server")


@pytest.mark.parametrize(
    ("path", "status", "fails"),
    [
        ("/deployments/id", 200, False),
        ("/deployments/id", 404, False),
        ("/deployments/id", 502, True),
        ("/deployments?limit=10", 404, True),
        ("/", 404, True),
        ("/", 200, False),
    ],
)
def test_a_get_failed(path: str, status: int, fails: bool) -> None:  # noqa: FBT001
    found = failures(recording(one(1, path=path, status=status)), PHASES)
    assert bool(found) == fails


def test_a_repeated_request_that_succeeded_does_not_hide_the_one_that_failed() -> None:
    failed = one(2, status=503, id=None)
    again = one(2, attempt=1, due=3.0, began=3.0, ended=3.5)
    assert [failure.request for failure in failures(recording(failed, again), PHASES)] == [failed]


@pytest.mark.parametrize(
    ("lags", "fault"),
    [
        ((), "server"),
        ((Lag(1.0, 8.0),), "server"),
        ((Lag(3.0, 8.0), Lag(3.0, 11.0)), "generator"),
        ((Lag(9.0, 1.9),), "server"),
        ((Lag(9.0, 30.0),), "server"),
    ],
)
def test_a_timeout_is_the_generators_own_fault_if_it_was_late_for_most_of_it(
    lags: tuple[Lag, ...], fault: str
) -> None:
    late = one(2, status=None, error="timeout", ended=12.0)
    (failure,) = failures(recording(late, lags=lags), PHASES)
    assert failure.fault == fault


def test_what_the_generators_machine_lacks_is_its_own_fault() -> None:
    full = one(2, status=None, error="OSError(24, 'Too many open files')", step="connect")
    ports = one(
        4, status=None, error="OSError(99, 'Cannot assign requested address')", step="connect"
    )
    assert [failure.fault for failure in failures(recording(full, ports), PHASES)] == [
        "generator",
        "generator",
    ]


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
    (failure,) = failures(recording(one(2, due=due, began=due, ended=ended, status=500)), PHASES)
    assert failure.phase == phase


def test_the_numbers_of_a_phase() -> None:
    requests = [one(n, ended=n + n / 1000) for n in range(1, 101)] + [
        one(100, kind="slow POST", ended=105.5)
    ]
    (quiet, drain) = summarise(recording(*requests), PHASES)
    assert (quiet.requests, quiet.failed, quiet.slow) == (99, 0, 0)
    assert (round(quiet.p50), round(quiet.p99), round(quiet.longest)) == (50, 99, 99)
    assert (drain.requests, drain.slow, round(drain.p99)) == (2, 1, 100)
    assert quiet.rate == pytest.approx(0.99)
    assert "| quiet | 100 | 99 | 1 | 49 | 0 | 0 | 50 | 99 | 99 |" in table([quiet, drain])


def test_what_is_in_no_phase_is_not_forgotten() -> None:
    last = summarise(recording(one(2), one(300, status=500), one(310)), PHASES)[-1]
    assert (last.phase, last.requests, last.failed) == ("between", 2, 1)


def test_which_certificates_new_connections_were_served() -> None:
    requests = [
        one(0),
        one(1, began=5.0, serial="B"),
        one(2, began=6.0, serial="A", reused=True),
        one(4, serial=None),
    ]
    assert serials(recording(*requests), 5.0, 7.0) == {"B": 1}
    assert serials(recording(*requests), 0.0, 5.0) == {"A": 1}


def test_a_recording_is_read_as_it_was_written() -> None:
    requests = good(10)
    read = parse(json.dumps({"lag": 0.2, "at": 3.0}) + "\n" + text(requests))
    assert read == Recording(tuple(requests), (Lag(0.2, 3.0),), 1.5)


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        ("", "has no end"),
        (text(good(10)).rsplit("\n", 1)[0], "has no end"),
        (text(good(10))[:-5], "line 11 of the recording is not whole"),
        (text(good(10), end=11), "has 10 requests, its end says 11"),
        (
            text(good(10), numbers=12),
            "2 requests that were due have no line, the first is number 10",
        ),
        ("Traceback", "line 1 of the recording is not whole"),
        ('{"x": 1}', "none of the generator's"),
    ],
)
def test_a_recording_that_is_not_whole_is_not_judged(broken: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse(broken)


def test_the_ledgers_checker_finds_an_accepted_event_that_is_not_stored() -> None:
    accepted = attempts(recording(one(2), one(3), one(4, kind="slow POST")), "run")
    rows = [
        {**attempt.payload, "id": attempt.answer.id, "received_at": attempt.answer.received_at}
        for attempt in accepted
    ]
    assert [attempt.number for attempt in accepted] == [2, 4]
    assert check(accepted, rows).findings == ()
    assert [finding.kind for finding in check(accepted, rows[1:]).findings] == ["lost"]
    assert [finding.kind for finding in check(accepted, [*rows, rows[0]]).findings] == [
        "duplicated"
    ]


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({}, "accepted"),
        ({"status": 503, "id": None}, "unknown"),
        ({"status": 422, "id": None}, "refused"),
        ({"status": None, "error": "timeout", "id": None}, "unknown"),
        ({"status": None, "error": "refused", "step": "connect", "id": None}, "refused"),
    ],
)
def test_how_sure_an_attempt_can_be(changes: dict[str, Any], outcome: str) -> None:
    (attempt,) = attempts(recording(one(2, **changes)), "run")
    assert attempt.answer.outcome == outcome


def test_an_overload_is_known_by_what_the_api_says() -> None:
    assert OVERLOADED in (ROOT / "api-rest" / "src" / "api_rest" / "server.py").read_text(
        encoding="utf-8"
    )
