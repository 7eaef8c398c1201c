"""The figures, by examples that can be done in one's head."""

import csv
import io
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


def event(  # each is one thing that an event says
    hours: float,
    status: str,
    version: str = "1.0.0",
    *,
    stage: str = "deploy",
    component: str = "api-rest",
    environment: str = "staging",
    **details: Any,  # noqa: ANN401
) -> dict[str, Any]:
    at = (BEGIN + timedelta(hours=hours)).isoformat()
    return {
        "id": f"{hours}",
        "received_at": "2027-01-01T00:00:00Z",
        "component": component,
        "version": version,
        "environment": environment,
        "responsible": "me",
        "stage": stage,
        "status": status,
        "details": {"at": at, **details},
    }


def one(*events: dict[str, Any]) -> metrics.Figures:
    (found,) = metrics.figures(events, BEGIN, UNTIL)
    return found


def committed(hours: float) -> str:
    return (BEGIN + timedelta(hours=hours)).isoformat()


def test_deployments_a_day() -> None:
    found = one(event(1, "succeeded"), event(30, "succeeded", "1.1.0"))
    assert (found.deployments, found.frequency, found.failure_rate) == (2, 0.2, 0.0)


def test_lead_time_is_from_the_commit_to_the_deploy_that_succeeded() -> None:
    found = one(
        event(2, "succeeded", committed_at=committed(1)),
        event(13, "succeeded", "1.1.0", committed_at=committed(10)),
        event(30, "succeeded", "1.2.0", committed_at=committed(20)),
        event(31, "failed", "1.3.0", committed_at=committed(30)),
    )
    assert found.lead_time == 3 * 3600


@pytest.mark.parametrize("told", ["", None, "yesterday", committed(5)])
def test_a_commit_whose_time_is_unknown_or_later_has_no_lead_time(told: object) -> None:
    assert one(event(2, "succeeded", committed_at=told)).lead_time is None


def test_failures_are_a_share_of_all_attempts() -> None:
    found = one(
        event(1, "succeeded"),
        event(2, "started", "1.1.0"),
        event(3, "failed", "1.1.0"),
        event(3, "rolled-back", "1.1.0"),
        event(5, "succeeded", "1.1.1"),
    )
    assert (found.deployments, found.failures, found.failure_rate) == (2, 1, 1 / 3)
    assert (
        found.restore_time == 3600
    )  # from the start of the deploy that failed to its being rolled back


def test_what_is_rolled_back_later_had_failed() -> None:
    found = one(
        event(1, "succeeded"),
        event(2, "started", "1.1.0"),
        event(3, "succeeded", "1.1.0"),
        event(6, "rolled-back", "1.1.0"),
        event(6, "succeeded", "1.0.0", restored=True),
    )
    assert (found.deployments, found.failures) == (1, 1)
    assert found.restore_time == 4 * 3600


def test_the_same_bytes_are_one_deployment_whatever_they_are_called() -> None:
    a, b = {"digest": "sha256:a"}, {"digest": "sha256:b"}
    found = one(
        event(1, "succeeded", "1.0.0-rc.1", **a),
        event(2, "succeeded", "1.0.0", **a, changed=False),
        event(3, "succeeded", "1.1.0", **b),
        event(4, "rolled-back", "sha256:bbbb", **b),
        event(4, "succeeded", "1.0.0", **a, restored=True),
    )
    assert (found.deployments, found.failures, found.restore_time) == (1, 1, 3600)


def test_a_removal_is_neither_a_failure_nor_a_deployment_and_ends_what_served() -> None:
    deploys = [event(1, "succeeded"), event(2, "failed", "1.1.0"), event(4, "removed")]
    found = one(*deploys)
    assert (found.deployments, found.failures, found.restore_time) == (1, 1, None)
    found = one(*deploys, event(9, "succeeded", changed=False))
    assert (found.deployments, found.failures, found.restore_time) == (2, 1, None)
    assert [each["status"] for each in metrics.deployments(deploys, 1)] == ["removed"]
    assert metrics.durations([event(4, "removed", seconds=5.0)]) == []


def test_a_verification_that_fails_makes_the_deploy_a_failure() -> None:
    found = one(
        event(1, "succeeded"),
        event(2, "failed", stage="verify"),
        event(5, "succeeded", "1.0.1"),
    )
    assert (found.deployments, found.failures, found.restore_time) == (1, 1, 4 * 3600)


def test_a_verification_that_succeeds_is_nothing() -> None:
    found = one(
        event(1, "succeeded"),
        event(2, "started", stage="verify"),
        event(3, "succeeded", stage="verify"),
    )
    assert (found.deployments, found.failures, found.restore_time) == (1, 0, None)


def test_failures_in_a_row_are_one_outage() -> None:
    found = one(
        event(1, "started", "2"),
        event(2, "failed", "2"),
        event(3, "started", "3"),
        event(4, "failed", "3"),
        event(6, "succeeded", "4"),
    )
    assert (found.failures, found.restore_time) == (2, 5 * 3600)


def test_an_outage_that_goes_on_has_no_time_yet() -> None:
    found = one(event(2, "failed", "2"))
    assert (found.deployments, found.frequency, found.lead_time, found.restore_time) == (
        0,
        None,
        None,
        None,
    )
    assert found.failure_rate == 1


def test_nothing_to_do_is_no_deployment_unless_the_first_was_never_recorded() -> None:
    again = event(3, "succeeded", changed=False)
    assert one(event(1, "succeeded", changed=True), again).deployments == 1
    assert one(event(1, "started"), again).deployments == 1
    assert one(event(1, "succeeded", "0.9.0"), again).deployments == 2


def test_what_failed_because_of_something_else_is_no_failure_of_this() -> None:
    found = one(
        event(1, "succeeded"),
        event(2, "started"),
        event(3, "failed", changed=False),
        event(4, "failed", stage="verify", changed=False),
    )
    assert (found.deployments, found.failures, found.restore_time) == (1, 0, None)


def test_events_of_one_moment_are_taken_in_their_order() -> None:
    told = [
        event(1, "succeeded", "1"),
        event(2, "succeeded", "2"),
        event(3, "succeeded", "1", restored=True),
        event(3, "rolled-back", "2"),
        event(3, "failed", "2", changed=False),
    ]
    assert metrics.figures(told, BEGIN, UNTIL) == metrics.figures(reversed(told), BEGIN, UNTIL)
    assert one(*told).restore_time == 3600


def test_components_and_environments_are_apart_and_nowhere_is_none() -> None:
    found = metrics.figures(
        [
            event(1, "succeeded"),
            event(1, "succeeded", environment="production"),
            event(1, "succeeded", component="async-worker"),
            event(1, "succeeded", environment="none"),
            event(1, "succeeded", stage="build", component="base-image"),
        ],
        BEGIN,
        UNTIL,
    )
    assert [(each.component, each.environment) for each in found] == [
        ("api-rest", "production"),
        ("api-rest", "staging"),
        ("async-worker", "staging"),
    ]


def test_no_data_is_said_and_is_not_zero() -> None:
    row = one(event(2, "failed", "2")).row()
    assert row == ("api-rest", "staging", "no data", "no data", "100% (1 of 1)", "no data")
    assert one(event(2, "failed", changed=False)).row()[4] == "no data"


def test_figures_for_people() -> None:
    found = one(
        event(2, "succeeded", committed_at=committed(1)),
        event(3, "failed", "2"),
        event(5, "succeeded", "3"),
    )
    assert found.row() == ("api-rest", "staging", "0.2 a day (2)", "1 h", "33% (1 of 3)", "2 h")
    assert found.to_json()["restore_seconds"] == 7200


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
        {**event(12, "succeeded", stage="build"), "details": None},
    ]
    assert metrics.durations(events) == [
        metrics.Duration("api-rest", "plan", 1, 4.0, 4.0),
        metrics.Duration("api-rest", "build", 10, 5.5, 9.0),
    ]


def test_a_stage_of_several_steps_lasts_from_the_first_start_to_the_last_end() -> None:
    steps = [
        event(hours, "succeeded", stage="scan", seconds=60.0, pipeline="b/1") for hours in (3, 5)
    ]
    other = event(9, "succeeded", stage="scan", seconds=60.0, pipeline="b/2")
    assert metrics.durations([*steps, other]) == [
        metrics.Duration("api-rest", "scan", 2, (7260 + 60) / 2, 7260.0)
    ]


def test_the_last_deployments_are_the_ends_of_deploys() -> None:
    events = [
        event(1, "succeeded"),
        event(3, "started"),
        event(2, "failed"),
        event(4, "succeeded", stage="verify"),
    ]
    assert [each["status"] for each in metrics.deployments(events, 5)] == ["failed", "succeeded"]
    assert len(metrics.deployments(events, 1)) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90m", timedelta(minutes=90)),
        ("12h", timedelta(hours=12)),
        ("30d", timedelta(30)),
        (" 2w ", timedelta(14)),
    ],
)
def test_a_span_of_time(text: str, expected: timedelta) -> None:
    assert metrics.parse_span(text) == expected


@pytest.mark.parametrize("text", ["", "0d", "30", "d", "-1d", "1y", "100000d"])
def test_a_span_that_is_none(text: str) -> None:
    with pytest.raises(DeclarationError, match="is not a span of time"):
        metrics.parse_span(text)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1", "  =1", "\n=1", "\uff1d1"])
def test_formulas_are_neutralised(text: str) -> None:
    assert csv_cell(text) == f"'{text}"


def test_other_values_are_as_the_ledgers_own_table_has_them() -> None:
    assert [csv_cell(value) for value in (None, "plain", {"at": "é"})] == [
        "",
        "plain",
        '{"at":"é"}',
    ]


@given(st.text())
def test_no_cell_is_taken_for_a_formula(text: str) -> None:
    out = io.StringIO()
    csv.writer(out).writerow([csv_cell(text)])
    told = csv_cell(text)
    assert not told.lstrip().startswith(("=", "+", "-", "@"))


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
def test_whatever_was_recorded_makes_sense(events: list[dict[str, Any]]) -> None:
    for found in metrics.figures(events, BEGIN, UNTIL):
        assert found.deployments >= 0
        assert found.failures >= 0
        assert found.failure_rate is None or 0 <= found.failure_rate <= 1
        assert found.restore_time is None or found.restore_time >= 0
        assert json.dumps(found.to_json())
