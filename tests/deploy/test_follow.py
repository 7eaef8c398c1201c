"""A rollout is followed until it is settled or hopeless, and told with everything that helps."""

import math
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from delivery.console import Step
from delivery.deploy import follow
from delivery.deploy.kubectl import Kubernetes
from delivery.deploy.lock import Turn
from delivery.errors import CommandError, DeployError

NOW = datetime.now(UTC)


class Cluster:
    """A namespace with one Deployment of one pod."""

    def __init__(self, *, restarts: int = 0, ready: bool = True, reason: str = "") -> None:
        self.ready = ready
        self.busy = False
        self.sets: list[dict[str, Any]] = []
        state = {"waiting": {"reason": reason}} if reason else {"running": {}}
        status = {"name": "web", "ready": ready, "restartCount": restarts, "state": state}
        self.pod = {
            "metadata": {"name": "web-1", "uid": "u1"},
            "spec": {"nodeName": "node-a"},
            "status": {"phase": "Running", "containerStatuses": [status]},
        }

    def all(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        if self.busy:
            raise CommandError(
                "list the pods", argv=["kubectl"], returncode=1, tail="too many requests"
            )
        if kind == "events":
            about = {"kind": "Pod", "name": "web-1"}
            event = {
                "type": "Warning",
                "reason": "BackOff",
                "message": "back-off",
                "involvedObject": about,
                "metadata": {},
            }
            return [{**event, "lastTimestamp": NOW.isoformat()}]
        assert selector == "app.kubernetes.io/instance=platform"
        ready = int(self.ready)
        status = {
            "observedGeneration": 1,
            "replicas": 1,
            "updatedReplicas": 1,
            "readyReplicas": ready,
        }
        workload = {
            "kind": "Deployment",
            "metadata": {"name": "web", "generation": 1},
            "spec": {},
            "status": status,
        }
        return [self.pod] if kind == "pods" else [workload, *self.sets]

    def log(self, pod: str, container: str, *, lines: int, previous: bool = False) -> str:
        assert (pod, container, lines) == ("web-1", "web", 15)
        return "died before\n" if previous else "the reason\n"


def watch(
    cluster: Cluster, *, before: tuple[str, ...] = (), turn: Turn | None = None
) -> tuple[follow.Watch, Step]:
    step = Step("upgrade")
    turn = turn or Turn("platform-deploy", None)
    return follow.Watch(cast("Kubernetes", cluster), "platform", step, turn, before), step


def test_is_settled_when_all_is_ready() -> None:
    watched, step = watch(Cluster())
    assert watched.look()
    assert step.latest == "all pods are ready"


def test_says_how_far_it_is() -> None:
    watched, step = watch(Cluster(ready=False, restarts=1))
    assert not watched.look()
    assert step.latest == "web: 0 of 1 pods ready"


def test_is_given_up_when_it_is_hopeless() -> None:
    watched, _ = watch(Cluster(ready=False, restarts=3, reason="CrashLoopBackOff"))
    with pytest.raises(follow.HopelessError, match="web-1/web: died 3 times"):
        watched.look()


def test_what_was_unwell_before_is_watched_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    turn = Turn("platform-deploy", None, renewed=math.inf)
    pod = Cluster(ready=False, restarts=3, reason="CrashLoopBackOff")
    watched, step = watch(pod, before=("u1",), turn=turn)
    assert not watched.look()
    assert "died 3 times" in step.latest
    clock[0] += 60
    with pytest.raises(follow.HopelessError):
        watched.look()


def test_a_busy_cluster_is_asked_again() -> None:
    cluster = Cluster()
    cluster.busy = True
    watched, _ = watch(cluster)
    assert not watched.look()
    cluster.busy = False
    assert watched.look()


def test_ends_when_the_turn_is_lost() -> None:
    turn = Turn("platform-deploy", None)
    turn.lost.set()
    watched, _ = watch(Cluster(), turn=turn)
    with pytest.raises(DeployError, match="cannot keep the lease platform-deploy"):
        watched.look()


def test_beside_a_program_it_never_waits_for_the_cluster() -> None:
    asked: list[str] = []
    answered, cluster, turn = threading.Event(), Cluster(), Turn("platform-deploy", None)

    class Hanging(Cluster):
        def all(self, kind: str, _selector: str = "") -> list[dict[str, Any]]:
            asked.append(kind)
            assert answered.wait(60)
            return cluster.all(kind, _selector)

    watched, step = watch(Hanging(), turn=turn)
    try:
        watched.tick()
        watched.tick()
        turn.lost.set()
        with pytest.raises(DeployError, match="cannot keep the lease platform-deploy"):
            watched.tick()
        assert asked in ([], ["pods"])
        turn.lost.clear()
    finally:
        answered.set()
    wait_for_look(watched)
    watched.tick()
    assert step.latest == "all pods are ready"


@pytest.mark.parametrize(("number", "busy"), [(1, False), (2, False), (1, True)])
def test_a_look_that_outlasts_its_step_asks_and_says_nothing_more(
    number: int, *, busy: bool
) -> None:
    asked: list[str] = []
    under_way, answered = threading.Event(), threading.Event()

    class Hanging(Cluster):
        def all(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
            asked.append(kind)
            if len(asked) == number:
                under_way.set()
                assert answered.wait(60)
            return super().all(kind, selector)

    cluster = Hanging()
    cluster.busy = busy
    watched, step = watch(cluster)
    try:
        watched.tick()
        assert under_way.wait(60)
        watched.end()
    finally:
        answered.set()
    wait_for_look(watched)
    assert (len(asked), step.latest) == (number, "")


def wait_for_look(watched: follow.Watch) -> None:
    assert watched._looked is not None
    watched._looked.exception(60)


def test_what_a_look_beside_a_program_finds_ends_the_program() -> None:
    watched, _ = watch(Cluster(ready=False, restarts=3, reason="CrashLoopBackOff"))
    watched.tick()
    wait_for_look(watched)
    with pytest.raises(follow.HopelessError, match="web-1/web: died 3 times"):
        watched.tick()


def test_waits_no_longer_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    watched, _ = watch(Cluster(ready=False))
    with pytest.raises(follow.HopelessError, match="not everything is ready after -1 s"):
        watched.wait(-1)


def test_tells_pods_events_and_both_logs(capsys: pytest.CaptureFixture[str]) -> None:
    cluster = Cluster(ready=False, restarts=3, reason="CrashLoopBackOff")
    follow.report(cast("Kubernetes", cluster), "platform", NOW - timedelta(minutes=1))
    printed = capsys.readouterr().out
    assert "web-1  node-a  0/1    3         CrashLoopBackOff" in printed
    assert "Pod/web-1: BackOff: back-off" in printed
    assert "the reason" in printed
    assert "died before" in printed


def test_a_cluster_that_is_away_hides_nothing_of_what_went_wrong(
    capsys: pytest.CaptureFixture[str],
) -> None:
    cluster = Cluster()
    cluster.busy = True
    follow.report(cast("Kubernetes", cluster), "platform", NOW)
    assert capsys.readouterr().out.strip() == "cannot show the pods: list the pods"


def test_what_is_well_needs_no_log(capsys: pytest.CaptureFixture[str]) -> None:
    follow.report(cast("Kubernetes", Cluster(restarts=2)), "platform", NOW + timedelta(minutes=1))
    printed = capsys.readouterr().out
    assert "the reason" not in printed
    assert "BackOff" not in printed


def test_what_a_deployment_has_left_behind_it_is_no_reason_to_give_up() -> None:
    cluster = Cluster(ready=False, restarts=3, reason="CrashLoopBackOff")
    cluster.pod["metadata"] = {"name": "web-1", "uid": "u1", "labels": {"pod-template-hash": "old"}}
    cluster.sets = [replica_set("old", 1), replica_set("new", 2)]
    watched, _ = watch(cluster)
    assert not watched.look()


def replica_set(template: str, revision: int) -> dict[str, Any]:
    return {
        "kind": "ReplicaSet",
        "metadata": {
            "labels": {"pod-template-hash": template},
            "annotations": {"deployment.kubernetes.io/revision": str(revision)},
            "ownerReferences": [{"kind": "Deployment", "uid": "d1"}],
        },
    }
