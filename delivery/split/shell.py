"""What a README tells people to type, run as they would."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from delivery import process

__all__ = ["run"]

# What a Python environment that is in use here tells its children; it would take the place of the one that is made anew.
_FORGOTTEN = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")


def run(
    script: str,
    *,
    doing: str,
    cwd: Path,
    on_line: Callable[[str], None],
    path: Sequence[Path] = (),
    env: Mapping[str, str] | None = None,
) -> None:
    """Run the commands of a script in a folder, ending at the first that fails; path are folders that come first on PATH.

    Raises CommandError, with the last lines, when one fails.
    """
    found = os.pathsep.join([*map(str, path), os.environ.get("PATH", os.defpath)])
    argv = ["env", *(part for name in _FORGOTTEN for part in ("-u", name)), "sh", "-euc", script]
    process.stream(argv, doing=doing, on_line=on_line, cwd=cwd, env={**(env or {}), "PATH": found})
