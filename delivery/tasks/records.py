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

from delivery import console
from delivery.dora import metrics
from delivery.errors import DeclarationError, DeliveryError, did_you_mean
from delivery.project import files
from delivery.records import outbox
from delivery.records.events import NO_DATA, lasting, moment, rfc3339
from delivery.tasks.menu import item

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
    json_: bool = False,
) -> None:
    """Show deployments, stage times and the four DORA figures.

    They come from the deployment ledger. docs/records.md says how each figure is made.
    """
    from delivery.records import recorder

    until = datetime.now(UTC)
    begin = until - metrics.span(since)
    filters = {name: value for name, value in (("component", component), ("environment", environment)) if value}
    ledger = recorder.ledger(files.load_declaration())
    events = ledger.events(filters, rfc3339(begin))
    if csv:
        _write(Path(csv), events)
        console.say(f"{len(events)} events written to {csv}")
    if json_:
        console.data(json.dumps(_told(events, begin, until), indent=2))
    elif not csv:
        _show(events, begin, until, f"{ledger.address}, the last {since}")


def _show(events: Sequence[Mapping[str, Any]], begin: datetime, until: datetime, of: str) -> None:
    rows = [
        (
            at.astimezone().strftime("%Y-%m-%d %H:%M:%S") if (at := moment(event)) else "",
            *(str(event[name]) for name in ("component", "version", "environment")),
            "removed" if metrics.is_removal(event) else str(event["status"]),
            str(event["responsible"]),
        )
        for event in metrics.deployments(events, _SHOWN)
    ]
    if not events:
        console.say(f"{NO_DATA}: {of}: nothing was recorded")
        return
    columns = ("when", "component", "version", "environment", "status", "responsible")
    if rows:
        console.table(f"deployments ({of})", columns, rows)
    else:
        console.say(f"deployments ({of}): {NO_DATA}")
    durations = [
        (one.component, one.stage, str(one.runs), lasting(one.median), lasting(one.p90))
        for one in metrics.durations(events)
    ]
    console.table("stage durations", ("component", "stage", "runs", "median", "p90"), durations)
    figures = [one.row() for one in metrics.figures(events, begin, until)]
    names = ("component", "environment", "deployments", "lead time", "change failures", "time to restore")
    if figures:
        console.table("DORA", names, figures)
    else:
        console.say(f"DORA: {NO_DATA}")


def _told(events: Sequence[Mapping[str, Any]], begin: datetime, until: datetime) -> dict[str, Any]:
    durations = [
        {
            "component": one.component,
            "stage": one.stage,
            "runs": one.runs,
            "median_seconds": one.median,
            "p90_seconds": one.p90,
        }
        for one in metrics.durations(events)
    ]
    return {
        "since": rfc3339(begin),
        "until": rfc3339(until),
        "deployments": metrics.deployments(events, _SHOWN),
        "stages": durations,
        "dora": [one.to_json() for one in metrics.figures(events, begin, until)],
    }


def _write(file: Path, events: Sequence[Mapping[str, Any]]) -> None:
    """Write events as the ledger's own CSV has them: UTF-8 with its mark, CRLF, nothing taken for a formula."""
    try:
        with file.open("w", encoding="utf-8-sig", newline="") as out:
            rows = csv.writer(out, lineterminator="\r\n")
            rows.writerow(metrics.COLUMNS)
            rows.writerows([metrics.cell(event.get(name)) for name in metrics.COLUMNS] for event in events)
    except OSError as error:
        raise DeclarationError(
            f"write {file}: {error.strerror}", hint="--csv names a file that can be written"
        ) from error


@item(
    stage="record",
    step="records.deliver",
    help={"rejected": "first let wait again what the ledger had refused for ever"},
)
def deliver(_context: Context, rejected: bool = False) -> None:
    """Deliver the events that wait in the outbox.

    A ledger that takes none now is no error: they wait on.
    """
    from delivery.records import recorder

    if rejected:
        console.say(f"{_events(outbox.again())} that had been put aside will be sent again")
    report = recorder.deliver(seconds=_SECONDS, wait=_TURN_SECONDS)
    console.say(f"{_events(report.sent)} delivered, {report.waiting} waiting, {len(report.rejected)} put aside")
    for one in report.rejected:
        console.say(f"put aside as {one.file}: {one.why}")
    for ledger, why in report.reasons.items():
        console.say(f"{ledger}: {why}; what it has not taken waits on")
    if report.busy:
        console.say("another process is delivering")
    if report.late:
        console.say("there was no time for the rest, which waits on")


@item()
def waiting(_context: Context) -> None:
    """Show what waits in the outbox for the ledger, and what it has refused."""
    from delivery.records import recorder

    there, aside = outbox.waiting(), outbox.rejected()
    console.say(f"outbox {outbox.folder()}: {_events(len(there))} waiting, {len(aside)} put aside")
    if there:
        rows = [
            (
                one.since.astimezone().strftime("%Y-%m-%d %H:%M:%S"),
                *(str(one.event.get(name)) for name in ("component", "version", "environment", "stage", "status")),
                one.ledger,
            )
            for one in there
        ]
        console.table("waiting", ("since", "component", "version", "environment", "stage", "status", "ledger"), rows)
        for ledger in dict.fromkeys(one.ledger for one in there):
            console.say(f"{ledger}: {recorder.state(ledger)}")
    if aside:
        console.table("put aside", ("file", "why"), [(str(one.file), one.why) for one in aside])
        console.say("`./run inv records.deliver --rejected` sends them again")


def _events(count: int) -> str:
    return "1 event" if count == 1 else f"{count} events"


@item(help={"result": "SUCCESS, UNSTABLE, FAILURE, ABORTED or NOT_BUILT, as Jenkins calls it"})
def notify(_context: Context, result: str) -> None:
    """Send a notification of how the pipeline went.

    DELIVERY_WEBHOOK is a URL of apprise (Slack, Teams, mail, …) or a webhook's. A notification that
    fails is a warning. The outbox is delivered once more.
    """
    from delivery.records import notification, recorder

    result = result.upper()
    if result not in notification.RESULTS:
        raise DeclarationError(
            f"notify of {result}: that is no outcome of a build",
            hint=did_you_mean(result, notification.RESULTS, f"--result takes one of {', '.join(notification.RESULTS)}"),
        )
    notice = notification.notice(result)
    for line in (notice.headline, *notice.lines()):
        console.say(line)
    if not os.environ.get(notification.VARIABLE, "").strip():
        console.say(f"no notification was sent: {notification.VARIABLE} is not set")
    elif problem := notification.notify(notice):
        console.say(f"warning: the notification was not sent: {problem}")
    else:
        console.say("the notification was sent")
    try:
        report = recorder.deliver(seconds=_TURN_SECONDS, wait=_TURN_SECONDS)
    except DeliveryError as error:
        console.say(f"warning: {error.message}")
        return
    if report.sent or report.waiting:
        console.say(f"outbox: {_events(report.sent)} delivered, {report.waiting} waiting")
