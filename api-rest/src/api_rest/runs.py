"""Runs: the events of one deployment put together, so that people read pipelines and not lines."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from .event import STAGES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["STAGES", "Run", "Running", "StageTime", "happened_at", "runs"]

# From the worst: what several things together are called.
WORST_FIRST = ("rolled-back", "failed", "started", "succeeded")
# A client's own time counts if it is as late as an outbox may be, and not later than the server's.
LATE_BY_AT_MOST = timedelta(days=7)
DEPLOYED = STAGES.index("deploy")


@dataclass(frozen=True)
class StageTime:
    """How one stage of a run stands, and when it began and ended."""

    stage: str
    status: str
    started_at: datetime | None
    ended_at: datetime | None

    @property
    def seconds(self) -> float | None:
        """How long it took; None while it runs, or when its start or its end was never recorded."""
        if self.started_at is None or self.ended_at is None:
            return None
        return max(0.0, (self.ended_at - self.started_at).total_seconds())


@dataclass(frozen=True)
class Run:
    """One way of one version of a component towards an environment; when it was first and last heard of."""

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
        return _worst(stage.status for stage in self.stages)

    @property
    def arrived(self) -> bool:
        """Whether it is deployed, and all is well from there on, whatever was found fault with before."""
        since = {stage.stage: stage.status for stage in self.stages if STAGES.index(stage.stage) >= DEPLOYED}
        return "deploy" in since and set(since.values()) == {"succeeded"}

    @property
    def seconds(self) -> float | None:
        """From the first recorded start to the last end; None while a stage runs, or when no start was recorded."""
        starts = [stage.started_at for stage in self.stages if stage.started_at]
        ends = [stage.ended_at for stage in self.stages if stage.ended_at]
        if not starts or len(ends) < len(self.stages):
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
    """Put events, in any order, together into runs, the newest first.

    What an event's details say of it, its `pipeline`, its `step` and the time `at` which it happened, is looked for beside its
    own fields.
    """
    every: list[_Run] = []
    newest: dict[tuple[str, str, str], _Run] = {}
    by_pipeline: dict[tuple[str, str, str, str], _Run] = {}
    # What a later version of the apps recorded is left out: this one may be what was rolled back to.
    known = (event for event in events if event["stage"] in STAGES and event["status"] in WORST_FIRST)
    for event in sorted(known, key=_order):
        place = (event["component"], event["version"], event["environment"])
        pipeline = event.get("pipeline") or ""
        last = newest.get(place)
        run = by_pipeline.get((*place, pipeline)) if pipeline else last
        if event["status"] == "rolled-back" and last and (run is None or event["stage"] not in run.stages):
            # Whoever takes a version back takes back what another run brought.
            run = last
        if run is None or (not pipeline and _begins_another(run, event)):
            run = _Run(event)
            every.append(run)
            newest[place] = run
            if pipeline:
                by_pipeline[*place, pipeline] = run
        run.add(event)
    return sorted(
        (run.read() for run in every), key=lambda run: (run.started_at, run.component, run.environment), reverse=True
    )


def happened_at(said: object, received_at: datetime) -> datetime:
    """Return when an event happened: what its sender says, unless that cannot be; else when it was received.

    An event may have waited in its sender's outbox, and then says more of the outbox than of the stage. But clocks are wrong at
    times: one that is ahead, or late by more than an event is kept for, is not believed.
    """
    if not isinstance(said, str):
        return received_at
    try:
        at = datetime.fromisoformat(said)
        if at.tzinfo is None:
            return received_at
        at = at.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return received_at
    return at if received_at - LATE_BY_AT_MOST <= at <= received_at else received_at


@dataclass
class _Step:
    """One step of a stage; one that is not named is the whole stage."""

    status: str
    started_at: datetime | None = None
    ended_at: datetime | None = None

    def begin(self, at: datetime) -> None:
        """Begin, or begin again: what became of it before does not count any more."""
        self.status = "started"
        self.started_at = self.started_at or at
        self.ended_at = None

    def end(self, status: str, at: datetime) -> None:
        """End; what was bad stays bad until it begins again."""
        self.status = status if self.status == "started" else _worst((self.status, status))
        # The first end is when it was over; what comes later only says how it turned out.
        self.ended_at = self.ended_at or at


@dataclass
class _Stage:
    """One stage of a run, by its steps."""

    steps: dict[str, _Step] = field(default_factory=dict)

    def add(self, step: str, status: str, at: datetime) -> None:
        """Take in what an event says of a step."""
        if status == "rolled-back" and self.steps and step not in self.steps:
            # It says how the stage turned out, and does not make it longer.
            self.steps[step] = _Step(status)
            return
        found = self.steps.setdefault(step, _Step("started"))
        if status == "started":
            found.begin(at)
        else:
            found.end(status, at)

    def knows(self, step: str) -> bool:
        """Tell whether this may be a step that was there already."""
        return not step or step in self.steps or "" in self.steps

    @property
    def started_at(self) -> datetime | None:
        return min((step.started_at for step in self.steps.values() if step.started_at), default=None)

    def read(self, name: str) -> StageTime:
        """Return the stage as it stands: from the first start to the last end."""
        steps = self.steps.values()
        under_way = any(step.status == "started" for step in steps)
        ended_at = None if under_way else max((step.ended_at for step in steps if step.ended_at), default=None)
        return StageTime(name, _worst(step.status for step in steps), self.started_at, ended_at)


class _Run:
    """A run while its events are put together."""

    def __init__(self, first: Mapping[str, Any]) -> None:
        self.first = first
        self.started_at: datetime = first["received_at"]
        self.updated_at: datetime = first["received_at"]
        self.stages: dict[str, _Stage] = {}

    def add(self, event: Mapping[str, Any]) -> None:
        """Take in an event."""
        self.started_at = min(self.started_at, event["received_at"])
        self.updated_at = max(self.updated_at, event["received_at"])
        stage = self.stages.setdefault(event["stage"], _Stage())
        stage.add(event.get("step") or "", event["status"], happened_at(event.get("at"), event["received_at"]))

    def read(self) -> Run:
        """Return the run as it stands."""
        first = self.first
        stages = tuple(self.stages[name].read(name) for name in STAGES if name in self.stages)
        return Run(
            first["component"],
            first["version"],
            first["environment"],
            first["responsible"],
            self.started_at,
            self.updated_at,
            stages,
        )


def _begins_another(run: _Run, event: Mapping[str, Any]) -> bool:
    """Tell whether the event, which names no pipeline, belongs to a new run of the same version."""
    known = run.stages.get(event["stage"])
    if known is None or not known.knows(event.get("step") or ""):
        return False
    if event["status"] == "started":
        return True
    # Where only ends are recorded, each one stands for a run; a rollback says how the last one went on.
    return known.started_at is None and event["status"] != "rolled-back"


def _order(event: Mapping[str, Any]) -> tuple[datetime, bool, str]:
    """Order by when it happened; where that is equal, a start comes before its end.

    What waited in an outbox is received all at once, by servers whose clocks differ: its own times keep it in order.
    """
    return happened_at(event.get("at"), event["received_at"]), event["status"] != "started", event["id"]


def _worst(statuses: Iterable[str]) -> str:
    said = set(statuses)
    return next((status for status in WORST_FIRST if status in said), "succeeded")
