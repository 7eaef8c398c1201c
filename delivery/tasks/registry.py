"""`inv registry.prune`: remove what no kept release needs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from delivery import console
from delivery.tasks.decorator import load_declaration, task

if TYPE_CHECKING:
    from delivery.retention.policy import PrunePlan

__all__ = ["prune"]


@task(
    iterable=["without", "in_use"],
    help={
        "yes": "do not ask",
        "dry-run": "only show what would be removed: the default without a terminal",
        "without": "an environment that is not asked for its releases; may be repeated",
        "in-use": "a release.json whose release stays; may be repeated",
        "collect": "also free the disk space of the local registry, which stops meanwhile",
    },
)
def prune(
    yes: bool = False,
    dry_run: bool = False,
    without: Sequence[str] | None = None,
    in_use: Sequence[str] | None = None,
    collect: bool = False,
    json_: bool = False,
) -> None:
    """Remove from the registry what no release needs, by the policy in delivery.toml.

    Keeps what environments run or may roll back to, the releases of --in-use, and everything that a
    kept release needs.
    """
    from delivery.host import engines
    from delivery.registry.client import Registry
    from delivery.retention import pruning

    declaration = load_declaration()
    registry = Registry(declaration.registry.address)
    uses = pruning.find_uses(declaration, without or (), in_use or ())
    plan = pruning.plan(declaration, registry, uses, datetime.now(UTC).date())
    if json_:
        console.data(plan.to_json())
    pruning.print_plan(plan, registry.address)
    if not _is_confirmed(plan, yes=yes, dry_run=dry_run):
        return
    pruning.prune(registry, plan)
    if collect:
        pruning.collect_garbage(engines.ensure(), declaration)
    elif plan.removed:
        console.say(
            "the registry frees the disk space later; --collect frees it in the local registry"
        )


def _is_confirmed(plan: PrunePlan, *, yes: bool, dry_run: bool) -> bool:
    """Whether to prune; without a terminal only --yes says so."""
    from delivery import prompt

    if dry_run or not (yes or prompt.is_interactive()):
        reason = "" if dry_run else ": no terminal to confirm it; pass --yes"
        console.say(f"nothing was removed{reason}")
        return False
    if plan.removed:
        prompt.confirm("prune the registry", "prune", yes=yes)
    return True
