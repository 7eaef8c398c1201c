"""The result of a run as a look and words, for the page and the badges."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from .runs import Run, Running

__all__ = ["NewerRun", "is_under_way", "newer_run", "result"]

# A run without an event for so long was most likely aborted.
SILENT_AFTER = timedelta(days=1)
_WORDS = {
    "prepare": ("Preparing", "Prepared"),
    "test": ("Testing", "Tested"),
    "plan": ("Planning", "Planned"),
    "build": ("Building", "Built"),
    "scan": ("Scanning", "Scanned"),
    "push": ("Pushing", "Pushed"),
    "deploy": ("Deploying", "Succeeded"),
    "verify": ("Verifying", "Succeeded"),
    "record": ("Recording", "Succeeded"),
}


@dataclass(frozen=True)
class NewerRun:
    """The result of a run that is newer than the running version and not deployed."""

    version: str
    look: str
    words: str


def newer_run(running: Running | None, newest: Run | None, now: datetime) -> NewerRun | None:
    """Return a place's newest run if it is newer than the running version and not deployed."""
    if newest is None or newest.status in {"succeeded", "removed"} or newest.is_deployed:
        return None
    if running and newest.updated_at <= running.since:
        return None
    return NewerRun(newest.version, *result(newest, now))


def result(run: Run, now: datetime) -> tuple[str, str]:
    """Return the look of a run and its words."""
    if run.status == "started" and not is_under_way(run, now):
        return "silent", "No end recorded"
    if run.status == "started":
        stage = next(stage.stage for stage in reversed(run.stages) if stage.status == "started")
        return "started", _WORDS.get(stage, (f"In {stage}",))[0]
    if run.status == "failed":
        stage = next(stage.stage for stage in run.stages if stage.status == "failed")
        return "failed", f"Failed in {stage}"
    if run.status == "rolled-back":
        return "rolled-back", "Rolled back"
    if run.status == "removed":
        return "removed", "Removed"
    known = [stage.stage for stage in run.stages if stage.stage in _WORDS]
    return "succeeded", _WORDS[known[-1]][1] if known else "Succeeded"


def is_under_way(run: Run, now: datetime) -> bool:
    """Return whether a run has not ended and has a recent event."""
    return run.status == "started" and now - run.updated_at <= SILENT_AFTER
