"""Upgrade an environment: compare, upgrade, follow, test; and take it back when it fails."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from delivery import console
from delivery.deploy import follow
from delivery.deploy.helm import RELEASE
from delivery.deploy.history import Revision, describe
from delivery.deploy.locked_target import CutOff, Held
from delivery.deploy.manifests import Manifest, adrift, changes, leftovers, objects
from delivery.deploy.target import Target
from delivery.errors import CommandError, DeclarationError, DeployError
from delivery.project import files
from delivery.project.files import ROOT
from delivery.records.deployment import Deployment, Outcome
from delivery.release import chart_package

__all__ = ["Chart", "Given", "upgrade", "write_files"]

# Not helm's own name: what helm adds to a manifest would count as taken away again.
_COMPARER = "delivery-platform-compare"


@dataclass(frozen=True)
class Chart:
    """The chart to deploy, and the values that name the images.

    folder is in this clone, relative to its root. packed is a release's packaged chart: it is
    deployed instead, with the environment's values as they were packaged with it.
    """

    folder: Path
    values: Mapping[str, Any]
    packed: bytes | None = None


@dataclass(frozen=True)
class Given:
    """What helm is given: the chart, and values files, the later before the earlier."""

    chart: Path
    values: tuple[Path, ...]


def upgrade(held: Held, deployment: Deployment, given: Given, root: Path = ROOT) -> Deployment:
    """Bring a deployment to the cluster, unless it serves already; what came of it.

    It is written down for `verify` to know what to go back to.
    """
    written = files.output("deployment.json", root=root)
    written.unlink(missing_ok=True)
    done = _upgrade(held, deployment, given)
    written.write_text(done.to_json(), encoding="utf-8")
    return done


def write_files(target: Target, chart: Chart, root: Path = ROOT) -> Given:
    """Write the files that helm is given; raise DeclarationError where the environment's values are missing."""
    values = files.output(f"values-{target.name}.json", root=root)
    values.write_text(json.dumps(chart.values, indent=2) + "\n", encoding="utf-8")
    declared = _environment_values(target, chart, root)
    if chart.packed is None:
        return Given(root / chart.folder, (declared, values))
    packed = files.output(f"chart-{target.name}.tgz", root=root)
    packed.write_bytes(chart.packed)
    return Given(packed, (declared, values))


def _environment_values(target: Target, chart: Chart, root: Path) -> Path:
    """The environment's values: of the packaged chart where they are in the chart's folder, else this clone's."""
    declared = Path(target.declared.values)
    if chart.packed is None or not declared.is_relative_to(chart.folder):
        if not (root / declared).is_file():
            raise _no_values(target, "")
        return root / declared
    text = chart_package.read_file(chart.packed, declared.relative_to(chart.folder).as_posix())
    if text is None:
        raise _no_values(target, " in the packaged chart")
    file = files.output(f"declared-{target.name}.yaml", root=root)
    file.write_text(text, encoding="utf-8")
    return file


def _no_values(target: Target, where: str) -> DeclarationError:
    return DeclarationError(
        f"read environments.{target.name}.values: there is no file {target.declared.values}{where}",
        hint="correct it in delivery.toml",
    )


def _upgrade(held: Held, deployment: Deployment, given: Given) -> Deployment:
    cut_off = held.repair()
    serving = held.history().serving
    if serving and not cut_off and _is_current(held, deployment, given, serving):
        return deployment.with_revisions(serving.number, serving.number).ended(Outcome.UNCHANGED)
    try:
        _apply(held, deployment, given, serving)
        if held.target.declared.test:
            held.test()
    except DeployError as error:
        held.take_back(serving, error)
    if cut_off:
        _tidy(held, cut_off)
    console.say("")
    console.say(held.target.helm.notes())
    after = held.history().serving
    before = serving.number if serving else 0
    return deployment.with_revisions(after.number if after else 0, before).ended(Outcome.SUCCEEDED)


def _is_current(held: Held, deployment: Deployment, given: Given, serving: Revision) -> bool:
    """Whether the cluster has already what would be deployed. What is not ready then is waited for."""
    with console.step("compare") as step:
        if difference := _difference(held, deployment, given, serving):
            step.done(difference)
            return False
        step.done(f"nothing to do: revision {serving.number} is this already")
    _wait_until_ready(held, serving)
    return True


def _difference(held: Held, deployment: Deployment, given: Given, serving: Revision) -> str:
    """How what serves differs from what would be deployed, or was changed since; "" if neither."""
    target = held.target
    wanted = _render(target, given)
    current = target.helm.manifest(serving.number)
    if wanted != current:
        versions = held.history().versions(serving)
        changed = changes(current, wanted, versions, deployment.contents.versions)
        return f"not what revision {serving.number} is{changed and f': {changed}'}"
    kubernetes = target.kubernetes
    drifted = adrift(
        kubernetes.would_be(wanted.objects, _COMPARER), kubernetes.live(wanted.objects)
    )
    return (
        f"revision {serving.number}, but changed in the cluster since: {', '.join(drifted)}"
        if drifted
        else ""
    )


def _render(target: Target, given: Given) -> Manifest:
    try:
        return target.helm.preview(given.chart, given.values)
    except CommandError as error:
        raise DeployError(
            f"render {given.chart.name} for {target}: the chart refuses it",
            details=error.tail,
            hint=f"correct {target.declared.values}; nothing was changed in the cluster",
        ) from error


def _wait_until_ready(held: Held, serving: Revision) -> None:
    target, since = held.target, datetime.now(UTC) - timedelta(minutes=10)
    try:
        with console.step("ready") as step:
            follow.Watch(target.kubernetes, RELEASE, step, held.turn).wait(held.options.seconds)
            step.done(f"all ready on {target}")
    except follow.HopelessError as error:
        follow.report(target.kubernetes, RELEASE, since)
        raise DeployError(
            f"deploy to {target}: revision {serving.number} is this already, but {error.message}",
            hint=error.hint
            or f"mend what the lines above say; `./run inv rollback --environment {target.name}` goes back",
        ) from error


def _apply(held: Held, deployment: Deployment, given: Given, serving: Revision | None) -> None:
    with held.following("upgrade" if serving else "install") as watcher:
        held.target.helm.upgrade(
            given.chart,
            given.values,
            description=describe(deployment.contents.versions),
            seconds=held.options.seconds,
            watcher=watcher,
        )


def _tidy(held: Held, cut_off: CutOff) -> None:
    """Delete what a cut-off revision alone made; never what is kept or holds data."""
    helm, kubernetes = held.target.helm, held.target.kubernetes
    history = held.history()
    serving = history.serving
    if serving is None:
        return
    manifests = {one.number: helm.manifest(one.number) for one in history.revisions}
    texts = [text for one in manifests.values() for text in (one.objects, one.hooks)]
    needed = {named for text in texts for named in objects(text)}
    # What serves now has to stay, however it is written: kubectl reads any YAML.
    live = kubernetes.live(manifests[serving.number].objects)
    needed |= {(one["kind"], one["metadata"]["name"]) for one in live}
    for kind, name in leftovers(kubernetes.live(cut_off.objects), needed, cut_off.began):
        held.delete(kind, [name])
