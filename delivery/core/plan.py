"""The plan: which images there are, under which keys, and what is left to do for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from delivery.core.declaration import Declaration

__all__ = ["Plan", "PlannedImage", "make_plan"]


@dataclass(frozen=True)
class PlannedImage:
    """One image of ours as the plan sees it.

    repository is the name to push to, key the content key, base the name of the image below; digest is what the registry
    holds under the key ("sha256:…"), or empty when it has to be built.
    """

    name: str
    repository: str
    key: str
    base: str
    digest: str

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
class Plan:
    """Every image of ours, each after the image it stands on."""

    images: tuple[PlannedImage, ...]

    @property
    def missing(self) -> tuple[PlannedImage, ...]:
        """The images that are to be built and pushed."""
        return tuple(image for image in self.images if image.missing)

    @property
    def bases(self) -> tuple[PlannedImage, ...]:
        """The images that the registry holds and a missing one stands on."""
        needed = {image.base for image in self.missing}
        return tuple(image for image in self.images if image.name in needed and not image.missing)

    def rows(self) -> list[tuple[str, str, str]]:
        """Name, key and what is to be done, a row an image."""
        return [
            (image.name, image.key, "build and push" if image.missing else "in the registry") for image in self.images
        ]

    def as_json(self) -> list[dict[str, str]]:
        """The plan for a machine to read."""
        return [asdict(image) for image in self.images]


def make_plan(declaration: Declaration, keys: Mapping[str, str], held: Mapping[str, str]) -> Plan:
    """The plan for these keys (name → key), given what the registry holds of them (name → digest)."""
    return Plan(
        tuple(
            PlannedImage(
                name=name,
                repository=f"{declaration.registry.address}/{name}",
                key=keys[name],
                base=declaration.images[name].base,
                digest=held.get(name, ""),
            )
            for name in declaration.parents_first()
        )
    )
