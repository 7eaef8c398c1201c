"""Poetry with its export plugin, in an environment of its own: for what its users' READMEs say."""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from delivery import cache, process
from delivery.project.files import ROOT

__all__ = ["ensure"]


def ensure(on_line: Callable[[str], None]) -> Path:
    """The folder of Poetry's program, installed from locks/poetry.txt into the cache, every file checked against its hash."""
    lock = ROOT / "locks" / "poetry.txt"
    home = cache.folder("programs") / f"poetry-{hashlib.sha256(lock.read_bytes()).hexdigest()[:16]}"
    made = home / "made-from"
    with cache.lock("program-poetry"):
        if not made.exists():
            uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
            process.stream([uv, "venv", "--clear", str(home)], doing="make a place for Poetry", on_line=on_line)
            install = [uv, "pip", "install", "--python", str(home), "--require-hashes", "--requirement", str(lock)]
            process.stream(install, doing="install Poetry", on_line=on_line)
            # Written last: what was interrupted half way is made anew.
            made.write_text(f"{lock.name}\n", encoding="utf-8")
    cache.used(home)
    return home / "bin"
