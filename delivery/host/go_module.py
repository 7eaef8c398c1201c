"""Programs that Go compiles from their module: for those that no package has."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from delivery import process

__all__ = ["can_install", "install"]


def can_install() -> bool:
    """Whether Go is there."""
    return shutil.which("go") is not None


def install(module: str, into: Path, on_line: Callable[[str], None]) -> None:
    """Compile PATH@VERSION and put its program into a folder. Go checks the module's checksum."""
    argv = ["go", "install", "-v", module]  # names each package, for minutes
    hint = "check the network and the version of Go, or install the program yourself"
    options = process.Options(env={"GOBIN": str(into)}, hint=hint)
    process.stream(argv, doing=f"compile {module}", on_line=on_line, options=options)
