"""The release: which image is which bytes, as the one thing that every environment deploys."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from delivery.core.errors import DeclarationError
from delivery.core.plan import Plan

__all__ = ["Release", "ReleasedImage", "make_release", "read_release"]

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class ReleasedImage:
    """An image in a registry: repository, content key, and the digest of its manifest ("sha256:…")."""

    repository: str
    key: str
    digest: str

    @property
    def pinned(self) -> str:
        """The reference that always means these bytes."""
        return f"{self.repository}@{self.digest}"


@dataclass(frozen=True)
class Release:
    """The images of one build by name."""

    images: Mapping[str, ReleasedImage]

    def to_json(self) -> str:
        """The text of release.json."""
        return json.dumps({"images": {name: asdict(image) for name, image in self.images.items()}}, indent=2) + "\n"


def make_release(plan: Plan, pushed: Mapping[str, str]) -> Release:
    """The release of a plan, once every missing image is pushed (name → digest)."""
    return Release(
        {
            image.name: ReleasedImage(image.repository, image.key, image.digest or pushed[image.name])
            for image in plan.images
        }
    )


def read_release(text: str, *, file: str) -> Release:
    """Read release.json; raise DeclarationError when it is not one."""
    try:
        images = {name: ReleasedImage(**image) for name, image in json.loads(text)["images"].items()}
        wrong = [name for name, image in images.items() if not _DIGEST.fullmatch(image.digest)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _no_release(file, f"it is not a release ({type(error).__name__}: {error})") from error
    if wrong:
        raise _no_release(file, f"{', '.join(wrong)}: the digest is not sha256:<64 hex digits>")
    return Release(images)


def _no_release(file: str, what: str) -> DeclarationError:
    return DeclarationError(f"read {file}: {what}", hint="`./run inv build push` writes it anew")
