"""Freeze an environment, and keep a deploy away from one that is frozen."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from delivery import console, machine
from delivery.deploy.target import Target, find_environment
from delivery.errors import DeclarationError, DeliveryError, FrozenError
from delivery.project.declaration import Declaration
from delivery.records.freeze import Freeze, obstacle, show
from delivery.records.ledger import connect

__all__ = ["check", "freeze", "unfreeze"]


def check(declaration: Declaration, name: str, override: str, target: Target | None = None) -> str:
    """Raise FrozenError if nothing may be deployed to an environment, and no override is given.

    Returns the override if it was needed, else "". Without a target, the ledger is a part of what
    docker compose starts, and need not answer.
    """
    environment = target.environment if target else declaration.environments.get(name)
    windows, now = environment.windows if environment else None, datetime.now(UTC)
    deployed_to = target.name if target else name
    # A freeze of the environment of previews is one of every preview.
    names = {name, deployed_to, declaration.declared_name(deployed_to)}
    try:
        freezes = connect(declaration).freezes(target.ledger_token if target else str)
        reason = obstacle(names, windows, freezes, now)
    except DeliveryError as error:
        reason = obstacle(names, windows, (), now)
        unknown = f"whether it is frozen is unknown: {error.reason}"
        if not reason and target and _refuses(target):
            reason = unknown
        elif not reason:
            console.say(f"{name}: {unknown}")
    if not reason:
        return ""
    if override:
        console.say(f"{name}: {reason}; deployed nevertheless: {override}")
        return override
    raise FrozenError(
        f"cannot deploy to {name}: {reason}",
        hint='wait, or pass --override "reason", which is recorded; a rollback is never frozen',
    )


def _refuses(target: Target) -> bool:
    """Whether nothing is deployed to the target while nobody knows whether it is frozen.

    Its ledger may be what the first deploy brings.
    """
    return target.environment.on_unknown == "refuse" and target.helm.history().deployed is not None


def freeze(declaration: Declaration, name: str, until: str, reason: str) -> Freeze:
    """Freeze an environment until a time, which without an offset is of its windows' zone."""
    windows = find_environment(declaration, name).windows
    hint = "write a date and a time to come, as in 2026-12-26T08:00"
    try:
        end = datetime.fromisoformat(until)
    except ValueError:
        raise DeclarationError(
            f"cannot read --until: {until!r} is not a valid time", hint=hint
        ) from None
    if end.tzinfo is None:
        end = end.replace(tzinfo=ZoneInfo(windows.zone)) if windows else end.astimezone()
    if end <= datetime.now(UTC):
        raise DeclarationError(f"cannot freeze {name}: {show(end)} has passed", hint=hint)
    if not reason.strip():
        raise DeclarationError(
            f"cannot freeze {name}: --reason is empty", hint="say why: deployers are shown it"
        )
    return connect(declaration).freeze(name, end.astimezone(UTC), reason, machine.actor())


def unfreeze(declaration: Declaration, name: str) -> list[Freeze]:
    """End every freeze of an environment; return them."""
    find_environment(declaration, name)
    ledger = connect(declaration)
    freezes = [each for each in ledger.freezes() if each.environment == name]
    for each in freezes:
        ledger.end(each)
    return freezes
