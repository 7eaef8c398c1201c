"""The four DORA figures and stage durations, from what the ledger holds; docs/records.md defines each."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
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

COLUMNS = (
    "id",
    "received_at",
    "component",
    "version",
    "environment",
    "responsible",
    "stage",
    "status",
    "details",
)
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
            NO_DATA
            if rate is None
            else f"{rate:.0%} ({self.failures} of {self.deployments + self.failures})",
            NO_DATA if self.restore_time is None else lasting(self.restore_time),
        )

    def to_json(self) -> dict[str, object]:
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
        raise DeclarationError(
            f"read --since: {text!r} is no span of time", hint="as in 30d, 12h, 90m, 8w"
        )
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def cell(value: object) -> str:
    """A value for a spreadsheet: what one would take for a formula begins with an apostrophe."""
    if value is None:
        return ""
    text = (
        value
        if isinstance(value, str)
        else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    )
    return f"'{text}" if text.startswith(_FORMULA) or text.lstrip().startswith(_FORMULA) else text


def deployments(events: Iterable[Mapping[str, Any]], limit: int) -> list[Mapping[str, Any]]:
    """The ends of the last deploys, and the last removals, the newest first."""
    ends = [
        event
        for event in events
        if is_removal(event)
        or (event.get("stage") == "deploy" and event.get("status") != "started")
    ]
    return sorted(ends, key=_order, reverse=True)[:limit]


def is_removal(event: Mapping[str, Any]) -> bool:
    """Whether a deployment was removed; an earlier version of this project said so in the details."""
    return event.get("status") == "removed" or details_of(event).get("removed") is True


def durations(events: Iterable[Mapping[str, Any]]) -> list[Duration]:
    """How long each stage of each component took, of the runs that came to an end.

    In a pipeline a stage lasts from its first step's start to its last step's end.
    """
    runs: dict[tuple[str, str], dict[object, tuple[datetime, datetime]]] = {}
    for number, event in enumerate(events):
        details = details_of(event)
        seconds = details.get("seconds")
        if (
            not isinstance(seconds, int | float)
            or isinstance(seconds, bool)
            or not 0 <= seconds < _LONGEST
        ):
            continue
        is_end = event.get("status") in {"succeeded", "failed"} and not details.get("restored")
        if not is_end or is_removal(event):  # a removal is no stage of a pipeline
            continue
        ours = runs.setdefault((str(event.get("component")), str(event.get("stage"))), {})
        build = str(details.get("pipeline") or "")
        run = (build, event.get("version"), event.get("environment")) if build else number
        end = _when(event)
        first, last = ours.get(run, (end, end))
        ours[run] = min(first, end - timedelta(seconds=float(seconds))), max(last, end)
    found = []
    for (component, stage), spans in runs.items():
        times = sorted((last - first).total_seconds() for first, last in spans.values())
        p90 = times[math.ceil(0.9 * len(times)) - 1]  # nearest rank
        found.append(Duration(component, stage, len(times), median(times), p90))
    return sorted(
        found, key=lambda one: (one.component, (*STAGES, one.stage).index(one.stage), one.stage)
    )


def figures(events: Iterable[Mapping[str, Any]], since: datetime, until: datetime) -> list[Figures]:
    """The four figures of each component in each environment, from events of that time in any order."""
    histories: dict[tuple[str, str], _History] = {}
    for event in sorted(events, key=_order):
        if event.get("environment") != NOWHERE and event.get("stage") in {"deploy", "verify"}:
            place = str(event.get("component")), str(event.get("environment"))
            histories.setdefault(place, _History()).add(_Event.read(event))
    days = max((until - since).total_seconds() / _DAY, 1 / _DAY)
    return [history.figures(*place, days) for place, history in sorted(histories.items())]


@dataclass(frozen=True)
class _Event:
    """What the figures need of an event: what was done to which version, and when."""

    stage: str
    status: str
    version: str
    digest: str
    at: datetime
    changed: object  # False when the component stayed as it was
    restored: bool  # a rollback brought the version back
    committed_at: datetime | None

    @classmethod
    def read(cls, event: Mapping[str, Any]) -> _Event:
        details = details_of(event)
        return cls(
            stage=str(event.get("stage")),
            status=str(event.get("status")),
            version=str(event.get("version")),
            digest=str(details.get("digest") or ""),
            at=_when(event),
            changed=details.get("changed"),
            restored=bool(details.get("restored")),
            committed_at=instant(details.get("committed_at")),
        )

    def is_same(self, other: _Event) -> bool:
        """Whether both are about one version, or about the same bytes under two names."""
        return self.version == other.version or bool(self.digest and self.digest == other.digest)


@dataclass
class _Attempt:
    """A change that was brought to an environment, or was to be."""

    event: _Event
    began: datetime
    failed: bool


class _History:
    """What happened to a component in an environment, event by event."""

    def __init__(self) -> None:
        self._attempts: list[_Attempt] = []
        self._outages: list[float] = []
        self._broken_since: datetime | None = None
        self._current: _Event | None = None
        self._started: dict[str, datetime] = {}

    def figures(self, component: str, environment: str, days: float) -> Figures:
        """The four figures of what was added."""
        succeeded = [attempt.event for attempt in self._attempts if not attempt.failed]
        failures = len(self._attempts) - len(succeeded)
        leads = [
            (event.at - event.committed_at).total_seconds()
            for event in succeeded
            if event.committed_at and event.committed_at <= event.at
        ]
        return Figures(
            component,
            environment,
            len(succeeded),
            failures,
            days,
            median(leads) if leads else None,
            median(self._outages) if self._outages else None,
        )

    def add(self, event: _Event) -> None:
        """Go on by one event; they come in their order."""
        if event.status in {"failed", "rolled-back"} and event.changed is False:
            self._started.pop(event.version, None)  # what failed was a change of something else
        elif event.status == "rolled-back":
            self._fail(event)
            self._restore(event.at)
        elif event.stage == "verify":
            if event.status == "failed":
                self._fail(event)
        elif event.status == "started":
            self._started[event.version] = event.at
        elif event.status == "succeeded":
            self._succeed(event)
        elif event.status == "failed":
            began = self._started.pop(event.version, event.at)
            self._attempts.append(_Attempt(event, began, failed=True))
            self._broken_since = self._broken_since or began
        elif event.status == "removed":
            # Neither a failure nor a deployment, and nobody waits any more for what was broken.
            self._current = self._broken_since = None

    def _succeed(self, event: _Event) -> None:
        began = self._started.pop(event.version, event.at)
        self._restore(event.at)
        unchanged = (
            event.changed is False and self._current is not None and event.is_same(self._current)
        )
        self._current = event
        if not unchanged and not event.restored:
            self._attempts.append(_Attempt(event, began, failed=False))

    def _fail(self, event: _Event) -> None:
        """The last attempt with this version, which seemed to have gone well, had failed."""
        attempt = next((one for one in reversed(self._attempts) if one.event.is_same(event)), None)
        if attempt is None:
            self._broken_since = self._broken_since or event.at
        elif not attempt.failed:
            attempt.failed = True
            self._broken_since = self._broken_since or attempt.began

    def _restore(self, at: datetime) -> None:
        if self._broken_since is not None:
            self._outages.append(max(0.0, (at - self._broken_since).total_seconds()))
            self._broken_since = None


def _order(event: Mapping[str, Any]) -> tuple[datetime, int]:
    """By time; at one moment a start comes before an end, and what failed before what serves again."""
    return _when(event), (*_ORDER, event.get("status")).index(event.get("status"))


def _when(event: Mapping[str, Any]) -> datetime:
    return moment(event) or datetime.fromtimestamp(0, UTC)
