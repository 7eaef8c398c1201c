"""The outbox: events for the ledger, each a file that is there whole or not at all, until the ledger has taken it.

One folder for every clone of a user, outside the cache, or the one that DELIVERY_OUTBOX names. Names sort by time. Whoever
delivers holds a lock; whoever adds needs none.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from delivery import cache
from delivery.errors import DeliveryError
from delivery.records.events import Fate

__all__ = [
    "Rejected",
    "Report",
    "Waiting",
    "add",
    "again",
    "deliver",
    "folder",
    "rejected",
    "take_over",
    "to_json",
    "undelivered_in",
    "waiting",
]

_VARIABLE = "DELIVERY_OUTBOX"
_REJECTED = "rejected"
_ENDING = ".json"
_UNDER_WAY = ".tmp"
_UNREADABLE = "it is no event, or not whole"
_TAKE_OVER_SECONDS = 10  # how long another process may take to move a few files
_LEFT_SECONDS = 3600  # a file that was begun so long ago is of a process that was killed
_last = [0]  # the stamp of the event that was added last
_not_taken_over: set[Path] = set()  # former outboxes that a warning was printed for


@dataclass(frozen=True)
class Waiting:
    """An event that waits: its file, the Idempotency-Key that it is always sent with, and the ledger that it is for."""

    file: Path
    key: str
    ledger: str
    event: Mapping[str, Any]
    since: datetime

    def row(self) -> tuple[str, ...]:
        """The event for people: since when it waits, what it says, and for which ledger."""
        names = ("component", "version", "environment", "stage", "status")
        since = self.since.astimezone().strftime("%Y-%m-%d %H:%M:%S")
        return (since, *(str(self.event.get(name)) for name in names), self.ledger)


@dataclass(frozen=True)
class Rejected:
    """What will never be taken, and why; event is None for a file that cannot be read."""

    file: Path
    why: str
    event: Mapping[str, Any] | None = None


@dataclass
class Report:
    """What came of a delivery: how many went, how many wait, what was put aside now, and what each ledger said that took none.

    busy: another process delivers. late: there was no time for all.
    """

    sent: int = 0
    waiting: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    busy: bool = False
    late: bool = False


Send = Callable[[Waiting], tuple[Fate, str]]


class _Content(BaseModel):
    """The JSON document in an event's file; why: for what reason it was put aside."""

    key: str
    ledger: str
    event: dict[str, Any]
    why: str | None = None


def folder() -> Path:
    """Where events wait, made if need be, with what waited where earlier versions kept it.

    A failure to take that over is a warning, once a process: new events must not be lost for old ones.
    """
    path = _folder()
    with _saying(f"make the outbox {path}"):
        path.mkdir(parents=True, exist_ok=True)
    if not os.environ.get(_VARIABLE) and (former := _former()) not in _not_taken_over:
        try:
            take_over()
        except DeliveryError as error:
            _not_taken_over.add(former)
            sys.stderr.write(f"warning: {error.message}; they stay there\n")
            sys.stderr.flush()
    return path


def _folder() -> Path:
    requested = os.environ.get(_VARIABLE)
    return Path(requested) if requested else _default()


def _default() -> Path:
    return cache.state_home() / "outbox"


def _former() -> Path:
    """Where the outbox was in earlier versions, which another clone may still run: in the cache."""
    return cache.cache_home() / "outbox"


def take_over() -> None:
    """Move events from the cache, where earlier versions kept them, to the default outbox.

    Each file is moved whole, under its name. Of two processes one moves; the other waits for it. Raises
    DeliveryError when one cannot be moved.
    """
    source, target = _former(), _default()
    folders = [(source, target), (source / _REJECTED, target / _REJECTED)]
    with _saying(f"cannot take over the events in {source}"):
        if source.resolve() == target.resolve() or not any(_files(old) for old, _ in folders):
            return
        from filelock import FileLock, Timeout  # noqa: PLC0415  # only here: a command that does not need it starts sooner

        target.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(target / ".take-over.lock", timeout=_TAKE_OVER_SECONDS):
                for old, new in folders:
                    _move(_files(old), new)
        except Timeout as error:
            raise OSError(errno.EBUSY, "another process holds them") from error


def _move(files: Iterable[Path], target: Path) -> None:
    """Move files into a folder; one that an earlier version delivers meanwhile is gone."""
    target.mkdir(exist_ok=True)
    for file in files:
        with contextlib.suppress(FileNotFoundError):
            try:
                file.rename(target / file.name)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                # Another file system: there twice for a moment, which its key makes up for.
                _write_bytes(target / file.name, file.read_bytes())
                file.unlink()
    _sync(target)


def undelivered_in(folder: Path) -> list[Path]:
    """The files of the events, waiting or rejected, that are inside a folder."""
    places = {place.resolve() for place in (_folder(), _default(), _former())}
    inside = sorted(place for place in places if place.is_relative_to(folder.resolve()))
    return [file for place in inside for file in (*_files(place), *_files(place / _REJECTED))]


def add(ledger: str, events: Iterable[Mapping[str, Any]]) -> None:
    """Put events into the outbox, in this order; when this returns they outlive a crash of the machine."""
    place = folder()
    with _saying(f"put an event into the outbox {place}"):
        for event in events:
            key = str(uuid.uuid4())
            content = _Content(key=key, ledger=ledger, event=dict(event))
            _write(place / f"{_stamp():020d}-{key}{_ENDING}", content)
        _sync(place)


def _stamp() -> int:
    """Nanoseconds since 1970, always more than the time before, whatever happens to the clock."""
    _last[0] = max(time.time_ns(), _last[0] + 1)
    return _last[0]


def waiting() -> list[Waiting]:
    """The events that wait, the oldest first; a file that is none of ours, or cannot be read, is left to `deliver`."""
    return [one for file in _files(folder()) if isinstance(one := _read(file), Waiting)]


def rejected() -> list[Rejected]:
    """What was put aside, the oldest first."""
    return [_read_rejected(file) for file in _files(folder() / _REJECTED)]


def to_json(pending: Iterable[Waiting], aside: Iterable[Rejected]) -> dict[str, Any]:
    """What waits and what was put aside, for a machine."""
    return {
        "waiting": [
            {"since": event.since.isoformat(), "ledger": event.ledger, "event": event.event}
            for event in pending
        ],
        "rejected": [{"file": str(event.file), "why": event.why} for event in aside],
    }


def again() -> int:
    """Let what was put aside wait once more, under the keys that it had; how many there are."""
    place, count = folder(), 0
    with _saying(f"take back what was put aside in {place}"):
        for one in rejected():
            if one.event is not None:
                content = _Content.model_validate_json(one.file.read_bytes())
                _write(place / one.file.name, content.model_copy(update={"why": None}))
                one.file.unlink()
                count += 1
        _sync(place)
    return count


def deliver(
    send: Send, *, seconds: float, wait: float = 0.0, clock: Callable[[], float] = time.monotonic
) -> Report:
    """Send what waits, the oldest first, for as long as there is time; what is taken leaves the outbox.

    Of two processes one delivers; the other waits so long for its turn, and goes away otherwise. A ledger that takes nothing now
    is asked once. What one fails to take holds back what comes after it of the same component, and nothing else.
    """
    from filelock import FileLock, Timeout  # noqa: PLC0415  # only here: a command that does not need it starts sooner

    place, report, ends = folder(), Report(), clock() + seconds
    with _saying(f"deliver what waits in the outbox {place}"):
        if not _files(place):
            return report
        lock = FileLock(place / ".lock")
        try:
            lock.acquire(timeout=wait)
        except Timeout:
            return Report(waiting=len(_files(place)), busy=True)
        try:
            _clean(place)
            _deliver(place, send, report, lambda: clock() >= ends)
        finally:
            lock.release()
        report.waiting = len(_files(place))
    return report


def _deliver(place: Path, send: Send, report: Report, over: Callable[[], bool]) -> None:
    held: set[tuple[str, str]] = set()
    for file in _files(place):
        if over():
            report.late = True
            return
        one = _read(file)
        if one is None:  # gone meanwhile
            continue
        if isinstance(one, Rejected):
            report.rejected.append(_set_aside(place, one))
            continue
        line = (one.ledger, str(one.event.get("component")))
        if one.ledger in report.reasons or line in held:
            continue
        fate, why = send(one)
        if fate is Fate.DELIVERED:
            file.unlink(missing_ok=True)
            report.sent += 1
        elif fate is Fate.REJECTED:
            report.rejected.append(_set_aside(place, Rejected(file, why, one.event)))
        elif fate is Fate.HELD:
            held.add(line)
        else:
            report.reasons[one.ledger] = why
    for ledger, component in sorted(held):
        report.reasons.setdefault(ledger, f"it fails to take an event of {component}")


def _files(place: Path) -> list[Path]:
    """The events' files of a folder, the oldest first."""
    try:
        return sorted(
            file
            for file in place.iterdir()
            if file.name.endswith(_ENDING) and not file.name.startswith(".")
        )
    except FileNotFoundError:
        return []


def _read(file: Path) -> Waiting | Rejected | None:
    """The event in a file; None when it is gone meanwhile, Rejected when it is none."""
    try:
        content = _Content.model_validate_json(file.read_bytes())
        since = datetime.fromtimestamp(int(file.name.partition("-")[0]) / 1e9, UTC)
    except FileNotFoundError:
        return None
    except (ValueError, OverflowError):  # pydantic's ValidationError is a ValueError
        return Rejected(file, _UNREADABLE)
    return Waiting(file, content.key, content.ledger, content.event, since)


def _read_rejected(file: Path) -> Rejected:
    try:
        content = _Content.model_validate_json(file.read_bytes())
    except (OSError, ValueError):
        return Rejected(file, _UNREADABLE)
    return (
        Rejected(file, content.why, content.event) if content.why else Rejected(file, _UNREADABLE)
    )


def _set_aside(place: Path, one: Rejected) -> Rejected:
    """Move a file out of the way; an event takes along why."""
    target = place / _REJECTED / one.file.name
    target.parent.mkdir(exist_ok=True)
    if one.event is None:
        one.file.replace(target)
    else:
        content = _Content.model_validate_json(one.file.read_bytes())
        _write(target, content.model_copy(update={"why": one.why}))
        _sync(target.parent)
        one.file.unlink(missing_ok=True)
    return Rejected(target, one.why, one.event)


def _write(file: Path, content: _Content) -> None:
    """Write an event's file that is there whole or not at all, on the disk when this returns."""
    _write_bytes(file, content.model_dump_json(exclude_none=True).encode())


def _write_bytes(file: Path, content: bytes) -> None:
    begun = file.with_name(f".{file.name}{_UNDER_WAY}")
    try:
        # Only for who owns it: details may say more than everybody is to know.
        with os.fdopen(os.open(begun, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        begun.replace(file)
    except BaseException:
        with contextlib.suppress(OSError):
            begun.unlink(missing_ok=True)
        raise


def _sync(place: Path) -> None:
    """Make the names in a folder outlive a crash of the machine."""
    handle = os.open(place, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _clean(place: Path) -> None:
    """Remove what processes that were killed had begun to write."""
    for file in place.glob(f".*{_UNDER_WAY}"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - file.stat().st_mtime > _LEFT_SECONDS:
                file.unlink()


@contextlib.contextmanager
def _saying(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DeliveryError(
            f"{doing}: {error.strerror or error}",
            hint=f"{_VARIABLE} names another folder that can be written",
        ) from error
