"""Follow a rollout: how far it is, whether it can still succeed, and why it failed."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime

from delivery import console
from delivery.deploy.helm import SELECTOR, TICK_SECONDS
from delivery.deploy.kubectl import Kubernetes, Object
from delivery.deploy.lock import Lock
from delivery.deploy.rollout import (
    Blocker,
    Container,
    Pod,
    Workload,
    blockers,
    fatal,
    progress,
    read_pod,
    read_workloads,
    recent_warnings,
    superseded_templates,
)
from delivery.errors import CommandError, DeployError

__all__ = ["RolloutError", "Watch", "pod_uids", "report", "this_second", "workloads"]

_LOGGED_PODS = 5
_EVENTS = 15


class RolloutError(DeployError):
    """A rollout cannot succeed, or did not in time."""


def this_second() -> datetime:
    """The time, to the second, as events have it."""
    return datetime.now(UTC).replace(microsecond=0)


def pod_uids(kubernetes: Kubernetes) -> frozenset[str]:
    """The UIDs of the release's pods as they are now."""
    return frozenset(pod.uid for pod in _pods(kubernetes))


class Watch:
    """Check the release's pods again and again, and show how far they are."""

    def __init__(
        self,
        kubernetes: Kubernetes,
        step: console.Step,
        lock: Lock,
        existing: Collection[str] = (),
    ) -> None:
        """Watch the release; `existing` are the UIDs of pods that are older than the deploy."""
        self._kubernetes = kubernetes
        self._step = step
        self._lock = lock
        self._existing = existing
        self._first_seen: dict[str, float] = {}  # of each blocker, by its key
        self._checking: Future[bool] | None = None
        self._ended = threading.Event()
        self._hinted: set[str] = set()

    def check(self) -> bool:
        """Whether all is ready; raise RolloutError when it never will be."""
        self._lock.check()
        try:
            pods, objects = _pods(self._kubernetes), _objects(self._kubernetes)
        except CommandError as error:  # the cluster may be busy; the caller has a time limit
            self._print(error.message)
            return False
        workloads = read_workloads(objects)
        replica_sets = [each for each in objects if each["kind"] == "ReplicaSet"]
        blocking = blockers(pods, workloads, self._existing, superseded_templates(replica_sets))
        now = time.monotonic()
        self._first_seen = {each.key: self._first_seen.get(each.key, now) for each in blocking}
        if failed := fatal(blocking, self._first_seen, now):
            more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
            hint = next((each.hint for each in failed if each.hint), "")
            raise RolloutError(f"{failed[0].text}{more}", hint=hint)
        self._print(progress(workloads) + "".join(f"; {each.text}" for each in blocking[:1]))
        self._print_hints(blocking)
        return all(workload.is_ready for workload in workloads)

    def tick(self) -> None:
        """Start a check beside helm; a later call raises what that check raised.

        It never waits for the cluster, so that a lost lease always ends helm.
        """
        self._lock.check()
        if self._checking is not None:
            if not self._checking.done():
                return
            self._checking.result()
        self._checking = Future()
        threading.Thread(target=self._check_into, args=(self._checking,), daemon=True).start()

    def end(self) -> None:
        """Make a check that still runs print nothing more; it is not waited for."""
        self._ended.set()

    def _print(self, text: str) -> None:
        if not self._ended.is_set():
            self._step.line(text)

    def _print_hints(self, blocking: Sequence[Blocker]) -> None:
        """Print each hint once, and at once: a blocker may last for minutes before it is fatal."""
        for each in blocking:
            if each.hint and each.hint not in self._hinted and not self._ended.is_set():
                self._hinted.add(each.hint)
                console.say(f"{each.text}; {each.hint}")

    def _check_into(self, future: Future[bool]) -> None:
        try:
            future.set_result(self.check())
        except BaseException as error:  # noqa: BLE001  # the next tick raises it, to end helm
            future.set_exception(error)

    def wait(self, seconds: int) -> None:
        """Wait until all is ready; raise RolloutError when it is not in time."""
        deadline = time.monotonic() + seconds
        while not self.check():
            if time.monotonic() > deadline:
                raise RolloutError(f"not everything is ready after {seconds} s")
            time.sleep(TICK_SECONDS)


def report(kubernetes: Kubernetes, since: datetime) -> None:
    """Print the pods, the warnings since a moment, and the logs of unhealthy pods.

    A cluster that does not answer raises nothing, so that it does not hide the failure.
    """
    try:
        _report(kubernetes, since)
    except CommandError as error:
        console.say(f"cannot show the pods: {error.reason}")


def _report(kubernetes: Kubernetes, since: datetime) -> None:
    console.say("")
    console.say(kubernetes.table("pods", SELECTOR))
    for workload in workloads(kubernetes):
        if workload.failure:
            console.say(f"{workload.name}: {workload.failure}")
    warnings = recent_warnings(kubernetes.all("events"), since)[-_EVENTS:]
    if warnings:
        console.say("")
        for about, reason, message in warnings:
            console.say(f"{about}: {reason}: {message}")
    for pod in [pod for pod in _pods(kubernetes) if not pod.is_healthy][:_LOGGED_PODS]:
        for container in pod.containers:
            if not container.is_healthy or container.restarts:
                _print_log(kubernetes, pod, container)
    console.say("")


def _print_log(kubernetes: Kubernetes, pod: Pod, container: Container) -> None:
    name = f"{pod.name}/{container.name}"
    console.say("")
    console.say(f"--- {name}: {container.reason or 'running'}, the last lines of its log")
    console.say(kubernetes.log(pod.name, container.name).rstrip())
    if container.restarts:
        log = kubernetes.log(pod.name, container.name, previous=True)
        if log and not log.startswith("("):  # else the log is gone
            console.say(f"--- {name}, before its last restart")
            console.say(log.rstrip())


def workloads(kubernetes: Kubernetes) -> list[Workload]:
    """The release's Deployments and StatefulSets."""
    return read_workloads(_objects(kubernetes))


def _pods(kubernetes: Kubernetes) -> list[Pod]:
    return [read_pod(pod) for pod in kubernetes.all("pods", SELECTOR)]


def _objects(kubernetes: Kubernetes) -> list[Object]:
    return kubernetes.all("deployments,statefulsets,replicasets", SELECTOR)
