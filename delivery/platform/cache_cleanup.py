"""What the cache holds, and how it gets smaller: unused parts go, or all of it does."""

from __future__ import annotations

import time

from delivery import cache, console, prompt
from delivery.errors import DeclarationError, DeliveryError
from delivery.host import docker_api, dockerd, engines
from delivery.host.docker_api import Engine
from delivery.project import files
from delivery.records import outbox

__all__ = ["clean", "describe", "prune", "to_json"]


def describe() -> str:
    """Where the cache is, what it takes, and whether the private engine in it runs."""
    state = "runs" if dockerd.pid() else "does not run"
    return f"{cache.folder()}: {_size(cache.size())}; the private engine {state}"


def to_json() -> dict[str, object]:
    """The same for a machine."""
    running = bool(dockerd.pid())
    return {"folder": str(cache.folder()), "bytes": cache.size(), "engine_runs": running}


def prune(days: int) -> None:
    """Remove helper programs, build cache and images that were not used for so many days."""
    if days < 0:
        hint = "--days takes 0 or more"
        raise DeclarationError(f"cannot prune the cache: {days} days", hint=hint)
    with console.step("helper programs") as step:
        step.done(f"{_size(cache.remove_unused('programs', days))} freed")
    engine = docker_api.find()
    if not engine:
        console.say("no Docker engine answers: its build cache and images stay")
        return
    with console.step("build cache") as step:
        step.done(f"{_size(engine.prune_builds(days))} freed")
    with console.step("images") as step:
        step.done(_prune_images(engine, days))


def _prune_images(engine: Engine, days: int) -> str:
    declaration = files.load_declaration()
    address = declaration.registry.address
    unused = engine.unused_images([f"{address}/{name}" for name in declaration.images])
    since, limit = cache.first_seen("images", unused), time.time() - days * 86_400
    old = [image for image in unused if since[image] <= limit]
    engine.remove_images(old)
    recent = len(unused) - len(old)
    return f"{len(old)} removed, {recent} more are unused since less than {days} days"


def clean(*, yes: bool) -> None:
    """Remove the cache and the private engine in it, once somebody agrees; yes: without asking."""
    console.say(describe())
    _keep_events()
    if not yes:
        if not prompt.is_interactive():
            raise DeclarationError(
                "clean the cache: nobody is here to be asked", hint="say it with --yes"
            )
        question = "Remove all of it, the private engine's volumes too? [y/N]"
        if not prompt.ask_yes_no(question):
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
            hint="`./run inv ci.deliver` sends what waits, `./run inv records.waiting` shows it; "
            "DELIVERY_OUTBOX or XDG_STATE_HOME names a folder outside the cache",
        )


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
