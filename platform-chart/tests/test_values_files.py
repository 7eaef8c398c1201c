"""The values of every environment and example: valid for each Kubernetes, and admitted by it."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path

import kubernetes_validate.utils
import pytest
import yaml
from support import (
    CHART,
    EXAMPLES,
    MIRROR,
    VALUES_FILES,
    Document,
    container,
    find,
    helm,
    helms,
    load,
    names,
    pod,
    pods,
    render,
    render_text,
    rendered_by,
    values_option,
)

OLDEST = 29  # Chart.yaml's kubeVersion
NEWEST = int(kubernetes_validate.latest_version().split(".")[1])
EVERYTHING = ["", *VALUES_FILES, MIRROR, *EXAMPLES]
# A file of the tests, with what no other file has.
WAYS_OUT = "tests/everything.yaml"
# API groups of other projects: kubernetes-validate has no schemas for them.
CUSTOM = {"cert-manager.io", "gateway.networking.k8s.io", "keda.sh", "monitoring.coreos.com"}
UNITS = {"m": 0.001, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "": 1}


@pytest.mark.parametrize("file", ["Chart.yaml", "values.yaml", *VALUES_FILES, MIRROR, *EXAMPLES])
def test_no_file_has_a_duplicate_key(file: str) -> None:
    assert load((CHART / file).read_text(encoding="utf-8"))


@pytest.mark.parametrize("text", ["a: 1\na: 2", "- {a: 1, 'a': 2}"])
def test_a_duplicate_key_would_be_found(text: str) -> None:
    with pytest.raises(yaml.YAMLError, match="more than once"):
        load(text)


@pytest.mark.parametrize("program", helms())
@pytest.mark.parametrize("file", ["", WAYS_OUT])
def test_helm_lint_accepts_the_chart(file: str, program: str) -> None:
    options = [values_option(file)] if file else []
    result = helm("lint", "--strict", str(CHART), *options, program=program)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("program", helms())
def test_helm_lint_refuses_wrong_values(program: str) -> None:
    result = helm("lint", str(CHART), "--set", "kakfa=1", program=program)
    assert result.returncode == 1
    assert "kakfa: there is no such key; did you mean kafka?" in result.stdout


@pytest.mark.parametrize("file", [*EVERYTHING, WAYS_OUT])
def test_every_helm_renders_the_same(file: str) -> None:
    first, *others = [without_generated(rendered_by(each, "", file)) for each in helms()]
    assert first
    assert all(other == first for other in others)


def without_generated(documents: list[Document]) -> list[Document]:
    """Return the objects without the data of Secrets: helm generates some without a cluster."""
    return [
        {**each, "data": sorted(each["data"])} if each["kind"] == "Secret" else each
        for each in documents
    ]


@pytest.fixture(scope="module")
def _schemas_read_once() -> Iterator[None]:
    """Keep the validator from reading its large schemas for each object."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("all_versions", "schema_contents"):
            cached = functools.cache(getattr(kubernetes_validate.utils, name))
            patch.setattr(kubernetes_validate.utils, name, cached)
        yield


@pytest.mark.usefixtures("_schemas_read_once")
@pytest.mark.parametrize("minor", range(OLDEST, NEWEST + 1))
def test_the_objects_are_valid_for_every_kubernetes(minor: int) -> None:
    # Most objects are the same in several environments; each is validated once.
    files = [*EVERYTHING, WAYS_OUT]
    objects = {json.dumps(each): each for file in files for each in render("", file)}
    assert len(objects) > len(files)
    for document in objects.values():
        if document["apiVersion"].partition("/")[0] in CUSTOM:
            continue
        kubernetes_validate.validate(document, f"1.{minor}", strict=True)


def test_the_oldest_kubernetes_is_accepted() -> None:
    assert render("", "values-production.yaml", kube_version=f"1.{OLDEST}.0")


def test_the_validator_would_find_a_mistake() -> None:
    document = find(render(), "Deployment", "platform-async-worker")
    document["spec"]["template"]["spec"]["containers"][0]["imagee"] = "x"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, f"1.{OLDEST}", strict=True)


ADMITTED_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


@pytest.mark.parametrize("file", EVERYTHING)
def test_a_restricted_namespace_admits_every_pod(file: str) -> None:
    workloads = list(pods(render("", file)))
    assert workloads
    for name, spec in workloads:
        context = spec["securityContext"]
        assert context["runAsNonRoot"] is True, name
        assert context["seccompProfile"]["type"] == "RuntimeDefault", name
        assert spec["automountServiceAccountToken"] is False, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys(), name
        for volume in spec.get("volumes", []):
            assert set(volume) - {"name"} <= ADMITTED_VOLUMES, name
        for each in [*spec["containers"], *spec.get("initContainers", [])]:
            own = each["securityContext"]
            assert own["allowPrivilegeEscalation"] is False, (name, each["name"])
            assert own["capabilities"]["drop"] == ["ALL"], (name, each["name"])
            assert own["readOnlyRootFilesystem"] is True, (name, each["name"])
            assert own.get("runAsUser", context["runAsUser"]) > 0, (name, each["name"])
            for kind in ("requests", "limits"):
                assert {"cpu", "memory"} <= each["resources"][kind].keys(), (name, each["name"])


def quantity(text: str | int) -> float:
    number = str(text).rstrip("mKiG M")
    return float(number) * UNITS[str(text)[len(number) :]]


def test_a_local_platform_fits_2_cpus_and_4_gib() -> None:
    total = {"cpu": 0.0, "memory": 0.0}
    for document in render("", "values-local.yaml"):
        if document["kind"] not in {"Deployment", "StatefulSet"}:
            continue
        spec = document["spec"]["template"]["spec"]
        # Sidecars run as long as the pod; other init containers end before the app starts.
        init = spec.get("initContainers", [])
        sidecars = [each for each in init if each.get("restartPolicy") == "Always"]
        for each in [*spec["containers"], *sidecars]:
            for resource in total:
                limit = quantity(each["resources"]["limits"][resource])
                total[resource] += limit * document["spec"]["replicas"]
    assert total["cpu"] <= 2
    assert total["memory"] <= 4 * 2**30


def test_a_preview_fits_its_quota_while_every_pod_is_replaced() -> None:
    documents = render("", "values-preview.yaml")
    hard = find(documents, "ResourceQuota", "platform")["spec"]["hard"]
    total = {"pods": 0.0, "limits.cpu": 0.0, "limits.memory": 0.0}
    for document in documents:
        is_pod = document["kind"] == "Pod"
        if not is_pod and document["kind"] not in {"Deployment", "StatefulSet", "Job"}:
            continue
        spec = document["spec"] if is_pod else document["spec"]["template"]["spec"]
        count = 2 if document["kind"] == "Deployment" else 1
        total["pods"] += count
        for each in [*spec["containers"], *spec.get("initContainers", [])]:
            for resource in ("cpu", "memory"):
                limit = quantity(each["resources"]["limits"][resource])
                total[f"limits.{resource}"] += count * limit
    assert {
        name: amount <= quantity(hard[name]) for name, amount in total.items()
    } == dict.fromkeys(total, True), total
    claims = [
        quantity(claim["spec"]["resources"]["requests"]["storage"])
        for document in documents
        if document["kind"] == "StatefulSet"
        for claim in document["spec"]["volumeClaimTemplates"]
    ]
    assert len(claims) <= int(hard["persistentvolumeclaims"])
    assert sum(claims) <= quantity(hard["requests.storage"])


def test_the_environments_have_different_sizes() -> None:
    local, develop, staging, production, _ = (render("", file) for file in VALUES_FILES)
    scaler = "HorizontalPodAutoscaler"
    assert names(local, scaler) == names(develop, scaler) == []
    for documents, limits in ((staging, (2, 4)), (production, (3, 10))):
        spec = find(documents, scaler, "platform-api-rest")["spec"]
        assert (spec["minReplicas"], spec["maxReplicas"]) == limits
    workers = [
        find(documents, "Deployment", "platform-async-worker")["spec"]["replicas"]
        for documents in (local, develop, staging, production)
    ]
    assert workers == [1, 1, 2, 3]
    budget = "PodDisruptionBudget"
    assert "platform-async-worker" not in names(local, budget)
    assert {"platform-api-rest", "platform-async-worker"} <= set(names(production, budget))
    assert pod(production, "platform-api-rest")["terminationGracePeriodSeconds"] == 15 + 20 + 10


@pytest.mark.parametrize("file", VALUES_FILES)
def test_the_apps_get_the_name_of_the_environment(file: str) -> None:
    environment = Path(file).stem.removeprefix("values-")
    for name in ("api-rest", "async-worker"):
        env = container(render("", file), f"platform-{name}", name)["env"]
        assert {"name": "ENVIRONMENT", "value": environment} in env


@pytest.mark.parametrize("file", [*EVERYTHING, WAYS_OUT])
def test_every_object_is_rendered_once_with_the_labels_of_the_release(file: str) -> None:
    documents = render("", file)
    for document in documents:
        labels = document["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == "platform"
        assert labels["app.kubernetes.io/managed-by"] == "Helm"
        assert labels["app.kubernetes.io/name"]
    identities = [(each["kind"], each["metadata"]["name"]) for each in documents]
    assert len(identities) == len(set(identities))


def test_components_have_no_trailing_blanks() -> None:
    text = render_text()
    own = [part for part in text.split("\n---\n") if "templates/components/" in part]
    assert own
    assert not [line for part in own for line in part.splitlines() if line != line.rstrip()]
