"""Content keys: what an image or a packaged chart is made of, as one name that is known before any build."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

__all__ = ["File", "chart_key", "image_key"]

_TAG_LENGTH = 32  # hex digits: 128 bits, and short enough to read in a table


@dataclass(frozen=True, order=True)
class File:
    """A file of a build context: path relative to it with forward slashes, mode, and SHA-256 of its bytes (hex).

    mode is "644", "755" or "link": what a build can see and git keeps, so that an umask changes nothing.
    """

    path: str
    mode: str
    digest: str


def image_key(
    files: Iterable[File],
    *,
    arguments: Mapping[str, str],
    platform: str,
    base: str,
    contexts: Mapping[str, Iterable[File]] | None = None,
) -> str:
    """The key of an image: a hex name over everything that goes into it.

    base is the key of the image below, or the pinned reference of an upstream image. contexts are
    the files of further build contexts, by name. Order, time, place and ignored files change nothing.
    """
    content = {
        "arguments": dict(arguments),
        "base": base,
        "files": _listed(files),
        "platform": platform,
    }
    if contexts:  # an image without any keeps the key that it had before there were contexts
        content["contexts"] = {name: _listed(files) for name, files in contexts.items()}
    return _key(content)


def chart_key(files: Iterable[File], *, version: str, images: Mapping[str, str], epoch: int) -> str:
    """The key of a packaged chart: its files, the version that it says, and the images that it names (name → reference)."""
    return _key(
        {"epoch": epoch, "files": _listed(files), "images": dict(images), "version": version}
    )


def _listed(files: Iterable[File]) -> list[list[str]]:
    return [[file.path, file.mode, file.digest] for file in sorted(files)]


def _key(content: Mapping[str, object]) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:_TAG_LENGTH]
