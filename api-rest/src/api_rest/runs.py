"""Runs: the events of one deployment put together, so that people read pipelines and not lines."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .event import STAGES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

__all__ = ["STAGES", "Run", "Running", "StageTime", "runs"]


@dataclass(frozen=True)
class StageTime:
    """How one stage of a run stands, and when that was said."""

    stage: str
    status: str
    started_at: datetime | None
    ended_at: datetime | None

    @property
    def seconds(self) -> float | None:
        """How long it took; None while it runs, or when its start or its end was never recorded."""
        if self.started_at is None or self.ended_at is None:
            return None
        return (self.ended_at - self.started_at).total_seconds()


@dataclass(frozen=True)
class Run:
    """One way of one version of a component towards an environment."""

    component: str
    version: str
    environment: str
    responsible: str
    started_at: datetime
    updated_at: datetime
    stages: tuple[StageTime, ...]

    @property
    def status(self) -> str:
        """The worst that a stage says; `started` while one of them runs."""
        said = {stage.status for stage in self.stages}
        return next((status for status in ("rolled-back", "failed", "started") if status in said), "succeeded")

    @property
    def seconds(self) -> float | None:
        """From the first recorded start to the last end; None while a stage runs, or when no start was recorded."""
        starts = [stage.started_at for stage in self.stages if stage.started_at]
        ends = [stage.ended_at for stage in self.stages if stage.ended_at]
        if not starts or not ends or any(stage.status == "started" for stage in self.stages):
            return None
        return max(0.0, (max(ends) - min(starts)).total_seconds())


@dataclass(frozen=True)
class Running:
    """The version of a component that an environment has, since when, by whom, and the run that brought it."""

    environment: str
    component: str
    version: str
    since: datetime
    responsible: str
    run: Run | None


def runs(events: Iterable[Mapping[str, Any]]) -> list[Run]:
    """Put events, in any order, together into runs, the newest first."""
    open_runs: dict[tuple[str, str, str], Run] = {}
    done: list[Run] = []
    for event in sorted(events, key=_moment):
        key = (event["component"], event["version"], event["environment"])
        run = open_runs.get(key)
        if run is not None and _begins_another(run, event):
            done.append(run)
            run = None
        open_runs[key] = _with_event(run or _empty(event), event)
    return sorted(
        [*done, *open_runs.values()], key=lambda run: (run.started_at, run.component, run.environment), reverse=True
    )


def _moment(event: Mapping[str, Any]) -> tuple[datetime, bool, str]:
    """Order by time; where that is equal, a start comes before its end."""
    return event["received_at"], event["status"] != "started", event["id"]


def _begins_another(run: Run, event: Mapping[str, Any]) -> bool:
    """Tell whether the event belongs to a new run of the same version."""
    known = next((stage for stage in run.stages if stage.stage == event["stage"]), None)
    if known is None:
        return False
    if event["status"] == "started":
        return True
    # Where only ends are recorded, each one stands for a run; a rollback says how the last one went on.
    return known.started_at is None and event["status"] != "rolled-back"


def _empty(event: Mapping[str, Any]) -> Run:
    return Run(
        event["component"],
        event["version"],
        event["environment"],
        event["responsible"],
        event["received_at"],
        event["received_at"],
        (),
    )


def _with_event(run: Run, event: Mapping[str, Any]) -> Run:
    stages = {stage.stage: stage for stage in run.stages}
    stage = stages.get(event["stage"]) or StageTime(event["stage"], event["status"], None, None)
    at = event["received_at"]
    if event["status"] == "started":
        stage = replace(stage, started_at=at)
    else:
        # The first end is when the stage was over; what comes later only says how it turned out.
        stage = replace(stage, status=event["status"], ended_at=stage.ended_at or at)
    stages[stage.stage] = stage
    return replace(
        run, updated_at=at, stages=tuple(sorted(stages.values(), key=lambda stage: STAGES.index(stage.stage)))
    )
