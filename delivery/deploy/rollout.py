"""The rollout: how far workloads are, and which pods cannot become ready."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

__all__ = [
    "Blocker",
    "Container",
    "Pod",
    "Workload",
    "blockers",
    "fatal",
    "progress",
    "read_pod",
    "read_workload",
    "read_workloads",
    "recent_warnings",
    "superseded_templates",
]

_WORKLOADS = frozenset(("Deployment", "StatefulSet"))
_MAX_RESTARTS = 3  # a new container that has restarted this often is given up
# How long to wait for a state that may pass by itself: a registry that fails for a moment, a Secret
# that is made a moment later, a node that an autoscaler adds.
_GRACE_SECONDS = {
    "InvalidImageName": 0,
    "ErrImageNeverPull": 0,
    "ErrImagePull": 30,
    "ImagePullBackOff": 30,
    "CreateContainerConfigError": 30,
    "CreateContainerError": 30,
    "RunContainerError": 30,
    "FailedCreate": 30,
    "Unschedulable": 180,
}
_PERMANENT_PULL_ERRORS = ("not found", "manifest unknown", "unauthorized", "denied", "forbidden")
# More time for a pod that was unhealthy before the deploy: the deploy may replace it.
_EXISTING_GRACE_SECONDS = 60
_MESSAGE_LENGTH = 300  # a pull that fails repeats its message three times


@dataclass(frozen=True)
class Container:
    """A container of a pod, init containers included."""

    name: str
    ready: bool
    restarts: int
    reason: str  # why it does not run; "" when it does
    message: str
    last_exit: str = ""  # how it ended the last time

    @property
    def is_healthy(self) -> bool:
        """Whether it is ready, or has completed."""
        return self.ready or self.reason == "Completed"


@dataclass(frozen=True)
class Pod:
    """A pod with its containers."""

    uid: str
    name: str
    owner: str  # the kind that owns it, such as Job
    phase: str
    containers: tuple[Container, ...]
    unschedulable: str = ""  # the scheduler's message
    terminating: bool = False
    template: str = ""  # the hash of the pod template that it was made from
    required: tuple[str, ...] = ()  # labels of the nodes that it may run on: KEY=VALUE

    @property
    def is_healthy(self) -> bool:
        """Whether it is ready, or has succeeded."""
        return self.phase == "Succeeded" or (
            self.phase == "Running" and all(each.is_healthy for each in self.containers)
        )


@dataclass(frozen=True)
class Workload:
    """A Deployment or StatefulSet, with the counts of its pods."""

    name: str
    desired: int
    updated: int  # pods of its latest template
    ready: int  # pods of its latest template that are ready, at least
    observed: bool  # whether the counts are of its latest generation
    failure: str = ""  # why it cannot create pods

    @property
    def is_ready(self) -> bool:
        """Whether every desired pod is updated and ready."""
        return self.observed and self.updated >= self.desired and self.ready >= self.desired


@dataclass(frozen=True)
class Blocker:
    """Why a pod or workload does not become ready."""

    key: str  # the same each time that the same blocker is seen
    text: str
    grace: float  # how many seconds it may last
    hint: str = ""


def read_pod(pod: Mapping[str, Any]) -> Pod:
    """A pod as the API has it."""
    status = pod.get("status", {})
    sidecars = {
        container["name"]
        for container in pod["spec"].get("initContainers", ())
        if container.get("restartPolicy") == "Always"
    }
    containers = [
        _container(each, init=each["name"] not in sidecars)
        for each in status.get("initContainerStatuses") or ()
    ] + [_container(each, init=False) for each in status.get("containerStatuses") or ()]
    return Pod(
        uid=pod["metadata"]["uid"],
        name=pod["metadata"]["name"],
        owner=_owner(pod).get("kind", ""),
        phase=status.get("phase", "Unknown"),
        containers=tuple(containers),
        unschedulable=_condition(status, "PodScheduled", "False"),
        terminating="deletionTimestamp" in pod["metadata"],
        template=_template(pod),
        required=_required(pod["spec"]),
    )


def _required(spec: Mapping[str, Any]) -> tuple[str, ...]:
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    terms = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    return tuple(
        f"{expression['key']}={expression['values'][0]}"
        for term in terms.get("nodeSelectorTerms") or ()
        for expression in term.get("matchExpressions") or ()
        if expression["operator"] == "In"
    )


def superseded_templates(replica_sets: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    """The hashes of pod templates that are not the newest of their Deployments."""
    newest: dict[str, int] = {}
    templates = []
    for replica_set in replica_sets:
        annotations = replica_set["metadata"].get("annotations") or {}
        revision = int(annotations.get("deployment.kubernetes.io/revision", 0))
        deployment = str(_owner(replica_set).get("uid", ""))
        newest[deployment] = max(revision, newest.get(deployment, 0))
        templates.append((deployment, revision, _template(replica_set)))
    return frozenset(
        template for deployment, revision, template in templates if revision < newest[deployment]
    )


def _owner(resource: Mapping[str, Any]) -> Mapping[str, Any]:
    return next(iter(resource["metadata"].get("ownerReferences") or ()), {})


def _template(resource: Mapping[str, Any]) -> str:
    return str((resource["metadata"].get("labels") or {}).get("pod-template-hash", ""))


def _condition(status: Mapping[str, Any], kind: str, value: str) -> str:
    """The message of a condition of this type, if it has this status."""
    messages = (
        str(condition.get("message", ""))
        for condition in status.get("conditions") or ()
        if (condition["type"], condition["status"]) == (kind, value)
    )
    return next(messages, "")


def _container(status: Mapping[str, Any], *, init: bool) -> Container:
    state = status.get("state", {})
    waiting, ended = state.get("waiting", {}), state.get("terminated", {})
    last = (status.get("lastState") or {}).get("terminated", {})
    reason = (
        waiting.get("reason") or ended.get("reason") or ("" if "running" in state else "Waiting")
    )
    if init and ended and ended.get("exitCode") == 0:
        reason = "Completed"
    return Container(
        name=status["name"],
        ready=bool(status.get("ready")),
        restarts=int(status.get("restartCount", 0)),
        reason=reason,
        message=waiting.get("message") or ended.get("message") or "",
        last_exit=f"{last.get('reason', '')}, exit code {last.get('exitCode')}" if last else "",
    )


def read_workload(workload: Mapping[str, Any]) -> Workload:
    """A Deployment or StatefulSet as the API has it."""
    metadata, status = workload["metadata"], workload.get("status", {})
    updated = int(status.get("updatedReplicas", 0))
    # A Deployment counts old pods among the ready ones; assume that all of them are ready.
    old = int(status.get("replicas", 0)) - updated
    return Workload(
        name=metadata["name"],
        desired=int(workload["spec"].get("replicas", 1)),
        updated=updated,
        ready=max(0, int(status.get("readyReplicas", 0)) - old),
        observed=int(status.get("observedGeneration", 0)) >= int(metadata.get("generation", 0)),
        failure=_condition(status, "ReplicaFailure", "True"),
    )


def read_workloads(resources: Iterable[Mapping[str, Any]]) -> list[Workload]:
    """The Deployments and StatefulSets among objects as the API has them."""
    return [read_workload(each) for each in resources if each["kind"] in _WORKLOADS]


def progress(workloads: Sequence[Workload]) -> str:
    """How far the rollout is, in a line: each workload that is not ready, else that all are."""
    waiting = [workload for workload in workloads if not workload.is_ready]
    if workloads and not waiting:
        return "all pods are ready"
    return ", ".join(
        f"{workload.name}: {min(workload.ready, workload.updated, workload.desired)} "
        f"of {workload.desired} pods ready"
        for workload in waiting
    )


def blockers(
    pods: Sequence[Pod],
    workloads: Sequence[Workload],
    existing: Collection[str] = (),
    superseded: Collection[str] = (),
) -> list[Blocker]:
    """What keeps pods from becoming ready.

    existing has the UIDs of pods that are older than the deploy. Pods of superseded templates do
    not count: a Deployment keeps them, healthy or not, until a new pod is ready.
    """
    blocking = [
        Blocker(
            f"{workload.name} FailedCreate",
            f"{workload.name} cannot create pods: {workload.failure}",
            _GRACE_SECONDS["FailedCreate"],
        )
        for workload in workloads
        if workload.failure
    ]
    for pod in pods:
        # A Job counts its own failures.
        if pod.terminating or pod.owner == "Job" or pod.template in superseded:
            continue
        extra = _EXISTING_GRACE_SECONDS if pod.uid in existing else 0
        if pod.unschedulable:
            blocking.append(_unschedulable(pod, extra))
        for container in pod.containers:
            grace = _grace(container)
            if grace is not None:
                text = f"{pod.name}/{container.name}: {_reason(container)}"
                blocking.append(Blocker(f"{pod.uid} {container.name}", text, grace + extra))
    return blocking


def _unschedulable(pod: Pod, extra: float) -> Blocker:
    hint = ""
    if pod.required and "node(s) didn't match" in pod.unschedulable:
        hint = (
            f"label a node: kubectl label node NODE {' '.join(pod.required)}; "
            "or let it run on every node, as the chart's values-any-cluster.yaml does"
        )
    text = f"{pod.name} cannot be scheduled: {pod.unschedulable}"
    return Blocker(f"{pod.uid} Unschedulable", text, _GRACE_SECONDS["Unschedulable"] + extra, hint)


def _grace(container: Container) -> float | None:
    """How many seconds a container's state may last; None for a state that blocks nothing."""
    if container.is_healthy:
        return None
    if container.reason in {"ErrImagePull", "ImagePullBackOff"} and any(
        text in container.message for text in _PERMANENT_PULL_ERRORS
    ):
        return 0
    if container.reason in _GRACE_SECONDS:
        return _GRACE_SECONDS[container.reason]
    # Between restarts it runs or has just ended: only the number of restarts says that it fails.
    failing = container.restarts >= _MAX_RESTARTS
    return 0 if failing and container.reason not in {"Waiting", "PodInitializing"} else None


def _reason(container: Container) -> str:
    if container.restarts >= _MAX_RESTARTS:
        last = f" (last exit: {container.last_exit})" if container.last_exit else ""
        return f"restarted {container.restarts} times{last}"
    return f"{container.reason}: {container.message[:_MESSAGE_LENGTH]}".rstrip(": ")


def fatal(
    blocking: Sequence[Blocker], first_seen: Mapping[str, float], now: float
) -> list[Blocker]:
    """The blockers that have lasted longer than they may; first_seen has a time for each key."""
    return [each for each in blocking if now - first_seen.get(each.key, now) >= each.grace]


def recent_warnings(
    events: Sequence[Mapping[str, Any]], since: datetime
) -> list[tuple[str, str, str]]:
    """The warnings since a moment, oldest first, without repetition: (object, reason, message)."""
    warnings = []
    for event in events:
        text = (
            event.get("lastTimestamp")
            or event.get("eventTime")
            or event["metadata"].get("creationTimestamp")
        )
        when = datetime.fromisoformat(text) if text else since
        if event.get("type") == "Warning" and when >= since:
            about = event.get("involvedObject", {})
            name = f"{about.get('kind', '')}/{about.get('name', '')}"
            warnings.append((when, (name, event.get("reason", ""), event.get("message", ""))))
    return list(dict.fromkeys(row for _, row in sorted(warnings, key=lambda each: each[0])))
