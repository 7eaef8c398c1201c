"""Content keys: the name of an image or a packaged chart, known before it is built."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass

__all__ = ["File", "chart_key", "image_key", "index_key"]

_TAG_LENGTH = 32  # hex digits: 128 bits, and short enough for a table


@dataclass(frozen=True, order=True)
class File:
    """A file of a build context."""

    path: str  # relative to the context, with forward slashes
    mode: str  # "644", "755" or "link": git keeps no more, so that an umask changes nothing
    digest: str  # SHA-256 of its bytes, in hex


def image_key(
    files: Iterable[File],
    *,
    arguments: Mapping[str, str],
    platform: str,
    base: str,
    contexts: Mapping[str, Iterable[File]] | None = None,
) -> str:
    """The content key of an image: a hash of everything that goes into it.

    base is the key of the base, or the pinned reference of an upstream image. contexts are the
    files of further build contexts, by name.
    """
    content = {
        "arguments": dict(arguments),
        "base": base,
        "files": _listed(files),
        "platform": platform,
    }
    if contexts:  # without any, the key is the same as in versions that had no contexts
        content["contexts"] = {name: _listed(files) for name, files in contexts.items()}
    return _key(content)


def index_key(keys: Mapping[str, str]) -> str:
    """The content key of an image for several platforms; keys are those of each, by platform."""
    return _key({"platforms": dict(keys)})


def chart_key(files: Iterable[File], *, version: str, images: Mapping[str, str], epoch: int) -> str:
    """The content key of a packaged chart; images are the references in it, by name."""
    return _key(
        {"epoch": epoch, "files": _listed(files), "images": dict(images), "version": version}
    )


def _listed(files: Iterable[File]) -> list[tuple[str, ...]]:
    return [astuple(file) for file in sorted(files)]


def _key(content: Mapping[str, object]) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:_TAG_LENGTH]
