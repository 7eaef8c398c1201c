"""Of two deploys the second waits, and one that died is not waited for."""

import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from delivery import process
from delivery.deploy import leases, lock
from delivery.deploy.helm import Watcher
from delivery.deploy.kubectl import Kubernetes
from delivery.deploy.leases import (
    LEASE_SECONDS,
    RENEW_DEADLINE_SECONDS,
    REQUEST_SECONDS,
    RETRY_SECONDS,
)
from delivery.deploy.lock import Turn
from delivery.errors import CommandError, DeployError


class Cluster:
    """A namespace with one Lease, versions and conflicts as the API has them; before_put stands for somebody faster."""

    def __init__(self, held: dict[str, Any] | None = None) -> None:
        self.held = held
        self.version = 1
        self.before_put: list[dict[str, Any] | None] = []
        self.down = False
        self.down_for_reading = False
        self.loses_answer = False
        self.while_asked: Callable[[], object] = lambda: None

    def within(self, seconds: float) -> "Quick":
        assert seconds == REQUEST_SECONDS
        return Quick(self)

    def find(self, _kind: str, _name: str) -> dict[str, Any] | None:
        if self.down or self.down_for_reading:
            raise failed("connection refused")
        if self.held is None:
            return None
        metadata = {**self.held["metadata"], "resourceVersion": str(self.version)}
        return cast("dict[str, Any]", json.loads(json.dumps({**self.held, "metadata": metadata})))

    def made(self, made: dict[str, Any]) -> dict[str, Any]:
        self._others()
        if self.held is not None:
            raise failed('leases "platform-deploy" already exists')
        return self._put(made)

    def replaced(self, changed: dict[str, Any]) -> dict[str, Any]:
        self._others()
        if changed["metadata"]["resourceVersion"] != str(self.version):
            raise failed(
                "the object has been modified; please apply your changes to the latest version"
            )
        return self._put(changed)

    def put_by_others(self, held: dict[str, Any] | None) -> None:
        self.held = held
        self.version += 1

    def _others(self) -> None:
        self.while_asked()
        if self.down:
            raise failed("connection refused")
        if self.before_put:
            self.put_by_others(self.before_put.pop(0))

    def _put(self, given: dict[str, Any]) -> dict[str, Any]:
        self.held = given
        self.version += 1
        found = self.find("Lease", "")
        if self.loses_answer:
            self.loses_answer = False
            raise failed("connection reset by peer")
        assert found is not None
        return found

    @property
    def holder(self) -> str:
        assert self.held is not None
        return leases.read(self.held).holder


class Quick:
    """The cluster for requests that have a limit; there is no other way to change the lease."""

    def __init__(self, cluster: Cluster) -> None:
        self.find, self.create, self.replace = cluster.find, cluster.made, cluster.replaced


def failed(tail: str) -> CommandError:
    return CommandError("put", argv=["kubectl"], returncode=1, tail=tail)


def theirs(age: float = 0) -> dict[str, Any]:
    return leases.made(
        "platform-deploy", "you@there pid 7", datetime.now(UTC) - timedelta(seconds=age)
    )


class Clock:
    """A monotonic clock that goes on when somebody sleeps, and what happens then."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.sleeps = 0
        self.on_sleep: Callable[[], object] = lambda: None

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.sleeps += 1
        self.on_sleep()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "monotonic", made)
    monkeypatch.setattr(time, "sleep", made.sleep)
    return made


def hold(cluster: Cluster, seconds: int = 60, pause: float = RETRY_SECONDS) -> Any:  # noqa: ANN401  # a context manager
    return lock.hold(cast("Kubernetes", cluster), "platform-deploy", seconds=seconds, pause=pause)


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


def test_waits_for_who_has_it_and_says_who(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = Cluster(theirs())

    def give_back() -> None:
        if clock.sleeps == 3:
            assert cluster.held is not None
            cluster.put_by_others(leases.released(cluster.held))

    clock.on_sleep = give_back
    with hold(cluster) as turn:
        assert clock.sleeps == 3
        assert turn.dead is None
    assert capsys.readouterr().out.count("you@there pid 7 is at platform-deploy since") == 1


def test_waits_no_longer_than_it_may() -> None:
    with (
        pytest.raises(
            DeployError, match="wait for you@there pid 7 to be done with platform-deploy"
        ),
        hold(Cluster(theirs()), -1),
    ):
        pass


@pytest.mark.parametrize("age", [0, 3600, -3600])
def test_takes_over_from_one_that_died_whatever_its_clock_said(clock: Clock, age: float) -> None:
    began = clock.now
    with hold(Cluster(theirs(age))) as turn:
        assert turn.dead is not None
        assert turn.dead.holder == "you@there pid 7"
        assert LEASE_SECONDS < clock.now - began <= LEASE_SECONDS + RETRY_SECONDS


def test_one_that_renews_late_but_in_time_is_not_dead(clock: Clock) -> None:
    cluster = Cluster(theirs())

    def renew() -> None:
        if clock.sleeps % (LEASE_SECONDS / RETRY_SECONDS) == 0:
            cluster.put_by_others(cluster.held)

    clock.on_sleep = renew
    seconds = 10 * LEASE_SECONDS
    with pytest.raises(DeployError, match="to be done with platform"), hold(cluster, seconds):
        pass


def test_of_two_who_are_as_fast_one_waits(clock: Clock) -> None:
    cluster = Cluster(leases.released(theirs()))
    cluster.before_put = [theirs()]  # taken just before us, by one that dies then
    with hold(cluster) as turn:
        assert turn.dead is not None
    assert clock.sleeps


def test_of_two_who_make_it_one_waits(clock: Clock) -> None:
    cluster = Cluster()
    cluster.before_put = [theirs()]
    with hold(cluster) as turn:
        assert turn.dead is not None
    assert clock.sleeps


@pytest.mark.parametrize("held", [None, leases.released(theirs())])
def test_counts_from_when_it_asked_for_the_lease(clock: Clock, held: dict[str, Any] | None) -> None:
    cluster, began = Cluster(held), clock.now
    cluster.while_asked = lambda: clock.sleep(3)
    with hold(cluster) as turn:
        assert turn.renewed == began


def test_another_refusal_is_told_as_it_is() -> None:
    cluster = Cluster()
    cluster.down = True
    with pytest.raises(CommandError), hold(cluster):
        pass


class Holder:
    """A holder of the lease that renews it when it is told to."""

    def __init__(self, cluster: Cluster) -> None:
        cluster.put_by_others(leases.made("platform-deploy", "me", datetime.now(UTC)))
        found = cluster.find("Lease", "platform-deploy")
        assert found is not None
        self.turn = Turn("platform-deploy", None, renewed=time.monotonic())
        self.lease, self._cluster = found, cluster.within(REQUEST_SECONDS)

    def renew(self) -> None:
        self.lease = lock._renew(cast("Kubernetes", self._cluster), self.lease, self.turn)


def test_a_renewal_counts_from_when_it_was_sent(clock: Clock) -> None:
    cluster = Cluster()
    holder = Holder(cluster)
    clock.now += 9
    sent = clock.now
    cluster.while_asked = lambda: clock.sleep(4)
    holder.renew()
    assert holder.turn.renewed == sent
    clock.now = sent + RENEW_DEADLINE_SECONDS - 0.1
    holder.turn.check()


def test_a_renewal_that_was_applied_though_its_answer_was_lost_is_ours(clock: Clock) -> None:
    cluster = Cluster()
    holder = Holder(cluster)
    began = clock.now
    cluster.loses_answer = True
    # First the one whose answer is lost, then one that is refused: it was made from an old version.
    for _ in range(2):
        clock.now += RETRY_SECONDS
        holder.renew()
        assert holder.turn.renewed == began
    holder.turn.check()
    clock.now += RETRY_SECONDS
    holder.renew()
    assert holder.turn.renewed == clock.now


def test_a_lease_that_somebody_else_has_is_lost_at_once() -> None:
    cluster = Cluster()
    holder = Holder(cluster)
    cluster.put_by_others(theirs())
    holder.renew()
    with pytest.raises(DeployError, match="you@there pid 7 has it now; nothing is rolled back"):
        holder.turn.check()


def test_one_of_our_name_that_took_it_later_is_somebody_else() -> None:
    cluster = Cluster()
    holder = Holder(cluster)
    later = datetime.now(UTC) + timedelta(seconds=40)
    cluster.put_by_others(leases.made("platform-deploy", "me", later))
    holder.renew()
    assert holder.turn.lost.is_set()


def test_a_lease_that_was_given_back_for_us_is_lost() -> None:
    cluster = Cluster()
    holder = Holder(cluster)
    cluster.put_by_others(leases.released(theirs()))
    holder.renew()
    with pytest.raises(DeployError, match="nobody has it now"):
        holder.turn.check()


def test_a_refused_renewal_that_cannot_be_looked_into_is_tried_again() -> None:
    cluster = Cluster()
    holder = Holder(cluster)
    cluster.put_by_others(cluster.held)
    cluster.down_for_reading = True
    holder.renew()
    assert not holder.turn.lost.is_set()
    cluster.down_for_reading = False
    holder.renew()
    holder.renew()
    assert not holder.turn.lost.is_set()
    assert leases.read(holder.lease).version == str(cluster.version)


def test_is_lost_for_good_at_the_deadline_though_a_renewal_succeeds_then(clock: Clock) -> None:
    cluster = Cluster()
    holder = Holder(cluster)
    clock.now += RENEW_DEADLINE_SECONDS
    with pytest.raises(DeployError, match="it could not be renewed for 14 s; nothing"):
        holder.turn.check()
    holder.renew()
    with pytest.raises(DeployError):
        holder.turn.check()


def test_the_lease_is_known_to_be_lost_while_a_renewal_hangs(clock: Clock) -> None:
    cluster = Cluster()
    asked, answered = threading.Event(), threading.Event()

    def hang() -> None:
        asked.set()
        assert answered.wait(60)

    with hold(cluster, pause=0.01) as turn:
        cluster.while_asked = hang
        try:
            assert asked.wait(60)
            turn.check()
            clock.now += RENEW_DEADLINE_SECONDS
            with pytest.raises(DeployError, match="cannot keep the lease"):
                turn.check()
        finally:
            answered.set()


def test_renews_it_until_somebody_else_has_it() -> None:
    cluster = Cluster()
    renewed = threading.Event()
    with hold(cluster, pause=0.01) as turn:
        cluster.while_asked = renewed.set
        assert renewed.wait(60)
        cluster.put_by_others(theirs())
        assert turn.lost.wait(60)
    assert cluster.holder == "you@there pid 7"


def test_one_that_could_not_be_renewed_in_time_is_not_given_back(clock: Clock) -> None:
    """So that the next deploy knows that this one was cut off."""
    cluster = Cluster()
    with hold(cluster, pause=0.01) as turn:
        cluster.down = True
        clock.now += RENEW_DEADLINE_SECONDS
        assert turn.lost.wait(60)
        cluster.down = False
    assert "pid" in cluster.holder


def test_one_of_our_name_that_took_it_later_is_left_alone() -> None:
    cluster = Cluster()
    with hold(cluster):
        assert cluster.held is not None
        later = datetime.now(UTC) + timedelta(seconds=40)
        cluster.put_by_others(leases.made("platform-deploy", cluster.holder, later))
    assert "pid" in cluster.holder


def test_helm_is_ended_in_the_time_that_the_lease_leaves_for_it() -> None:
    kill_seconds = 1
    grace = next(value for name, value in vars(process).items() if name.endswith("GRACE_SECONDS"))
    every = Watcher(on_line=lambda _line: None, tick=lambda: None).every
    assert every + grace + kill_seconds <= leases.STOP_SECONDS
