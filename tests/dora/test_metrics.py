"""Figures and durations, by examples that are easy to check."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.dora import metrics
from delivery.dora.report import csv_cell
from delivery.errors import DeclarationError

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
UNTIL = BEGIN + timedelta(days=10)


def committed(hours: float) -> str:
    return (BEGIN + timedelta(hours=hours)).isoformat()


def event(
    hours: float,
    status: str,
    version: str = "1.0.0",
    *,
    stage: str = "deploy",
    **details: Any,
) -> dict[str, Any]:
    return {
        "id": f"{hours}",
        "received_at": "2027-01-01T00:00:00Z",
        "component": "api-rest",
        "version": version,
        "environment": "staging",
        "responsible": "me",
        "stage": stage,
        "status": status,
        "details": {"at": committed(hours), **details},
    }


def figures_of(*events: dict[str, Any]) -> metrics.Figures:
    """The figures of the only component."""
    (figures,) = metrics.figures(events, BEGIN, UNTIL)
    return figures


A, B = {"digest": "sha256:a"}, {"digest": "sha256:b"}
HOUR = 3600.0
# The events, and from them: deployments, failures, and the time to restore.
HISTORIES: dict[str, tuple[list[dict[str, Any]], tuple[int, int, float | None]]] = {
    "deploys that succeed": (
        [event(1, "succeeded"), event(30, "succeeded", "1.1.0")],
        (2, 0, None),
    ),
    "a failure that is rolled back is restored at once": (
        [
            event(1, "succeeded"),
            event(2, "started", "1.1.0"),
            event(3, "failed", "1.1.0"),
            event(3, "rolled-back", "1.1.0"),
            event(5, "succeeded", "1.1.1"),
        ],
        (2, 1, HOUR),
    ),
    "a deploy that is rolled back later has failed": (
        [
            event(1, "succeeded"),
            event(2, "started", "1.1.0"),
            event(3, "succeeded", "1.1.0"),
            event(6, "rolled-back", "1.1.0"),
            event(6, "succeeded", "1.0.0", restored=True),
        ],
        (1, 1, 4 * HOUR),
    ),
    "the same bytes are one deployment under any version": (
        [
            event(1, "succeeded", "1.0.0-rc.1", **A),
            event(2, "succeeded", "1.0.0", **A, changed=False),
            event(3, "succeeded", "1.1.0", **B),
            event(4, "rolled-back", "sha256:bbbb", **B),
            event(4, "succeeded", "1.0.0", **A, restored=True),
        ],
        (1, 1, HOUR),
    ),
    "a removal ends an outage, and is neither a failure nor a deployment": (
        [
            event(1, "succeeded"),
            event(2, "failed", "1.1.0"),
            event(4, "removed"),
            event(9, "succeeded", changed=False),  # a deployment, since nothing ran
        ],
        (2, 1, None),
    ),
    "a verification that fails makes the deploy a failure": (
        [
            event(1, "succeeded"),
            event(2, "failed", stage="verify"),
            event(5, "succeeded", "1.0.1"),
        ],
        (1, 1, 4 * HOUR),
    ),
    "a verification that succeeds does not count": (
        [
            event(1, "succeeded"),
            event(2, "started", stage="verify"),
            event(3, "succeeded", stage="verify"),
        ],
        (1, 0, None),
    ),
    "failures in a row are one outage": (
        [
            event(1, "started", "2"),
            event(2, "failed", "2"),
            event(3, "started", "3"),
            event(4, "failed", "3"),
            event(6, "succeeded", "4"),
        ],
        (1, 2, 5 * HOUR),
    ),
    "an outage that has not ended has no time": ([event(2, "failed", "2")], (0, 1, None)),
    "unchanged bytes are no deployment": (
        [event(1, "succeeded", changed=True), event(3, "succeeded", changed=False)],
        (1, 0, None),
    ),
    "unchanged bytes whose first deploy was not recorded are a deployment": (
        [event(1, "started"), event(3, "succeeded", changed=False)],
        (1, 0, None),
    ),
    "unchanged bytes after another version are a deployment": (
        [event(1, "succeeded", "0.9.0"), event(3, "succeeded", changed=False)],
        (2, 0, None),
    ),
    "a failure of another component does not count": (
        [
            event(1, "succeeded"),
            event(2, "started"),
            event(3, "failed", changed=False),
            event(4, "failed", stage="verify", changed=False),
        ],
        (1, 0, None),
    ),
}


@pytest.mark.parametrize(("events", "expected"), HISTORIES.values(), ids=HISTORIES)
def test_deployments_failures_and_the_time_to_restore(
    events: list[dict[str, Any]], expected: tuple[int, int, float | None]
) -> None:
    figures = figures_of(*events)
    assert (figures.deployments, figures.failures, figures.restore_time) == expected


def test_frequency_and_failure_rate() -> None:
    figures = figures_of(*HISTORIES["deploys that succeed"][0], event(40, "failed", "1.2.0"))
    assert (figures.frequency, figures.failure_rate) == (0.2, 1 / 3)
    only_failure = figures_of(event(2, "failed", "2"))
    assert (only_failure.frequency, only_failure.failure_rate) == (None, 1)


def test_lead_time_is_from_the_commit_to_the_deploy_that_succeeded() -> None:
    figures = figures_of(
        event(2, "succeeded", committed_at=committed(1)),
        event(13, "succeeded", "1.1.0", committed_at=committed(10)),
        event(30, "succeeded", "1.2.0", committed_at=committed(20)),
        event(31, "failed", "1.3.0", committed_at=committed(30)),
    )
    assert figures.lead_time == 3 * 3600


@pytest.mark.parametrize("at", ["", None, "yesterday", committed(5)])
def test_a_commit_of_unknown_or_later_time_has_no_lead_time(at: object) -> None:
    assert figures_of(event(2, "succeeded", committed_at=at)).lead_time is None


def test_events_of_the_same_time_have_an_order() -> None:
    events = [
        event(1, "succeeded", "1"),
        event(2, "succeeded", "2"),
        event(3, "succeeded", "1", restored=True),
        event(3, "rolled-back", "2"),
        event(3, "failed", "2", changed=False),
    ]
    assert metrics.figures(events, BEGIN, UNTIL) == metrics.figures(reversed(events), BEGIN, UNTIL)
    assert figures_of(*events).restore_time == 3600


def test_each_component_has_figures_in_each_environment() -> None:
    figures = metrics.figures(
        [
            event(1, "succeeded"),
            event(1, "succeeded") | {"environment": "production"},
            event(1, "succeeded") | {"component": "async-worker"},
            event(1, "succeeded") | {"environment": "none"},
            event(1, "succeeded", stage="build") | {"component": "base-image"},
        ],
        BEGIN,
        UNTIL,
    )
    assert [(each.component, each.environment) for each in figures] == [
        ("api-rest", "production"),
        ("api-rest", "staging"),
        ("async-worker", "staging"),
    ]


def test_no_data_is_not_zero() -> None:
    row = figures_of(event(2, "failed", "2")).row()
    assert row == ("api-rest", "staging", "no data", "no data", "100% (1 of 1)", "no data")
    assert figures_of(event(2, "failed", changed=False)).row()[4] == "no data"


def test_figures_as_a_row_and_as_json() -> None:
    figures = figures_of(
        event(2, "succeeded", committed_at=committed(1)),
        event(3, "failed", "2"),
        event(5, "succeeded", "3"),
    )
    assert figures.row() == ("api-rest", "staging", "0.2 a day (2)", "1 h", "33% (1 of 3)", "2 h")
    assert figures.to_json() == {
        "component": "api-rest",
        "environment": "staging",
        "deployments": 2,
        "deployments_per_day": 0.2,
        "lead_time_seconds": 3600,
        "change_failure_rate": 1 / 3,
        "failures": 1,
        "restore_seconds": 7200,
    }


def test_durations_are_by_component_and_stage_in_the_order_of_stages() -> None:
    events = [event(n, "succeeded", stage="build", seconds=float(n)) for n in range(1, 11)]
    events += [
        event(11, "failed", stage="plan", seconds=4),
        event(11, "started", stage="plan"),
        event(11, "rolled-back", stage="build", seconds=500.0),
        event(12, "succeeded", stage="build", seconds=True),
        event(12, "succeeded", stage="build", seconds=float("nan")),
        event(12, "succeeded", stage="build", seconds="long"),
        event(12, "succeeded", seconds=99.0, restored=True),
        event(12, "removed", seconds=5.0),
        {**event(12, "succeeded", stage="build"), "details": None},
    ]
    assert metrics.durations(events) == [
        metrics.Duration("api-rest", "plan", 1, 4.0, 4.0),
        metrics.Duration("api-rest", "build", 10, 5.5, 9.0),
    ]


def test_a_stage_of_several_runs_lasts_from_the_first_start_to_the_last_end() -> None:
    steps = [
        event(hours, "succeeded", stage="scan", seconds=60.0, pipeline="b/1") for hours in (3, 5)
    ]
    other = event(9, "succeeded", stage="scan", seconds=60.0, pipeline="b/2")
    assert metrics.durations([*steps, other]) == [
        metrics.Duration("api-rest", "scan", 2, (7260 + 60) / 2, 7260.0)
    ]


def test_the_last_deployments_are_the_ends_of_deploys_and_removals() -> None:
    events = [
        event(5, "removed"),
        event(1, "succeeded"),
        event(3, "started"),
        event(2, "failed"),
        event(4, "succeeded", stage="verify"),
    ]
    statuses = [each["status"] for each in metrics.deployments(events, 5)]
    assert statuses == ["removed", "failed", "succeeded"]
    assert len(metrics.deployments(events, 1)) == 1


@pytest.mark.parametrize(("text", "hours"), [("90m", 1.5), ("12h", 12), ("3d", 72), (" 2w ", 336)])
def test_a_span_of_time(text: str, hours: float) -> None:
    assert metrics.parse_span(text) == timedelta(hours=hours)


@pytest.mark.parametrize("text", ["", "0d", "30", "d", "-1d", "1y", "100000d"])
def test_an_invalid_span_is_an_error(text: str) -> None:
    with pytest.raises(DeclarationError, match="is not a span of time"):
        metrics.parse_span(text)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1", "  =1", "\n=1", "\uff1d1"])
def test_an_apostrophe_keeps_a_formula_from_being_one(text: str) -> None:
    assert csv_cell(text) == f"'{text}"


def test_other_values_are_written_as_the_ledger_does() -> None:
    cells = [csv_cell(value) for value in (None, "plain", {"at": "é"})]
    assert cells == ["", "plain", '{"at":"é"}']


@given(st.text())
def test_no_cell_is_a_formula(text: str) -> None:
    assert not csv_cell(text).lstrip().startswith(("=", "+", "-", "@"))


STATUSES = st.sampled_from(["started", "succeeded", "failed", "rolled-back", "removed"])
EVENTS = st.lists(
    st.builds(
        event,
        st.integers(0, 100),
        STATUSES,
        st.sampled_from("123"),
        stage=st.sampled_from(["deploy", "verify", "build"]),
        changed=st.sampled_from([True, False, None]),
        restored=st.sampled_from([True, False]),
        seconds=st.one_of(st.none(), st.floats(0, 10)),
    )
)


@given(EVENTS)
def test_figures_of_any_events_are_valid(events: list[dict[str, Any]]) -> None:
    for figures in metrics.figures(events, BEGIN, UNTIL):
        assert figures.deployments >= 0
        assert figures.failures >= 0
        assert figures.failure_rate is None or 0 <= figures.failure_rate <= 1
        assert figures.restore_time is None or figures.restore_time >= 0
        assert json.dumps(figures.to_json())
