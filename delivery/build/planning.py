"""Look before acting: what git, the files, the declaration and the registry say is to be done."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from shlex import quote

from delivery.build.plan import (
    Images,
    Plan,
    differences,
    make_images,
    make_plan,
    packaged,
    read_plan,
)
from delivery.errors import DeclarationError
from delivery.machine import platform
from delivery.project import files, gather
from delivery.project.declaration import Declaration
from delivery.project.files import ROOT
from delivery.project.keys import chart_key, image_key
from delivery.project.notices import git_problems, notes
from delivery.project.versions import Version
from delivery.registry.client import Registry

__all__ = [
    "build_arguments",
    "check_unchanged",
    "content_keys",
    "plan_checkout",
    "plan_images",
    "read",
    "write",
]


def plan_checkout(
    declaration: Declaration,
    registry: Registry | None,
    branch: str = "",
    root: Path = ROOT,
    *,
    silent: str = "",
) -> Plan:
    """The plan for a branch, or for what is checked out: one question an image, and one for the chart, to the registry.

    None is a registry that does not answer: what it holds is not known; the plan says so, in other words
    where `silent` has them, and takes it for empty. Its problems are those that git has: `release.finding` looks for all.
    """
    checkout = gather.load_checkout(declaration, root, branch)
    named = content_keys(declaration, root)
    held = _held(declaration, registry, named) if registry else {}
    images = make_images(declaration, named, held, checkout)
    chart = _chart_key(declaration, named, checkout.versions, root)
    address = declaration.registry.address
    remarks = notes(checkout)
    if registry is None:
        remarks.append(
            f"{silent or f'the registry {address} does not answer'}: what it holds is not known"
        )
    held_chart = registry.digest(f"{address}/{declaration.chart.folder}", chart) if registry else ""
    return make_plan(checkout, images, (chart, held_chart), git_problems(checkout), remarks)


def plan_images(declaration: Declaration, registry: Registry | None, root: Path = ROOT) -> Images:
    """The images that a clone makes for itself: keys from the files, and one question an image to the registry, if it answers."""
    named = content_keys(declaration, root)
    return make_images(declaration, named, _held(declaration, registry, named) if registry else {})


def write(plan: Plan, file: Path, root: Path = ROOT) -> None:
    """Write a plan for --plan to read; no folder is made for it but the one of what the tasks leave behind."""
    files.output(file.name, root=root)
    try:
        file.write_text(plan.to_json(), encoding="utf-8")
    except OSError as error:
        folder = file.absolute().parent
        hint = "--file names a file that can be written"
        if not folder.exists():
            hint = f"`mkdir -p {quote(str(folder))}` makes its folder; `--file .delivery/plan.json` needs none"
        raise DeclarationError(
            f"cannot write the plan {file}: {error.strerror}", hint=hint
        ) from error


def read(file: Path) -> Plan:
    """A plan that was written before; raise DeclarationError when it is none."""
    try:
        return read_plan(file.read_text(encoding="utf-8"), file=str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise DeclarationError(
            f"read the plan {file}: {error}", hint="`./run inv plan --file plan.json` writes one"
        ) from error


def check_unchanged(file: Path, found: Plan) -> None:
    """Raise DeclarationError unless a plan that was written before is still what there is to do."""
    if lines := differences(read(file), found):
        raise DeclarationError(
            f"keep to the plan {file}: it does not hold any more",
            details="\n".join(lines),
            hint="plan anew: `./run inv plan --file plan.json`",
        )


def content_keys(declaration: Declaration, root: Path = ROOT) -> dict[str, str]:
    """The content key of each of our images, by name; asks no engine and no network."""
    found: dict[str, str] = {}
    for name in declaration.images_in_order():
        image = declaration.images[name]
        below = found.get(image.base) or declaration.upstream[image.base].image
        found[name] = image_key(
            files.context_files(root / image.context),
            arguments=build_arguments(declaration, name, root),
            platform=platform(),
            base=below,
            contexts={
                context: files.context_files(root / folder)
                for context, folder in image.contexts.items()
            },
        )
    return found


def build_arguments(declaration: Declaration, name: str, root: Path = ROOT) -> dict[str, str]:
    """The build arguments of one of our images: what the declaration decides, and its subproject's version."""
    return {
        **declaration.build_arguments(name),
        "VERSION": files.read_version(root / declaration.images[name].context),
    }


def _held(declaration: Declaration, registry: Registry, named: Mapping[str, str]) -> dict[str, str]:
    return {
        name: registry.digest(f"{declaration.registry.address}/{name}", key)
        for name, key in named.items()
    }


def _chart_key(
    declaration: Declaration, named: Mapping[str, str], versions: Mapping[str, Version], root: Path
) -> str:
    folder = declaration.chart.folder
    return chart_key(
        files.chart_files(root / folder),
        version=packaged(versions[declaration.subproject_of(folder)]),
        images={
            name: f"{declaration.registry.address}/{name}:{named[name]}"
            for name in declaration.components()
        },
        epoch=declaration.build.epoch,
    )
