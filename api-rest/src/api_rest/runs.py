"""Runs: the events of one deployment put together, so that people read pipelines and not lines."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .event import STAGES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

__all__ = ["STAGES", "Run", "Running", "StageTime", "running", "runs"]

# From the worst: what several things together are called.
WORST_FIRST = ("rolled-back", "failed", "removed", "started", "succeeded")
# Events of one moment: a start comes before its end, and both before what takes them back.
RANKS = {"started": 0, "succeeded": 1, "failed": 1, "rolled-back": 2, "removed": 3}
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
    """One way of a version of a component to an environment: its first and its last event's time."""

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
        since = {
            stage.stage: stage.status
            for stage in self.stages
            if STAGES.index(stage.stage) >= DEPLOYED
        }
        return "deploy" in since and set(since.values()) == {"succeeded"}

    @property
    def seconds(self) -> float | None:
        """From the first recorded start to the last end; None while a stage runs, or when no start was recorded."""
        starts = [stage.started_at for stage in self.stages if stage.started_at]
        ends = [stage.ended_at for stage in self.stages if stage.ended_at]
        # A rollback says how a stage turned out, and may be all that is known of it.
        told = [stage for stage in self.stages if stage.status != "rolled-back"]
        if not starts or not ends or any(stage.ended_at is None for stage in told):
            return None
        return max(0.0, (max(ends) - min(starts)).total_seconds())


@dataclass(frozen=True)
class Running:
    """The version of a component that runs in an environment, and the run that deployed it."""

    environment: str
    component: str
    version: str
    since: datetime
    responsible: str
    run: Run | None


def runs(events: Iterable[Mapping[str, Any]]) -> list[Run]:
    """Put events, in any order, together into runs, the newest first.

    An event is a row of the table: beside its fields it has the `pipeline` and the `step` that its
    details name, and the time `at` which it happened.
    """
    return sorted(
        (run.read() for run in _grouped(events)),
        key=lambda run: (run.started_at, run.component, run.environment),
        reverse=True,
    )


def running(events: Iterable[Mapping[str, Any]]) -> list[Running]:
    """Return what runs, sorted: each place's newest deploy whose run was not rolled back.

    Where the place was removed since, whatever its version then, nothing runs.
    """
    standing = [run for run in _grouped(events) if not run.is_rolled_back]
    deploys = [(run.deploy, run) for run in standing if run.deploy]
    newest: dict[tuple[str, str], Running | None] = {}
    for deploy, run in sorted(deploys, key=lambda pair: _order(pair[0])):
        place = deploy["environment"], deploy["component"]
        version, since, responsible = deploy["version"], deploy["at"], deploy["responsible"]
        gone = _removes(deploy)
        newest[place] = None if gone else Running(*place, version, since, responsible, run.read())
    return [found for place in sorted(newest) if (found := newest[place])]


def _grouped(events: Iterable[Mapping[str, Any]]) -> list[_Run]:
    """Return the runs that events are of."""
    every: list[_Run] = []
    newest: dict[tuple[str, str, str], _Run] = {}
    # Of each version the run that began to deploy it last.
    deploying: dict[tuple[str, str, str], _Run] = {}
    by_pipeline: dict[tuple[str, str, str, str], _Run] = {}
    # What a later version of the apps recorded is left out: this one may be what was rolled back to.
    known = (event for event in events if event["stage"] in STAGES and event["status"] in RANKS)
    for event in sorted(known, key=_order):
        if _removes(event):
            # What it ends is the place: it belongs to no run of a version.
            removal = _Run(event)
            removal.add(event)
            every.append(removal)
            continue
        place = (event["component"], event["version"], event["environment"])
        pipeline = event.get("pipeline") or ""
        run = by_pipeline.get((*place, pipeline)) if pipeline else newest.get(place)
        if _takes_back(event):
            # It undoes what its own pipeline deployed, or else the last deploy of the version.
            if run is None or not pipeline or not run.has_deployed:
                run = deploying.get(place) or run or newest.get(place)
        elif run and _begins_another(run, event):
            run = None
        if run is None:
            run = newest[place] = _Run(event)
            every.append(run)
            if pipeline:
                by_pipeline[*place, pipeline] = run
        begins = event["status"] == "started" or not run.has_deployed
        if event["stage"] == "deploy" and begins and not _takes_back(event):
            deploying[place] = run
        run.add(event)
    return every


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
        if status == "rolled-back" and step not in self.steps:
            # It says how the stage turned out, and does not make it longer.
            self.steps[step] = _Step(status)
            return
        found = self.steps.setdefault(step, _Step("started"))
        if status == "started":
            found.begin(at)
        else:
            found.end(status, at)

    def is_under_way(self, step: str) -> bool:
        """Tell whether this step has begun and not ended."""
        return step in self.steps and self.steps[step].status == "started"

    def knows(self, step: str) -> bool:
        """Tell whether this may be a step that was there already."""
        return not step or step in self.steps or "" in self.steps

    @property
    def started_at(self) -> datetime | None:
        return min(
            (step.started_at for step in self.steps.values() if step.started_at), default=None
        )

    def read(self, name: str) -> StageTime:
        """Return the stage as it stands: from the first start to the last end."""
        steps = self.steps.values()
        under_way = any(step.status == "started" for step in steps)
        ended_at = (
            None
            if under_way
            else max((step.ended_at for step in steps if step.ended_at), default=None)
        )
        return StageTime(name, _worst(step.status for step in steps), self.started_at, ended_at)


class _Run:
    """A run while its events are put together."""

    def __init__(self, first: Mapping[str, Any]) -> None:
        self.first = first
        self.updated_at: datetime = first["at"]
        self.stages: dict[str, _Stage] = {}
        # Whether it began to deploy, its last deploy that succeeded (or the removal that it is), and
        # whether it was taken back.
        self.has_deployed = False
        self.deploy: Mapping[str, Any] | None = None
        self.is_rolled_back = False

    def add(self, event: Mapping[str, Any]) -> None:
        """Take in an event that happened after those before."""
        self.updated_at = event["at"]
        self.is_rolled_back = self.is_rolled_back or _takes_back(event)
        if event["stage"] == "deploy":
            self.has_deployed = self.has_deployed or event["status"] != "rolled-back"
            self.deploy = event if event["status"] in {"succeeded", "removed"} else self.deploy
        stage = self.stages.setdefault(event["stage"], _Stage())
        stage.add(event.get("step") or "", event["status"], event["at"])

    def read(self) -> Run:
        """Return the run as it stands."""
        first = self.first
        stages = tuple(self.stages[name].read(name) for name in STAGES if name in self.stages)
        return Run(
            first["component"],
            first["version"],
            first["environment"],
            first["responsible"],
            first["at"],
            self.updated_at,
            stages,
        )


def _takes_back(event: Mapping[str, Any]) -> bool:
    """Tell whether an event takes back what was deployed."""
    return event["status"] == "rolled-back" and event["stage"] in {"deploy", "verify"}


def _removes(event: Mapping[str, Any]) -> bool:
    """Tell whether an event says that nothing of a component is deployed any more."""
    return bool(event["status"] == "removed" and event["stage"] == "deploy")


def _begins_another(run: _Run, event: Mapping[str, Any]) -> bool:
    """Tell whether the event belongs to a new run of the same version."""
    known = run.stages.get(event["stage"])
    step = event.get("step") or ""
    if run.is_rolled_back:
        if (event["stage"], event["status"]) == ("deploy", "succeeded"):
            return True
        # What was under way may end after the rollback, and a pipeline goes on with other stages.
        under_way = known is not None and event["status"] != "started" and known.is_under_way(step)
        return not under_way and (not event.get("pipeline") or event["stage"] == "deploy")
    begins = event["status"] == "started"
    # `inv up` verifies what runs even where it deploys nothing: a later deploy is no part of that.
    is_late = begins and event["stage"] == "deploy" and "verify" in run.stages
    if event.get("pipeline") or (not is_late and (known is None or not known.knows(step))):
        return False
    if begins or known is None:
        return True
    # Where only ends are recorded, each one stands for a run; a rollback says how the last one went on.
    return known.started_at is None and event["status"] != "rolled-back"


def _order(event: Mapping[str, Any]) -> tuple[datetime, int, str]:
    """Order by when it happened.

    What waited in an outbox is received all at once, by servers whose clocks differ: its own times keep it in order.
    """
    return event["at"], RANKS[event["status"]], event["id"]


def _worst(statuses: Iterable[str]) -> str:
    said = set(statuses)
    return next((status for status in WORST_FIRST if status in said), "succeeded")
