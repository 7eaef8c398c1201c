"""Go back to an earlier revision: as asked for, or because what was deployed fails its tests."""

from __future__ import annotations

from pathlib import Path

from delivery import console, prompt
from delivery.deploy import inventory
from delivery.deploy.history import Revision, describe
from delivery.deploy.locked_target import Held, hold
from delivery.deploy.selection import DeployRequest, choose_environment
from delivery.deploy.target import Options, Target, connect
from delivery.errors import DeployError
from delivery.machine import pipeline
from delivery.project import files
from delivery.project.declaration import Declaration
from delivery.project.files import ROOT
from delivery.records import recorder
from delivery.records.deployment import Action, Contents, Deployment, Outcome, read_deployment
from delivery.records.recorder import Recording

__all__ = ["roll_back", "verify"]


def roll_back(
    declaration: Declaration, request: DeployRequest, requested: int, options: Options
) -> Deployment:
    """Deploy an earlier revision once more: the requested one, or the last good one before what serves."""
    target = connect(
        declaration, choose_environment(declaration, request, "roll back"), request.context
    )
    if target.declared.confirm:
        prompt.confirm(f"roll back {target}", target.name, yes=request.yes)
    with (
        recorder.deployment(declaration, "rollback", Action.ROLLBACK) as recording,
        hold(target, options) as held,
    ):
        held.repair()
        history = held.history()
        revision, previous = history.rollback_target(requested), history.serving
        deployment = _start(declaration, held, Action.ROLLBACK, (revision, previous), recording)
        held.roll_back(revision, options.seconds)
        versions = describe(history.versions(revision))
        console.say(
            f"{target}: revision {revision.number} serves again"
            + (f" in place of {previous.number}" if previous else "")
            + (f": {versions}" if versions else "")
        )
        serves = held.history().serving
        now_serves = deployment.with_revisions(
            serves.number if serves else 0, previous.number if previous else 0
        )
        done = now_serves.ended(Outcome.SUCCEEDED)
        recording.finish(done)
        return done


def _start(
    declaration: Declaration,
    held: Held,
    action: Action,
    revisions: tuple[Revision, Revision | None],
    recording: Recording,
) -> Deployment:
    """A deployment of one revision in place of another, as it starts now, recorded."""
    contents, before = Contents(), Contents()
    with recording.guard():
        history, (revision, previous) = held.history(), revisions
        contents = inventory.revision_contents(declaration, held.target, history, revision)
        if previous:
            before = inventory.revision_contents(declaration, held.target, history, previous)
    deployment = held.target.deployment(action, contents, before)
    if contents.versions:
        recording.start(deployment)
    return deployment


def verify(
    declaration: Declaration, environment: str, context: str, options: Options, root: Path = ROOT
) -> Target:
    """Run the chart's tests against what serves in an environment.

    When they fail, and what serves is what this clone's last deploy put there, the revision before
    serves again; by hand that is recorded, in a pipeline the stage is.
    """
    target = connect(declaration, environment, context)
    with (
        recorder.deployment(declaration, "verify", Action.VERIFY) as recording,
        hold(target, options) as held,
    ):
        history = held.history()
        current = history.serving
        if current is None:
            raise DeployError(
                f"verify {target}: nothing is deployed there", hint="`./run inv deploy` deploys"
            )
        try:
            held.test()
        except DeployError as error:
            previous = _previous(target, current, root)
            if previous is None:
                raise DeployError(
                    f"{error.message}; revision {current.number} serves on", hint=error.hint
                ) from error
            restored = history.find(previous)
            try:
                held.take_back(restored, error)
            except DeployError as taken_back:
                if taken_back.rolled_back and restored and not pipeline():
                    _start(declaration, held, Action.VERIFY, (current, restored), recording)
                raise
    return target


def _previous(target: Target, current: Revision, root: Path) -> int | None:
    """The revision that this clone's last deploy replaced by the one that serves (0: none); None if it made another."""
    file = files.output("deployment.json", root=root)
    if not file.exists():
        return None
    last = read_deployment(file.read_text(encoding="utf-8"), file=str(file))
    if last.outcome is not Outcome.SUCCEEDED:
        return None
    made = (last.environment, last.context, last.namespace, last.revision)
    here = (target.name, target.kubernetes.context, target.kubernetes.namespace, current.number)
    return last.previous if made == here else None
