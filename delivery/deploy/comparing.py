"""Compare an environment with what a deploy would make of it; nothing is changed."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from delivery import console
from delivery.deploy import inventory, requested, upgrade
from delivery.deploy.comparison import SHA_SHOWN, Commits, Comparison, group
from delivery.deploy.history import History
from delivery.deploy.inventory import Deployed
from delivery.deploy.manifests import Manifest, by_name, is_same, read_objects
from delivery.deploy.object_diffs import ObjectDiff, diff_objects, states
from delivery.deploy.requested import Selection
from delivery.deploy.selection import DeployRequest, choose_environment, resolve
from delivery.deploy.target import Target, connect, connect_beside
from delivery.errors import CommandError, DeclarationError, DeliveryError, DeployError
from delivery.project import git
from delivery.project.declaration import Declaration
from delivery.project.files import ROOT
from delivery.records.deployment import Contents
from delivery.registry.client import Registry
from delivery.release import catalog

__all__ = ["Rendered", "compare", "compare_environments", "render"]

_NOT_DEPLOYED = Manifest("", "")


@dataclass(frozen=True)
class Rendered:
    """What a deploy would put into an environment."""

    target: Target
    history: History  # of the environment
    selection: Selection
    manifest: Manifest

    @property
    def pending(self) -> str:
        """Which revision has not ended, so that nothing could be rendered; or ""."""
        last = self.history.pending
        return (
            f"revision {last.number} is {last.status} since {last.updated:%H:%M:%S}" if last else ""
        )


def render(declaration: Declaration, request: DeployRequest, root: Path = ROOT) -> Rendered:
    """What a deploy of this request would put where; nothing is built or pushed."""
    rendered = _render(declaration, request, root)
    if rendered.pending:
        raise DeployError(
            f"cannot render for {rendered.target}: {rendered.pending}",
            hint="wait until that deploy has ended; the next deploy repairs one that was killed",
        )
    return rendered


def _render(declaration: Declaration, request: DeployRequest, root: Path) -> Rendered:
    request = replace(request, dry_run=True)
    environment, release = resolve(declaration, request)
    target = connect(declaration, environment, request.context)
    history = target.helm.history()
    selection = requested.select(declaration, target, request, release)
    if history.pending:  # what it deploys is not known yet
        return Rendered(target, history, selection, _NOT_DEPLOYED)
    chart = requested.make_chart(declaration, selection, dry_run=True)
    with TemporaryDirectory(prefix="delivery-") as folder:
        files = upgrade.write_files(target, chart, root, Path(folder))
        return Rendered(target, history, selection, upgrade.render(target, files, history))


def compare(declaration: Declaration, request: DeployRequest, root: Path = ROOT) -> Comparison:
    """What a deploy of this request would change in its environment."""
    rendered = _render(declaration, request, root)
    target, selection, release = rendered.target, rendered.selection, rendered.selection.release
    pending = rendered.pending
    with console.step("compare") as step:
        deployed, stored = _read(declaration, target, rendered.history)
        previous = deployed.contents if deployed else Contents()
        commit = release.commit if release else "HEAD"
        folders = _folders(declaration, images=release is not None or bool(selection.built))
        comparison = Comparison(
            _label(target, deployed),
            f"release {release.version}" if release else "this clone",
            (previous, requested.named_contents(declaration, selection, previous)),
            _commits(_commit_of(declaration, previous), commit, folders, root),
            [] if pending else _changed_objects(rendered, stored),
            makes_revision=deployed is None or not is_same(stored, rendered.manifest),
            unknown=f"{pending}; the next deploy repairs it" if pending else "",
        )
        step.done("something would change" if comparison.is_changed else "nothing would change")
    return comparison


def compare_environments(declaration: Declaration, request: DeployRequest, to: str) -> Comparison:
    """What would change in the request's environment if it ran what another environment runs."""
    if request.version or request.file or request.plan:
        raise DeclarationError(
            "cannot compare: --to names an environment, and its release is what that runs",
            hint="omit --to, or --version, --release and --plan",
        )
    environment = choose_environment(declaration, request, "compare")
    targets = [connect(declaration, environment, request.context)]
    targets.append(connect_beside(declaration, to, targets[0]))
    (old, before), (new, after) = (
        _read(declaration, target, target.helm.history()) for target in targets
    )
    first, second = (each.contents if each else Contents() for each in (old, new))
    since, until = (_commit_of(declaration, each) for each in (first, second))
    return Comparison(
        _label(targets[0], old),
        _label(targets[1], new),
        (first, second),
        _commits(since, until, _folders(declaration), ROOT),
        _stored_objects(before, after),
    )


def _read(
    declaration: Declaration, target: Target, history: History
) -> tuple[Deployed | None, Manifest]:
    """What is deployed, with the manifest that it was deployed by."""
    if history.deployed is None:
        return None, _NOT_DEPLOYED
    deployed = inventory.read_revision(declaration, target, history, history.deployed)
    return deployed, deployed.revision.manifest


def _label(target: Target, deployed: Deployed | None) -> str:
    return f"{target}, " + (f"revision {deployed.revision.number}" if deployed else "not deployed")


def _stored_objects(before: Manifest, after: Manifest) -> list[ObjectDiff]:
    """How two manifests differ, objects and hooks; no cluster is asked."""
    return diff_objects(
        {**read_objects(before.hooks), **read_objects(before.objects)},
        {**read_objects(after.hooks), **read_objects(after.objects)},
    )


def _changed_objects(rendered: Rendered, stored: Manifest) -> list[ObjectDiff]:
    """How the cluster's objects and the revision's hooks would differ after a deploy."""
    target, manifest = rendered.target, rendered.manifest
    if rendered.history.deployed is None:
        return _stored_objects(stored, manifest)
    manager = target.helm.field_manager
    try:
        applied = target.kubernetes.dry_run(manifest.objects, manager or upgrade.COMPARER)
    except CommandError as error:
        raise DeployError(
            f"cannot compare with {target}: the cluster refuses what a deploy would apply",
            details=error.tail,
            hint="correct the chart or its values, as the lines above say",
        ) from error
    live = by_name(target.kubernetes.live(manifest.objects))
    before, after = read_objects(stored.objects), read_objects(manifest.objects)
    changed = states(before, after, live, by_name(applied), merges=not manager)
    hooks = diff_objects(read_objects(stored.hooks), read_objects(manifest.hooks))
    return [*diff_objects(*changed), *hooks]


def _folders(declaration: Declaration, *, images: bool = True) -> dict[str, tuple[str, ...]]:
    """The folders of each image and of the chart; of the chart alone if the images stay."""
    of_images = {name: image.folders for name, image in declaration.images.items()}
    folder = declaration.chart.folder
    return {**(of_images if images else {}), folder: (folder,)}


def _commit_of(declaration: Declaration, contents: Contents) -> str:
    """The commit of the release with these contents; "" if the registry has no such release."""
    version = contents.versions.get(declaration.chart.folder, "")
    with suppress(DeliveryError):  # the registry does not answer, or the version is no tag
        release = catalog.find(Registry(declaration.registry.address), version)
        return release.commit if release else ""
    return ""


def _commits(first: str, second: str, folders: dict[str, tuple[str, ...]], root: Path) -> Commits:
    """The commits between two, by component; a note says why some are not known."""
    if not first or not second:
        return Commits({}, note="not known: the registry has no release of the deployed contents")
    if lacking := [sha for sha in (first, second) if git.describe(root, sha) is None]:
        short = ", ".join(sha[:SHA_SHOWN] for sha in lacking)
        return Commits({}, note=f"not known: this clone lacks {short}; `git fetch origin` gets it")
    commits = group(git.one_sided(root, first, second), folders)
    is_shallow = bool(git.load_clone(root).shallow_boundary)
    note = "this clone is shallow: `git fetch --unshallow` gets the commits that it lacks"
    return replace(commits, note=note) if is_shallow else commits
