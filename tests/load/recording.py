"""Judges what the generator wrote: what failed, in which phase, and whose fault it was. Pure, and every request counts.

A request failed unless it was answered whole with a status that its kind allows. Nothing is forgiven for having been repeated,
and nothing for its cause: a failure that the generator's own lateness explains fails the run too, as one that proves nothing.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.ledger.history import Answer, Attempt
from tests.load.generator import event

__all__ = [
    "OVERLOADED",
    "Failure",
    "Lag",
    "Phase",
    "Recording",
    "Request",
    "Summary",
    "attempts",
    "failures",
    "parse",
    "summarise",
    "table",
]

# What a request of each kind may be answered with. 404: an event that is accepted and not yet stored.
ALLOWED = {"POST": {202}, "slow POST": {202}, "GET": {200, 404}}
# What api-rest says of itself then; tests/load/test_recording.py asks it.
OVERLOADED = "too many requests are waiting"
STARVED = "generator"
SERVER = "server"
# What the generator's own machine may lack; no server can cause these.
LOCAL_ERRORS = (
    "Too many open files",
    "Cannot assign requested address",
    "No buffer space available",
)
# A timeout is the generator's own fault if it was late for this share of the time that the request took.
STARVED_SHARE = 0.5
MILLISECONDS = 1000


@dataclass(frozen=True)
class Request:
    """One attempt: when it was due, began and ended (Unix time), and what it was answered with."""

    number: int
    attempt: int
    kind: str
    path: str | None
    key: str | None
    fresh: bool
    due: float
    began: float
    ended: float
    status: int | None
    error: str | None
    step: str
    reused: bool = False
    serial: str | None = None
    id: str | None = None
    received_at: str | None = None
    said: str | None = None

    @property
    def problem(self) -> str | None:
        """Why this request failed, or None if it did not."""
        if self.error is not None:
            return f"{self.error} at {self.step}"
        if self.status not in ALLOWED[self.kind] or (self.status == 404 and not _by_id(self.path)):
            return f"status {self.status}" + (f", {self.said}" if self.said else "")
        if self.kind != "GET" and not self.id:
            return "an answer without an id"
        return None

    @property
    def seconds(self) -> float:
        """How long a user would have waited: from when it was due."""
        return self.ended - self.due


@dataclass(frozen=True)
class Lag:
    """The generator itself was late by so many seconds, noticed at this time."""

    lag: float
    at: float


@dataclass(frozen=True)
class Recording:
    """Everything that a generator wrote, known to be whole."""

    requests: tuple[Request, ...]
    lags: tuple[Lag, ...]
    cpu: float


@dataclass(frozen=True)
class Phase:
    """Something was done to the platform from when to when (Unix time)."""

    name: str
    since: float
    until: float


@dataclass(frozen=True)
class Failure:
    """A request that failed, when (which phase), why, and through whom."""

    request: Request
    phase: str
    reason: str
    fault: str

    def __str__(self) -> str:
        """One line for people."""
        one = self.request
        connection = "fresh" if one.fresh else "reused" if one.reused else "new kept"
        return (
            f"{one.due:.3f} {self.phase}: {one.kind} {one.path or one.key} on a {connection} connection: {self.reason} "
            f"after {one.ended - one.began:.3f} s (fault: {self.fault})"
        )


@dataclass(frozen=True)
class Summary:
    """A phase in numbers; milliseconds are counted from when a request was due."""

    phase: str
    seconds: float
    requests: int
    fresh: int
    slow: int
    failed: int
    p50: float
    p99: float
    longest: float
    latest: float

    @property
    def rate(self) -> float:
        """Requests that were due a second."""
        return self.requests / self.seconds if self.seconds else 0.0


def parse(text: str) -> Recording:
    """Read the generator's lines; raise ValueError unless they are whole: an end, as many lines as it says, no number missing."""
    lines = [_line(number, line) for number, line in enumerate(text.splitlines(), start=1)]
    if not lines or "end" not in lines[-1]:
        raise ValueError("the recording has no end: what came after its last line is unknown")
    end = lines.pop()
    requests = tuple(Request(**line) for line in lines if "number" in line)
    lags = tuple(Lag(**line) for line in lines if "lag" in line)
    if len(requests) != end["end"]:
        raise ValueError(f"the recording has {len(requests)} requests, its end says {end['end']}")
    missing = set(range(end["numbers"])) - {request.number for request in requests}
    if missing:
        raise ValueError(
            f"{len(missing)} requests that were due have no line, the first is number {min(missing)}"
        )
    return Recording(requests, lags, end["cpu"])


def _line(number: int, line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise ValueError(f"line {number} of the recording is not whole: {error}") from None
    if not isinstance(found, dict) or not found.keys() & {"number", "lag", "end"}:
        raise ValueError(f"line {number} of the recording is none of the generator's: {line[:100]}")
    return found


def failures(recording: Recording, phases: Sequence[Phase]) -> list[Failure]:
    """Every request that failed, in the order in which they were due."""
    return [
        Failure(
            request, _phase_of(request, phases), request.problem, _fault(request, recording.lags)
        )
        for request in sorted(recording.requests, key=lambda request: request.due)
        if request.problem is not None
    ]


def summarise(recording: Recording, phases: Sequence[Phase]) -> list[Summary]:
    """Each phase in numbers, and what was between them as a last one."""
    grouped: dict[str, list[Request]] = {phase.name: [] for phase in phases}
    for request in recording.requests:
        grouped.setdefault(_phase_of(request, phases), []).append(request)
    lengths = {phase.name: phase.until - phase.since for phase in phases}
    return [_summary(name, lengths.get(name, 0.0), requests) for name, requests in grouped.items()]


def table(summaries: Iterable[Summary]) -> str:
    """The phases for people, as Markdown. Slow requests are counted, but not in the milliseconds: their bodies take 5 s."""
    rows = [
        "| phase | s | requests | a second | fresh connections | slow POSTs | failed | p50 ms | p99 ms | longest ms |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    rows += [
        f"| {one.phase} | {one.seconds:.0f} | {one.requests} | {one.rate:.0f} | {one.fresh} | {one.slow} | {one.failed} "
        f"| {one.p50:.0f} | {one.p99:.0f} | {one.longest:.0f} |"
        for one in summaries
    ]
    return "\n".join(rows)


def attempts(recording: Recording, run: str) -> list[Attempt]:
    """The POSTs as the ledger's checker knows them."""
    return [
        Attempt(one.number, one.key, event(run, one.number), one.began, one.ended, _answer(one))
        for one in recording.requests
        if one.kind != "GET"
    ]


def _answer(one: Request) -> Answer:
    if one.status == 202 and one.id:
        return Answer("accepted", one.status, one.id, one.received_at)
    if one.status is None:
        return Answer(
            "refused" if one.step == "connect" else "unknown", None, reason=one.error or ""
        )
    return Answer(
        "refused" if 400 <= one.status < 500 else "unknown", one.status, reason=one.error or ""
    )


def _by_id(path: str | None) -> bool:
    return path is not None and path.startswith("/deployments/")


def _phase_of(request: Request, phases: Sequence[Phase]) -> str:
    """The phase that a request ended in, or else was due in: what is done to the platform fails requests that began before."""
    for moment in (request.ended, request.due):
        for phase in phases:
            if phase.since <= moment < phase.until:
                return phase.name
    return "between"


def _fault(request: Request, lags: Iterable[Lag]) -> str:
    """Whose fault a failure is: the generator's own only if it lacked something, or was late for most of a timeout."""
    error = request.error or ""
    if any(words in error for words in LOCAL_ERRORS):
        return STARVED
    if "timeout" in error.lower():
        late = sum(lag.lag for lag in lags if request.began <= lag.at <= request.ended + lag.lag)
        if late >= STARVED_SHARE * (request.ended - request.began):
            return STARVED
    return SERVER


def _summary(name: str, seconds: float, requests: Sequence[Request]) -> Summary:
    quick = sorted(
        request.seconds * MILLISECONDS for request in requests if request.kind != "slow POST"
    )
    kinds = Counter(request.kind for request in requests)
    return Summary(
        phase=name,
        seconds=seconds,
        requests=len(requests),
        fresh=sum(request.fresh for request in requests),
        slow=kinds["slow POST"],
        failed=sum(request.problem is not None for request in requests),
        p50=_quantile(quick, 0.5),
        p99=_quantile(quick, 0.99),
        longest=quick[-1] if quick else 0.0,
        latest=max((request.began - request.due for request in requests), default=0.0)
        * MILLISECONDS,
    )


def _quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of them does not exceed (nearest rank); 0 without any."""
    if not values:
        return 0.0
    return values[
        min(len(values), max(1, -(-int(len(values) * share * 1_000_000) // 1_000_000))) - 1
    ]


def serials(recording: Recording, since: float, until: float) -> Mapping[str, int]:
    """How many connections that were opened in this time were served each certificate."""
    opened = (
        one
        for one in recording.requests
        if one.serial and not one.reused and since <= one.began < until
    )
    return Counter(one.serial for one in opened if one.serial)
