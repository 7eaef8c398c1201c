"""Remove a release from an environment; its data stays unless it is asked for, too."""

from __future__ import annotations

from delivery import console, prompt
from delivery.deploy import inventory
from delivery.deploy.helm import RELEASE, Watcher
from delivery.deploy.locked_target import Held, hold
from delivery.deploy.selection import DeployRequest, choose_environment
from delivery.deploy.target import Options, Target, connect
from delivery.errors import DeclarationError
from delivery.project.declaration import Declaration
from delivery.records import recorder
from delivery.records.deployment import Action, Contents, Deployment, Outcome
from delivery.records.recorder import Recording

__all__ = ["remove"]

_INSTANCE = f"app.kubernetes.io/instance={RELEASE}"


def remove(
    declaration: Declaration, request: DeployRequest, options: Options, *, data: bool
) -> Deployment:
    """Remove the release; removing what does not exist succeeds.

    Its claims, and the Secrets that belong to them, stay; with data they go, once somebody has typed
    the environment's name for them.
    """
    environment = choose_environment(declaration, request, "undeploy")
    if data and not request.yes and not prompt.is_interactive():
        raise DeclarationError(
            "remove the data: nobody is here to be asked", hint="say it with --yes"
        )
    target = connect(declaration, environment, request.context)
    if target.declared.confirm:
        prompt.confirm(f"remove {target}", target.name, yes=request.yes)
    with recorder.deployment(declaration, "undeploy", Action.REMOVE) as recording:
        deployment = _started(declaration, target, recording)
        if target.kubernetes.find("namespace", target.kubernetes.namespace) is None:
            console.say(f"{target}: there is no such namespace, so nothing to remove")
        else:
            with hold(target, options) as held:
                _uninstall(held)
                _remove_data(held, request, data=data)
        done = deployment.ended(Outcome.SUCCEEDED)
        recording.finish(done)
        return done


def _started(declaration: Declaration, target: Target, recording: Recording) -> Deployment:
    deployment = target.deployment(Action.REMOVE, Contents(), Contents())
    with recording.guard():
        if current := inventory.look(declaration, target):
            deployment = target.deployment(Action.REMOVE, Contents(), current.contents)
            deployment = deployment.with_revisions(0, current.revision.number)
            recording.start(deployment)
    return deployment


def _uninstall(held: Held) -> None:
    target = held.target
    with console.step("remove the release") as step:
        if held.history().revisions:
            watcher = Watcher(on_line=step.line, tick=held.turn.check)
            target.helm.uninstall(seconds=held.options.seconds, watcher=watcher)
            step.done("gone")
        else:
            step.done("there is none")
    pods = [one["metadata"]["name"] for one in target.kubernetes.all("pods", _INSTANCE)]
    held.delete("pods", pods)  # helm leaves those of its tests


def _remove_data(held: Held, request: DeployRequest, *, data: bool) -> None:
    """Remove what an uninstalled release leaves: claims, and the Secrets that the chart keeps for them."""
    kinds = ("persistentvolumeclaims", "secrets", "configmaps")
    by_kind = {
        kind: [one["metadata"]["name"] for one in held.target.kubernetes.all(kind, _INSTANCE)]
        for kind in kinds
    }
    names = [f"{kind}/{name}" for kind, some in by_kind.items() for name in some]
    if not names:
        console.say("no data is left")
    elif not data:
        console.say(f"kept: {', '.join(names)}; --data removes them")
    elif _may_delete(names, held.target.name, yes=request.yes):
        with console.step("remove the data") as step:
            for kind, some in by_kind.items():
                held.delete(kind, some)
            step.done(", ".join(names))


def _may_delete(names: list[str], environment: str, *, yes: bool) -> bool:
    if yes:
        return True
    console.say("\n  ".join(["these would be deleted, with all that is in them:", *names]))
    agreed = prompt.ask_for_word(f"type {environment} to delete them:", environment)
    if not agreed:
        console.say("they stay")
    return agreed
