"""A rollout is given up when it cannot succeed, and not before."""

from datetime import UTC, datetime
from typing import Any

import pytest

from delivery.deploy import rollout
from delivery.deploy.rollout import Blocker, Pod, Workload, blockers, progress


def pod(*containers: dict[str, Any], **parts: Any) -> Pod:  # parts of a pod
    status = {"phase": "Running", "containerStatuses": list(containers), **parts.get("status", {})}
    return rollout.read_pod(
        {
            "metadata": {"name": "web-1", "uid": "u1", **parts.get("metadata", {})},
            "spec": parts.get("spec", {}),
            "status": status,
        }
    )


def container(
    reason: str = "", *, ready: bool = False, restarts: int = 0, message: str = ""
) -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}} if reason else {"running": {}}
    return {"name": "web", "ready": ready, "restartCount": restarts, "state": state}


def workload(**status: Any) -> Workload:  # parts of a Deployment
    counts = {"replicas": 2, "updatedReplicas": 2, "readyReplicas": 2}
    return rollout.read_workload(
        {
            "kind": "Deployment",
            "metadata": {"name": "web", "generation": 2},
            "spec": {"replicas": 2},
            "status": {"observedGeneration": 2, **counts, **status},
        }
    )


def graces(*pods: Pod) -> list[float]:
    return [each.grace for each in blockers(pods, [])]


@pytest.mark.parametrize(
    "status",
    [
        container(ready=True),
        container(),
        container("ContainerCreating"),
        container("PodInitializing"),
    ],
)
def test_a_pod_that_starts_blocks_nothing(status: dict[str, Any]) -> None:
    assert graces(pod(status)) == []


@pytest.mark.parametrize("reason", ["", "CrashLoopBackOff"])
def test_a_container_that_restarts_too_often_fails_at_once(reason: str) -> None:
    assert graces(pod(container(reason, restarts=2))) == []
    assert graces(pod(container(reason, restarts=3))) == [0]
    assert graces(pod(container("", ready=True, restarts=9))) == []


@pytest.mark.parametrize(
    ("reason", "message", "grace"),
    [
        ("InvalidImageName", "", 0),
        ("ErrImagePull", "rpc error: localhost:5001/web: not found", 0),
        ("ImagePullBackOff", "pull access denied", 0),
        ("ErrImagePull", "dial tcp: i/o timeout", 30),
        ("CreateContainerConfigError", 'secret "web" not found', 30),
    ],
)
def test_a_state_that_may_pass_gets_time(reason: str, message: str, grace: float) -> None:
    assert graces(pod(container(reason, message=message))) == [grace]


def test_pods_of_jobs_and_terminating_pods_block_nothing() -> None:
    failing = container("CrashLoopBackOff", restarts=9)
    assert graces(pod(failing, metadata={"ownerReferences": [{"kind": "Job"}]})) == []
    assert graces(pod(failing, metadata={"deletionTimestamp": "2026-11-21T12:00:00Z"})) == []


def test_a_pod_without_a_node_comes_with_the_command_that_labels_one() -> None:
    message = "0/4 nodes are available: 4 node(s) didn't match Pod's node affinity/selector."
    condition = {"type": "PodScheduled", "status": "False", "message": message}
    expression = {"key": "example.com/type", "operator": "In", "values": ["ondemand"]}
    term = {"matchExpressions": [expression]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    pending = pod(
        status={"phase": "Pending", "conditions": [condition]},
        spec={"affinity": {"nodeAffinity": required}},
    )
    (blocker,) = blockers([pending], [])
    assert blocker.grace == 180
    assert message in blocker.text
    assert "kubectl label node NODE example.com/type=ondemand" in blocker.hint
    assert "values-any-cluster.yaml" in blocker.hint


def test_a_workload_that_cannot_create_pods_blocks() -> None:
    condition = {"type": "ReplicaFailure", "status": "True", "message": "violates PodSecurity"}
    (blocker,) = blockers([], [workload(conditions=[condition])])
    assert blocker.text == "web cannot create pods: violates PodSecurity"


def test_a_blocker_is_fatal_after_its_grace() -> None:
    passing, final = Blocker("a", "a", 30), Blocker("b", "b", 0)
    assert rollout.fatal([passing, final], {"a": 71.0, "b": 100.0}, 100.0) == [final]
    assert rollout.fatal([passing], {"a": 70.0}, 100.0) == [passing]


@pytest.mark.parametrize(
    ("status", "ready"),
    [
        ({}, True),
        ({"observedGeneration": 1}, False),
        ({"updatedReplicas": 1}, False),
        ({"readyReplicas": 1}, False),
        # An old pod is still ready, and one new pod: the second new pod is not.
        ({"replicas": 3, "readyReplicas": 2}, False),
        ({"replicas": 3, "readyReplicas": 3}, True),
    ],
)
def test_a_workload_is_ready_when_every_desired_pod_is_updated_and_ready(
    status: dict[str, int], *, ready: bool
) -> None:
    assert workload(**status).is_ready is ready


def test_progress_names_the_workloads_that_are_not_ready() -> None:
    assert progress([workload(), workload(readyReplicas=1)]) == "web: 1 of 2 pods ready"
    # Two old pods are still ready, and one new pod.
    old = {"replicas": 3, "updatedReplicas": 1, "readyReplicas": 3}
    assert progress([workload(**old)]) == "web: 1 of 2 pods ready"
    assert progress([workload(), workload()]) == "all pods are ready"
    assert progress([]) == ""


def test_a_completed_init_container_is_healthy_and_a_sidecar_has_to_be_ready() -> None:
    state = {"terminated": {"exitCode": 0, "reason": "Completed"}}
    init = {"name": "init", "ready": True, "state": state}
    sidecar = {"name": "tls", "ready": False, "restartCount": 0, "state": {"running": {}}}
    spec = {"initContainers": [{"name": "init"}, {"name": "tls", "restartPolicy": "Always"}]}
    read = pod(container(ready=True), spec=spec, status={"initContainerStatuses": [init, sidecar]})
    assert {each.name: each.is_healthy for each in read.containers} == {
        "init": True,
        "tls": False,
        "web": True,
    }
    assert not read.is_healthy


def event(kind: str, when: str, message: str) -> dict[str, Any]:
    about = {"kind": "Pod", "name": "web-1"}
    return {
        "type": kind,
        "lastTimestamp": when,
        "reason": "R",
        "message": message,
        "involvedObject": about,
        "metadata": {},
    }


def test_recent_warnings_are_in_order_without_repetition() -> None:
    events = [
        event("Warning", "2026-11-21T12:00:09Z", "later"),
        event("Warning", "2026-11-21T12:00:05Z", "earlier"),
        event("Warning", "2026-11-21T12:00:06Z", "earlier"),
        event("Normal", "2026-11-21T12:00:06Z", "fine"),
        event("Warning", "2026-11-21T11:00:00Z", "long ago"),
    ]
    assert rollout.recent_warnings(events, datetime(2026, 11, 21, 12, tzinfo=UTC)) == [
        ("Pod/web-1", "R", "earlier"),
        ("Pod/web-1", "R", "later"),
    ]


def replica_set(template: str, revision: int, deployment: str = "d1") -> dict[str, Any]:
    return {
        "kind": "ReplicaSet",
        "metadata": {
            "labels": {"pod-template-hash": template},
            "annotations": {"deployment.kubernetes.io/revision": str(revision)},
            "ownerReferences": [{"kind": "Deployment", "uid": deployment}],
        },
    }


def test_a_template_is_superseded_by_a_newer_one_of_the_same_deployment() -> None:
    replica_sets = [replica_set("a", 9), replica_set("b", 10), replica_set("c", 1, "d2")]
    assert rollout.superseded_templates(replica_sets) == {"a"}
