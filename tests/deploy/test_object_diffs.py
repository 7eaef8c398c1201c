"""Diffs of objects: readable, without noise, without a Secret's values."""

from typing import Any

import pytest

from delivery.deploy.manifests import read_objects
from delivery.deploy.object_diffs import diff_objects, states

KEY = ("Deployment", "web")


def objects(**resources: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """ConfigMaps, or what `kind` says, by name."""
    return {
        (kind := each.pop("kind", "ConfigMap"), name): {
            "kind": kind,
            **each,
            "metadata": {"name": name, **each.get("metadata", {})},
        }
        for name, each in resources.items()
    }


def test_changed_new_and_gone_objects_have_unified_diffs() -> None:
    old = objects(same={"data": {"a": "1"}}, web={"data": {"a": "1", "b": "2"}}, old={})
    new = objects(web={"data": {"a": "1", "b": "3"}}, same={"data": {"a": "1"}}, new={})
    diffs = diff_objects(old, new)
    assert [(each.name, each.change) for each in diffs] == [
        ("ConfigMap/web", "changed"),
        ("ConfigMap/new", "new"),
        ("ConfigMap/old", "gone"),
    ]
    assert diffs[0].lines == (
        "--- ConfigMap/web",
        "+++ ConfigMap/web",
        "@@ -1,6 +1,6 @@",
        " data:",
        "   a: '1'",
        "-  b: '2'",
        "+  b: '3'",
        " kind: ConfigMap",
        " metadata:",
        "   name: web",
    )
    assert diffs[1].lines[:2] == ("--- /dev/null", "+++ ConfigMap/new")
    assert diffs[2].lines[:2] == ("--- ConfigMap/old", "+++ /dev/null")


@pytest.mark.parametrize(
    "noise",
    [
        {"status": {"ready": 1}},
        {"metadata": {"managedFields": [], "resourceVersion": "7", "uid": "u", "generation": 3}},
        {"metadata": {"creationTimestamp": "2026-11-30T00:00:00Z", "namespace": "platform"}},
        {"metadata": {"annotations": {"deployment.kubernetes.io/revision": "4"}}},
        {"metadata": {"annotations": {"meta.helm.sh/release-name": "platform"}}},
        {"metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"}}},
        {"metadata": {"labels": {"app.kubernetes.io/managed-by": "Helm"}}},
    ],
)
def test_what_tools_and_the_cluster_write_is_no_difference(noise: dict[str, Any]) -> None:
    assert diff_objects(objects(web=noise), objects(web={})) == []


def test_other_labels_and_annotations_are_differences() -> None:
    for field in ("labels", "annotations"):
        (diff,) = diff_objects(objects(web={}), objects(web={"metadata": {field: {"a": "b"}}}))
        assert f"+  {field}:" in diff.lines


def test_a_secret_shows_which_values_differ_and_never_a_value() -> None:
    old = objects(s={"kind": "Secret", "data": {"same": "c2VjcmV0", "changed": "b2xk"}})
    new = objects(
        s={"kind": "Secret", "data": {"same": "c2VjcmV0", "changed": "bmV3", "more": "bW9yZQ=="}},
        fresh={"kind": "Secret", "stringData": {"password": "plain"}},
    )
    diffs = diff_objects(old, new)
    text = "\n".join(line for each in diffs for line in each.lines)
    assert "-  changed: '*** (before)'" in diffs[0].lines
    assert "+  changed: '*** (after)'" in diffs[0].lines
    assert "+  more: '*** (after)'" in diffs[0].lines
    assert "   same: '***'" in diffs[0].lines
    assert "+  password: '*** (after)'" in diffs[1].lines
    assert not [value for value in ("c2VjcmV0", "b2xk", "bmV3", "bW9y", "plain") if value in text]
    assert old["Secret", "s"]["data"]["changed"] == "b2xk"


def test_a_text_of_several_lines_differs_by_line() -> None:
    old, new = (objects(web={"data": {"run": f"set -e\n{word}\n"}}) for word in ("one", "two"))
    (diff,) = diff_objects(old, new)
    assert {"-    one", "+    two"} <= set(diff.lines)


def test_numbers_of_a_manifest_are_numbers() -> None:
    text = "kind: Deployment\nmetadata: {name: web}\nspec: {replicas: 2, paused: false}\n"
    assert read_objects(text)[KEY]["spec"] == {"replicas": 2, "paused": False}


def spec(**fields: object) -> dict[tuple[str, str], dict[str, Any]]:
    return {KEY: {"kind": "Deployment", "metadata": {"name": "web"}, "spec": fields}}


def test_a_deploy_takes_what_is_live_to_what_the_server_would_apply() -> None:
    live, applied = spec(replicas=9, extra=1), spec(replicas=1)
    assert states(spec(replicas=1), spec(replicas=1), live, applied, merges=False) == (
        live,
        applied,
    )


def test_a_new_object_is_shown_as_rendered() -> None:
    rendered = spec(replicas=1)
    assert states({}, rendered, {}, spec(replicas=1, defaulted=True), merges=False) == (
        {},
        rendered,
    )


def test_an_object_that_the_chart_no_longer_has_is_gone_unless_it_is_kept() -> None:
    kept = objects(kept={"metadata": {"annotations": {"helm.sh/resource-policy": "keep"}}})
    assert states({**spec(), **kept}, {}, {}, {}, merges=False) == (spec(), {})


def test_beside_helm_3_a_changed_object_is_shown_as_in_the_manifests() -> None:
    stored, rendered = spec(replicas=1, old=True), spec(replicas=1)
    live = applied = spec(replicas=1, old=True, defaulted=True)
    assert states(stored, rendered, live, applied, merges=True) == (stored, rendered)
    assert states(stored, rendered, live, applied, merges=False) == (live, applied)
    assert states(rendered, rendered, live, applied, merges=True) == (live, applied)
