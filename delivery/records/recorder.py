"""Tell the ledger of stages and deploys: into the outbox first, which is then delivered as far as it goes.

Recording never fails what it records; what cannot be recorded is one line on standard error.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from delivery import machine, process
from delivery.errors import DeclarationError, DeliveryError, DeployError, TerminatedError
from delivery.machine import pipeline
from delivery.origin import origin
from delivery.project import files, gather, git, gitflow, remembered
from delivery.project.declaration import Declaration
from delivery.project.files import ROOT
from delivery.project.versions import Checkout
from delivery.records import events, outbox
from delivery.records.events import Fate, Origin, Run
from delivery.records.ledger import Ledger
from delivery.records.outbox import Report, Waiting
from delivery.release.contents import Contents
from delivery.release.released import Release, ReleasedChart, ReleasedImage, read_release

__all__ = [
    "Deploy",
    "address",
    "decided",
    "deliver",
    "deploying",
    "journal",
    "ledger",
    "pipeline",
    "removing",
    "source",
    "stage",
    "state",
    "verifying",
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
            f"read {_ADDRESS}: {told!r} is no address", hint="as in http://localhost:8000 or https://ledger.example.com"
        )
    return (told or _moved(declaration.records.ledger if declaration.records else "")).rstrip("/")


def _moved(declared: str) -> str:
    """The declared address; where it is on this machine, at the port that the platform here has."""
    parts = urlsplit(declared)
    port = remembered.chosen(ROOT, os.environ).get(remembered.PORTS["api-rest"])
    if port is None or parts.hostname not in {"localhost", "127.0.0.1"}:
        return declared
    return parts._replace(netloc=f"{parts.hostname}:{port}").geturl()


def ledger(declaration: Declaration) -> Ledger:
    """The ledger to read from; raise DeclarationError when nobody says where it is."""
    at = address(declaration)
    if not at:
        raise DeclarationError(
            "read the ledger: nothing says where it is", hint=f"`records.ledger` in delivery.toml, or {_ADDRESS}"
        )
    return Ledger(at, os.environ.get(_TOKEN, ""))


def source(root: Path = ROOT) -> Source:
    """What this clone is, by git and its files alone."""
    declaration = files.load_declaration(root)
    checkout = gather.look(declaration, root, ask=False)  # each stage of a pipeline records
    decision, facts = checkout.decision, checkout.facts
    published = _decided(checkout)
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


def decided(declaration: Declaration, root: Path = ROOT) -> dict[str, str]:
    """The version that git says for each image and for the chart; none where there is no git."""
    try:
        return _decided(gather.look(declaration, root, ask=False))
    except DeliveryError:
        return {}


def _decided(checkout: Checkout) -> dict[str, str]:
    declaration = checkout.declaration
    folders = {name: image.context for name, image in declaration.images.items()}
    folders[declaration.chart.folder] = declaration.chart.folder
    subprojects = {name: declaration.subproject_of(folder) for name, folder in folders.items()}
    return {name: checkout.versions[subproject].published for name, subproject in subprojects.items()}


def _responsible(author: str) -> str:
    """Who is responsible: who is told, else who made the change that a pipeline runs for, else the user."""
    if not os.environ.get("DELIVERY_RESPONSIBLE") and pipeline():
        return os.environ.get("CHANGE_AUTHOR") or author or machine.user()
    return machine.user()


@contextmanager
def stage(name: str, *, components: Sequence[str] = (), step: str = "", root: Path = ROOT) -> Iterator[None]:
    """Record what is done inside as a stage of the pipeline: started, then how it ended. By hand nothing is recorded.

    components are images, the chart's folder, subprojects or the project's own name; without any, all that the stage is about. A
    second step of a stage in one pipeline records its end alone.
    """
    if not pipeline():
        yield
        return
    recording = _Recording(root)
    with recording.guard():
        found = source(root)
        everything = _deployed(found.declaration) if name == "verify" else ()
        recording.unchanged = events.kept_components(journal(root)) if name == "verify" else set()
        named = events.components(found.declaration, components or everything)
        recording.begin(found.declaration, _run(found, name, step, named, _now(), root), once=True)
    with recording.until_it_ends():
        yield


def _run(found: Source, stage: str, step: str, components: Iterable[str], began: datetime, root: Path) -> Run:
    """A run of a stage for these components of a clone, with the versions and the environment that git says."""
    versions = {name: found.versions[name] for name in components}
    digests = _published(found.declaration, versions, root)
    environment = found.decision.environment
    return Run(
        identifier=str(uuid.uuid4()),
        stage=stage,
        step=step,
        environment=environment,
        versions=versions,
        origin=found.origin,
        began=began,
        digests=digests,
    )


def _published(declaration: Declaration, versions: Mapping[str, str], root: Path) -> dict[str, str]:
    """The digests behind these versions, of what this clone has published."""
    file = files.output("release.json", root=root)
    if not file.exists():
        return {}
    release = read_release(file.read_text(encoding="utf-8"), file=str(file))
    parts: dict[str, ReleasedImage | ReleasedChart] = dict(release.images)
    if release.chart:
        parts[declaration.chart.folder] = release.chart
    return {name: part.digest for name, part in parts.items() if part.version == versions.get(name)}


def _deployed(declaration: Declaration) -> list[str]:
    """What is deployed: the images that run, and the chart."""
    return [*declaration.components(), declaration.chart.folder]


class Deploy:
    """The recording of a deploy, which begins once it is known what is deployed where.

    Of another stage it records, by hand too, what that changed about a deployment.
    """

    def __init__(
        self,
        declaration: Declaration,
        step: str,
        root: Path,
        stage: str = "deploy",
        *,
        removes: bool = False,
    ) -> None:
        self._declaration = declaration
        self._step = step
        self._stage = stage
        self._entered = _now()
        self._recording = _Recording(root, removes=removes)
        self._root = root

    def quietly(self) -> AbstractContextManager[None]:
        """Print what goes wrong in finding out what to record as a warning; the work goes on."""
        return self._recording.guard()

    @property
    def is_begun(self) -> bool:
        """Whether a deploy is being recorded."""
        return self._recording.run is not None

    def begin(
        self,
        environment: str,
        made: Contents,
        release: Release | None = None,
        *,
        unchanged: Iterable[str] = (),
        to: str = "",
    ) -> None:
        """Record that this is being deployed; what comes of it is recorded at the end.

        Of what is unchanged, only the success is recorded. to is the ledger that this deploy itself
        brings up, or removes, instead of the declared one: it is asked at the end alone.
        """
        with self._recording.guard():
            origin = self._origin(release)
            began = _now() if self._stage == "deploy" else self._entered
            run = Run(
                identifier=str(uuid.uuid4()),
                stage=self._stage,
                step=self._step,
                environment=environment,
                versions=dict(made.versions),
                origin=origin,
                began=began,
                digests=dict(made.digests),
            )
            self._recording.unchanged |= set(unchanged)
            self._recording.begin(self._declaration, run, to=to)
            if not to:
                self._recording.deliver(_FIRST_SECONDS)

    def begin_going_back(self, environment: str, back: Contents, served: Contents) -> None:
        """Record that what serves now is being replaced by what was before it."""
        self._recording.served = served
        self.begin(environment, back, unchanged=back.same(served))

    def unchanged(self) -> None:
        """Note that there was nothing to do."""
        if run := self._recording.run:
            self._recording.unchanged = set(run.versions)

    def _origin(self, release: Release | None) -> Origin:
        commit = release.commit if release and release.commit else "HEAD"
        described = git.describe(self._root, commit)
        origin = Origin(_responsible(described.author if described else ""), pipeline())
        if release and release.commit:
            origin = replace(origin, commit=release.commit, branch=release.branch, line=release.line)
        elif described:
            origin = replace(origin, commit=described.sha)
        return replace(origin, committed_at=described.committed_at if described else "")

    def _failed_early(self) -> None:
        """In a pipeline a deploy that ends before it is known what is deployed is a stage that failed, too."""
        if self._recording.run is None and self._stage == "deploy" and pipeline():
            with self._recording.guard():
                found = source(self._root)
                named = _deployed(found.declaration)
                run = _run(found, "deploy", self._step, named, self._entered, self._root)
                self._recording.begin(found.declaration, run)

    @contextmanager
    def _until_it_ends(self) -> Iterator[None]:
        with self._recording.until_it_ends(before_failing=self._failed_early):
            yield


@contextmanager
def deploying(declaration: Declaration, step: str, root: Path = ROOT) -> Iterator[Deploy]:
    """Record a deploy, by hand too: what is done inside calls `begin` on what it is given."""
    with _recorded(Deploy(declaration, step, root)) as made:
        yield made


@contextmanager
def removing(declaration: Declaration, step: str, root: Path = ROOT) -> Iterator[Deploy]:
    """Record a removal, by hand too, once what is done inside has called `begin` on it.

    One that fails is a failure of the stage record: of deploy, it would be a failed change.
    """
    with _recorded(Deploy(declaration, step, root, "record", removes=True)) as made:
        yield made


@contextmanager
def verifying(declaration: Declaration, root: Path = ROOT) -> Iterator[Deploy]:
    """Record, by hand, a version that a verification takes back, once `begin` was called on it.

    In a pipeline the stage records it.
    """
    with _recorded(Deploy(declaration, "verify", root, "verify")) as made:
        yield made


@contextmanager
def _recorded(made: Deploy) -> Iterator[Deploy]:
    with made._until_it_ends():  # noqa: SLF001  # the two are one
        yield made


@dataclass
class _Recording:
    """One run that is told to the ledger. Before `begin`, and where that failed, nothing is."""

    root: Path
    removes: bool = False
    run: Run | None = None
    to: str = ""
    chart: str = ""
    unchanged: set[str] = field(default_factory=set)
    served: Contents = field(default_factory=lambda: Contents({}))

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Print what goes wrong in recording as a warning; the work goes on."""
        try:
            yield
        except DeliveryError as error:
            _say(f"not recorded: {error.message}")
        except Exception as error:  # noqa: BLE001  # whatever it is, the work goes on
            _say(f"not recorded: {type(error).__name__}: {error}")

    def begin(self, declaration: Declaration, run: Run, *, once: bool = False, to: str = "") -> None:
        """Record the start; once: not of what this pipeline has begun before; to: another ledger."""
        self.to = to or address(declaration)
        self.chart = declaration.chart.folder
        before = journal(self.root) if once else []
        starting = [name for name in self._blamed(run) if not events.begun(before, run, name)]
        self.run = run
        if not self.removes:
            self._keep([run.event(name, "started", run.began) for name in starting])

    @contextmanager
    def until_it_ends(self, before_failing: Any = None) -> Iterator[None]:  # noqa: ANN401  # a callable
        """Record how what is done inside ends, SIGTERM included, and deliver before and after."""
        try:
            with process.terminable():
                if self.run is None or self.run.stage != "record":  # which delivers itself, and says what came of it
                    self.deliver(_FIRST_SECONDS)
                yield
        except BaseException as error:
            if _ended_well(error):
                self.end(advice=error.message if isinstance(error, DeliveryError) else "")
            else:
                if before_failing:
                    before_failing()
                self.end(error)
            raise
        self.end()

    def end(self, error: BaseException | None = None, advice: str = "") -> None:
        """Record the end; advice is what is to be known of one that went well."""
        if self.run is None:
            return
        with self.guard():
            at = _now()
            self._keep(self._failed(self.run, error, at) if error else self._succeeded(self.run, at, advice))
        self.deliver(_LAST_SECONDS)

    def _succeeded(self, run: Run, at: datetime, advice: str) -> list[dict[str, Any]]:
        events = []
        if self.removes:
            run = replace(run, stage="deploy")
            return [run.event(name, "removed", at, error=advice) for name in run.versions]
        if self.served.versions:
            of = replace(run, versions=self.served.versions, digests=self.served.digests)
            changed = [name for name in of.versions if name not in self.unchanged]
            events = self._rolled_back(of, changed, at)
        for name in run.versions:
            more: dict[str, Any] = {"changed": name not in self.unchanged} if run.stage == "deploy" else {}
            if self.served.versions:
                more["restored"] = True
            events.append(run.event(name, "succeeded", at, error=advice, **more))
        return events

    def _failed(self, run: Run, error: BaseException, at: datetime) -> list[dict[str, Any]]:
        """What failed is what changed; of what did not, nothing is said: it serves as before."""
        told, blamed = _told(error), self._blamed(run)
        events = [run.event(name, "failed", at, error=told) for name in blamed]
        if isinstance(error, DeployError) and error.rolled_back and not self.served.versions:
            events += self._rolled_back(run, blamed, at, error=told)
        return events

    def _blamed(self, run: Run) -> list[str]:
        """What changed, and may fail. Where no bytes did, values did, which are the chart's."""
        changed = [name for name in run.versions if name not in self.unchanged]
        return changed or [name for name in run.versions if name == self.chart] or list(run.versions)

    def _rolled_back(self, run: Run, names: Iterable[str], at: datetime, error: str = "") -> list[dict[str, Any]]:
        return [run.event(name, "rolled-back", at, error=error) for name in names]

    def _keep(self, events: Sequence[Mapping[str, Any]]) -> None:
        with self.guard():
            if self.to:
                outbox.add(self.to, events)
        with self.guard():
            if build := pipeline():
                _append(_journal(build, self.root), events)

    def deliver(self, seconds: float) -> None:
        """Send what waits, within this time; say what was refused, and why the rest waits."""
        if not self.to:
            return
        with self.guard():
            report = deliver(seconds=seconds, root=self.root)
            for one in report.rejected:
                _say(f"the ledger will never take an event, which was put aside as {one.file}: {one.why}")
            for ledger_, why in report.reasons.items():
                waits = "1 event waits" if report.waiting == 1 else f"{report.waiting} events wait"
                _say(f"{waits} in the outbox: {ledger_}: {why}; `./run inv records.waiting` shows more", once=ledger_)


def _ended_well(error: BaseException) -> bool:
    """Whether an exception only carries the exit code 0, or advice."""
    return getattr(error, "code", None) == 0 or getattr(error, "advisory", False)


def _told(error: BaseException) -> str:
    if isinstance(error, TerminatedError):
        return f"interrupted ({error})"
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, DeliveryError):
        return error.message
    return f"{type(error).__name__}: {error}"


def journal(root: Path = ROOT) -> list[dict[str, Any]]:
    """What this pipeline has recorded so far, in the order in which they came; none by hand."""
    build = pipeline()
    if not build:
        return []
    try:
        text = _journal(build, root).read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    events: list[dict[str, Any]] = []
    for line in text.splitlines():
        with contextlib.suppress(ValueError):  # a line that was cut off
            told = json.loads(line)
            if isinstance(told, dict):
                events.append(told)
    return events


def _journal(build: str, root: Path) -> Path:
    return files.output("records", events.journal_name(build), root=root)


def _append(file: Path, events: Sequence[Mapping[str, Any]]) -> None:
    """Add lines in one write, so that those of parallel steps do not mix."""
    if not events:
        return
    text = "".join(f"{json.dumps(event)}\n" for event in events)
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
                    hint="the events stay in the outbox; `./run inv records.deliver` tries again",
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
            return Fate.AWAY, "it does not say whether it has an event that is older than its memory of keys"
        if stored:
            return Fate.DELIVERED, ""
    status, said = at.offer(one.event, one.key, seconds=left)
    return events.fate(status), said


def _monotonic() -> float:
    from time import monotonic  # noqa: PLC0415  # tests stand in for this function alone

    return monotonic()


def _now() -> datetime:
    return datetime.now(UTC)


def _say(text: str, once: str = "") -> None:
    """Print a line beside the output, which a pipeline may read; the same matter is said once."""
    if (once or text) not in _said:
        _said.add(once or text)
        sys.stderr.write(f"records: {text}\n")
        sys.stderr.flush()
