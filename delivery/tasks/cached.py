"""`inv cache.status`, `cache.prune`, `cache.clean`: what this project keeps for the user, outside every clone."""

from __future__ import annotations

from invoke.context import Context

from delivery import console
from delivery.platform import cache_cleanup
from delivery.tasks.decorator import task

__all__ = ["clean", "prune", "status"]


@task()
def status(_context: Context, json_: bool = False) -> None:
    """Show where the cache is and what it takes."""
    if json_:
        console.data(cache_cleanup.to_json())
    else:
        console.say(cache_cleanup.describe())


@task(help={"days": "how long what goes was not used"})
def prune(_context: Context, days: int = 14) -> None:
    """Remove what has not been used for a while.

    Helper programs of earlier versions, build cache, and images of this project's registry that
    have no tag and no container: they are pulled or built again. An image goes once it was seen
    unused for so long.
    """
    cache_cleanup.prune(days)


@task(help={"yes": "do not ask"})
def clean(_context: Context, yes: bool = False) -> None:
    """Remove the cache, and the private engine in it.

    That engine's images, containers and volumes go with it. Another engine is left alone. Events
    that the ledger does not have yet stay.
    """
    cache_cleanup.clean(yes=yes)
