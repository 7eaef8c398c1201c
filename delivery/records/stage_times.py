"""How long each stage of a pipeline took, by its records."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from delivery.records.events import STAGES, Record, parse_time

__all__ = ["StageTime", "stage_times", "total_seconds"]

_ENDS = ("succeeded", "failed", "rolled-back", "removed")


@dataclass(frozen=True)
class StageTime:
    """A stage of a pipeline: all its runs, from the first start to the last end."""

    stage: str
    status: str  # the worst of its runs; started until all have ended
    seconds: float | None  # None: it has not ended


def stage_times(records: Iterable[Record]) -> list[StageTime]:
    """The stages of a pipeline in their order."""
    by_stage: dict[str, list[Record]] = {}
    for record in records:
        by_stage.setdefault(record.stage, []).append(record)
    return [_stage_time(stage, by_stage[stage]) for stage in STAGES if stage in by_stage]


def _stage_time(stage: str, records: list[Record]) -> StageTime:
    ends = [record for record in records if record.status in _ENDS]
    statuses = {record.status for record in records}
    if statuses & {"rolled-back", "failed"}:
        status = "rolled-back" if "rolled-back" in statuses else "failed"
    elif {record.details.run for record in records} - {record.details.run for record in ends}:
        status = "started"
    else:
        status = "succeeded"
    starts = [record for record in records if record.status == "started"]
    first, last = _times(starts), _times(ends)
    if status == "started" or not first or not last:
        return StageTime(stage, status, None)
    return StageTime(stage, status, max(0.0, (max(last) - min(first)).total_seconds()))


def total_seconds(records: Iterable[Record]) -> float | None:
    """The seconds from the first to the last record; None without records."""
    times = _times(records)
    return (max(times) - min(times)).total_seconds() if times else None


def _times(records: Iterable[Record]) -> list[datetime]:
    return [at for record in records if (at := parse_time(record.details.at))]
