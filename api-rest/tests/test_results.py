from datetime import datetime, timedelta

import pytest
from api_rest.results import is_under_way, newer_run, result
from api_rest.runs import Run, Running, StageTime
from ledger.event_rules import STAGES

NOW = datetime(2026, 1, 10, 12)  # noqa: DTZ001  the column holds UTC without a zone
DAY = timedelta(days=1)


def run(*stages: tuple[str, str], ago: timedelta = timedelta(minutes=1)) -> Run:
    made = tuple(StageTime(stage, status, NOW, None) for stage, status in stages)
    return Run("api-rest", "1.2.4", "staging", "Ana", NOW - ago, NOW - ago, made)


def running(ago: timedelta) -> Running:
    return Running("staging", "api-rest", "1.2.3", NOW - ago, "Zoë", None)


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_has_its_words(stage: str) -> None:
    (doing, done) = (result(run((stage, status)), NOW)[1] for status in ("started", "succeeded"))
    assert doing.endswith("ing")
    assert done.endswith(("ed", "lt"))


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ((("push", "succeeded"), ("smoke-test", "started")), "In smoke-test"),
        ((("deploy", "succeeded"), ("smoke-test", "failed")), "Failed in smoke-test"),
        ((("push", "succeeded"), ("smoke-test", "succeeded")), "Pushed"),
        ((("smoke-test", "succeeded"),), "Succeeded"),
    ],
)
def test_another_stage_is_named_while_it_runs_and_when_it_failed(
    stages: tuple[tuple[str, str], ...], words: str
) -> None:
    assert result(run(*stages), NOW)[1] == words


def test_a_run_under_way_is_named_by_its_last_started_stage() -> None:
    assert (
        result(run(("test", "started"), ("build", "started"), ("scan", "succeeded")), NOW)[1]
        == "Building"
    )


def test_a_failed_run_is_named_by_its_first_failed_stage() -> None:
    assert (
        result(run(("test", "succeeded"), ("build", "failed"), ("scan", "failed")), NOW)[1]
        == "Failed in build"
    )


@pytest.mark.parametrize(
    ("ago", "goes_on"), [(DAY, True), (DAY + timedelta(microseconds=1), False)]
)
def test_a_run_without_an_event_for_a_day_is_silent(ago: timedelta, *, goes_on: bool) -> None:
    silent = run(("build", "started"), ago=ago)
    assert is_under_way(silent, NOW) is goes_on
    assert result(silent, NOW)[0] == ("started" if goes_on else "silent")


@pytest.mark.parametrize("since", [timedelta(minutes=1), timedelta(seconds=59)])
def test_a_run_older_than_the_running_version_is_not_newer(since: timedelta) -> None:
    assert newer_run(running(since), run(("deploy", "failed")), NOW) is None


def test_a_failed_run_after_the_running_version_is_newer() -> None:
    found = newer_run(running(timedelta(minutes=2)), run(("deploy", "failed")), NOW)
    assert found is not None
    assert (found.version, found.look, found.words) == ("1.2.4", "failed", "Failed in deploy")


@pytest.mark.parametrize(
    "stages", [(("push", "succeeded"),), (("scan", "failed"), ("deploy", "succeeded"))]
)
def test_a_successful_or_deployed_run_is_not_newer(stages: tuple[tuple[str, str], ...]) -> None:
    assert newer_run(None, run(*stages), NOW) is None
