"""Records: what the deployment ledger is told of a stage, and what its answers mean."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from delivery.errors import DeclarationError
from delivery.project.declaration import Declaration

__all__ = [
    "NOWHERE",
    "STAGES",
    "Fate",
    "Origin",
    "Run",
    "StageTime",
    "begun",
    "components",
    "details_of",
    "fate",
    "instant",
    "journal_name",
    "kept_components",
    "moment",
    "printable",
    "rfc3339",
    "same",
    "span",
    "stage_times",
]

STAGES = ("prepare", "test", "plan", "build", "scan", "push", "deploy", "verify", "record")
NOWHERE = "none"  # the environment of a pipeline that deploys nowhere
_RESPONSIBLE_LIMIT = 256
_VERSION_LIMIT = 128
_TEXT_LIMIT = 2000  # of an error, in details that may have 32 kB
# What the ledger refuses in a text: controls, odd spaces, marks that are not seen or turn its direction, halves of a pair.
NO_DATA = "no data"
_UNSEEN = re.compile(
    "[\u0000-\u001f\u007f-\u00a0\u00ad\u061c\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000"
    "\ud800-\udfff\ufeff\ufff0-\uffff\U000e0000-\U000e007f]+"
)
_ENDS = ("succeeded", "failed", "rolled-back", "removed")


class Fate(StrEnum):
    """What becomes of an event that was sent."""

    DELIVERED = "delivered"
    REJECTED = "rejected"  # it will never be taken: put aside
    HELD = "held"  # this one, and what follows it of the same component, waits; others go on
    AWAY = "away"  # the ledger takes nothing now


@dataclass(frozen=True)
class Origin:
    """Where events come from: the pipeline's build ("" by hand), the commit with its branch, line and time, and who is at it."""

    responsible: str
    pipeline: str = ""
    commit: str = ""
    branch: str = ""
    line: str = ""
    committed_at: str = ""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of a stage: what it is about, and when it began.

    `identifier` is the same in all of its events; digests are those behind the versions, where they
    are known.
    """

    identifier: str
    stage: str
    step: str
    environment: str
    versions: Mapping[str, str]
    origin: Origin
    began: datetime
    digests: Mapping[str, str] = field(default_factory=dict)

    def event(self, component: str, status: str, at: datetime, *, error: str = "", **more: object) -> dict[str, Any]:
        """What the ledger is told of one component; `more` are further details."""
        details: dict[str, Any] = {
            "at": rfc3339(at),
            "pipeline": self.origin.pipeline,
            "commit": self.origin.commit,
            "branch": self.origin.branch,
            "line": self.origin.line,
            "committed_at": self.origin.committed_at,
        }
        if status != "started":
            details["seconds"] = round(max(0.0, (at - self.began).total_seconds()), 3)
        details |= {"step": self.step, "run": self.identifier}
        if component in self.digests:
            details["digest"] = self.digests[component]
        if error:
            details["error"] = _text(error)
        return {
            "component": component,
            "version": printable(self.versions[component], _VERSION_LIMIT),
            "environment": self.environment or NOWHERE,
            "responsible": printable(self.origin.responsible, _RESPONSIBLE_LIMIT),
            "stage": self.stage,
            "status": status,
            "details": {**details, **more},
        }


@dataclass(frozen=True)
class StageTime:
    """How long a stage of a pipeline took, from its first start to its last end, and how it ended; None: it has not."""

    stage: str
    status: str
    seconds: float | None


def rfc3339(at: datetime) -> str:
    """A time in UTC with milliseconds."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def printable(text: str, limit: int) -> str:
    """A text as the ledger takes it: nothing unseen, no space at either end, not longer than this, never empty."""
    return _UNSEEN.sub(" ", text).strip()[:limit].strip() or "unknown"


def _text(text: str) -> str:
    """An error's text, of which its end may be cut off."""
    return text.encode("utf-8", "replace").decode()[:_TEXT_LIMIT]


def components(declaration: Declaration, names: Sequence[str] = ()) -> list[str]:
    """What events are about: these names, a subproject's standing for its images and its chart; without any, all of ours."""
    of_folder = {image.context: name for name, image in declaration.images.items()}
    of_folder[declaration.chart.folder] = declaration.chart.folder
    everything = list(dict.fromkeys(of_folder.values()))
    if not names:
        return everything
    found: list[str] = []
    for name in names:
        if name in {*everything, declaration.name}:
            found.append(name)
        elif name in declaration.subprojects:
            found += [of_folder[folder] for folder in declaration.subprojects[name].folders if folder in of_folder]
        else:
            known = ", ".join(dict.fromkeys([*everything, *declaration.subprojects, declaration.name]))
            raise DeclarationError(f"record {name}: there is no such component", hint=f"one of {known}")
    return list(dict.fromkeys(found))


def fate(status: int) -> Fate:
    """What an answer's HTTP status means for the event that it answers; 0 is no answer."""
    if 200 <= status < 300:  # noqa: PLR2004  # HTTP's own numbers
        return Fate.DELIVERED
    if status in {400, 413, 415, 422}:
        return Fate.REJECTED
    return Fate.HELD if status == 500 else Fate.AWAY  # noqa: PLR2004


def same(event: Mapping[str, Any], stored: Mapping[str, Any]) -> bool:
    """Whether what the ledger has is this very event."""
    return all(stored.get(name) == value for name, value in event.items())


def journal_name(pipeline: str) -> str:
    """The name of the file that a pipeline's own events are kept in, made of its build's address."""
    readable = re.sub(r"[^A-Za-z0-9]+", "-", pipeline.rpartition("://")[2]).strip("-")[-60:].strip("-")
    return f"{readable or 'build'}-{hashlib.sha256(pipeline.encode()).hexdigest()[:8]}.jsonl"


def begun(events: Iterable[Mapping[str, Any]], run: Run, component: str) -> bool:
    """Whether this pipeline has begun this stage of a component before: a second step of a stage begins nothing anew."""
    return any(_place(event) == (component, run.versions[component], run.stage) for event in events)


def _place(event: Mapping[str, Any]) -> tuple[str, str, str]:
    return str(event.get("component")), str(event.get("version")), str(event.get("stage"))


def kept_components(events: Iterable[Mapping[str, Any]]) -> set[str]:
    """The components that the last deploy, of those that ended well, left as they were."""
    last = {
        str(event["component"]): details_of(event).get("changed") is False
        for event in events
        if (event.get("stage"), event.get("status")) == ("deploy", "succeeded")
    }
    return {name for name, kept in last.items() if kept}


def moment(event: Mapping[str, Any]) -> datetime | None:
    """When an event happened, else when the ledger took it; None when neither can be read."""
    told, received = instant(details_of(event).get("at")), instant(event.get("received_at"))
    return received if told is None or (received and told > received) else told


def instant(told: object) -> datetime | None:
    """The time that a text means, in UTC where it names no zone; None when it is none."""
    try:
        at = datetime.fromisoformat(str(told))
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def details_of(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """An event's details; none where it has none, or something else in their place."""
    details = event.get("details")
    return details if isinstance(details, Mapping) else {}


def stage_times(events: Iterable[Mapping[str, Any]]) -> list[StageTime]:
    """How the stages of a pipeline went, in the order in which they come; one of several components or steps is one stage."""
    known = list(events)
    found = []
    for stage in STAGES:
        ours = [event for event in known if event.get("stage") == stage]
        if not ours:
            continue
        starts = [at for event in ours if event.get("status") == "started" and (at := moment(event))]
        ends = [at for event in ours if event.get("status") in _ENDS and (at := moment(event))]
        seconds = max(0.0, (max(ends) - min(starts)).total_seconds()) if starts and ends else None
        status = _status(ours)
        found.append(StageTime(stage, status, None if status == "started" else seconds))
    return found


def _status(events: Sequence[Mapping[str, Any]]) -> str:
    """The worst that is said of a stage; started while a run of it has no end."""
    statuses = {event.get("status") for event in events}
    for status in ("rolled-back", "failed"):
        if status in statuses:
            return status
    ended = {details_of(event).get("run") for event in events if event.get("status") in _ENDS}
    going = {details_of(event).get("run") for event in events} - ended
    return "started" if going else "succeeded"


def span(events: Iterable[Mapping[str, Any]]) -> float | None:
    """The seconds from the first to the last event; None without any."""
    at = [one for event in events if (one := moment(event))]
    return (max(at) - min(at)).total_seconds() if at else None


def lasting(seconds: float) -> str:
    """A time for people: 4.2 s, 3 min 20 s, 5 h 10 min, 2 d 4 h."""
    if seconds < 60:  # noqa: PLR2004
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for large, many, small, few in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= many:
            rest = whole % many // few
            return f"{whole // many} {large}" + (f" {rest} {small}" if rest else "")
    return f"{whole} s"
