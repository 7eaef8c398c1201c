"""Previews, as the labels of their namespaces describe them, and which are to be removed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

__all__ = ["Preview", "due", "expiry", "labelled", "read_preview", "selector"]

_MANAGED = "delivery-platform.managed"  # nothing without this label is removed
_PROJECT = "delivery-platform.project"
_ENVIRONMENT = "delivery-platform.preview"
_COMMIT = "delivery-platform.commit"
_EXPIRES = "delivery-platform.expires"
_BRANCH = "delivery-platform.branch"  # an annotation: a label has no slash
_TIME = "%Y%m%dT%H%M%SZ"  # a label has no colon


@dataclass(frozen=True)
class Preview:
    """The environment of a branch."""

    environment: str
    namespace: str
    branch: str
    commit: str
    expires: datetime


def selector(project: str) -> str:
    """The label selector of the namespaces of a project's previews."""
    return f"{_MANAGED}=true,{_PROJECT}={project},{_ENVIRONMENT}"


def labelled(namespace: Mapping[str, Any], project: str, preview: Preview) -> dict[str, Any]:
    """A namespace with the labels of a preview, besides those that it has."""
    metadata = namespace["metadata"]
    labels = {
        _MANAGED: "true",
        _PROJECT: project,
        _ENVIRONMENT: preview.environment,
        _COMMIT: preview.commit,
        _EXPIRES: preview.expires.astimezone(UTC).strftime(_TIME),
    }
    metadata = {
        **metadata,
        "labels": {**metadata.get("labels", {}), **labels},
        "annotations": {**metadata.get("annotations", {}), _BRANCH: preview.branch},
    }
    return {**namespace, "metadata": metadata}


def read_preview(namespace: Mapping[str, Any] | None, project: str) -> Preview | None:
    """The preview in a namespace; None if it is not this project's, or is being removed."""
    metadata = (namespace or {}).get("metadata", {})
    labels = metadata.get("labels") or {}
    if (labels.get(_MANAGED), labels.get(_PROJECT)) != ("true", project):
        return None
    branch = (metadata.get("annotations") or {}).get(_BRANCH, "")
    if "deletionTimestamp" in metadata or not branch:
        return None
    try:
        expires = datetime.strptime(labels.get(_EXPIRES, ""), _TIME).replace(tzinfo=UTC)
    except ValueError:
        return None
    environment, commit = labels.get(_ENVIRONMENT, ""), labels.get(_COMMIT, "")
    return Preview(environment, metadata["name"], branch, commit, expires)


def expiry(days: int, now: datetime) -> datetime:
    """When a preview that is deployed now expires."""
    return (now + timedelta(days=days)).replace(microsecond=0)


def due(
    previews: Sequence[Preview], branches: Collection[str], now: datetime
) -> list[tuple[Preview, str]]:
    """The previews to remove, each with the reason, given the branches of the remote.

    None if the remote names no branch at all: it is not the one that the previews are of.
    """
    if not branches:
        return []
    reasons = {
        preview: f"expired on {preview.expires:%Y-%m-%d %H:%M} UTC"
        if preview.expires <= now
        else ""
        if preview.branch in branches
        else "the remote has no such branch"
        for preview in previews
    }
    return [(preview, reason) for preview, reason in reasons.items() if reason]
