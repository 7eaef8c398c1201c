"""templates/_pod.tpl: which changes restart pods."""

from __future__ import annotations

from typing import Any

import pytest
from support import alone, find, of_kind, pod_annotations, render

TEMPLATES = ("Deployment", "StatefulSet")


def pod_templates(values: dict[str, Any], **options: str | None) -> dict[str, Any]:
    """The pod template of each workload."""
    documents = render(values, "", "platform", **options)
    workloads = [each for kind in TEMPLATES for each in of_kind(documents, kind)]
    return {each["metadata"]["name"]: each["spec"]["template"] for each in workloads}


def restarted(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    old, new = pod_templates(before), pod_templates(after)
    assert old.keys() == new.keys()
    return {name for name in old if old[name] != new[name]}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"config": {"LOG_LEVEL": "DEBUG"}}, {"platform-api-rest"}),
        ({"env": {"LOG_LEVEL": "DEBUG"}}, {"platform-api-rest"}),
        ({"replicas": 5}, set()),
        ({"scaling": {"enabled": True, "max": 9}}, set()),
        ({"rollout": {"minReadySeconds": 9}}, set()),
        ({"disruptionBudget": {"maxUnavailable": 2}}, set()),
        ({"service": {"annotations": {"a": "b"}}}, set()),
        ({"annotations": {"a": "b"}}, set()),
        ({"networkPolicy": {"egress": [{"ports": [{"port": 4318}]}]}}, set()),
    ],
)
def test_only_changes_of_the_pods_restart_them(change: dict[str, Any], expected: set[str]) -> None:
    assert restarted({}, {"components": {"api-rest": change}}) == expected


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"config": {"A": 1}}, {"config": {"A": 2}}),
        ({"secrets": {"A": {"value": "1"}}}, {"secrets": {"A": {"value": "2"}}}),
        (
            {"volumes": {"v": {"mountPath": "/v", "files": {"f": "1"}}}},
            {"volumes": {"v": {"mountPath": "/v", "files": {"f": "2"}}}},
        ),
        (
            {"volumes": {"v": {"mountPath": "/v", "secretFiles": {"f": "1"}}}},
            {"volumes": {"v": {"mountPath": "/v", "secretFiles": {"f": "2"}}}},
        ),
    ],
)
def test_a_changed_object_restarts_the_pods_that_read_it(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    assert restarted(alone(**before), alone(**after)) == {"platform-web"}


def test_reloaded_files_restart_nothing() -> None:
    def values(content: str) -> dict[str, Any]:
        return alone(volumes={"v": {"mountPath": "/v", "files": {"f": content}, "reloaded": True}})

    assert restarted(values("1"), values("2")) == set()
    assert find(render(values("2")), "ConfigMap", "platform-web-v")["data"] == {"f": "2"}


def test_a_secret_of_another_component_restarts_its_reader_too() -> None:
    def values(password: str) -> dict[str, Any]:
        together = alone(secrets={"P": {"value": password}})
        image = {"repository": "x", "tag": "1"}
        together["components"]["reader"] = {"image": image, "secrets": {"P": {"from": "web"}}}
        together["components"]["stranger"] = {"image": image}
        return together

    assert restarted(values("1"), values("2")) == {"platform-web", "platform-reader"}


def test_an_upgrade_with_the_same_values_restarts_nothing() -> None:
    assert pod_templates({}, is_upgrade=None) == pod_templates({})
    text = str(pod_templates({}))
    assert "helm.sh/chart" not in text
    assert "app.kubernetes.io/version" not in text


def test_without_config_there_is_no_checksum() -> None:
    assert pod_annotations(render(alone()), "platform-web") == {}
