"""Upgrade an environment: compare, upgrade, follow and test; restore it when that fails."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from delivery import console
from delivery.deploy import follow, sops
from delivery.deploy.claims import Growth, growing, requested_sizes
from delivery.deploy.helm import ChartFiles
from delivery.deploy.history import History, Revision, describe
from delivery.deploy.locked_target import CutOff, LockedTarget
from delivery.deploy.manifests import (
    Manifest,
    changes,
    drifted,
    is_same,
    leftovers,
    objects,
    read_objects,
)
from delivery.deploy.target import Target
from delivery.errors import CommandError, DeclarationError, DeployError
from delivery.project import files
from delivery.project.files import ROOT
from delivery.records.deployment import Deployment, Outcome
from delivery.release import chart_package

__all__ = ["COMPARER", "Chart", "claims_to_enlarge", "keep", "render", "upgrade", "write_files"]

# A field manager of its own: as helm's, a field that helm has added would count as removed again.
COMPARER = "delivery-platform-compare"
_WRITTEN = "deployment.json"


@dataclass(frozen=True)
class Chart:
    """The chart to deploy, and the values that name the images."""

    folder: Path  # in this clone, relative to its root
    values: Mapping[str, Any]
    # A release's packaged chart: deployed instead of the folder, with the environment's values that
    # were packaged with it.
    packed: bytes | None = None


def upgrade(
    locked: LockedTarget,
    deployment: Deployment,
    inputs: ChartFiles,
    root: Path = ROOT,
    before: Callable[[Revision | None], None] = lambda _: None,
) -> Deployment:
    """Deploy these files, unless the cluster already has them; return the finished deployment.

    The deployment is also written to deployment.json, so that `verify` knows what to roll back to.
    before is called with the deployed revision before that changes.
    """
    files.output(_WRITTEN, root=root).unlink(missing_ok=True)
    done = _upgrade(locked, deployment, inputs, before)
    files.output(_WRITTEN, root=root).write_text(done.to_json(), encoding="utf-8")
    return done


def keep(deployment: Deployment, number: int, root: Path = ROOT) -> Deployment:
    """The finished deployment of a revision that is deployed already; it is also written."""
    done = deployment.with_revisions(number, number).ended(Outcome.UNCHANGED)
    files.output(_WRITTEN, root=root).write_text(done.to_json(), encoding="utf-8")
    return done


def write_files(
    target: Target, chart: Chart, root: Path = ROOT, folder: Path | None = None
) -> ChartFiles:
    """Write the files for helm; raise DeclarationError without the environment's values.

    They go to this folder, by default to .delivery.
    """
    name = f"values-{target.name}.json"
    values = folder / name if folder else files.output(name, root=root)
    values.write_text(json.dumps(chart.values, indent=2) + "\n", encoding="utf-8")
    environment = _environment_values(target, chart, root, values.parent)
    encrypted = target.environment.secrets
    secrets = sops.decrypt(root / encrypted) if encrypted else ""
    if chart.packed is None:
        return ChartFiles(root / chart.folder, (environment, values), secrets)
    packed = values.parent / f"chart-{target.name}.tgz"
    packed.write_bytes(chart.packed)
    return ChartFiles(packed, (environment, values), secrets)


def _environment_values(target: Target, chart: Chart, root: Path, folder: Path) -> Path:
    """The environment's values: the packaged chart's, or those outside its folder in the clone."""
    declared = Path(target.environment.values)
    if chart.packed is None or not declared.is_relative_to(chart.folder):
        if not (root / declared).is_file():
            raise _missing_values(target, "")
        return root / declared
    text = chart_package.read_file(chart.packed, declared.relative_to(chart.folder).as_posix())
    if text is None:
        raise _missing_values(target, " in the packaged chart")
    file = folder / f"declared-{target.name}.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def _missing_values(target: Target, where: str) -> DeclarationError:
    return DeclarationError(
        f"cannot read environments.{target.name}.values: "
        f"there is no file {target.environment.values}{where}",
        hint="correct it in delivery.toml",
    )


def _upgrade(
    locked: LockedTarget,
    deployment: Deployment,
    inputs: ChartFiles,
    before: Callable[[Revision | None], None],
) -> Deployment:
    cut_off = locked.repair()
    history = locked.history()
    previous = history.deployed
    rendered = render(locked.target, inputs, history)  # before anything changes
    _enlarge_claims(locked, rendered)
    if previous and not cut_off and _is_deployed(locked, deployment, rendered, previous):
        return deployment.with_revisions(previous.number, previous.number).ended(Outcome.UNCHANGED)
    before(previous)
    try:
        with locked.following("upgrade" if previous else "install") as watcher:
            locked.target.helm.upgrade(
                inputs,
                description=describe(deployment.contents.versions),
                seconds=locked.options.timeout,
                watcher=watcher,
            )
        if locked.target.environment.test or locked.soak_seconds:
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


def _enlarge_claims(locked: LockedTarget, rendered: Manifest) -> None:
    """Enlarge the claims of StatefulSets as rendered; the storage class has to allow it."""
    kubernetes = locked.target.kubernetes
    for growth in claims_to_enlarge(locked.target, rendered):
        locked.lock.check()
        requests = {"requests": {"storage": growth.requested}}
        with console.step(f"enlarge {growth.claim}") as step:
            try:
                kubernetes.patch(
                    "persistentvolumeclaim", growth.claim, {"spec": {"resources": requests}}
                )
            except CommandError as error:
                raise DeployError(
                    f"cannot enlarge the claim {growth.claim} to {growth.requested}: {error.tail}",
                    hint=f"set its size to {growth.current} again, or let its storage class "
                    "allow it (allowVolumeExpansion)",
                ) from error
            step.done(f"from {growth.current} to {growth.requested}")


def claims_to_enlarge(target: Target, rendered: Manifest) -> list[Growth]:
    """The claims that are smaller than StatefulSets as rendered request."""
    requested = requested_sizes(read_objects(rendered.objects))
    claims = target.kubernetes.all("persistentvolumeclaims") if requested else []
    return growing(requested, claims)


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
    if not is_same(revision.manifest, rendered):
        versions = locked.history().versions(revision)
        changed = changes(revision.manifest, rendered, versions, deployment.contents.versions)
        return f"differs from revision {revision.number}{changed and f': {changed}'}"
    kubernetes = target.kubernetes
    expected = kubernetes.dry_run(rendered.objects, COMPARER, validate=False)
    if changed_since := drifted(expected, kubernetes.live(rendered.objects)):
        names = ", ".join(changed_since)
        return f"revision {revision.number}, but changed in the cluster since: {names}"
    return ""


def render(target: Target, inputs: ChartFiles, history: History | None = None) -> Manifest:
    """What a deploy would put into the cluster; raise DeployError if the chart refuses it.

    Without a history, it is rendered as an upgrade.
    """
    try:
        is_upgrade = history is None or bool(history.revisions)
        return target.helm.preview(inputs, is_upgrade=is_upgrade)
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
    manifests = [revision.manifest for revision in locked.history().revisions]
    needed = {key for each in manifests for key in (*objects(each.objects), *objects(each.hooks))}
    live = locked.target.kubernetes.live(cut_off.objects)
    for kind, name in leftovers(live, needed, cut_off.began):
        locked.delete(kind, [name])
