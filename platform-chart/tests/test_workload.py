"""templates/components/workload.yaml."""

from __future__ import annotations

from typing import Any

import pytest
from support import (
    alone,
    container,
    find,
    names,
    of_kind,
    pod,
    pod_annotations,
    render,
    variables,
)


def workload(**values: object) -> dict[str, Any]:
    return find(render(alone(**values)), str(values.get("kind", "Deployment")), "platform-web")


def test_the_default_components_are_api_rest_and_async_worker() -> None:
    assert names(render(), "Deployment") == ["platform-api-rest", "platform-async-worker"]


def test_a_component_is_added_by_values_alone() -> None:
    added = render({"components": {"web": {"image": {"repository": "web", "tag": "1"}}}})
    assert names(added, "Deployment") == [
        "platform-api-rest",
        "platform-async-worker",
        "platform-web",
    ]


@pytest.mark.parametrize("off", [{"enabled": False}, None])
def test_a_default_component_can_be_removed(off: dict[str, bool] | None) -> None:
    documents = render({"components": {"api-rest": off}})
    assert names(documents, "Deployment") == ["platform-async-worker"]
    assert not [each for each in documents if each["metadata"]["name"] == "platform-api-rest"]


def test_names_begin_with_the_release_or_its_override() -> None:
    assert names(render(alone(), release="other"), "Deployment") == ["other-web"]
    assert names(render({**alone(), "fullnameOverride": "own"}), "Deployment") == ["own-web"]


def test_a_digest_wins_over_a_tag() -> None:
    digest = f"sha256:{'a' * 64}"
    by_digest = render(alone(image={"repository": "r:5000/web", "tag": "1", "digest": digest}))
    assert container(by_digest, "platform-web")["image"] == f"r:5000/web@{digest}"
    by_tag = render(alone(image={"repository": "web", "tag": "1.20"}))
    assert container(by_tag, "platform-web")["image"] == "web:1.20"


def test_a_rollout_adds_one_pod_and_removes_none() -> None:
    for name in ("platform-api-rest", "platform-async-worker"):
        strategy = find(render(), "Deployment", name)["spec"]["strategy"]
        assert strategy == {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
        }


def test_recreate_has_no_rolling_update() -> None:
    assert workload(rollout={"strategy": "Recreate"})["spec"]["strategy"] == {"type": "Recreate"}


def test_rollout_settings_reach_the_deployment() -> None:
    rollout = {
        "minReadySeconds": 7,
        "progressDeadlineSeconds": 99,
        "revisionHistoryLimit": 3,
        "maxSurge": "25%",
    }
    spec = workload(rollout=rollout)["spec"]
    assert (
        spec["minReadySeconds"],
        spec["progressDeadlineSeconds"],
        spec["revisionHistoryLimit"],
    ) == (7, 99, 3)
    assert spec["strategy"]["rollingUpdate"]["maxSurge"] == "25%"


def test_the_autoscaler_sets_the_replicas() -> None:
    assert workload(replicas=4)["spec"]["replicas"] == 4
    assert "replicas" not in workload(scaling={"enabled": True})["spec"]


def test_zero_replicas() -> None:
    assert workload(replicas=0)["spec"]["replicas"] == 0


def test_the_selector_matches_the_pods_and_no_other_components() -> None:
    documents = render()
    selectors = []
    for each in of_kind(documents, "Deployment"):
        selector = each["spec"]["selector"]["matchLabels"]
        assert selector.items() <= each["spec"]["template"]["metadata"]["labels"].items()
        selectors.append(selector)
    assert selectors[0] != selectors[1]


def test_a_statefulset_has_its_service_and_claims() -> None:
    claims = {"data": {"mountPath": "/data", "size": "1Gi", "storageClass": "fast"}}
    spec = workload(kind="StatefulSet", claims=claims, replicas=3)["spec"]
    assert spec["serviceName"] == "platform-web"
    assert spec["podManagementPolicy"] == "OrderedReady"
    assert spec["updateStrategy"] == {"type": "RollingUpdate"}
    (template,) = spec["volumeClaimTemplates"]
    assert template["metadata"]["name"] == "data"
    assert template["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "fast",
        "resources": {"requests": {"storage": "1Gi"}},
    }


def test_a_statefulset_has_no_fields_of_a_deployment() -> None:
    spec = workload(kind="StatefulSet")["spec"]
    assert not {"strategy", "progressDeadlineSeconds"} & spec.keys()


def test_claim_templates_do_not_change_with_the_chart() -> None:
    claims = {"data": {"mountPath": "/data", "size": "1Gi"}}
    labels = workload(kind="StatefulSet", claims=claims)["spec"]["volumeClaimTemplates"][0][
        "metadata"
    ]["labels"]
    assert labels == {"app.kubernetes.io/name": "web", "app.kubernetes.io/instance": "platform"}


def test_annotations_of_the_workload_and_of_its_pods() -> None:
    documents = render(
        alone(annotations={"a": "1"}, podAnnotations={"b": "true"}, podLabels={"c": "d"})
    )
    deployment = find(documents, "Deployment", "platform-web")
    assert deployment["metadata"]["annotations"] == {"a": "1"}
    assert pod_annotations(documents, "platform-web") == {"b": "true"}
    assert deployment["spec"]["template"]["metadata"]["labels"]["c"] == "d"


@pytest.mark.parametrize(
    ("name", "env"),
    [
        ("api-rest", {"SHUTDOWN_DELAY": "5", "SHUTDOWN_TIMEOUT": "7"}),
        ("async-worker", {}),
    ],
)
def test_the_grace_period_and_the_apps_variables_come_from_shutdown(
    name: str, env: dict[str, str]
) -> None:
    shutdown = {"linger": 5, "drain": 7, "margin": 3}
    documents = render({"components": {name: {"shutdown": shutdown}}})
    assert pod(documents, f"platform-{name}")["terminationGracePeriodSeconds"] == 15
    assert variables(documents, f"platform-{name}", "SHUTDOWN_") == env


def test_component_defaults_apply_to_every_component() -> None:
    documents = render(
        {"componentDefaults": {"shutdown": {"margin": 50}, "priorityClassName": "high"}}
    )
    assert pod(documents, "platform-async-worker")["terminationGracePeriodSeconds"] == 35 + 10
    assert pod(documents, "platform-api-rest")["priorityClassName"] == "high"
    assert pod(
        render({**alone(), "componentDefaults": {"shutdown": {"margin": 50}}}), "platform-web"
    )["terminationGracePeriodSeconds"] == (20 + 50)
