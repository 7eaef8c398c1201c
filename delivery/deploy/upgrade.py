"""Upgrade an environment: compare, upgrade, follow and test; restore it when that fails."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from delivery import console
from delivery.deploy import follow, sops
from delivery.deploy.helm import ChartFiles
from delivery.deploy.history import Revision, describe
from delivery.deploy.locked_target import CutOff, LockedTarget
from delivery.deploy.manifests import Manifest, changes, drifted, is_same, leftovers, objects
from delivery.deploy.target import Target
from delivery.errors import CommandError, DeclarationError, DeployError
from delivery.project import files
from delivery.project.files import ROOT
from delivery.records.deployment import Deployment, Outcome
from delivery.release import chart_package

__all__ = ["Chart", "upgrade", "write_files"]

# A field manager of its own: as helm's, a field that helm has added would count as removed again.
_COMPARER = "delivery-platform-compare"


@dataclass(frozen=True)
class Chart:
    """The chart to deploy, and the values that name the images."""

    folder: Path  # in this clone, relative to its root
    values: Mapping[str, Any]
    # A release's packaged chart: deployed instead of the folder, with the environment's values that
    # were packaged with it.
    packed: bytes | None = None


def upgrade(
    locked: LockedTarget, deployment: Deployment, inputs: ChartFiles, root: Path = ROOT
) -> Deployment:
    """Deploy these files, unless the cluster already has them; return the finished deployment.

    It is also written to deployment.json, so that `verify` knows what to roll back to.
    """
    written = files.output("deployment.json", root=root)
    written.unlink(missing_ok=True)
    done = _upgrade(locked, deployment, inputs)
    written.write_text(done.to_json(), encoding="utf-8")
    return done


def write_files(target: Target, chart: Chart, root: Path = ROOT) -> ChartFiles:
    """Write the files for helm; raise DeclarationError without the environment's values."""
    values = files.output(f"values-{target.name}.json", root=root)
    values.write_text(json.dumps(chart.values, indent=2) + "\n", encoding="utf-8")
    environment = _environment_values(target, chart, root)
    encrypted = target.environment.secrets
    secrets = sops.decrypt(root / encrypted) if encrypted else ""
    if chart.packed is None:
        return ChartFiles(root / chart.folder, (environment, values), secrets)
    packed = files.output(f"chart-{target.name}.tgz", root=root)
    packed.write_bytes(chart.packed)
    return ChartFiles(packed, (environment, values), secrets)


def _environment_values(target: Target, chart: Chart, root: Path) -> Path:
    """The environment's values: the packaged chart's, or those outside its folder in the clone."""
    declared = Path(target.environment.values)
    if chart.packed is None or not declared.is_relative_to(chart.folder):
        if not (root / declared).is_file():
            raise _missing_values(target, "")
        return root / declared
    text = chart_package.read_file(chart.packed, declared.relative_to(chart.folder).as_posix())
    if text is None:
        raise _missing_values(target, " in the packaged chart")
    file = files.output(f"declared-{target.name}.yaml", root=root)
    file.write_text(text, encoding="utf-8")
    return file


def _missing_values(target: Target, where: str) -> DeclarationError:
    return DeclarationError(
        f"cannot read environments.{target.name}.values: "
        f"there is no file {target.environment.values}{where}",
        hint="correct it in delivery.toml",
    )


def _upgrade(locked: LockedTarget, deployment: Deployment, inputs: ChartFiles) -> Deployment:
    cut_off = locked.repair()
    previous = locked.history().deployed
    rendered = _render(locked.target, inputs)  # before anything changes
    if previous and not cut_off and _is_deployed(locked, deployment, rendered, previous):
        return deployment.with_revisions(previous.number, previous.number).ended(Outcome.UNCHANGED)
    try:
        with locked.following("upgrade" if previous else "install") as watcher:
            locked.target.helm.upgrade(
                inputs,
                description=describe(deployment.contents.versions),
                seconds=locked.options.timeout,
                watcher=watcher,
            )
        if locked.target.environment.test:
            locked.test()
    except DeployError as error:
        locked.restore(previous, error)
    if cut_off:
        _delete_leftovers(locked, cut_off)
    console.say("")
    console.say(locked.target.helm.notes())
    new = locked.history().deployed
    done = deployment.with_revisions(new.number if new else 0, previous.number if previous else 0)
    return done.ended(Outcome.SUCCEEDED)


def _is_deployed(
    locked: LockedTarget, deployment: Deployment, rendered: Manifest, revision: Revision
) -> bool:
    """Whether the cluster already has what is rendered; if so, wait until it is ready."""
    with console.step("compare") as step:
        if difference := _difference(locked, deployment, rendered, revision):
            step.done(difference)
            return False
        step.done(f"nothing to do: revision {revision.number} has the same contents")
    _wait_until_ready(locked, revision)
    return True


def _difference(
    locked: LockedTarget, deployment: Deployment, rendered: Manifest, revision: Revision
) -> str:
    """How the deployed revision, or the cluster, differs from this; "" if neither does."""
    target = locked.target
    deployed = target.helm.manifest(revision.number)
    if not is_same(deployed, rendered):
        versions = locked.history().versions(revision)
        changed = changes(deployed, rendered, versions, deployment.contents.versions)
        return f"differs from revision {revision.number}{changed and f': {changed}'}"
    kubernetes = target.kubernetes
    expected = kubernetes.dry_run(rendered.objects, _COMPARER)
    if changed_since := drifted(expected, kubernetes.live(rendered.objects)):
        names = ", ".join(changed_since)
        return f"revision {revision.number}, but changed in the cluster since: {names}"
    return ""


def _render(target: Target, inputs: ChartFiles) -> Manifest:
    try:
        return target.helm.preview(inputs)
    except CommandError as error:
        raise DeployError(
            f"cannot render {inputs.chart.name} for {target}: the chart refuses the values",
            details=_refusal(error.tail),
            hint=f"correct {target.environment.values}; nothing was changed in the cluster",
        ) from error


def _refusal(printed: str) -> str:
    """What the chart says, without the words that helm puts around it."""
    own = re.sub(r"^Error: (\w+ FAILED: )?execution error at \(.*?\): *", "", printed)
    return own.removesuffix("Use --debug flag to render out invalid YAML").strip()


def _wait_until_ready(locked: LockedTarget, revision: Revision) -> None:
    target, since = locked.target, datetime.now(UTC) - timedelta(minutes=10)
    try:
        with console.step("ready") as step:
            follow.Watch(target.kubernetes, step, locked.lock).wait(locked.options.timeout)
            step.done(f"all ready on {target}")
    except follow.RolloutError as error:
        follow.report(target.kubernetes, since)
        rollback = f"./run inv rollback --environment {target.name}"
        raise DeployError(
            f"cannot deploy to {target}: revision {revision.number} has the same contents, "
            f"but {error.message}",
            hint=error.hint or f"fix what the lines above say, or go back with `{rollback}`",
        ) from error


def _delete_leftovers(locked: LockedTarget, cut_off: CutOff) -> None:
    """Delete what only a cut-off revision created, except what is kept or holds data."""
    helm = locked.target.helm
    manifests = [helm.manifest(revision.number) for revision in locked.history().revisions]
    needed = {key for each in manifests for key in (*objects(each.objects), *objects(each.hooks))}
    live = locked.target.kubernetes.live(cut_off.objects)
    for kind, name in leftovers(live, needed, cut_off.began):
        locked.delete(kind, [name])
