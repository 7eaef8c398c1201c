"""The soak: what speaks against a new version after its deploy that did not before."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from delivery.deploy.rollout import Pod, Workload, progress

__all__ = [
    "Requests",
    "Sample",
    "metrics_ports",
    "parse_requests",
    "read_alerts",
    "requests_between",
    "summary",
    "troubles",
]

# How long errors are counted, and how long a workload may lack ready pods: a node's drain passes.
_WINDOW_SECONDS = 60.0
# A version is taken back for more errors than these, and than twice the rate before it.
_ERROR_RATE = 0.01
_LEAST_ERRORS = 5
# The path may have braces, too.
_COUNTER = re.compile(r"^http_requests_total\{(.*)\} (\S+)", re.MULTILINE)
_SERVER_ERROR = re.compile(r'(?:^|,)status="5[0-9][0-9]"')
_OF_A_POD = {"pod", "instance"}  # labels that differ after each deploy


@dataclass(frozen=True)
class Requests:
    """How many requests were answered, and how many of them with a server error (5xx)."""

    total: float = 0
    errors: float = 0

    def since(self, earlier: Requests) -> Requests:
        """What was counted since an earlier time; a counter that has started again counts whole."""
        if self.total < earlier.total:
            return self
        return Requests(self.total - earlier.total, self.errors - earlier.errors)

    def __add__(self, other: Requests) -> Requests:
        return Requests(self.total + other.total, self.errors + other.errors)

    @property
    def rate(self) -> float:
        """The share of errors."""
        return self.errors / self.total if self.total else 0.0

    def __str__(self) -> str:
        return f"{100 * self.rate:.1f} % of {self.total:.0f} requests"


@dataclass(frozen=True)
class Sample:
    """What was measured of a release at one time."""

    at: float  # on the monotonic clock
    pods: tuple[Pod, ...] = ()
    workloads: tuple[Workload, ...] = ()
    # By component and UID of the pod, since the pod's start.
    requests: Mapping[tuple[str, str], Requests] = field(default_factory=dict)
    # What each alert that fires says; None if Prometheus has not answered.
    alerts: Mapping[str, str] | None = field(default_factory=dict)


def troubles(before: Sequence[Sample], samples: Sequence[Sample]) -> list[str]:
    """What speaks against the version since whose deploy the samples were taken."""
    last = samples[-1]
    recent = [sample for sample in samples if last.at - sample.at <= _WINDOW_SECONDS]
    return [
        *_new_alerts(before, samples),
        *_restarts(samples[0], last),
        *_errors(before, recent),
        *(_unready(recent) if last.at - samples[0].at >= _WINDOW_SECONDS else []),
    ]


def _new_alerts(before: Sequence[Sample], samples: Sequence[Sample]) -> list[str]:
    earlier = [sample.alerts for sample in before if sample.alerts is not None]
    if before and not earlier:  # what fired before is unknown: compare with the first answer
        earlier = [sample.alerts for sample in samples if sample.alerts is not None][:1]
    known = {name for alerts in earlier for name in alerts}
    return [text for name, text in (samples[-1].alerts or {}).items() if name not in known]


def _restarts(first: Sample, last: Sample) -> list[str]:
    earlier = {
        (pod.uid, container.name): container.restarts
        for pod in first.pods
        for container in pod.containers
    }
    found = []
    for pod in last.pods:
        if pod.terminating or pod.owner == "Job":  # a Job counts its own failures
            continue
        for container in pod.containers:
            count = container.restarts - earlier.get((pod.uid, container.name), 0)
            if count > 0:
                why = f" (last exit: {container.last_exit})" if container.last_exit else ""
                times = "once" if count == 1 else f"{count} times"
                found.append(f"{pod.name}/{container.name} restarted {times}{why}")
    return found


def _errors(before: Sequence[Sample], recent: Sequence[Sample]) -> list[str]:
    earlier = requests_between(before)
    seconds = recent[-1].at - recent[0].at
    found = []
    for component, requests in requests_between(recent).items():
        known = earlier.get(component, Requests())
        limit = max(_ERROR_RATE, 2 * known.rate)
        if requests.errors >= _LEAST_ERRORS and requests.rate > limit:
            found.append(
                f"{component} answers {requests} with a server error "
                f"({requests.errors:.0f} in {seconds:.0f} s; before the deploy {known})"
            )
    return found


def _unready(recent: Sequence[Sample]) -> list[str]:
    ready = {each.name for sample in recent for each in sample.workloads if each.is_ready}
    return [
        f"{progress([workload])} for {_WINDOW_SECONDS:.0f} s"
        for workload in recent[-1].workloads
        if workload.name not in ready
    ]


def requests_between(samples: Sequence[Sample]) -> dict[str, Requests]:
    """The requests from the first to the last sample, by component.

    A pod that appears later counts from its start, any other from the first answer on.
    """
    counted: dict[str, Requests] = {}
    existing = {pod.uid for pod in samples[0].pods} if samples else set[str]()
    for key, requests in (samples[-1].requests if samples else {}).items():
        answers = (each.requests[key] for each in samples if key in each.requests)
        has_earlier = key in samples[0].requests or key[1] in existing
        since = requests.since(next(answers) if has_earlier else Requests())
        counted[key[0]] = counted.get(key[0], Requests()) + since
    return counted


def summary(samples: Sequence[Sample]) -> str:
    """The state of the release in a line."""
    total = sum(requests_between(samples).values(), Requests())
    errors = f"{total.total:.0f} requests, {total.errors:.0f} server errors"
    return f"{errors}; {progress(samples[-1].workloads)}"


def parse_requests(metrics: str) -> Requests:
    """The requests that a pod has counted, from the text of its metrics."""
    counted = Requests()
    for labels, value in _COUNTER.findall(metrics):
        number = float(value)
        counted += Requests(number, number if _SERVER_ERROR.search(labels) else 0)
    return counted


def metrics_ports(values: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """The port and path of each component's metrics, from all values of the release.

    Without those at `https`, which is the proxy's port.
    """
    ports = {}
    for name, component in (values.get("components") or {}).items():
        metrics = (component or {}).get("metrics") or {}
        if (port := str(metrics.get("port") or "")) not in {"", "https"}:
            ports[name] = (port, str(metrics.get("path") or "/metrics"))
    return ports


def read_alerts(document: Mapping[str, Any], namespace: str) -> dict[str, str]:
    """What each alert of a namespace that fires says, from the answer of Prometheus' /rules."""
    selector = f'namespace="{namespace}"'
    return {
        _identity(alert): _say(alert)
        for group in document["data"]["groups"]
        for rule in group["rules"]
        if selector in rule.get("query", "")
        for alert in rule.get("alerts") or ()
        if alert["state"] == "firing"
    }


def _identity(alert: Mapping[str, Any]) -> str:
    labels = sorted(alert["labels"].items())
    return ", ".join(f"{name}={value}" for name, value in labels if name not in _OF_A_POD)


def _say(alert: Mapping[str, Any]) -> str:
    text = alert.get("annotations", {}).get("summary", "")
    value = f"{float(alert['value']):.3g}"
    return f"the alert {alert['labels']['alertname']} fires: {text} (value {value})"
