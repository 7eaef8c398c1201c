"""osv-scanner, the program that looks up packages in OSV's databases.

Offline by the folder of databases that DELIVERY_OSV names, else by api.osv.dev.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from delivery import process
from delivery.errors import CommandError, DeliveryError, UnscannedError
from delivery.host import programs

__all__ = ["DATABASES", "check_databases", "check_releases", "lookup"]

DATABASES = "DELIVERY_OSV"
_FOUND = 1  # the exit code for findings; it has others for what it could not do
_SECONDS = 900
_MODIFIED = re.compile(rb'"modified"\s*:\s*"([^"]+)"')
_HINT = (
    f"set {DATABASES} to a folder of current databases, or allow requests to api.osv.dev; "
    "docs/supply-chain.md says how to get them, and how a push goes on without"
)


def lookup(requests: Mapping[str, str]) -> str:
    """The report about CycloneDX documents by name; UnscannedError unless all was looked up."""
    folder = os.environ.get(DATABASES)
    local = ["--offline-vulnerabilities", "--local-db-path", folder] if folder else []
    with tempfile.TemporaryDirectory(prefix="delivery-") as scratch:
        report = Path(scratch) / "report.json"
        argv = [_program(), "scan", "source", "--format", "json", "--output-file", str(report)]
        # It also prints less important lines on standard error, where only errors are wanted.
        argv += ["--verbosity", "error", "--all-packages", "--no-resolve", *local]
        for name, text in requests.items():
            file = Path(scratch) / f"{name}.cdx.json"
            file.write_text(text, encoding="utf-8")
            argv += ["-L", str(file)]
        try:
            process.capture(argv, doing="scan for vulnerabilities", timeout=_SECONDS)
        except CommandError as error:
            # It ends with 1 too when it has found something, and then met an error.
            if error.returncode != _FOUND or error.tail.strip():
                raise UnscannedError(error.message, hint=_HINT, details=error.tail) from error
        return report.read_text(encoding="utf-8")


def check_databases(ecosystems: Iterable[str], days: int, now: datetime | None = None) -> str:
    """Raise UnscannedError for a database that is missing or too old; how new they are.

    A database is as new as its newest record: copying a file makes it look newer than it is.
    """
    folder = os.environ.get(DATABASES)
    if not folder:
        return "api.osv.dev"
    now = now or datetime.now(UTC)
    oldest = now
    for ecosystem in sorted(ecosystems):
        file = Path(folder) / "osv-scalibr" / ecosystem / "all.zip"
        newest = _newest(file, now)
        if newest is None or newest < now - timedelta(days=days):
            problem = f"its newest record is of {newest:%Y-%m-%d}" if newest else "it has no record"
            raise UnscannedError(
                f"cannot scan for vulnerabilities: {file}: {problem}, and at most {days} days are "
                "allowed",
                hint=_HINT,
            )
        oldest = min(oldest, newest)
    return f"{folder}, of {oldest:%Y-%m-%d}"


def check_releases(report: str) -> None:
    """Raise UnscannedError for a release, such as Debian:13, of which a database has no record.

    report: osv-scanner's, of which parse_report has made sure that it can be read.
    """
    folder = os.environ.get(DATABASES)
    if not folder:
        return
    missing = defaultdict[Path, set[str]](set)
    for source in json.loads(report)["results"]:
        for entry in source["packages"]:
            ecosystem, _, release = entry["package"]["ecosystem"].partition(":")
            if release:
                file = Path(folder) / "osv-scalibr" / ecosystem / "all.zip"
                missing[file].add(f"{ecosystem}:{release}")
    for file, releases in sorted(missing.items()):
        with _database(file) as records:
            for record in records:
                releases -= {name for name in releases if f'"{name}"'.encode() in record}
                if not releases:
                    break
        if releases:
            raise UnscannedError(
                f"cannot scan for vulnerabilities: {file} has no record of "
                f"{', '.join(sorted(releases))}",
                hint=_HINT,
            )


def _newest(file: Path, now: datetime) -> datetime | None:
    """The time of the newest record; None without any. A time in the future does not count."""
    times = set[datetime]()
    with _database(file) as records:
        for record in records:
            if match := _MODIFIED.search(record):
                times.add(datetime.fromisoformat(match[1].decode()).astimezone(UTC))
    return max((time for time in times if time <= now), default=None)


@contextmanager
def _database(file: Path) -> Iterator[Iterator[bytes]]:
    """The records of a database; UnscannedError if they cannot be read."""
    try:
        with zipfile.ZipFile(file) as archive:
            yield (archive.read(name) for name in archive.namelist())
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        raise UnscannedError(
            f"cannot scan for vulnerabilities: no database in {file}: {error}", hint=_HINT
        ) from error


def _program() -> str:
    try:
        return programs.find("osv-scanner") or programs.ensure("osv-scanner")
    except DeliveryError as error:
        raise UnscannedError(
            f"cannot scan for vulnerabilities: {error.reason}",
            hint=error.hint,
            details=error.details,
        ) from error
