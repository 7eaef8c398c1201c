"""Remove a release from an environment; its data stays unless the user asks to remove it too."""

from __future__ import annotations

from delivery import console, prompt
from delivery.deploy import inventory
from delivery.deploy.helm import SELECTOR, Watcher
from delivery.deploy.locked_target import LockedTarget, lock_target
from delivery.deploy.selection import DeployRequest, choose_environment
from delivery.deploy.target import Options, Target, connect
from delivery.errors import DeclarationError
from delivery.project.declaration import Declaration
from delivery.records import recorder
from delivery.records.deployment import Action, Contents, Deployment, Outcome
from delivery.records.recorder import Recording

__all__ = ["remove", "start"]


def remove(
    declaration: Declaration, request: DeployRequest, options: Options, *, data: bool
) -> Deployment:
    """Remove the release; removing what does not exist succeeds.

    Its claims and their Secrets stay, unless data is true and the user confirms.
    """
    environment = choose_environment(declaration, request, "undeploy")
    if data and not request.yes and not prompt.is_interactive():
        raise DeclarationError(
            "cannot remove the data: there is no terminal to confirm it on", hint="pass --yes"
        )
    target = connect(declaration, environment, request.context)
    if target.environment.confirm:
        prompt.confirm(f"remove {target}", target.name, yes=request.yes)
    with recorder.deployment(declaration, "undeploy", Action.REMOVE) as recording:
        recording.read_token = target.ledger_token
        deployment = start(declaration, target, recording)
        if target.kubernetes.find("namespace", target.kubernetes.namespace) is None:
            console.say(f"{target}: the namespace does not exist; nothing to remove")
        else:
            with lock_target(target, options) as locked:
                _uninstall(locked)
                _remove_data(locked, data=data, yes=request.yes)
        done = deployment.ended(Outcome.SUCCEEDED)
        recording.finish(done)
        return done


def start(declaration: Declaration, target: Target, recording: Recording) -> Deployment:
    """The removal of what is deployed, which is recorded at its end."""
    deployment = target.deployment(Action.REMOVE, Contents(), Contents())
    with recording.guard():
        if deployed := inventory.read_deployed(declaration, target):
            deployment = target.deployment(Action.REMOVE, Contents(), deployed.contents)
            deployment = deployment.with_revisions(0, deployed.revision.number)
            recording.start(deployment)
    return deployment


def _uninstall(locked: LockedTarget) -> None:
    with console.step("remove the release") as step:
        if locked.history().revisions:
            watcher = Watcher(on_line=step.line, tick=locked.lock.check)
            locked.target.helm.uninstall(seconds=locked.options.timeout, watcher=watcher)
            step.done("removed")
        else:
            step.done("no release")
    locked.delete("pods", _names(locked, "pods"))  # helm leaves those of its tests


def _names(locked: LockedTarget, kind: str) -> list[str]:
    return [each["metadata"]["name"] for each in locked.target.kubernetes.all(kind, SELECTOR)]


def _remove_data(locked: LockedTarget, *, data: bool, yes: bool) -> None:
    """Remove what helm leaves: claims, and the Secrets that the chart keeps for them."""
    kinds = ("persistentvolumeclaims", "secrets", "configmaps")
    by_kind = {kind: _names(locked, kind) for kind in kinds}
    names = [f"{kind}/{name}" for kind, listed in by_kind.items() for name in listed]
    if not names:
        console.say("no data is left")
    elif not data:
        console.say(f"kept: {', '.join(names)}; --data removes them")
    elif yes or _is_confirmed(names, locked.target.name):
        with console.step("remove the data") as step:
            for kind, listed in by_kind.items():
                locked.delete(kind, listed)
            step.done(", ".join(names))


def _is_confirmed(names: list[str], environment: str) -> bool:
    console.say("\n  ".join(["these would be deleted, with all their data:", *names]))
    confirmed = prompt.ask_for_word(f"type {environment} to delete them:", environment)
    if not confirmed:
        console.say("nothing is deleted")
    return confirmed
