"""Kubernetes manifests: what a revision puts into the cluster, and how two of them differ."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import yaml

__all__ = ["Manifest", "changes", "drifted", "is_same", "leftovers", "objects"]

_LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # libyaml's is ten times as fast
# Deleting an object of these kinds deletes data.
_HOLDS_DATA = frozenset(
    ("CustomResourceDefinition", "Namespace", "PersistentVolume", "PersistentVolumeClaim")
)
_POLICY = "helm.sh/resource-policy"
# The chart's annotation of a workload that it renders with as many pods as there are.
_LIVE_REPLICAS = "platform/replicas"
_SHOWN = 5  # how many changed objects are listed; the rest is counted
# What the cluster itself writes into an object's metadata.
_CLUSTERS_OWN = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "uid")


@dataclass(frozen=True)
class Manifest:
    """What a revision puts into the cluster, as YAML."""

    objects: str
    hooks: str


def changes(
    previous: Manifest,
    requested: Manifest,
    previous_versions: Mapping[str, str],
    requested_versions: Mapping[str, str],
) -> str:
    """What a deploy changes, in a line: versions, then a few objects and hooks by name."""
    versions = [
        f"{name} {previous_versions[name]} → {version}"
        for name, version in requested_versions.items()
        if previous_versions.get(name, version) != version
    ]
    old, new = (_objects(f"{each.objects}\n---\n{each.hooks}") for each in (previous, requested))
    changed = []
    for key in {**new, **old}:
        if old.get(key) != new.get(key):
            note = " (new)" if key not in old else " (gone)" if key not in new else ""
            changed.append(f"{'/'.join(key)}{note}")
    rest = [f"{len(changed) - _SHOWN} more objects"] if len(changed) > _SHOWN else []
    return ", ".join([*versions, *changed[:_SHOWN], *rest])


def is_same(previous: Manifest, requested: Manifest) -> bool:
    """Whether both put the same into the cluster, apart from how many pods an autoscaler runs."""
    return previous == requested or _without_live_replicas(previous) == _without_live_replicas(
        requested
    )


def drifted(expected: Sequence[Mapping[str, Any]], live: Sequence[Mapping[str, Any]]) -> list[str]:
    """The objects, as kind/name, that the cluster lacks or has otherwise than expected."""
    actual = {_name(each): _declared(each) for each in live}
    return [_name(each) for each in expected if actual.get(_name(each)) != _declared(each)]


def leftovers(
    live: Iterable[Mapping[str, Any]], needed: Collection[tuple[str, str]], began: datetime
) -> list[tuple[str, str]]:
    """The (kind, name) of what a revision alone created, except what is kept or holds data.

    live has the revision's objects as the cluster has them, needed those of other revisions. An
    object that is older than `began`, when the revision began, is an earlier revision's.
    """
    left = []
    for each in live:
        kind, metadata = each["kind"], each["metadata"]
        if kind in _HOLDS_DATA or (kind, metadata["name"]) in needed:
            continue
        is_kept = (metadata.get("annotations") or {}).get(_POLICY) == "keep"
        if not is_kept and datetime.fromisoformat(metadata["creationTimestamp"]) >= began:
            left.append((kind, metadata["name"]))
    return left


def objects(manifest: str) -> list[tuple[str, str]]:
    """The (kind, name) of each object of a manifest."""
    return list(_objects(manifest))


def _objects(manifest: str) -> dict[tuple[str, str], Any]:
    """The objects of a manifest by (kind, name), those of a List too, as kubectl reads them."""
    documents = yaml.load_all(manifest, _LOADER)  # it makes only strings, lists and dicts
    return {
        (each["kind"], each["metadata"]["name"]): each
        for document in documents
        for each in _items(document or {})
        if "name" in each.get("metadata", {})
    }


def _without_live_replicas(manifest: Manifest) -> list[dict[tuple[str, str], Any]]:
    parsed = [_objects(manifest.objects), _objects(manifest.hooks)]
    for each in parsed[0].values():
        if _LIVE_REPLICAS in (each["metadata"].get("annotations") or {}):
            each["spec"].pop("replicas", None)
    return parsed


def _items(document: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    items: Sequence[Mapping[str, Any]] = document.get("items") or ()
    return items if document.get("kind", "").endswith("List") else [document]


def _name(resource: Mapping[str, Any]) -> str:
    return f"{resource['kind']}/{resource['metadata']['name']}"


def _declared(resource: Mapping[str, Any]) -> dict[str, Any]:
    """An object without what the cluster itself writes into it."""
    metadata = {k: value for k, value in resource["metadata"].items() if k not in _CLUSTERS_OWN}
    return {**{k: value for k, value in resource.items() if k != "status"}, "metadata": metadata}
