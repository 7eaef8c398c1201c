"""What every environment's values render: linted, valid for each Kubernetes, admitted where Pod Security is restricted."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate.utils
import pytest
import yaml
from support import (
    CHART,
    EXAMPLES,
    VALUES_FILES,
    container,
    find,
    helm,
    helms,
    load,
    load_all,
    names,
    pod,
    pods,
    render,
    render_text,
    values_option,
)

OLDEST = 29  # Chart.yaml's kubeVersion
NEWEST = int(kubernetes_validate.latest_version().split(".")[1])
EVERYTHING = ["", *VALUES_FILES, *EXAMPLES]
UNITS = {"m": 0.001, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "": 1}


def files(name: str) -> list[str]:
    return [name] if name else []


@pytest.mark.parametrize("name", ["Chart.yaml", "values.yaml", *VALUES_FILES, *EXAMPLES])
def test_no_file_gives_a_key_twice(name: str) -> None:
    assert load((CHART / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", EVERYTHING)
def test_no_object_has_a_key_twice(name: str) -> None:
    assert render(values_files=files(name))


@pytest.mark.parametrize("text", ["a: 1\na: 2", "a: {b: 1, b: 1}", "- {a: 1, 'a': 2}"])
def test_a_key_given_twice_would_be_found(text: str) -> None:
    with pytest.raises(yaml.YAMLError, match="more than once"):
        load(text)


@pytest.mark.parametrize("program", helms())
@pytest.mark.parametrize("name", EVERYTHING)
def test_helm_lint_finds_nothing(name: str, program: str) -> None:
    options = [values_option(file) for file in files(name)]
    result = helm("lint", "--strict", str(CHART), *options, program=program)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("name", EVERYTHING)
def test_every_helm_renders_the_same(name: str) -> None:
    options = [values_option(file) for file in files(name)]
    rendered = [
        helm(
            "template",
            "platform",
            str(CHART),
            "--kube-version",
            "1.34.0",
            *options,
            program=program,
        ).stdout
        for program in (helms() if len(helms()) > 1 else 2 * helms())
    ]
    steady = [without_generated(text) for text in rendered]
    assert steady[0]
    assert all(each == steady[0] for each in steady)


def without_generated(text: str) -> list[dict[str, Any]]:
    """What is rendered, but for Secrets' data: some of it is made anew where no cluster can be asked for it."""
    return [
        {**each, "data": sorted(each["data"])} if each["kind"] == "Secret" else each
        for each in load_all(text)
    ]


@pytest.fixture(scope="module")
def _schemas_read_once() -> Iterator[None]:
    """Keep the validator from reading its schemas, which are large, anew for each object."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("all_versions", "schema_contents"):
            patch.setattr(
                kubernetes_validate.utils,
                name,
                functools.cache(getattr(kubernetes_validate.utils, name)),
            )
        yield


@pytest.mark.usefixtures("_schemas_read_once")
@pytest.mark.parametrize("minor", range(OLDEST, NEWEST + 1))
def test_what_is_rendered_is_valid_for_every_kubernetes(minor: int) -> None:
    # Most objects are the same in several environments: each is looked at once.
    objects = {
        json.dumps(each): each for name in EVERYTHING for each in render(values_files=files(name))
    }
    assert len(objects) > len(EVERYTHING)
    for document in objects.values():
        kubernetes_validate.validate(document, f"1.{minor}", strict=True)


@pytest.mark.parametrize("name", VALUES_FILES)
def test_the_oldest_kubernetes_will_do(name: str) -> None:
    assert render(values_files=[name], kube_version=f"1.{OLDEST}.0")


def test_the_validator_would_find_a_mistake() -> None:
    document = find(render(), "Deployment", "platform-async-worker")
    document["spec"]["template"]["spec"]["containers"][0]["imagee"] = "x"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, f"1.{OLDEST}", strict=True)


@pytest.mark.parametrize("name", EVERYTHING)
def test_every_pod_is_what_a_restricted_namespace_admits(name: str) -> None:
    found = list(pods(render(values_files=files(name))))
    assert found
    for where, spec in found:
        context = spec["securityContext"]
        assert context["runAsNonRoot"] is True, where
        assert context["seccompProfile"]["type"] == "RuntimeDefault", where
        assert spec["automountServiceAccountToken"] is False, where
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys(), where
        allowed = {
            "configMap",
            "csi",
            "downwardAPI",
            "emptyDir",
            "ephemeral",
            "persistentVolumeClaim",
            "projected",
            "secret",
        }
        assert all(set(volume) - {"name"} <= allowed for volume in spec.get("volumes", [])), where
        for each in [*spec["containers"], *spec.get("initContainers", [])]:
            own = each["securityContext"]
            assert own["allowPrivilegeEscalation"] is False, (where, each["name"])
            assert own["capabilities"]["drop"] == ["ALL"], (where, each["name"])
            assert own["readOnlyRootFilesystem"] is True, (where, each["name"])
            assert own.get("runAsUser", context["runAsUser"]) > 0, (where, each["name"])


@pytest.mark.parametrize("name", EVERYTHING)
def test_every_container_has_requests_and_limits(name: str) -> None:
    for where, spec in pods(render(values_files=files(name))):
        for each in [*spec["containers"], *spec.get("initContainers", [])]:
            for kind in ("requests", "limits"):
                assert {"cpu", "memory"} <= each["resources"][kind].keys(), (where, each["name"])


def quantity(text: str | int) -> float:
    number = str(text).rstrip("mKiG M")
    return float(number) * UNITS[str(text)[len(number) :]]


def test_a_local_platform_fits_2_cpus_and_4_gib() -> None:
    total = {"cpu": 0.0, "memory": 0.0}
    for document in render(values_files=["values-local.yaml"]):
        if document["kind"] not in {"Deployment", "StatefulSet"}:
            continue
        spec = document["spec"]["template"]["spec"]
        # Sidecars run as long as the pod; other init containers are done before.
        sidecars = [
            each for each in spec.get("initContainers", []) if each.get("restartPolicy") == "Always"
        ]
        for each in [*spec["containers"], *sidecars]:
            for resource in total:
                total[resource] += (
                    quantity(each["resources"]["limits"][resource]) * document["spec"]["replicas"]
                )
    assert total["cpu"] <= 2
    assert total["memory"] <= 4 * 2**30


def test_the_environments_differ_where_they_have_to() -> None:
    local, develop, staging, production = (render(values_files=[file]) for file in VALUES_FILES)
    assert (
        names(local, "HorizontalPodAutoscaler") == names(develop, "HorizontalPodAutoscaler") == []
    )
    scaled = [
        find(each, "HorizontalPodAutoscaler", "platform-api-rest")["spec"]
        for each in (staging, production)
    ]
    assert [(each["minReplicas"], each["maxReplicas"]) for each in scaled] == [(2, 4), (3, 10)]
    workers = [
        find(each, "Deployment", "platform-async-worker")
        for each in (local, develop, staging, production)
    ]
    assert [each["spec"]["replicas"] for each in workers] == [1, 1, 2, 3]
    budgets = "PodDisruptionBudget"
    assert "platform-async-worker" not in names(local, budgets)
    assert {"platform-api-rest", "platform-async-worker"} <= set(names(production, budgets))
    assert pod(production, "platform-api-rest")["terminationGracePeriodSeconds"] == 15 + 20 + 10


@pytest.mark.parametrize("file", VALUES_FILES)
def test_an_environment_knows_its_name(file: str) -> None:
    environment = Path(file).stem.removeprefix("values-")
    for name in ("api-rest", "async-worker"):
        env = container(render(values_files=[file]), f"platform-{name}", name)["env"]
        assert {"name": "ENVIRONMENT", "value": environment} in env


@pytest.mark.parametrize("name", EVERYTHING)
def test_every_object_says_whose_it_is(name: str) -> None:
    for document in render(values_files=files(name)):
        labels = document["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == "platform"
        assert labels["app.kubernetes.io/managed-by"] == "Helm"
        assert labels["app.kubernetes.io/name"]


@pytest.mark.parametrize("name", EVERYTHING)
def test_no_object_is_rendered_twice(name: str) -> None:
    found = [(each["kind"], each["metadata"]["name"]) for each in render(values_files=files(name))]
    assert len(found) == len(set(found))


def test_what_is_rendered_has_no_trailing_blanks() -> None:
    own = [part for part in render_text().split("\n---\n") if "templates/components/" in part]
    assert own
    assert not [line for part in own for line in part.splitlines() if line != line.rstrip()]
