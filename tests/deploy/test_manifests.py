"""Manifests are compared object by object."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from delivery.deploy import manifests
from delivery.deploy.manifests import Manifest

BEGAN = datetime(2026, 11, 21, 12, tzinfo=UTC)


def manifest(greeting: str, *names: str, hooks: str = "") -> Manifest:
    texts = [
        f"kind: ConfigMap\nmetadata:\n  name: {name}\ndata: {{greeting: {greeting}}}"
        for name in names
    ]
    return Manifest("\n---\n".join(texts), hooks)


def test_changes_are_versions_and_a_few_objects() -> None:
    old = {"api-rest": "0.2.0", "async-worker": "0.2.0"}
    new = {**old, "api-rest": "0.2.1", "platform-chart": "0.2.0"}
    hook = "---\nkind: Pod\nmetadata:\n  name: test\n"
    previous = manifest("hello", "a", "gone")
    assert manifests.changes(previous, manifest("bye", "a", "new", hooks=hook), old, new) == (
        "api-rest 0.2.0 → 0.2.1, ConfigMap/a, ConfigMap/new (new), Pod/test (new), "
        "ConfigMap/gone (gone)"
    )
    names = "abcdefgh"
    many = manifests.changes(manifest("hello", *names), manifest("bye", *names), {}, old)
    assert many == "ConfigMap/a, ConfigMap/b, ConfigMap/c, ConfigMap/d, ConfigMap/e, 3 more objects"
    assert manifests.changes(previous, previous, old, old) == ""


def config_map(name: str, data: str, **metadata: object) -> dict[str, object]:
    return {"kind": "ConfigMap", "metadata": {"name": name, **metadata}, "data": {"key": data}}


def test_a_changed_or_deleted_object_has_drifted() -> None:
    expected = [
        config_map("same", "1", uid="a", generation=2),
        config_map("changed", "1"),
        config_map("gone", "1"),
    ]
    live = [config_map("same", "1", uid="b", resourceVersion="9"), config_map("changed", "2")]
    assert manifests.drifted(expected, live) == ["ConfigMap/changed", "ConfigMap/gone"]


def test_a_status_is_no_drift_but_a_missing_label_is() -> None:
    live = [{**config_map("same", "1"), "status": {"ready": 1}}]
    assert manifests.drifted([config_map("same", "1")], live) == []
    assert manifests.drifted([config_map("same", "1", labels={"a": "1"})], live) == [
        "ConfigMap/same"
    ]


def live_object(kind: str, age: int = 0, policy: str = "") -> dict[str, Any]:
    created = (BEGAN - timedelta(seconds=age)).isoformat()
    annotations = {"helm.sh/resource-policy": policy}
    metadata = {"name": "data", "creationTimestamp": created, "annotations": annotations}
    return {"kind": kind, "metadata": metadata}


@pytest.mark.parametrize(
    ("live", "is_left"),
    [
        (live_object("Secret"), True),
        (live_object("ConfigMap"), False),  # another revision has it
        (live_object("Secret", age=1), False),  # an earlier revision created it
        (live_object("Secret", policy="keep"), False),
        (live_object("PersistentVolumeClaim"), False),
        (live_object("PersistentVolume"), False),
        (live_object("Namespace"), False),
        (live_object("CustomResourceDefinition"), False),
    ],
)
def test_leftovers_are_what_a_revision_alone_created_except_data(
    live: dict[str, Any], *, is_left: bool
) -> None:
    left = manifests.leftovers([live], {("ConfigMap", "data")}, BEGAN)
    assert left == ([("Secret", "data")] if is_left else [])


def test_the_objects_of_a_manifest() -> None:
    text = """---
# Source: platform/templates/empty.yaml
---
{metadata: {name: "config"}, kind: ConfigMap}
---
kind: Deployment
metadata:
  name: web
spec: {template: {metadata: {name: other}}, value: =}
---
kind: List
items:
- {kind: Secret, metadata: {name: listed}}
---
kind: Job
metadata: {generateName: job-}
"""
    assert manifests.objects(text) == [
        ("ConfigMap", "config"),
        ("Deployment", "web"),
        ("Secret", "listed"),
    ]
    assert manifests.objects("") == []


def scaled(
    replicas: int, annotations: str = "{platform/replicas: x}", image: str = "a"
) -> Manifest:
    metadata = f"metadata: {{name: api, annotations: {annotations}}}"
    spec = f"spec: {{replicas: {replicas}, image: {image}}}"
    return Manifest(f"kind: Deployment\n{metadata}\n{spec}\n", "")


def test_how_many_pods_an_autoscaler_runs_does_not_count() -> None:
    assert manifests.is_same(scaled(4), scaled(5))
    assert not manifests.is_same(scaled(4), scaled(4, image="b"))
    assert not manifests.is_same(scaled(4, "{}"), scaled(5, "{}"))
    assert not manifests.is_same(scaled(4), replace(scaled(4), hooks=scaled(4).objects))
