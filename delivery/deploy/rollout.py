"""The rollout: how far workloads are, and which pods cannot become ready however long one waits."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

__all__ = [
    "Container",
    "Pod",
    "Trouble",
    "Workload",
    "hopeless",
    "progress",
    "read_pod",
    "read_workload",
    "recent",
    "superseded",
    "troubles",
]

_RESTARTS = 3  # as often a new container may die before it is given up
# For how long a state is waited out that may pass by itself: a registry that hiccups, a Secret that is made a moment later,
# a node that an autoscaler adds.
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
_GONE = ("not found", "manifest unknown", "unauthorized", "denied", "forbidden")
_OLD_GRACE_SECONDS = (
    60  # a pod that was unwell before we came is replaced, or is still ours to worry about
)

_MESSAGE = (
    300  # letters of what the cluster says; a pull that fails says the same thing three times
)

_CAPACITY = "shipay.com.br/capacity-type"


@dataclass(frozen=True)
class Container:
    """A container of a pod: whether it is ready, how often it restarted, why it does not run ("" when it does)."""

    name: str
    ready: bool
    restarts: int
    reason: str
    message: str
    last: str = ""

    @property
    def well(self) -> bool:
        """Whether there is nothing to say about it."""
        return self.ready or self.reason == "Completed"


@dataclass(frozen=True)
class Pod:
    """A pod with its containers, those that start before the others too; template is the hash of what it was made from."""

    uid: str
    name: str
    owner: str
    phase: str
    node: str
    containers: tuple[Container, ...]
    unschedulable: str = ""
    leaving: bool = False
    template: str = ""

    @property
    def well(self) -> bool:
        """Whether it is ready, or done."""
        return self.phase == "Succeeded" or (
            self.phase == "Running" and all(one.well for one in self.containers)
        )

    def row(self) -> tuple[str, str, str, str, str]:
        """Name, node, containers ready, restarts and state, for people."""
        ready = sum(one.ready for one in self.containers)
        state = "; ".join(
            dict.fromkeys(one.reason for one in self.containers if one.reason and not one.well)
        )
        return (
            self.name,
            self.node or "-",
            f"{ready}/{len(self.containers)}",
            str(sum(one.restarts for one in self.containers)),
            "leaving"
            if self.leaving
            else "Unschedulable"
            if self.unschedulable
            else state or self.phase,
        )


@dataclass(frozen=True)
class Workload:
    """A Deployment or StatefulSet: how many pods it wants, how many are of its latest shape, how many of those are ready."""

    kind: str
    name: str
    desired: int
    updated: int
    ready: int
    observed: bool
    failure: str = ""

    @property
    def settled(self) -> bool:
        """Whether every pod that it wants is there, new and ready."""
        return self.observed and self.updated >= self.desired and self.ready >= self.desired


@dataclass(frozen=True)
class Trouble:
    """Why a pod or workload does not get on: a key that is stable from look to look, and how long it may take to pass."""

    key: str
    text: str
    grace: float
    hint: str = ""


def read_pod(pod: Mapping[str, Any]) -> Pod:
    """A pod as the API has it."""
    status = pod.get("status", {})
    sidecars = {
        one["name"]
        for one in pod["spec"].get("initContainers", ())
        if one.get("restartPolicy") == "Always"
    }
    begun = [
        _container(one, init=one["name"] not in sidecars)
        for one in status.get("initContainerStatuses") or ()
    ] + [_container(one, init=False) for one in status.get("containerStatuses") or ()]
    unscheduled = [
        one.get("message", "")
        for one in status.get("conditions") or ()
        if one["type"] == "PodScheduled" and one["status"] == "False"
    ]
    owner: Mapping[str, Any] = next(iter(pod["metadata"].get("ownerReferences") or ()), {})
    return Pod(
        uid=pod["metadata"]["uid"],
        name=pod["metadata"]["name"],
        owner=owner.get("kind", ""),
        phase=status.get("phase", "Unknown"),
        node=pod["spec"].get("nodeName", ""),
        containers=tuple(begun),
        unschedulable=unscheduled[0] if unscheduled else "",
        leaving="deletionTimestamp" in pod["metadata"],
        template=_template(pod),
    )


def superseded(replica_sets: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    """The hashes of the templates that their Deployments have a newer one than."""
    newest: dict[str, int] = {}
    seen = []
    for one in replica_sets:
        owner: Mapping[str, Any] = next(iter(one["metadata"].get("ownerReferences") or ()), {})
        revision = int(
            (one["metadata"].get("annotations") or {}).get("deployment.kubernetes.io/revision", 0)
        )
        deployment = str(owner.get("uid", ""))
        newest[deployment] = max(revision, newest.get(deployment, 0))
        seen.append((deployment, revision, _template(one)))
    return frozenset(
        template for deployment, revision, template in seen if revision < newest[deployment]
    )


def _template(thing: Mapping[str, Any]) -> str:
    return str((thing["metadata"].get("labels") or {}).get("pod-template-hash", ""))


def _container(status: Mapping[str, Any], *, init: bool) -> Container:
    state = status.get("state", {})
    waiting, ended = state.get("waiting", {}), state.get("terminated", {})
    last = (status.get("lastState") or {}).get("terminated", {})
    reason = (
        waiting.get("reason") or ended.get("reason") or ("" if "running" in state else "Waiting")
    )
    if init and ended and ended.get("exitCode") == 0:
        reason = "Completed"
    died = f"{last.get('reason', '')}, exit code {last.get('exitCode')}" if last else ""
    return Container(
        name=status["name"],
        ready=bool(status.get("ready")),
        restarts=int(status.get("restartCount", 0)),
        reason=reason,
        message=waiting.get("message") or ended.get("message") or "",
        last=died,
    )


def read_workload(thing: Mapping[str, Any]) -> Workload:
    """A Deployment or StatefulSet as the API has it."""
    status = thing.get("status", {})
    stuck = [
        one.get("message", "")
        for one in status.get("conditions") or ()
        if one["type"] == "ReplicaFailure" and one["status"] == "True"
    ]
    ready = int(status.get("readyReplicas", 0))
    # A Deployment counts its old pods among the ready; those of the new shape are what is left of them at most.
    surplus = int(status.get("replicas", 0)) - int(status.get("updatedReplicas", 0))
    return Workload(
        kind=thing["kind"],
        name=thing["metadata"]["name"],
        desired=int(thing["spec"].get("replicas", 1)),
        updated=int(status.get("updatedReplicas", 0)),
        ready=max(0, ready - surplus),
        observed=int(status.get("observedGeneration", 0))
        >= int(thing["metadata"].get("generation", 0)),
        failure=stuck[0] if stuck else "",
    )


def progress(workloads: Sequence[Workload]) -> str:
    """How far the rollout is, in one line: each workload that is not ready, else that all are."""
    waiting = [one for one in workloads if not one.settled]
    if workloads and not waiting:
        return "all pods are ready"
    return ", ".join(
        f"{one.name}: {_count_ready(one)} of {one.desired} pods ready" for one in waiting
    )


def _count_ready(workload: Workload) -> int:
    """How many pods of the latest shape are ready, as far as the counts say."""
    return min(workload.ready, workload.updated, workload.desired)


def troubles(
    pods: Sequence[Pod],
    workloads: Sequence[Workload],
    before: Collection[str],
    old: Collection[str] = (),
) -> list[Trouble]:
    """What keeps the pods from becoming ready; before has the UIDs of those that were there before the deploy.

    Pods of templates in old do not count: a Deployment keeps them, well or not, until a new one is ready.
    """
    found = [
        Trouble(
            f"{one.name} FailedCreate",
            f"{one.name} gets no pods: {one.failure}",
            _GRACE_SECONDS["FailedCreate"],
        )
        for one in workloads
        if one.failure
    ]
    for pod in pods:
        if (
            pod.leaving or pod.owner == "Job" or pod.template in old
        ):  # a Job counts its own failures
            continue
        extra = _OLD_GRACE_SECONDS if pod.uid in before else 0
        if pod.unschedulable:
            found.append(_unschedulable(pod, extra))
        for container in pod.containers:
            grace = _grace(container)
            if grace is not None:
                text = f"{pod.name}/{container.name}: {_reason(container)}"
                found.append(Trouble(f"{pod.uid} {container.name}", text, grace + extra))
    return found


def _unschedulable(pod: Pod, old: float) -> Trouble:
    hint = ""
    if "node affinity/selector" in pod.unschedulable or "node(s) didn't match" in pod.unschedulable:
        hint = f"if it may run on ondemand nodes only, say which those are: kubectl label node NODE {_CAPACITY}=ondemand"
    text = f"{pod.name} finds no node: {pod.unschedulable}"
    return Trouble(f"{pod.uid} Unschedulable", text, _GRACE_SECONDS["Unschedulable"] + old, hint)


def _grace(container: Container) -> float | None:
    """For how long to wait out why a container does not run; None when there is nothing wrong."""
    if container.well:
        return None
    if container.reason in {"ErrImagePull", "ImagePullBackOff"} and any(
        one in container.message for one in _GONE
    ):
        return 0
    if container.reason in _GRACE_SECONDS:
        return _GRACE_SECONDS[container.reason]
    # Between two deaths it runs, or has just ended: the number of its restarts is what tells.
    return (
        0
        if container.restarts >= _RESTARTS
        and container.reason not in {"Waiting", "PodInitializing"}
        else None
    )


def _reason(container: Container) -> str:
    if container.restarts >= _RESTARTS:
        return f"died {container.restarts} times{f' (the last time: {container.last})' if container.last else ''}"
    return f"{container.reason}: {container.message[:_MESSAGE]}".rstrip(": ")


def hopeless(found: Sequence[Trouble], since: Mapping[str, float], now: float) -> list[Trouble]:
    """Those of the troubles that have lasted too long to pass; since has when each was first seen, by its key."""
    return [one for one in found if now - since.get(one.key, now) >= one.grace]


def recent(events: Sequence[Mapping[str, Any]], since: datetime) -> list[tuple[str, str, str]]:
    """The warnings since a moment, oldest first, each once: what they are about, the reason, the message."""
    found = []
    for event in events:
        told = (
            event.get("lastTimestamp")
            or event.get("eventTime")
            or event["metadata"].get("creationTimestamp")
        )
        when = datetime.fromisoformat(told) if told else since
        if event.get("type") == "Warning" and when >= since:
            about = event.get("involvedObject", {})
            row = (
                f"{about.get('kind', '')}/{about.get('name', '')}",
                event.get("reason", ""),
                event.get("message", ""),
            )
            found.append((when, row))
    return list(dict.fromkeys(row for _, row in sorted(found, key=lambda one: one[0])))
