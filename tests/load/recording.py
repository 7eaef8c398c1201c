"""What a generator recorded: the requests, the failures with their phase and cause, and figures.

A request fails unless it gets a whole answer with a status that its kind allows. A repetition that
succeeds does not excuse it, nor does a generator that was late itself: its figure says so.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.load.generator import event

__all__ = [
    "Failure",
    "Phase",
    "Recording",
    "Request",
    "Summary",
    "failures",
    "parse",
    "serials",
    "summarise",
    "table",
]

# The statuses that a request of each kind may get. 404: an event that is accepted, not stored yet.
ALLOWED = {"POST": {202}, "slow POST": {202}, "GET": {200, 404}}
MILLISECONDS = 1000


@dataclass(frozen=True)
class Request:
    """One attempt at a request. Times are Unix time."""

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
    # The step that was under way last: connect, send or receive.
    step: str
    reused: bool = False
    serial: str | None = None
    id: str | None = None
    received_at: str | None = None
    # The message of a server error.
    message: str | None = None
    # The event that was sent.
    payload: dict[str, Any] = field(default_factory=dict)

    @property
    def problem(self) -> str | None:
        """Why this request failed; None if it did not."""
        if self.error is not None:
            return f"{self.error} at {self.step}"
        by_id = self.path is not None and self.path.startswith("/deployments/")
        if self.status not in ALLOWED[self.kind] or (self.status == 404 and not by_id):
            return f"status {self.status}" + (f", {self.message}" if self.message else "")
        if self.kind != "GET" and not self.id:
            return "an answer without an id"
        return None

    @property
    def outcome(self) -> Literal["accepted", "refused", "unknown"]:
        """What is certain about the event of a POST.

        Refused is certain: a 4xx, or no connection. A timeout, a reset and a 5xx are unknown.
        """
        if self.status == 202 and self.id:
            return "accepted"
        if self.status is None:
            return "refused" if self.step == "connect" else "unknown"
        return "refused" if 400 <= self.status < 500 else "unknown"

    @property
    def seconds(self) -> float:
        """How long a user would have waited: from when the request was due."""
        return self.ended - self.due


@dataclass(frozen=True)
class Recording:
    """Everything that a generator recorded; nothing is missing."""

    requests: tuple[Request, ...]
    cpu: float

    @property
    def posts(self) -> list[Request]:
        """The attempts to record an event."""
        return [request for request in self.requests if request.kind != "GET"]

    @property
    def accepted(self) -> set[int]:
        """The numbers of the events that the API accepted."""
        return {request.number for request in self.posts if request.outcome == "accepted"}


@dataclass(frozen=True)
class Phase:
    """A change to the platform, from when to when (Unix time)."""

    name: str
    since: float
    until: float


@dataclass(frozen=True)
class Failure:
    """A request that failed, in which phase, and why."""

    request: Request
    phase: str
    reason: str

    def __str__(self) -> str:
        """One line for people."""
        request = self.request
        connection = "fresh" if request.fresh else "reused" if request.reused else "new kept"
        return (
            f"{request.due:.3f} {self.phase}: {request.kind} {request.path or request.key}"
            f" on a {connection} connection: {self.reason}"
            f" after {request.ended - request.began:.3f} s"
        )


@dataclass(frozen=True)
class Summary:
    """The figures of a phase; milliseconds count from when a request was due."""

    phase: str
    seconds: float
    requests: int
    fresh: int
    slow: int
    failed: int
    p50: float
    p99: float
    longest: float
    # How late the generator began a request at most.
    latest: float

    @property
    def rate(self) -> float:
        """Requests a second that were due."""
        return self.requests / self.seconds if self.seconds else 0.0


def parse(text: str) -> Recording:
    """Read a generator's lines; raise ValueError if any is missing or torn."""
    lines = [_line(number, line) for number, line in enumerate(text.splitlines(), start=1)]
    if not lines or "end" not in lines[-1]:
        raise ValueError("the recording has no end: later requests are unknown")
    end = lines.pop()
    requests = tuple(_request(end["run"], line) for line in lines)
    if len(requests) != end["end"]:
        raise ValueError(f"the recording has {len(requests)} requests, its end says {end['end']}")
    missing = set(range(end["numbers"])) - {request.number for request in requests}
    if missing:
        raise ValueError(
            f"{len(missing)} requests of the schedule are missing, the first is {min(missing)}"
        )
    return Recording(requests, end["cpu"])


def _line(number: int, line: str) -> dict[str, Any]:
    try:
        content = json.loads(line)
    except ValueError as error:
        raise ValueError(f"line {number} of the recording is torn: {error}") from None
    if not isinstance(content, dict) or not content.keys() & {"number", "end"}:
        raise ValueError(f"line {number} of the recording is not the generator's: {line[:100]}")
    return content


def _request(run: str, line: dict[str, Any]) -> Request:
    # The event follows from the number, so the generator does not write it.
    payload = {} if line["kind"] == "GET" else event(run, line["number"])
    return Request(**line, payload=payload)


def failures(recording: Recording, phases: Sequence[Phase] = ()) -> list[Failure]:
    """Every request that failed, in the order in which they were due."""
    return [
        Failure(request, _phase_of(request, phases), request.problem)
        for request in sorted(recording.requests, key=lambda request: request.due)
        if request.problem is not None
    ]


def summarise(recording: Recording, phases: Sequence[Phase]) -> list[Summary]:
    """The figures of each phase, and last those of the time between phases."""
    grouped: dict[str, list[Request]] = {phase.name: [] for phase in phases}
    for request in recording.requests:
        grouped.setdefault(_phase_of(request, phases), []).append(request)
    lengths = {phase.name: phase.until - phase.since for phase in phases}
    return [_summary(name, lengths.get(name, 0.0), requests) for name, requests in grouped.items()]


def table(summaries: Iterable[Summary]) -> str:
    """The phases as Markdown. Slow requests count, but not in the milliseconds: they take 5 s."""
    heads = "phase|s|requests|a second|fresh connections|slow POSTs|failed|p50 ms|p99 ms|longest ms"
    rows = ["| " + heads.replace("|", " | ") + " |", "| --- |" + " ---: |" * heads.count("|")]
    for phase in summaries:
        counts = (phase.requests, round(phase.rate), phase.fresh, phase.slow, phase.failed)
        times = (phase.p50, phase.p99, phase.longest)
        cells = [f"{phase.seconds:.0f}", *map(str, counts), *(f"{time:.0f}" for time in times)]
        rows.append(f"| {phase.phase} | {' | '.join(cells)} |")
    return "\n".join(rows)


def serials(recording: Recording, since: float, until: float) -> Mapping[str, int]:
    """How many of the connections that were opened in this time got each certificate."""
    return Counter(
        request.serial
        for request in recording.requests
        if request.serial and not request.reused and since <= request.began < until
    )


def _phase_of(request: Request, phases: Sequence[Phase]) -> str:
    """The phase that a request ended in, or else was due in: a change fails earlier requests."""
    for moment in (request.ended, request.due):
        for phase in phases:
            if phase.since <= moment < phase.until:
                return phase.name
    return "between"


def _summary(name: str, seconds: float, requests: Sequence[Request]) -> Summary:
    times = sorted(
        request.seconds * MILLISECONDS for request in requests if request.kind != "slow POST"
    )
    late = [(request.began - request.due) * MILLISECONDS for request in requests]
    return Summary(
        phase=name,
        seconds=seconds,
        requests=len(requests),
        fresh=sum(request.fresh for request in requests),
        slow=sum(request.kind == "slow POST" for request in requests),
        failed=sum(request.problem is not None for request in requests),
        p50=_quantile(times, 0.5),
        p99=_quantile(times, 0.99),
        longest=times[-1] if times else 0.0,
        latest=max(late, default=0.0),
    )


def _quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of the sorted values does not exceed; 0 without values."""
    if not values:
        return 0.0
    # Rounded: a product of floats may exceed the exact rank.
    rank = math.ceil(round(len(values) * share, 6))
    return values[rank - 1]
