"""Manifests are compared object by object."""

from delivery.deploy import manifests
from delivery.deploy.manifests import Manifest


def test_a_change_is_told_by_versions_and_a_few_objects() -> None:
    def manifest(greeting: str, *names: str, hooks: str = "") -> Manifest:
        texts = [
            f"kind: ConfigMap\nmetadata:\n  name: {name}\ndata: {{greeting: {greeting}}}"
            for name in names
        ]
        return Manifest("\n---\n".join(texts), hooks)

    was = {"api-rest": "0.2.0", "async-worker": "0.2.0"}
    hook = "---\nkind: Pod\nmetadata:\n  name: test\n"
    before, after = manifest("hello", "a", "gone"), manifest("bye", "a", "new", hooks=hook)
    told = manifests.changes(
        before, after, was, {**was, "api-rest": "0.2.1", "platform-chart": "0.2.0"}
    )
    assert (
        told
        == "api-rest 0.2.0 → 0.2.1, ConfigMap/a, ConfigMap/new (new), Pod/test (new), ConfigMap/gone (gone)"
    )
    many = manifests.changes(manifest("hello", *"abcdefgh"), manifest("bye", *"abcdefgh"), {}, was)
    assert many == "ConfigMap/a, ConfigMap/b, ConfigMap/c, ConfigMap/d, ConfigMap/e, 3 more objects"
    assert manifests.changes(before, before, was, was) == ""


def config_map(name: str, data: str, **metadata: object) -> dict[str, object]:
    return {"kind": "ConfigMap", "metadata": {"name": name, **metadata}, "data": {"key": data}}


def test_what_somebody_changed_or_deleted_has_drifted() -> None:
    wanted = [
        config_map("same", "1", uid="a", generation=2),
        config_map("changed", "1"),
        config_map("gone", "1"),
    ]
    live = [config_map("same", "1", uid="b", resourceVersion="9"), config_map("changed", "2")]
    assert manifests.adrift(wanted, live) == ["ConfigMap/changed", "ConfigMap/gone"]


def test_what_the_cluster_reports_has_not_drifted() -> None:
    wanted, live = config_map("same", "1"), {**config_map("same", "1"), "status": {"ready": 1}}
    assert manifests.adrift([wanted], [live]) == []
    assert manifests.adrift([config_map("same", "1", labels={"a": "1"})], [live]) == [
        "ConfigMap/same"
    ]


def test_reads_kinds_and_names_of_a_manifest() -> None:
    manifest = """---
# Source: platform/templates/a.yaml
apiVersion: v1
kind: ConfigMap
metadata:
  labels:
    name: not-this
  name: "config"
data:
  kind: none
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  template:
    metadata:
      name: nor-this
"""
    assert manifests.objects(manifest) == [("ConfigMap", "config"), ("Deployment", "web")]
    assert manifests.objects("") == []
