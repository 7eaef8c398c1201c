"""`inv cache.status`, `cache.prune`, `cache.clean`: the user's cache, shared by all clones."""

from __future__ import annotations

from delivery import console
from delivery.tasks.decorator import task

__all__ = ["clean", "prune", "status"]


@task()
def status(json_: bool = False) -> None:
    """Show the folder and the size of the cache."""
    from delivery.platform import cache_cleanup

    if json_:
        console.data(cache_cleanup.to_json())
    else:
        console.say(cache_cleanup.describe())


@task(help={"days": "remove what was not used for so many days"})
def prune(days: int = 14) -> None:
    """Remove unused parts of the cache.

    These are helper programs of earlier versions, build cache, and images of this project without
    tag and container. They are pulled or built again when needed.
    """
    from delivery.platform import cache_cleanup

    cache_cleanup.prune(days)


@task(help={"yes": "do not ask"})
def clean(yes: bool = False) -> None:
    """Remove the cache with the private engine in it.

    This removes that engine's images, containers and volumes; other engines do not change.
    Undelivered events stay.
    """
    from delivery.platform import cache_cleanup

    cache_cleanup.clean(yes=yes)
