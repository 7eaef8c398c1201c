"""Make the plan from Git, the files, the declaration and the content of the registry."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote

from delivery.build.plan import (
    Images,
    Plan,
    differences,
    hint_for_new_plan,
    make_images,
    make_plan,
    packaged_version,
    read_plan,
)
from delivery.errors import DeclarationError
from delivery.machine import platform
from delivery.project import files, gather
from delivery.project.declaration import Declaration
from delivery.project.files import ROOT
from delivery.project.keys import chart_key, image_key, index_key
from delivery.project.notices import git_problems, notes
from delivery.project.versions import Checkout, Version
from delivery.registry.client import Registry

__all__ = [
    "build_arguments",
    "check_unchanged",
    "content_keys",
    "plan_checkout",
    "plan_images",
    "published_platforms",
    "read",
    "write",
]


def plan_checkout(
    declaration: Declaration,
    registry: Registry | None,
    branch: str = "",
    root: Path = ROOT,
    *,
    reason: str = "",
) -> Plan:
    """The plan for a branch, or for what is checked out, by a request for each image and the chart.

    Without a registry everything is planned, and a note says that its content is unknown, for a
    reason (the registry does not answer, if none is given). Its problems are those that Git has;
    `release.preflight` adds all others.
    """
    checkout = gather.load_checkout(declaration, root, branch)
    images = _images(declaration, registry, published_platforms(declaration), root, checkout)
    keys = {image.name: image.key for image in images.all}
    folder = declaration.chart.folder
    chart = _chart_key(declaration, keys, checkout.versions, root)
    chart_digest = _digests(declaration, registry, {folder: chart}).get(folder, "")
    remarks = notes(checkout)
    if registry is None:
        reason = reason or f"the registry {declaration.registry.address} does not answer"
        remarks.append(f"{reason}: its content is unknown")
    return make_plan(checkout, images, (chart, chart_digest), git_problems(checkout), remarks)


def plan_images(
    declaration: Declaration,
    registry: Registry | None,
    root: Path = ROOT,
    *,
    platforms: Sequence[str] = (),
) -> Images:
    """The current images of this clone, without versions, by a request for each image.

    They are for these platforms, by default for this machine's alone.
    """
    return _images(declaration, registry, platforms or (platform(),), root)


def published_platforms(declaration: Declaration) -> tuple[str, ...]:
    """The platforms that a push builds images for."""
    return declaration.build.platforms or (platform(),)


def write(plan: Plan, file: Path) -> None:
    """Write a plan for --plan; creates no folder but .delivery, and overwrites only a plan."""
    if file.is_file() and not _may_overwrite(file):
        raise DeclarationError(
            f"cannot write the plan {file}: the file exists and is no plan",
            hint="name another file by --file, or remove this file first",
        )
    files.output(file.name)  # creates .delivery, where a plan is usually written
    try:
        file.write_text(plan.to_json(), encoding="utf-8")
    except OSError as error:
        folder = file.absolute().parent
        hint = "name a writable file by --file"
        if not folder.exists():
            make = f"mkdir -p {quote(str(folder))}"
            hint = f"create its folder by `{make}`, or pass `--file .delivery/plan.json`"
        raise DeclarationError(
            f"cannot write the plan {file}: {error.strerror}", hint=hint
        ) from error


def _may_overwrite(file: Path) -> bool:
    """Whether a file is empty, or has the fields that the plans of all versions have."""
    try:
        text = file.read_text(encoding="utf-8")
        content = json.loads(text or "{}")
    except (OSError, ValueError):
        return False
    return not text or (isinstance(content, dict) and {"commit", "decision"} <= content.keys())


def read(file: Path) -> Plan:
    """The plan in a file; DeclarationError if it is invalid."""
    text = files.read_text(file, "the plan", hint_for_new_plan(str(file)))
    return read_plan(text, file=str(file))


def check_unchanged(file: Path, current: Plan) -> None:
    """Raise DeclarationError unless the plan in a file is still the current plan."""
    if lines := differences(read(file), current):
        raise DeclarationError(
            f"cannot follow the plan {file}: it is outdated",
            details="\n".join(lines),
            hint=hint_for_new_plan(str(file)),
        )


def content_keys(declaration: Declaration, root: Path = ROOT) -> dict[str, str]:
    """The content key of each of our images for this machine's platform, by name.

    Needs no engine and no network.
    """
    own = platform()
    return {name: keys[own] for name, keys in _platform_keys(declaration, (own,), root).items()}


def _platform_keys(
    declaration: Declaration, platforms: Sequence[str], root: Path
) -> dict[str, dict[str, str]]:
    """The content key of each image for each platform, by name and platform."""
    keys: dict[str, dict[str, str]] = {}
    for name in declaration.images_in_order():
        image = declaration.images[name]
        context = files.context_files(root / image.context)
        arguments = build_arguments(declaration, name, root)
        contexts = {
            other: files.context_files(root / folder) for other, folder in image.contexts.items()
        }
        keys[name] = {
            target: image_key(
                context,
                arguments=arguments,
                platform=target,
                base=keys.get(image.base, {}).get(target) or declaration.upstream[image.base].image,
                contexts=contexts,
            )
            for target in platforms
        }
    return keys


def _images(
    declaration: Declaration,
    registry: Registry | None,
    platforms: Sequence[str],
    root: Path,
    checkout: Checkout | None = None,
) -> Images:
    """The images for these platforms, with the digests that the registry holds."""
    by_platform = _platform_keys(declaration, platforms, root)
    keys = {
        name: index_key(of_image) if len(of_image) > 1 else next(iter(of_image.values()))
        for name, of_image in by_platform.items()
    }
    return make_images(
        declaration,
        keys,
        _digests(declaration, registry, keys),
        checkout,
        by_platform if tuple(platforms) != (platform(),) else None,
    )


def build_arguments(declaration: Declaration, name: str, root: Path = ROOT) -> dict[str, str]:
    """The build arguments of an image: those of the declaration, and its subproject's version."""
    return {
        **declaration.build_arguments(name),
        "VERSION": files.read_version(root / declaration.images[name].context),
    }


def _digests(
    declaration: Declaration, registry: Registry | None, keys: Mapping[str, str]
) -> dict[str, str]:
    """The digests that the registry holds under keys, by repository; none without a registry."""
    if registry is None:
        return {}
    address = declaration.registry.address
    digests = registry.digests((f"{address}/{name}", key) for name, key in keys.items())
    return dict(zip(keys, digests, strict=True))


def _chart_key(
    declaration: Declaration, keys: Mapping[str, str], versions: Mapping[str, Version], root: Path
) -> str:
    folder, address = declaration.chart.folder, declaration.registry.address
    return chart_key(
        files.chart_files(root / folder),
        version=packaged_version(versions[declaration.subproject_of(folder)]),
        images={name: f"{address}/{name}:{keys[name]}" for name in declaration.components()},
        epoch=declaration.build.epoch,
    )
