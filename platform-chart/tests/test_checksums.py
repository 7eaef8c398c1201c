"""What restarts pods, and what does not (templates/_pod.tpl)."""

from __future__ import annotations

from typing import Any

import pytest
from support import alone, find, of_kind, pod_annotations, render

TEMPLATES = ("Deployment", "StatefulSet")


def pod_templates(values: dict[str, Any]) -> dict[str, Any]:
    """The pod template of each workload."""
    documents = render(values)
    found = [each for kind in TEMPLATES for each in of_kind(documents, kind)]
    return {each["metadata"]["name"]: each["spec"]["template"] for each in found}


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
def test_a_change_restarts_what_it_concerns(change: dict[str, Any], expected: set[str]) -> None:
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
def test_what_the_chart_makes_restarts_who_reads_it(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    assert restarted(alone(**before), alone(**after)) == {"platform-web"}


def test_files_that_the_app_reads_again_restart_nothing() -> None:
    def values(content: str) -> dict[str, Any]:
        return alone(volumes={"v": {"mountPath": "/v", "files": {"f": content}, "reloaded": True}})

    assert restarted(values("1"), values("2")) == set()
    assert find(render(values("2")), "ConfigMap", "platform-web-v")["data"] == {"f": "2"}


def test_another_components_secret_restarts_its_reader_too() -> None:
    def values(password: str) -> dict[str, Any]:
        together = alone(secrets={"P": {"value": password}})
        image = {"repository": "x", "tag": "1"}
        together["components"]["reader"] = {"image": image, "secrets": {"P": {"from": "web"}}}
        together["components"]["stranger"] = {"image": image}
        return together

    assert restarted(values("1"), values("2")) == {"platform-web", "platform-reader"}


def test_nothing_of_a_release_is_in_a_pod_template() -> None:
    upgraded = {
        each["metadata"]["name"]: each
        for each in render(is_upgrade=None)
        if each["kind"] in TEMPLATES
    }
    installed = {each["metadata"]["name"]: each for each in render() if each["kind"] in TEMPLATES}
    assert upgraded == installed


def test_a_new_version_of_the_chart_restarts_nothing() -> None:
    text = str(pod_templates({}))
    assert "helm.sh/chart" not in text
    assert "app.kubernetes.io/version" not in text


def test_without_config_there_is_nothing_to_watch() -> None:
    assert pod_annotations(render(alone()), "platform-web") == {}
