"""`inv records`, `records.waiting`, `ci.deliver`, `ci.notify`: events and notifications."""

from __future__ import annotations

from pathlib import Path

from delivery import console
from delivery.tasks.decorator import load_declaration, task
from delivery.words import plural

__all__ = ["deliver", "notify", "records", "waiting"]

_SECONDS = 60.0  # for delivering
_LOCK_SECONDS = 10.0  # for another process that delivers


@task(
    help={
        "component": "only of this component",
        "environment": "only of this environment",
        "since": "how far back: 90m, 12h, 30d, 8w",
        "csv": "write every event to this CSV file",
    }
)
def records(
    component: str = "",
    environment: str = "",
    since: str = "30d",
    csv: str = "",
    json_: bool = False,
) -> None:
    """Show deployments, stage times and the four DORA figures.

    They come from the ledger. docs/records.md defines each figure.
    """
    from delivery.dora import report

    summary = report.load(load_declaration(), component, environment, since)
    if csv:
        summary.write(Path(csv))
    if json_:
        console.data(summary.to_json())
    elif not csv:
        summary.say()


@task(
    stage="record",
    step="records.deliver",
    help={"rejected": "also send events again that the ledger has rejected"},
)
def deliver(rejected: bool = False) -> None:
    """Deliver the events that wait in the outbox.

    An unavailable ledger is no error: its events stay in the outbox.
    """
    from delivery.records import outbox, sending

    if rejected:
        events = plural(outbox.retry_rejected(), "event")
        console.say(f"sending {events} again that the ledger rejected")
    report = sending.deliver(seconds=_SECONDS, wait=_LOCK_SECONDS)
    console.say(
        f"{plural(report.sent, 'event')} delivered, {report.waiting} waiting, "
        f"{len(report.rejected)} rejected"
    )
    for event in report.rejected:
        console.say(f"rejected: {event.why}; kept as {event.file}")
    for ledger, why in report.reasons.items():
        console.say(f"{ledger}: {why}; its events stay in the outbox")
    if report.busy:
        console.say("another process is delivering")
    if report.late:
        console.say("out of time: the other events stay in the outbox")


@task()
def waiting(json_: bool = False) -> None:
    """Show the events in the outbox, and those that the ledger has rejected."""
    from delivery.records import outbox, sending

    pending, rejected = outbox.waiting(), outbox.rejected()
    if json_:
        console.data(outbox.to_json(pending, rejected))
        return
    console.say(
        f"outbox {outbox.folder()}: {plural(len(pending), 'event')} waiting, "
        f"{len(rejected)} rejected"
    )
    if pending:
        columns = ("since", "component", "version", "environment", "stage", "status", "ledger")
        console.table("waiting", columns, [event.row() for event in pending])
        for ledger in dict.fromkeys(event.ledger for event in pending):
            console.say(f"{ledger}: {sending.ledger_status(ledger)}")
    if rejected:
        rows = [(str(event.file), event.why) for event in rejected]
        console.table("rejected", ("file", "why"), rows)
        console.say("`./run inv ci.deliver --rejected` sends them again")


@task(help={"result": "Jenkins' result: SUCCESS, UNSTABLE, FAILURE, ABORTED or NOT_BUILT"})
def notify(result: str) -> None:
    """Send a notification with the pipeline's result, then deliver the outbox.

    DELIVERY_WEBHOOK is a URL of Apprise (Slack, Teams, mail, …) or of a webhook. A failed
    notification is only a warning.
    """
    from delivery.records import notification

    notification.announce(result)
