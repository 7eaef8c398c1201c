"""How objects differ, as unified diffs: without what the cluster writes, Secrets masked."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from delivery.deploy.manifests import Objects, declared, is_kept

__all__ = ["ObjectDiff", "diff_objects", "states"]

# Written by kubectl, by helm and by a controller: no chart declares them.
_TOOLS_OWN = {
    "annotations": (
        "kubectl.kubernetes.io/last-applied-configuration",
        "meta.helm.sh/release-name",
        "meta.helm.sh/release-namespace",
        "deployment.kubernetes.io/revision",
    ),
    "labels": ("app.kubernetes.io/managed-by",),
}
_SECRET_FIELDS = ("data", "stringData")
_MASK = "***"


@dataclass(frozen=True)
class ObjectDiff:
    """An object that differs."""

    name: str  # KIND/NAME
    change: str  # new, changed or gone
    lines: tuple[str, ...]  # of a unified diff


def states(
    stored: Objects, rendered: Objects, live: Objects, applied: Objects, *, merges: bool
) -> tuple[Objects, Objects]:
    """The objects of the cluster before a deploy and after it.

    stored has those of the deployed revision, applied what the server's dry run returns. A new
    object is as the chart renders it, without the server's defaults. merges: Helm 3 deploys, which
    also removes fields that only the revision had; the dry run does not show that.
    """
    before: dict[tuple[str, str], Any] = {}
    after: dict[tuple[str, str], Any] = {}
    for key, requested in rendered.items():
        if key not in live:
            after[key] = requested
        elif merges and stored.get(key, requested) != requested:
            before[key], after[key] = stored[key], requested
        else:
            before[key], after[key] = live[key], applied[key]
    gone = {key: each for key, each in stored.items() if key not in rendered and not is_kept(each)}
    return {**before, **gone}, after


def diff_objects(previous: Objects, requested: Objects) -> list[ObjectDiff]:
    """The objects that differ, each with its diff; those that are gone come last."""
    diffs = []
    for key in {**requested, **previous}:
        old, new = _masked(_readable(previous.get(key)), _readable(requested.get(key)))
        if old != new:
            change = "new" if not old else "changed" if new else "gone"
            diffs.append(ObjectDiff("/".join(key), change, _unified("/".join(key), old, new)))
    return diffs


def _readable(resource: Mapping[str, Any] | None) -> dict[str, Any]:
    """An object without what tools and the cluster write into it; empty for None."""
    if resource is None:
        return {}
    readable = declared(copy.deepcopy(dict(resource)))
    for field, names in _TOOLS_OWN.items():
        own = readable["metadata"].pop(field, None) or {}
        if kept := {name: value for name, value in own.items() if name not in names}:
            readable["metadata"][field] = kept
    readable["metadata"].pop("namespace", None)  # the server adds it; it is the target's
    return readable


def _masked(old: dict[str, Any], new: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both states of an object; of a Secret they show only which values differ."""
    if "Secret" not in {old.get("kind"), new.get("kind")}:
        return old, new
    for field in _SECRET_FIELDS:
        before, after = (dict(each.get(field) or {}) for each in (old, new))
        for name in before.keys() | after.keys():
            is_changed = before.get(name) != after.get(name)
            for values, note in ((before, " (before)"), (after, " (after)")):
                if name in values:
                    values[name] = f"{_MASK}{note if is_changed else ''}"
        for each, values in ((old, before), (new, after)):
            if values:
                each[field] = values
    return old, new


def _unified(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, ...]:
    before, after = (_dump(each).splitlines() if each else [] for each in (old, new))
    left, right = (name if each else "/dev/null" for each in (old, new))
    return tuple(difflib.unified_diff(before, after, left, right, lineterm=""))


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Writes a text of several lines as such, so that a diff has its lines."""

    def ignore_aliases(self, _data: object) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    )


_Dumper.add_representer(str, _represent_text)


def _dump(resource: Mapping[str, Any]) -> str:
    return yaml.dump(resource, Dumper=_Dumper, width=1_000_000, allow_unicode=True)
