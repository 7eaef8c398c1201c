"""What the ledger holds of a time: the last deployments, stage times and the DORA figures."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from delivery import console
from delivery.dora import metrics
from delivery.errors import DeclarationError
from delivery.project.declaration import Declaration
from delivery.records import recorder
from delivery.records.events import NO_DATA, lasting, moment, rfc3339

__all__ = ["Report", "look"]

_SHOWN = 20  # deployments
_DEPLOYMENT = ("when", "component", "version", "environment", "status", "responsible")
_STAGE = ("component", "stage", "runs", "median", "p90")
_DORA = (
    "component",
    "environment",
    "deployments",
    "lead time",
    "change failures",
    "time to restore",
)


@dataclass(frozen=True)
class Report:
    """The events of a time, and what follows from them."""

    title: str  # the ledger, and how far back
    events: Sequence[Mapping[str, Any]]
    since: datetime
    until: datetime

    def say(self) -> None:
        """Print the report as tables."""
        if not self.events:
            console.say(f"{NO_DATA}: {self.title}: nothing was recorded")
            return
        deployments = metrics.deployments(self.events, _SHOWN)
        _say_table(
            f"deployments ({self.title})", _DEPLOYMENT, [_row(event) for event in deployments]
        )
        stages = [
            (
                stage.component,
                stage.stage,
                str(stage.runs),
                lasting(stage.median),
                lasting(stage.p90),
            )
            for stage in metrics.durations(self.events)
        ]
        console.table("stage durations", _STAGE, stages)
        figures = metrics.figures(self.events, self.since, self.until)
        _say_table("DORA", _DORA, [figure.row() for figure in figures])

    def to_json(self) -> dict[str, Any]:
        """The report for a machine."""
        return {
            "since": rfc3339(self.since),
            "until": rfc3339(self.until),
            "deployments": metrics.deployments(self.events, _SHOWN),
            "stages": [
                {
                    "component": stage.component,
                    "stage": stage.stage,
                    "runs": stage.runs,
                    "median_seconds": stage.median,
                    "p90_seconds": stage.p90,
                }
                for stage in metrics.durations(self.events)
            ],
            "dora": [
                figure.to_json() for figure in metrics.figures(self.events, self.since, self.until)
            ],
        }

    def write(self, file: Path) -> None:
        """Write every event as the ledger's own CSV: UTF-8 with its mark, CRLF, no formula."""
        rows = [
            [metrics.cell(event.get(name)) for name in metrics.COLUMNS] for event in self.events
        ]
        try:
            with file.open("w", encoding="utf-8-sig", newline="") as out:
                csv.writer(out, lineterminator="\r\n").writerows([metrics.COLUMNS, *rows])
        except OSError as error:
            raise DeclarationError(
                f"cannot write {file}: {error.strerror}",
                hint="--csv names a file that can be written",
            ) from error
        console.say(f"{len(self.events)} events written to {file}")


def look(declaration: Declaration, component: str, environment: str, span: str) -> Report:
    """Ask the ledger; an empty component or environment means every one."""
    until = datetime.now(UTC)
    since = until - metrics.span(span)
    filters = {"component": component, "environment": environment}
    ledger = recorder.ledger(declaration)
    chosen = {name: value for name, value in filters.items() if value}
    events = ledger.events(chosen, rfc3339(since))
    title = ", ".join([ledger.address, *chosen.values(), f"the last {span}"])
    return Report(title, events, since, until)


def _row(event: Mapping[str, Any]) -> tuple[str, ...]:
    at = moment(event)
    return (
        at.astimezone().strftime("%Y-%m-%d %H:%M:%S") if at else "",
        *(str(event[name]) for name in ("component", "version", "environment")),
        "removed" if metrics.is_removal(event) else str(event["status"]),
        str(event["responsible"]),
    )


def _say_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    if rows:
        console.table(title, columns, rows)
    else:
        console.say(f"{title}: {NO_DATA}")
