"""templates/_pod.tpl: which changes restart pods."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from support import (
    CHART,
    Values,
    alone,
    find,
    helm,
    load,
    load_all,
    of_kind,
    pod_annotations,
    render,
)


def pod_templates(values: Values = "", **options: str | None) -> dict[str, Any]:
    """Return the pod template of each workload."""
    documents = render(values, "", "platform", **options)
    workloads = of_kind(documents, "Deployment") + of_kind(documents, "StatefulSet")
    return {each["metadata"]["name"]: each["spec"]["template"] for each in workloads}


def restarted(before: Values, after: Values) -> set[str]:
    old, new = pod_templates(before), pod_templates(after)
    assert old.keys() == new.keys()
    return {name for name in old if old[name] != new[name]}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("config: {LOG_LEVEL: DEBUG}", {"platform-api-rest"}),
        ("env: {LOG_LEVEL: DEBUG}", {"platform-api-rest"}),
        ("replicas: 5", set()),
        ("scaling: {enabled: true, max: 9}", set()),
        ("rollout: {minReadySeconds: 9}", set()),
        ("disruptionBudget: {maxUnavailable: 2}", set()),
        ("service: {annotations: {a: b}}", set()),
        ("annotations: {a: b}", set()),
        ("networkPolicy: {egress: [{ports: [{port: 4318}]}]}", set()),
    ],
)
def test_only_changes_of_the_pods_restart_them(change: str, expected: set[str]) -> None:
    assert restarted("", f"components: {{api-rest: {{{change}}}}}") == expected


@pytest.mark.parametrize(
    "values",
    [
        "config: {A: '%s'}",
        "secrets: {A: {value: '%s'}}",
        "volumes: {v: {mountPath: /v, files: {f: '%s'}}}",
        "volumes: {v: {mountPath: /v, secretFiles: {f: '%s'}}}",
    ],
)
def test_a_changed_object_restarts_the_pods_that_read_it(values: str) -> None:
    before, after = (alone(**load(values % number)) for number in (1, 2))
    assert restarted(before, after) == {"platform-web"}


def test_reloaded_files_restart_nothing() -> None:
    def values(content: str) -> dict[str, Any]:
        return alone(volumes={"v": {"mountPath": "/v", "files": {"f": content}, "reloaded": True}})

    assert restarted(values("1"), values("2")) == set()
    assert find(render(values("2")), "ConfigMap", "platform-web-v")["data"] == {"f": "2"}


def test_a_secret_of_another_component_restarts_its_reader_too() -> None:
    def values(password: str) -> dict[str, Any]:
        result = alone(secrets={"P": {"value": password}})
        image = {"repository": "x", "tag": "1"}
        result["components"]["reader"] = {"image": image, "secrets": {"P": {"from": "web"}}}
        result["components"]["other"] = {"image": image}
        return result

    assert restarted(values("1"), values("2")) == {"platform-web", "platform-reader"}


def test_an_upgrade_with_the_same_values_restarts_nothing() -> None:
    assert pod_templates(is_upgrade=None) == pod_templates()
    text = str(pod_templates())
    assert "helm.sh/chart" not in text
    assert "app.kubernetes.io/version" not in text


def test_without_config_there_is_no_checksum() -> None:
    assert pod_annotations(render(alone()), "platform-web") == {}


def test_another_version_of_the_chart_restarts_nothing(tmp_path: Path) -> None:
    chart = tmp_path / "chart"
    shutil.copytree(CHART, chart, ignore=shutil.ignore_patterns("__pycache__"))
    file = chart / "Chart.yaml"
    file.write_text(re.sub(r"(?m)^(version|appVersion): .*", r"\1: 9.9.9", file.read_text()))
    result = helm("template", "platform", str(chart), "--namespace", "test")
    assert "9.9.9" in result.stdout
    workloads = {
        each["metadata"]["name"]: each["spec"]["template"]
        for each in load_all(result.stdout)
        if each["kind"] in {"Deployment", "StatefulSet"}
    }
    assert workloads == pod_templates()
