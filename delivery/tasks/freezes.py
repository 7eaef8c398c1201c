"""`inv freeze`, `unfreeze`, `freezes`: times in which nothing is deployed."""

from __future__ import annotations

from dataclasses import asdict

from delivery import console
from delivery.tasks.decorator import load_declaration, task

__all__ = ["freeze", "freezes", "unfreeze"]


@task(
    help={
        "environment": "local, develop, staging or production",
        "until": "when it ends, as in 2026-12-26T08:00, in the time zone of the windows or here",
        "reason": "why; shown to whoever tries to deploy",
    }
)
def freeze(environment: str, until: str, reason: str) -> None:
    """Let nothing be deployed to an environment until a time; rollbacks stay possible."""
    from delivery.deploy import freezing

    made = freezing.freeze(load_declaration(), environment, until, reason)
    console.say(f"{environment} is frozen {made}")


@task(help={"environment": "local, develop, staging or production"})
def unfreeze(environment: str) -> None:
    """End every freeze of an environment."""
    from delivery.deploy import freezing

    for each in freezing.unfreeze(load_declaration(), environment):
        console.say(f"{environment} was frozen {each}")
    console.say(f"{environment} is not frozen")


@task()
def freezes(json_: bool = False) -> None:
    """Show the freezes in force."""
    from delivery.records import ledger

    known = ledger.connect(load_declaration()).freezes()
    if json_:
        console.data([{**asdict(each), "until": each.until.isoformat()} for each in known])
        return
    for each in known:
        console.say(f"{each.environment} is frozen {each}")
    if not known:
        console.say("nothing is frozen")
