"""The deployment: what a release's history, the cluster and the arguments say is to be done."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from delivery.errors import DeclarationError
from delivery.project.declaration import LOCAL, Declaration
from delivery.release.released import Release

__all__ = [
    "Deployment",
    "Manifest",
    "Revision",
    "adrift",
    "changes",
    "chart_values",
    "check_context",
    "check_line",
    "deployed",
    "deployed_images",
    "describe",
    "leftovers",
    "name_unreleased",
    "objects",
    "pending",
    "read_deployment",
    "rollback_target",
    "seconds",
    "versions_of",
]

_PENDING = "pending-"
_ROLLED_BACK = re.compile(r"Rollback to (\d+)")
_DURATION = re.compile(r"(\d+)([smh]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}
# Deleting one of these deletes data, whoever made it.
_HOLDS_DATA = frozenset(
    ("CustomResourceDefinition", "Namespace", "PersistentVolume", "PersistentVolumeClaim"),
)
_POLICY = "helm.sh/resource-policy"
_SHOWN = 5  # so many objects say what a deploy changes; the rest is counted
_KEY_DIGITS = 7
# What helm says of a revision that it was told nothing of.
_HELMS_OWN = frozenset(("Install complete", "Upgrade complete"))
# What the cluster itself writes into an object's metadata.
_CLUSTERS_OWN = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "uid")


@dataclass(frozen=True)
class Revision:
    """One revision of a release, as helm's history has it."""

    number: int
    status: str
    updated: datetime
    chart: str
    description: str


@dataclass(frozen=True)
class Manifest:
    """What a revision puts into the cluster: its objects, and its hooks, each as YAML."""

    objects: str
    hooks: str


@dataclass(frozen=True)
class Deployment:
    """What a deploy came to: where, the revision that serves since, and the one before (0: none).

    changed is False where there was nothing to do: revision and before are the same then.
    """

    environment: str
    context: str
    namespace: str
    revision: int
    before: int

    @property
    def changed(self) -> bool:
        """Whether the deploy made a revision."""
        return self.revision != self.before

    def to_json(self) -> str:
        """The text of deployment.json."""
        return json.dumps(asdict(self), indent=2) + "\n"


def read_deployment(text: str, *, file: str) -> Deployment:
    """Read deployment.json; raise DeclarationError when it is none."""
    try:
        return Deployment(**json.loads(text))
    except (ValueError, TypeError) as error:
        raise DeclarationError(
            f"read {file}: it is no deployment ({type(error).__name__}: {error})",
            hint="`./run inv deploy` writes it anew",
        ) from error


def deployed(history: Sequence[Revision]) -> Revision | None:
    """The revision that serves: the last one that went well."""
    return next((one for one in reversed(history) if one.status == "deployed"), None)


def pending(history: Sequence[Revision]) -> Revision | None:
    """The last revision, when helm was at it and has not said how it ended: no other can be made before that is cleared."""
    return history[-1] if history and history[-1].status.startswith(_PENDING) else None


def rollback_target(history: Sequence[Revision], told: int = 0) -> Revision:
    """The revision to go back to: the one told, or the last good one before the one that serves.

    Going back twice goes back two: a revision that is itself a rollback counts as the one that it repeated.
    """
    good = [one for one in history if one.status in {"superseded", "deployed"}]
    serving = deployed(history)
    known = "; ".join(_told(one, history) for one in good if one is not serving)
    if told:
        for one in good:
            if one.number == told:
                return one
        raise DeclarationError(
            f"roll back to revision {told}: there is none that went well", hint=f"those that did: {known or 'none'}"
        )
    before = _origin(serving, history) if serving else (history[-1].number + 1 if history else 0)
    for one in reversed(good):
        if one.number < before:
            return one
    raise DeclarationError(
        "roll back: there is no earlier revision that went well",
        hint=f"--revision takes one of: {known}" if known else "`./run inv deploy` deploys another version",
    )


def _told(revision: Revision, history: Sequence[Revision]) -> str:
    """A revision in a list of them: its number, what it is made of, and its time."""
    made_of = describe(versions_of(revision, history)) or revision.chart
    return f"{revision.number} ({made_of}, {revision.updated:%Y-%m-%d %H:%M:%S})"


def name_unreleased(version: str, key: str) -> str:
    """The name of what is no release: the version to come, and what its bytes are made of."""
    return f"{version}+{key[:_KEY_DIGITS]}" if version else key[:_KEY_DIGITS]


def describe(versions: Mapping[str, str]) -> str:
    """What a revision is made of, as helm is told; `versions_of` reads it."""
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def versions_of(revision: Revision, history: Sequence[Revision]) -> dict[str, str]:
    """The versions that a revision, or the one that it repeats, says that it is made of.

    None where it was made without saying so.
    """
    by_number = {one.number: one for one in history}
    description = by_number.get(_origin(revision, history), revision).description
    parts = [part.partition(" ") for part in description.split(", ")]
    if description in _HELMS_OWN or any(not version or " " in version for _, _, version in parts):
        return {}
    return {name: version for name, _, version in parts}


def changes(
    before: Manifest,
    after: Manifest,
    versions_before: Mapping[str, str],
    versions_after: Mapping[str, str],
) -> str:
    """What a deploy changes, in a line: versions, then a few objects and hooks by kind and name."""
    was = versions_before
    versions = [
        f"{name} {was[name]} → {version}"
        for name, version in versions_after.items()
        if was.get(name, version) != version
    ]
    old, new = (dict(_documents(f"{one.objects}\n---\n{one.hooks}")) for one in (before, after))
    found = []
    for named in {**new, **old}:
        if old.get(named) != new.get(named):
            how = " (new)" if named not in old else " (gone)" if named not in new else ""
            found.append(f"{'/'.join(named)}{how}")
    rest = [f"{len(found) - _SHOWN} more objects"] if len(found) > _SHOWN else []
    return ", ".join([*versions, *found[:_SHOWN], *rest])


def _origin(revision: Revision, history: Sequence[Revision]) -> int:
    """The number of the revision that this one is, or repeats."""
    by_number = {one.number: one for one in history}
    number = revision.number
    while found := _ROLLED_BACK.match(by_number[number].description if number in by_number else ""):
        number = int(found[1])
    return number


def check_context(environment: str, contexts: Sequence[str], context: str, known: Collection[str]) -> None:
    """Raise DeclarationError unless this context may be used for the environment, and exists."""
    allowed = ", ".join(contexts)
    doing = f"deploy to {environment}"
    if not context:
        raise DeclarationError(
            f"{doing}: no context is told, and the kubeconfig has no current one",
            hint=f"--context takes one of {allowed}; `./run inv cluster.up` makes the local one",
        )
    if context not in contexts:
        there = [one for one in contexts if one in known]
        raise DeclarationError(
            f"{doing}: the context {context} is not one of this environment's ({allowed})",
            hint=f"--context {there[0]}" if there else _no_context(environment, allowed),
        )
    if context not in known:
        raise DeclarationError(
            f"{doing}: the kubeconfig has no context {context}", hint=_no_context(environment, allowed)
        )


def _no_context(environment: str, allowed: str) -> str:
    up = "`./run inv cluster.up` makes the local one; else " if environment == LOCAL else ""
    return f"{up}add one of {allowed} to the kubeconfig, or list yours as environments.{environment}.contexts in delivery.toml"


def chart_values(
    release: Release, components: Iterable[str], mirrored: Mapping[str, tuple[str, str]]
) -> dict[str, Any]:
    """The values that name images by digest: each component's, and the upstream images that were pushed beside them.

    mirrored has (repository, digest) by the chart's key. Nothing here changes unless an image does.
    """
    ours = {
        name: {"image": {"repository": release.images[name].repository, "digest": release.images[name].digest}}
        for name in components
    }
    theirs = {
        key: {"image": {"repository": repository, "digest": digest}} for key, (repository, digest) in mirrored.items()
    }
    return {"components": ours, **theirs}


def deployed_images(values: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """The (repository, digest) of each component that values name by digest; `chart_values` writes them."""
    components = values.get("components")
    if not isinstance(components, dict):
        return {}
    images = {name: (one or {}).get("image") or {} for name, one in components.items()}
    return {
        name: (str(image["repository"]), str(image["digest"]))
        for name, image in images.items()
        if image.get("repository") and image.get("digest")
    }


def check_line(environment: str, release: Release, declaration: Declaration) -> None:
    """Raise DeclarationError when an environment takes releases alone, and this is what comes before one.

    That is the environment that the release line is deployed to. What it takes may be deployed to any other.
    """
    if environment == declaration.gitflow.deploys.get("release") and "-" in release.version:
        raise DeclarationError(
            f"deploy {release.version} to {environment}: it comes from the {release.line} line, and {environment} takes releases",
            hint="merge it into the release branch, whose pipeline publishes the same images as a release",
        )


def adrift(would_be: Sequence[Mapping[str, Any]], live: Sequence[Mapping[str, Any]]) -> list[str]:
    """The objects, as kind/name, that differ from what the release declares, or that the cluster lacks."""
    there = {_name(one): _declared(one) for one in live}
    return [_name(one) for one in would_be if there.get(_name(one)) != _declared(one)]


def leftovers(
    live: Iterable[Mapping[str, Any]], needed: Collection[tuple[str, str]], began: datetime
) -> list[tuple[str, str]]:
    """The (kind, name) of what a revision alone made, without what is kept or holds data.

    live has the revision's objects as the cluster has them, needed what other revisions have. Began
    is when the cluster first knew of the revision: an earlier one made what is older.
    """
    found = []
    for one in live:
        kind, metadata = one["kind"], one["metadata"]
        if kind in _HOLDS_DATA or (kind, metadata["name"]) in needed:
            continue
        kept = (metadata.get("annotations") or {}).get(_POLICY) == "keep"
        if not kept and datetime.fromisoformat(metadata["creationTimestamp"]) >= began:
            found.append((kind, metadata["name"]))
    return found


def objects(manifest: str) -> list[tuple[str, str]]:
    """The (kind, name) of each object of a manifest, read without a YAML parser: helm writes one object a document."""
    return [named for named, _ in _documents(manifest)]


def _documents(manifest: str) -> list[tuple[tuple[str, str], str]]:
    """Each object of a manifest by (kind, name), with its text."""
    found = []
    for document in re.split(r"^---\s*$", manifest, flags=re.MULTILINE):
        kind = re.search(r"^kind: *[\"']?([\w.]+)", document, re.MULTILINE)
        name = re.search(r"^metadata:\n(?:[ #].*\n)*?  name: *[\"']?([^\s\"']+)", document, re.MULTILINE)
        if kind and name:
            found.append(((kind[1], name[1]), document.strip()))
    return found


def _name(thing: Mapping[str, Any]) -> str:
    return f"{thing['kind']}/{thing['metadata']['name']}"


def _declared(thing: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {key: value for key, value in thing["metadata"].items() if key not in _CLUSTERS_OWN}
    return {**{key: value for key, value in thing.items() if key != "status"}, "metadata": metadata}


def seconds(text: str, flag: str) -> int:
    """The seconds of a duration such as 90, 90s, 10m or 1h; raise DeclarationError when it is none."""
    found = _DURATION.fullmatch(text.strip())
    if not found or not int(found[1]):
        raise DeclarationError(f"read {flag}: {text!r} is no duration", hint="seconds, or as in 90s, 10m, 1h")
    return int(found[1]) * _SECONDS[found[2]]
