"""How a run, and a component in an environment, stands: in looks and words, for the page and the badges."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from .runs import Run, Running

__all__ = ["Coming", "coming", "result", "under_way"]

# A run that said nothing for so long was most likely cut off: nobody deploys for a day.
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
class Coming:
    """A newer run towards the same place that has not arrived: under way, failed, rolled back, or cut off."""

    version: str
    look: str
    words: str


def coming(running: Running | None, newest: Run | None, now: datetime) -> Coming | None:
    """Return what is on its way to a place, or did not get there, beside what runs there."""
    if newest is None or newest.status in {"succeeded", "removed"} or newest.arrived:
        return None
    if running and newest.updated_at <= running.since:
        return None
    return Coming(newest.version, *result(newest, now))


def result(run: Run, now: datetime) -> tuple[str, str]:
    """Return how a run looks and what is said of it."""
    if run.status == "started" and not under_way(run, now):
        return "silent", "No end recorded"
    if run.status == "started":
        stage = next(stage.stage for stage in reversed(run.stages) if stage.status == "started")
        return "started", _WORDS[stage][0]
    if run.status == "failed":
        return (
            "failed",
            f"Failed in {next(stage.stage for stage in run.stages if stage.status == 'failed')}",
        )
    if run.status == "rolled-back":
        return "rolled-back", "Rolled back"
    if run.status == "removed":
        return "removed", "Removed"
    return "succeeded", _WORDS[run.stages[-1].stage][1]


def under_way(run: Run, now: datetime) -> bool:
    """Tell whether a run goes on, as far as is known."""
    return run.status == "started" and now - run.updated_at <= SILENT_AFTER
