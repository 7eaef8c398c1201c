"""What the ledger is told, and what its answers mean."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from delivery.errors import DeclarationError
from delivery.project.declaration import Declaration
from delivery.records.deployment import Action, Contents, Deployment, Outcome
from delivery.records.events import (
    Fate,
    Origin,
    Record,
    Run,
    StageTime,
    begun,
    components,
    fate,
    journal_name,
    kept_components,
    moment,
    of_deployment,
    printable,
    rfc3339,
    same,
    span,
    stage_times,
    started,
)

BEGAN = datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)
ORIGIN = Origin(
    "Zoë", "https://ci/job/7/", "c0ffee", "develop", "develop", "2026-01-31T11:00:00+00:00"
)
RUN = Run(
    identifier="r1",
    stage="build",
    step="build",
    environment="develop",
    versions={"api-rest": "1.2.0-dev.3"},
    origin=ORIGIN,
    began=BEGAN,
)


def test_a_start_says_everything_but_how_long_it_took() -> None:
    assert RUN.record("api-rest", "started", BEGAN).to_json() == {
        "component": "api-rest",
        "version": "1.2.0-dev.3",
        "environment": "develop",
        "responsible": "Zoë",
        "stage": "build",
        "status": "started",
        "details": {
            "at": "2026-01-31T12:00:00.123Z",
            "pipeline": "https://ci/job/7/",
            "commit": "c0ffee",
            "branch": "develop",
            "line": "develop",
            "committed_at": "2026-01-31T11:00:00+00:00",
            "step": "build",
            "run": "r1",
        },
    }


def test_an_end_says_how_long_it_took_and_what_went_wrong() -> None:
    record = RUN.record(
        "api-rest", "failed", BEGAN + timedelta(seconds=90.25), error="no such base", changed=False
    )
    assert (record.status, record.details.seconds, record.details.error) == (
        "failed",
        90.25,
        "no such base",
    )
    assert record.details.changed is False


def test_a_clock_that_is_put_back_makes_no_time_negative() -> None:
    assert RUN.record("api-rest", "succeeded", BEGAN - timedelta(hours=1)).details.seconds == 0


def test_what_deploys_nowhere_is_recorded_so() -> None:
    assert replace(RUN, environment="").record("api-rest", "started", BEGAN).environment == "none"


def test_a_long_error_with_odd_characters_fits_into_the_details() -> None:
    record = RUN.record("api-rest", "failed", BEGAN, error="\ud800" + "é" * 100_000)
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
def test_a_text_is_made_fit_for_the_ledger(text: str, expected: str) -> None:
    assert printable(text, 10) == expected


def test_times_are_utc_with_milliseconds() -> None:
    assert (
        rfc3339(datetime.fromisoformat("2026-01-31T12:00:00+01:00")) == "2026-01-31T11:00:00.000Z"
    )


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ((), ["base-image", "api-rest", "platform-chart"]),
        (("apps",), ["api-rest"]),
        (("platform-chart",), ["platform-chart"]),
        (("sample",), ["sample"]),
        (("apps", "api-rest"), ["api-rest"]),
    ],
)
def test_components_are_told_or_all(
    declaration: Declaration, names: tuple[str, ...], expected: list[str]
) -> None:
    assert components(declaration, names) == expected


def test_a_component_that_is_none_is_an_error(declaration: Declaration) -> None:
    with pytest.raises(
        DeclarationError, match="record cellar: there is no such component"
    ) as raised:
        components(declaration, ("cellar",))
    assert raised.value.hint == "one of base-image, api-rest, platform-chart, apps, sample"


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        *((status, Fate.DELIVERED) for status in (200, 202, 204)),
        *((status, Fate.REJECTED) for status in (400, 413, 415, 422)),
        (500, Fate.HELD),
        *((status, Fate.AWAY) for status in (0, 301, 401, 403, 404, 405, 408, 429, 502, 503, 504)),
    ],
)
def test_an_answer_decides_what_becomes_of_an_event(status: int, expected: Fate) -> None:
    assert fate(status) is expected


def test_the_same_event_is_known_by_all_that_was_sent() -> None:
    sent = RUN.record("api-rest", "started", BEGAN).to_json()
    assert same(sent, {**sent, "id": "e1", "received_at": "2026-01-31T12:00:01Z"})
    assert not same(
        sent, {**sent, "details": {**sent["details"], "at": "2026-01-31T12:00:00.124Z"}}
    )
    assert not same(sent, {**sent, "status": "failed"})


def test_a_journal_is_named_after_its_build() -> None:
    name = journal_name("https://ci.example.com/job/delivery/job/release%2F1.2/7/")
    assert name.startswith("ci-example-com-job-delivery-job-release-2F1-2-7-")
    assert name.endswith(".jsonl")
    assert name != journal_name("https://ci.example.com/job/delivery/job/release_2F1.2/7/")
    assert len(journal_name("https://" + "x" * 500)) < 100
    assert "/" not in journal_name("https://../../etc")
    assert journal_name("job/7").startswith("job-7-")
    assert journal_name("…").startswith("build-")


def test_a_stage_is_begun_once_for_each_component_and_version() -> None:
    known = [RUN.record("api-rest", "started", BEGAN)]
    assert begun(known, RUN, "api-rest")
    assert not begun(known, replace(RUN, stage="scan"), "api-rest")
    assert not begun(known, replace(RUN, versions={"api-rest": "1.2.0-dev.4"}), "api-rest")
    assert not begun(known, replace(RUN, versions={"base-image": "1.2.0-dev.3"}), "base-image")


def ended(
    component: str, *, changed: bool, stage: str = "deploy", status: str = "succeeded"
) -> Record:
    return replace(RUN, stage=stage, versions={component: "1"}).record(
        component, status, BEGAN, changed=changed
    )


def test_what_the_last_deploy_left_as_it_was() -> None:
    events = [
        ended("api-rest", changed=False),
        ended("api-rest", changed=True),
        ended("platform-chart", changed=True),
        ended("platform-chart", changed=False),
        ended("base-image", changed=False, stage="verify"),
        ended("async-worker", changed=False, status="failed"),
    ]
    assert kept_components(events) == {"platform-chart"}


def test_a_moment_is_when_it_happened_else_when_it_was_taken() -> None:
    assert moment(
        {"details": {"at": "2026-01-31T12:00:00Z"}, "received_at": "2026-02-01T00:00:00Z"}
    ) == datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert moment({"details": None, "received_at": "2026-02-01T00:00:00"}) == datetime(
        2026, 2, 1, tzinfo=UTC
    )
    assert moment({"details": {"at": "soon"}}) is None


def test_parallel_components_and_later_steps_are_one_stage() -> None:
    scan = replace(RUN, stage="scan", versions={"api-rest": "1", "base-image": "1"})
    packages = replace(scan, identifier="r2", step="packages")
    going = replace(scan, identifier="r3", stage="push")

    def at(seconds: float) -> datetime:
        return BEGAN + timedelta(seconds=seconds)

    events = [
        scan.record("api-rest", "started", at(0)),
        scan.record("base-image", "started", at(1)),
        scan.record("api-rest", "succeeded", at(3)),
        scan.record("base-image", "succeeded", at(5)),
        packages.record("api-rest", "failed", at(9)),
        going.record("api-rest", "started", at(10)),
    ]
    assert stage_times(events) == [
        StageTime("scan", "failed", 9.0),
        StageTime("push", "started", None),
    ]
    assert stage_times(events[:4]) == [StageTime("scan", "succeeded", 5.0)]
    assert stage_times([]) == []
    assert span(events) == 10
    assert span([]) is None


def test_what_was_rolled_back_is_said_so() -> None:
    events = [
        RUN.record("api-rest", status, BEGAN) for status in ("started", "failed", "rolled-back")
    ]
    assert [one.status for one in stage_times(events)] == ["rolled-back"]


A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
NEW = Contents(versions={"api-rest": "1.1.0", "platform-chart": "1.0.0"}, digests={"api-rest": B})
OLD = Contents(versions={"api-rest": "1.0.0", "platform-chart": "1.0.0"}, digests={"api-rest": A})


def recorded(
    action: Action, outcome: Outcome, contents: Contents, before: Contents
) -> list[tuple[object, ...]]:
    """(component, version, status, changed, restored) of what is recorded at the start, then at the end."""
    deployment = Deployment(
        action=action, environment="staging", contents=contents, before=before, began=BEGAN
    )
    run = replace(
        RUN,
        stage="deploy",
        versions=contents.versions,
        digests=contents.digests,
        unchanged=deployment.unchanged,
        chart="platform-chart",
    )
    records = [*started(run), *of_deployment(run, deployment.ended(outcome, error="e", at=BEGAN))]
    return [
        (one.component, one.version, one.status, one.details.changed, one.details.restored)
        for one in records
    ]


def test_a_deploy_starts_what_changes_and_succeeds_in_all() -> None:
    assert recorded(Action.DEPLOY, Outcome.SUCCEEDED, NEW, OLD) == [
        ("api-rest", "1.1.0", "started", None, None),
        ("api-rest", "1.1.0", "succeeded", True, None),
        ("platform-chart", "1.0.0", "succeeded", False, None),
    ]


def test_where_nothing_was_to_do_nothing_has_changed() -> None:
    ended = recorded(Action.DEPLOY, Outcome.UNCHANGED, NEW, Contents())[2:]
    assert [row[2:] for row in ended] == [("succeeded", False, None)] * 2


@pytest.mark.parametrize(
    ("outcome", "before", "blamed"),
    [
        (Outcome.FAILED, Contents(), ["api-rest", "platform-chart"]),
        (Outcome.FAILED, OLD, ["api-rest"]),
        (Outcome.ROLLED_BACK, OLD, ["api-rest"]),
        (Outcome.ROLLED_BACK, NEW, ["platform-chart"]),  # no bytes changed: its values did
    ],
)
def test_only_what_changed_fails_and_is_rolled_back(
    outcome: Outcome, before: Contents, blamed: list[str]
) -> None:
    ends = ["failed"] if outcome is Outcome.FAILED else ["failed", "rolled-back"]
    expected = [(name, status) for status in ("started", *ends) for name in blamed]
    assert [(row[0], row[2]) for row in recorded(Action.DEPLOY, outcome, NEW, before)] == expected


def test_without_a_chart_all_of_what_did_not_change_fails() -> None:
    alone = Contents(versions={"api-rest": "1.0.0"})
    assert [row[2] for row in recorded(Action.DEPLOY, Outcome.FAILED, alone, alone)] == [
        "started",
        "failed",
    ]


def test_a_rollback_says_what_is_taken_back_and_what_serves_again() -> None:
    assert recorded(Action.ROLLBACK, Outcome.SUCCEEDED, OLD, NEW) == [
        ("api-rest", "1.0.0", "started", None, None),
        ("api-rest", "1.1.0", "rolled-back", None, None),
        ("api-rest", "1.0.0", "succeeded", True, True),
        ("platform-chart", "1.0.0", "succeeded", False, True),
    ]
    candidate = Contents(
        versions={"api-rest": "1.0.0-rc.3", "platform-chart": "1.0.0"}, digests=OLD.digests
    )
    same_bytes = [row[2:] for row in recorded(Action.ROLLBACK, Outcome.SUCCEEDED, OLD, candidate)]
    assert same_bytes == [("started", None, None), *[("succeeded", False, True)] * 2]


def test_a_rollback_that_fails_leaves_what_serves_alone() -> None:
    ends = recorded(Action.ROLLBACK, Outcome.ROLLED_BACK, OLD, NEW)[1:]
    assert ends == [("api-rest", "1.0.0", "failed", None, None)]


@pytest.mark.parametrize(
    ("outcome", "status"), [(Outcome.SUCCEEDED, "removed"), (Outcome.FAILED, "failed")]
)
def test_a_removal_is_of_all_that_served(outcome: Outcome, status: str) -> None:
    ended = [
        row for row in recorded(Action.REMOVE, outcome, NEW, Contents()) if row[2] != "started"
    ]
    assert [row[:3] for row in ended] == [
        ("api-rest", "1.1.0", status),
        ("platform-chart", "1.0.0", status),
    ]
