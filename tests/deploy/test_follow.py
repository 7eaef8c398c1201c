"""A rollout is followed until it is ready or cannot succeed; a failure is explained."""

import math
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from delivery.console import Step
from delivery.deploy import follow
from delivery.deploy.kubectl import Kubernetes
from delivery.deploy.lock import Lock
from delivery.errors import CommandError, DeployError
from tests.deploy.test_rollout import replica_set

NOW = datetime.now(UTC)
CRASHING: dict[str, Any] = {"ready": False, "restarts": 3, "reason": "CrashLoopBackOff"}


class Cluster:
    """A namespace with one Deployment of one pod."""

    def __init__(self, *, restarts: int = 0, ready: bool = True, reason: str = "") -> None:
        self.busy = False
        self.before_answer: Callable[[str], object] = lambda _kind: None
        state = {"waiting": {"reason": reason}} if reason else {"running": {}}
        status = {"name": "web", "ready": ready, "restartCount": restarts, "state": state}
        self.pod = {
            "metadata": {"name": "web-1", "uid": "u1"},
            "spec": {},
            "status": {"phase": "Running", "containerStatuses": [status]},
        }
        self.workload = {
            "kind": "Deployment",
            "metadata": {"name": "web", "generation": 1},
            "spec": {},
            "status": {
                "observedGeneration": 1,
                "replicas": 1,
                "updatedReplicas": 1,
                "readyReplicas": int(ready),
            },
        }
        self.replica_sets: list[dict[str, Any]] = []

    def all(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        self.before_answer(kind)
        if self.busy:
            raise CommandError(
                "cannot list the pods: no answer", argv=["kubectl"], returncode=1, tail=""
            )
        if kind == "events":
            about = {"kind": "Pod", "name": "web-1"}
            event = {"type": "Warning", "reason": "BackOff", "message": "back-off"}
            return [{**event, "involvedObject": about, "lastTimestamp": NOW.isoformat()}]
        assert selector == "app.kubernetes.io/instance=platform"
        return [self.pod] if kind == "pods" else [self.workload, *self.replica_sets]

    def table(self, kind: str, _selector: str) -> str:
        return f"the table of {kind}" if self.all(kind, _selector) else ""

    def log(self, pod: str, container: str, *, previous: bool = False) -> str:
        assert (pod, container) == ("web-1", "web")
        return "the log before\n" if previous else "the log\n"


def watch(
    cluster: Cluster, *, existing: tuple[str, ...] = (), lock: Lock | None = None
) -> tuple[follow.Watch, Step]:
    step = Step("upgrade")
    lock = lock or Lock("platform-deploy", None)
    return follow.Watch(cast("Kubernetes", cluster), step, lock, existing), step


def test_a_ready_rollout() -> None:
    watched, step = watch(Cluster())
    assert watched.check()
    assert step.latest == "all pods are ready"


def test_a_rollout_under_way_shows_how_far_it_is() -> None:
    watched, step = watch(Cluster(ready=False, restarts=1))
    assert not watched.check()
    assert step.latest == "web: 0 of 1 pods ready"


def test_a_rollout_that_cannot_succeed_is_an_error() -> None:
    watched, _ = watch(Cluster(**CRASHING))
    with pytest.raises(follow.RolloutError, match="web-1/web: restarted 3 times"):
        watched.check()


def test_the_label_that_a_node_lacks_is_named_at_once_and_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    cluster = Cluster(ready=False)
    expression = {"key": "capacity", "operator": "In", "values": ["ondemand"]}
    terms = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    affinity = {"requiredDuringSchedulingIgnoredDuringExecution": terms}
    condition = {"type": "PodScheduled", "status": "False", "message": "node(s) didn't match"}
    cluster.pod["spec"] = {"affinity": {"nodeAffinity": affinity}}
    cluster.pod["status"] = {"phase": "Pending", "conditions": [condition]}
    watched, _ = watch(cluster)
    for _ in range(2):
        assert not watched.check()
    printed = capsys.readouterr().out
    assert printed.count("kubectl label node NODE capacity=ondemand") == 1
    assert "values-any-cluster.yaml" in printed


def test_a_pod_that_was_unhealthy_before_gets_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    lock = Lock("platform-deploy", None, renewed=math.inf)
    watched, step = watch(Cluster(**CRASHING), existing=("u1",), lock=lock)
    assert not watched.check()
    assert "restarted 3 times" in step.latest
    clock[0] += 60
    with pytest.raises(follow.RolloutError):
        watched.check()


def test_a_busy_cluster_is_asked_again() -> None:
    cluster = Cluster()
    cluster.busy = True
    watched, _ = watch(cluster)
    assert not watched.check()
    cluster.busy = False
    assert watched.check()


def test_a_lost_lock_ends_the_check() -> None:
    lock = Lock("platform-deploy", None)
    lock.lost.set()
    watched, _ = watch(Cluster(), lock=lock)
    with pytest.raises(DeployError, match="cannot keep the lease platform-deploy"):
        watched.check()


def wait_for_check(watched: follow.Watch) -> None:
    assert watched._checking is not None
    watched._checking.exception(60)


def test_a_tick_never_waits_for_the_cluster() -> None:
    asked: list[str] = []
    answered, cluster, lock = threading.Event(), Cluster(), Lock("platform-deploy", None)

    def hang(kind: str) -> None:
        asked.append(kind)
        assert answered.wait(60)

    cluster.before_answer = hang
    watched, step = watch(cluster, lock=lock)
    try:
        watched.tick()
        watched.tick()
        lock.lost.set()
        with pytest.raises(DeployError, match="cannot keep the lease platform-deploy"):
            watched.tick()
        assert asked in ([], ["pods"])
        lock.lost.clear()
    finally:
        answered.set()
    wait_for_check(watched)
    watched.tick()
    assert step.latest == "all pods are ready"


@pytest.mark.parametrize("busy", [False, True])
def test_a_check_that_outlasts_its_step_prints_nothing_more(*, busy: bool) -> None:
    under_way, answered = threading.Event(), threading.Event()

    def hang(_kind: str) -> None:
        under_way.set()
        assert answered.wait(60)

    cluster = Cluster()
    cluster.busy, cluster.before_answer = busy, hang
    watched, step = watch(cluster)
    try:
        watched.tick()
        assert under_way.wait(60)
        watched.end()
    finally:
        answered.set()
    wait_for_check(watched)
    assert step.latest == ""


def test_a_failed_check_ends_helm_at_the_next_tick() -> None:
    watched, _ = watch(Cluster(**CRASHING))
    watched.tick()
    wait_for_check(watched)
    with pytest.raises(follow.RolloutError, match="web-1/web: restarted 3 times"):
        watched.tick()


def test_waiting_has_a_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    watched, _ = watch(Cluster(ready=False))
    with pytest.raises(follow.RolloutError, match="not everything is ready after -1 s"):
        watched.wait(-1)


def test_a_pod_of_a_superseded_template_is_no_reason_to_give_up() -> None:
    cluster = Cluster(**CRASHING)
    cluster.pod["metadata"] = {"name": "web-1", "uid": "u1", "labels": {"pod-template-hash": "a"}}
    cluster.replica_sets = [replica_set("a", 1), replica_set("b", 2)]
    watched, _ = watch(cluster)
    assert not watched.check()


def test_a_report_has_pods_events_and_both_logs(capsys: pytest.CaptureFixture[str]) -> None:
    follow.report(cast("Kubernetes", Cluster(**CRASHING)), NOW - timedelta(minutes=1))
    printed = capsys.readouterr().out
    for text in ("the table of pods", "Pod/web-1: BackOff: back-off", "the log", "the log before"):
        assert f"{text}\n" in printed


def test_a_report_has_no_log_of_a_healthy_pod_and_no_old_event(
    capsys: pytest.CaptureFixture[str],
) -> None:
    follow.report(cast("Kubernetes", Cluster(restarts=2)), NOW + timedelta(minutes=1))
    assert capsys.readouterr().out.split("\n") == ["", "the table of pods", "", ""]


def test_a_report_on_a_cluster_that_does_not_answer_raises_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    cluster = Cluster()
    cluster.busy = True
    follow.report(cast("Kubernetes", cluster), NOW)
    assert capsys.readouterr().out.strip() == "cannot show the pods: no answer"
