"""Prune a registry: read all of it and all uses, decide, and only then remove."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import date
from pathlib import Path

from delivery import console
from delivery.deploy import previews, target
from delivery.deploy.history import Revision
from delivery.deploy.target import Target
from delivery.errors import CommandError, DeclarationError, DeployError, RegistryError
from delivery.host import programs
from delivery.host.docker_api import Engine
from delivery.project.declaration import Declaration, is_local
from delivery.project.files import ROOT, read_text
from delivery.registry import local_registry
from delivery.registry.client import Artifact, Blob, Manifest, Registry
from delivery.release import catalog
from delivery.release.catalog import newest_first
from delivery.release.released import read_release
from delivery.retention import policy
from delivery.retention.policy import (
    STATE,
    PrunePlan,
    RegistryContents,
    StoredManifest,
    Use,
    subject_of,
)
from delivery.words import plural

__all__ = ["collect_garbage", "find_uses", "plan", "print_plan", "prune"]

_STATE_TYPE = "application/vnd.delivery-platform.prune-state.v1+json"
_CHART_VERSION = re.compile(r"-(\d+\.\d+\.\d+.*)$")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_COLLECTED = re.compile(r"(\d+) blobs(?: and \d+ manifests)? eligible for deletion")


def find_uses(
    declaration: Declaration, without: Collection[str], releases: Sequence[str], root: Path = ROOT
) -> tuple[Use, ...]:
    """What the environments, this clone and further release.json files use.

    `without` names environments that are not asked. Raises DeployError if another environment
    cannot be asked, since what it runs is not known.
    """
    for name in without:
        target.find_environment(declaration, name, flag="--without")
    own = root / ".delivery" / "release.json"
    files = [*([own] if own.is_file() else []), *map(Path, releases)]
    names = [name for name in declaration.environments if name not in without]
    return (*(_file_use(file, root) for file in files), *_environment_uses(declaration, names))


def plan(
    declaration: Declaration, registry: Registry, uses: Sequence[Use], today: date
) -> PrunePlan:
    """The plan for a registry; nothing is changed."""
    with console.step(f"read {registry.address}") as step:
        contents = _read(declaration, registry, step.line)
        step.done(f"{len(contents.manifests)} manifests, {len(contents.releases)} releases")
    return policy.make_plan(contents, uses, declaration.prune, today)


def print_plan(plan: PrunePlan, address: str) -> None:
    """Print each verdict, and how much is freed."""
    rows = [(name.removeprefix(f"{address}/"), *row) for name, *row in plan.rows()]
    console.table(address, ("repository", "tags", "", "why"), rows)
    console.say(
        f"{plural(len(plan.removed), 'manifest')} to remove: {plan.freed_bytes / 1e6:.1f} MB"
    )


def prune(registry: Registry, plan: PrunePlan) -> int:
    """Remove what the plan says, releases first; return how many manifests were removed.

    After the releases the registry is read again, so that all images and charts of a release that
    was published meanwhile are kept.
    """
    _write_state(registry, plan)
    releases = plan.contents.repositories[0]
    with console.step(f"prune {registry.address}") as step:
        removed = _delete(
            registry, [each for each in plan.removed if each.repository == releases], step.line
        )
        new = set(catalog.versions(registry)) - set(plan.contents.releases)
        added = {name: release for name in new if (release := catalog.find(registry, name))}
        still = {each.pinned for each in plan.with_releases(added).removed}
        rest = [
            each for each in plan.removed if each.repository != releases and each.pinned in still
        ]
        removed += _delete(registry, rest, step.line)
        kept = len(plan.removed) - removed
        note = f"; {kept} kept, which a new release names" if kept else ""
        step.done(f"{removed} manifests removed{note}")
    return removed


def collect_garbage(engine: Engine, declaration: Declaration) -> str:
    """Free the bytes of removed manifests in the local registry; return what the program prints.

    The registry is stopped meanwhile, so a push at that time fails. Raises DeclarationError for a
    registry that this project did not start.
    """
    name, address = local_registry.container_name(declaration), declaration.registry.address
    port = int(address.partition("/")[0].rpartition(":")[2]) if ":" in address else 80
    if not is_local(address) or engine.publishers().get(port, ("",))[0] != name:
        raise DeclarationError(
            f"cannot collect garbage in {address}: this project has not started that registry",
            hint="leave --collect out, and run `registry garbage-collect` where the registry runs",
        )
    with console.step(f"collect garbage in {name}") as step:
        engine.stop(name)
        try:
            output = engine.run_once(
                declaration.upstream["registry"].image,
                ["registry", "garbage-collect", "/etc/docker/registry/config.yml"],
                network="none",
                capabilities=(),
                volumes={name: "/var/lib/registry"},
            )
        finally:
            engine.start(name)
            local_registry.wait_until_ready(address, name, f"start {name} again")
        count = _COLLECTED.search(output)
        step.done(f"{count[1] if count else 'no'} blobs removed; {address} answers again")
    return output


def _read(
    declaration: Declaration, registry: Registry, on_line: Callable[[str], None]
) -> RegistryContents:
    names = (catalog.REPOSITORY, declaration.chart.folder, *reversed(declaration.images_in_order()))
    repositories = tuple(f"{registry.address}/{name}" for name in names)
    manifests = tuple(
        manifest
        for repository in repositories
        for manifest in _read_repository(registry, repository, on_line)
    )
    tags = [tag for each in manifests if each.repository == repositories[0] for tag in each.tags]
    versions = [tag for tag in tags if tag != STATE and not subject_of(tag)]
    if invalid := set(versions) - set(newest_first(versions)):
        raise DeclarationError(
            f"cannot read the releases of {repositories[0]}: not a version: "
            f"{', '.join(sorted(invalid))}",
            hint="delete these tags if nobody needs them; until then nothing is removed",
        )
    releases = {tag: release for tag in versions if (release := catalog.find(registry, tag))}
    first_seen = _read_state(registry, repositories[0]) if STATE in tags else {}
    return RegistryContents(repositories, manifests, releases, first_seen)


def _read_repository(
    registry: Registry, repository: str, on_line: Callable[[str], None]
) -> list[StoredManifest]:
    """Every manifest of a repository that has a tag, or belongs to such a manifest."""
    tags: dict[str, list[str]] = {}
    manifests: dict[str, Manifest] = {}
    wholes: dict[str, set[str]] = {}  # what a manifest belongs to
    for tag in sorted(registry.tags(repository)):
        on_line(f"{repository}:{tag}")
        if manifest := registry.fetch(repository, tag):
            tags.setdefault(manifest.digest, []).append(tag)
            manifests[manifest.digest] = manifest
            if subject := subject_of(tag):
                wholes.setdefault(manifest.digest, set()).add(subject)
    unread = list(manifests)
    while unread:
        digest = unread.pop()
        for part, whole in _parts(registry, repository, manifests[digest], tags.get(digest, ())):
            wholes.setdefault(part, set()).add(whole)
            if part not in manifests and (manifest := registry.fetch(repository, part)):
                manifests[part] = manifest
                unread.append(part)
    return [
        StoredManifest(
            repository,
            digest,
            tuple(tags.get(digest, ())),
            frozenset(wholes.get(digest, ())),
            _blobs(manifest),
            _members(manifest, tags.get(digest, ())),
        )
        for digest, manifest in manifests.items()
    ]


def _parts(
    registry: Registry, repository: str, manifest: Manifest, tags: Iterable[str]
) -> Iterable[tuple[str, str]]:
    """Each pair (part, whole) that a manifest belongs to."""
    document, digest = manifest.manifest, manifest.digest
    subjects = {subject for tag in tags if (subject := subject_of(tag))}
    for entry in document.get("manifests") or ():
        yield from ((entry["digest"], subject) for subject in subjects or {digest})
    if whole := (document.get("subject") or {}).get("digest"):
        yield digest, whole
    if not subjects:
        for attached in registry.referrers(repository, digest):
            yield attached, digest


def _members(manifest: Manifest, tags: Iterable[str]) -> frozenset[str]:
    """The digests of the images of an index; a list of referrers, by its tag, has none."""
    if any(map(subject_of, tags)):
        return frozenset()
    return frozenset(entry["digest"] for entry in manifest.manifest.get("manifests") or ())


def _blobs(manifest: Manifest) -> dict[str, int]:
    """The size of each blob, and of the manifest itself, by digest."""
    document = manifest.manifest
    config = document.get("config")
    parts = [*(document.get("layers") or ()), *([config] if config else ())]
    sizes = {part["digest"]: int(part.get("size", 0)) for part in parts}
    return {manifest.digest: len(manifest.content), **sizes}


def _read_state(registry: Registry, repository: str) -> dict[str, date]:
    state = registry.fetch(repository, STATE)
    layers = state.manifest.get("layers") or () if state else ()
    text = registry.blob(repository, layers[0]["digest"]).decode(errors="replace") if layers else ""
    return policy.parse_state(text, file=f"{repository}:{STATE}")


def _write_state(registry: Registry, plan: PrunePlan) -> None:
    """Keep the state in the registry, which itself does not know when a manifest was pushed."""
    if dict(plan.contents.first_seen) == plan.first_seen:
        return
    repository = plan.contents.repositories[0]
    previous = registry.digest(repository, STATE)
    content = policy.dump_state(plan.first_seen).encode()
    state = Artifact(_STATE_TYPE, [Blob(_STATE_TYPE, content)])
    try:
        current = registry.push_artifact(repository, state, tag=STATE, overwrite=True)
    except RegistryError as error:
        if error.retriable or not previous:
            raise
        registry.delete(repository, previous)  # tags of this registry are immutable
        registry.push_artifact(repository, state, tag=STATE, overwrite=True)
        return
    if previous and previous != current:
        registry.delete(repository, previous)


def _delete(
    registry: Registry, manifests: Sequence[StoredManifest], on_line: Callable[[str], None]
) -> int:
    for manifest in manifests:
        on_line(manifest.pinned)
        registry.delete(manifest.repository, manifest.digest)
    return len(manifests)


def _file_use(file: Path, root: Path) -> Use:
    text = read_text(file, "the release", "pass a release.json file as --in-use")
    release = read_release(text, file=str(file))
    name = file.relative_to(root) if file.is_relative_to(root) else file
    return Use(str(name), policy.release_digests(release), release.version)


def _environment_uses(declaration: Declaration, names: Sequence[str]) -> list[Use]:
    if not names:
        return []  # neither helm nor kubectl is needed
    by_name = target.reachable(
        declaration, names, programs.ensure("helm"), programs.ensure("kubectl")
    )
    uses = list[Use]()
    failures: dict[str, DeployError] = {}
    for name, targets in by_name.items():
        try:
            with console.step(f"ask {name} what it runs") as step:
                revisions = _target_uses(name, targets, declaration.contexts(name))
                if name == declaration.preview:
                    revisions += _preview_uses(declaration, targets)
                step.done(f"{len(revisions)} revisions that it runs or may roll back to")
        except DeployError as error:
            failures[name] = error
        else:
            uses += revisions
    if len(failures) > 1:
        raise DeployError(
            f"cannot ask {', '.join(failures)} what they run",
            details="\n".join(f"{name}: {error.reason}" for name, error in failures.items()),
            hint="start them, run this where the kubeconfig has their contexts, or "
            + _pass_without(*failures),
        )
    if failures:
        raise next(iter(failures.values()))
    return uses


def _target_uses(name: str, targets: Sequence[Target], contexts: Sequence[str]) -> list[Use]:
    if not targets:
        raise DeployError(
            f"cannot ask {name} what it runs: the kubeconfig has none of its contexts "
            f"({', '.join(contexts)})",
            hint=f"run this where the kubeconfig has them, or {_pass_without(name)}",
        )
    return [use for each in targets for use in _revision_uses(each)]


def _preview_uses(declaration: Declaration, targets: Sequence[Target]) -> list[Use]:
    try:
        made = [each for base in targets for each in previews.targets(declaration, base)]
    except CommandError as error:
        raise DeployError(
            f"cannot ask previews what they run: {error.reason}",
            details=error.details,
            hint=f"allow to list namespaces, or {_pass_without(declaration.preview)}",
        ) from error
    return [use for each in made for use in _revision_uses(each)]


def _pass_without(*names: str) -> str:
    flags = " ".join(f"--without {name}" for name in names)
    use = "it alone uses" if len(names) == 1 else "they alone use"
    return f"pass {flags}: what {use} is then removed"


def _revision_uses(target: Target) -> list[Use]:
    """The use of every helm revision, current or earlier: a rollback may bring it back."""
    user = f"{target.name} ({target.kubernetes.context})"
    try:
        target.kubernetes.reach()
        revisions = target.helm.history().revisions
        return [_revision_use(user, revision) for revision in revisions]
    except (CommandError, DeployError) as error:
        raise DeployError(
            f"cannot ask {user} what it runs: {error.reason}",
            details=error.details,
            hint=f"start it, or {_pass_without(target.name)}",
        ) from error


def _revision_use(user: str, revision: Revision) -> Use:
    manifest = revision.manifest
    # The values have the images of this project, the manifest also those of the chart itself.
    texts = (manifest.objects, manifest.hooks, json.dumps(revision.values))
    digests = frozenset(digest for text in texts for digest in _DIGEST.findall(text))
    version = _CHART_VERSION.search(revision.chart)
    return Use(f"{user}, revision {revision.number}", digests, version[1] if version else "")
