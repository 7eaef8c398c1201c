"""Roll back to an earlier revision: on request, or because the chart's tests fail."""

from __future__ import annotations

from pathlib import Path

from delivery import console, prompt
from delivery.deploy import inventory
from delivery.deploy.history import Revision, describe
from delivery.deploy.locked_target import LockedTarget, lock_target
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
    declaration: Declaration, request: DeployRequest, number: int, options: Options
) -> Deployment:
    """Deploy an earlier revision again: of this number, or (0) the last that succeeded."""
    environment = choose_environment(declaration, request, "roll back")
    target = connect(declaration, environment, request.context)
    if target.environment.confirm:
        prompt.confirm(f"roll back {target}", target.name, yes=request.yes)
    with (
        recorder.deployment(declaration, "rollback", Action.ROLLBACK) as recording,
        lock_target(target, options) as locked,
    ):
        recording.read_token = target.ledger_token
        locked.repair()
        history = locked.history()
        revision, previous = history.rollback_target(number), history.deployed
        deployment = _start(declaration, locked, recording, Action.ROLLBACK, (revision, previous))
        locked.roll_back(revision, options.timeout)
        versions = describe(history.versions(revision))
        console.say(
            f"{target}: revision {revision.number} is deployed again"
            + (f" in place of {previous.number}" if previous else "")
            + (f": {versions}" if versions else "")
        )
        new = locked.history().deployed
        done = deployment.with_revisions(
            new.number if new else 0, previous.number if previous else 0
        )
        done = done.ended(Outcome.SUCCEEDED)
        recording.finish(done)
        return done


def _start(
    declaration: Declaration,
    locked: LockedTarget,
    recording: Recording,
    action: Action,
    revisions: tuple[Revision, Revision | None],
) -> Deployment:
    """Record the start of a deployment of the first revision in place of the second."""
    target, (revision, previous) = locked.target, revisions
    contents = before = Contents()
    with recording.guard():
        history = locked.history()
        contents = inventory.read_revision(declaration, target, history, revision).contents
        if previous:
            before = inventory.read_revision(declaration, target, history, previous).contents
    deployment = target.deployment(action, contents, before)
    if contents.versions:
        recording.start(deployment)
    return deployment


def verify(
    declaration: Declaration, environment: str, context: str, options: Options, root: Path = ROOT
) -> Target:
    """Run the chart's tests against what is deployed to an environment.

    When they fail, and this clone's last deploy made the deployed revision, roll back to the
    revision before. That is recorded here, except in a pipeline, which records the stage.
    """
    target = connect(declaration, environment, context)
    with (
        recorder.deployment(declaration, "verify", Action.VERIFY) as recording,
        lock_target(target, options) as locked,
    ):
        recording.read_token = target.ledger_token
        history = locked.history()
        deployed = history.deployed
        if deployed is None:
            raise DeployError(
                f"cannot verify {target}: nothing is deployed",
                hint="deploy with `./run inv deploy`",
            )
        try:
            locked.test()
        except DeployError as error:
            number = _replaced_by_this_clone(target, deployed, root)
            if number is None:
                raise DeployError(
                    f"{error.message}; revision {deployed.number} stays deployed", hint=error.hint
                ) from error
            previous = history.find(number)
            try:
                locked.restore(previous, error)
            except DeployError as restored:
                if restored.rolled_back and previous and not pipeline():
                    revisions = (deployed, previous)
                    _start(declaration, locked, recording, Action.VERIFY, revisions)
                raise
    return target


def _replaced_by_this_clone(target: Target, deployed: Revision, root: Path) -> int | None:
    """The revision that this clone's last deploy replaced by the deployed revision (0: none).

    None if that deploy did not make the deployed revision.
    """
    file = files.output("deployment.json", root=root)
    if not file.exists():
        return None
    last = read_deployment(file.read_text(encoding="utf-8"), file=str(file))
    kubernetes = target.kubernetes
    made = (last.outcome, last.environment, last.context, last.namespace, last.revision)
    if made == (
        Outcome.SUCCEEDED,
        target.name,
        kubernetes.context,
        kubernetes.namespace,
        deployed.number,
    ):
        return last.previous_revision
    return None
