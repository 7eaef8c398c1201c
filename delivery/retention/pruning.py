"""Prune a registry: read all of it and what is in use, decide, and only then remove."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from delivery import console
from delivery.deploy import target
from delivery.deploy.helm import Helm
from delivery.deploy.history import Revision
from delivery.deploy.target import Target
from delivery.errors import CommandError, DeclarationError, DeployError, RegistryError
from delivery.host import programs
from delivery.host.docker_api import Engine
from delivery.project.declaration import Declaration, is_local
from delivery.project.files import ROOT
from delivery.registry import local_registry
from delivery.registry.client import Artifact, Blob, Manifest, Registry
from delivery.release import catalog
from delivery.release.catalog import newest_first
from delivery.release.released import read_release
from delivery.retention import policy
from delivery.retention.policy import STATE, Held, Outcome, Registered, Use, subject_of

__all__ = ["Found", "act", "collect", "in_use", "look"]

_STATE_TYPE = "application/vnd.delivery-platform.prune-state.v1+json"
_CHART_VERSION = re.compile(r"-(\d+\.\d+\.\d+.*)$")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_COLLECTED = re.compile(r"(\d+) blobs(?: and \d+ manifests)? eligible for deletion")


@dataclass(frozen=True)
class Found:
    """What the registry holds and what is in use, and what follows from it on that day."""

    registered: Registered
    uses: tuple[Use, ...]
    today: date
    outcome: Outcome

    def say(self, address: str) -> None:
        """Print each verdict, and what is freed."""
        rows = [(name.removeprefix(f"{address}/"), *row) for name, *row in self.outcome.rows()]
        console.table(address, ("repository", "tags", "", "why"), rows)
        freed = f"{self.outcome.freed / 1e6:.1f} MB that nothing else needs"
        console.say(f"{len(self.outcome.going)} manifests go, with {freed}")


def in_use(
    declaration: Declaration, without: Collection[str], releases: Sequence[str], root: Path = ROOT
) -> tuple[Use, ...]:
    """What the environments, this clone and further release.json files use.

    `without` names environments that are not asked. Raises DeployError for another one that cannot
    be asked, since what it runs is not known.
    """
    for name in without:
        target.find_environment(declaration, name)
    own = root / ".delivery" / "release.json"
    paths = [*([own] if own.is_file() else []), *map(Path, releases)]
    names = [name for name in declaration.environments if name not in without]
    return (
        *(_file_in_use(path, root) for path in paths),
        *_environments_in_use(declaration, names),
    )


def look(declaration: Declaration, registry: Registry, uses: tuple[Use, ...], today: date) -> Found:
    """Read the registry and decide; nothing is changed."""
    with console.step(f"look at {registry.address}") as step:
        registered = _registered(declaration, registry, step.line)
        counts = f"{len(registered.held)} manifests, {len(registered.releases)} releases"
        step.done(f"{counts}, {registry.requests} requests")
    return Found(registered, uses, today, policy.decide(registered, uses, declaration.prune, today))


def act(declaration: Declaration, registry: Registry, found: Found) -> int:
    """Remove what goes, releases first; return how many manifests are gone.

    Between the releases and the rest the registry is read once more, so that a release that was
    published meanwhile stays whole.
    """
    _remember(registry, found)
    going, releases = found.outcome.going, found.registered.repositories[0]
    with console.step(f"clean up {registry.address}") as step:
        gone = _delete(registry, [held for held in going if held.repository == releases], step.line)
        still = _still_going(declaration, registry, found)
        rest = [held for held in going if held.repository != releases and held.pinned in still]
        gone += _delete(registry, rest, step.line)
        left = len(going) - gone
        step.done(
            f"{gone} manifests removed"
            + (f"; {left} stay, which a new release names" if left else "")
        )
    return gone


def collect(engine: Engine, declaration: Declaration) -> str:
    """Free the bytes of what was removed from the local registry; return what its collection prints.

    The registry is stopped meanwhile, so a push at that time fails. Raises DeclarationError for a
    registry that this project did not start.
    """
    name, address = local_registry.container_name(declaration), declaration.registry.address
    port = int(address.partition("/")[0].rpartition(":")[2]) if ":" in address else 80
    if not is_local(address) or engine.publishers().get(port, ("",))[0] != name:
        raise DeclarationError(
            f"collect what {address} no longer needs: it is no registry that this project started",
            hint="leave --collect out; whoever runs that registry frees its space (`registry garbage-collect`)",
        )
    with console.step(f"collect in {name}") as step:
        engine.stop(name)
        try:
            said = engine.run_once(
                declaration.upstream["registry"].image,
                ["registry", "garbage-collect", "/etc/docker/registry/config.yml"],
                network="none",
                capabilities=(),
                volumes={name: "/var/lib/registry"},
            )
        finally:
            engine.start(name)
            local_registry.wait_until_ready(address, name, f"start {name} again")
        counted = _COLLECTED.search(said)
        step.done(f"{counted[1] if counted else 'no'} blobs freed; {address} answers again")
    return said


def _registered(
    declaration: Declaration, registry: Registry, on_line: Callable[[str], None]
) -> Registered:
    names = (catalog.REPOSITORY, declaration.chart.folder, *reversed(declaration.images_in_order()))
    repositories = tuple(f"{registry.address}/{name}" for name in names)
    held = tuple(one for repository in repositories for one in _held(registry, repository, on_line))
    tags = [tag for one in held if one.repository == repositories[0] for tag in one.tags]
    versions = [tag for tag in tags if tag != STATE and not subject_of(tag)]
    if strange := set(versions) - set(newest_first(versions)):
        raise DeclarationError(
            f"read the releases of {repositories[0]}: {', '.join(sorted(strange))} is no version",
            hint="whoever put it there knows whether it may be deleted; nothing is removed before that",
        )
    releases = {tag: release for tag in versions if (release := catalog.find(registry, tag))}
    seen = _first_seen(registry, repositories[0]) if STATE in tags else {}
    return Registered(repositories, held, releases, seen)


def _held(registry: Registry, repository: str, on_line: Callable[[str], None]) -> list[Held]:
    """Every manifest that can be found in a repository: by tags, and by what belongs to what these name."""
    tags: dict[str, list[str]] = {}
    read: dict[str, Manifest] = {}
    of: dict[str, set[str]] = {}
    for tag in sorted(registry.tags(repository)):
        on_line(f"{repository}:{tag}")
        if found := registry.fetch(repository, tag):
            tags.setdefault(found.digest, []).append(tag)
            read[found.digest] = found
            if subject := subject_of(tag):
                of.setdefault(found.digest, set()).add(subject)
    waiting = list(read)
    while waiting:
        digest = waiting.pop()
        for part, whole in _belonging(registry, repository, read[digest], tags.get(digest, ())):
            of.setdefault(part, set()).add(whole)
            if part not in read and (found := registry.fetch(repository, part)):
                read[part] = found
                waiting.append(part)
    return [
        Held(
            repository,
            digest,
            tuple(tags.get(digest, ())),
            frozenset(of.get(digest, ())),
            _blobs(one),
        )
        for digest, one in read.items()
    ]


def _belonging(
    registry: Registry, repository: str, one: Manifest, tags: Iterable[str]
) -> Iterable[tuple[str, str]]:
    """What belongs to a manifest, and what it says that it belongs to itself: (part, whole)."""
    subjects = {subject for tag in tags if (subject := subject_of(tag))}
    for entry in one.manifest.get("manifests") or ():
        yield from ((entry["digest"], subject) for subject in subjects or {one.digest})
    if whole := (one.manifest.get("subject") or {}).get("digest"):
        yield one.digest, whole
    if not subjects:
        yield from (
            (referrer.digest, one.digest) for referrer in registry.referrers(repository, one.digest)
        )


def _blobs(one: Manifest) -> dict[str, int]:
    parts = [
        *(one.manifest.get("layers") or ()),
        *([one.manifest["config"]] if one.manifest.get("config") else ()),
    ]
    return {
        one.digest: len(one.content),
        **{part["digest"]: int(part.get("size", 0)) for part in parts},
    }


def _first_seen(registry: Registry, repository: str) -> dict[str, date]:
    state = registry.fetch(repository, STATE)
    layers = state.manifest.get("layers") or () if state else ()
    text = registry.blob(repository, layers[0]["digest"]).decode(errors="replace") if layers else ""
    return policy.read_state(text, file=f"{repository}:{STATE}")


def _remember(registry: Registry, found: Found) -> None:
    """Keep in the registry when a manifest without a release was first seen: it tells no push's time."""
    seen = found.outcome.seen
    if dict(found.registered.seen) == dict(seen):
        return
    repository = found.registered.repositories[0]
    previous = registry.digest(repository, STATE)
    state = Artifact(_STATE_TYPE, [Blob(_STATE_TYPE, policy.state(seen).encode())])
    try:
        current = registry.push_artifact(repository, state, tag=STATE, overwrite=True)
    except RegistryError as error:
        if error.retriable or not previous:
            raise
        registry.delete(repository, previous)  # a registry of immutable tags
        registry.push_artifact(repository, state, tag=STATE, overwrite=True)
        return
    if previous and previous != current:
        registry.delete(repository, previous)


def _still_going(declaration: Declaration, registry: Registry, found: Found) -> set[str]:
    """What still goes when the releases of this very moment are counted in."""
    new = set(catalog.versions(registry)) - set(found.registered.releases)
    added = {version: release for version in new if (release := catalog.find(registry, version))}
    registered = replace(found.registered, releases={**found.registered.releases, **added})
    outcome = policy.decide(registered, found.uses, declaration.prune, found.today)
    return {held.pinned for held in outcome.going}


def _delete(registry: Registry, going: Sequence[Held], on_line: Callable[[str], None]) -> int:
    for held in going:
        on_line(held.pinned)
        registry.delete(held.repository, held.digest)
    return len(going)


def _file_in_use(file: Path, root: Path) -> Use:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DeclarationError(
            f"read {file}: {error}", hint="--in-use takes release.json files"
        ) from error
    release = read_release(text, file=str(file))
    name = file.relative_to(root) if file.is_relative_to(root) else file
    return Use(str(name), policy.digests(release), release.version)


def _environments_in_use(declaration: Declaration, names: Sequence[str]) -> list[Use]:
    if not names:
        return []  # neither helm nor kubectl is needed
    by_name = target.reachable(
        declaration, names, programs.ensure("helm"), programs.ensure("kubectl")
    )
    uses = list[Use]()
    for name, targets in by_name.items():
        with console.step(f"ask {name} what it runs") as step:
            if not targets:
                contexts = ", ".join(declaration.contexts(name))
                raise DeployError(
                    f"ask {name} what it runs: the kubeconfig has none of its contexts ({contexts})",
                    hint=f"clean up where it has, or {_leave_out(name)}",
                )
            revisions = [use for each in targets for use in _running(each)]
            step.done(f"{len(revisions)} revisions that it runs or may go back to")
            uses += revisions
    return uses


def _leave_out(name: str) -> str:
    return f"say --without {name}: what it runs is then removed unless something else names it"


def _running(target: Target) -> list[Use]:
    """Every revision that helm knows: the one that serves, and those that a rollback may go back to."""
    place = f"{target.name} ({target.kubernetes.context})"
    try:
        target.kubernetes.reach()
        return [
            _revision_in_use(place, target.helm, one) for one in target.helm.history().revisions
        ]
    except (CommandError, DeployError) as error:
        raise DeployError(
            f"ask {place} what it runs: {error.message}",
            details=error.details,
            hint=f"bring it up, or {_leave_out(target.name)}",
        ) from error


def _revision_in_use(place: str, helm: Helm, revision: Revision) -> Use:
    manifest = helm.manifest(revision.number)
    # The values name what the chart was told, the manifest also what it brought along.
    texts = (manifest.objects, manifest.hooks, json.dumps(helm.values(revision.number)))
    digests = frozenset(digest for text in texts for digest in _DIGEST.findall(text))
    version = _CHART_VERSION.search(revision.chart)
    return Use(f"{place}, revision {revision.number}", digests, version[1] if version else "")
