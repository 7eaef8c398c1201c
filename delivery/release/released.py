"""The release: which image and which chart are which bytes, as the one thing that every environment deploys."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from pydantic import ConfigDict, TypeAdapter, ValidationError

from delivery.build.plan import Images, Plan
from delivery.errors import DeclarationError, validation_message

__all__ = [
    "Release",
    "ReleasedPart",
    "make_release",
    "read_release",
    "released_images",
]

_CLOSED = ConfigDict(extra="forbid")  # an unknown key is a mistake
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class ReleasedPart:
    """An image in a registry: repository, content key, the digest of its manifest ("sha256:…"), and its version."""

    __pydantic_config__ = _CLOSED

    repository: str
    key: str
    digest: str
    version: str = ""

    @property
    def pinned(self) -> str:
        """The reference that always means these bytes."""
        return f"{self.repository}@{self.digest}"


@dataclass(frozen=True)
class Release:
    """What one build published, by name, with the chart that runs it; where it came from: commit, branch, builder.

    version is the chart's, since everything else's new version gives it one too. Images alone, without a version and a chart, are
    what a clone runs for itself (`inv up`).
    """

    __pydantic_config__ = _CLOSED

    images: Mapping[str, ReleasedPart]
    version: str = ""
    chart: ReleasedPart | None = None
    line: str = ""
    branch: str = ""
    commit: str = ""
    builder: str = ""

    def to_json(self) -> str:
        """The text of release.json."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @property
    def parts(self) -> list[ReleasedPart]:
        """Every image, and the chart if there is one."""
        return [*self.images.values(), *([self.chart] if self.chart else ())]

    @property
    def pins(self) -> list[str]:
        """The images and the chart by digest."""
        return [part.pinned for part in self.parts]

    @property
    def content(self) -> dict[str, tuple[str, str, str]]:
        """What it is, apart from who made it when: (version, key, digest) of each image and of the chart, by name."""
        parts: dict[str, ReleasedPart] = {
            **self.images,
            **({"chart": self.chart} if self.chart else {}),
        }
        return {name: (part.version, part.key, part.digest) for name, part in parts.items()}


def read_release(text: str, *, file: str) -> Release:
    """Read release.json; raise DeclarationError when it is not one."""
    try:
        release = TypeAdapter(Release).validate_json(text, strict=True)
    except ValidationError as error:
        raise _no_release(file, f"it is not a release ({validation_message(error)})") from error
    if wrong := [
        name for name, (_, _, digest) in release.content.items() if not _DIGEST.fullmatch(digest)
    ]:
        raise _no_release(file, f"{', '.join(wrong)}: the digest is not sha256:<64 hex digits>")
    return release


def _no_release(file: str, what: str) -> DeclarationError:
    return DeclarationError(f"read {file}: {what}", hint="`./run inv build push` writes it anew")


def released_images(images: Images, pushed: Mapping[str, str]) -> dict[str, ReleasedPart]:
    """The images by name, once every missing one is pushed (name → digest)."""
    return {
        image.name: ReleasedPart(
            image.repository, image.key, image.digest or pushed[image.name], image.version
        )
        for image in images.all
    }


def make_release(plan: Plan, pushed: Mapping[str, str], chart: str, builder: str) -> Release:
    """The release of a plan, once every missing image (name → digest) and the chart (its digest) are pushed."""
    return Release(
        images=released_images(plan.images, pushed),
        version=plan.version,
        chart=ReleasedPart(plan.chart.repository, plan.chart.key, chart, plan.chart.version),
        line=plan.decision.line.value,
        branch=plan.decision.ref.name,
        commit=plan.commit,
        builder=builder,
    )
