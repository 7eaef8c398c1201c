"""The outbox: a folder in which events wait, a file each, until the ledger has accepted them.

All clones of a user share it. File names sort by time. A process that delivers holds a lock; a
process that adds events needs none.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

from filelock import FileLock, Timeout
from pydantic import BaseModel

from delivery import cache
from delivery.errors import DeliveryError
from delivery.project.files import ROOT
from delivery.records.events import SendResult

__all__ = [
    "Entry",
    "Report",
    "add",
    "deliver",
    "folder",
    "rejected",
    "retry_rejected",
    "to_json",
    "undelivered_in",
    "waiting",
]

_VARIABLE = "DELIVERY_OUTBOX"
_REJECTED = "rejected"
_SUFFIX = ".json"
_NAME = re.compile(r"\d{20}-")  # nanoseconds since 1970
_TEMPORARY = ".tmp"
_UNREADABLE = "it is not an event, or incomplete"
_ABANDONED_SECONDS = 3600  # a temporary file of this age belongs to a process that was killed
_last_stamp = [0]


@dataclass(frozen=True)
class Entry:
    """A file of the outbox: an event that waits or was rejected."""

    file: Path
    event: Mapping[str, Any] = field(default_factory=dict)  # empty: the file is not an event
    ledger: str = ""
    key: str = ""  # the Idempotency-Key of every try to send it
    why: str = ""  # why it was rejected

    @property
    def since(self) -> datetime:
        """When it was added."""
        return datetime.fromtimestamp(int(self.file.name[:20]) / 1e9, UTC)

    def row(self) -> tuple[str, ...]:
        """An event as a row of a table."""
        names = ("component", "version", "environment", "stage", "status")
        since = self.since.astimezone().strftime("%Y-%m-%d %H:%M:%S")
        return (since, *(str(self.event.get(name)) for name in names), self.ledger)


@dataclass
class Report:
    """The result of a delivery."""

    sent: int = 0
    waiting: int = 0
    rejected: list[Entry] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)  # why events wait, by ledger
    busy: bool = False  # another process delivers
    late: bool = False  # the time was over before all events were sent


Send = Callable[[Entry], tuple[SendResult, str]]


class _Content(BaseModel):
    """The JSON document in an event's file."""

    key: str
    ledger: str
    event: dict[str, Any]
    why: str = ""  # why it was rejected


def folder() -> Path:
    """The folder in which events wait, created: DELIVERY_OUTBOX in the clone, or outside it."""
    path = _folder()
    with _errors(f"make the outbox {path}"):
        path.mkdir(parents=True, exist_ok=True)
    return path


def _folder() -> Path:
    requested = os.environ.get(_VARIABLE)
    return ROOT / requested if requested else _default()


def _default() -> Path:
    return cache.state_home() / "outbox"


def undelivered_in(folder: Path) -> list[Path]:
    """The files of the events, waiting or rejected, that are inside a folder."""
    outboxes = {path.resolve() for path in (_folder(), _default())}
    inside = sorted(path for path in outboxes if path.is_relative_to(folder.resolve()))
    return [file for path in inside for file in (*_files(path), *_files(path / _REJECTED))]


def add(ledger: str, events: Iterable[Mapping[str, Any]]) -> None:
    """Add events in this order; when this returns they survive a crash of the machine."""
    path = folder()
    with _errors(f"add an event to the outbox {path}"):
        for event in events:
            key = str(uuid.uuid4())
            # The next nanosecond at least, so that events stay in order when the clock is set back.
            _last_stamp[0] = max(time.time_ns(), _last_stamp[0] + 1)
            file = path / f"{_last_stamp[0]:020d}-{key}{_SUFFIX}"
            _write(Entry(file, event, ledger, key))
        _sync(path)


def waiting() -> list[Entry]:
    """The events that wait, the oldest first; `deliver` reports files that are not events."""
    return [entry for file in _files(folder()) if (entry := _read(file)) and entry.event]


def rejected() -> list[Entry]:
    """The rejected events, and files that are not events, the oldest first."""
    return [entry for file in _files(folder() / _REJECTED) if (entry := _read(file))]


def to_json(waiting: Iterable[Entry], rejected: Iterable[Entry]) -> dict[str, Any]:
    """The entries as a JSON document."""
    return {
        "waiting": [
            {"since": entry.since.isoformat(), "ledger": entry.ledger, "event": entry.event}
            for entry in waiting
        ],
        "rejected": [{"file": str(entry.file), "why": entry.why} for entry in rejected],
    }


def retry_rejected() -> int:
    """Let the rejected events wait again, under their keys; return their number."""
    path, count = folder(), 0
    with _errors(f"retry the rejected events in {path}"):
        for entry in rejected():
            if entry.event:
                _write(replace(entry, file=path / entry.file.name, why=""))
                entry.file.unlink()
                count += 1
        _sync(path)
    return count


def deliver(send: Send, *, seconds: float, wait: float = 0.0) -> Report:
    """Send the events that wait, the oldest first, within this time, and remove those accepted.

    If another process delivers, wait up to `wait` seconds for it to finish. A ledger that is
    unavailable is asked once. An event that failed holds back later events of its component only.
    """
    path, report, deadline = folder(), Report(), monotonic() + seconds
    with _errors(f"deliver the events in {path}"):
        if not _files(path):
            return report
        try:
            lock = FileLock(path / ".lock").acquire(timeout=wait)
        except Timeout:
            return Report(waiting=len(_files(path)), busy=True)
        with lock:
            _remove_abandoned(path)
            _deliver(path, send, report, deadline)
        report.waiting = len(_files(path))
    return report


def _deliver(path: Path, send: Send, report: Report, deadline: float) -> None:
    failed: dict[tuple[str, str], str] = {}
    for file in _files(path):
        if monotonic() >= deadline:
            report.late = True
            return
        entry = _read(file)
        if entry is None:
            continue
        if not entry.event:
            report.rejected.append(_reject(path, entry))
            continue
        component = (entry.ledger, str(entry.event.get("component")))
        if entry.ledger in report.reasons or component in failed:
            continue
        result, why = send(entry)
        if result is SendResult.DELIVERED:
            file.unlink(missing_ok=True)
            report.sent += 1
        elif result is SendResult.REJECTED:
            report.rejected.append(_reject(path, replace(entry, why=why)))
        elif result is SendResult.FAILED:
            failed[component] = why
        else:
            report.reasons[entry.ledger] = why
    for (ledger, name), why in sorted(failed.items()):
        report.reasons.setdefault(ledger, f"it does not take an event of {name}: {why}")


def _files(path: Path) -> list[Path]:
    """The files of the events in a folder, the oldest first."""
    try:
        return sorted(
            file
            for file in path.iterdir()
            if file.name.endswith(_SUFFIX) and not file.name.startswith(".")
        )
    except FileNotFoundError:
        return []


def _read(file: Path) -> Entry | None:
    """The event in a file; None when the file was removed."""
    try:
        content = _Content.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:  # of pydantic
        return Entry(file, why=_UNREADABLE)
    return Entry(file, **dict(content)) if _NAME.match(file.name) else Entry(file, why=_UNREADABLE)


def _reject(path: Path, entry: Entry) -> Entry:
    """Move a file to the rejected ones, an event with the reason."""
    moved = replace(entry, file=path / _REJECTED / entry.file.name)
    moved.file.parent.mkdir(exist_ok=True)
    if not entry.event:
        entry.file.replace(moved.file)
    else:
        _write(moved)
        _sync(moved.file.parent)
        entry.file.unlink(missing_ok=True)
    return moved


def _write(entry: Entry) -> None:
    """Write an event's file, on the disk when this returns: the whole file or none."""
    content = {"key": entry.key, "ledger": entry.ledger, "event": entry.event}
    text = json.dumps({**content, "why": entry.why} if entry.why else content)
    temporary = entry.file.with_name(f".{entry.file.name}{_TEMPORARY}")
    try:
        # Readable by its owner alone: the details of an event may be confidential.
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as out:
            out.write(text.encode())
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(entry.file)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _sync(path: Path) -> None:
    """Make the names in a folder survive a crash of the machine."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove_abandoned(path: Path) -> None:
    """Remove the temporary files of processes that were killed."""
    for file in path.glob(f".*{_TEMPORARY}"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - file.stat().st_mtime > _ABANDONED_SECONDS:
                file.unlink()


@contextlib.contextmanager
def _errors(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DeliveryError(
            f"cannot {doing}: {error.strerror or error}",
            hint=f"set {_VARIABLE} to another folder, which can be written",
        ) from error
