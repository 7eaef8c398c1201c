"""The history of a run: every attempt to record an event, what was sent and what came of it, one JSON line each."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TextIO

__all__ = ["Answer", "Attempt", "History", "Outcome", "read", "recording"]

Outcome = Literal["accepted", "refused", "unknown"]


@dataclass(frozen=True)
class Answer:
    """What came of an attempt.

    Refused is certain: a 4xx, or no connection at all. Unknown is everything in between: a timeout, a reset, a 5xx.
    """

    outcome: Outcome
    status: int | None = None
    id: str | None = None
    received_at: str | None = None
    reason: str = ""


@dataclass(frozen=True)
class Attempt:
    """One request: which event it was about, under which key, from when to when (Unix time), and the answer."""

    number: int
    key: str | None
    payload: dict[str, Any]
    invoked: float
    completed: float
    answer: Answer


class History:
    """Attempts as they come, appended to a file; safe to use from many threads."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._accepted: set[int] = set()

    @property
    def accepted(self) -> int:
        """How many events were accepted so far."""
        return len(self._accepted)

    def add(self, attempt: Attempt) -> None:
        """Append an attempt."""
        line = json.dumps(asdict(attempt), separators=(",", ":")) + "\n"
        with self._lock:
            self._file.write(line)
            if attempt.answer.outcome == "accepted":
                self._accepted.add(attempt.number)


@contextmanager
def recording(path: Path) -> Iterator[History]:
    """A new history in a file."""
    with path.open("x", encoding="utf-8", buffering=1) as file:
        yield History(file)


def read(path: Path) -> list[Attempt]:
    """Every attempt of a history; raise ValueError where a line is not whole."""
    attempts = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                found = json.loads(line)
                attempts.append(Attempt(**{**found, "answer": Answer(**found["answer"])}))
            except (ValueError, TypeError, KeyError) as error:
                raise ValueError(f"read {path}: line {number} is no attempt: {error}") from None
    return attempts
