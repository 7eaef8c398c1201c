"""Publish whole or not at all: content under keys first, version tags once all of it is there, the release last.

No push is trusted before the registry has given the same bytes back. With a key to sign with,
nothing is trusted that somebody else may have pushed: it is made here again and its digest
compared, unless our signature says that it was made before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from delivery import console
from delivery.build.plan import Images, Plan, PlannedImage
from delivery.errors import DeclarationError
from delivery.host.docker_api import Engine
from delivery.machine import builder
from delivery.project import files
from delivery.project.chart import image_tag, with_images, with_versions
from delivery.project.declaration import Declaration
from delivery.project.files import ROOT
from delivery.registry import oci_layout
from delivery.registry.client import Registry
from delivery.registry.mirroring import push_from_engine
from delivery.release import attached_sboms, catalog, chart_package, problems, signing
from delivery.release.released import Release, ReleasedPart, make_release, released_images
from delivery.release.sbom import Image

__all__ = [
    "Built",
    "chart_text",
    "check_publishable",
    "package_chart",
    "publish",
    "push_images",
    "untrusted",
    "version_tags",
    "write",
]


@dataclass(frozen=True)
class Built:
    """What was built here before a push."""

    engine: Engine | None = None
    """The engine that built; None where nothing had to be built."""
    layouts: Mapping[str, Path] = field(default_factory=dict)
    """The OCI layout of each image, by name: all that are missing, and all that are `untrusted`."""


def push_images(registry: Registry, images: Images, built: Built) -> dict[str, str]:
    """Push every missing image under its key; the digest of each, by name."""
    if built.engine is None:
        return {}
    engine, layouts = built.engine, built.layouts
    siblings = [image.repository for image in images.all]
    return {
        image.name: _push(engine, registry, image, layouts[image.name], siblings)
        for image in images.missing
    }


def untrusted(
    declaration: Declaration, registry: Registry, plan: Plan, root: Path = ROOT
) -> list[str]:
    """The images that the registry holds and that have to be built here before our key signs them.

    None where nothing is to be signed.
    """
    if not signing.has_key() or _is_settled(declaration, registry, plan, root):
        return []
    existing = {image.pinned: image for image in plan.images.all if not image.missing}
    sources = {pinned: image.key for pinned, image in existing.items()}
    return [
        existing[pinned].name for pinned in signing.missing_signatures(declaration, sources, root)
    ]


def publish(
    registry: Registry, declaration: Declaration, plan: Plan, built: Built, root: Path = ROOT
) -> Release:
    """Make the plan's release true in the registry, and write release.json.

    What fails before the end leaves no release that was not there before. One of the same content
    is taken as it is, whoever published it; one of other content is never replaced.
    """
    check_publishable(plan)
    layouts = built.layouts
    _compare_images(plan, layouts)
    pushed = push_images(registry, plan.images, built)
    chart = plan.chart.digest or _push_chart(registry, declaration, plan, pushed, root)
    release = make_release(plan, pushed, chart, builder())
    held = catalog.find(registry, plan.version)
    if held is not None:
        if problem := problems.conflicting_release(plan, held, release.content):
            raise problem.error(f"publish {plan.version}")
        if _is_settled(declaration, registry, plan, root):
            return write(held, root, f"release {plan.version} is published already, and the same")
        # Who put it there is no part of what is signed for.
        release = replace(release, builder=held.builder)
        _compare_release(registry, release)
    elif problem := problems.missing_release(declaration, plan):
        raise problem.error(f"publish {plan.version}")
    if signing.has_key() and plan.chart.digest:
        _compare_chart(registry, declaration, plan, pushed, root)
    bills = _attach_sboms(registry, declaration, release, layouts, root)
    _sign(declaration, plan, release, layouts, bills)
    _put_tags(registry, plan, release)
    if not plan.chart.tag:
        console.say(
            f"no release {plan.version}: {plan.decision.because}, and a release goes by the chart's version"
        )
        return release
    with console.step(f"release {plan.version}") as step:
        digest = catalog.push(registry, release)
        step.done(
            f"{registry.address}/{catalog.REPOSITORY}:{plan.version}, {registry.requests} requests to the registry"
        )
    signing.sign(declaration, [f"{registry.address}/{catalog.REPOSITORY}@{digest}"])
    return write(release, root)


def check_publishable(plan: Plan) -> None:
    """Raise DeliveryError when the plan has problems, or its line publishes nothing."""
    if not plan.decision.pushes:
        raise DeclarationError(
            f"publish {plan.decision.ref.name or plan.commit[:12]}: {plan.decision.because}",
            hint="merge it; `./run inv images.ensure` puts the images where this machine's platform and cluster take them from",
        )
    if error := problems.refusal(plan, "publish"):
        raise error


def write(release: Release, root: Path = ROOT, said: str = "") -> Release:
    """Write release.json, which says what is deployed from now on."""
    files.write_atomically(files.output("release.json", root=root), release.to_json())
    if said:
        with console.step("publish") as step:
            step.done(said)
    return release


def version_tags(registry: Registry, plan: Plan) -> dict[str, str]:
    """What the registry holds under each version tag of a plan (REPOSITORY:TAG → digest, "" for none)."""
    tagged = [part for part in plan.parts if part.tag]
    return {
        f"{part.repository}:{part.tag}": registry.digest(part.repository, part.tag)
        for part in tagged
    }


def _put_tags(registry: Registry, plan: Plan, release: Release) -> None:
    """Put every version tag, after a look at all of them: one that is taken by other content leaves the others unput."""
    digests = {part.repository: part.digest for part in release.parts}
    with console.step("version tags") as step:
        held = version_tags(registry, plan)
        if problem := problems.conflicting_tags(plan, held, digests):
            raise problem.error(f"publish {plan.version}")
        new = [reference.rpartition("/")[2] for reference, digest in held.items() if not digest]
        for part in plan.parts:
            if part.tag:
                registry.put_tag(part.repository, part.tag, digests[part.repository])
        step.done(f"{', '.join(new)} put" if new else "all there")


def _is_settled(declaration: Declaration, registry: Registry, plan: Plan, root: Path) -> bool:
    """Whether nothing is to be signed: no key, or a release that is signed, or another line's."""
    if not signing.has_key():
        return True
    repository = f"{registry.address}/{catalog.REPOSITORY}"
    digest = registry.digest(repository, plan.version)
    if not digest or not plan.chart.tag:
        return bool(digest)
    return not signing.missing_signatures(declaration, {f"{repository}@{digest}": ""}, root)


def _compare_images(plan: Plan, layouts: Mapping[str, Path]) -> None:
    """Hold what the registry has under a key against what was built here from it."""
    rebuilt = [image for image in plan.images.all if not image.missing and image.name in layouts]
    signing.check_equal(
        {image.tagged: (image.digest, oci_layout.digest(layouts[image.name])) for image in rebuilt}
    )


def _compare_release(registry: Registry, release: Release) -> None:
    """Hold the release that the registry has, without our signature, against ours."""
    repository = f"{registry.address}/{catalog.REPOSITORY}"
    actual = registry.digest(repository, release.version)
    made = registry.artifact_digest(repository, catalog.artifact(release))
    signing.check_equal({f"{repository}:{release.version}": (actual, made)})


def _sign(
    declaration: Declaration,
    plan: Plan,
    release: Release,
    layouts: Mapping[str, Path],
    bills: Mapping[str, str],
) -> None:
    """Sign all parts of a release, each as made from its key, a bill as made from its image."""
    sources = {**{part.pinned: part.key for part in release.parts}, **bills}
    existing = [
        image.pinned for image in plan.images.all if not image.missing and image.name not in layouts
    ]
    signing.sign(declaration, list(sources), sources=sources, existing=existing)


def _attach_sboms(
    registry: Registry,
    declaration: Declaration,
    release: Release,
    layouts: Mapping[str, Path],
    root: Path,
) -> dict[str, str]:
    """Attach a bill of materials to each image that has none; by the digest of each, the image's.

    With a key to sign with, one that is there is held against what the image's bytes give.
    """
    bills: dict[str, str] = {}
    existing: dict[str, tuple[Image, Path | None]] = {}
    with console.step("bills of materials") as step:
        for name, released in release.images.items():
            folder = layouts.get(name)
            layout = folder if folder and folder.is_dir() else None
            # The version in the image: the same bytes are a candidate first, and a release later.
            version = files.read_version(root / declaration.images[name].context)
            image = Image(name, version, released.repository, released.digest)
            # One look: what somebody attaches after it is neither compared nor signed.
            bill = attached_sboms.reference(registry, image.repository, image.digest)
            if bill:
                existing[bill] = image, layout
            else:
                bill = f"{image.repository}@{attached_sboms.attach(registry, image, layout)}"
            bills[bill] = image.digest
        step.done(f"attached to {', '.join(release.images)}")
    _compare_bills(declaration, registry, existing, root)
    return bills


def _compare_bills(
    declaration: Declaration,
    registry: Registry,
    existing: Mapping[str, tuple[Image, Path | None]],
    root: Path,
) -> None:
    """Hold bills that were attached before, without our signature, against what the images give."""
    sources = {bill: image.digest for bill, (image, _) in existing.items()}
    compared = {}
    for reference in signing.missing_signatures(declaration, sources, root):
        image, layout = existing[reference]
        made = registry.artifact_digest(
            image.repository, attached_sboms.artifact(registry, image, layout)
        )
        compared[f"the bill of materials of {image.repository}"] = (
            reference.partition("@")[2],
            made,
        )
    signing.check_equal(compared)


def _compare_chart(
    registry: Registry, declaration: Declaration, plan: Plan, pushed: Mapping[str, str], root: Path
) -> None:
    """Hold the chart that the registry has, unless our signature names its key, against ours."""
    repository, digest = plan.chart.repository, plan.chart.digest
    if not signing.missing_signatures(
        declaration, {f"{repository}@{digest}": plan.chart.key}, root
    ):
        return
    images = released_images(plan.images, pushed)
    try:
        values = (
            chart_package.read_file(
                chart_package.fetch(registry, repository, digest), "values.yaml"
            )
            or ""
        )
    except DeclarationError:  # somebody put there what is no chart
        values = ""
    for name in declaration.components():
        # A candidate's chart is its release's, in which images have the candidate's tags.
        tag = image_tag(values, name)
        if re.fullmatch(
            rf"{re.escape(images[name].version.partition('-')[0])}(-(dev|rc)\.[0-9]+)?", tag
        ):
            images[name] = replace(images[name], version=tag)
    packed = package_chart(declaration, plan, images, root)
    made = registry.artifact_digest(repository, chart_package.artifact(packed))
    signing.check_equal({f"{repository}:{plan.chart.key}": (digest, made)})


def _push_chart(
    registry: Registry, declaration: Declaration, plan: Plan, pushed: Mapping[str, str], root: Path
) -> str:
    with console.step(f"push {declaration.chart.folder}") as step:
        packed = package_chart(declaration, plan, released_images(plan.images, pushed), root)
        digest = chart_package.push(registry, plan.chart.repository, plan.chart.key, packed)
        step.done(f"{plan.chart.repository}@{digest[:19]}…, read back and equal")
    return digest


def package_chart(
    declaration: Declaration, plan: Plan, images: Mapping[str, ReleasedPart], root: Path
) -> bytes:
    """The chart as it is published, with these images by digest."""
    folder = root / declaration.chart.folder
    named = {
        name: (images[name].repository, images[name].version, images[name].digest)
        for name in declaration.components()
    }
    replaced = {
        "Chart.yaml": with_versions(chart_text(folder, "Chart.yaml"), plan.chart.packaged),
        "values.yaml": with_images(chart_text(folder, "values.yaml"), named),
    }
    return chart_package.package(
        folder, files.chart_files(folder), replaced, epoch=declaration.build.epoch
    )


def chart_text(folder: Path, name: str) -> str:
    """The text of one of the chart's files."""
    try:
        return (folder / name).read_text(encoding="utf-8")
    except OSError as error:
        raise DeclarationError(
            f"package the chart: cannot read {name}: {error.strerror}",
            hint="chart.folder in delivery.toml names a chart",
        ) from error


def _push(
    engine: Engine, registry: Registry, image: PlannedImage, layout: Path, siblings: list[str]
) -> str:
    with console.step(f"push {image.name}") as step:
        if engine.oci_layouts:
            others = [one for one in siblings if one != image.repository]
            digest = registry.push_layout(
                layout, image.repository, image.key, step.line, mount_from=others
            )
        else:
            digest = push_from_engine(engine, registry, image.tagged, step.line)
        step.done(f"{image.repository}@{digest[:19]}…, read back and equal")
    return digest
