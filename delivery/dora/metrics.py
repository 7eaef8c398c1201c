"""The four DORA figures and stage durations; docs/records.md defines each."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

from delivery.errors import DeclarationError
from delivery.records.events import (
    NO_DATA,
    NO_ENVIRONMENT,
    STAGES,
    details_of,
    format_seconds,
    parse_time,
    time_of,
)

__all__ = [
    "Duration",
    "Figures",
    "deployments",
    "durations",
    "figures",
    "parse_span",
]

_DAY = 86400.0
_LONGEST = 366 * _DAY  # an event that says that a run took longer is wrong
_ORDER = ("started", "failed", "rolled-back", "succeeded")
_SPAN = re.compile(r"([1-9][0-9]{0,4})([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True)
class Duration:
    """How long the runs of a stage of a component took; its fields are its JSON document."""

    component: str
    stage: str
    runs: int
    median_seconds: float
    p90_seconds: float  # the time within which 90 % of the runs ended

    def row(self) -> tuple[str, ...]:
        """The duration as a row of a table."""
        times = (format_seconds(self.median_seconds), format_seconds(self.p90_seconds))
        return self.component, self.stage, str(self.runs), *times


@dataclass(frozen=True)
class Figures:
    """The four figures of a component in an environment; None means no data."""

    component: str
    environment: str
    deployments: int
    failures: int
    days: float
    lead_time: float | None  # seconds
    restore_time: float | None  # seconds

    @property
    def frequency(self) -> float | None:
        """Deployments a day."""
        return self.deployments / self.days if self.deployments else None

    @property
    def attempts(self) -> int:
        """The deployments that succeeded or failed."""
        return self.deployments + self.failures

    @property
    def failure_rate(self) -> float | None:
        """The share of attempts that failed."""
        return self.failures / self.attempts if self.attempts else None

    def row(self) -> tuple[str, ...]:
        """The figures as a row of a table."""
        frequency, rate = self.frequency, self.failure_rate
        return (
            self.component,
            self.environment,
            NO_DATA if frequency is None else f"{frequency:.2g} a day ({self.deployments})",
            NO_DATA if self.lead_time is None else format_seconds(self.lead_time),
            NO_DATA if rate is None else f"{rate:.0%} ({self.failures} of {self.attempts})",
            NO_DATA if self.restore_time is None else format_seconds(self.restore_time),
        )

    def to_json(self) -> dict[str, object]:
        """The figures as a JSON document."""
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


def parse_span(text: str) -> timedelta:
    """The time that --since means, such as 30d or 12h; raise DeclarationError when invalid."""
    match = _SPAN.fullmatch(text.strip())
    if not match:
        raise DeclarationError(
            f"cannot read --since: {text!r} is not a span of time",
            hint="pass a span such as 30d, 12h, 90m or 8w",
        )
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def deployments(events: Iterable[Mapping[str, Any]], limit: int) -> list[Mapping[str, Any]]:
    """The last ends of deploys and removals, the newest first."""
    ends = [
        event
        for event in events
        if event.get("stage") == "deploy" and event.get("status") != "started"
    ]
    return sorted(ends, key=_order, reverse=True)[:limit]


def durations(events: Iterable[Mapping[str, Any]]) -> list[Duration]:
    """How long each stage of each component took, of the runs that ended.

    In a pipeline a stage lasts from the start of its first run to the end of its last.
    """
    runs: dict[tuple[str, str], dict[object, tuple[datetime, datetime]]] = {}
    for number, event in enumerate(events):
        seconds = _run_seconds(event)
        if seconds is None:
            continue
        of_stage = runs.setdefault((str(event.get("component")), str(event.get("stage"))), {})
        build = str(details_of(event).get("pipeline") or "")
        run = (build, event.get("version"), event.get("environment")) if build else number
        end = _when(event)
        first, last = of_stage.get(run, (end, end))
        of_stage[run] = min(first, end - timedelta(seconds=seconds)), max(last, end)
    durations = []
    for (component, stage), spans in runs.items():
        times = sorted((last - first).total_seconds() for first, last in spans.values())
        p90 = times[math.ceil(0.9 * len(times)) - 1]  # nearest rank
        durations.append(Duration(component, stage, len(times), median(times), p90))
    order = {stage: number for number, stage in enumerate(STAGES)}
    return sorted(
        durations,
        key=lambda each: (each.component, order.get(each.stage, len(order)), each.stage),
    )


def _run_seconds(event: Mapping[str, Any]) -> float | None:
    """How long the run took that this event ends; None for other events and odd values."""
    details = details_of(event)
    seconds = details.get("seconds")
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        return None
    is_end = event.get("status") in {"succeeded", "failed"} and not details.get("restored")
    return float(seconds) if is_end and 0 <= seconds < _LONGEST else None


def figures(events: Iterable[Mapping[str, Any]], since: datetime, until: datetime) -> list[Figures]:
    """The four figures of each component in each environment, from events in any order."""
    histories: dict[tuple[str, str], _History] = {}
    for event in sorted(events, key=_order):
        if event.get("environment") != NO_ENVIRONMENT and event.get("stage") in {
            "deploy",
            "verify",
        }:
            key = str(event.get("component")), str(event.get("environment"))
            histories.setdefault(key, _History()).add(_Event.read(event))
    days = max((until - since).total_seconds() / _DAY, 1 / _DAY)
    return [history.figures(*key, days) for key, history in sorted(histories.items())]


@dataclass(frozen=True)
class _Event:
    """The fields of an event that the figures need."""

    stage: str
    status: str
    version: str
    digest: str
    at: datetime
    changed: object  # False when the bytes of the component stayed the same
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
            committed_at=parse_time(details.get("committed_at")),
        )

    def is_same(self, other: _Event) -> bool:
        """Whether both have the same version, or the same bytes under two names."""
        return self.version == other.version or bool(self.digest and self.digest == other.digest)


@dataclass
class _Attempt:
    """A change that was, or failed to be, deployed."""

    event: _Event
    began: datetime
    failed: bool


class _History:
    """The deployments of a component in an environment, built event by event."""

    def __init__(self) -> None:
        self._attempts: list[_Attempt] = []
        self._outages: list[float] = []
        self._broken_since: datetime | None = None
        self._current: _Event | None = None
        self._started: dict[str, datetime] = {}  # by version

    def figures(self, component: str, environment: str, days: float) -> Figures:
        """The four figures of the events added so far."""
        succeeded = [attempt.event for attempt in self._attempts if not attempt.failed]
        lead_times = [
            (event.at - event.committed_at).total_seconds()
            for event in succeeded
            if event.committed_at and event.committed_at <= event.at
        ]
        return Figures(
            component,
            environment,
            deployments=len(succeeded),
            failures=len(self._attempts) - len(succeeded),
            days=days,
            lead_time=median(lead_times) if lead_times else None,
            restore_time=median(self._outages) if self._outages else None,
        )

    def add(self, event: _Event) -> None:
        """Add the next event in time."""
        if event.status in {"failed", "rolled-back"} and event.changed is False:
            self._started.pop(event.version, None)  # another component's change failed
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
            # Neither a failure nor a deployment, and it ends an outage without a restore.
            self._current = self._broken_since = None

    def _succeed(self, event: _Event) -> None:
        began = self._started.pop(event.version, event.at)
        self._restore(event.at)
        is_unchanged = (
            event.changed is False and self._current is not None and event.is_same(self._current)
        )
        self._current = event
        if not is_unchanged and not event.restored:
            self._attempts.append(_Attempt(event, began, failed=False))

    def _fail(self, event: _Event) -> None:
        """Mark the last attempt with this version as failed, which had seemed to succeed."""
        same = (attempt for attempt in reversed(self._attempts) if attempt.event.is_same(event))
        attempt = next(same, None)
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
    """By time; at the same time starts come first and successes last."""
    return _when(event), (*_ORDER, event.get("status")).index(event.get("status"))


def _when(event: Mapping[str, Any]) -> datetime:
    return time_of(event) or datetime.fromtimestamp(0, UTC)
