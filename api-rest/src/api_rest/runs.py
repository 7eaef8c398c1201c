"""Runs: the events of one deployment, combined.

A place is one component in one environment.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ledger.event_rules import stage_order

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

__all__ = ["SCANS", "Run", "Running", "StageTime", "running", "runs"]

# The stages whose events may say how many vulnerabilities there are.
SCANS = ("scan", "push")
SEVERITIES = ("critical", "high", "medium", "low", "unknown")

# The status of several stages or steps together is the first of these that one of them has.
WORST_FIRST = ("rolled-back", "failed", "removed", "started", "succeeded")
# The order of events of the same time: a start, its end, a rollback, a removal.
RANKS = {"started": 0, "succeeded": 1, "failed": 1, "rolled-back": 2, "removed": 3}
DEPLOYED = stage_order("deploy")


@dataclass(frozen=True)
class StageTime:
    """The status of one stage of a run, with its start and end."""

    stage: str
    status: str
    started_at: datetime | None
    ended_at: datetime | None
    # How many vulnerabilities a scan has found; empty without a scan.
    found: str = ""

    @property
    def seconds(self) -> float | None:
        """Its duration; None while it runs, or without a recorded start or end."""
        if self.started_at is None or self.ended_at is None:
            return None
        return max(0.0, (self.ended_at - self.started_at).total_seconds())


@dataclass(frozen=True)
class Run:
    """The deployment of one version to one place."""

    component: str
    version: str
    environment: str
    responsible: str
    # The times of its first and its last event.
    started_at: datetime
    updated_at: datetime
    stages: tuple[StageTime, ...]
    actor: str | None = None

    @property
    def status(self) -> str:
        """The worst status of its stages; `started` if none failed and one runs."""
        return _worst(stage.status for stage in self.stages)

    @property
    def is_deployed(self) -> bool:
        """Whether `deploy` and all stages after it succeeded, whatever failed before it."""
        statuses = {
            stage.stage: stage.status
            for stage in self.stages
            if stage_order(stage.stage) >= DEPLOYED
        }
        return "deploy" in statuses and set(statuses.values()) == {"succeeded"}

    @property
    def seconds(self) -> float | None:
        """The time from the first start to the last end.

        None while a stage runs, or without a recorded start.
        """
        starts = [stage.started_at for stage in self.stages if stage.started_at]
        ends = [stage.ended_at for stage in self.stages if stage.ended_at]
        # A rolled-back stage may have no other event.
        timed = [stage for stage in self.stages if stage.status != "rolled-back"]
        if not starts or not ends or any(stage.ended_at is None for stage in timed):
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
    actor: str | None = None


def runs(events: Iterable[Mapping[str, Any]]) -> list[Run]:
    """Return the runs of events in any order, the newest first.

    An event is a row of the table: it also has `pipeline` and `step` from its details, and the time
    `at` which it happened.
    """
    return sorted(
        (run.build() for run in _grouped(events)),
        key=lambda run: (run.started_at, run.component, run.environment),
        reverse=True,
    )


def running(events: Iterable[Mapping[str, Any]]) -> list[Running]:
    """Return each place's newest deploy whose run was not rolled back, sorted by place.

    A place that was removed later, with whatever version, runs nothing.
    """
    deploys = [
        (run.deploy, run) for run in _grouped(events) if run.deploy and not run.is_rolled_back
    ]
    newest: dict[tuple[str, str], Running | None] = {}
    for deploy, run in sorted(deploys, key=lambda pair: _order(pair[0])):
        place = deploy["environment"], deploy["component"]
        version, since, responsible = deploy["version"], deploy["at"], deploy["responsible"]
        newest[place] = (
            None
            if _removes(deploy)
            else Running(*place, version, since, responsible, run.build(), deploy.get("actor"))
        )
    return [running for place in sorted(newest) if (running := newest[place])]


def _grouped(events: Iterable[Mapping[str, Any]]) -> list[_Run]:
    """Return the events grouped into runs."""
    all_runs: list[_Run] = []
    newest: dict[tuple[str, str, str], _Run] = {}
    # The run that last began to deploy each version.
    deploying: dict[tuple[str, str, str], _Run] = {}
    by_pipeline: dict[tuple[str, str, str, str], _Run] = {}
    # After a rollback of this app, the table may have statuses of a later version.
    known = (event for event in events if event["status"] in RANKS)
    for event in sorted(known, key=_order):
        if _removes(event):
            # A removal concerns the place, so it is a run of its own.
            removal = _Run(event)
            removal.add(event)
            all_runs.append(removal)
            continue
        key = (event["component"], event["version"], event["environment"])
        pipeline = event.get("pipeline") or ""
        run = by_pipeline.get((*key, pipeline)) if pipeline else newest.get(key)
        if _rolls_back(event):
            # It undoes the deploy of its own pipeline, or else the last deploy of the version.
            if run is None or not pipeline or not run.has_deployed:
                run = deploying.get(key) or run or newest.get(key)
        elif run and _begins_another(run, event):
            run = None
        if run is None:
            run = newest[key] = _Run(event)
            all_runs.append(run)
            if pipeline:
                by_pipeline[*key, pipeline] = run
        begins = event["status"] == "started" or not run.has_deployed
        if event["stage"] == "deploy" and begins and not _rolls_back(event):
            deploying[key] = run
        run.add(event)
    return all_runs


@dataclass
class _Step:
    """One step of a stage; a step without a name is the whole stage."""

    status: str
    started_at: datetime | None = None
    ended_at: datetime | None = None

    def begin(self, at: datetime) -> None:
        """Start, or start again and forget the status before."""
        self.status = "started"
        self.started_at = self.started_at or at
        self.ended_at = None

    def end(self, status: str, at: datetime) -> None:
        """End; a bad status stays until the step starts again."""
        self.status = status if self.status == "started" else _worst((self.status, status))
        # The first end counts: later events only change the status.
        self.ended_at = self.ended_at or at


@dataclass
class _Stage:
    """One stage of a run, as its steps."""

    steps: dict[str, _Step] = field(default_factory=dict)
    found: str = ""

    def add(self, step: str, status: str, at: datetime) -> None:
        """Add an event of a step."""
        if status == "rolled-back" and step not in self.steps:
            # It changes the status of the stage, not its duration.
            self.steps[step] = _Step(status)
            return
        known = self.steps.setdefault(step, _Step("started"))
        if status == "started":
            known.begin(at)
        else:
            known.end(status, at)

    def is_under_way(self, step: str) -> bool:
        """Return whether this step has started and not ended."""
        return step in self.steps and self.steps[step].status == "started"

    def knows(self, step: str) -> bool:
        """Return whether this may be a step that it has already."""
        return not step or step in self.steps or "" in self.steps

    @property
    def started_at(self) -> datetime | None:
        return min(
            (step.started_at for step in self.steps.values() if step.started_at), default=None
        )

    def build(self, name: str) -> StageTime:
        """Return the stage, from its first start to its last end."""
        steps = self.steps.values()
        under_way = any(step.status == "started" for step in steps)
        ended_at = (
            None
            if under_way
            else max((step.ended_at for step in steps if step.ended_at), default=None)
        )
        status = _worst(step.status for step in steps)
        return StageTime(name, status, self.started_at, ended_at, self.found)


class _Run:
    """A run while events are added to it."""

    def __init__(self, first: Mapping[str, Any]) -> None:
        self.first = first
        self.updated_at: datetime = first["at"]
        self.stages: dict[str, _Stage] = {}
        # Whether it began to deploy.
        self.has_deployed = False
        # Its last successful deploy, or its removal.
        self.deploy: Mapping[str, Any] | None = None
        self.is_rolled_back = False

    def add(self, event: Mapping[str, Any]) -> None:
        """Add an event that happened after the events before."""
        self.updated_at = event["at"]
        self.is_rolled_back = self.is_rolled_back or _rolls_back(event)
        if event["stage"] == "deploy":
            self.has_deployed = self.has_deployed or event["status"] != "rolled-back"
            self.deploy = event if event["status"] in {"succeeded", "removed"} else self.deploy
        stage = self.stages.setdefault(event["stage"], _Stage())
        stage.add(event.get("step") or "", event["status"], event["at"])
        stage.found = _found(event) or stage.found

    def build(self) -> Run:
        """Return the run of the events so far."""
        first = self.first
        names = sorted(self.stages, key=stage_order)
        stages = tuple(self.stages[name].build(name) for name in names)
        return Run(
            first["component"],
            first["version"],
            first["environment"],
            first["responsible"],
            first["at"],
            self.updated_at,
            stages,
            first.get("actor"),
        )


def _found(event: Mapping[str, Any]) -> str:
    """Return how many vulnerabilities an event reports; anybody may have sent anything."""
    if event.get("unscanned"):
        return "not scanned"
    counts = event.get("vulnerabilities")
    if not isinstance(counts, dict):
        return ""
    known = [(counts.get(name), name) for name in SEVERITIES]
    if any(type(number) is not int for number, _ in known):
        return ""
    return ", ".join(f"{number} {name}" for number, name in known if number) or "none found"


def _rolls_back(event: Mapping[str, Any]) -> bool:
    """Return whether an event rolls a deploy back."""
    return event["status"] == "rolled-back" and event["stage"] in {"deploy", "verify"}


def _removes(event: Mapping[str, Any]) -> bool:
    """Return whether an event removes the component."""
    return bool(event["status"] == "removed" and event["stage"] == "deploy")


def _begins_another(run: _Run, event: Mapping[str, Any]) -> bool:
    """Return whether the event belongs to a new run of the same version."""
    known = run.stages.get(event["stage"])
    step = event.get("step") or ""
    if run.is_rolled_back:
        if (event["stage"], event["status"]) == ("deploy", "succeeded"):
            return True
        # A running step may end after the rollback, and a pipeline goes on with other stages.
        under_way = known is not None and event["status"] != "started" and known.is_under_way(step)
        return not under_way and (not event.get("pipeline") or event["stage"] == "deploy")
    begins = event["status"] == "started"
    # `inv up` verifies a place even if it deploys nothing: a later deploy is another run.
    is_late = begins and event["stage"] == "deploy" and "verify" in run.stages
    if event.get("pipeline") or (not is_late and (known is None or not known.knows(step))):
        return False
    if begins or known is None:
        return True
    # Without recorded starts, each end is a run of its own; a rollback belongs to the last one.
    return known.started_at is None and event["status"] != "rolled-back"


def _order(event: Mapping[str, Any]) -> tuple[datetime, int, str]:
    """Order events by the time at which they happened.

    Events from an outbox are received all at once, so the time of receipt does not order them.
    """
    return event["at"], RANKS[event["status"]], event["id"]


def _worst(statuses: Iterable[str]) -> str:
    existing = set(statuses)
    return next((status for status in WORST_FIRST if status in existing), "succeeded")
