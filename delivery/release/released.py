"""A release: the digests of the images and the chart that every environment deploys."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from pydantic import ConfigDict, TypeAdapter, ValidationError

from delivery.build.plan import Images, Plan
from delivery.errors import DeclarationError, validation_message

__all__ = ["Release", "ReleasedPart", "make_release", "read_release", "released_images"]

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class ReleasedPart:
    """An image or the chart in a registry."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    repository: str
    key: str
    """The content key."""
    digest: str
    version: str = ""

    @property
    def pinned(self) -> str:
        """The reference by digest."""
        return f"{self.repository}@{self.digest}"


@dataclass(frozen=True)
class Release:
    """What was published under a version, and its origin.

    Images alone, without a version and a chart, are the current images of a clone (`inv up`).
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    images: Mapping[str, ReleasedPart]
    """By name."""
    version: str = ""
    """The chart's version, which changes with any other."""
    chart: ReleasedPart | None = None
    line: str = ""
    branch: str = ""
    commit: str = ""
    builder: str = ""
    """USER@HOST or the CI server's build."""

    def to_json(self) -> str:
        """The text of release.json."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @property
    def parts(self) -> list[ReleasedPart]:
        """Its images, and its chart if it has any."""
        return [*self.images.values(), *([self.chart] if self.chart else ())]

    @property
    def content(self) -> dict[str, tuple[str, str, str]]:
        """Its content without its origin: (version, key, digest) of each part, by name."""
        parts = {**self.images, **({"chart": self.chart} if self.chart else {})}
        return {name: (part.version, part.key, part.digest) for name, part in parts.items()}


def read_release(text: str, *, file: str) -> Release:
    """The release of a release.json; DeclarationError if it is invalid."""
    try:
        release = TypeAdapter(Release).validate_json(text, strict=True)
    except ValidationError as error:
        raise _invalid(file, f"it is not a release ({validation_message(error)})") from error
    digests = {name: digest for name, (_, _, digest) in release.content.items()}
    if wrong := [name for name, digest in digests.items() if not _DIGEST.fullmatch(digest)]:
        raise _invalid(file, f"{', '.join(wrong)}: the digest is not sha256:<64 hex digits>")
    return release


def _invalid(file: str, reason: str) -> DeclarationError:
    return DeclarationError(
        f"cannot read {file}: {reason}", hint="write it again by `./run inv build push`"
    )


def released_images(images: Images, pushed: Mapping[str, str]) -> dict[str, ReleasedPart]:
    """The images by name, given the digests of those that were pushed."""
    return {
        image.name: ReleasedPart(
            image.repository, image.key, image.digest or pushed[image.name], image.version
        )
        for image in images.all
    }


def make_release(plan: Plan, pushed: Mapping[str, str], chart: str, builder: str) -> Release:
    """The release of a plan, given the digests of the pushed images and of the chart."""
    return Release(
        images=released_images(plan.images, pushed),
        version=plan.version,
        chart=ReleasedPart(plan.chart.repository, plan.chart.key, chart, plan.chart.version),
        line=plan.decision.line.value,
        branch=plan.decision.ref.name,
        commit=plan.commit,
        builder=builder,
    )
