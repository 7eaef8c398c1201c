"""Compare what is live in an environment with what was deployed to it."""

from __future__ import annotations

from delivery import console
from delivery.deploy import drift
from delivery.deploy.drift import Drift
from delivery.deploy.manifests import read_objects
from delivery.deploy.selection import DeployRequest, choose_environment
from delivery.deploy.target import connect
from delivery.errors import DeployError
from delivery.project.declaration import Declaration
from delivery.words import plural

__all__ = ["COLUMNS", "find_drift", "rows"]

COLUMNS = ("object", "field", "change", "deployed", "live", "manager", "since")


def find_drift(declaration: Declaration, request: DeployRequest) -> list[Drift]:
    """How the live objects of an environment differ from the deployed revision's manifest."""
    environment = choose_environment(declaration, request, "look for drift")
    target = connect(declaration, environment, request.context)
    deployed = target.helm.history().deployed
    if deployed is None:
        raise DeployError(
            f"cannot look for drift in {target}: nothing is deployed",
            hint="deploy with `./run inv deploy`",
        )
    with console.step(f"compare with revision {deployed.number}") as step:
        manifest = deployed.manifest.objects
        live = target.kubernetes.live(manifest, managed=True)
        found = drift.find(read_objects(manifest).values(), live)
        step.done(plural(len(found), "difference"))
    return found


def rows(found: list[Drift]) -> list[tuple[str, ...]]:
    """The differences as rows of a table."""
    return [
        (each.object, each.field, each.change, each.deployed, each.live, each.manager, each.at)
        for each in found
    ]
