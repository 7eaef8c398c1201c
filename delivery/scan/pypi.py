"""The Python package index that uv is set up for: what the newest of a package is."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from uv import find_uv_bin

from delivery import process
from delivery.errors import CommandError

__all__ = ["newest"]

_SECONDS = 120
_ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}
_UNSATISFIED = "No solution found"


def newest(names: Sequence[str], python: str, architecture: str) -> dict[str, str]:
    """The newest version of each package with a wheel for this Python ("" is ours) on Linux.

    Only metadata is downloaded: sources are left out because they would be run. Raises CommandError
    when the index cannot be asked.
    """
    try:
        return _compiled(names, python, architecture)
    except CommandError as error:
        if _UNSATISFIED not in error.tail or not names:
            raise
    if len(names) == 1:
        return {}
    # uv names the first that is missing, and tells nothing of the others.
    found: dict[str, str] = {}
    for name in names:
        found |= newest([name], python, architecture)
    return found


def _compiled(names: Sequence[str], python: str, architecture: str) -> dict[str, str]:
    version = python or f"{sys.version_info.major}.{sys.version_info.minor}"
    argv = [find_uv_bin(), "pip", "compile", "--quiet", "--no-deps", "--no-header", "--no-annotate"]
    argv += ["--only-binary", ":all:", "--prerelease", "if-necessary"]
    argv += ["--python-version", version, "--no-python-downloads"]
    if architecture in _ARCHITECTURES:
        argv += ["--python-platform", f"{_ARCHITECTURES[architecture]}-unknown-linux-gnu"]
    text = "".join(f"{name}\n" for name in names)
    printed = process.capture(
        [*argv, "-"], doing="ask the Python package index", text=text, timeout=_SECONDS
    )
    pinned = (
        line.partition(" ")[0].partition("==") for line in printed.splitlines() if "==" in line
    )
    return {name: version for name, _, version in pinned}
