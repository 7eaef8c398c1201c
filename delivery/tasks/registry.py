"""`inv registry.prune`: the registry, cleaned up by policy."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from invoke.context import Context

from delivery import console, prompt
from delivery.host import engines
from delivery.project import files
from delivery.registry.client import Registry
from delivery.tasks.decorator import task

__all__ = ["prune"]


@task(
    iterable=["without", "in_use"],
    help={
        "yes": "do not ask",
        "dry-run": "say what would be removed, and remove nothing: the default where nobody can be asked",
        "without": "an environment that is not asked what it runs; may be said several times",
        "in-use": "a release.json whose release stays; may be said several times",
        "collect": "also free the bytes in the local registry, which is stopped for that",
    },
)
def prune(  # each is a flag
    _context: Context,
    yes: bool = False,
    dry_run: bool = False,
    without: Sequence[str]
    | None = None,  # invoke takes several values only where there is no default
    in_use: Sequence[str] | None = None,
    collect: bool = False,
    json_: bool = False,
) -> None:
    """Remove from the registry what no release needs any more, by delivery.toml's policy.

    Nothing goes that an environment runs or may go back to, that a release.json in use names, or that a release needs which
    stays.
    """
    from delivery.retention import pruning

    declaration = files.load_declaration()
    registry = Registry(declaration.registry.address)
    uses = pruning.find_uses(declaration, without or (), in_use or ())
    plan = pruning.plan(declaration, registry, uses, datetime.now(UTC).date())
    if json_:
        console.data(plan.to_json())
    pruning.print_plan(plan, registry.address)
    if dry_run or not (yes or prompt.is_interactive()):
        console.say(
            "nothing is removed"
            + ("" if dry_run else ": nobody is here to be asked, and --yes is not said")
        )
        return
    if plan.removed:
        prompt.confirm("clean the registry up", "prune", yes=yes)
    pruning.prune(registry, plan)
    if collect:
        pruning.collect_garbage(engines.ensure(), declaration)
    elif plan.removed:
        console.say(
            "the registry frees their bytes when it next collects; --collect does that in the local one"
        )
