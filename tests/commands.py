"""Programs that tests run: their output, or all that a failed one printed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.signals import with_default_signals

__all__ = ["output", "running"]


def output(
    argv: Sequence[str],
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    stdin: str | None = None,
    timeout: float = 660,
) -> str:
    """Run a program and return its standard output; AssertionError if it fails."""
    done = subprocess.run(
        argv,
        cwd=folder,
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    printed = f"{done.stdout[-4000:]}{done.stderr[-4000:]}"
    assert done.returncode == 0, f"{' '.join(argv)}\nexit code {done.returncode}\n{printed}"
    return done.stdout


@contextmanager
def running(
    argv: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A program that takes Ctrl-C, with its output in a file; killed if it outlives the body."""
    with (
        log.open("wb") as sink,
        subprocess.Popen(
            with_default_signals(argv),
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
        ) as program,
    ):
        try:
            yield program
        finally:
            program.kill()
