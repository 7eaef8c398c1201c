"""The report of `inv records`: the last deployments, stage durations and the DORA figures."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from delivery import console
from delivery.dora import metrics
from delivery.errors import DeclarationError
from delivery.project.declaration import Declaration
from delivery.records import ledger
from delivery.records.events import NO_DATA, format_time, time_of

__all__ = ["Report", "csv_cell", "load"]

_LIMIT = 20  # deployments
_EVENT = (
    "id",
    "received_at",
    "component",
    "version",
    "environment",
    "responsible",
    "actor",
    "stage",
    "status",
    "details",
)
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
# The first characters of a formula in a spreadsheet, which may skip whitespace before them.
_FORMULA = tuple("=+-@\t\r\uff1d\uff0b\uff0d\uff20")


@dataclass(frozen=True)
class Report:
    """The events of a period, with the figures that follow from them."""

    title: str  # the ledger, the filters and the period
    events: Sequence[Mapping[str, Any]]
    since: datetime
    until: datetime

    def say(self) -> None:
        """Print the report as tables."""
        if not self.events:
            console.say(f"{NO_DATA}: {self.title}: nothing was recorded")
            return
        deployments = [_row(event) for event in metrics.deployments(self.events, _LIMIT)]
        _say_table(f"deployments ({self.title})", _DEPLOYMENT, deployments)
        durations = [duration.row() for duration in metrics.durations(self.events)]
        console.table("stage durations", _STAGE, durations)
        figures = metrics.figures(self.events, self.since, self.until)
        _say_table("DORA", _DORA, [figure.row() for figure in figures])

    def to_json(self) -> dict[str, Any]:
        """The report as a JSON document."""
        figures = metrics.figures(self.events, self.since, self.until)
        return {
            "since": format_time(self.since),
            "until": format_time(self.until),
            "deployments": metrics.deployments(self.events, _LIMIT),
            "stages": [asdict(duration) for duration in metrics.durations(self.events)],
            "dora": [figure.to_json() for figure in figures],
        }

    def write(self, file: Path) -> None:
        """Write every event as CSV like the ledger's own: UTF-8 with a BOM, CRLF, no formulas."""
        rows = [[csv_cell(event.get(name)) for name in _EVENT] for event in self.events]
        try:
            with file.open("w", encoding="utf-8-sig", newline="") as out:
                csv.writer(out, lineterminator="\r\n").writerows([_EVENT, *rows])
        except OSError as error:
            raise DeclarationError(
                f"cannot write {file}: {error.strerror}",
                hint="pass a file that can be written as --csv",
            ) from error
        console.say(f"{len(self.events)} events written to {file}")


def load(declaration: Declaration, component: str, environment: str, span: str) -> Report:
    """The ledger's events of a period, such as 30d; "" means every component or environment."""
    until = datetime.now(UTC)
    since = until - metrics.parse_span(span)
    filters = {"component": component, "environment": environment}
    filters = {name: value for name, value in filters.items() if value}
    client = ledger.connect(declaration)
    title = ", ".join([client.address, *filters.values(), f"the last {span}"])
    return Report(title, client.events(filters, format_time(since)), since, until)


def csv_cell(value: object) -> str:
    """A value for a spreadsheet; an apostrophe keeps it from being read as a formula."""
    if value is None:
        return ""
    text = (
        value
        if isinstance(value, str)
        else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    )
    return f"'{text}" if text.startswith(_FORMULA) or text.lstrip().startswith(_FORMULA) else text


def _row(event: Mapping[str, Any]) -> tuple[str, ...]:
    at = time_of(event)
    return (
        at.astimezone().strftime("%Y-%m-%d %H:%M:%S") if at else "",
        *(str(event[name]) for name in ("component", "version", "environment")),
        str(event["status"]),
        str(event["responsible"]),
    )


def _say_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    if rows:
        console.table(title, columns, rows)
    else:
        console.say(f"{title}: {NO_DATA}")
