"""Kubernetes manifests: what a revision puts into the cluster, and how two of them differ."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import yaml

__all__ = [
    "Manifest",
    "Objects",
    "by_name",
    "changes",
    "declared",
    "drifted",
    "is_kept",
    "is_same",
    "leftovers",
    "objects",
    "read_manifest",
    "read_objects",
    "read_template",
]

Objects = Mapping[tuple[str, str], Mapping[str, Any]]  # by (kind, name)

_TYPED_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # libyaml's is ten times as fast
# Deleting an object of these kinds deletes data.
_HOLDS_DATA = frozenset(
    ("CustomResourceDefinition", "Namespace", "PersistentVolume", "PersistentVolumeClaim")
)
_POLICY = "helm.sh/resource-policy"
_HOOK = "helm.sh/hook"
_DOCUMENT = re.compile(r"^(?=---\n# Source: )", re.MULTILINE)  # as Helm begins each
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


def read_manifest(release: Mapping[str, Any]) -> Manifest:
    """The manifest of a release as helm stores it."""
    hooks = [
        f"---\n# Source: {hook['path']}\n{hook['manifest'].strip()}"
        for hook in release.get("hooks") or ()
    ]
    return Manifest(release["manifest"].strip(), "\n".join(hooks))


def read_template(printed: str) -> Manifest:
    """The manifest that `helm template` prints, as helm would store it."""
    documents = _DOCUMENT.split(printed)
    hooks = [each.strip() for each in documents if _is_hook(each)]
    resources = "".join(each for each in documents if not _is_hook(each))
    return Manifest(resources.strip(), "\n".join(hooks))


def _is_hook(document: str) -> bool:
    if _HOOK not in document:
        return False
    return any(
        _HOOK in (each["metadata"].get("annotations") or {}) for each in _objects(document).values()
    )


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
    actual = {key: declared(each) for key, each in by_name(live).items()}
    return [
        "/".join(key)
        for key, each in by_name(expected).items()
        if actual.get(key) != declared(each)
    ]


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
        if not is_kept(each) and datetime.fromisoformat(metadata["creationTimestamp"]) >= began:
            left.append((kind, metadata["name"]))
    return left


def is_kept(resource: Mapping[str, Any]) -> bool:
    """Whether helm leaves an object in the cluster that a chart no longer has."""
    return (resource["metadata"].get("annotations") or {}).get(_POLICY) == "keep"


def objects(manifest: str) -> list[tuple[str, str]]:
    """The (kind, name) of each object of a manifest."""
    return list(_objects(manifest))


def read_objects(manifest: str) -> Objects:
    """The objects of a manifest, with numbers and booleans as such."""
    return _objects(manifest, _TYPED_LOADER)


def by_name(resources: Iterable[Mapping[str, Any]]) -> Objects:
    """The objects that the cluster returns, by (kind, name)."""
    return {(each["kind"], each["metadata"]["name"]): each for each in resources}


def declared(resource: Mapping[str, Any]) -> dict[str, Any]:
    """An object without what the cluster itself writes into it."""
    metadata = {k: value for k, value in resource["metadata"].items() if k not in _CLUSTERS_OWN}
    return {**{k: value for k, value in resource.items() if k != "status"}, "metadata": metadata}


def _objects(manifest: str, loader: Any = _LOADER) -> dict[tuple[str, str], Any]:  # noqa: ANN401
    """The objects of a manifest by (kind, name), those of a List too, as kubectl reads them.

    By default all numbers and booleans are strings.
    """
    return {
        (each["kind"], each["metadata"]["name"]): each
        for document in yaml.load_all(manifest, loader)
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
