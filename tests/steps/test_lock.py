"""Of two deploys the second waits, and one that died is not waited for."""

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from delivery.core import lease
from delivery.core.errors import CommandError, DeployError
from delivery.steps import lock
from delivery.tools.kubernetes import Kubernetes


class Cluster:
    """A namespace with one Lease, versions and conflicts as the API has them; before_put stands for somebody faster."""

    def __init__(self, held: dict[str, Any] | None = None) -> None:
        self.held = held
        self.version = 1
        self.before_put: list[dict[str, Any] | None] = []
        self.down = False

    def find(self, _kind: str, _name: str) -> dict[str, Any] | None:
        if self.held is None:
            return None
        metadata = {**self.held["metadata"], "resourceVersion": str(self.version)}
        return cast("dict[str, Any]", json.loads(json.dumps({**self.held, "metadata": metadata})))

    def create(self, made: dict[str, Any]) -> dict[str, Any]:
        self._others()
        if self.held is not None:
            raise failed('leases "platform-deploy" already exists')
        return self._put(made)

    def replace(self, changed: dict[str, Any]) -> dict[str, Any]:
        self._others()
        if changed["metadata"]["resourceVersion"] != str(self.version):
            raise failed("the object has been modified; please apply your changes to the latest version")
        return self._put(changed)

    def put_by_others(self, held: dict[str, Any] | None) -> None:
        self.held = held
        self.version += 1

    def _others(self) -> None:
        if self.down:
            raise failed("connection refused")
        if self.before_put:
            self.put_by_others(self.before_put.pop(0))

    def _put(self, given: dict[str, Any]) -> dict[str, Any]:
        self.held = given
        self.version += 1
        found = self.find("Lease", "")
        assert found is not None
        return found

    @property
    def holder(self) -> str:
        assert self.held is not None
        return lease.read(self.held).holder


def failed(tail: str) -> CommandError:
    return CommandError("put", argv=["kubectl"], returncode=1, tail=tail)


def theirs(age: float = 0) -> dict[str, Any]:
    return lease.made("platform-deploy", "you@there pid 7", datetime.now(UTC) - timedelta(seconds=age))


def hold(cluster: Cluster, seconds: int = 60) -> Any:  # noqa: ANN401  # a context manager
    return lock.hold(cast("Kubernetes", cluster), "platform-deploy", seconds=seconds, pause=0.01)


def test_holds_it_while_at_work_and_gives_it_back() -> None:
    cluster = Cluster()
    with hold(cluster) as turn:
        assert "pid" in cluster.holder
        assert turn.dead is None
        turn.check()
    assert cluster.holder == ""
    with hold(cluster) as turn:
        assert turn.dead is None


def test_gives_it_back_when_the_work_fails() -> None:
    cluster = Cluster()
    with pytest.raises(KeyboardInterrupt), hold(cluster):
        raise KeyboardInterrupt
    assert cluster.holder == ""


def test_waits_for_who_has_it_and_says_who(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(theirs())
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            assert cluster.held is not None
            cluster.put_by_others(lease.released(cluster.held))

    monkeypatch.setattr(time, "sleep", sleep)
    with hold(cluster):
        assert len(looks) == 3
    assert capsys.readouterr().out.count("you@there pid 7 is at platform-deploy since") == 1


def test_waits_no_longer_than_it_may() -> None:
    with (
        pytest.raises(DeployError, match="wait for you@there pid 7 to be done with platform-deploy"),
        hold(Cluster(theirs()), -1),
    ):
        pass


def test_takes_over_from_one_that_died_and_tells_whose_work_was_cut_off() -> None:
    with hold(Cluster(theirs(age=3600))) as turn:
        assert turn.dead is not None
        assert turn.dead.holder == "you@there pid 7"


def test_one_whose_renewals_are_not_seen_any_more_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    with hold(Cluster(theirs()), 500) as turn:
        assert turn.dead is not None


def test_of_two_who_are_as_fast_one_waits() -> None:
    free = lease.released(theirs())
    cluster = Cluster(free)
    cluster.before_put = [theirs(age=3600)]  # taken just before us, by one that is dead by now
    with hold(cluster) as turn:
        assert turn.dead is not None


def test_of_two_who_make_it_one_waits() -> None:
    cluster = Cluster()
    cluster.before_put = [theirs(age=3600)]
    with hold(cluster) as turn:
        assert turn.dead is not None


def test_renews_it_until_somebody_else_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "LEASE_SECONDS", 0.03)
    cluster = Cluster()
    with hold(cluster) as turn:
        assert cluster.held is not None
        since = cluster.version
        while cluster.version == since:
            time.sleep(0.001)
        cluster.put_by_others(theirs())
        assert turn.lost.wait(10)
        with pytest.raises(DeployError, match="is somebody else's now"):
            turn.check()
    assert cluster.holder == "you@there pid 7"


def test_a_cluster_that_does_not_answer_for_too_long_costs_the_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "LEASE_SECONDS", 0.03)
    cluster = Cluster()
    with hold(cluster) as turn:
        cluster.down = True
        assert turn.lost.wait(10)


def test_another_refusal_is_told_as_it_is() -> None:
    cluster = Cluster()
    cluster.down = True
    with pytest.raises(CommandError), hold(cluster):
        pass
