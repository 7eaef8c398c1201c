"""Components of kind DaemonSet, Job and CronJob."""

from __future__ import annotations

from typing import Any

import pytest
from support import alone, find, load, names, of_kind, render

KINDS = ["DaemonSet", "Job", "CronJob"]
CRON = {"schedule": "0 3 * * *", "concurrencyPolicy": "Forbid"}


def only(**values: Any) -> dict[str, Any]:
    kind = str(values["kind"])
    cronjob = CRON if kind == "CronJob" else {}
    (document,) = of_kind(render(alone(**{"cronjob": cronjob, **values})), kind)
    return document


def test_a_daemonset_has_a_pod_on_each_node() -> None:
    spec = only(kind="DaemonSet")["spec"]
    assert "replicas" not in spec
    assert spec["updateStrategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
    }
    assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()


def test_a_cronjob_has_its_schedule_and_its_jobs() -> None:
    cronjob = only(kind="CronJob", job={"backoffLimit": 2}, annotations={"a": 1})
    assert cronjob["metadata"]["name"] == "platform-web"
    assert cronjob["metadata"]["annotations"] == {"a": "1"}
    spec = cronjob["spec"]
    assert CRON.items() <= spec.items()
    job = spec["jobTemplate"]["spec"]
    assert job["backoffLimit"] == 2
    assert job["template"]["spec"]["restartPolicy"] == "OnFailure"


def test_a_job_with_other_pods_has_another_name() -> None:
    """Kubernetes refuses to change a Job."""
    first, same, other = (only(kind="Job", env={"A": value}) for value in "112")
    assert first["metadata"]["name"].startswith("platform-web-")
    assert first["metadata"]["name"] == same["metadata"]["name"] != other["metadata"]["name"]
    assert "selector" not in first["spec"]


def test_a_pod_of_a_job_may_restart_otherwise() -> None:
    spec = only(kind="Job", podSpec={"restartPolicy": "Never"})["spec"]["template"]["spec"]
    assert spec["restartPolicy"] == "Never"


@pytest.mark.parametrize("kind", KINDS)
def test_only_deployments_and_statefulsets_have_a_budget(kind: str) -> None:
    documents = render(alone(kind=kind, cronjob=CRON, replicas=3))
    assert names(documents, "PodDisruptionBudget") == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_claim_is_one_for_all_pods(kind: str) -> None:
    claim = {"mountPath": "/data", "size": "1Gi", "accessModes": ["ReadWriteMany"]}
    values = alone(kind=kind, cronjob=CRON, claims={"data": claim})
    assert names(render(values), "PersistentVolumeClaim") == ["platform-web-data"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_pods_are_hardened_like_any(kind: str) -> None:
    spec = only(kind=kind)["spec"].get("jobTemplate", only(kind=kind))["spec"]["template"]["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True


def test_a_jobs_network_policy_selects_its_pods() -> None:
    documents = render(load("components: {web: {kind: Job, image: {repository: web, tag: '1'}}}"))
    policy = find(documents, "NetworkPolicy", "platform-web")["spec"]["podSelector"]["matchLabels"]
    (job,) = [each for each in of_kind(documents, "Job") if "web" in each["metadata"]["name"]]
    assert policy.items() <= job["spec"]["template"]["metadata"]["labels"].items()
