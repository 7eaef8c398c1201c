"""Only what was not there before the deploy speaks against a version."""

from typing import Any

import pytest

from delivery.deploy.rollout import Container, Pod, Workload
from delivery.deploy.soak import (
    Requests,
    Sample,
    metrics_ports,
    parse_requests,
    read_alerts,
    summary,
    troubles,
)

READY = Workload("platform-api-rest", desired=2, updated=2, ready=2, observed=True)
WAITING = Workload("platform-api-rest", desired=2, updated=2, ready=1, observed=True)


def counted(at: float, total: float, errors: float = 0, pod: str = "new") -> Sample:
    return Sample(at, requests={("api-rest", pod): Requests(total, errors)})


def pods(*restarts: int, owner: str = "ReplicaSet", terminating: bool = False) -> tuple[Pod, ...]:
    return tuple(
        Pod(
            uid=str(at),
            name=f"api-rest-{at}",
            owner=owner,
            phase="Running",
            containers=(Container("api-rest", ready=True, restarts=count, reason="", message=""),),
            unschedulable="",
            terminating=terminating,
        )
        for at, count in enumerate(restarts)
    )


@pytest.mark.parametrize(
    ("before", "samples", "expected"),
    [
        # 5 % of the requests fail.
        ([(0, 0, 0), (10, 200, 0)], [(0, 100, 5), (30, 700, 35)], "5.0 % of 600 requests"),
        # Every request, of few.
        ([], [(0, 0, 0), (5, 5, 5)], "100.0 % of 5 requests"),
        # A new version under the same load, with the errors that its test has caused.
        ([(0, 0, 0), (10, 200, 0)], [(0, 100, 9), (30, 700, 9)], ""),
        # Exactly 1 %, and too few to judge.
        ([], [(0, 0, 0), (30, 600, 6)], ""),
        ([], [(0, 0, 0), (30, 20, 4)], ""),
        # As many as before, because of what both depend on; then more.
        ([(0, 0, 0), (10, 100, 50)], [(0, 0, 0), (30, 600, 320)], ""),
        ([(0, 0, 0), (10, 100, 2)], [(0, 0, 0), (30, 600, 30)], "before the deploy 2.0 % of 100"),
        # A counter that begins again.
        ([], [(0, 1000, 0), (5, 100, 10)], "10.0 % of 100 requests"),
        # Errors that have ended, more than a minute ago.
        ([], [(0, 0, 0), (61, 600, 60), (122, 1200, 60)], ""),
    ],
)
def test_errors(
    before: list[tuple[float, float, float]],
    samples: list[tuple[float, float, float]],
    expected: str,
) -> None:
    taken = [counted(*row) for row in samples]
    found = troubles([counted(*row) for row in before], taken)
    assert len(found) == bool(expected)
    assert expected in "".join(found)


def test_pods_that_appear_later_count_from_their_start_and_others_not_at_all() -> None:
    samples = [counted(0, 900, 900, "old"), counted(5, 100, 6)]
    (found,) = troubles([], samples)
    assert found == (
        "api-rest answers 6.0 % of 100 requests with a server error "
        "(6 in 5 s; before the deploy 0.0 % of 0 requests)"
    )


def test_a_pod_that_did_not_answer_at_first_counts_from_its_first_answer() -> None:
    key = ("api-rest", "0")
    samples = [
        Sample(0, pods=pods(0)),
        Sample(5, pods=pods(0), requests={key: Requests(9000, 900)}),
        Sample(10, pods=pods(0), requests={key: Requests(9100, 900)}),
    ]
    assert troubles([], samples[:2]) == []
    assert troubles([], samples) == []
    assert summary(samples).startswith("100 requests, 0 server errors")


def test_components_are_judged_apart() -> None:
    first = {("api-rest", "a"): Requests(0, 0), ("busy", "b"): Requests(0, 0)}
    last = {("api-rest", "a"): Requests(100, 10), ("busy", "b"): Requests(1e6, 10)}
    (found,) = troubles([], [Sample(0, requests=first), Sample(9, requests=last)])
    assert found.startswith("api-rest answers 10.0 %")


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        (pods(0, 2), pods(0, 2), []),
        (pods(0, 2), pods(0, 3), ["api-rest-1/api-rest restarted once"]),
        (pods(0), pods(0, 2), ["api-rest-1/api-rest restarted 2 times"]),
        (pods(0), pods(3, owner="Job"), []),
        (pods(0), pods(3, terminating=True), []),
    ],
)
def test_restarts(first: tuple[Pod, ...], last: tuple[Pod, ...], expected: list[str]) -> None:
    assert troubles([], [Sample(0, pods=first), Sample(5, pods=last)]) == expected


@pytest.mark.parametrize(
    ("workloads", "expected"),
    [
        ([WAITING, WAITING, WAITING], ["platform-api-rest: 1 of 2 pods ready for 60 s"]),
        ([WAITING, READY, WAITING], []),
        ([WAITING, WAITING], []),  # not for long enough
    ],
)
def test_a_workload_may_be_unready_for_a_minute(
    workloads: list[Workload], expected: list[str]
) -> None:
    samples = [Sample(30.0 * at, workloads=(each,)) for at, each in enumerate(workloads)]
    assert troubles([], samples) == expected


def test_an_alert_that_fired_before_is_not_of_the_deploy() -> None:
    before = [Sample(0, alerts={"a": "A fires"}), Sample(10)]
    assert troubles(before, [Sample(0, alerts={"a": "A fires", "b": "B fires"})]) == ["B fires"]


def test_an_alert_is_not_of_the_deploy_if_nobody_knows_what_fired_before() -> None:
    before = [Sample(0, alerts=None), Sample(10, alerts=None)]
    silent, known = Sample(0, alerts=None), Sample(5, alerts={"a": "A fires"})
    assert troubles(before, [silent]) == []
    assert troubles(before, [silent, known]) == []
    later = Sample(10, alerts={"a": "A fires", "b": "B fires"})
    assert troubles(before, [silent, known, later]) == ["B fires"]
    assert troubles([], [known]) == ["A fires"]  # nothing was deployed before


def test_the_alerts_of_a_namespace_that_fire_are_read() -> None:
    def rule(namespace: str, name: str, *states: str, **labels: str) -> dict[str, Any]:
        alert = {
            "labels": {"alertname": name, "severity": "critical", **labels},
            "annotations": {"summary": "Too many errors"},
            "value": "6.25e-02",
        }
        return {
            "query": f'sum(rate(http_requests_total{{namespace="{namespace}"}}[5m])) > 0.05',
            "alerts": [{**alert, "state": state} for state in states],
        }

    rules = [
        rule("platform", "ApiAnswersErrors", "firing"),
        rule("platform", "ApiQueueGrows", "firing", pod="api-rest-1"),
        rule("platform", "ApiSlow", "pending"),
        rule("platform", "ApiMissing"),
        rule("platform-staging", "ApiLacksBackend", "firing"),
        {"record": "of no alert", "query": 'up{namespace="platform"}'},
    ]
    document = {"data": {"groups": [{"rules": rules[:3]}, {"rules": rules[3:]}]}}
    text = "fires: Too many errors (value 0.0625)"
    assert read_alerts(document, "platform") == {
        "alertname=ApiAnswersErrors, severity=critical": f"the alert ApiAnswersErrors {text}",
        # Whichever pod: each deploy replaces them.
        "alertname=ApiQueueGrows, severity=critical": f"the alert ApiQueueGrows {text}",
    }


def test_requests_are_read_from_metrics() -> None:
    metrics = """\
# TYPE http_requests_total counter
http_requests_total{method="GET",route="/deployments/{id}",status="200"} 12.0
http_requests_total{method="GET",route="/deployments/{id}",status="404"} 3.0
http_requests_total{method="POST",route="/deployments",status="503"} 4.0
http_requests_total{status="500",method="POST",route="/deployments"} 1e+00
http_request_duration_seconds_count{method="GET",route="/x"} 99.0
"""
    assert parse_requests(metrics) == Requests(20, 5)
    assert parse_requests("worker_ready 1.0\n") == Requests()


def test_metrics_are_where_the_values_say() -> None:
    values = {
        "components": {
            "api-rest": {"metrics": {"port": "management"}},
            "app": {"metrics": {"port": 9000, "path": "/stats"}},
            "proxied": {"metrics": {"port": "https"}},
            "silent": {"metrics": {"port": ""}},
            "gone": None,
        }
    }
    expected = {"api-rest": ("management", "/metrics"), "app": ("9000", "/stats")}
    assert metrics_ports(values) == expected
    assert metrics_ports({}) == {}


def test_a_summary() -> None:
    first, last = counted(0, 10), counted(5, 40, 2)
    shown = summary([first, Sample(last.at, workloads=(READY,), requests=last.requests)])
    assert shown == "30 requests, 2 server errors; all pods are ready"
