"""Stop the platform on this machine and record the removal of its apps."""

from __future__ import annotations

from delivery import console, prompt
from delivery.host import engines
from delivery.platform import lifecycle
from delivery.platform.compose import Compose
from delivery.project.declaration import LOCAL, Declaration
from delivery.records import recorder
from delivery.records.deployment import Action, Contents, Deployment

__all__ = ["down"]


def down(declaration: Declaration, *, volumes: bool, registry: bool, yes: bool) -> None:
    """Stop the platform.

    volumes: also remove the data, after a confirmation unless yes.
    registry: stop the local registry even if a local cluster pulls from it.
    """
    project = lifecycle.compose(engines.require(), declaration, lifecycle.released())
    if note := lifecycle.shared_note(project):
        console.say(note)
    if volumes:
        _confirm(project.name, lifecycle.data_volumes(project, declaration), yes=yes)
    else:  # with the data, the records would be removed too
        _record_removal(declaration, project)
    users = lifecycle.down(project, declaration, volumes=volumes, registry=registry)
    if not volumes:
        console.say("the data stays; `./run inv down --volumes` removes it")
    if users:
        remove = lifecycle.remove_clusters(declaration, users)
        console.say(f"the registry still runs for {', '.join(users)}: to stop it, {remove},")
        console.say("then `./run inv down`; or at once `./run inv down --registry`")
    if project.engine.is_private:
        console.say("the private engine still runs, with the containers of all clones on this")
        console.say("machine; `./run inv engine.down` stops it and them")


def _confirm(name: str, volumes: list[str], *, yes: bool) -> None:
    if volumes and not yes:
        console.say(f"this removes the data of {name}: the volumes {', '.join(volumes)}")
        alternative = "; without --volumes the data stays"
        prompt.confirm(f"remove the data of {name}", name, yes=yes, alternative=alternative)


def _record_removal(declaration: Declaration, project: Compose) -> None:
    """Record the removal of the apps while the ledger, which is an app too, still runs."""
    with recorder.deployment(declaration, "down", Action.REMOVE) as recording, recording.guard():
        running = {service.name for service in project.services() if service.state == "running"}
        address = lifecycle.ledger_address(project)
        known = lifecycle.recorded(address) if "api-rest" in running else {}
        if versions := {name: known[name] for name in known if name in running}:
            previous = Contents(versions=versions)
            removed = Deployment(
                action=Action.REMOVE, environment=LOCAL, previous_contents=previous
            )
            recording.start(removed, ledger=address)
