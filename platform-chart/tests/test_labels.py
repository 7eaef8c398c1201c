"""Labels of objects and pods, and what upgrades must not change."""

from __future__ import annotations

from typing import Any

import pytest
from support import CHART, alone, fails, load, of_kind, render

METADATA = load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
ADDED = {"team": "payments", "cost-centre": "42"}
EVERYTHING = {
    **alone(kind="StatefulSet", claims={"data": {"mountPath": "/data", "size": "1Gi"}}),
    "kafka": {"enabled": True},
    "database": {"enabled": True},
    "commonLabels": ADDED,
}


def templates(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [each["spec"]["template"] for each in documents if "template" in each.get("spec", {})]


def test_every_object_has_the_recommended_labels() -> None:
    documents = render()
    assert documents
    for each in documents:
        labels = each["metadata"]["labels"]
        assert labels["helm.sh/chart"] == f"platform-{METADATA['version']}"
        assert labels["app.kubernetes.io/version"] == str(METADATA["appVersion"])
        assert labels["app.kubernetes.io/component"] == labels["app.kubernetes.io/name"]
        assert labels["app.kubernetes.io/part-of"] == "platform"


def test_no_pod_has_a_label_that_changes_with_the_chart() -> None:
    for template in templates(render()):
        labels = template["metadata"]["labels"]
        assert not {"helm.sh/chart", "app.kubernetes.io/version"} & labels.keys()


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "Job"])
def test_every_object_and_pod_has_the_common_labels(kind: str) -> None:
    values = {**EVERYTHING, "components": {**EVERYTHING["components"], "api-rest": {}}}
    documents = render(values)
    assert of_kind(documents, kind)
    for each in [*documents, *templates(documents)]:
        assert ADDED.items() <= each["metadata"]["labels"].items()


def test_no_selector_and_no_claim_has_a_common_label() -> None:
    documents = render(EVERYTHING)
    for each in of_kind(documents, "StatefulSet"):
        assert not ADDED.keys() & each["spec"]["selector"]["matchLabels"].keys()
        for claim in each["spec"]["volumeClaimTemplates"]:
            assert not ADDED.keys() & claim["metadata"].get("labels", {}).keys()
    for each in of_kind(documents, "Service"):
        assert not ADDED.keys() & each["spec"]["selector"].keys()


@pytest.mark.parametrize("label", ["app.kubernetes.io/name", "helm.sh/chart"])
def test_a_label_of_the_charts_is_refused(label: str) -> None:
    message = fails({**alone(), "commonLabels": {label: "own"}})
    assert f"commonLabels: the chart sets {label}; remove it" in message


def test_a_pod_may_have_a_label_that_only_other_objects_have() -> None:
    label = {"app.kubernetes.io/version": "7"}
    (template,) = templates(render(alone(podLabels=label)))
    assert label.items() <= template["metadata"]["labels"].items()
