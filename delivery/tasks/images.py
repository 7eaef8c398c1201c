"""`inv plan`, `build`, `push`, `images.ensure`, `images.sizes`: this project's images."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from delivery import console
from delivery.errors import DeclarationError, check_known
from delivery.tasks.decorator import load_declaration, task

if TYPE_CHECKING:
    from delivery.build.plan import Plan
    from delivery.project.declaration import Declaration
    from delivery.project.gitflow import Decision
    from delivery.registry.client import Registry
    from delivery.registry.layers import Layer
    from delivery.release.released import Release

__all__ = ["build", "ensure", "plan", "push", "sizes"]


_PLAN_HELP = "a plan that `inv plan --file FILE` wrote; fail unless it is unchanged"
# By the value of --say, for a pipeline that chooses its stages.
_FACTS: dict[str, Callable[[Decision, Declaration], str]] = {
    "pushes": lambda decision, _: (
        "images" if decision.pushes_images and not decision.pushes else str(decision.pushes).lower()
    ),
    # A pipeline has credentials by declared names: all previews share theirs.
    "environment": lambda decision, declaration: declaration.declared_name(decision.environment),
    "approval": lambda decision, _: str("approval" in decision.gates).lower(),
}


@task(
    stage="plan",
    unless="say",
    help={
        "branch": "decide for this branch instead of the current branch",
        "file": "also write it to this file, for --plan: git ignores .delivery/plan.json",
        "say": f"print only a fact, without the registry: {', '.join(_FACTS)}",
    },
)
def plan(branch: str = "", json_: bool = False, file: str = "", say: str = "") -> None:
    """Show what would be built, pushed, tagged and deployed; change nothing.

    Gitflow and Conventional Commits decide. Lists each problem of build and push with a hint, and
    has their exit code.
    """
    from delivery.build import planning
    from delivery.registry import client
    from delivery.release import preflight, problems

    declaration = load_declaration()
    if say:
        _say(say, declaration, branch)
        return
    registry = client.find(declaration.registry.address)
    planned = preflight.checked_plan(declaration, registry, branch)
    if file:
        planning.write(planned, Path(file))
    if json_:
        console.data(planned.to_json())
    else:
        _show(planned)
    if file:
        console.say(f"written to {file}")
    if error := problems.refusal(planned, "publish", shown=True):
        raise error


def _show(planned: Plan) -> None:
    for sentence in planned.sentences():
        console.say(sentence)
    for title, columns, rows in planned.tables():
        console.table(title, columns, rows)
    for note in planned.notes:
        console.say(f"note: {note}")
    for subject in planned.unchecked:
        console.say(f"not checked: {subject}")
    if planned.problems:
        console.say("problems")
    for problem in planned.problems:
        for line in problem.lines():
            console.say(f"  {line}")


@task(stage="build", help={"plan": _PLAN_HELP})
def build(plan: str = "") -> None:
    """Build what the registry lacks; push nothing.

    On a published branch, builds nothing that could not be pushed.
    """
    from delivery.release import releasing

    declaration, _, planned = _checked_plan()
    _check_unchanged(plan, planned)
    releasing.build(declaration, planned)


@task(stage="push", help={"plan": _PLAN_HELP})
def push(plan: str = "") -> None:
    """Build what the registry lacks and publish: images, chart, version tags, release.

    On the candidate and release lines, vulnerabilities with a fix block it. Writes
    .delivery/release.json. For a preview it pushes images by content key alone. Does nothing on a
    branch that gitflow does not publish.
    """
    from delivery.release import releasing
    from delivery.scan import gate

    declaration, registry, planned = _checked_plan()
    _check_unchanged(plan, planned)
    if planned.decision.pushes:
        check = gate.before_release(declaration, registry)
        releasing.publish(declaration, registry, planned, check)
    elif planned.decision.pushes_images:
        releasing.push_images(declaration, registry)
    else:
        console.say(f"nothing is pushed: {planned.decision.because}")


def _say(fact: str, declaration: Declaration, branch: str) -> None:
    from delivery.project import files, gather

    check_known(fact, _FACTS, f"cannot say {fact}: a plan has no such fact")
    decision = gather.load_decision(declaration, files.ROOT, branch)
    console.say(_FACTS[fact](decision, declaration))


@functools.cache
def _checked_plan() -> tuple[Declaration, Registry, Plan]:
    """The plan of this run, made once: `inv build push` pushes what it has built."""
    from delivery.registry import client, local_registry
    from delivery.release import preflight, problems

    declaration = load_declaration()
    registry = client.find(declaration.registry.address)
    if registry is None:
        # A local registry is started, and maybe built, only for a plan without problems.
        error = problems.refusal(preflight.checked_plan(declaration, None), "publish")
        if error:
            raise error
        registry = local_registry.connect(declaration)
    return declaration, registry, preflight.checked_plan(declaration, registry)


def _check_unchanged(file: str, planned: Plan) -> None:
    """Raise DeclarationError if a plan in a file is not the current plan."""
    from delivery.build import planning

    if file:
        planning.check_unchanged(Path(file), planned)


@task()
def sizes(json_: bool = False) -> None:
    """Show the sizes of this project's images and their layers."""
    from delivery.platform import lifecycle

    release = lifecycle.released()
    if release is None:
        raise DeclarationError(
            "cannot show the sizes: nothing was built from this clone yet",
            hint="run `./run inv up`, which builds it",
        )
    images = _layers(release)
    if json_:
        console.data({name: [*map(asdict, layers)] for name, layers in images.items()})
    else:
        rows = [(name, *_size(layers)) for name, layers in images.items()]
        console.table("sizes", ("image", "on disk", "gzip", "layers"), rows)


def _layers(release: Release) -> dict[str, list[Layer]]:
    """The layers of each image, by its name and, of an image for several, its platform."""
    from delivery.registry.client import Registry
    from delivery.registry.layers import read_sizes

    registry = Registry(load_declaration().registry.address)
    return {
        f"{name} {platform}".rstrip(): layers
        for name, image in release.images.items()
        for platform, layers in read_sizes(registry, image.repository, image.digest).items()
    }


def _size(layers: Sequence[Layer]) -> tuple[str, str, str]:
    """What layers take on disk and packed, and their digests."""
    unpacked, packed = sum(each.unpacked for each in layers), sum(each.packed for each in layers)
    digests = " ".join(layer.digest[7:19] for layer in layers)
    return f"{unpacked / 1e6:.1f} MB", f"{packed / 1e6:.1f} MB", digests


@task()
def ensure() -> None:
    """Get every image of the platform: pull, or build and push what is missing.

    Publishes no version. Writes .delivery/release.json, which `inv up` reads.
    """
    from delivery.host import engines
    from delivery.release import releasing

    releasing.ensure_images(engines.ensure(), load_declaration())
