"""The four DORA figures and stage durations, from what the ledger holds; docs/records.md defines each."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

from delivery.errors import DeclarationError
from delivery.records.events import NO_DATA, NOWHERE, STAGES, details_of, instant, lasting, moment

__all__ = [
    "COLUMNS",
    "Duration",
    "Figures",
    "cell",
    "deployments",
    "durations",
    "figures",
    "is_removal",
    "span",
]

COLUMNS = ("id", "received_at", "component", "version", "environment", "responsible", "stage", "status", "details")
_DAY = 86400.0
_LONGEST = 366 * _DAY  # what says that it took longer is wrong
_ORDER = ("started", "failed", "rolled-back", "succeeded")
# What spreadsheets begin a formula with; they may skip whitespace before it.
_FORMULA = tuple("=+-@\t\r\uff1d\uff0b\uff0d\uff20")
_SPAN = re.compile(r"([1-9][0-9]{0,4})([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True)
class Duration:
    """How long a stage of a component took: how many runs, their median and the time that nine of ten took at most."""

    component: str
    stage: str
    runs: int
    median: float
    p90: float


@dataclass(frozen=True)
class Figures:
    """The four figures of a component in an environment; None is "no data". Times are in seconds."""

    component: str
    environment: str
    deployments: int
    failures: int
    days: float
    lead_time: float | None
    restore_time: float | None

    @property
    def frequency(self) -> float | None:
        """Deployments a day."""
        return self.deployments / self.days if self.deployments else None

    @property
    def failure_rate(self) -> float | None:
        """The share of attempts that failed."""
        attempts = self.deployments + self.failures
        return self.failures / attempts if attempts else None

    def row(self) -> tuple[str, ...]:
        """The figures for people."""
        frequency, rate = self.frequency, self.failure_rate
        return (
            self.component,
            self.environment,
            NO_DATA if frequency is None else f"{frequency:.2g} a day ({self.deployments})",
            NO_DATA if self.lead_time is None else lasting(self.lead_time),
            NO_DATA if rate is None else f"{rate:.0%} ({self.failures} of {self.deployments + self.failures})",
            NO_DATA if self.restore_time is None else lasting(self.restore_time),
        )

    def told(self) -> dict[str, object]:
        """The figures for a machine."""
        return {
            "component": self.component,
            "environment": self.environment,
            "deployments": self.deployments,
            "deployments_per_day": self.frequency,
            "lead_time_seconds": self.lead_time,
            "change_failure_rate": self.failure_rate,
            "failures": self.failures,
            "restore_seconds": self.restore_time,
        }


def span(text: str) -> timedelta:
    """The time that --since means, such as 30d, 12h or 8w; raise DeclarationError when it is none."""
    found = _SPAN.fullmatch(text.strip())
    if not found:
        raise DeclarationError(f"read --since: {text!r} is no span of time", hint="as in 30d, 12h, 90m, 8w")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def cell(value: object) -> str:
    """A value for a spreadsheet: what one would take for a formula begins with an apostrophe."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return f"'{text}" if text.startswith(_FORMULA) or text.lstrip().startswith(_FORMULA) else text


def deployments(events: Iterable[Mapping[str, Any]], limit: int) -> list[Mapping[str, Any]]:
    """The ends of the last deploys, and the last removals, the newest first."""
    ends = [event for event in events if _ends_a_deploy(event) or is_removal(event)]
    return sorted(ends, key=_turn, reverse=True)[:limit]


def is_removal(event: Mapping[str, Any]) -> bool:
    """Whether an event says that a deployment was removed, as an earlier version of this project said it, too."""
    return event.get("status") == "removed" or details_of(event).get("removed") is True


def _ends_a_deploy(event: Mapping[str, Any]) -> bool:
    return event.get("stage") == "deploy" and event.get("status") != "started"


def durations(events: Iterable[Mapping[str, Any]]) -> list[Duration]:
    """How long each stage of each component took, of the runs that came to an end.

    In a pipeline a stage lasts from its first step's start to its last step's end, as the ledger has it.
    """
    spans: dict[tuple[str, str], dict[object, tuple[datetime, datetime]]] = {}
    for number, event in enumerate(events):
        details = details_of(event)
        seconds = details.get("seconds")
        if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 <= seconds < _LONGEST:
            continue
        if event.get("status") not in {"succeeded", "failed"} or details.get("restored"):
            continue
        if is_removal(event):  # which is no stage of a pipeline
            continue
        ours = spans.setdefault((str(event.get("component")), str(event.get("stage"))), {})
        build = str(details.get("pipeline") or "")
        run = (build, event.get("version"), event.get("environment")) if build else number
        end = _when(event)
        first, last = ours.get(run, (end, end))
        ours[run] = min(first, end - timedelta(seconds=float(seconds))), max(last, end)
    return [
        _duration(component, stage, list(ours.values()))
        for (component, stage), ours in sorted(spans.items(), key=_by_stage)
    ]


def _by_stage(spans: tuple[tuple[str, str], object]) -> tuple[str, int]:
    (component, stage), _ = spans
    return component, _order(stage)


def _duration(component: str, stage: str, spans: Sequence[tuple[datetime, datetime]]) -> Duration:
    times = [(last - first).total_seconds() for first, last in spans]
    return Duration(component, stage, len(times), median(times), _p90(times))


def _order(stage: str) -> int:
    return STAGES.index(stage) if stage in STAGES else len(STAGES)


def _p90(times: Sequence[float]) -> float:
    """The least time that nine of ten did not exceed (nearest rank)."""
    return sorted(times)[math.ceil(0.9 * len(times)) - 1]


def figures(events: Iterable[Mapping[str, Any]], since: datetime, until: datetime) -> list[Figures]:
    """The four figures of each component in each environment, from events of that time in any order."""
    places: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for event in sorted(events, key=_turn):
        if event.get("environment") != NOWHERE and event.get("stage") in {"deploy", "verify"}:
            places.setdefault((str(event.get("component")), str(event.get("environment"))), []).append(event)
    days = max((until - since).total_seconds() / _DAY, 1 / _DAY)
    found = []
    for (component, environment), ours in sorted(places.items()):
        history = _History()
        for event in ours:
            history.take(event)
        found.append(
            Figures(
                component,
                environment,
                len(history.attempts) - history.failures,
                history.failures,
                days,
                median(history.leads) if history.leads else None,
                median(history.outages) if history.outages else None,
            )
        )
    return found


@dataclass
class _Attempt:
    """A change that was brought to an environment, or was to be."""

    version: str
    digest: str
    began: datetime
    failed: bool
    lead: float | None = None

    def is_of(self, version: str, digest: str) -> bool:
        """Whether this brought that version, or the same bytes under another name."""
        return self.version == version or bool(digest and self.digest == digest)


class _History:
    """What happened to a component in an environment, event by event."""

    def __init__(self) -> None:
        self.attempts: list[_Attempt] = []
        self.outages: list[float] = []
        self._broken_since: datetime | None = None
        self._serving: tuple[str, str] = ("", "")  # version and digest
        self._started: dict[str, datetime] = {}

    @property
    def failures(self) -> int:
        """How many attempts failed, at once or later."""
        return sum(attempt.failed for attempt in self.attempts)

    @property
    def leads(self) -> list[float]:
        """The lead times of those that did not."""
        return [attempt.lead for attempt in self.attempts if attempt.lead is not None and not attempt.failed]

    def take(self, event: Mapping[str, Any]) -> None:
        """Go on by one event."""
        version, status, at = str(event.get("version")), event.get("status"), _when(event)
        digest = str(details_of(event).get("digest") or "")
        if status in {"failed", "rolled-back"} and details_of(event).get("changed") is False:
            self._started.pop(version, None)
            return  # what failed was a change of something else
        if event.get("stage") == "verify":
            if status in {"failed", "rolled-back"}:
                self._fail(version, digest, at)
            if status == "rolled-back":
                self._restored(at)
        elif status == "started":
            self._started[version] = at
        elif status == "succeeded":
            self._succeed(event, version, digest, at)
        elif status == "failed":
            began = self._started.pop(version, at)
            self.attempts.append(_Attempt(version, digest, began, failed=True))
            self._broken_since = self._broken_since or began
        elif status == "rolled-back":
            self._fail(version, digest, at)
            self._restored(at)
        elif status == "removed":
            # Neither a failure nor a deployment; nobody waits any more for what was broken.
            self._serving, self._broken_since = ("", ""), None

    def _succeed(self, event: Mapping[str, Any], version: str, digest: str, at: datetime) -> None:
        began = self._started.pop(version, at)
        details = details_of(event)
        self._restored(at)
        served_version, served_digest = self._serving
        is_same = version == served_version or bool(digest and digest == served_digest)
        again = details.get("changed") is False and is_same
        self._serving = (version, digest)
        if not again and not details.get("restored"):
            self.attempts.append(_Attempt(version, digest, began, failed=False, lead=_lead(details, at)))

    def _fail(self, version: str, digest: str, at: datetime) -> None:
        """What seemed to have gone well did not: the last attempt with this version, if it is not known already."""
        attempt = next((one for one in reversed(self.attempts) if one.is_of(version, digest)), None)
        if attempt is not None and not attempt.failed:
            attempt.failed = True
            self._broken_since = self._broken_since or attempt.began
        elif attempt is None:
            self._broken_since = self._broken_since or at

    def _restored(self, at: datetime) -> None:
        if self._broken_since is not None:
            self.outages.append(max(0.0, (at - self._broken_since).total_seconds()))
            self._broken_since = None


def _lead(details: Mapping[str, Any], at: datetime) -> float | None:
    committed = instant(details.get("committed_at"))
    seconds = (at - committed).total_seconds() if committed else -1.0
    return seconds if seconds >= 0 else None


def _turn(event: Mapping[str, Any]) -> tuple[datetime, int]:
    """Order by time; at one moment a start comes before an end, and what failed before what serves again."""
    status = event.get("status")
    return _when(event), _ORDER.index(status) if status in _ORDER else len(_ORDER)


def _when(event: Mapping[str, Any]) -> datetime:
    return moment(event) or datetime.fromtimestamp(0, UTC)
