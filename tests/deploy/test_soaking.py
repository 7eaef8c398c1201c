"""A deploy watches the new version, and takes it back for trouble that was not there before."""

import dataclasses
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, cast

import pytest

from delivery.deploy import soaking
from delivery.deploy.helm import Helm
from delivery.deploy.locked_target import LockedTarget, lock_target
from delivery.deploy.soak import Requests, Sample
from delivery.deploy.soaking import Soak
from delivery.deploy.target import Options
from delivery.deploy.upgrade import Chart, upgrade, write_files
from delivery.errors import CommandError, DeployError, LeaseLostError
from delivery.records.deployment import Action, Contents
from tests.deploy.cluster import CHART, OLD, Cluster, failed, lose_lease, target
from tests.registries import Answer, serving


class Measured:
    """What each sample finds, and the time that passes meanwhile."""

    def __init__(self) -> None:
        self.now = 0.0
        self.samples: list[Sample | BaseException] = []
        self.taken = 0

    def sample(self) -> Sample:
        self.taken += 1
        found = self.samples.pop(0) if self.samples else Sample(0)
        if isinstance(found, BaseException):
            raise found
        return Sample(self.now, requests=found.requests, alerts=found.alerts)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


FIRES = Sample(0, alerts={"a": "the alert A fires: broken (value 0.06)"})


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Measured:
    made = Measured()
    monkeypatch.setattr(soaking, "_Meter", lambda _locked, _number: made)
    monkeypatch.setattr(soaking, "time", made)
    return made


def deploy(cluster: Cluster, root: Path, options: Options, **declared: object) -> Soak:
    """Deploy and watch; what deploying.deploy does under the lock."""
    local = target(cluster, "local", **declared)
    inputs = write_files(local, Chart(CHART, {"components": {}}, None), root)
    deployment = local.deployment(Action.DEPLOY, Contents(), Contents())
    with lock_target(local, options) as locked:
        soak = Soak(locked)
        soak.watch(upgrade(locked, deployment, inputs, root, soak.measure_before))
    return soak


def test_a_healthy_version_is_tested_and_watched_until_the_end(
    cluster: Cluster, root: Path, measured: Measured, capsys: pytest.CaptureFixture[str]
) -> None:
    deploy(cluster, root, Options(), soak="2m")
    assert cluster.done == ["upgrade", "test"]
    # 10 s between the two samples before, then 2 minutes.
    assert (measured.now, measured.taken) == (130, 2 + 25)
    assert "soak for 120 s: 0 requests, 0 server errors" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "declared"), [(Options(), {}), (Options(soak=0), {"soak": "10m"})]
)
def test_without_a_time_nothing_is_measured(
    cluster: Cluster, root: Path, measured: Measured, options: Options, declared: dict[str, str]
) -> None:
    deploy(cluster, root, options, **declared)
    assert (cluster.done, measured.taken) == (["upgrade"], 0)


def test_an_unchanged_version_is_not_watched(
    cluster: Cluster, root: Path, measured: Measured
) -> None:
    cluster.rendered = OLD
    deploy(cluster, root, Options(soak=60))
    assert (cluster.done, measured.taken) == ([], 0)


def test_trouble_takes_the_version_back_and_names_its_numbers(
    cluster: Cluster, root: Path, measured: Measured
) -> None:
    measured.samples = [Sample(0), Sample(0), Sample(0), FIRES]
    message = (
        r"cannot keep revision 2 on local .*: the alert A fires: broken \(value 0\.06\); "
        "revision 1 is deployed again"
    )
    with pytest.raises(DeployError, match=message) as caught:
        deploy(cluster, root, Options(soak=60))
    assert cluster.done == ["upgrade", "test", "report", "rollback 1"]
    assert caught.value.rolled_back
    assert measured.now == 15  # at once


def test_what_fired_before_takes_nothing_back(
    cluster: Cluster, root: Path, measured: Measured
) -> None:
    measured.samples = [FIRES] * 5
    deploy(cluster, root, Options(soak=10))
    assert cluster.done == ["upgrade", "test"]


def test_errors_are_compared_with_those_before(
    cluster: Cluster, root: Path, measured: Measured
) -> None:
    def counted(total: float, errors: float) -> Sample:
        return Sample(0, requests={("api-rest", "1"): Requests(total, errors)})

    measured.samples = [counted(0, 0), counted(100, 10), counted(0, 0), counted(100, 15)]
    deploy(cluster, root, Options(soak=5))
    measured.samples = [counted(0, 0), counted(100, 0), counted(0, 0), counted(100, 15)]
    cluster.rendered = OLD
    with pytest.raises(DeployError, match=r"15\.0 % of 100 requests .*before the deploy 0\.0 %"):
        deploy(cluster, root, Options(soak=5))


def test_with_no_rollback_the_version_stays(
    cluster: Cluster, root: Path, measured: Measured
) -> None:
    measured.samples = [Sample(0), Sample(0), FIRES]
    with pytest.raises(DeployError, match="nothing is rolled back"):
        deploy(cluster, root, Options(soak=60, rollback=False))
    assert cluster.done == ["upgrade", "test", "report"]


def test_a_first_install_has_nothing_before_it(
    cluster: Cluster, root: Path, measured: Measured
) -> None:
    cluster.revisions = []
    measured.samples = [FIRES]
    with pytest.raises(DeployError, match="nothing was deployed before, so it stays"):
        deploy(cluster, root, Options(soak=60))


def test_a_cluster_that_does_not_answer_for_a_moment_is_no_trouble(
    cluster: Cluster, root: Path, measured: Measured
) -> None:
    measured.samples = [Sample(0), Sample(0), failed(), failed(), failed()]
    deploy(cluster, root, Options(soak=10))
    assert measured.taken == 2 + 4  # until it has answered once


def test_a_lost_lease_ends_the_watch_and_rolls_nothing_back(
    cluster: Cluster, root: Path, measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sleep(_seconds: float) -> None:
        if "test" in cluster.done:
            lose_lease(monkeypatch)

    monkeypatch.setattr(measured, "sleep", sleep)
    with pytest.raises(LeaseLostError):
        deploy(cluster, root, Options(soak=60))
    assert cluster.done == ["upgrade", "test"]


def test_an_interrupt_leaves_the_version_and_says_how_to_go_back(
    cluster: Cluster, root: Path, measured: Measured, capsys: pytest.CaptureFixture[str]
) -> None:
    measured.samples = [Sample(0), Sample(0), Sample(0), KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        deploy(cluster, root, Options(soak=60))
    assert cluster.done == ["upgrade", "test"]
    printed = capsys.readouterr().out
    assert "revision 2 stays deployed" in printed
    assert "`./run inv rollback --environment local`" in printed


METRICS = 'http_requests_total{route="/x",status="%s"} %d.0\n'
ALERT = {
    "state": "firing",
    "labels": {"alertname": "ApiSlow"},
    "annotations": {"summary": "slow"},
    "value": "3",
}
RULES = {"data": {"groups": [{"rules": [{"query": 'x{namespace="platform"}', "alerts": [ALERT]}]}]}}


class Pods:
    """Pods with metrics, behind ports of this machine; and Prometheus."""

    namespace = "platform"

    def __init__(self) -> None:
        self.address = ""
        self.pods = [pod("a"), pod("b"), pod("c", phase="Pending"), pod("d", component="kafka")]

    def __call__(self, _method: str, path: str, _headers: dict[str, str], _body: bytes) -> Answer:
        text = json.dumps(RULES) if path.startswith("/api") else METRICS % (503, 7)
        return 200, {}, text.encode()

    @property
    def kubernetes(self) -> Self:
        return self

    def values(self, _revision: int) -> dict[str, Any]:
        return {"components": {"api-rest": {"metrics": {"port": "management"}}}}

    def all(self, kind: str, _selector: str = "") -> list[dict[str, Any]]:
        return self.pods if kind == "pods" else []

    @contextmanager
    def forwarded(self, pod: str, port: str) -> Iterator[int]:
        assert port == "management"
        if pod == "pod/b":
            raise CommandError("cannot forward", argv=[], returncode=1, tail="forbidden")
        yield int(self.address.rpartition(":")[2])


def pod(name: str, component: str = "api-rest", phase: str = "Running") -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": component}
    return {
        "metadata": {"name": name, "uid": f"uid-{name}", "labels": labels},
        "status": {"phase": phase},
        "spec": {},
    }


def test_pods_and_prometheus_are_read(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    pods = Pods()
    with serving(pods) as (pods.address, asked):
        made = target(cluster, prometheus=f"http://{pods.address}/")
        made = dataclasses.replace(made, helm=cast("Helm", pods))
        locked = LockedTarget(made, cluster.lock, Options())
        meter = soaking._Meter(locked, 1)
        sample, _ = meter.sample(), meter.sample()
    assert sample.requests == {("api-rest", "uid-a"): Requests(7, 7)}
    assert list((sample.alerts or {}).values()) == ["the alert ApiSlow fires: slow (value 3)"]
    assert [each.name for each in sample.pods] == ["a", "b", "c", "d"]
    assert time.monotonic() - sample.at < 60
    printed = capsys.readouterr().out
    assert printed.count("the requests of b cannot be counted: forbidden") == 1
    assert set(asked) == {"GET /metrics", "GET /api/v1/rules?type=alert"}


def test_a_prometheus_that_does_not_answer_is_said_once(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    made = target(cluster, prometheus="http://127.0.0.1:1")
    meter = soaking._Meter(LockedTarget(made, cluster.lock, Options()), 1)
    assert (meter._alerts(), meter._alerts()) == (None, None)
    assert capsys.readouterr().out.count("the alerts cannot be read from") == 1
