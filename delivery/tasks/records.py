"""`inv records`, `records.deliver`, `records.waiting`, `notify`: what was deployed, and how a pipeline went."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from invoke.context import Context

from delivery.core import dora
from delivery.core import records as core
from delivery.core.errors import DeclarationError, DeliveryError
from delivery.tasks.menu import item
from delivery.tools import files, outbox, screen

__all__ = ["deliver", "notify", "records", "waiting"]

_SHOWN = 20
_SECONDS = 60.0  # `records.deliver` holds nothing up
_TURN_SECONDS = 10.0


@item(
    help={
        "component": "of this component alone",
        "environment": "of this environment alone",
        "since": "how far back: 90m, 12h, 30d, 8w",
        "csv": "write every event to this file, for a spreadsheet",
        "json": "print it for a machine to read",
    }
)
def records(
    _context: Context,
    component: str = "",
    environment: str = "",
    since: str = "30d",
    csv: str = "",
    json_: bool = False,  # noqa: FBT001, FBT002  # how invoke declares a flag
) -> None:
    """Show deployments, stage times and the four DORA figures.

    They come from the deployment ledger. docs/records.md says how each figure is made.
    """
    from delivery.steps import records as recording  # noqa: PLC0415  # only here: a command that does not need it starts sooner

    until = datetime.now(UTC)
    begin = until - dora.span(since)
    filters = {name: value for name, value in (("component", component), ("environment", environment)) if value}
    ledger = recording.ledger(files.load_declaration())
    events = ledger.events(filters, core.rfc3339(begin))
    if csv:
        _write(Path(csv), events)
        screen.say(f"{len(events)} events written to {csv}")
    if json_:
        screen.data(json.dumps(_told(events, begin, until), indent=2))
    elif not csv:
        _show(events, begin, until, f"{ledger.address}, the last {since}")


def _show(events: Sequence[Mapping[str, Any]], begin: datetime, until: datetime, of: str) -> None:
    rows = [
        (
            at.astimezone().strftime("%Y-%m-%d %H:%M:%S") if (at := core.moment(event)) else "",
            *(str(event[name]) for name in ("component", "version", "environment")),
            "removed" if dora.is_removal(event) else str(event["status"]),
            str(event["responsible"]),
        )
        for event in dora.deployments(events, _SHOWN)
    ]
    if not events:
        screen.say(f"{dora.NO_DATA}: {of}: nothing was recorded")
        return
    columns = ("when", "component", "version", "environment", "status", "responsible")
    if rows:
        screen.table(f"deployments ({of})", columns, rows)
    else:
        screen.say(f"deployments ({of}): {dora.NO_DATA}")
    durations = [
        (one.component, one.stage, str(one.runs), dora.lasting(one.median), dora.lasting(one.p90))
        for one in dora.durations(events)
    ]
    screen.table("stage durations", ("component", "stage", "runs", "median", "p90"), durations)
    figures = [one.row() for one in dora.figures(events, begin, until)]
    names = ("component", "environment", "deployments", "lead time", "change failures", "time to restore")
    if figures:
        screen.table("DORA", names, figures)
    else:
        screen.say(f"DORA: {dora.NO_DATA}")


def _told(events: Sequence[Mapping[str, Any]], begin: datetime, until: datetime) -> dict[str, Any]:
    durations = [
        {
            "component": one.component,
            "stage": one.stage,
            "runs": one.runs,
            "median_seconds": one.median,
            "p90_seconds": one.p90,
        }
        for one in dora.durations(events)
    ]
    return {
        "since": core.rfc3339(begin),
        "until": core.rfc3339(until),
        "deployments": dora.deployments(events, _SHOWN),
        "stages": durations,
        "dora": [one.told() for one in dora.figures(events, begin, until)],
    }


def _write(file: Path, events: Sequence[Mapping[str, Any]]) -> None:
    """Write events as the ledger's own CSV has them: UTF-8 with its mark, CRLF, nothing taken for a formula."""
    try:
        with file.open("w", encoding="utf-8-sig", newline="") as out:
            rows = csv.writer(out, lineterminator="\r\n")
            rows.writerow(dora.COLUMNS)
            rows.writerows([dora.cell(event.get(name)) for name in dora.COLUMNS] for event in events)
    except OSError as error:
        raise DeclarationError(
            f"write {file}: {error.strerror}", hint="--csv names a file that can be written"
        ) from error


@item(
    stage="record",
    step="records.deliver",
    help={"rejected": "first let wait again what the ledger had refused for ever"},
)
def deliver(_context: Context, rejected: bool = False) -> None:  # noqa: FBT001, FBT002  # how invoke declares a flag
    """Deliver the events that wait in the outbox.

    A ledger that takes none now is no error: they wait on.
    """
    from delivery.steps import records as recording  # noqa: PLC0415  # only here: a command that does not need it starts sooner

    if rejected:
        screen.say(f"{_events(outbox.again())} that had been put aside will be sent again")
    report = recording.deliver(seconds=_SECONDS, wait=_TURN_SECONDS)
    screen.say(f"{_events(report.sent)} delivered, {report.waiting} waiting, {len(report.rejected)} put aside")
    for one in report.rejected:
        screen.say(f"put aside as {one.file}: {one.why}")
    for ledger, why in report.reasons.items():
        screen.say(f"{ledger}: {why}; what it has not taken waits on")
    if report.busy:
        screen.say("another process is delivering")
    if report.late:
        screen.say("there was no time for the rest, which waits on")


@item()
def waiting(_context: Context) -> None:
    """Show what waits in the outbox for the ledger, and what it has refused."""
    from delivery.steps import records as recording  # noqa: PLC0415  # only here: a command that does not need it starts sooner

    there, aside = outbox.waiting(), outbox.rejected()
    screen.say(f"outbox {outbox.folder()}: {_events(len(there))} waiting, {len(aside)} put aside")
    if there:
        rows = [
            (
                one.since.astimezone().strftime("%Y-%m-%d %H:%M:%S"),
                *(str(one.event.get(name)) for name in ("component", "version", "environment", "stage", "status")),
                one.ledger,
            )
            for one in there
        ]
        screen.table("waiting", ("since", "component", "version", "environment", "stage", "status", "ledger"), rows)
        for ledger in dict.fromkeys(one.ledger for one in there):
            screen.say(f"{ledger}: {recording.state(ledger)}")
    if aside:
        screen.table("put aside", ("file", "why"), [(str(one.file), one.why) for one in aside])
        screen.say("`./run inv records.deliver --rejected` sends them again")


def _events(count: int) -> str:
    return "1 event" if count == 1 else f"{count} events"


@item(help={"result": "SUCCESS, UNSTABLE, FAILURE, ABORTED or NOT_BUILT, as Jenkins calls it"})
def notify(_context: Context, result: str) -> None:
    """Tell the webhook in DELIVERY_WEBHOOK how the pipeline went.

    It fails nothing: a webhook that does not take the message is a warning. The outbox is delivered once more.
    """
    from delivery.steps import notify as notices  # noqa: PLC0415  # only here: a command that does not need it starts sooner
    from delivery.steps import records as recording  # noqa: PLC0415

    result = result.upper()
    if result not in notices.RESULTS:
        raise DeclarationError(
            f"notify of {result}: that is no outcome of a build",
            hint=f"--result takes one of {', '.join(notices.RESULTS)}",
        )
    told = notices.notice(result)
    for line in (told.headline, *told.lines()):
        screen.say(line)
    if not os.environ.get(notices.VARIABLE, "").strip():
        screen.say(f"nobody is told: {notices.VARIABLE} is not set")
    elif wrong := notices.notify(told):
        screen.say(f"warning: the webhook was not told: {wrong}")
    else:
        screen.say("the webhook was told")
    try:
        report = recording.deliver(seconds=_TURN_SECONDS, wait=_TURN_SECONDS)
    except DeliveryError as error:
        screen.say(f"warning: {error.message}")
        return
    if report.sent or report.waiting:
        screen.say(f"outbox: {_events(report.sent)} delivered, {report.waiting} waiting")
