"""Only previews of this project are removed: expired, or of a branch that the remote lacks."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from delivery.deploy.preview_labels import (
    Preview,
    due,
    expiry,
    labelled,
    read_preview,
    selector,
)

NOW = datetime(2026, 12, 1, 8, 0, tzinfo=UTC)
NAME = "preview-feature-search-1a2b3c"
PREVIEW = Preview(
    NAME, f"platform-{NAME}", "feature/Søgning", "c0ffee", datetime(2026, 12, 8, 8, 30, tzinfo=UTC)
)


def namespace(**changes: Any) -> dict[str, Any]:
    plain = {"metadata": {"name": PREVIEW.namespace, "labels": {"kept": "yes"}}}
    made = labelled(plain, "sample", PREVIEW)
    return {"metadata": {**made["metadata"], **changes}}


def test_labels_say_what_the_preview_is() -> None:
    made = namespace()["metadata"]
    assert made["labels"] == {
        "kept": "yes",
        "delivery-platform.managed": "true",
        "delivery-platform.project": "sample",
        "delivery-platform.preview": NAME,
        "delivery-platform.commit": "c0ffee",
        "delivery-platform.expires": "20261208T083000Z",
    }
    assert made["annotations"] == {"delivery-platform.branch": "feature/Søgning"}
    assert read_preview(namespace(), "sample") == PREVIEW
    assert selector("sample") == (
        "delivery-platform.managed=true,delivery-platform.project=sample,delivery-platform.preview"
    )


def test_a_later_deploy_replaces_its_labels() -> None:
    later = Preview(NAME, PREVIEW.namespace, PREVIEW.branch, "beef", NOW)
    assert read_preview(labelled(namespace(), "sample", later), "sample") == later


def without(label: str) -> dict[str, Any]:
    labels = dict(namespace()["metadata"]["labels"])
    del labels[f"delivery-platform.{label}"]
    return namespace(labels=labels)


@pytest.mark.parametrize(
    "found",
    [
        None,
        {"metadata": {"name": PREVIEW.namespace}},
        without("managed"),
        without("project"),
        without("expires"),
        namespace(annotations={}),
        namespace(annotations=None),
        namespace(deletionTimestamp="2026-12-01T08:00:00Z"),
        namespace(labels={**namespace()["metadata"]["labels"], "delivery-platform.managed": "no"}),
    ],
)
def test_anything_else_is_no_preview(found: dict[str, Any] | None) -> None:
    assert read_preview(found, "sample") is None


def test_another_projects_preview_is_not_ours() -> None:
    assert read_preview(namespace(), "other") is None


def made(branch: str, days: float) -> Preview:
    return Preview(branch, branch, branch, "", NOW + timedelta(days=days))


@pytest.mark.parametrize(
    ("branches", "expected"),
    [
        ({"kept", "old"}, {"old": "expired on 2026-11-30 08:00 UTC", "gone": "the remote has no"}),
        ({"kept"}, {"old": "expired on 2026-11-30 08:00 UTC", "gone": "the remote has no"}),
        ({"kept", "old", "gone"}, {"old": "expired"}),
        (set(), {}),  # no remote of ours is without branches
    ],
)
def test_which_previews_are_removed(branches: set[str], expected: dict[str, str]) -> None:
    found = due([made("kept", 1), made("old", -1), made("gone", 1)], branches, NOW)
    assert [preview.branch for preview, _ in found] == [*expected]
    for (_, reason), text in zip(found, expected.values(), strict=True):
        assert reason.startswith(text)


def test_a_preview_expires_some_days_after_its_deploy() -> None:
    assert expiry(7, NOW.replace(microsecond=5)) == NOW + timedelta(days=7)
    assert due([made("now", 0)], {"now"}, NOW) != []
