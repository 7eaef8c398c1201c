"""Watch a deployed version for some time: its pods, their requests, and Prometheus' alerts."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import cached_property
from http.client import HTTPConnection, HTTPException
from typing import Any

import requests

from delivery import console
from delivery.deploy import follow, soak
from delivery.deploy.helm import SELECTOR
from delivery.deploy.history import Revision
from delivery.deploy.locked_target import LockedTarget
from delivery.deploy.rollout import read_pod
from delivery.deploy.soak import Requests, Sample
from delivery.errors import CommandError, DeployError
from delivery.records.deployment import Deployment, Outcome

__all__ = ["Soak"]

_BEFORE_SECONDS = 10.0  # how long requests are counted before the upgrade
_PAUSE_SECONDS = 5.0  # between two samples
_ANSWER_SECONDS = 5.0  # for a pod or Prometheus
_READERS = 4


class Soak:
    """The watch over the next version in a locked environment; nothing if no time is given."""

    def __init__(self, locked: LockedTarget) -> None:
        self._locked = locked
        self._before: list[Sample] = []

    def measure_before(self, revision: Revision | None) -> None:
        """Measure the deployed revision, to compare the next one with."""
        if not self._locked.soak_seconds or revision is None:
            return
        with console.step("measure before the deploy") as step:
            meter = _Meter(self._locked, revision.number)
            self._before = [meter.sample()]
            time.sleep(_BEFORE_SECONDS)
            self._before.append(meter.sample())
            step.done(soak.summary(self._before))

    def watch(self, deployment: Deployment) -> None:
        """Watch what was deployed; for trouble that was not there before, roll it back and raise.

        The lease is kept: another deploy would change what is measured.
        """
        locked, number = self._locked, deployment.revision
        if not locked.soak_seconds or deployment.outcome is not Outcome.SUCCEEDED:
            return
        since = follow.this_second()
        try:
            with console.step(f"soak for {locked.soak_seconds} s") as step:
                step.done(soak.summary(self._samples(number, step)))
        except _TroubleError as error:
            follow.report(locked.target.kubernetes, since)
            locked.restore(
                locked.history().find(deployment.previous_revision),
                DeployError(
                    f"cannot keep revision {number} on {locked.target}: {error}",
                    hint="see the logs of its pods; no test of the chart finds it",
                ),
            )
        except KeyboardInterrupt:
            console.say(
                f"revision {number} stays deployed on {locked.target}, and is not watched any "
                f"longer; `./run inv rollback --environment {locked.target.name}` goes back"
            )
            raise

    def _samples(self, number: int, step: console.Step) -> list[Sample]:
        meter, samples = _Meter(self._locked, number), list[Sample]()
        end = time.monotonic() + self._locked.soak_seconds
        while True:
            self._locked.lock.check()  # it is lost soon if the cluster does not answer
            try:
                samples.append(meter.sample())
            except CommandError as error:
                step.line(error.message)
            else:
                if found := soak.troubles(self._before, samples):
                    raise _TroubleError("; ".join(found))
                step.line(soak.summary(samples))
            left = end - time.monotonic()
            if left <= 0 and samples:
                return samples
            time.sleep(min(_PAUSE_SECONDS, max(left, 1)))


class _TroubleError(Exception):
    """What speaks against the version."""


class _Meter:
    """Measures a revision; says once what it cannot measure."""

    def __init__(self, locked: LockedTarget, number: int) -> None:
        self._target = locked.target
        self._kubernetes = locked.target.kubernetes
        self._number = number
        self._said: set[str] = set()

    @cached_property
    def _ports(self) -> dict[str, tuple[str, str]]:
        return soak.metrics_ports(self._target.helm.values(self._number))

    def sample(self) -> Sample:
        """What can be measured now; raise CommandError when the cluster does not answer."""
        at = time.monotonic()
        pods = self._kubernetes.all("pods", SELECTOR)
        workloads = follow.workloads(self._kubernetes)
        return Sample(
            at,
            tuple(read_pod(pod) for pod in pods),
            tuple(workloads),
            self._requests(pods),
            self._alerts(),
        )

    def _requests(self, pods: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], Requests]:
        running: dict[tuple[str, str], str] = {}
        for pod in pods:
            metadata = pod["metadata"]
            component = metadata.get("labels", {}).get("app.kubernetes.io/name", "")
            is_running = pod["status"].get("phase") == "Running"
            if component in self._ports and is_running and "deletionTimestamp" not in metadata:
                running[component, metadata["uid"]] = metadata["name"]
        with ThreadPoolExecutor(_READERS) as pool:
            counts = pool.map(self._read, (key[0] for key in running), running.values())
            counted = zip(running, counts, strict=True)
            return {key: count for key, count in counted if count is not None}

    def _read(self, component: str, pod: str) -> Requests | None:
        port, path = self._ports[component]
        try:
            with self._kubernetes.forwarded(f"pod/{pod}", port) as local:
                client = HTTPConnection("127.0.0.1", local, timeout=_ANSWER_SECONDS)
                with closing(client) as connection:
                    connection.request("GET", path)
                    return soak.parse_requests(connection.getresponse().read().decode())
        except (CommandError, OSError, HTTPException, ValueError) as error:
            reason = (error.tail or error.reason) if isinstance(error, CommandError) else error
            self._say(component, f"the requests of {pod} cannot be counted: {reason}")
            return None

    def _alerts(self) -> dict[str, str] | None:
        prometheus = self._target.environment.prometheus
        if prometheus is None:
            return {}
        address = f"{prometheus.rstrip('/')}/api/v1/rules"
        try:
            answer = requests.get(address, params={"type": "alert"}, timeout=_ANSWER_SECONDS)
            answer.raise_for_status()
            return soak.read_alerts(answer.json(), self._kubernetes.namespace)
        except (requests.RequestException, KeyError, TypeError, ValueError) as error:
            self._say("alerts", f"the alerts cannot be read from {address}: {error}")
            return None

    def _say(self, subject: str, text: str) -> None:
        if subject not in self._said:
            self._said.add(subject)
            console.say(f"… {text}")
