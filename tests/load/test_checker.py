"""The checker: silent about a good run, exact about each thing that is planted in it."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ledger.history import Answer, Attempt
from tests.load.checker import Verdict, check

Rows = list[dict[str, Any]]

UNKNOWN = Answer("unknown", 503)
REFUSED = Answer("refused", 422)
UNSENT = Answer("refused", reason="not connected")


def accepted(number: int, identifier: str | None = None, second: int | None = None) -> Answer:
    time = f"2026-01-01T00:00:{number if second is None else second:02}.000000Z"
    return Answer("accepted", 202, identifier or f"id-{number}", time)


def attempt(
    number: int,
    answer: Answer | None = None,
    *,
    key: str | None = None,
    at: float | None = None,
    component: str = "a",
) -> Attempt:
    """Attempt number n goes from n to n + 0.5 unless told otherwise."""
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
    return Attempt(number, key, payload, began, began + 0.5, answer or accepted(number))


def row(one: Attempt, identifier: str | None = None, **changes: object) -> dict[str, Any]:
    """The row that an attempt ought to leave behind."""
    found = {
        **one.payload,
        "id": identifier or one.answer.id or f"id-{one.number}",
        "received_at": one.answer.received_at,
    }
    return {**found, **changes}


def good(count: int = 5) -> tuple[list[Attempt], Rows]:
    attempts = [attempt(number) for number in range(1, count + 1)]
    return attempts, [row(one) for one in attempts]


def kinds(verdict: Verdict) -> list[tuple[str, int | None]]:
    return [(finding.kind, finding.number) for finding in verdict.findings]


def test_a_good_run_has_no_findings() -> None:
    verdict = check(*good())
    assert verdict.findings == ()
    assert (verdict.counts.events, verdict.counts.accepted, verdict.counts.rows) == (5, 5, 5)
    assert verdict.describe().endswith("nothing wrong")


@settings(deadline=None)
@given(st.sets(st.integers(1, 30)))
def test_every_missing_row_is_lost_and_nothing_else_is(missing: set[int]) -> None:
    attempts, rows = good(30)
    verdict = check(attempts, [row for row in rows if row["details"]["number"] not in missing])
    assert kinds(verdict) == [("lost", number) for number in sorted(missing)]


@settings(deadline=None)
@given(st.sets(st.integers(1, 30)))
def test_every_copy_is_a_duplicate_and_nothing_else_is(copied: set[int]) -> None:
    attempts, rows = good(30)
    copies = [{**rows[number - 1], "id": f"copy-{number}"} for number in copied]
    assert kinds(check(attempts, rows + copies)) == [
        ("duplicated", number) for number in sorted(copied)
    ]


def test_two_ids_for_one_key_are_a_duplicate_though_each_is_stored_or_not() -> None:
    attempts = [attempt(1, key="k"), attempt(1, accepted(1, "other"), key="k", at=2)]
    rows = [row(attempts[0]), row(attempts[0], "other")]
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
def test_a_field_that_differs_is_altered(field: str, value: object) -> None:
    attempts, rows = good()
    rows[2] = {**rows[2], field: value}
    verdict = check(attempts, rows)
    assert kinds(verdict) == [("altered", 3)]
    assert f"{field} {value!r} instead of" in verdict.findings[0].text


@pytest.mark.parametrize("details", [None, {}, {"number": 77}, {"number": "1"}, "text"])
def test_a_row_that_no_attempt_explains(details: object) -> None:
    attempts, rows = good()
    assert kinds(check(attempts, [*rows, {**rows[0], "id": "foreign", "details": details}])) == [
        ("unexplained", None)
    ]


def test_a_row_under_an_id_that_nobody_was_answered() -> None:
    attempts, rows = good()
    rows[2] = {**rows[2], "id": "another"}
    assert kinds(check(attempts, rows)) == [("lost", 3), ("unexplained", 3)]


def test_an_event_of_unknown_outcome_may_be_stored_or_not_but_once_and_unaltered() -> None:
    one = attempt(1, UNKNOWN)
    stored = row(one, received_at="2026-01-01T00:00:01.000000Z")
    verdict = check([one], [stored])
    assert verdict.findings == ()
    assert (verdict.counts.uncertain, verdict.counts.uncertain_stored) == (1, 1)
    assert check([one], []).findings == ()
    assert kinds(check([one], [stored, {**stored, "id": "two"}])) == [("duplicated", 1)]
    assert kinds(check([one], [{**stored, "version": "2"}])) == [("altered", 1)]


@pytest.mark.parametrize("refusal", [REFUSED, UNSENT])
def test_what_was_certainly_refused_is_not_stored(refusal: Answer) -> None:
    one = attempt(1, refusal)
    assert check([one], []).findings == ()
    assert kinds(check([one], [row(one, received_at="2026-01-01T00:00:01.000000Z")])) == [
        ("refused-yet-stored", 1)
    ]


def test_a_retry_with_the_same_answer_is_good() -> None:
    tries = [
        attempt(1, UNSENT, key="k", at=1),
        attempt(1, UNKNOWN, key="k", at=2),
        attempt(1, key="k", at=3),
        attempt(1, key="k", at=4),
    ]
    verdict = check(tries, [row(tries[2])])
    assert verdict.findings == ()
    assert (verdict.counts.events, verdict.counts.attempts, verdict.counts.retries) == (1, 4, 3)


@pytest.mark.parametrize(
    ("first", "second", "number"),
    [
        (attempt(1, key="k"), attempt(1, accepted(1, second=9), key="k", at=2), 1),
        (attempt(1, key="k"), attempt(1, REFUSED, key="k", at=2), 1),
        (attempt(1), attempt(2, accepted(2, "id-1")), 2),
    ],
    ids=["one key, two times", "one key, accepted and refused", "one id, two events"],
)
def test_answers_that_contradict_each_other_are_inconsistent(
    first: Attempt, second: Attempt, number: int
) -> None:
    assert ("inconsistent", number) in kinds(check([first, second], [row(first)]))


def test_a_component_whose_times_contradict_its_order() -> None:
    attempts = [
        attempt(1, accepted(1, second=9)),
        attempt(2),
        attempt(3, accepted(3, second=9)),
        attempt(4, accepted(4, second=10)),
    ]
    verdict = check(attempts, [row(one) for one in attempts])
    assert kinds(verdict) == [("out-of-order", 2), ("out-of-order", 3)]
    assert "event 1 before it" in verdict.findings[0].text


def test_no_order_is_concluded_where_attempts_overlap_or_components_differ() -> None:
    overlapping = [attempt(1, accepted(1, second=9), at=1), attempt(2, at=1.25)]
    apart = [attempt(3, accepted(3, second=9)), attempt(4, component="b")]
    attempts = (
        overlapping
        + [replace(one, payload={**one.payload, "component": "c"}) for one in apart[:1]]
        + apart[1:]
    )
    assert check(attempts, [row(one) for one in attempts]).findings == ()


def test_a_retried_event_is_ordered_by_its_first_attempt() -> None:
    """Its time was set when its key was first seen: before an event that was accepted while it was tried again."""
    first = [attempt(1, UNKNOWN, key="k", at=1), attempt(1, accepted(1, second=1), key="k", at=8)]
    between = [attempt(2, accepted(2, second=3), at=3), attempt(3, accepted(3, second=5), at=5)]
    assert check([*first, *between], [row(one) for one in (first[1], *between)]).findings == ()


@pytest.mark.parametrize(
    ("attempts", "problem"),
    [
        ([attempt(1), attempt(1, at=2)], "twice without a key"),
        ([attempt(1, key="k"), attempt(1, key="l", at=2)], "two keys or payloads"),
        ([attempt(1, key="k"), attempt(1, key="k", component="b", at=2)], "two keys or payloads"),
        ([attempt(1, key="k"), attempt(2, key="k")], "events 1 and 2 have one key"),
        ([replace(attempt(1), completed=0.0)], "ended before it began"),
    ],
)
def test_a_history_that_cannot_be_judged(attempts: list[Attempt], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        check(attempts, [])
