"""Record stages and deployments: in the outbox, which is then delivered, and in the journal.

Recording never fails what it records; a failure is printed as a warning on standard error.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from delivery import process
from delivery.errors import DeliveryError, DeployError, LeaseLostError, TerminatedError
from delivery.machine import pipeline
from delivery.project import files
from delivery.project.declaration import Declaration
from delivery.project.files import ROOT
from delivery.records import events, journal, outbox, sending, source
from delivery.records.deployment import Action, Deployment, Outcome
from delivery.records.events import Origin, Record, Run
from delivery.records.ledger import find_address
from delivery.release.released import Release

__all__ = ["Recording", "deployment", "note", "stage"]

_FIRST_SECONDS = 3.0  # for a delivery before the work
_LAST_SECONDS = 10.0  # for a delivery after it
# The stage that a deployment is recorded as; a removal that fails is not a failed change.
_STAGES = {Action.VERIFY: "verify", Action.REMOVE: "record"}
_printed: set[str] = set()
_current: list[Recording] = []  # of the stage that runs


@contextmanager
def stage(name: str, *, part: str = "", step: str = "", root: Path = ROOT) -> Iterator[None]:
    """Record a stage of the pipeline.

    part is the subproject that it is about, or the project's own name; by default all of them.
    """
    recording = Recording(name, step, root)
    with recording.guard():
        recording.start_stage(part)
    with recording.until_the_end():
        _current.append(recording)
        try:
            yield
        finally:
            _current.remove(recording)


def note(*, vulnerabilities: Mapping[str, Mapping[str, int]] = {}, unscanned: str = "") -> None:
    """Add what a scan has found, by component, to the end of the stage that runs."""
    for recording in _current:
        if recording.run:
            recording.run = replace(
                recording.run, vulnerabilities=vulnerabilities, unscanned=unscanned
            )


@contextmanager
def deployment(
    declaration: Declaration, step: str, action: Action, root: Path = ROOT
) -> Iterator[Recording]:
    """Record a deployment, also of a run by hand, between `start` and `finish` of the Recording.

    In a pipeline a deploy that fails before `start` is recorded as a failed stage.
    """
    recording = Recording(_STAGES.get(action, "deploy"), step, root, declaration)
    with recording.until_the_end():
        yield recording


@dataclass
class Recording:
    """The recording of a run; nothing is recorded before the run is started."""

    stage: str
    step: str
    root: Path = ROOT
    declaration: Declaration | None = None
    ledger: str = ""  # the address of the ledger
    read_token: Callable[[], str] = str  # for the ledger, unless DELIVERY_LEDGER_TOKEN is set
    override: str = ""  # why it goes on although the environment is frozen
    run: Run | None = None  # None: not started
    entered: datetime = field(init=False)  # when the task began

    def __post_init__(self) -> None:
        """Note the time."""
        self.entered = _now()

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Print an error of recording as a warning, so that the work goes on."""
        try:
            yield
        except DeliveryError as error:
            _warn(f"not recorded: {error.message}")
        except Exception as error:  # noqa: BLE001  # no error of recording may fail the work
            _warn(f"not recorded: {type(error).__name__}: {error}")

    def start_stage(self, part: str = "") -> None:
        """Record the start of a stage of this clone's own versions."""
        clone = source.load(self.root)
        declaration = clone.declaration
        is_verify = self.stage == "verify"
        if is_verify or self.stage == "deploy":
            names = [*declaration.components(), declaration.chart.folder]
        else:
            names = events.components_of(declaration, part)
        contents = clone.contents(names, self.root)
        unchanged = events.unchanged_components(journal.read(self.root)) if is_verify else ()
        started = Deployment(
            action=Action.VERIFY if is_verify else Action.NONE,
            environment=clone.decision.environment,
            contents=contents,
            previous_contents=contents.only(unchanged),
            began=self.entered,
        )
        self.ledger = find_address(declaration)
        self._start(declaration, clone.origin, started)

    def start(
        self, deployment: Deployment, release: Release | None = None, *, ledger: str = ""
    ) -> None:
        """Record the start of a deployment; a removal is recorded at its end alone.

        The commit is the release's, else this clone's. ledger is the address of a ledger that
        the deployment itself starts or removes: events are sent to it at the end alone.
        """
        with self.guard():
            declaration = self.declaration or files.load_declaration(self.root)
            self.ledger = ledger or find_address(declaration)
            if self.stage != "deploy":  # the time until its contents are known counts
                deployment = deployment.model_copy(update={"began": self.entered})
            self._start(declaration, source.origin_of(release, self.root), deployment)
            if not ledger:
                self._deliver(_FIRST_SECONDS)

    def finish(self, deployment: Deployment) -> None:
        """Set how the deployment ended; it is recorded once the context is left."""
        if self.run:
            end = deployment.began + timedelta(seconds=deployment.seconds)
            started = deployment.model_copy(update={"began": self.run.deployment.began})
            done = started.ended(deployment.outcome, error=deployment.error, at=end)
            self.run = replace(self.run, deployment=done)

    @contextmanager
    def until_the_end(self) -> Iterator[None]:
        """Record how the work ends, SIGTERM included; deliver before and after."""
        try:
            with process.terminable():
                # The stage `record` delivers by itself, and prints the result.
                if self.run and self.stage != "record":
                    self._deliver(_FIRST_SECONDS)
                yield
        except BaseException as error:
            self._end(None if _is_success(error) else error)
            raise
        self._end(None)

    def _start(self, declaration: Declaration, origin: Origin, deployment: Deployment) -> None:
        self.run = Run(
            stage=self.stage,
            step=self.step,
            chart=declaration.chart.folder,
            origin=origin,
            deployment=deployment,
            override=self.override,
        )
        if deployment.action is not Action.REMOVE:
            self._keep(events.started(self.run))

    def _end(self, error: BaseException | None) -> None:
        is_early = self.run is None and self.stage == "deploy"
        if error and is_early and pipeline():
            with self.guard():
                self.start_stage()
        if self.run is None:
            return
        with self.guard():
            run = replace(self.run, deployment=_ended(self.run.deployment, error))
            self._keep(events.ended(run))
        self._deliver(_LAST_SECONDS)

    def _keep(self, records: Sequence[Record]) -> None:
        with self.guard():
            if self.ledger:
                outbox.add(self.ledger, [record.to_json() for record in records])
        with self.guard():
            journal.append(records, self.root)

    def _deliver(self, seconds: float) -> None:
        """Send the events that wait; print those rejected, and why others wait."""
        if not self.ledger:
            return
        with self.guard():
            report = sending.deliver(seconds=seconds, root=self.root, read_token=self.read_token)
            for event in report.rejected:
                _warn(f"the ledger rejected an event, now in {event.file}: {event.why}")
            for ledger, why in report.reasons.items():
                count = "1 event waits" if report.waiting == 1 else f"{report.waiting} events wait"
                _warn(
                    f"{count} in the outbox: {ledger}: {why}; see `./run inv records.waiting`",
                    once=ledger,
                )


def _ended(deployment: Deployment, error: BaseException | None) -> Deployment:
    """The deployment with its outcome, by the error unless it has ended.

    What was deployed stays so if its soak is interrupted; only a failure of the soak takes it back.
    """
    is_failure = isinstance(error, DeployError) and not isinstance(error, LeaseLostError)
    if deployment.outcome is not Outcome.STARTED and not is_failure:
        return deployment
    if error is None:
        return deployment.ended(Outcome.SUCCEEDED, at=_now())
    is_rolled_back = isinstance(error, DeployError) and error.rolled_back
    outcome = Outcome.ROLLED_BACK if is_rolled_back else Outcome.FAILED
    return deployment.ended(outcome, error=_message(error), at=_now())


def _is_success(error: BaseException) -> bool:
    """Whether this is SystemExit, or Invoke's Exit, with the code 0."""
    return getattr(error, "code", None) == 0


def _message(error: BaseException) -> str:
    match error:
        case TerminatedError():
            return f"interrupted ({error})"
        case KeyboardInterrupt():
            return "interrupted"
        case DeliveryError():
            return error.message
        case _:
            return f"{type(error).__name__}: {error}"


def _now() -> datetime:
    return datetime.now(UTC)


def _warn(text: str, once: str = "") -> None:
    """Print a warning on stderr, since a pipeline may read stdout; each subject only once."""
    if (once or text) not in _printed:
        _printed.add(once or text)
        sys.stderr.write(f"records: {text}\n")
        sys.stderr.flush()
