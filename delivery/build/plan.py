"""The plan: images and chart, their keys and versions, what to build, and where to deploy."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from shlex import quote

from pydantic import ConfigDict, GetCoreSchemaHandler, TypeAdapter, ValidationError
from pydantic_core import CoreSchema, core_schema

from delivery.errors import DeclarationError, Problem, validation_message
from delivery.project.declaration import Declaration
from delivery.project.gitflow import Decision
from delivery.project.versions import Checkout, Version, published_subprojects

__all__ = [
    "Images",
    "Plan",
    "PlannedChart",
    "PlannedImage",
    "differences",
    "hint_for_new_plan",
    "make_images",
    "make_plan",
    "read_plan",
]


@dataclass(frozen=True)
class PlannedImage:
    """An image of ours in a plan."""

    name: str
    repository: str
    key: str
    """The content key."""
    base: str
    """The name of the image that it is built on."""
    digest: str
    """The digest under the content key in the registry, or "" if it has to be built."""
    version: str = ""
    """The version that this line publishes it as."""
    tag: str = ""
    """That version if it is put as a tag; "" if it was published before, or is not published."""
    platforms: Mapping[str, str] = field(default_factory=dict)
    """The content key of each declared platform's image; empty for this machine's platform."""

    @property
    def missing(self) -> bool:
        """Whether the image has to be built and pushed."""
        return not self.digest

    @property
    def pinned(self) -> str:
        """The reference by digest, for an image in the registry."""
        return f"{self.repository}@{self.digest}"

    @property
    def tagged(self) -> str:
        """The reference by content key."""
        return f"{self.repository}:{self.key}"

    @property
    def is_index(self) -> bool:
        """Whether it is an index of the images of several platforms."""
        return len(self.platforms) > 1

    @property
    def build_name(self) -> str:
        """The name of its builds here: those for declared platforms stand beside `inv up`'s."""
        return f"{self.name}_platforms" if self.platforms else self.name


@dataclass(frozen=True)
class PlannedChart:
    """The chart in a plan."""

    repository: str
    key: str
    digest: str
    version: str
    """The version that this line publishes it as."""
    tag: str
    packaged: str
    """The version in the package, see `packaged_version`."""


@dataclass(frozen=True)
class Images:
    """All our images, each after the image that it is built on."""

    all: tuple[PlannedImage, ...]

    @classmethod
    def __get_pydantic_core_schema__(
        cls, _source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """In JSON they are a list."""
        return core_schema.no_info_after_validator_function(cls, handler(tuple[PlannedImage, ...]))

    @property
    def missing(self) -> tuple[PlannedImage, ...]:
        """The images that have to be built and pushed."""
        return tuple(image for image in self.all if image.missing)

    @property
    def bases(self) -> tuple[PlannedImage, ...]:
        """The images in the registry that a missing image is built on."""
        needed = {image.base for image in self.missing}
        return tuple(image for image in self.all if image.name in needed and not image.missing)

    def rebuilt(self, names: Collection[str]) -> Images:
        """The same images, of which those with these names are missing, to be built again."""
        return Images(
            tuple(replace(image, digest="") if image.name in names else image for image in self.all)
        )


@dataclass(frozen=True)
class Plan:
    """What a run will build, push, tag and deploy for a commit."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # for its fields too

    commit: str
    decision: Decision
    versions: tuple[Version, ...]
    images: Images
    chart: PlannedChart
    problems: tuple[Problem, ...] = ()
    """A plan with problems is neither built nor published."""
    notes: tuple[str, ...] = ()
    """Remarks for people."""
    unchecked: tuple[str, ...] = ()
    """What could not be checked for problems, and why."""

    @property
    def parts(self) -> list[PlannedImage | PlannedChart]:
        """Every image, and the chart."""
        return [*self.images.all, self.chart]

    @property
    def version(self) -> str:
        """The version of the release: the chart's, which changes with any other."""
        return self.chart.version

    def tables(self) -> list[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
        """The plan for people, as (title, columns, rows): versions, then images and chart."""
        pushes = self.decision.pushes
        versions: list[tuple[str, ...]] = []
        for version in self.versions:
            new = version.published if pushes else version.next
            versions.append((version.subproject, version.last or "none", new, version.because))
        parts: list[tuple[str, ...]] = [
            (part.repository.rpartition("/")[2], part.key, self._action(part), part.tag or "none")
            for part in self.parts
        ]
        columns = ("subproject", "last", "new" if pushes else "would be next", "because")
        return [
            ("versions", columns, versions),
            ("images and chart", ("repository", "content key", "to do", "new version tag"), parts),
        ]

    def sentences(self) -> list[str]:
        """The line, the release, the environment and the gates, in sentences for people."""
        decision, environment = self.decision, self.decision.environment
        published = f"published as {self.version}" if decision.pushes else "not published"
        if decision.pushes_images and not decision.pushes:
            published = "images pushed by content key"
        deployed = f"deployed to {environment}" if environment else "not deployed"
        platforms = dict.fromkeys(name for image in self.images.all for name in image.platforms)
        return [
            f"{decision.line} line: {decision.because}",
            f"{published}, {deployed}; gates: {', '.join(decision.gates)}",
            *([f"images for {', '.join(platforms)}"] if platforms else ()),
        ]

    def to_json(self) -> str:
        """The plan as JSON, for programs and for --plan."""
        document = asdict(self)
        document["images"] = document["images"]["all"]
        return json.dumps(document, indent=2) + "\n"

    def _action(self, part: PlannedImage | PlannedChart) -> str:
        if part.digest:
            return "in the registry"
        if isinstance(part, PlannedChart):
            return "package and push" if self.decision.pushes else "nothing"
        return "build and push" if self.decision.pushes_images else "build"


def make_images(
    declaration: Declaration,
    keys: Mapping[str, str],
    digests: Mapping[str, str],
    checkout: Checkout | None = None,
    platforms: Mapping[str, Mapping[str, str]] | None = None,
) -> Images:
    """The images with these keys, and the digests that the registry holds under them, by name.

    Without a checkout they are current images, without a version and a tag. platforms: the keys of
    each image by platform; none for images of this machine's platform.
    """

    def planned(name: str) -> PlannedImage:
        image = declaration.images[name]
        version = checkout.versions[declaration.subproject_of(image.context)] if checkout else None
        return PlannedImage(
            name=name,
            repository=f"{declaration.registry.address}/{name}",
            key=keys[name],
            base=image.base,
            digest=digests.get(name, ""),
            version=version.published if version else "",
            tag=_tag(checkout, version) if checkout and version else "",
            platforms=(platforms or {}).get(name, {}),
        )

    return Images(tuple(planned(name) for name in declaration.images_in_order()))


def make_plan(
    checkout: Checkout,
    images: Images,
    chart: tuple[str, str],
    problems: Sequence[Problem] = (),
    notes: Sequence[str] = (),
) -> Plan:
    """The plan of a checkout; chart is (key, the digest that the registry holds or "")."""
    declaration = checkout.declaration
    folder = declaration.chart.folder
    version = checkout.versions[declaration.subproject_of(folder)]
    key, digest = chart
    return Plan(
        commit=checkout.facts.commit,
        decision=checkout.decision,
        versions=tuple(checkout.versions.values()),
        images=images,
        chart=PlannedChart(
            repository=f"{declaration.registry.address}/{folder}",
            key=key,
            digest=digest,
            version=version.published,
            tag=_tag(checkout, version),
            packaged=packaged_version(version),
        ),
        problems=tuple(problems),
        notes=tuple(notes),
    )


def packaged_version(version: Version) -> str:
    """The version in a packaged chart.

    That in its files once they are prepared, so that a candidate and its release are the same
    bytes; else the version that this line publishes.
    """
    return version.written if version.written == version.next else version.published


def _tag(checkout: Checkout, version: Version) -> str:
    """The version tag to put, or "".

    The release line puts every tag, since a registry may be new; other lines only changed versions.
    A Git tag publishes its own subproject, and those that it is built on.
    """
    decision = checkout.decision
    if version.subproject not in published_subprojects(checkout.declaration, decision):
        return ""
    puts = decision.pushes and (version.changed or decision.rules.releases)
    return version.published if puts else ""


def hint_for_new_plan(file: str) -> str:
    """The hint for a plan that cannot be followed."""
    return f"write a new plan by `./run inv plan --file {quote(file)}`"


def read_plan(text: str, *, file: str) -> Plan:
    """The plan that `inv plan --file FILE` wrote; DeclarationError with every mistake in it."""
    try:
        return TypeAdapter(Plan).validate_json(text, strict=True)
    except ValidationError as error:
        raise DeclarationError(
            f"cannot read the plan {file}: it is invalid ({validation_message(error)})",
            hint=hint_for_new_plan(file),
        ) from error


def differences(earlier: Plan, current: Plan) -> list[str]:
    """The differences between an earlier plan and the current plan, a line each.

    New content of the registry is no difference, but other content under the same key is.
    """
    fields = (
        ("commit", earlier.commit, current.commit),
        ("line", earlier.decision.line.value, current.decision.line.value),
        ("environment", earlier.decision.environment, current.decision.environment),
        ("gates", ", ".join(earlier.decision.gates), ", ".join(current.decision.gates)),
        ("release", earlier.version, current.version),
    )
    lines = [_difference(name, old, new) for name, old, new in fields if old != new]
    parts = {part.repository: part for part in current.parts}
    for old_part in earlier.parts:
        repository = old_part.repository
        part = parts.pop(repository, None)
        if part is None:
            lines.append(f"{repository}: was planned, is not any more")
            continue
        for name in ("key", "version", "tag"):
            old, new = getattr(old_part, name), getattr(part, name)
            if old != new:
                noun = "content key" if name == "key" else name
                lines.append(_difference(f"{repository}: {noun}", old, new))
        if old_part.digest and part.digest and old_part.digest != part.digest:
            lines.append(
                f"{repository}: the registry held {old_part.digest}, and holds {part.digest} now"
            )
    return lines + [f"{repository}: is planned now, was not" for repository in parts]


def _difference(name: str, old: str, new: str) -> str:
    return f"{name} planned as {old or 'nothing'}, now {new or 'nothing'}"
