"""Manifests: what a revision puts into the cluster, and how two of them differ."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

__all__ = [
    "Manifest",
    "adrift",
    "changes",
    "leftovers",
    "objects",
]

# Deleting one of these deletes data, whoever made it.
_HOLDS_DATA = frozenset(
    ("CustomResourceDefinition", "Namespace", "PersistentVolume", "PersistentVolumeClaim"),
)
_POLICY = "helm.sh/resource-policy"
_SHOWN = 5  # so many objects say what a deploy changes; the rest is counted
# What the cluster itself writes into an object's metadata.
_CLUSTERS_OWN = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "uid")


@dataclass(frozen=True)
class Manifest:
    """What a revision puts into the cluster: its objects, and its hooks, each as YAML."""

    objects: str
    hooks: str


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
        name = re.search(
            r"^metadata:\n(?:[ #].*\n)*?  name: *[\"']?([^\s\"']+)", document, re.MULTILINE
        )
        if kind and name:
            found.append(((kind[1], name[1]), document.strip()))
    return found


def _name(thing: Mapping[str, Any]) -> str:
    return f"{thing['kind']}/{thing['metadata']['name']}"


def _declared(thing: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {key: value for key, value in thing["metadata"].items() if key not in _CLUSTERS_OWN}
    return {**{key: value for key, value in thing.items() if key != "status"}, "metadata": metadata}
