"""Stage times follow from the records of a pipeline."""

from datetime import UTC, datetime, timedelta

from delivery.records.events import Record, format_time
from delivery.records.stage_times import StageTime, stage_times, total_seconds
from tests.records import conftest

BEGAN = datetime(2026, 1, 31, 12, tzinfo=UTC)


def record(stage: str, component: str, status: str, seconds: float, run: str = "r1") -> Record:
    at = format_time(BEGAN + timedelta(seconds=seconds))
    return conftest.record(stage, component, status, at=at, run=run)


def test_a_stage_lasts_from_its_first_start_to_its_last_end() -> None:
    records = [
        record("test", "api-rest", "started", 0),
        record("test", "base-image", "started", 1),
        record("test", "api-rest", "succeeded", 3),
        record("test", "base-image", "succeeded", 5),
    ]
    assert stage_times(records) == [StageTime("test", "succeeded", 5.0)]
    begun = record("test", "api-rest", "started", 6, run="r2")
    assert stage_times([*records, begun]) == [StageTime("test", "started", None)]
    second_run = [begun, record("test", "api-rest", "failed", 9, run="r2")]
    unfinished = [record("push", "api-rest", "started", 10, run="r3")]
    assert stage_times([*records, *second_run, *unfinished]) == [
        StageTime("test", "failed", 9.0),
        StageTime("push", "started", None),
    ]
    assert stage_times([]) == []


def test_a_rollback_is_worse_than_a_failure() -> None:
    statuses = ("started", "failed", "rolled-back")
    records = [record("deploy", "api-rest", status, 0) for status in statuses]
    assert stage_times(records) == [StageTime("deploy", "rolled-back", 0.0)]


def test_the_total_is_from_the_first_to_the_last_record() -> None:
    records = [record("build", "a", "started", 2), record("push", "a", "failed", 12)]
    assert total_seconds(records) == 10
    assert total_seconds([]) is None
