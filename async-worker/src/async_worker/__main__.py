"""Runs the worker: `python -m async_worker`."""
# ruff: noqa: T201  a command line prints

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

from ledger import config

from .settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["main"]

FAILED = 1
WRONG_USAGE = 2
USAGE = "async-worker [--help | --version | redrive [--limit N] [--dry-run]]"


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Run the worker until a signal stops it, or one command; return the exit code."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    environ = os.environ if environ is None else environ
    if arguments[:1] == ["redrive"]:
        return _redrive(arguments[1:], environ)
    if arguments:
        return _print_information(arguments)
    settings = _load_settings(environ)
    if settings is None:
        return WRONG_USAGE
    stopping = threading.Event()

    def stop(*_: object) -> None:
        if stopping.is_set():
            # A second signal does not wait. Messages without a committed offset are read again.
            os._exit(FAILED)
        stopping.set()

    # PID 1 has no default handlers: without these it ignores SIGTERM.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    from .service import run  # noqa: PLC0415  slow to import, and --help does not need it

    return run(settings, stopping)


def _load_settings(environ: Mapping[str, str]) -> Settings | None:
    """Return the settings, or None after printing what is wrong with them."""
    try:
        return config.load(Settings, environ)
    except config.SettingsError as error:
        print("async-worker cannot start, these settings are wrong:", file=sys.stderr)
        print(*(f"  {problem}" for problem in error.problems), sep="\n", file=sys.stderr)
        print("`python -m async_worker --help` lists all of them.", file=sys.stderr)
        return None


def _redrive(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    import logging  # noqa: PLC0415  for this command only

    from .redrive import parse_arguments, redrive  # noqa: PLC0415  for this command only

    try:
        options = parse_arguments(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    settings = _load_settings(environ)
    if settings is None:
        return WRONG_USAGE
    # The command prints its errors itself.
    logging.basicConfig(level=logging.CRITICAL)
    return redrive(settings, limit=options.limit, dry_run=options.dry_run)


def _print_information(arguments: Sequence[str]) -> int:
    if arguments in (["-h"], ["--help"]):
        print(f"Keeps the deployment ledger. Usage: {USAGE}\n")
        print("Settings, from the environment:\n")
        print(config.reference(Settings))
        return 0
    if arguments == ["--version"]:
        from ledger import version  # noqa: PLC0415  for this option only

        print(version.installed())
        return 0
    print(f"async-worker does not know {' '.join(arguments)!r}. Usage: {USAGE}", file=sys.stderr)
    return WRONG_USAGE


if __name__ == "__main__":
    sys.exit(main())
