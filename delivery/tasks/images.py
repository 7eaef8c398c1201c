"""`inv plan`, `build`, `push`, `images.ensure`, `images.sizes`: our images, without running them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from invoke.context import Context

from delivery import console
from delivery.build import planning
from delivery.build.plan import Plan
from delivery.errors import DeclarationError, did_you_mean
from delivery.host import engines
from delivery.platform import lifecycle
from delivery.project import files, gather
from delivery.project.declaration import Declaration
from delivery.project.gitflow import Decision
from delivery.registry import local_registry
from delivery.registry.client import Registry, is_reachable
from delivery.registry.layers import read_sizes
from delivery.release import preflight, problems, releasing
from delivery.tasks.decorator import task

__all__ = ["build", "ensure", "plan", "push", "sizes"]


_KEEP = "a plan that `inv plan --file FILE` wrote; do nothing unless it still holds"
# What a pipeline has to know of a plan to choose its stages.
_SAYS: dict[str, Callable[[Decision], str]] = {
    "pushes": lambda decision: str(decision.pushes).lower(),
    "environment": lambda decision: decision.environment,
    "approval": lambda decision: str("approval" in decision.gates).lower(),
}


@task(
    stage="plan",
    unless="say",
    help={
        "branch": "decide as for this branch, instead of what is checked out or the CI server says",
        "file": "also write it to this file, for --plan",
        "say": f"print one thing alone, without asking the registry: {', '.join(_SAYS)}",
    },
)
def plan(
    _context: Context, branch: str = "", json_: bool = False, file: str = "", say: str = ""
) -> None:
    """Show what this commit is published as, what would be built, pushed and tagged, and where it would go.

    It decides by gitflow and Conventional Commits; nothing is changed anywhere. What build or push would
    be refused for is listed with what solves it, and the exit code is theirs.
    """
    declaration = files.load_declaration()
    if say:
        _say(say, declaration, branch)
        return
    address = declaration.registry.address
    found = preflight.checked_plan(
        declaration, Registry(address) if is_reachable(address) else None, branch
    )
    if file:
        planning.write(found, Path(file))
    if json_:
        console.data(found.to_json())
    else:
        _show(found)
    if error := problems.refusal(found, "publish", shown=True):
        raise error


def _show(found: Plan) -> None:
    for sentence in found.sentences():
        console.say(sentence)
    for title, columns, rows in found.tables():
        console.table(title, columns, rows)
    for note in found.notes:
        console.say(f"note: {note}")
    for what in found.unchecked:
        console.say(f"not checked: {what}")
    if found.problems:
        console.say("problems")
    for problem in found.problems:
        for line in problem.lines():
            console.say(f"  {line}")


@task(stage="build", help={"plan": _KEEP})
def build(_context: Context, plan: str = "") -> None:
    """Build what the registry lacks, and push nothing.

    On a branch that is published, nothing is built that could not be pushed.
    """
    declaration, _, found = _looked()
    _keep_to(plan, found)
    releasing.build(declaration, found)


@task(stage="push", help={"plan": _KEEP})
def push(_context: Context, plan: str = "") -> None:
    """Build what the registry lacks, and publish it whole: images and chart, then version tags, then the release.

    Writes .delivery/release.json. A branch that gitflow publishes nowhere is left alone.
    """
    declaration, registry, found = _looked()
    _keep_to(plan, found)
    if not found.decision.pushes:
        console.say(f"nothing is pushed: {found.decision.because}")
        return
    releasing.publish(declaration, registry, found)


def _say(what: str, declaration: Declaration, branch: str) -> None:
    if what not in _SAYS:
        hint = did_you_mean(what, _SAYS, f"one of {', '.join(_SAYS)}")
        raise DeclarationError(f"say {what} of the plan: it says no such thing", hint=hint)
    console.say(_SAYS[what](gather.load_decision(declaration, files.ROOT, branch)))


@functools.cache
def _looked() -> tuple[Declaration, Registry, Plan]:
    """What there is to do; `inv build push` looks once, so that what is built is what is pushed."""
    declaration = files.load_declaration()
    if not is_reachable(declaration.registry.address):
        # A registry is started, and maybe built, only for what can be published.
        error = problems.refusal(preflight.checked_plan(declaration, None), "publish")
        if error:
            raise error
    registry = local_registry.connect(declaration)
    return declaration, registry, preflight.checked_plan(declaration, registry)


def _keep_to(file: str, found: Plan) -> None:
    """Raise DeclarationError unless the plan in a file, if one is told, is still what there is to do."""
    if file:
        planning.check_unchanged(Path(file), found)


@task()
def sizes(_context: Context, json_: bool = False) -> None:
    """Show how large our images are, and their layers."""
    release = lifecycle.released()
    if release is None:
        raise DeclarationError(
            "cannot show the sizes: nothing was built from this clone yet",
            hint="`./run inv up` builds it",
        )
    registry = Registry(files.load_declaration().registry.address)
    found = {
        name: read_sizes(registry, image.repository, image.digest)
        for name, image in release.images.items()
    }
    if json_:
        console.data({name: [asdict(layer) for layer in layers] for name, layers in found.items()})
        return
    rows = [
        (
            name,
            f"{sum(layer.unpacked for layer in layers) / 1e6:.1f} MB",
            f"{sum(layer.packed for layer in layers) / 1e6:.1f} MB",
            " ".join(layer.digest[7:19] for layer in layers),
        )
        for name, layers in found.items()
    ]
    console.table("sizes", ("image", "on disk", "gzip", "layers"), rows)


@task()
def ensure(_context: Context) -> None:
    """Have every image that the platform needs: upstream ones in the engine, ours in the registry under their keys.

    What is missing is built and pushed; nothing is published. Writes .delivery/release.json, which the platform runs by.
    """
    releasing.ensure_images(engines.ensure(), files.load_declaration())
