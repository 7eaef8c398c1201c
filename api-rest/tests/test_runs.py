import random
from datetime import datetime, timedelta
from typing import Any

import pytest
from api_rest.event import STAGES as EVENT_STAGES
from api_rest.runs import STAGES, Run, StageTime, runs

START = datetime(2026, 1, 1, 12)  # noqa: DTZ001  the column holds UTC without a zone


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def event(seconds: float, stage: str, status: str, **changes: str) -> dict[str, Any]:
    return {
        "id": f"{seconds:09.3f}",
        "component": "api-rest",
        "version": "1.2.3",
        "environment": "staging",
        "responsible": "Zoë",
        "received_at": at(seconds),
        "stage": stage,
        "status": status,
        **changes,
    }


def statuses(run: Run) -> dict[str, str]:
    return {stage.stage: stage.status for stage in run.stages}


def test_the_stages_are_those_of_the_event() -> None:
    assert STAGES == EVENT_STAGES


def test_no_events_are_no_runs() -> None:
    assert runs([]) == []


def test_a_run_holds_the_start_and_the_end_of_each_stage() -> None:
    (run,) = runs(
        [
            event(0, "build", "started"),
            event(30, "build", "succeeded", responsible="Jenkins"),
            event(31, "deploy", "started"),
            event(41.5, "deploy", "succeeded"),
        ]
    )
    assert run == Run(
        "api-rest",
        "1.2.3",
        "staging",
        "Zoë",
        at(0),
        at(41.5),
        (StageTime("build", "succeeded", at(0), at(30)), StageTime("deploy", "succeeded", at(31), at(41.5))),
    )
    assert [stage.seconds for stage in run.stages] == [30, 10.5]
    assert (run.status, run.seconds) == ("succeeded", 41.5)


def test_events_may_come_in_any_order() -> None:
    events = [
        event(number, stage, status)
        for number, (stage, status) in enumerate((s, t) for s in STAGES for t in ("started", "succeeded"))
    ]
    shuffled = random.Random(1).sample(events, len(events))  # noqa: S311  no secret
    assert runs(shuffled) == runs(events)
    assert [stage.stage for stage in runs(shuffled)[0].stages] == list(STAGES)


def test_a_start_and_an_end_of_one_moment_are_one_stage() -> None:
    (run,) = runs([event(0, "build", "succeeded", id="1"), event(0, "build", "started", id="2")])
    assert run.stages == (StageTime("build", "succeeded", at(0), at(0)),)


@pytest.mark.parametrize("field", ["component", "version", "environment"])
def test_another_component_version_or_environment_is_another_run(field: str) -> None:
    found = runs([event(0, "deploy", "started"), event(1, "deploy", "succeeded", **{field: "other"})])
    assert len(found) == 2


def test_the_newest_start_comes_first() -> None:
    found = runs(
        [
            event(0, "build", "started", version="1"),
            event(1, "build", "started", version="2"),
            event(9, "build", "succeeded", version="1"),
        ]
    )
    assert [run.version for run in found] == ["2", "1"]


def test_a_start_of_a_stage_that_the_run_has_begins_a_new_run() -> None:
    again, first = runs(
        [
            event(0, "build", "started"),
            event(1, "build", "succeeded"),
            event(2, "deploy", "started"),
            event(3, "deploy", "failed"),
            event(9, "deploy", "started"),
            event(12, "deploy", "succeeded"),
        ]
    )
    assert statuses(first) == {"build": "succeeded", "deploy": "failed"}
    assert statuses(again) == {"deploy": "succeeded"}
    assert (again.started_at, again.seconds) == (at(9), 3)


def test_an_end_without_its_start_has_no_length() -> None:
    (run,) = runs([event(5, "deploy", "succeeded")])
    assert run.stages == (StageTime("deploy", "succeeded", None, at(5)),)
    assert (run.stages[0].seconds, run.seconds, run.started_at) == (None, None, at(5))


def test_where_only_ends_are_recorded_each_repeated_one_is_a_run() -> None:
    found = runs([event(0, "build", "succeeded"), event(1, "deploy", "succeeded"), event(9, "build", "succeeded")])
    assert [list(statuses(run)) for run in found] == [["build"], ["build", "deploy"]]


def test_a_rollback_belongs_to_the_run_it_undoes_and_does_not_make_its_stage_longer() -> None:
    (run,) = runs(
        [event(0, "deploy", "started"), event(4, "deploy", "succeeded"), event(3600, "deploy", "rolled-back")]
    )
    assert (run.status, run.updated_at) == ("rolled-back", at(3600))
    assert (run.stages[0].seconds, run.seconds) == (4, 4)


def test_a_rollback_of_what_has_no_start_is_no_new_run() -> None:
    (run,) = runs([event(0, "deploy", "succeeded"), event(9, "deploy", "rolled-back")])
    assert run.status == "rolled-back"


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (("succeeded", "succeeded", "succeeded"), "succeeded"),
        (("succeeded", "started", "succeeded"), "started"),
        (("started", "failed", "succeeded"), "failed"),
        (("failed", "rolled-back", "started"), "rolled-back"),
    ],
)
def test_a_run_is_as_good_as_its_worst_stage(said: tuple[str, ...], status: str) -> None:
    (run,) = runs([event(number, STAGES[number], word) for number, word in enumerate(said)])
    assert run.status == status


def test_a_stage_under_way_has_no_length_and_nor_has_its_run() -> None:
    (run,) = runs([event(0, "build", "started"), event(5, "build", "succeeded"), event(6, "test", "started")])
    assert (run.stages[1].seconds, run.seconds) == (None, None)
