"""`inv records`, `ci.deliver`, `records.waiting`, `notify`: what was deployed, and how a pipeline went."""

from __future__ import annotations

from pathlib import Path

from invoke.context import Context

from delivery import console
from delivery.project import files
from delivery.records import outbox
from delivery.tasks.decorator import task

__all__ = ["deliver", "notify", "records", "waiting"]

_SECONDS = 60.0  # `ci.deliver` holds nothing up
_TURN_SECONDS = 10.0


@task(
    help={
        "component": "of this component alone",
        "environment": "of this environment alone",
        "since": "how far back: 90m, 12h, 30d, 8w",
        "csv": "write every event to this file, for a spreadsheet",
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
    from delivery.dora import report

    found = report.load(files.load_declaration(), component, environment, since)
    if csv:
        found.write(Path(csv))
    if json_:
        console.data(found.to_json())
    elif not csv:
        found.say()


@task(
    stage="record",
    step="records.deliver",
    help={"rejected": "first let wait again what the ledger had refused for ever"},
)
def deliver(_context: Context, rejected: bool = False) -> None:
    """Deliver the events that wait in the outbox.

    A ledger that takes none now is no error: they wait on.
    """
    from delivery.records import sending

    if rejected:
        console.say(
            f"{_events(outbox.retry_rejected())} that had been put aside will be sent again"
        )
    report = sending.deliver(seconds=_SECONDS, wait=_TURN_SECONDS)
    console.say(
        f"{_events(report.sent)} delivered, {report.waiting} waiting, {len(report.rejected)} put aside"
    )
    for one in report.rejected:
        console.say(f"put aside as {one.file}: {one.why}")
    for ledger, why in report.reasons.items():
        console.say(f"{ledger}: {why}; what it has not taken waits on")
    if report.busy:
        console.say("another process is delivering")
    if report.late:
        console.say("there was no time for the rest, which waits on")


@task()
def waiting(_context: Context, json_: bool = False) -> None:
    """Show what waits in the outbox for the ledger, and what it has refused."""
    from delivery.records import sending

    pending, aside = outbox.waiting(), outbox.rejected()
    if json_:
        console.data(outbox.to_json(pending, aside))
        return
    console.say(
        f"outbox {outbox.folder()}: {_events(len(pending))} waiting, {len(aside)} put aside"
    )
    if pending:
        columns = ("since", "component", "version", "environment", "stage", "status", "ledger")
        console.table("waiting", columns, [event.row() for event in pending])
        for ledger in dict.fromkeys(event.ledger for event in pending):
            console.say(f"{ledger}: {sending.ledger_status(ledger)}")
    if aside:
        console.table(
            "put aside", ("file", "why"), [(str(event.file), event.why) for event in aside]
        )
        console.say("`./run inv ci.deliver --rejected` sends them again")


def _events(count: int) -> str:
    return "1 event" if count == 1 else f"{count} events"


@task(help={"result": "SUCCESS, UNSTABLE, FAILURE, ABORTED or NOT_BUILT, as Jenkins calls it"})
def notify(_context: Context, result: str) -> None:
    """Send a notification of how the pipeline went.

    DELIVERY_WEBHOOK is a URL of apprise (Slack, Teams, mail, …) or a webhook's. A notification that
    fails is a warning. The outbox is delivered once more.
    """
    from delivery.records import notification

    notification.announce(result)
