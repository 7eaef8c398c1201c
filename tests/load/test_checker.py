"""The checker: no findings for a correct run, and exactly one kind for each violation."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.load.checker import Verdict, check
from tests.load.recording import Request

Rows = list[dict[str, Any]]

UNKNOWN: dict[str, Any] = {"status": 503, "id": None, "received_at": None}
REFUSED: dict[str, Any] = {"status": 422, "id": None, "received_at": None}
UNSENT: dict[str, Any] = {"status": None, "id": None, "received_at": None, "step": "connect"}


def time(second: int) -> str:
    return f"2026-01-01T00:00:{second:02}.000000Z"


def attempt(
    number: int,
    *,
    at: float | None = None,
    component: str = "a",
    **changes: Any,
) -> Request:
    """An accepted attempt at an event, half a second long, by default in second NUMBER."""
    payload = {
        "component": component,
        "version": f"1.{number}",
        "environment": "develop",
        "responsible": "Zoë",
        "stage": "deploy",
        "status": "succeeded",
        "details": {"number": number, "note": ["🚀", None]},
    }
    began = float(number) if at is None else at
    accepted = Request(
        number=number,
        attempt=0,
        kind="POST",
        path=None,
        key=None,
        fresh=True,
        due=began,
        began=began,
        ended=began + 0.5,
        status=202,
        error=None,
        step="receive",
        id=f"id-{number}",
        received_at=time(number),
        payload=payload,
    )
    return replace(accepted, **changes)


def row(stored: Request, **changes: object) -> dict[str, Any]:
    """The row that an attempt must leave."""
    identifier, received_at = stored.id or f"id-{stored.number}", stored.received_at
    return {**stored.payload, "id": identifier, "received_at": received_at, **changes}


def correct(count: int = 5) -> tuple[list[Request], Rows]:
    attempts = [attempt(number) for number in range(1, count + 1)]
    return attempts, [row(stored) for stored in attempts]


def kinds(verdict: Verdict) -> list[tuple[str, int | None]]:
    return [(finding.kind, finding.number) for finding in verdict.findings]


def test_a_correct_run_has_no_findings() -> None:
    verdict = check(*correct())
    assert verdict.findings == ()
    assert (verdict.counts.events, verdict.counts.accepted, verdict.counts.rows) == (5, 5, 5)
    assert verdict.describe().endswith("all correct")


@settings(deadline=None)
@given(st.sets(st.integers(1, 30)))
def test_every_missing_row_is_lost(missing: set[int]) -> None:
    attempts, rows = correct(30)
    verdict = check(attempts, [row for row in rows if row["details"]["number"] not in missing])
    assert kinds(verdict) == [("lost", number) for number in sorted(missing)]


@settings(deadline=None)
@given(st.sets(st.integers(1, 30)))
def test_every_copy_is_a_duplicate(copied: set[int]) -> None:
    attempts, rows = correct(30)
    copies = [{**rows[number - 1], "id": f"copy-{number}"} for number in copied]
    expected = [("duplicated", number) for number in sorted(copied)]
    assert kinds(check(attempts, rows + copies)) == expected


def test_two_ids_for_one_key_are_a_duplicate_whether_both_are_stored_or_not() -> None:
    attempts = [attempt(1, key="k"), attempt(1, key="k", at=2, id="other")]
    rows = [row(attempts[0]), row(attempts[0], id="other")]
    assert kinds(check(attempts, rows)) == [("duplicated", 1), ("duplicated", 1)]
    assert kinds(check(attempts, rows[:1])) == [("duplicated", 1), ("lost", 1)]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("component", "b"),
        ("version", "2"),
        ("environment", "production"),
        ("responsible", "Zoe"),
        ("stage", "build"),
        ("status", "failed"),
        ("details", {"number": 3, "note": ["🚀"]}),
        ("details", {"number": 4, "note": ["🚀", None]}),
        ("details", None),
        ("received_at", "2026-01-01T00:00:03.000001Z"),
    ],
)
def test_a_different_field_is_altered(field: str, value: object) -> None:
    attempts, rows = correct()
    rows[2] = {**rows[2], field: value}
    verdict = check(attempts, rows)
    assert kinds(verdict) == [("altered", 3)]
    assert f"{field} {value!r} instead of" in verdict.findings[0].text


@pytest.mark.parametrize("details", [None, {}, {"number": 77}, {"number": "1"}, "text"])
def test_a_row_of_no_attempt_is_unexplained(details: object) -> None:
    attempts, rows = correct()
    foreign = {**rows[0], "id": "foreign", "details": details}
    assert kinds(check(attempts, [*rows, foreign])) == [("unexplained", None)]


def test_a_row_with_an_id_of_no_answer_is_unexplained() -> None:
    attempts, rows = correct()
    rows[2] = {**rows[2], "id": "another"}
    assert kinds(check(attempts, rows)) == [("lost", 3), ("unexplained", 3)]


def test_an_event_of_unknown_outcome_may_be_stored_once_and_unaltered() -> None:
    unknown = attempt(1, **UNKNOWN)
    stored = row(unknown, received_at=time(1))
    verdict = check([unknown], [stored])
    assert verdict.findings == ()
    assert (verdict.counts.uncertain, verdict.counts.uncertain_stored) == (1, 1)
    assert check([unknown], []).findings == ()
    assert kinds(check([unknown], [stored, {**stored, "id": "two"}])) == [("duplicated", 1)]
    assert kinds(check([unknown], [{**stored, "version": "2"}])) == [("altered", 1)]


@pytest.mark.parametrize("refusal", [REFUSED, UNSENT])
def test_a_refused_event_must_not_be_stored(refusal: dict[str, Any]) -> None:
    refused = attempt(1, **refusal)
    assert check([refused], []).findings == ()
    stored = row(refused, received_at=time(1))
    assert kinds(check([refused], [stored])) == [("refused-yet-stored", 1)]


def test_a_retry_with_the_same_answer_is_correct() -> None:
    tries = [
        attempt(1, key="k", at=1, **UNSENT),
        attempt(1, key="k", at=2, **UNKNOWN),
        attempt(1, key="k", at=3),
        attempt(1, key="k", at=4),
    ]
    verdict = check(tries, [row(tries[2])])
    assert verdict.findings == ()
    assert (verdict.counts.events, verdict.counts.attempts, verdict.counts.retries) == (1, 4, 3)


@pytest.mark.parametrize(
    ("first", "second", "number"),
    [
        (attempt(1, key="k"), attempt(1, key="k", at=2, received_at=time(9)), 1),
        (attempt(1, key="k"), attempt(1, key="k", at=2, **REFUSED), 1),
        (attempt(1), attempt(2, id="id-1"), 2),
    ],
    ids=["one key, two times", "one key, accepted and refused", "one id, two events"],
)
def test_contradictory_answers_are_inconsistent(
    first: Request, second: Request, number: int
) -> None:
    assert ("inconsistent", number) in kinds(check([first, second], [row(first)]))


def test_times_of_a_component_must_follow_its_order() -> None:
    times = {1: 9, 2: 2, 3: 9, 4: 10}
    attempts = [attempt(number, received_at=time(second)) for number, second in times.items()]
    verdict = check(attempts, [row(stored) for stored in attempts])
    assert kinds(verdict) == [("out-of-order", 2), ("out-of-order", 3)]
    assert "event 1 before it" in verdict.findings[0].text


def test_overlapping_attempts_and_different_components_have_no_order() -> None:
    attempts = [
        attempt(1, received_at=time(9), at=1),
        attempt(2, at=1.25),
        attempt(3, received_at=time(9), component="c"),
        attempt(4, component="b"),
    ]
    assert check(attempts, [row(stored) for stored in attempts]).findings == ()


def test_a_retried_event_is_ordered_by_its_first_attempt() -> None:
    """Its time is that of its key's first attempt, before an event that was accepted meanwhile."""
    first = [attempt(1, key="k", at=1, **UNKNOWN), attempt(1, key="k", at=8)]
    between = [attempt(2, received_at=time(3), at=3), attempt(3, received_at=time(5), at=5)]
    rows = [row(stored) for stored in (first[1], *between)]
    assert check([*first, *between], rows).findings == ()


@pytest.mark.parametrize(
    ("attempts", "problem"),
    [
        ([attempt(1), attempt(1, at=2)], "twice without a key"),
        ([attempt(1, key="k"), attempt(1, key="l", at=2)], "two keys or payloads"),
        ([attempt(1, key="k"), attempt(1, key="k", component="b", at=2)], "two keys or payloads"),
        ([attempt(1, key="k"), attempt(2, key="k")], "events 1 and 2 have one key"),
        ([attempt(1, ended=0.0)], "ended before it began"),
    ],
)
def test_attempts_that_cannot_be_compared_are_an_error(
    attempts: list[Request], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        check(attempts, [])
