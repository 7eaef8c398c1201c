"""Records: what the deployment ledger is told of a stage, and what its answers mean."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

from delivery.errors import DeclarationError, did_you_mean
from delivery.project.declaration import Declaration
from delivery.records.deployment import Action, Deployment, Outcome

__all__ = [
    "NOWHERE",
    "STAGES",
    "Details",
    "Fate",
    "Origin",
    "Record",
    "Run",
    "StageTime",
    "begun",
    "components",
    "details_of",
    "failed",
    "fate",
    "instant",
    "journal_name",
    "kept_components",
    "moment",
    "of_deployment",
    "printable",
    "rfc3339",
    "same",
    "span",
    "stage_times",
    "started",
    "succeeded",
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
    """Where records come from: the pipeline's build ("" by hand), the commit, and who is responsible."""

    responsible: str
    pipeline: str = ""
    commit: str = ""
    branch: str = ""
    line: str = ""
    committed_at: str = ""


class Details(BaseModel):
    """What a record says besides; a field that is not known is left out of its JSON."""

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
    restored: bool | None = None  # whether a rollback brought it back


class Record(BaseModel):
    """What the ledger is told of one component: `POST /deployments`."""

    model_config = ConfigDict(frozen=True, extra="allow")

    component: str
    version: str
    environment: str
    responsible: str
    stage: str
    status: str
    details: Details = Details()

    def to_json(self) -> dict[str, Any]:
        """The JSON document that the ledger takes."""
        return self.model_dump(exclude_none=True)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of a stage.

    versions and digests are those of the components that it is about; of those in unchanged the
    bytes stay the same. chart is the name under which the chart is one of them.
    """

    identifier: str = field(default_factory=lambda: str(uuid.uuid4()))
    stage: str
    step: str
    environment: str
    versions: Mapping[str, str]
    digests: Mapping[str, str] = field(default_factory=dict)
    unchanged: Collection[str] = ()
    chart: str = ""
    origin: Origin
    began: datetime

    @property
    def changed(self) -> list[str]:
        """What changes, and may fail; where no bytes change, values do, which are the chart's."""
        changed = [name for name in self.versions if name not in self.unchanged]
        return (
            changed or [name for name in self.versions if name == self.chart] or list(self.versions)
        )

    def record(
        self, component: str, status: str, at: datetime, *, error: str = "", **more: bool
    ) -> Record:
        """The record of one component; `more` are further details."""
        ended = status != "started"
        details = Details(
            at=rfc3339(at),
            pipeline=self.origin.pipeline,
            commit=self.origin.commit,
            branch=self.origin.branch,
            line=self.origin.line,
            committed_at=self.origin.committed_at,
            seconds=round(max(0.0, (at - self.began).total_seconds()), 3) if ended else None,
            step=self.step,
            run=self.identifier,
            digest=self.digests.get(component),
            error=_text(error) if error else None,
            **more,
        )
        return Record(
            component=component,
            version=printable(self.versions[component], _VERSION_LIMIT),
            environment=self.environment or NOWHERE,
            responsible=printable(self.origin.responsible, _RESPONSIBLE_LIMIT),
            stage=self.stage,
            status=status,
            details=details,
        )


def started(run: Run) -> list[Record]:
    """What is recorded when a run begins."""
    return [run.record(name, "started", run.began) for name in run.changed]


def succeeded(run: Run, at: datetime) -> list[Record]:
    """The records of a stage that succeeded."""
    return [run.record(name, "succeeded", at) for name in run.versions]


def failed(run: Run, at: datetime, error: str, *, rolled_back: bool = False) -> list[Record]:
    """What is recorded of a run that failed: what changed did; the rest serves on as before."""
    statuses = ("failed", "rolled-back") if rolled_back else ("failed",)
    return [
        run.record(name, status, at, error=error) for status in statuses for name in run.changed
    ]


def of_deployment(run: Run, deployment: Deployment) -> list[Record]:
    """What is recorded of a deployment that has ended."""
    at = deployment.began + timedelta(seconds=deployment.seconds)
    unchanged, error = deployment.unchanged, deployment.error
    if deployment.outcome in {Outcome.FAILED, Outcome.ROLLED_BACK}:
        is_taken_back = (
            deployment.outcome is Outcome.ROLLED_BACK and deployment.action is not Action.ROLLBACK
        )
        return failed(run, at, error, rolled_back=is_taken_back)
    if deployment.action is Action.REMOVE:
        run = replace(run, stage="deploy")
        return [run.record(name, "removed", at, error=error) for name in run.versions]
    taken_back: list[Record] = []
    restored = {}
    if deployment.action is Action.ROLLBACK:
        before = replace(
            run, versions=deployment.before.versions, digests=deployment.before.digests
        )
        taken_back = [
            before.record(name, "rolled-back", at)
            for name in before.versions
            if name not in unchanged
        ]
        restored = {"restored": True} if before.versions else {}
    return taken_back + [
        run.record(name, "succeeded", at, error=error, changed=name not in unchanged, **restored)
        for name in run.versions
    ]


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
            found += [
                of_folder[folder]
                for folder in declaration.subprojects[name].folders
                if folder in of_folder
            ]
        else:
            known = dict.fromkeys([*everything, *declaration.subprojects, declaration.name])
            hint = did_you_mean(name, known, f"one of {', '.join(known)}")
            raise DeclarationError(f"record {name}: there is no such component", hint=hint)
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
    readable = (
        re.sub(r"[^A-Za-z0-9]+", "-", pipeline.rpartition("://")[2]).strip("-")[-60:].strip("-")
    )
    return f"{readable or 'build'}-{hashlib.sha256(pipeline.encode()).hexdigest()[:8]}.jsonl"


def begun(records: Iterable[Record], run: Run, component: str) -> bool:
    """Whether this pipeline began this stage of a component before, in another step."""
    return any(
        (record.component, record.version, record.stage)
        == (component, run.versions[component], run.stage)
        for record in records
    )


def kept_components(records: Iterable[Record]) -> set[str]:
    """The components whose bytes the last successful deploy left as they were."""
    changed = {
        record.component: record.details.changed
        for record in records
        if (record.stage, record.status) == ("deploy", "succeeded")
    }
    return {name for name, is_changed in changed.items() if is_changed is False}


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


def stage_times(records: Iterable[Record]) -> list[StageTime]:
    """How the stages of a pipeline went, in their order; components and steps of one stage are one."""
    known = list(records)
    by_stage = [(stage, [record for record in known if record.stage == stage]) for stage in STAGES]
    return [_stage_time(stage, ours) for stage, ours in by_stage if ours]


def _stage_time(stage: str, records: Sequence[Record]) -> StageTime:
    starts = [
        at
        for record in records
        if record.status == "started" and (at := instant(record.details.at))
    ]
    ends = [
        at for record in records if record.status in _ENDS and (at := instant(record.details.at))
    ]
    seconds = max(0.0, (max(ends) - min(starts)).total_seconds()) if starts and ends else None
    status = _status(records)
    return StageTime(stage, status, None if status == "started" else seconds)


def _status(records: Sequence[Record]) -> str:
    """The worst status of a stage; started while a run of it has not ended."""
    statuses = {record.status for record in records}
    for status in ("rolled-back", "failed"):
        if status in statuses:
            return status
    ended = {record.details.run for record in records if record.status in _ENDS}
    return "started" if {record.details.run for record in records} - ended else "succeeded"


def span(records: Iterable[Record]) -> float | None:
    """The seconds from the first to the last record; None without any."""
    at = [moment for record in records if (moment := instant(record.details.at))]
    return (max(at) - min(at)).total_seconds() if at else None


def lasting(seconds: float) -> str:
    """A time for people: 4.2 s, 3 min 20 s, 5 h 10 min, 2 d 4 h."""
    if seconds < 60:  # noqa: PLR2004
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for large, many, small, few in (
        ("d", 86400, "h", 3600),
        ("h", 3600, "min", 60),
        ("min", 60, "s", 1),
    ):
        if whole >= many:
            rest = whole % many // few
            return f"{whole // many} {large}" + (f" {rest} {small}" if rest else "")
    return f"{whole} s"
