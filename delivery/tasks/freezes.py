"""`inv freeze`, `unfreeze`, `freezes`: times in which nothing is deployed."""

from __future__ import annotations

from dataclasses import asdict

from invoke.context import Context

from delivery import console
from delivery.tasks.decorator import task

__all__ = ["freeze", "freezes", "unfreeze"]


@task(
    help={
        "environment": "local, develop, staging or production",
        "until": "when it ends, as in 2026-12-26T08:00, in the time zone of the windows or here",
        "reason": "why; shown to whoever tries to deploy",
    }
)
def freeze(_context: Context, environment: str, until: str, reason: str) -> None:
    """Let nothing be deployed to an environment until a time; rollbacks stay possible."""
    from delivery.deploy import freezing
    from delivery.project import files

    made = freezing.freeze(files.load_declaration(), environment, until, reason)
    console.say(f"{environment} is frozen {made}")


@task(help={"environment": "local, develop, staging or production"})
def unfreeze(_context: Context, environment: str) -> None:
    """End every freeze of an environment."""
    from delivery.deploy import freezing
    from delivery.project import files

    for each in freezing.unfreeze(files.load_declaration(), environment):
        console.say(f"{environment} was frozen {each}")
    console.say(f"{environment} is not frozen")


@task()
def freezes(_context: Context, json_: bool = False) -> None:
    """Show the freezes in force."""
    from delivery.project import files
    from delivery.records import ledger

    known = ledger.connect(files.load_declaration()).freezes()
    if json_:
        console.data([{**asdict(each), "until": each.until.isoformat()} for each in known])
        return
    for each in known:
        console.say(f"{each.environment} is frozen {each}")
    if not known:
        console.say("nothing is frozen")
