"""Describe the cache, remove unused parts of it, or remove it."""

from __future__ import annotations

import time

from delivery import cache, console, prompt
from delivery.errors import DeclarationError, DeliveryError
from delivery.host import docker_api, dockerd, engines
from delivery.host.docker_api import Engine
from delivery.project import files
from delivery.records import outbox
from delivery.words import plural

__all__ = ["clean", "describe", "prune", "to_json"]


def describe() -> str:
    """The cache in one line: its folder, its size, and whether the private engine runs."""
    state = "runs" if dockerd.pid() else "does not run"
    return f"{cache.folder()}: {_size(cache.size())}; the private engine {state}"


def to_json() -> dict[str, object]:
    """The same as JSON."""
    runs = bool(dockerd.pid())
    return {"folder": str(cache.folder()), "bytes": cache.size(), "engine_runs": runs}


def prune(days: int) -> None:
    """Remove helper programs, build cache and images that were not used for so many days."""
    if days < 0:
        hint = "pass --days with 0 or more"
        raise DeclarationError(f"cannot prune the cache: --days is {days}", hint=hint)
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
    seen, limit = cache.first_seen("images", unused), time.time() - days * 86_400
    old = [image for image in unused if seen[image] <= limit]
    engine.remove_images(old)
    recent = len(unused) - len(old)
    return f"{len(old)} removed, {recent} more are unused for less than {days} days"


def clean(*, yes: bool) -> None:
    """Remove the cache and the private engine in it, after a confirmation unless yes."""
    console.say(describe())
    _check_outbox()
    if not yes:
        if not prompt.is_interactive():
            raise DeclarationError(
                "cannot remove the cache: no terminal to confirm it", hint="pass --yes"
            )
        question = "Remove all of it, with the private engine's volumes? [y/N]"
        if not prompt.ask_yes_no(question):
            console.say("nothing was removed")
            return
    with console.step("cache") as step:
        engines.down()
        cache.clean()
        step.done("removed")


def _check_outbox() -> None:
    """Raise DeliveryError if the cache has an outbox with undelivered events."""
    if events := outbox.undelivered_in(cache.folder()):
        count, verb = plural(len(events), "event"), "was" if len(events) == 1 else "were"
        raise DeliveryError(
            f"cannot remove the cache: {count} in it {verb} not delivered ({events[0].parent})",
            hint="send them with `./run inv ci.deliver` (`./run inv records.waiting` shows them), "
            "or set DELIVERY_OUTBOX or XDG_STATE_HOME to a folder outside the cache",
        )


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
