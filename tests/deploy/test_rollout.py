"""A rollout is given up when it is hopeless, and not before."""

from datetime import UTC, datetime
from typing import Any

import pytest

from delivery.deploy import rollout


def pod(*containers: dict[str, Any], **more: Any) -> rollout.Pod:  # noqa: ANN401  # parts of a pod
    return rollout.read_pod(
        {
            "metadata": {"name": "web-1", "uid": "u1", **more.get("metadata", {})},
            "spec": {"nodeName": "node-a", **more.get("spec", {})},
            "status": {
                "phase": "Running",
                "containerStatuses": list(containers),
                **more.get("status", {}),
            },
        }
    )


def container(
    reason: str = "", *, ready: bool = False, restarts: int = 0, message: str = ""
) -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}} if reason else {"running": {}}
    return {"name": "web", "ready": ready, "restartCount": restarts, "state": state}


def workload(**more: Any) -> rollout.Workload:  # noqa: ANN401  # parts of a Deployment
    return rollout.read_workload(
        {
            "kind": "Deployment",
            "metadata": {"name": "web", "generation": 2},
            "spec": {"replicas": 2},
            "status": {
                "observedGeneration": 2,
                "replicas": 2,
                "updatedReplicas": 2,
                "readyReplicas": 2,
                **more,
            },
        }
    )


def graces(*pods: rollout.Pod, before: tuple[str, ...] = ()) -> list[float]:
    return [one.grace for one in rollout.troubles(pods, [], before)]


@pytest.mark.parametrize(
    "fine",
    [
        container(ready=True),
        container(),
        container("ContainerCreating"),
        container("PodInitializing"),
    ],
)
def test_a_pod_that_comes_up_is_no_trouble(fine: dict[str, Any]) -> None:
    assert graces(pod(fine)) == []


@pytest.mark.parametrize("reason", ["", "CrashLoopBackOff"])
def test_a_container_that_died_often_enough_is_hopeless_at_once(reason: str) -> None:
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
def test_what_may_pass_is_waited_out(reason: str, message: str, grace: float) -> None:
    assert graces(pod(container(reason, message=message))) == [grace]


def test_a_pod_that_was_unwell_before_gets_time_to_be_replaced() -> None:
    assert graces(pod(container("InvalidImageName")), before=("u1",)) == [60]


def test_a_job_counts_its_own_failures_and_who_leaves_is_let_go() -> None:
    lost = container("CrashLoopBackOff", restarts=9)
    assert graces(pod(lost, metadata={"ownerReferences": [{"kind": "Job"}]})) == []
    assert graces(pod(lost, metadata={"deletionTimestamp": "2026-11-21T12:00:00Z"})) == []


def test_a_pod_without_a_node_is_told_how_to_label_one() -> None:
    message = "0/4 nodes are available: 4 node(s) didn't match Pod's node affinity/selector."
    condition = {"type": "PodScheduled", "status": "False", "message": message}
    (found,) = rollout.troubles(
        [pod(status={"phase": "Pending", "conditions": [condition]})], [], ()
    )
    assert found.grace == 180
    assert message in found.text
    assert "kubectl label node NODE shipay.com.br/capacity-type=ondemand" in found.hint


def test_a_workload_that_gets_no_pods_is_trouble() -> None:
    failed = {"type": "ReplicaFailure", "status": "True", "message": "violates PodSecurity"}
    (found,) = rollout.troubles([], [workload(conditions=[failed])], ())
    assert "web gets no pods: violates PodSecurity" in found.text


def test_is_hopeless_when_it_lasted_longer_than_it_may() -> None:
    passing = rollout.Trouble("a", "a", 30)
    final = rollout.Trouble("b", "b", 0)
    assert rollout.hopeless([passing, final], {"a": 71.0, "b": 100.0}, 100.0) == [final]
    assert rollout.hopeless([passing], {"a": 70.0}, 100.0) == [passing]


@pytest.mark.parametrize(
    ("status", "settled"),
    [
        ({}, True),
        ({"observedGeneration": 1}, False),
        ({"updatedReplicas": 1}, False),
        ({"readyReplicas": 1}, False),
        # One old pod is ready still, and one new: the second new one is not.
        ({"replicas": 3, "readyReplicas": 2}, False),
        ({"replicas": 3, "readyReplicas": 3}, True),
    ],
)
def test_is_settled_when_every_wanted_pod_is_new_and_ready(
    status: dict[str, int], *, settled: bool
) -> None:
    assert workload(**status).settled is settled


def test_progress_names_what_is_waited_for() -> None:
    assert rollout.progress([workload(), workload(readyReplicas=1)]) == "web: 1 of 2 pods ready"
    assert rollout.progress([workload(readyReplicas=0)]) == "web: 0 of 2 pods ready"
    # Two old pods are ready still, and one new.
    old = {"replicas": 3, "updatedReplicas": 1, "readyReplicas": 3}
    assert rollout.progress([workload(**old)]) == "web: 1 of 2 pods ready"
    assert rollout.progress([workload(), workload()]) == "all pods are ready"
    assert rollout.progress([]) == ""


def test_a_row_says_why_a_pod_does_not_run() -> None:
    assert pod(container(ready=True)).row() == ("web-1", "node-a", "1/1", "0", "Running")
    assert pod(container("CrashLoopBackOff", restarts=4)).row() == (
        "web-1",
        "node-a",
        "0/1",
        "4",
        "CrashLoopBackOff",
    )


def test_an_init_container_that_is_done_is_well_and_a_sidecar_counts() -> None:
    done = {
        "name": "init",
        "ready": True,
        "state": {"terminated": {"exitCode": 0, "reason": "Completed"}},
    }
    sidecar = {"name": "tls", "ready": False, "restartCount": 0, "state": {"running": {}}}
    spec = {"initContainers": [{"name": "init"}, {"name": "tls", "restartPolicy": "Always"}]}
    found = pod(container(ready=True), spec=spec, status={"initContainerStatuses": [done, sidecar]})
    assert [(one.name, one.well) for one in found.containers] == [
        ("init", True),
        ("tls", False),
        ("web", True),
    ]
    assert not found.well


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


def test_only_warnings_since_then_are_told_each_once_in_order() -> None:
    events = [
        event("Warning", "2026-11-21T12:00:09Z", "later"),
        event("Warning", "2026-11-21T12:00:05Z", "earlier"),
        event("Warning", "2026-11-21T12:00:06Z", "earlier"),
        event("Normal", "2026-11-21T12:00:06Z", "fine"),
        event("Warning", "2026-11-21T11:00:00Z", "long ago"),
    ]
    since = datetime(2026, 11, 21, 12, tzinfo=UTC)
    assert rollout.recent(events, since) == [
        ("Pod/web-1", "R", "earlier"),
        ("Pod/web-1", "R", "later"),
    ]


def replica_set(template: str, revision: int, deployment: str = "d1") -> dict[str, Any]:
    return {
        "metadata": {
            "labels": {"pod-template-hash": template},
            "annotations": {"deployment.kubernetes.io/revision": str(revision)},
            "ownerReferences": [{"kind": "Deployment", "uid": deployment}],
        }
    }


def test_a_template_is_superseded_by_a_newer_one_of_the_same_deployment() -> None:
    found = rollout.superseded(
        [replica_set("a", 9), replica_set("b", 10), replica_set("c", 1, deployment="d2")]
    )
    assert found == {"a"}


def test_a_pod_of_a_superseded_template_is_no_trouble() -> None:
    ill = container("ImagePullBackOff", message="not found")
    old = pod(ill, metadata={"labels": {"pod-template-hash": "a"}})
    new = pod(ill, metadata={"labels": {"pod-template-hash": "b"}})
    assert len(rollout.troubles([old, new, pod(ill)], [], (), {"a"})) == 2
