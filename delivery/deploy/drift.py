"""What differs between deployed objects and the manifest that they were deployed by.

Who changed a field, and when, is what `metadata.managedFields` says. delivery/ and api-rest have
the same file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Drift", "find"]

_MISSING = object()
# Helm, also Flux's; and what completes objects by itself.
_DEPLOYERS = ("helm", "kube-controller-manager", "kube-scheduler", "kube-apiserver", "kubelet")
# What kubectl notes for itself, and when `kubectl rollout restart` was run.
_NOISE = (
    "kubectl.kubernetes.io/last-applied-configuration",
    "kubectl.kubernetes.io/restartedAt",
)
# What a server leaves out of an object, whatever a manifest says.
_EMPTY = frozenset(("", "false", "0", "null", "{}", "[]"))
_SHOWN = 100  # characters of a value


@dataclass(frozen=True)
class Drift:
    """One difference."""

    component: str  # by the object's label; "" without
    object: str  # kind/name
    field: str  # its path; "" for the whole object
    change: str  # changed, added or deleted
    deployed: str
    live: str
    manager: str  # the program that owns the field now; "" if nobody says
    at: str  # when it took it


def find(expected: Iterable[Mapping[str, Any]], live: Iterable[Mapping[str, Any]]) -> list[Drift]:
    """Return every difference, by object and field.

    expected has the objects of a manifest, live those of the cluster with their managedFields.
    """
    actual = {_name(each): each for each in live}
    found: list[Drift] = []
    for each in expected:
        name = _name(each)
        if name in actual:
            found += _of_object(name, each, actual[name])
        else:
            found.append(Drift(_component(each), name, "", "deleted", "", "", "", ""))
    return sorted(found, key=lambda drift: (drift.object, drift.field))


def _of_object(name: str, expected: Mapping[str, Any], live: Mapping[str, Any]) -> Iterator[Drift]:
    is_secret = expected["kind"] == "Secret"

    def drift(path: str, values: tuple[object, object], manager: str = "", at: str = "") -> Drift:
        change = "added" if values[0] is _MISSING else "deleted" if values[1] is _MISSING else ""
        deployed, now = (
            "(hidden)" if is_secret and value is not _MISSING else _text(value)[:_SHOWN]
            for value in values
        )
        change = change or "changed"
        return Drift(_component(expected), name, path, change, deployed, now, manager, at)

    for entry in live["metadata"].get("managedFields", ()):
        manager = entry.get("manager", "")
        if not manager.startswith(_DEPLOYERS) and entry.get("subresource") != "status":
            for path, old, new in _owned(entry.get("fieldsV1", {}), expected, live, ""):
                yield drift(path, (old, new), manager, str(entry.get("time", "")))
    for path, value in _lost(expected, live, ""):
        yield drift(path, (value, _MISSING))


def _owned(
    fields: Mapping[str, Any], expected: object, live: object, path: str
) -> Iterator[tuple[str, object, object]]:
    """Yield the fields of a managedFields entry that differ: path, expected and live value."""
    for key, inner in fields.items():
        kind, _, name = key.partition(":")
        if kind == "." or name in _NOISE:
            continue
        below = f"{path}.{name}".lstrip(".") if kind == "f" else f"{path}[{_key_text(name)}]"
        values = _child(expected, kind, name), _child(live, kind, name)
        is_whole = not inner.keys() - {"."} or (kind == "k" and values[0] is _MISSING)
        if not is_whole:
            yield from _owned(inner, *values, below)
        elif values[1] is not _MISSING and (
            values[0] is _MISSING or _text(values[0]) != _text(values[1])
        ):
            yield below, *values


def _child(node: object, kind: str, name: str) -> object:
    """Return the part of a node that a key of managedFields names."""
    if kind == "f":
        return node.get(name, _MISSING) if isinstance(node, Mapping) else _MISSING
    items = node if isinstance(node, list) else []
    wanted = json.loads(name)
    if kind == "k":
        # A manifest may leave out a part of the key that has a default.
        return next(
            (
                item
                for item in items
                if all(_text(item.get(key, value)) == _text(value) for key, value in wanted.items())
            ),
            _MISSING,
        )
    return next((item for item in items if _text(item) == _text(wanted)), _MISSING)


def _lost(expected: object, live: object, path: str) -> Iterator[tuple[str, object]]:
    """Yield the fields of a manifest that the live object lacks; items of lists by name."""
    if isinstance(expected, Mapping) and isinstance(live, Mapping):
        for key, value in expected.items():
            below = f"{path}.{key}".lstrip(".")
            if key in live:
                yield from _lost(value, live[key], below)
            elif _text(value) not in _EMPTY and below not in {"stringData", "status"}:
                yield below, value
    elif isinstance(expected, list) and isinstance(live, list):
        by_name = {item["name"]: item for item in live if isinstance(item, dict) and "name" in item}
        for item in expected if by_name else ():
            if isinstance(item, Mapping) and "name" in item:
                below = f"{path}[{item['name']}]"
                if item["name"] in by_name:
                    yield from _lost(item, by_name[item["name"]], below)
                else:
                    yield below, item


def _name(resource: Mapping[str, Any]) -> str:
    return f"{resource['kind']}/{resource['metadata']['name']}"


def _component(resource: Mapping[str, Any]) -> str:
    labels = resource["metadata"].get("labels") or {}
    return str(labels.get("app.kubernetes.io/component", ""))


def _key_text(name: str) -> str:
    key = json.loads(name)
    return ",".join(map(str, key.values())) if isinstance(key, dict) else str(key)


def _text(value: object) -> str:
    """Return a value as text: manifests and the API write numbers and booleans differently."""
    if isinstance(value, Mapping):
        parts = ", ".join(f"{key}: {_text(value[key])}" for key in sorted(value))
        return f"{{{parts}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return "" if value is _MISSING else str(value)
