"""Follow a rollout: how far it is, whether it is hopeless, and what there is to say about it when it failed."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection
from concurrent.futures import Future
from datetime import datetime

from delivery import console
from delivery.deploy.kubectl import Kubernetes, Object
from delivery.deploy.lock import Turn
from delivery.deploy.rollout import (
    Container,
    Pod,
    Trouble,
    Workload,
    hopeless,
    progress,
    read_pod,
    read_workload,
    recent,
    superseded,
    troubles,
)
from delivery.errors import CommandError, DeployError

__all__ = ["HopelessError", "Watch", "report", "uids", "workloads"]

_LINES = 15  # of each log
_PODS = 5  # whose logs are shown
_EVENTS = 15


class HopelessError(DeployError):
    """A rollout that cannot come to a good end, however long one waits."""


def uids(kubernetes: Kubernetes, release: str) -> frozenset[str]:
    """The UIDs of the pods of a release as they are now."""
    return frozenset(one.uid for one in _pods(kubernetes, release))


class Watch:
    """Look at the pods of a release again and again, saying how far they are; `before` has those that were there already."""

    def __init__(
        self,
        kubernetes: Kubernetes,
        release: str,
        step: console.Step,
        turn: Turn,
        before: Collection[str] = (),
    ) -> None:
        self._kubernetes = kubernetes
        self._release = release
        self._step = step
        self._turn = turn
        self._before = before
        self._since: dict[str, float] = {}
        self._looked: Future[bool] | None = None
        self._ended = threading.Event()

    def look(self) -> bool:
        """Look once; whether all is settled. Raise HopelessError when it never will be."""
        self._turn.check()
        try:
            pods = _pods(self._kubernetes, self._release)
            if self._ended.is_set():
                return False
            things = _things(self._kubernetes, self._release)
        except (
            CommandError
        ) as error:  # a cluster that is busy just now; who waits for us has a time limit
            if not self._ended.is_set():
                self._step.line(error.message)
            return False
        if self._ended.is_set():
            return False
        workloads = _workloads(things)
        old = superseded([one for one in things if one["kind"] == "ReplicaSet"])
        found = troubles(pods, workloads, self._before, old)
        now = time.monotonic()
        self._since = {one.key: self._since.get(one.key, now) for one in found}
        if lost := hopeless(found, self._since, now):
            raise HopelessError(
                _sentence(lost), hint=next((one.hint for one in lost if one.hint), "")
            )
        self._step.line(progress(workloads) + "".join(f"; {one.text}" for one in found[:1]))
        return all(one.settled for one in workloads)

    def tick(self) -> None:
        """Look beside a program that does the waiting; a later call raises what a look raises.

        It never waits for the cluster, so that a lost lease ends the program in any case.
        """
        self._turn.check()
        if self._looked is not None:
            if not self._looked.done():
                return
            self._looked.result()
        self._looked = Future()
        threading.Thread(target=self._look_into, args=(self._looked,), daemon=True).start()

    def end(self) -> None:
        """Drop what a look beside a program has yet to ask or to say: its step is over.

        It is not waited for, for the same reason.
        """
        self._ended.set()

    def _look_into(self, looked: Future[bool]) -> None:
        try:
            looked.set_result(self.look())
        except BaseException as error:  # noqa: BLE001  # raised again where the program can be ended
            looked.set_exception(error)

    def wait(self, seconds: int, every: float = 2.0) -> None:
        """Wait until all is settled; raise DeployError when it is not in time."""
        deadline = time.monotonic() + seconds
        while not self.look():
            if time.monotonic() > deadline:
                raise HopelessError(f"not everything is ready after {seconds} s")
            time.sleep(every)


def _sentence(lost: list[Trouble]) -> str:
    more = f" (and {len(lost) - 1} more)" if len(lost) > 1 else ""
    return f"{lost[0].text}{more}"


def report(kubernetes: Kubernetes, release: str, since: datetime) -> None:
    """Print the pods, what the cluster says about them since then, and the logs of those not well.

    A cluster that does not answer is a line here: what is reported on is what went wrong.
    """
    try:
        _report(kubernetes, release, since)
    except CommandError as error:
        console.say(f"cannot show the pods: {error.message}")


def _report(kubernetes: Kubernetes, release: str, since: datetime) -> None:
    pods = _pods(kubernetes, release)
    console.say("")
    _say_rows([("POD", "NODE", "READY", "RESTARTS", "STATE"), *(pod.row() for pod in pods)])
    for workload in workloads(kubernetes, release):
        if workload.failure:
            console.say(f"{workload.name}: {workload.failure}")
    events = recent(kubernetes.all("events"), since)[-_EVENTS:]
    if events:
        console.say("")
        for about, reason, message in events:
            console.say(f"{about}: {reason}: {message}")
    for pod in [one for one in pods if not one.well][:_PODS]:
        for container in pod.containers:
            if not container.well or container.restarts:
                _say_log(kubernetes, pod, container)
    console.say("")


def _say_log(kubernetes: Kubernetes, pod: Pod, container: Container) -> None:
    console.say("")
    console.say(
        f"--- {pod.name}/{container.name}: {container.reason or 'runs'}, the last lines of its log"
    )
    console.say(kubernetes.log(pod.name, container.name, lines=_LINES).rstrip())
    before = (
        kubernetes.log(pod.name, container.name, lines=_LINES, previous=True)
        if container.restarts
        else ""
    )
    if before and not before.startswith("("):
        console.say(f"--- {pod.name}/{container.name}, of the one before")
        console.say(before.rstrip())


def _say_rows(rows: list[tuple[str, ...]]) -> None:
    """Print rows in columns that are never folded: a pod's name is there to be copied."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        console.say(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )


def workloads(kubernetes: Kubernetes, release: str) -> list[Workload]:
    """How far each Deployment and StatefulSet of a release is."""
    return _workloads(_things(kubernetes, release))


def _pods(kubernetes: Kubernetes, release: str) -> list[Pod]:
    return [read_pod(one) for one in kubernetes.all("pods", _selector(release))]


def _things(kubernetes: Kubernetes, release: str) -> list[Object]:
    return kubernetes.all("deployments,statefulsets,replicasets", _selector(release))


def _workloads(things: list[Object]) -> list[Workload]:
    return [read_workload(one) for one in things if one["kind"] != "ReplicaSet"]


def _selector(release: str) -> str:
    return f"app.kubernetes.io/instance={release}"
