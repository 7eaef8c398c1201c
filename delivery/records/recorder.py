"""Tell the ledger of stages and deployments: into the outbox first, which is then delivered.

Recording never fails what it records; what cannot be recorded is one line on standard error.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from delivery import machine, process
from delivery.errors import DeclarationError, DeliveryError, DeployError, TerminatedError
from delivery.machine import pipeline
from delivery.origin import origin
from delivery.project import files, gather, git, gitflow, saved_settings
from delivery.project.declaration import Declaration
from delivery.project.files import ROOT
from delivery.records import events, outbox
from delivery.records.deployment import Action, Deployment, Outcome
from delivery.records.events import Fate, Origin, Record, Run
from delivery.records.ledger import Ledger
from delivery.records.outbox import Report, Waiting
from delivery.release.released import Release, ReleasedPart, read_release

__all__ = [
    "Recording",
    "address",
    "deliver",
    "deployment",
    "journal",
    "ledger",
    "pipeline",
    "source",
    "stage",
    "state",
]

_ADDRESS = "DELIVERY_LEDGER"
_TOKEN = "DELIVERY_LEDGER_TOKEN"  # noqa: S105  # a variable's name
_FIRST_SECONDS = 3.0  # before the work
_LAST_SECONDS = 10.0  # after it
_REQUEST_SECONDS = 6.0  # the ledger gives itself 5 s to have Kafka's answer
_MARGIN_SECONDS = 1.0
# The ledger knows an Idempotency-Key for a week: before then it is asked whether it has the event.
_OLD = timedelta(days=6)
_SKEW = timedelta(days=1)  # how far two clocks may be apart
# The stage that a deployment is recorded as; a removal that fails is not a failed change.
_STAGES = {Action.VERIFY: "verify", Action.REMOVE: "record"}
_said: set[str] = set()


@dataclass(frozen=True)
class Source:
    """What this clone is: its declaration, what gitflow decides for it, its components' versions, where events come from."""

    declaration: Declaration
    decision: gitflow.Decision
    versions: Mapping[str, str]
    origin: Origin
    subject: str


def address(declaration: Declaration) -> str:
    """The ledger's address: DELIVERY_LEDGER, else the declaration's; "" where there is none."""
    told = os.environ.get(_ADDRESS, "").strip()
    if told and not told.startswith(("http://", "https://")):
        raise DeclarationError(
            f"read {_ADDRESS}: {told!r} is no address",
            hint="as in http://localhost:8000 or https://ledger.example.com",
        )
    return (told or _moved(declaration.records.ledger if declaration.records else "")).rstrip("/")


def _moved(declared: str) -> str:
    """The declared address; where it is on this machine, at the port that the platform here has."""
    parts = urlsplit(declared)
    port = saved_settings.load(ROOT, os.environ).get(saved_settings.PORTS["api-rest"])
    if port is None or parts.hostname not in {"localhost", "127.0.0.1"}:
        return declared
    return parts._replace(netloc=f"{parts.hostname}:{port}").geturl()


def ledger(declaration: Declaration) -> Ledger:
    """The ledger to read from; raise DeclarationError when nobody says where it is."""
    at = address(declaration)
    if not at:
        raise DeclarationError(
            "read the ledger: nothing says where it is",
            hint=f"`records.ledger` in delivery.toml, or {_ADDRESS}",
        )
    return Ledger(at, os.environ.get(_TOKEN, ""))


def source(root: Path = ROOT) -> Source:
    """What this clone is, by git and its files alone."""
    declaration = files.load_declaration(root)
    checkout = gather.load_checkout(
        declaration, root, ask=False
    )  # each stage of a pipeline records
    decision, facts = checkout.decision, checkout.facts
    published = checkout.published
    published[declaration.name] = published[declaration.chart.folder]
    described = git.describe(root, facts.commit)
    origin = Origin(
        responsible=_responsible(described.author if described else ""),
        pipeline=pipeline(),
        commit=facts.commit,
        branch=facts.ref.name,
        line=decision.line.value,
        committed_at=described.committed_at if described else "",
    )
    return Source(declaration, decision, published, origin, described.subject if described else "")


def _responsible(author: str) -> str:
    """Who is responsible: who is told, else who made the change that a pipeline runs for, else the user."""
    if not os.environ.get("DELIVERY_RESPONSIBLE") and pipeline():
        return os.environ.get("CHANGE_AUTHOR") or author or machine.actor()
    return machine.actor()


@contextmanager
def stage(
    name: str, *, components: Sequence[str] = (), step: str = "", root: Path = ROOT
) -> Iterator[None]:
    """Record what is done inside as a stage of the pipeline; by hand nothing is recorded.

    components are images, the chart's folder, subprojects or the project's own name; without any,
    all that the stage is about. A second step of a stage in one pipeline records its end alone.
    """
    if not pipeline():
        yield
        return
    recording = Recording(name, step, root)
    with recording.guard():
        recording.begin_stage(components)
    with recording.until_it_ends():
        yield


@contextmanager
def deployment(
    declaration: Declaration, step: str, action: Action, root: Path = ROOT
) -> Iterator[Recording]:
    """Record a deployment, by hand too: what is done inside calls `start` and `finish`.

    In a pipeline a deploy that fails before it has started is recorded as a failed stage.
    """
    recording = Recording(_STAGES.get(action, "deploy"), step, root, declaration)
    with recording.until_it_ends():
        yield recording


@dataclass
class Recording:
    """One run of a stage, or one deployment. Before it is begun nothing is recorded."""

    stage: str
    step: str
    root: Path = ROOT
    declaration: Declaration | None = None
    to: str = ""  # the ledger
    run: Run | None = None
    deployment: Deployment | None = None
    entered: datetime = field(default_factory=lambda: _now())  # noqa: PLW0108  # tests stand in for it

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Print what goes wrong in recording as a warning; the work goes on."""
        try:
            yield
        except DeliveryError as error:
            _say(f"not recorded: {error.message}")
        except Exception as error:  # noqa: BLE001  # whatever it is, the work goes on
            _say(f"not recorded: {type(error).__name__}: {error}")

    def begin_stage(self, components: Sequence[str] = ()) -> None:
        """Record that the stage of this clone's own versions starts."""
        clone = source(self.root)
        is_verify = self.stage == "verify"
        names = events.components(
            clone.declaration, components or (_deployed(clone.declaration) if is_verify else ())
        )
        before = journal(self.root)
        run = self._run(clone, names)
        if is_verify:
            run = replace(run, unchanged=events.kept_components(before))
        self.to = address(clone.declaration)
        starting = [
            record
            for record in events.started(run)
            if not events.begun(before, run, record.component)
        ]
        self.run = run
        self._keep(starting)

    def start(
        self, deployment: Deployment, release: Release | None = None, *, to: str = ""
    ) -> None:
        """Record that this is being deployed; a removal is recorded at its end alone.

        release is where the commit is taken from, else from the clone. to is the ledger that this
        deployment itself brings up or removes, and is asked at the end alone.
        """
        with self.guard():
            declaration = self.declaration or files.load_declaration(self.root)
            self.to = to or address(declaration)
            if self.stage != "deploy":  # what it is about is known only at its end
                deployment = deployment.model_copy(update={"began": self.entered})
            run = Run(
                stage=self.stage,
                step=self.step,
                environment=deployment.environment,
                versions=deployment.subject.versions,
                digests=deployment.subject.digests,
                unchanged=deployment.unchanged,
                chart=declaration.chart.folder,
                origin=_origin(self.root, release),
                began=deployment.began,
            )
            self.run, self.deployment = run, deployment
            if deployment.action is not Action.REMOVE:
                self._keep(events.started(run))
            if not to:
                self.deliver(_FIRST_SECONDS)

    def finish(self, deployment: Deployment) -> None:
        """Take what the deployment came to; it is recorded at the end."""
        if self.deployment:
            self.deployment = deployment

    @contextmanager
    def until_it_ends(self) -> Iterator[None]:
        """Record how what is done inside ends, SIGTERM included, and deliver before and after."""
        try:
            with process.terminable():
                if (
                    self.run and self.stage != "record"
                ):  # which delivers itself, and says what came of it
                    self.deliver(_FIRST_SECONDS)
                yield
        except BaseException as error:
            if getattr(error, "code", None) == 0:  # an exit that is a success
                self._end()
            else:
                self._fail_early()
                self._end(error)
            raise
        self._end()

    def _run(self, clone: Source, components: Sequence[str]) -> Run:
        """A run of the stage for these components of a clone, with the versions and the environment that git says."""
        versions = {name: clone.versions[name] for name in components}
        return Run(
            stage=self.stage,
            step=self.step,
            environment=clone.decision.environment,
            versions=versions,
            digests=_published(clone.declaration, versions, self.root),
            chart=clone.declaration.chart.folder,
            origin=clone.origin,
            began=self.entered,
        )

    def _fail_early(self) -> None:
        if self.run is None and self.declaration and self.stage == "deploy" and pipeline():
            with self.guard():
                self.begin_stage(_deployed(self.declaration))

    def _end(self, error: BaseException | None = None) -> None:
        if self.run is None:
            return
        with self.guard():
            self._keep(self._ended(self.run, error))
        self.deliver(_LAST_SECONDS)

    def _ended(self, run: Run, error: BaseException | None) -> list[Record]:
        if self.deployment:
            return events.of_deployment(run, _ended_deployment(self.deployment, error))
        if error is None:
            return events.succeeded(run, _now())
        return events.failed(run, _now(), _text(error), rolled_back=_is_rolled_back(error))

    def _keep(self, records: Sequence[Record]) -> None:
        documents = [record.to_json() for record in records]
        with self.guard():
            if self.to:
                outbox.add(self.to, documents)
        with self.guard():
            if build := pipeline():
                _append(_journal(build, self.root), records)

    def deliver(self, seconds: float) -> None:
        """Send what waits, within this time; say what was refused, and why the rest waits."""
        if not self.to:
            return
        with self.guard():
            report = deliver(seconds=seconds, root=self.root)
            for one in report.rejected:
                _say(
                    f"the ledger will never take an event, which was put aside as {one.file}: {one.why}"
                )
            for ledger_, why in report.reasons.items():
                waits = "1 event waits" if report.waiting == 1 else f"{report.waiting} events wait"
                _say(
                    f"{waits} in the outbox: {ledger_}: {why}; `./run inv records.waiting` shows more",
                    once=ledger_,
                )


def _ended_deployment(deployment: Deployment, error: BaseException | None) -> Deployment:
    """How a deployment ended: as its maker says, else by the error that ended it."""
    if error and deployment.outcome is Outcome.STARTED:
        outcome = Outcome.ROLLED_BACK if _is_rolled_back(error) else Outcome.FAILED
        return deployment.ended(outcome, error=_text(error))
    if deployment.outcome is Outcome.STARTED:
        return deployment.ended(Outcome.SUCCEEDED)
    return deployment


def _origin(root: Path, release: Release | None) -> Origin:
    commit = release.commit if release and release.commit else "HEAD"
    described = git.describe(root, commit)
    origin = Origin(_responsible(described.author if described else ""), pipeline())
    if release and release.commit:
        origin = replace(origin, commit=release.commit, branch=release.branch, line=release.line)
    elif described:
        origin = replace(origin, commit=described.sha)
    return replace(origin, committed_at=described.committed_at if described else "")


def _published(declaration: Declaration, versions: Mapping[str, str], root: Path) -> dict[str, str]:
    """The digests behind these versions, of what this clone has published."""
    file = files.output("release.json", root=root)
    if not file.exists():
        return {}
    release = read_release(file.read_text(encoding="utf-8"), file=str(file))
    parts: dict[str, ReleasedPart] = dict(release.images)
    if release.chart:
        parts[declaration.chart.folder] = release.chart
    return {name: part.digest for name, part in parts.items() if part.version == versions.get(name)}


def _deployed(declaration: Declaration) -> list[str]:
    """What is deployed: the images that run, and the chart."""
    return [*declaration.components(), declaration.chart.folder]


def _is_rolled_back(error: BaseException) -> bool:
    return isinstance(error, DeployError) and error.rolled_back


def _text(error: BaseException) -> str:
    if isinstance(error, TerminatedError):
        return f"interrupted ({error})"
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, DeliveryError):
        return error.message
    return f"{type(error).__name__}: {error}"


def journal(root: Path = ROOT) -> list[Record]:
    """What this pipeline has recorded so far, in the order in which it came; nothing by hand."""
    build = pipeline()
    if not build:
        return []
    try:
        lines = _journal(build, root).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    records: list[Record] = []
    for line in lines:
        with contextlib.suppress(ValueError):  # a line that was cut off
            records.append(Record.model_validate_json(line))
    return records


def _journal(build: str, root: Path) -> Path:
    return files.output("records", events.journal_name(build), root=root)


def _append(file: Path, records: Sequence[Record]) -> None:
    """Add lines in one write, so that those of parallel steps do not mix."""
    if not records:
        return
    text = "".join(f"{record.model_dump_json(exclude_none=True)}\n" for record in records)
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(handle, text.encode())
    finally:
        os.close(handle)


def deliver(*, seconds: float, wait: float = 0.0, root: Path = ROOT) -> Report:
    """Send what waits in the outbox, within this time whatever a network does; what is not sent then waits on."""
    found: list[Report] = []
    wrong: list[DeliveryError] = []
    token_for = _token_for(root)
    ends = _monotonic() + seconds

    def send(one: Waiting) -> tuple[Fate, str]:
        return _send(one, token_for(one.ledger), ends)

    def run() -> None:
        try:
            found.append(outbox.deliver(send, seconds=seconds, wait=wait))
        except DeliveryError as error:
            wrong.append(error)
        except Exception as error:  # noqa: BLE001  # a thread has nobody to tell
            wrong.append(
                DeliveryError(
                    f"cannot deliver what waits: {type(error).__name__}: {error}",
                    hint="the events stay in the outbox; `./run inv ci.deliver` tries again",
                )
            )

    # Not even a name server that does not answer holds a deploy up.
    thread = threading.Thread(target=run, name="outbox", daemon=True)
    thread.start()
    thread.join(seconds + wait + _MARGIN_SECONDS)
    if wrong:
        raise wrong[0]
    return found[0] if found else Report(waiting=len(outbox.waiting()), late=True)


def state(at: str, root: Path = ROOT) -> str:
    """Why events wait for a ledger: how it answers now."""
    return Ledger(at, _token_for(root)(at)).answers()


def _token_for(root: Path) -> Callable[[str], str]:
    """Which token a ledger sees: DELIVERY_LEDGER_TOKEN is for the one that is declared now.

    Others may be in the outbox: those of other clones, and of another day.
    """
    token, declared = os.environ.get(_TOKEN, ""), ""
    if token:
        with contextlib.suppress(DeclarationError):  # it is for none, then
            declared = address(files.load_declaration(root))

    def find(ledger: str) -> str:
        with contextlib.suppress(ValueError):  # what is no address is asked without
            if declared and origin(ledger) == origin(declared):
                return token
        return ""

    return find


def _send(one: Waiting, token: str, ends: float) -> tuple[Fate, str]:
    left = max(0.1, min(_REQUEST_SECONDS, ends - _monotonic()))
    at = Ledger(one.ledger, token)
    if _now() - one.since > _OLD:
        stored = at.holds(one.event, events.rfc3339(one.since - _SKEW), seconds=left)
        if stored is None:
            return (
                Fate.AWAY,
                "it does not say whether it has an event that is older than its memory of keys",
            )
        if stored:
            return Fate.DELIVERED, ""
    status, said = at.offer(one.event, one.key, seconds=left)
    return events.fate(status), said


def _now() -> datetime:
    return datetime.now(UTC)


def _monotonic() -> float:
    from time import monotonic  # noqa: PLC0415  # tests stand in for this function alone

    return monotonic()


def _say(text: str, once: str = "") -> None:
    """Print a line beside the output, which a pipeline may read; the same matter is said once."""
    if (once or text) not in _said:
        _said.add(once or text)
        sys.stderr.write(f"records: {text}\n")
        sys.stderr.flush()
