"""The events that the ledger stores: what is recorded of a stage or a deployment."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, ConfigDict

from delivery.project.declaration import Declaration
from delivery.records.deployment import Action, Contents, Deployment, Outcome

__all__ = [
    "NO_DATA",
    "NO_ENVIRONMENT",
    "STAGES",
    "Details",
    "Origin",
    "Record",
    "Run",
    "SendResult",
    "components_of",
    "details_of",
    "ended",
    "format_seconds",
    "format_time",
    "parse_time",
    "printable",
    "send_result",
    "started",
    "time_of",
    "unchanged_components",
]

STAGES = ("prepare", "test", "plan", "build", "scan", "push", "deploy", "verify", "record")
NO_ENVIRONMENT = "none"  # the environment of a pipeline that deploys nothing
NO_DATA = "no data"
_RESPONSIBLE_LIMIT = 256
_VERSION_LIMIT = 128
_MINUTE = 60
_ERROR_LIMIT = 2000  # the details of an event are limited to 32 kB
# The characters that the ledger refuses: controls, unusual spaces, invisible characters, marks of
# the writing direction, and unpaired surrogates.
_UNPRINTABLE = re.compile(
    "[\u0000-\u001f\u007f-\u00a0\u00ad\u061c\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f"
    "\u3000\ud800-\udfff\ufeff\ufff0-\uffff\U000e0000-\U000e007f]+"
)


class SendResult(StrEnum):
    """The result of sending an event to the ledger."""

    DELIVERED = "delivered"
    REJECTED = "rejected"  # the ledger will never accept this event
    FAILED = "failed"  # this event, and later ones of its component, wait
    UNAVAILABLE = "unavailable"  # all events for this ledger wait


@dataclass(frozen=True)
class Origin:
    """Where a record comes from: the actor, and details; unknown values are empty."""

    actor: str
    pipeline: str = ""  # the address of the build; empty for a run by hand
    commit: str = ""
    branch: str = ""
    line: str = ""
    committed_at: str = ""


class Details(BaseModel):
    """The `details` of a record; JSON leaves out fields that are None."""

    model_config = ConfigDict(frozen=True, extra="allow")

    at: str = ""
    pipeline: str = ""
    commit: str = ""
    branch: str = ""
    line: str = ""
    committed_at: str = ""
    seconds: float | None = None  # since the run began
    step: str = ""
    run: str = ""  # the same in all records of a run
    digest: str | None = None
    error: str | None = None
    changed: bool | None = None  # whether a deploy replaced the bytes
    restored: bool | None = None  # whether a rollback brought this version back
    override: str | None = None  # why it was deployed although the environment was frozen
    vulnerabilities: Mapping[str, int] | None = None  # that a scan has found, by severity
    unscanned: str | None = None  # why nothing was scanned


class Record(BaseModel):
    """An event about a component: the body of `POST /deployments`."""

    model_config = ConfigDict(frozen=True, extra="allow")

    component: str
    version: str
    environment: str
    responsible: str
    stage: str
    status: str
    details: Details = Details()

    def to_json(self) -> dict[str, Any]:
        """The JSON document that the ledger accepts."""
        return self.model_dump(exclude_none=True)


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run of a stage: what its records have in common."""

    stage: str
    step: str  # the task
    chart: str  # the component that is the chart
    origin: Origin
    deployment: Deployment
    override: str = ""  # why it goes on although the environment is frozen
    identifier: str = field(default_factory=lambda: str(uuid.uuid4()))
    vulnerabilities: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # by component
    unscanned: str = ""

    @property
    def changed(self) -> list[str]:
        """The components that change, and may fail.

        Where no bytes change, the values do, which belong to the chart.
        """
        names = self.deployment.affected.versions
        changed = [name for name in names if name not in self.deployment.unchanged]
        return changed or [name for name in names if name == self.chart] or list(names)

    def record(
        self,
        component: str,
        status: str,
        contents: Contents | None = None,
        *,
        changed: bool | None = None,
        restored: bool | None = None,
    ) -> Record:
        """The record of a component, by default with the version that is deployed or removed."""
        deployment, origin = self.deployment, asdict(self.origin)
        actor = origin.pop("actor")
        contents = contents or deployment.affected
        is_end = status != "started"
        at = deployment.began + timedelta(seconds=deployment.seconds if is_end else 0)
        # JSON cannot hold unpaired surrogates.
        error = deployment.error.encode("utf-8", "replace").decode()[:_ERROR_LIMIT]
        return Record(
            component=component,
            version=printable(contents.versions[component], _VERSION_LIMIT),
            environment=deployment.environment or NO_ENVIRONMENT,
            responsible=printable(actor, _RESPONSIBLE_LIMIT),
            stage=self.stage,
            status=status,
            details=Details(
                **origin,
                at=format_time(at),
                seconds=deployment.seconds if is_end else None,
                step=self.step,
                run=self.identifier,
                digest=contents.digests.get(component),
                error=error or None,
                changed=changed,
                restored=restored,
                override=self.override or None,
                vulnerabilities=self.vulnerabilities.get(component),
                unscanned=self.unscanned or None,
            ),
        )


def started(run: Run) -> list[Record]:
    """The records of a run that begins."""
    return [run.record(name, "started") for name in run.changed]


def ended(run: Run) -> list[Record]:
    """The records of a run whose deployment has ended, by its outcome."""
    deployment, names = run.deployment, run.deployment.affected.versions
    if deployment.outcome in {Outcome.FAILED, Outcome.ROLLED_BACK}:
        # A rollback that fails leaves the environment as it was: nothing is rolled back.
        is_rolled_back = (
            deployment.outcome is Outcome.ROLLED_BACK and deployment.action is not Action.ROLLBACK
        )
        statuses = ["failed", "rolled-back"] if is_rolled_back else ["failed"]
        return [run.record(name, status) for status in statuses for name in run.changed]
    if deployment.action is Action.REMOVE:
        return [replace(run, stage="deploy").record(name, "removed") for name in names]
    if deployment.action in {Action.VERIFY, Action.NONE}:
        return [run.record(name, "succeeded") for name in names]
    rolled_back: list[Record] = []
    restored: bool | None = None
    if deployment.action is Action.ROLLBACK and deployment.previous_contents.versions:
        rolled_back = [
            run.record(name, "rolled-back", deployment.previous_contents)
            for name in deployment.previous_contents.versions
            if name not in deployment.unchanged
        ]
        restored = True
    return rolled_back + [
        run.record(name, "succeeded", changed=name not in deployment.unchanged, restored=restored)
        for name in names
    ]


def unchanged_components(records: Iterable[Record]) -> set[str]:
    """The components whose bytes the last successful deploy left unchanged."""
    changed = {
        record.component: record.details.changed
        for record in records
        if (record.stage, record.status) == ("deploy", "succeeded")
    }
    return {name for name, is_changed in changed.items() if is_changed is False}


def components_of(declaration: Declaration, part: str = "") -> list[str]:
    """The components of a subproject ("": of all), none of an unknown one.

    The project's own name is a component of its own: the checks of `delivery/` are recorded for it.
    """
    if part == declaration.name:
        return [part]
    by_folder = {image.context: name for name, image in declaration.images.items()}
    by_folder[declaration.chart.folder] = declaration.chart.folder
    if not part:
        return list(dict.fromkeys(by_folder.values()))
    if part not in declaration.subprojects:
        return []
    folders = declaration.subprojects[part].folders
    return [by_folder[folder] for folder in folders if folder in by_folder]


def send_result(status: int) -> SendResult:
    """What the HTTP status of the ledger's answer means for the event; 0 means no answer."""
    if status in range(200, 300):
        return SendResult.DELIVERED
    if status in {400, 413, 415, 422}:
        return SendResult.REJECTED
    # A token's scope may allow the events of other components.
    if status in {HTTPStatus.FORBIDDEN, HTTPStatus.INTERNAL_SERVER_ERROR}:
        return SendResult.FAILED
    return SendResult.UNAVAILABLE


def printable(text: str, limit: int) -> str:
    """The text without characters that the ledger refuses, at most this long, never empty."""
    return _UNPRINTABLE.sub(" ", text).strip()[:limit].strip() or "unknown"


def format_time(at: datetime) -> str:
    """A time in UTC with milliseconds, by RFC 3339."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_time(text: object) -> datetime | None:
    """The time that a text means, in UTC where it has no zone; None when it is not a time."""
    try:
        at = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def time_of(event: Mapping[str, Any]) -> datetime | None:
    """When an event happened, at the latest when the ledger received it; None when unknown."""
    at, received = parse_time(details_of(event).get("at")), parse_time(event.get("received_at"))
    return min((time for time in (at, received) if time), default=None)


def details_of(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """An event's details; empty when they are missing or not an object."""
    details = event.get("details")
    return details if isinstance(details, Mapping) else {}


def format_seconds(seconds: float) -> str:
    """A duration for people: 4.2 s, 3 min 20 s, 5 h 10 min, 2 d 4 h."""
    if seconds < _MINUTE:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit, size, small_unit, small_size in (
        ("d", 86400, "h", 3600),
        ("h", 3600, "min", _MINUTE),
        ("min", _MINUTE, "s", 1),
    ):
        if whole >= size:
            rest = whole % size // small_size
            return f"{whole // size} {unit}" + (f" {rest} {small_unit}" if rest else "")
    return f"{whole} s"
