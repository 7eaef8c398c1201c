"""The plan: which images there are, under which keys and versions, what is left to do for each, and where it all goes."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

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
    "make_images",
    "make_plan",
    "read_plan",
]


@dataclass(frozen=True)
class PlannedImage:
    """One image of ours as the plan sees it.

    repository is the name to push to, key the content key, base the name of the image below; digest is what the registry
    holds under the key ("sha256:…"), or empty when it has to be built. version is what this line publishes it as, and tag that
    version where it is put as a tag: "" where it was published before, or this line publishes nothing.
    """

    name: str
    repository: str
    key: str
    base: str
    digest: str
    version: str = ""
    tag: str = ""

    @property
    def missing(self) -> bool:
        """Whether the image has to be built and pushed."""
        return not self.digest

    @property
    def pinned(self) -> str:
        """The reference by digest, once there is one."""
        return f"{self.repository}@{self.digest}"

    @property
    def tagged(self) -> str:
        """The reference by key."""
        return f"{self.repository}:{self.key}"


@dataclass(frozen=True)
class PlannedChart:
    """The chart as the plan sees it; version is what this line publishes it as, written what its files say.

    The package says `packaged`: what its files say where they are prepared for a release, so that a candidate and its release
    are the same bytes; else the version that it is published as.
    """

    repository: str
    key: str
    digest: str
    version: str
    tag: str
    packaged: str


@dataclass(frozen=True)
class Images:
    """Every image of ours, each after the image it stands on."""

    all: tuple[PlannedImage, ...]

    @classmethod
    def __get_pydantic_core_schema__(
        cls, _source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """A plan's document has them as a list."""
        return core_schema.no_info_after_validator_function(cls, handler(tuple[PlannedImage, ...]))

    @property
    def missing(self) -> tuple[PlannedImage, ...]:
        """The images that are to be built and pushed."""
        return tuple(image for image in self.all if image.missing)

    @property
    def bases(self) -> tuple[PlannedImage, ...]:
        """The images that the registry holds and a missing one stands on."""
        needed = {image.base for image in self.missing}
        return tuple(image for image in self.all if image.name in needed and not image.missing)

    def without(self, names: Collection[str]) -> Images:
        """The same, as if the registry did not hold these: they are built again."""
        return Images(
            tuple(replace(image, digest="") if image.name in names else image for image in self.all)
        )


@dataclass(frozen=True)
class Plan:
    """What is to happen to a commit: its versions, images and chart, where they go, and what stands before that.

    problems keep it from being built and published, unchecked is what could not be looked for; notes are for people.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")  # all the way down

    commit: str
    decision: Decision
    versions: tuple[Version, ...]
    images: Images
    chart: PlannedChart
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()

    @property
    def parts(self) -> list[PlannedImage | PlannedChart]:
        """Every image, and the chart."""
        return [*self.images.all, self.chart]

    @property
    def version(self) -> str:
        """The release's version: the chart's, since everything else's new version gives it one too."""
        return self.chart.version

    def tables(self) -> list[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
        """The plan for people: (title, columns, rows) of what is versioned, and of what is built and pushed."""
        pushes = self.decision.pushes
        versions = [
            (one.subproject, one.last or "none", one.published if pushes else one.next, one.because)
            for one in self.versions
        ]
        rows = [
            (
                part.repository.rpartition("/")[2],
                part.key,
                self._to_do(part),
                part.tag or "no new one",
            )
            for part in self.parts
        ]
        return [
            (
                "versions",
                ("subproject", "last", "now" if pushes else "would be next", "because"),
                list(versions),
            ),
            ("images and chart", ("repository", "key", "to do", "version tag"), list(rows)),
        ]

    def sentences(self) -> list[str]:
        """What else there is to say: the line, where it goes and what stands before that."""
        where = (
            f"deployed to {self.decision.environment}"
            if self.decision.environment
            else "deployed nowhere"
        )
        pushes = (
            f"published as release {self.version}"
            if self.decision.pushes
            else "this line publishes nothing"
        )
        return [
            f"{self.decision.line} line: {self.decision.because}",
            f"{pushes}, {where}; gates: {', '.join(self.decision.gates)}",
        ]

    def to_json(self) -> str:
        """The plan for a machine to read, and for --plan."""
        told = asdict(self)
        told["images"] = told["images"]["all"]
        return json.dumps(told, indent=2) + "\n"

    def _to_do(self, part: PlannedImage | PlannedChart) -> str:
        if part.digest:
            return "in the registry"
        if isinstance(part, PlannedChart):
            return "package and push" if self.decision.pushes else "nothing"
        return "build and push" if self.decision.pushes else "build"


def make_images(
    declaration: Declaration,
    keys: Mapping[str, str],
    held: Mapping[str, str],
    checkout: Checkout | None = None,
) -> Images:
    """The images under these keys (name → key), given what the registry holds of them (name → digest).

    Without a checkout they are what a clone runs for itself, and get no version and no tag.
    """

    def planned(name: str) -> PlannedImage:
        image = declaration.images[name]
        version = checkout.versions[declaration.subproject_of(image.context)] if checkout else None
        return PlannedImage(
            name=name,
            repository=f"{declaration.registry.address}/{name}",
            key=keys[name],
            base=image.base,
            digest=held.get(name, ""),
            version=version.published if version else "",
            tag=_tag(checkout, version) if checkout and version else "",
        )

    return Images(tuple(planned(name) for name in declaration.images_in_order()))


def make_plan(
    checkout: Checkout,
    images: Images,
    chart: tuple[str, str],
    problems: Sequence[Problem] = (),
    notes: Sequence[str] = (),
) -> Plan:
    """The plan of what is checked out; chart is (key, digest that the registry holds or "")."""
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
            packaged=packaged(version),
        ),
        problems=tuple(problems),
        notes=tuple(notes),
    )


def packaged(version: Version) -> str:
    """The version that a packaged chart says it is."""
    return version.written if version.written == version.next else version.published


def _tag(checkout: Checkout, version: Version) -> str:
    """The version tag to put: a release's always, since a registry may be new; another line's only for what it changes.

    A git tag is of one subproject: others that it is not made from get no version tag by it.
    """
    decision = checkout.decision
    if version.subproject not in published_subprojects(checkout.declaration, decision):
        return ""
    puts = decision.pushes and (version.changed or decision.rules.releases)
    return version.published if puts else ""


def read_plan(text: str, *, file: str) -> Plan:
    """Read what `inv plan --file FILE` wrote; DeclarationError, with every mistake, for what is no plan."""
    try:
        return TypeAdapter(Plan).validate_json(text, strict=True)
    except ValidationError as error:
        raise DeclarationError(
            f"read the plan {file}: it is none ({validation_message(error)})",
            hint="`./run inv plan --file plan.json` writes one",
        ) from error


def differences(told: Plan, found: Plan) -> list[str]:
    """What of a plan that was made before is no longer so, in a line each; none: it still holds.

    What the registry has got since is no difference; what it holds under the same key as other bytes is one.
    """
    lines = [
        f"{what}: {before or 'nothing'} was planned, it is {now or 'nothing'} now"
        for what, before, now in (
            ("commit", told.commit, found.commit),
            ("line", told.decision.line.value, found.decision.line.value),
            ("environment", told.decision.environment, found.decision.environment),
            ("gates", ", ".join(told.decision.gates), ", ".join(found.decision.gates)),
            ("release", told.version, found.version),
        )
        if before != now
    ]
    there = {part.repository: part for part in found.parts}
    for part in told.parts:
        now = there.pop(part.repository, None)
        if now is None:
            lines.append(f"{part.repository}: was planned, is not known now")
            continue
        lines += [
            f"{part.repository}: the {field} {getattr(part, field) or 'nothing'} was planned, it is {getattr(now, field)} now"
            for field in ("key", "version", "tag")
            if getattr(part, field) != getattr(now, field)
        ]
        if part.digest and now.digest and part.digest != now.digest:
            lines.append(
                f"{part.repository}: the registry held {part.digest}, it holds {now.digest} now"
            )
    return lines + [f"{repository}: is planned now, was not" for repository in there]
