"""Components of kind DaemonSet, Job and CronJob."""

from __future__ import annotations

from typing import Any

import pytest
from support import alone, fails, find, names, numbered, of_kind, render

KINDS = ["DaemonSet", "Job", "CronJob"]
CRON = {"schedule": "0 3 * * *", "concurrencyPolicy": "Forbid"}


def documents(kind: str, **values: Any) -> list[dict[str, Any]]:
    return render(alone(kind=kind, cronjob=CRON if kind == "CronJob" else {}, **values))


def only(kind: str, **values: Any) -> dict[str, Any]:
    (document,) = of_kind(documents(kind, **values), kind)
    return document


def test_a_daemonset_has_a_pod_on_each_node() -> None:
    spec = only("DaemonSet")["spec"]
    assert "replicas" not in spec
    assert spec["updateStrategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
    }
    assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()


def test_a_cronjob_has_its_schedule_and_its_jobs() -> None:
    cronjob = only("CronJob", job={"backoffLimit": 2}, annotations={"a": "1"})
    assert cronjob["metadata"]["name"] == "platform-web"
    assert cronjob["metadata"]["annotations"] == {"a": "1"}
    spec = cronjob["spec"]
    assert CRON.items() <= spec.items()
    job = spec["jobTemplate"]["spec"]
    assert job["backoffLimit"] == 2
    assert job["template"]["spec"]["restartPolicy"] == "OnFailure"


def test_a_job_with_other_pods_has_another_name() -> None:
    """Kubernetes refuses to change a Job."""
    first, same, other = (only("Job", env={"A": value}) for value in "112")
    assert first["metadata"]["name"].startswith("platform-web-")
    assert first["metadata"]["name"] == same["metadata"]["name"] != other["metadata"]["name"]
    assert "selector" not in first["spec"]


def test_a_pod_of_a_job_may_restart_otherwise() -> None:
    spec = only("Job", podSpec={"restartPolicy": "Never"})["spec"]["template"]["spec"]
    assert spec["restartPolicy"] == "Never"


@pytest.mark.parametrize("kind", KINDS)
def test_only_deployments_and_statefulsets_have_a_budget(kind: str) -> None:
    assert names(documents(kind, replicas=3), "PodDisruptionBudget") == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_claim_is_one_for_all_pods(kind: str) -> None:
    claim = {"mountPath": "/data", "size": "1Gi", "accessModes": ["ReadWriteMany"]}
    rendered = documents(kind, claims={"data": claim})
    assert names(rendered, "PersistentVolumeClaim") == ["platform-web-data"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_pods_are_hardened_like_any(kind: str) -> None:
    workload = only(kind)
    spec = workload["spec"].get("jobTemplate", workload)["spec"]["template"]["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True


def test_a_jobs_network_policy_selects_its_pods() -> None:
    rendered = documents("Job")
    policy = find(rendered, "NetworkPolicy", "platform-web")["spec"]["podSelector"]["matchLabels"]
    (job,) = of_kind(rendered, "Job")
    assert policy.items() <= job["spec"]["template"]["metadata"]["labels"].items()


MISTAKES = [
    ("kind: CronJob", "cronjob.schedule: it is empty"),
    ("cronjob: {schedule: '* * * * *'}", "cronjob: a Deployment has none"),
    ("{kind: DaemonSet, job: {backoffLimit: 1}}", "job: a DaemonSet has none"),
    ("{kind: Job, scaling: {enabled: true}}", "scaling.enabled: a Job cannot be scaled"),
    (
        "{kind: DaemonSet, claims: {data: {mountPath: /data, size: 1Gi}}}",
        "claims.data: only one node can mount it, and a DaemonSet has pods on all",
    ),
    ("{kind: DaemonSet, rollout: {maxUnavailable: 1}}", "rollout: of a DaemonSet, one of"),
    ("serviceAccount: {rules: [{apiGroups: [''], resources: [pods], verbs: [get]}]}", "no token"),
]


@pytest.mark.parametrize("number", range(len(MISTAKES)), ids=[values for values, _ in MISTAKES])
def test_a_mistake_is_refused_with_its_path(number: int) -> None:
    message = fails(numbered(values for values, _ in MISTAKES))
    lines = [line for line in message.splitlines() if f"components.web-{number}." in line]
    assert MISTAKES[number][1] in "\n".join(lines)
