"""Deploy a release to an environment: select it, roll it out, and record the outcome."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

from delivery.deploy import freezing, inventory, previews, requested, unchanged, upgrade
from delivery.deploy.inventory import Deployed
from delivery.deploy.locked_target import lock_target
from delivery.deploy.requested import Selection
from delivery.deploy.selection import DeployRequest, resolve
from delivery.deploy.soaking import Soak
from delivery.deploy.target import Options, Target, connect
from delivery.project.declaration import Declaration
from delivery.project.files import ROOT
from delivery.records import recorder
from delivery.records.deployment import Action, Contents, Deployment
from delivery.records.recorder import Recording

__all__ = ["deploy"]


def deploy(
    declaration: Declaration, request: DeployRequest, options: Options, root: Path = ROOT
) -> Deployment:
    """Deploy what is requested, and wait until it is ready; roll back a failure.

    The deployment starts, and is recorded, when this process has the environment's lock; without
    the lock if nothing has to change.
    """
    with recorder.deployment(declaration, "deploy", Action.DEPLOY) as recording:
        environment, release = resolve(declaration, request)
        target = connect(declaration, environment, request.context)
        recording.read_token = target.ledger_token
        override = freezing.check(declaration, environment, request.override, target)
        selection = requested.select(declaration, target, request, release)
        if declaration.is_preview(target.name):
            previews.mark(declaration, target)
        inputs = upgrade.write_files(target, requested.make_chart(declaration, selection), root)
        reading = unchanged.read(declaration, target, inputs)
        if reading.unchanged:
            recording.override = override
            deployment = _start(declaration, target, selection, recording, reading.deployed)
            done = upgrade.keep(deployment, reading.unchanged, root)
            recording.finish(done)
            return done
        with lock_target(target, options) as locked:
            # Somebody may have frozen it while this deploy waited for another one.
            override = override or freezing.check(declaration, environment, "", target)
            recording.override = override
            read_deployed = functools.partial(inventory.read_deployed, declaration, target)
            deployment = _start(declaration, target, selection, recording, read_deployed)
            soak = Soak(locked)
            done = upgrade.upgrade(locked, deployment, inputs, root, soak.measure_before)
            recording.finish(done)
            soak.watch(done)
        return done


def _start(
    declaration: Declaration,
    target: Target,
    selection: Selection,
    recording: Recording,
    read_deployed: Callable[[], Deployed | None],
) -> Deployment:
    """Record the start of the deployment; a failure to name the contents does not stop it."""
    contents = previous = Contents()
    with recording.guard():
        if deployed := read_deployed():
            previous = deployed.contents
        contents = requested.named_contents(declaration, selection, previous)
    deployment = target.deployment(Action.DEPLOY, contents, previous)
    if contents.versions:
        recording.start(deployment, selection.release)
    return deployment
