"""`inv cache.fill`, `cache.status`, `cache.prune`, `cache.clean`: what this project keeps for the user, outside every clone."""

from __future__ import annotations

import sys
import time

from invoke.context import Context

from delivery import cache, console
from delivery.errors import DeclarationError, DeliveryError
from delivery.host import docker_api, dockerd, engines
from delivery.project import files
from delivery.records import outbox
from delivery.release import releasing
from delivery.tasks.menu import item

__all__ = ["clean", "fill", "prune", "status"]


@item()
def fill(_context: Context) -> None:
    """Have every image that the platform needs: upstream ones in the engine, ours in the registry under their keys.

    What is missing is built and pushed; nothing is published. Writes .delivery/release.json, which the platform runs by.
    """
    releasing.make(engines.ensure(), files.load_declaration())


@item()
def status(_context: Context, json_: bool = False) -> None:
    """Show where the cache is and what it takes."""
    if json_:
        engine_runs = bool(dockerd.pid())
        console.data({"folder": str(cache.folder()), "bytes": cache.size(), "engine_runs": engine_runs})
    else:
        console.say(_describe())


@item(help={"days": "how long what goes was not used"})
def prune(_context: Context, days: int = 14) -> None:
    """Remove what has not been used for a while.

    Helper programs of earlier versions, build cache, and images of this project's registry that
    have no tag and no container: they are pulled or built again. An image goes once it was seen
    unused for so long.
    """
    if days < 0:
        raise DeclarationError(f"cannot prune the cache: {days} days", hint="--days takes 0 or more")
    with console.step("helper programs") as step:
        step.done(f"{_size(cache.remove_unused('programs', days))} freed")
    found = docker_api.find()
    if not found:
        console.say("no Docker engine answers: its build cache and images stay")
        return
    with console.step("build cache") as step:
        step.done(f"{_size(found.prune_builds(days))} freed")
    with console.step("images") as step:
        declaration = files.load_declaration()
        unused = found.unused_images([f"{declaration.registry.address}/{name}" for name in declaration.images])
        since, limit = cache.seen_since("images", unused), time.time() - days * 86_400
        old = [one for one in unused if since[one] <= limit]
        found.remove_images(old)
        step.done(f"{len(old)} removed, {len(unused) - len(old)} more are unused since less than {days} days")


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB"


@item(help={"yes": "do not ask"})
def clean(_context: Context, yes: bool = False) -> None:
    """Remove the cache, and the private engine in it.

    That engine's images, containers and volumes go with it. Another engine is left alone. Events
    that the ledger does not have yet stay.
    """
    console.say(_describe())
    _keep_events()
    if not yes:
        if not sys.stdin.isatty():
            raise DeclarationError("clean the cache: nobody is here to be asked", hint="say it with --yes")
        if input("Remove all of it, the private engine's volumes too? [y/N] ").strip().lower() not in {"y", "yes"}:
            console.say("nothing is removed")
            return
    with console.step("cache") as step:
        engines.down()
        cache.clean()
        step.done("removed")


def _keep_events() -> None:
    """Take events that were not delivered out of the cache; refuse to go on where they belong there."""
    outbox.take_over()
    if events := outbox.undelivered_in(cache.folder()):
        count = "1 event in it was" if len(events) == 1 else f"{len(events)} events in it were"
        raise DeliveryError(
            f"cannot remove the cache: {count} not delivered ({events[0].parent})",
            hint="`./run inv records.deliver` sends what waits, `./run inv records.waiting` shows it; "
            "DELIVERY_OUTBOX or XDG_STATE_HOME names a folder outside the cache",
        )


def _describe() -> str:
    return f"{cache.folder()}: {_size(cache.size())}; the private engine {'runs' if dockerd.pid() else 'does not run'}"
