"""What is recorded of a run, and what the ledger's answers mean."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from delivery.project.declaration import Declaration
from delivery.records import events
from delivery.records.deployment import Action, Contents, Deployment, Outcome
from delivery.records.events import (
    Origin,
    Record,
    Run,
    SendResult,
    components_of,
    format_seconds,
    format_time,
    printable,
    send_result,
    time_of,
    unchanged_components,
)
from tests.records.conftest import record

BEGAN = datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)
BUILD = Run(
    identifier="r1",
    stage="build",
    step="build",
    chart="platform-chart",
    origin=Origin("Zoë", "https://ci/7/", "c0ffee", "develop", "develop", "2026-01-31T11:00:00Z"),
    deployment=Deployment(
        action=Action.NONE,
        environment="develop",
        contents=Contents(versions={"api-rest": "1.2.0-dev.3"}),
        began=BEGAN,
    ),
)


def ended(outcome: Outcome, error: str = "", seconds: float = 0.0) -> list[Record]:
    """The records of a build that has ended."""
    deployment = BUILD.deployment.ended(outcome, error=error, at=BEGAN + timedelta(seconds=seconds))
    return events.ended(replace(BUILD, deployment=deployment))


def test_a_start_has_every_field_but_the_duration() -> None:
    (record,) = events.started(BUILD)
    assert record.to_json() == {
        "component": "api-rest",
        "version": "1.2.0-dev.3",
        "environment": "develop",
        "responsible": "Zoë",
        "stage": "build",
        "status": "started",
        "details": {
            "at": "2026-01-31T12:00:00.123Z",
            "pipeline": "https://ci/7/",
            "commit": "c0ffee",
            "branch": "develop",
            "line": "develop",
            "committed_at": "2026-01-31T11:00:00Z",
            "step": "build",
            "run": "r1",
        },
    }


def test_an_end_has_the_duration_and_the_error() -> None:
    (record,) = ended(Outcome.FAILED, "no such base", 90.25)
    details = record.details
    assert (record.status, details.seconds, details.error) == ("failed", 90.25, "no such base")
    assert details.at == "2026-01-31T12:01:30.373Z"
    (record,) = ended(Outcome.SUCCEEDED)
    assert record.status == "succeeded"
    assert (record.details.error, record.details.changed) == (None, None)


def test_without_an_environment_a_record_says_none() -> None:
    deployment = BUILD.deployment.model_copy(update={"environment": ""})
    (record,) = events.started(replace(BUILD, deployment=deployment))
    assert record.environment == "none"


def test_a_long_error_with_odd_characters_fits_into_the_details() -> None:
    (record,) = ended(Outcome.FAILED, "\ud800" + "é" * 100_000)
    assert len(record.details.model_dump_json().encode()) < 32_768


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Zoë", "Zoë"),
        ("  Ann\u200bB\n", "Ann B"),
        ("\u202e", "unknown"),
        ("", "unknown"),
        ("a\ud800b", "a b"),
        ("x" * 300, "x" * 10),
        ("123456789 x", "123456789"),
    ],
)
def test_characters_that_the_ledger_refuses_are_replaced(text: str, expected: str) -> None:
    assert printable(text, 10) == expected


def test_times_are_utc_with_milliseconds() -> None:
    at = datetime.fromisoformat("2026-01-31T12:00:00+01:00")
    assert format_time(at) == "2026-01-31T11:00:00.000Z"


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"details": {"at": "2026-01-31T12:00:00Z"}, "received_at": "2026-02-01T00:00:00Z"}, 31),
        ({"details": {"at": "2026-02-02T00:00:00Z"}, "received_at": "2026-02-01T00:00:00Z"}, 1),
        ({"details": None, "received_at": "2026-02-01T00:00:00"}, 1),
        ({"details": {"at": "soon"}}, None),
    ],
)
def test_an_event_happened_at_the_latest_when_it_was_received(
    event: dict[str, Any], expected: int | None
) -> None:
    at = time_of(event)
    assert (at.day if at else None) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0.0 s"),
        (59.9, "59.9 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (18_600, "5 h 10 min"),
        (187_200, "2 d 4 h"),
    ],
)
def test_a_duration_for_people(seconds: float, expected: str) -> None:
    assert format_seconds(seconds) == expected


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("", ["base-image", "api-rest", "platform-chart"]),
        ("apps", ["api-rest"]),
        ("platform-chart", ["platform-chart"]),
        ("sample", ["sample"]),
        ("unknown", []),
    ],
)
def test_components_of_a_part_of_the_project(
    declaration: Declaration, part: str, expected: list[str]
) -> None:
    assert components_of(declaration, part) == expected


@pytest.mark.parametrize(
    ("result", "statuses"),
    [
        (SendResult.DELIVERED, (200, 202, 204)),
        (SendResult.REJECTED, (400, 413, 415, 422)),
        (SendResult.FAILED, (403, 500)),
        (SendResult.UNAVAILABLE, (0, 301, 401, 404, 405, 408, 429, 502, 503, 504)),
    ],
)
def test_the_status_of_an_answer_decides_about_the_event(
    result: SendResult, statuses: tuple[int, ...]
) -> None:
    assert {send_result(status) for status in statuses} == {result}


def test_components_that_the_last_deploy_left_unchanged() -> None:
    records = [
        record(stage, component, status, changed=changed)
        for component, stage, status, changed in (
            ("api-rest", "deploy", "succeeded", False),
            ("api-rest", "deploy", "succeeded", True),
            ("platform-chart", "deploy", "succeeded", True),
            ("platform-chart", "deploy", "succeeded", False),
            ("base-image", "verify", "succeeded", False),
            ("async-worker", "deploy", "failed", False),
        )
    ]
    assert unchanged_components(records) == {"platform-chart"}


A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
NEW = Contents(versions={"api-rest": "1.1.0", "platform-chart": "1.0.0"}, digests={"api-rest": B})
OLD = Contents(versions={"api-rest": "1.0.0", "platform-chart": "1.0.0"}, digests={"api-rest": A})


def recorded(
    action: Action, outcome: Outcome, contents: Contents, previous: Contents
) -> list[tuple[object, ...]]:
    """(component, version, status, changed, restored) of each record, from start to end."""
    both = {"contents": contents, "previous_contents": previous}
    deployment = BUILD.deployment.model_copy(update={"action": action, **both})
    run = replace(BUILD, stage="deploy", deployment=deployment)
    error = "no space" if outcome in {Outcome.FAILED, Outcome.ROLLED_BACK} else ""
    done = replace(run, deployment=deployment.ended(outcome, error=error, at=BEGAN))
    return [
        (
            record.component,
            record.version,
            record.status,
            record.details.changed,
            record.details.restored,
        )
        for record in [*events.started(run), *events.ended(done)]
    ]


def test_a_deploy_starts_what_changes_and_succeeds_in_all() -> None:
    assert recorded(Action.DEPLOY, Outcome.SUCCEEDED, NEW, OLD) == [
        ("api-rest", "1.1.0", "started", None, None),
        ("api-rest", "1.1.0", "succeeded", True, None),
        ("platform-chart", "1.0.0", "succeeded", False, None),
    ]


def test_an_unchanged_deploy_changes_nothing() -> None:
    ended = recorded(Action.DEPLOY, Outcome.UNCHANGED, NEW, Contents())[2:]
    assert [row[2:] for row in ended] == [("succeeded", False, None)] * 2


def test_a_verification_that_succeeds_changes_nothing() -> None:
    assert recorded(Action.VERIFY, Outcome.SUCCEEDED, NEW, OLD)[1:] == [
        ("api-rest", "1.1.0", "succeeded", None, None),
        ("platform-chart", "1.0.0", "succeeded", None, None),
    ]


@pytest.mark.parametrize(
    ("outcome", "previous", "failing"),
    [
        (Outcome.FAILED, Contents(), ["api-rest", "platform-chart"]),
        (Outcome.FAILED, OLD, ["api-rest"]),
        (Outcome.ROLLED_BACK, OLD, ["api-rest"]),
        (Outcome.ROLLED_BACK, NEW, ["platform-chart"]),  # no bytes changed: its values did
    ],
)
def test_only_what_changed_fails_and_is_rolled_back(
    outcome: Outcome, previous: Contents, failing: list[str]
) -> None:
    ends = ["failed"] if outcome is Outcome.FAILED else ["failed", "rolled-back"]
    expected = [(name, status) for status in ("started", *ends) for name in failing]
    assert [(row[0], row[2]) for row in recorded(Action.DEPLOY, outcome, NEW, previous)] == expected


def test_without_a_chart_all_components_fail() -> None:
    alone = Contents(versions={"api-rest": "1.0.0"})
    statuses = [row[2] for row in recorded(Action.DEPLOY, Outcome.FAILED, alone, alone)]
    assert statuses == ["started", "failed"]


def test_a_rollback_rolls_back_what_changes_and_restores_all() -> None:
    assert recorded(Action.ROLLBACK, Outcome.SUCCEEDED, OLD, NEW) == [
        ("api-rest", "1.0.0", "started", None, None),
        ("api-rest", "1.1.0", "rolled-back", None, None),
        ("api-rest", "1.0.0", "succeeded", True, True),
        ("platform-chart", "1.0.0", "succeeded", False, True),
    ]
    versions = {"api-rest": "1.0.0-rc.3", "platform-chart": "1.0.0"}
    candidate = Contents(versions=versions, digests=OLD.digests)
    same_bytes = [row[2:] for row in recorded(Action.ROLLBACK, Outcome.SUCCEEDED, OLD, candidate)]
    assert same_bytes == [("started", None, None), *[("succeeded", False, True)] * 2]


def test_a_rollback_that_fails_rolls_back_nothing() -> None:
    ends = recorded(Action.ROLLBACK, Outcome.ROLLED_BACK, OLD, NEW)[1:]
    assert ends == [("api-rest", "1.0.0", "failed", None, None)]


@pytest.mark.parametrize(
    ("outcome", "status"), [(Outcome.SUCCEEDED, "removed"), (Outcome.FAILED, "failed")]
)
def test_a_removal_is_of_all_components(outcome: Outcome, status: str) -> None:
    records = recorded(Action.REMOVE, outcome, Contents(), NEW)
    assert [row[:3] for row in records if row[2] != "started"] == [
        ("api-rest", "1.1.0", status),
        ("platform-chart", "1.0.0", status),
    ]
