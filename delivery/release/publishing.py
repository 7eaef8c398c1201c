"""Publish a release completely or not at all: first content, then version tags, last the release.

Every push is read back. With a signing key, content that anyone may have pushed is made here again
and its digest compared, unless a signature of our key names its sources.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from delivery import console
from delivery.build import materials
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
from delivery.release import (
    attached_sboms,
    attesting,
    catalog,
    chart_package,
    cosign,
    problems,
    provenance,
    signing,
)
from delivery.release.provenance import Builder
from delivery.release.released import Release, ReleasedPart, make_release, released_images
from delivery.release.sbom import Image

__all__ = [
    "Built",
    "Check",
    "chart_text",
    "check_publishable",
    "package_chart",
    "publish",
    "push_images",
    "untrusted",
    "version_tags",
    "write",
]


Check = Callable[[Plan, Release, Mapping[str, Path]], dict[str, str]]
"""Raises an error for a release that must not be published, given the layouts that are here.

Returns what it has attached, to be signed: the digest of the image by the document's reference.
"""


@dataclass(frozen=True)
class Built:
    """What was built here before a push."""

    engine: Engine | None = None
    """The engine that built; None if nothing had to be built."""
    layouts: Mapping[str, Path] = field(default_factory=dict)
    """The OCI layouts of the missing and of the `untrusted` images, by name."""
    check: Check = lambda _plan, _release, _layouts: {}
    """What the release has to pass before it is signed and gets its version tags."""


def push_images(registry: Registry, images: Images, built: Built) -> dict[str, str]:
    """Push every missing image under its content key; their digests by name."""
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
    """The images in the registry that have to be built here before our key signs them.

    None if nothing has to be signed.
    """
    publication = _Publication(registry, declaration, plan, {}, root)
    if publication.is_settled():
        return []
    existing = {image.pinned: image for image in plan.images.all if not image.missing}
    sources = {pinned: image.key for pinned, image in existing.items()}
    unsigned = signing.missing_signatures(declaration, sources, root)
    signed = {pinned: key for pinned, key in sources.items() if pinned not in unsigned}
    unattested = attesting.missing(declaration, signed, root)
    return [image.name for pinned, image in existing.items() if pinned in {*unsigned, *unattested}]


def publish(
    registry: Registry, declaration: Declaration, plan: Plan, built: Built, root: Path = ROOT
) -> Release:
    """Publish the plan's release, and write release.json.

    A failure leaves no new release. A published release is never replaced: the same content is
    kept, whoever published it, and other content is an error.
    """
    check_publishable(plan)
    publication = _Publication(registry, declaration, plan, built.layouts, root)
    publication.compare_images()
    return publication.publish(push_images(registry, plan.images, built), built.check)


def check_publishable(plan: Plan) -> None:
    """Raise DeliveryError if the plan has problems, or its line publishes nothing."""
    if not plan.decision.pushes:
        raise DeclarationError(
            f"cannot publish {plan.decision.ref.name or plan.commit[:12]}: {plan.decision.because}",
            hint="merge it; or run `./run inv images.ensure`, which pushes the images for this "
            "machine's platform and cluster",
        )
    if error := problems.refusal(plan, "publish"):
        raise error


def write(release: Release, root: Path = ROOT) -> Release:
    """Write release.json, which is deployed from now on."""
    files.write_atomically(files.output("release.json", root=root), release.to_json())
    return release


def version_tags(registry: Registry, plan: Plan) -> dict[str, str]:
    """The digest of each version tag of a plan in the registry, or "", by REPOSITORY:TAG."""
    tags = [(part.repository, part.tag) for part in plan.parts if part.tag]
    names = (f"{repository}:{tag}" for repository, tag in tags)
    return dict(zip(names, registry.digests(tags), strict=True))


def package_chart(
    declaration: Declaration, plan: Plan, images: Mapping[str, ReleasedPart], root: Path
) -> bytes:
    """The chart with the planned version, and these images by digest."""
    folder = root / declaration.chart.folder
    components = {
        name: (images[name].repository, images[name].version, images[name].digest)
        for name in declaration.components()
    }
    replaced = {
        "Chart.yaml": with_versions(chart_text(folder, "Chart.yaml"), plan.chart.packaged),
        "values.yaml": with_images(chart_text(folder, "values.yaml"), components),
    }
    epoch = declaration.build.epoch
    return chart_package.package(folder, files.chart_files(folder), replaced, epoch=epoch)


def chart_text(folder: Path, name: str) -> str:
    """The text of a file of the chart."""
    try:
        return (folder / name).read_text(encoding="utf-8")
    except OSError as error:
        raise DeclarationError(
            f"cannot read the chart's {name}: {error.strerror}",
            hint="name the folder of a chart as chart.folder in delivery.toml",
        ) from error


@dataclass(frozen=True)
class _Publication:
    """A plan on its way to a registry."""

    registry: Registry
    declaration: Declaration
    plan: Plan
    layouts: Mapping[str, Path]
    """The OCI layouts of the images that were built here, by name."""
    root: Path

    def publish(self, pushed: Mapping[str, str], check: Check) -> Release:
        """Publish the release, given the digests of the pushed images, if it passes the check."""
        plan = self.plan
        chart = plan.chart.digest or self.push_chart(pushed)
        release = make_release(plan, pushed, chart, builder())
        published = catalog.find(self.registry, plan.version)
        if published:
            problem = problems.conflicting_release(plan, published, release.content)
        else:
            problem = problems.missing_release(self.declaration, plan)
        if problem:
            raise problem.error(f"publish {plan.version}")
        if published:
            if self.is_settled():
                with console.step("publish") as step:
                    step.done(f"release {plan.version} is published already, and the same")
                return write(published, self.root)
            # A signature is for the content, whoever built it first.
            release = replace(release, builder=published.builder)
            self.compare_release(release)
        if signing.has_key() and plan.chart.digest:
            self.compare_chart(pushed)
        images = self.images_by_platform(release)
        sboms = self.attach_sboms(images)
        own = {f"{each.repository}@{each.digest}": key for each, key, _ in images}
        self.sign(release, {**own, **sboms, **check(plan, release, self.layouts)})
        self.attest(release)
        self.put_tags(release)
        if not plan.chart.tag:
            console.say(
                f"no release {plan.version}: {plan.decision.because}, which does not publish the "
                "chart, and a release has the chart's version"
            )
            return release
        with console.step(f"release {plan.version}") as step:
            digest = catalog.push(self.registry, release)
            step.done(f"{self.release_repository}:{plan.version}")
        signing.sign(self.declaration, [f"{self.release_repository}@{digest}"])
        return write(release, self.root)

    @property
    def release_repository(self) -> str:
        """The repository of releases."""
        return f"{self.registry.address}/{catalog.REPOSITORY}"

    def is_settled(self) -> bool:
        """Whether nothing has to be signed: no key, or a release of another line, or a signed one.

        A signed one is settled if its images have provenance.
        """
        if not signing.has_key():
            return True
        digest = self.registry.digest(self.release_repository, self.plan.version)
        if not digest or not self.plan.chart.tag:
            return bool(digest)
        if self.unsigned({f"{self.release_repository}@{digest}": ""}):
            return False
        existing = {image.pinned: image.key for image in self.plan.images.all if image.digest}
        return not attesting.missing(self.declaration, existing, self.root)

    def unsigned(self, sources: Mapping[str, str]) -> list[str]:
        """The references without a signature of our key that names their source."""
        return signing.missing_signatures(self.declaration, sources, self.root)

    def push_chart(self, pushed: Mapping[str, str]) -> str:
        """Package and push the chart; its digest."""
        plan = self.plan
        with console.step(f"push {self.declaration.chart.folder}") as step:
            images = released_images(plan.images, pushed)
            packed = package_chart(self.declaration, plan, images, self.root)
            repository = plan.chart.repository
            digest = chart_package.push(self.registry, repository, plan.chart.key, packed)
            step.done(f"{repository}@{digest[:19]}…, read back")
        return digest

    def put_tags(self, release: Release) -> None:
        """Put every version tag; if any has other content, none is put."""
        digests = {part.repository: part.digest for part in release.parts}
        with console.step("version tags") as step:
            existing = version_tags(self.registry, self.plan)
            if problem := problems.conflicting_tags(self.plan, existing, digests):
                raise problem.error(f"publish {self.plan.version}")
            new = [reference.rpartition("/")[2] for reference, held in existing.items() if not held]
            for part in self.plan.parts:
                if part.tag:
                    self.registry.put_tag(part.repository, part.tag, digests[part.repository])
            step.done(f"{', '.join(new)} put" if new else "all exist")

    def sign(self, release: Release, sboms: Mapping[str, str]) -> None:
        """Sign all parts of a release, with their content keys, and SBOMs, with their images."""
        if not signing.has_key():
            console.say(f"sign: {cosign.KEY} is not set, so nothing is signed")
        sources = {**{part.pinned: part.key for part in release.parts}, **sboms}
        existing = [
            image.pinned
            for image in self.plan.images.all
            if not image.missing and image.name not in self.layouts
        ]
        signing.sign(self.declaration, list(sources), sources=sources, existing=existing)

    def attest(self, release: Release) -> None:
        """Attach provenance to the images that were built here; all others have it."""
        built = {
            release.images[image.name].pinned: image
            for image in self.plan.images.all
            if image.name in self.layouts
        }
        ours = {name: part.digest for name, part in release.images.items()}

        def predicate(reference: str, by: Builder) -> str:
            image = built[reference]
            made_from = materials.load(self.declaration, image, ours, self.root)
            return provenance.render(self.plan, image, made_from, by, builder())

        keys = {reference: image.key for reference, image in built.items()}
        attesting.attest(self.declaration, keys, predicate, self.root)

    def images_by_platform(self, release: Release) -> list[tuple[Image, str, Path | None]]:
        """The image of each platform, with its content key, and its layout if it is here."""
        images = list[tuple[Image, str, Path | None]]()
        for planned in self.plan.images.all:
            name, part = planned.name, release.images[planned.name]
            folder = self.layouts.get(name)
            layout = folder if folder and folder.is_dir() else None
            # The version in the image: the same image is a candidate first, then a release.
            version = files.read_version(self.root / self.declaration.images[name].context)
            image = Image(name, version, part.repository, part.digest)
            if planned.is_index:
                by_platform = attached_sboms.by_platform(self.registry, image, layout)
                images += [
                    (of_platform, planned.platforms.get(platform, planned.key), layout)
                    for platform, of_platform in by_platform.items()
                ]
            else:
                images.append((image, planned.key, layout))
        return images

    def attach_sboms(self, images: Sequence[tuple[Image, str, Path | None]]) -> dict[str, str]:
        """Attach an SBOM to each image that has none; the digest of the image by its SBOM.

        With a signing key, an existing SBOM is compared with what the image gives.
        """
        sboms: dict[str, str] = {}
        existing: dict[str, tuple[Image, Path | None]] = {}
        with console.step("SBOMs") as step:
            for image, _, layout in images:
                # Asked once: an SBOM that is attached later is neither compared nor signed.
                sbom = attached_sboms.reference(self.registry, image.repository, image.digest)
                if sbom:
                    existing[sbom] = image, layout
                else:
                    digest = attached_sboms.attach(self.registry, image, layout)
                    sbom = f"{image.repository}@{digest}"
                sboms[sbom] = image.digest
            step.done(f"attached to {', '.join(dict.fromkeys(each.name for each, *_ in images))}")
        self.compare_sboms(existing)
        return sboms

    def compare_images(self) -> None:
        """Compare images of the registry with those that were built here from the same sources."""
        signing.check_equal(
            {
                image.tagged: (image.digest, oci_layout.digest(self.layouts[image.name]))
                for image in self.plan.images.all
                if not image.missing and image.name in self.layouts
            }
        )

    def compare_release(self, release: Release) -> None:
        """Compare the unsigned release of the registry with ours."""
        actual = self.registry.digest(self.release_repository, release.version)
        artifact = catalog.artifact(release)
        made = self.registry.artifact_digest(self.release_repository, artifact)
        signing.check_equal({f"{self.release_repository}:{release.version}": (actual, made)})

    def compare_sboms(self, existing: Mapping[str, tuple[Image, Path | None]]) -> None:
        """Compare unsigned SBOMs of the registry with ours."""
        compared = {}
        for sbom in self.unsigned({sbom: image.digest for sbom, (image, _) in existing.items()}):
            image, layout = existing[sbom]
            artifact = attached_sboms.artifact(self.registry, image, layout)
            made = self.registry.artifact_digest(image.repository, artifact)
            compared[f"the SBOM of {image.repository}"] = (sbom.partition("@")[2], made)
        signing.check_equal(compared)

    def compare_chart(self, pushed: Mapping[str, str]) -> None:
        """Compare the chart of the registry with ours, unless a signature names its key."""
        chart = self.plan.chart
        if not self.unsigned({f"{chart.repository}@{chart.digest}": chart.key}):
            return
        images = released_images(self.plan.images, pushed)
        try:
            packed = chart_package.fetch(self.registry, chart.repository, chart.digest)
            values = chart_package.read_file(packed, "values.yaml") or ""
        except DeclarationError:  # not a chart
            values = ""
        for name in self.declaration.components():
            # The chart of a release is that of its candidate, with the tags of the candidate.
            tag = image_tag(values, name)
            release = re.escape(images[name].version.partition("-")[0])
            if re.fullmatch(rf"{release}(-(dev|rc)\.[0-9]+)?", tag):
                images[name] = replace(images[name], version=tag)
        packed = package_chart(self.declaration, self.plan, images, self.root)
        made = self.registry.artifact_digest(chart.repository, chart_package.artifact(packed))
        signing.check_equal({f"{chart.repository}:{chart.key}": (chart.digest, made)})


def _push(
    engine: Engine, registry: Registry, image: PlannedImage, layout: Path, siblings: list[str]
) -> str:
    with console.step(f"push {image.name}") as step:
        if engine.oci_layouts:
            digest = registry.push_layout(
                layout, image.repository, image.key, step.line, mount_from=siblings
            )
            if image.is_index:
                _put_platform_keys(registry, image, layout)
        else:
            digest = push_from_engine(engine, registry, image.tagged, step.line)
        step.done(f"{image.repository}@{digest[:19]}…, read back")
    return digest


def _put_platform_keys(registry: Registry, image: PlannedImage, layout: Path) -> None:
    """Let `inv up` find the images of an index, each under the content key of its platform."""
    for platform, digest in oci_layout.read(layout).platforms.items():
        key = image.platforms[platform]
        if not registry.digest(image.repository, key):
            registry.put_tag(image.repository, key, digest)
