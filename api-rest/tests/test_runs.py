import random
from datetime import datetime, timedelta
from typing import Any

import pytest
from api_rest.runs import Run, StageTime, running, runs
from histories import Answer, Row, histories
from hypothesis import given, settings
from ledger.event_rules import STAGES

START = datetime(2026, 1, 1, 12)  # noqa: DTZ001  the column holds UTC without a zone


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def event(seconds: float, stage: str, status: str, **changes: str | None) -> dict[str, Any]:
    return {
        "id": f"{seconds:09.3f}",
        "component": "api-rest",
        "version": "1.2.3",
        "environment": "staging",
        "responsible": "Zoë",
        "at": at(seconds),
        "stage": stage,
        "status": status,
        **changes,
    }


def statuses(run: Run) -> dict[str, str]:
    return {stage.stage: stage.status for stage in run.stages}


def test_a_run_has_the_start_and_the_end_of_each_stage() -> None:
    (run,) = runs(
        [
            event(0, "build", "started", actor="jenkins"),
            event(30, "build", "succeeded", responsible="Jenkins", actor="other"),
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
        (
            StageTime("build", "succeeded", at(0), at(30)),
            StageTime("deploy", "succeeded", at(31), at(41.5)),
        ),
        "jenkins",
    )
    assert [stage.seconds for stage in run.stages] == [30, 10.5]
    assert (run.status, run.seconds) == ("succeeded", 41.5)


def test_events_may_come_in_any_order() -> None:
    events = [
        event(number, stage, status)
        for number, (stage, status) in enumerate(
            (s, t) for s in STAGES for t in ("started", "succeeded")
        )
    ]
    shuffled = random.Random(1).sample(events, len(events))  # noqa: S311  no secret
    assert runs(shuffled) == runs(events)
    assert [stage.stage for stage in runs(shuffled)[0].stages] == list(STAGES)


def test_a_start_and_an_end_at_the_same_time_are_one_stage() -> None:
    (run,) = runs([event(0, "build", "succeeded", id="1"), event(0, "build", "started", id="2")])
    assert run.stages == (StageTime("build", "succeeded", at(0), at(0)),)


@pytest.mark.parametrize("field", ["component", "version", "environment"])
def test_another_component_version_or_environment_is_another_run(field: str) -> None:
    found = runs(
        [event(0, "deploy", "started"), event(1, "deploy", "succeeded", **{field: "other"})]
    )
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


def test_an_end_without_a_start_has_no_duration() -> None:
    (run,) = runs([event(5, "deploy", "succeeded")])
    assert run.stages == (StageTime("deploy", "succeeded", None, at(5)),)
    assert (run.stages[0].seconds, run.seconds, run.started_at) == (None, None, at(5))


def test_without_recorded_starts_a_repeated_end_is_a_new_run() -> None:
    found = runs(
        [
            event(0, "build", "succeeded"),
            event(1, "deploy", "succeeded"),
            event(9, "build", "succeeded"),
        ]
    )
    assert [list(statuses(run)) for run in found] == [["build"], ["build", "deploy"]]


def test_a_rollback_belongs_to_its_deploys_run_and_keeps_the_duration() -> None:
    (run,) = runs(
        [
            event(0, "deploy", "started"),
            event(4, "deploy", "succeeded"),
            event(3600, "deploy", "rolled-back"),
        ]
    )
    assert (run.status, run.updated_at) == ("rolled-back", at(3600))
    assert (run.stages[0].seconds, run.seconds) == (4, 4)


def test_a_rollback_of_a_deploy_without_a_start_is_no_new_run() -> None:
    (run,) = runs([event(0, "deploy", "succeeded"), event(9, "deploy", "rolled-back")])
    assert run.status == "rolled-back"


@pytest.mark.parametrize(
    ("by_stage", "status"),
    [
        (("succeeded", "succeeded", "succeeded"), "succeeded"),
        (("succeeded", "started", "succeeded"), "started"),
        (("started", "failed", "succeeded"), "failed"),
        (("failed", "rolled-back", "started"), "rolled-back"),
    ],
)
def test_a_run_has_the_status_of_its_worst_stage(by_stage: tuple[str, ...], status: str) -> None:
    (run,) = runs([event(number, STAGES[number], word) for number, word in enumerate(by_stage)])
    assert run.status == status


def test_a_running_stage_and_its_run_have_no_duration() -> None:
    (run,) = runs(
        [event(0, "build", "started"), event(5, "build", "succeeded"), event(6, "test", "started")]
    )
    assert (run.stages[0].seconds, run.seconds) == (None, None)


# ---- a pipeline's runs: several steps to a stage, each with its start and its end


def build(
    seconds: float, status: str, step: str | None = None, stage: str = "scan", **changes: str
) -> dict[str, Any]:
    return event(seconds, stage, status, pipeline="https://ci/1", step=step, **changes)


def test_a_stage_of_several_steps_lasts_from_the_first_start_to_the_last_end() -> None:
    (run,) = runs(
        [
            build(0, "started", "secrets"),
            build(4, "succeeded", "secrets"),
            build(5, "started", "packages"),
            build(9, "succeeded", "packages"),
        ]
    )
    assert run.stages == (StageTime("scan", "succeeded", at(0), at(9)),)


def test_a_stage_of_parallel_steps_ends_with_the_last_one() -> None:
    events = [
        build(0, "started", "lint"),
        build(1, "started", "unit"),
        build(3, "succeeded", "lint"),
        build(8, "succeeded", "unit"),
    ]
    (half,) = runs(events[:3])
    assert half.stages == (StageTime("scan", "started", at(0), None),)
    assert (half.status, half.seconds) == ("started", None)
    assert runs(events)[0].stages == (StageTime("scan", "succeeded", at(0), at(8)),)


@pytest.mark.parametrize("began", [1, 5], ids=["at the same time", "afterwards"])
def test_a_stage_fails_if_one_of_its_steps_failed(began: float) -> None:
    (run,) = runs(
        [
            build(0, "started", "lint"),
            build(4, "failed", "lint"),
            build(began, "started", "unit"),
            build(8, "succeeded", "unit"),
        ]
    )
    assert (run.status, run.stages[0].seconds) == ("failed", 8)


def test_a_stage_with_a_failed_and_a_running_step_failed() -> None:
    (run,) = runs(
        [build(0, "started", "lint"), build(4, "failed", "lint"), build(5, "started", "unit")]
    )
    assert run.stages == (StageTime("scan", "failed", at(0), None),)
    assert run.seconds is None


@pytest.mark.parametrize("step", ["lint", "", None])
def test_a_failure_counts_until_its_step_starts_again(step: str | None) -> None:
    events = [build(0, "started", step), build(4, "failed", step), build(5, "succeeded", step)]
    (run,) = runs(events)
    assert (run.status, run.stages[0].seconds) == ("failed", 4)
    again = [*events, build(6, "started", step), build(9, "succeeded", step)]
    assert runs(again[:-1])[0].status == "started"
    (run,) = runs(again)
    assert run.stages == (StageTime("scan", "succeeded", at(0), at(9)),)


def test_a_restarted_step_ends_once() -> None:
    (run,) = runs([build(0, "started", "a"), build(5, "started", "a"), build(9, "succeeded", "a")])
    assert run.stages == (StageTime("scan", "succeeded", at(0), at(9)),)


def test_each_pipeline_has_its_own_run() -> None:
    again, first = runs(
        [
            event(0, "test", "started", pipeline="https://ci/1"),
            event(1, "test", "started", pipeline="https://ci/2"),
            event(5, "test", "failed", pipeline="https://ci/1"),
            event(6, "test", "succeeded", pipeline="https://ci/2"),
            event(7, "record", "succeeded", pipeline="https://ci/1"),
        ]
    )
    assert statuses(first) == {"test": "failed", "record": "succeeded"}
    assert statuses(again) == {"test": "succeeded"}


def test_an_event_without_a_pipeline_belongs_to_the_newest_run() -> None:
    deploy = [
        build(0, "started", "inv deploy", "deploy"),
        build(9, "succeeded", "inv deploy", "deploy"),
    ]
    (run,) = runs([*deploy, event(12, "verify", "succeeded")])
    assert statuses(run) == {"deploy": "succeeded", "verify": "succeeded"}
    assert len(runs([*deploy, event(20, "deploy", "started", step="inv deploy")])) == 2
    assert len(runs([*deploy, event(20, "deploy", "started")])) == 2
    assert len(runs([*deploy, event(20, "deploy", "started", step="another")])) == 1


def test_a_step_after_the_same_stage_without_steps_is_a_new_run() -> None:
    found = runs(
        [
            event(0, "deploy", "started"),
            event(1, "deploy", "failed"),
            event(2, "deploy", "started", step="x"),
        ]
    )
    assert len(found) == 2


@pytest.mark.parametrize("pipeline", ["", "https://ci/2"], ids=["by hand", "by another pipeline"])
def test_a_rollback_belongs_to_the_run_that_deployed(pipeline: str) -> None:
    (run,) = runs(
        [
            build(0, "started", "inv deploy", "deploy"),
            build(9, "succeeded", "inv deploy", "deploy"),
            event(3600, "deploy", "rolled-back", pipeline=pipeline, step="inv rollback"),
        ]
    )
    assert (run.status, run.stages[0].seconds, run.updated_at) == ("rolled-back", 9, at(3600))


def test_a_pipelines_rollback_belongs_to_its_own_run() -> None:
    second, first = runs(
        [
            build(0, "started", "x", "deploy"),
            build(1, "succeeded", "x", "deploy"),
            event(2, "deploy", "started", pipeline="https://ci/2", step="x"),
            event(3, "deploy", "rolled-back", pipeline="https://ci/2", step="x"),
        ]
    )
    assert (first.status, second.status, second.stages[0].seconds) == (
        "succeeded",
        "rolled-back",
        1,
    )


def test_statuses_of_later_versions_are_ignored() -> None:
    (run,) = runs([event(0, "build", "succeeded"), event(1, "test", "maybe")])
    assert statuses(run) == {"build": "succeeded"}


def test_other_stages_follow_the_known_ones_by_name() -> None:
    names = ("smoke-test", "record", "approve", "deploy")
    (run,) = runs([event(number, name, "succeeded") for number, name in enumerate(names)])
    assert list(statuses(run)) == ["deploy", "record", "approve", "smoke-test"]


@pytest.mark.parametrize(
    ("by_stage", "expected"),
    [
        ({"deploy": "succeeded"}, True),
        ({"scan": "failed", "deploy": "succeeded", "record": "succeeded"}, True),
        ({"deploy": "succeeded", "verify": "failed"}, False),
        ({"deploy": "succeeded", "verify": "started"}, False),
        ({"deploy": "succeeded", "smoke-test": "failed"}, False),
        ({"deploy": "succeeded", "smoke-test": "succeeded"}, True),
        ({"deploy": "rolled-back"}, False),
        ({"push": "succeeded", "verify": "succeeded"}, False),
    ],
)
def test_a_run_is_deployed_if_all_stages_from_deploy_on_succeeded(
    by_stage: dict[str, str], *, expected: bool
) -> None:
    (run,) = runs(
        [event(number, stage, status) for number, (stage, status) in enumerate(by_stage.items())]
    )
    assert run.is_deployed is expected


def test_a_duration_is_never_negative() -> None:
    assert StageTime("build", "succeeded", at(5), at(0)).seconds == 0


# ---- what runs


def answer(events: list[dict[str, Any]]) -> list[tuple[str, datetime]]:
    return [(found.version, found.since) for found in running(events)]


def deploy(seconds: float, status: str, version: str = "2.1", **changes: str) -> dict[str, Any]:
    return event(seconds, "deploy", status, version=version, **changes)


@pytest.mark.parametrize("stage", ["deploy", "verify"])
def test_a_rollback_undoes_only_the_last_deploy_of_its_version(stage: str) -> None:
    events = [
        deploy(0, "succeeded", "2.0"),
        deploy(1, "succeeded", responsible="Ana", actor="jenkins"),
        deploy(2, "succeeded"),
        event(3, stage, "rolled-back", version="2.1"),
    ]
    (found,) = running(events)
    assert (found.version, found.since) == ("2.1", at(1))
    assert (found.responsible, found.actor) == ("Ana", "jenkins")
    assert found.run == runs(events)[1]
    assert [run.status for run in runs(events)] == ["rolled-back", "succeeded", "succeeded"]


def test_a_failed_second_deploy_leaves_the_first() -> None:
    again = [deploy(9, "started"), deploy(10, "failed"), deploy(10, "rolled-back", id="0")]
    assert answer([deploy(1, "succeeded"), *again]) == [("2.1", at(1))]


def test_a_pipeline_that_deploys_again_after_a_rollback_has_a_second_run() -> None:
    events = [
        build(0, "succeeded", stage="build"),
        build(1, "failed", stage="deploy"),
        build(2, "rolled-back", stage="deploy"),
        build(3, "succeeded", stage="record"),
        build(4, "started", stage="deploy"),
        build(5, "succeeded", stage="deploy"),
    ]
    again, first = runs(events)
    assert statuses(first) == {"build": "succeeded", "deploy": "rolled-back", "record": "succeeded"}
    assert statuses(again) == {"deploy": "succeeded"}
    assert answer(events) == [("1.2.3", at(5))]


def test_a_running_stage_may_end_after_a_rollback() -> None:
    events = [
        deploy(0, "succeeded"),
        event(1, "verify", "started", version="2.1"),
        deploy(2, "rolled-back"),
        event(3, "verify", "failed", version="2.1"),
    ]
    (run,) = runs(events)
    assert statuses(run) == {"deploy": "rolled-back", "verify": "failed"}


def test_a_deploy_that_succeeds_after_a_rollback_is_a_new_run() -> None:
    events = [
        deploy(0, "started", step="inv deploy"),
        deploy(1, "rolled-back", step="inv rollback"),
        deploy(2, "succeeded", step="inv deploy"),
    ]
    assert [run.status for run in runs(events)] == ["succeeded", "rolled-back"]
    assert answer(events) == [("2.1", at(2))]


def test_a_pipelines_rollback_undoes_its_own_deploy_and_not_a_later_one() -> None:
    events = [
        deploy(0, "succeeded", pipeline="https://ci/1"),
        deploy(1, "succeeded", pipeline="https://ci/2"),
        event(2, "verify", "rolled-back", version="2.1", pipeline="https://ci/1"),
    ]
    assert answer(events) == [("2.1", at(1))]


@pytest.mark.parametrize("pipeline", ["", "https://ci/9"], ids=["by hand", "by a pipeline"])
def test_a_rollback_by_a_verification_undoes_the_deploy(
    pipeline: str,
) -> None:
    events = [
        deploy(0, "succeeded", "2.0", pipeline="https://ci/1"),
        deploy(1, "started", pipeline="https://ci/2"),
        deploy(2, "succeeded", pipeline="https://ci/2"),
        event(3, "verify", "succeeded", version="2.1", pipeline="https://ci/2"),
        *(
            event(86_400 + number, "verify", status, version="2.1", pipeline=pipeline)
            for number, status in enumerate(("started", "failed", "rolled-back"))
        ),
    ]
    assert answer(events) == [("2.0", at(0))]
    verification, taken_back, _ = runs(events)
    assert (verification.status, taken_back.status, taken_back.seconds) == (
        "failed",
        "rolled-back",
        2,
    )


def test_a_rollback_of_a_stage_that_deploys_nothing_undoes_nothing() -> None:
    assert answer([deploy(0, "succeeded"), event(1, "test", "rolled-back", version="2.1")]) == [
        ("2.1", at(0))
    ]


def test_a_rollback_comes_after_a_deploy_of_the_same_time() -> None:
    assert answer([deploy(1, "rolled-back", id="a"), deploy(1, "succeeded", id="b")]) == []


@pytest.mark.parametrize("version", ["2.1", "1.0"], ids=["what runs", "whatever it is taken for"])
def test_nothing_runs_after_a_removal_until_the_next_deploy(version: str) -> None:
    events = [deploy(0, "succeeded"), deploy(1, "removed", version)]
    assert answer(events) == []
    assert [run.status for run in runs(events)] == ["removed", "succeeded"]
    events += [deploy(2, "succeeded", "2.2")]
    assert answer(events) == [("2.2", at(2))]
    assert answer([*events, deploy(3, "rolled-back", "2.2")]) == []


def test_only_a_removal_of_stage_deploy_counts() -> None:
    assert answer([deploy(0, "succeeded"), event(1, "record", "removed")]) == [("2.1", at(0))]


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(histories())
def test_generated_histories_give_the_expected_versions(history: tuple[list[Row], Answer]) -> None:
    rows, expected = history
    found = {
        (one.environment, one.component): (one.version, one.since, one.responsible)
        for one in running(rows)
    }
    assert found == expected


def test_a_deploy_after_a_verification_is_a_run_of_its_own() -> None:
    """As `inv up` records it, which verifies what runs even where it deploys nothing."""
    verified = event(0, "verify", "succeeded")
    again = [
        event(5, "deploy", "started"),
        event(8, "verify", "succeeded"),
        event(9, "deploy", "succeeded"),
    ]
    newest, first = runs([verified, *again])
    assert [stage.stage for stage in first.stages] == ["verify"]
    assert [(stage.stage, stage.status) for stage in newest.stages] == [
        ("deploy", "succeeded"),
        ("verify", "succeeded"),
    ]
    assert newest.status == "succeeded"


COUNTS = {"critical": 0, "high": 2, "medium": 0, "low": 1, "unknown": 0, "blocking": 1}


@pytest.mark.parametrize(
    ("details", "words"),
    [
        ({"vulnerabilities": COUNTS}, "2 high, 1 low"),
        ({"vulnerabilities": dict.fromkeys(COUNTS, 0)}, "none found"),
        ({"unscanned": "no internet here"}, "not scanned"),
        ({}, ""),
        ({"vulnerabilities": {}}, ""),
        ({"vulnerabilities": {"high": 0}}, ""),
        ({"vulnerabilities": {**COUNTS, "high": "<b>"}}, ""),
        ({"vulnerabilities": ["high"]}, ""),
    ],
)
def test_a_scan_says_what_it_found_or_that_it_did_not_look(
    details: dict[str, Any], words: str
) -> None:
    (run,) = runs([event(0, "scan", "started"), event(5, "scan", "succeeded", **details)])
    assert [stage.found for stage in run.stages] == [words]
