"""Of two deploys the second waits, unless the first has died."""

import json
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from delivery import process
from delivery.deploy import leases, lock
from delivery.deploy.helm import TICK_SECONDS
from delivery.deploy.kubectl import Kubernetes
from delivery.deploy.leases import (
    LEASE_SECONDS,
    RENEW_DEADLINE_SECONDS,
    REQUEST_SECONDS,
    RETRY_SECONDS,
)
from delivery.deploy.lock import Lock
from delivery.errors import CommandError, DeployError

NAME = "platform-deploy"


class Cluster:
    """A namespace with one Lease, and the API's versions and conflicts."""

    def __init__(self, lease: dict[str, Any] | None = None) -> None:
        self.lease = lease
        self.version = 1
        self.before_put: list[dict[str, Any] | None] = []  # what another client puts just before
        self.down = False
        self.down_for_reading = False
        self.loses_answer = False
        self.during_put: Callable[[], object] = lambda: None

    def within(self, seconds: float) -> "QuickCluster":
        assert seconds == REQUEST_SECONDS
        return QuickCluster(self)

    def find(self, _kind: str, _name: str) -> dict[str, Any] | None:
        if self.down or self.down_for_reading:
            raise failed("connection refused")
        if self.lease is None:
            return None
        metadata = {**self.lease["metadata"], "resourceVersion": str(self.version)}
        return cast("dict[str, Any]", json.loads(json.dumps({**self.lease, "metadata": metadata})))

    def create(self, lease: dict[str, Any]) -> dict[str, Any]:
        self._other_clients()
        if self.lease is not None:
            raise failed('leases "platform-deploy" already exists')
        return self._put(lease)

    def replace(self, lease: dict[str, Any]) -> dict[str, Any]:
        self._other_clients()
        if lease["metadata"]["resourceVersion"] != str(self.version):
            raise failed("the object has been modified; please apply your changes to the latest")
        return self._put(lease)

    def put_by_another(self, lease: dict[str, Any] | None) -> None:
        self.lease = lease
        self.version += 1

    def _other_clients(self) -> None:
        self.during_put()
        if self.down:
            raise failed("connection refused")
        if self.before_put:
            self.put_by_another(self.before_put.pop(0))

    def _put(self, lease: dict[str, Any]) -> dict[str, Any]:
        self.put_by_another(lease)
        if self.loses_answer:
            self.loses_answer = False
            raise failed("connection reset by peer")
        stored = self.find("Lease", "")
        assert stored is not None
        return stored

    @property
    def holder(self) -> str:
        assert self.lease is not None
        return leases.read_holder(self.lease).name


class QuickCluster:
    """The cluster with a time limit on requests: only this one can change the Lease."""

    def __init__(self, cluster: Cluster) -> None:
        self.find, self.create, self.replace = cluster.find, cluster.create, cluster.replace


def failed(tail: str) -> CommandError:
    return CommandError("put", argv=["kubectl"], returncode=1, tail=tail)


def others(age: float = 0, holder: str = "you@there pid 7") -> dict[str, Any]:
    return leases.new_lease(NAME, holder, datetime.now(UTC) - timedelta(seconds=age))


class Clock:
    """A monotonic clock that only sleeping moves."""

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


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Renew the Lease without a pause."""
    monkeypatch.setattr(lock, "RETRY_SECONDS", 0.01)


def acquire(cluster: Cluster, seconds: int = 60) -> AbstractContextManager[Lock]:
    return lock.acquire(cast("Kubernetes", cluster), NAME, seconds=seconds)


@pytest.mark.parametrize("error", [None, KeyboardInterrupt])
def test_a_lock_is_released_when_the_work_ends(error: type[BaseException] | None) -> None:
    cluster = Cluster()
    try:
        with acquire(cluster) as acquired:
            assert "pid" in cluster.holder
            acquired.check()
            if error:
                raise error
    except KeyboardInterrupt:
        pass
    assert cluster.holder == ""
    with acquire(cluster) as acquired:
        assert acquired.dead_holder is None


def test_the_second_deploy_waits_and_names_the_first(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = Cluster(others())

    def release() -> None:
        if clock.sleeps == 3:
            assert cluster.lease is not None
            cluster.put_by_another(leases.released(cluster.lease))

    clock.on_sleep = release
    with acquire(cluster) as acquired:
        assert clock.sleeps == 3
        assert acquired.dead_holder is None
    assert capsys.readouterr().out.count("you@there pid 7 holds platform-deploy since") == 1


def test_waiting_has_a_time_limit() -> None:
    message = "cannot lock platform-deploy: you@there pid 7 still holds it after -1 s"
    with pytest.raises(DeployError, match=message), acquire(Cluster(others()), -1):
        pass


@pytest.mark.parametrize("age", [0, 3600, -3600])
def test_a_dead_holder_is_replaced_whatever_its_clock_was(clock: Clock, age: float) -> None:
    began = clock.now
    with acquire(Cluster(others(age))) as acquired:
        assert acquired.dead_holder is not None
        assert acquired.dead_holder.name == "you@there pid 7"
        assert LEASE_SECONDS < clock.now - began <= LEASE_SECONDS + RETRY_SECONDS


def test_a_holder_that_renews_late_but_in_time_is_not_dead(clock: Clock) -> None:
    cluster = Cluster(others())

    def renew() -> None:
        if clock.sleeps % (LEASE_SECONDS / RETRY_SECONDS) == 0:
            cluster.put_by_another(cluster.lease)

    clock.on_sleep = renew
    with (
        pytest.raises(DeployError, match="still holds it"),
        acquire(cluster, 10 * LEASE_SECONDS),
    ):
        pass


@pytest.mark.parametrize("lease", [None, leases.released(others())])
def test_of_two_that_acquire_at_once_one_waits(clock: Clock, lease: dict[str, Any] | None) -> None:
    cluster = Cluster(lease)
    cluster.before_put = [others()]  # it dies then
    with acquire(cluster) as acquired:
        assert acquired.dead_holder is not None
    assert clock.sleeps


@pytest.mark.parametrize("lease", [None, leases.released(others())])
def test_the_lock_counts_from_before_the_request(
    clock: Clock, lease: dict[str, Any] | None
) -> None:
    cluster, began = Cluster(lease), clock.now
    cluster.during_put = lambda: clock.sleep(3)
    with acquire(cluster) as acquired:
        assert acquired.renewed == began


def test_another_refusal_is_raised_as_it_is() -> None:
    cluster = Cluster()
    cluster.down = True
    with pytest.raises(CommandError), acquire(cluster):
        pass


class Holder:
    """A holder of the Lease that renews it on call instead of in a thread."""

    def __init__(self, cluster: Cluster) -> None:
        cluster.put_by_another(others(holder="me"))
        lease = cluster.find("Lease", NAME)
        assert lease is not None
        self.lock = Lock(NAME, None, renewed=time.monotonic())
        self.lease, self._cluster = lease, cluster.within(REQUEST_SECONDS)

    def renew(self) -> None:
        self.lease = lock._renew(cast("Kubernetes", self._cluster), self.lease, self.lock)


def test_a_renewal_counts_from_when_it_was_sent(clock: Clock) -> None:
    cluster = Cluster()
    holder = Holder(cluster)
    clock.now += 9
    sent = clock.now
    cluster.during_put = lambda: clock.sleep(4)
    holder.renew()
    assert holder.lock.renewed == sent
    clock.now = sent + RENEW_DEADLINE_SECONDS - 0.1
    holder.lock.check()


def test_a_renewal_whose_answer_is_lost_does_not_lose_the_lock(clock: Clock) -> None:
    cluster = Cluster()
    holder = Holder(cluster)
    began = clock.now
    cluster.loses_answer = True
    # First the lost answer, then a refusal: the second renewal was made from an old version.
    for _ in range(2):
        clock.now += RETRY_SECONDS
        holder.renew()
        assert holder.lock.renewed == began
    holder.lock.check()
    clock.now += RETRY_SECONDS
    holder.renew()
    assert holder.lock.renewed == clock.now


@pytest.mark.parametrize(
    ("lease", "message"),
    [
        (others(), "you@there pid 7 has it now; nothing is rolled back"),
        (others(-40, "me"), "me has it now"),  # the same name, acquired later
        (leases.released(others()), "nobody has it now"),
    ],
)
def test_a_lease_with_another_holder_is_lost_at_once(lease: dict[str, Any], message: str) -> None:
    cluster = Cluster()
    holder = Holder(cluster)
    cluster.put_by_another(lease)
    holder.renew()
    with pytest.raises(DeployError, match=message):
        holder.lock.check()


def test_a_refused_renewal_is_retried_when_the_lease_cannot_be_read() -> None:
    cluster = Cluster()
    holder = Holder(cluster)
    cluster.put_by_another(cluster.lease)
    cluster.down_for_reading = True
    holder.renew()
    assert not holder.lock.lost.is_set()
    cluster.down_for_reading = False
    holder.renew()
    holder.renew()
    assert not holder.lock.lost.is_set()
    assert leases.read_holder(holder.lease).version == str(cluster.version)


def test_a_lock_is_lost_for_good_at_the_deadline_even_if_a_later_renewal_succeeds(
    clock: Clock,
) -> None:
    cluster = Cluster()
    holder = Holder(cluster)
    clock.now += RENEW_DEADLINE_SECONDS
    with pytest.raises(DeployError, match="it could not be renewed for 14 s; nothing"):
        holder.lock.check()
    holder.renew()
    with pytest.raises(DeployError):
        holder.lock.check()


@pytest.mark.usefixtures("_quick")
def test_a_lock_is_lost_while_a_renewal_hangs(clock: Clock) -> None:
    cluster = Cluster()
    asked, answered = threading.Event(), threading.Event()

    def hang() -> None:
        asked.set()
        assert answered.wait(60)

    with acquire(cluster) as acquired:
        cluster.during_put = hang
        try:
            assert asked.wait(60)
            acquired.check()
            clock.now += RENEW_DEADLINE_SECONDS
            with pytest.raises(DeployError, match="cannot keep the lease"):
                acquired.check()
        finally:
            answered.set()


@pytest.mark.usefixtures("_quick")
def test_the_lease_is_renewed_until_another_holder_has_it() -> None:
    cluster = Cluster()
    renewed = threading.Event()
    with acquire(cluster) as acquired:
        cluster.during_put = renewed.set
        assert renewed.wait(60)
        cluster.put_by_another(others())
        assert acquired.lost.wait(60)
    assert cluster.holder == "you@there pid 7"


@pytest.mark.usefixtures("_quick")
def test_a_lease_that_was_lost_is_not_released(clock: Clock) -> None:
    """So that the next deploy sees that this one was cut off."""
    cluster = Cluster()
    with acquire(cluster) as acquired:
        cluster.down = True
        clock.now += RENEW_DEADLINE_SECONDS
        assert acquired.lost.wait(60)
        cluster.down = False
    assert "pid" in cluster.holder


def test_a_later_holder_of_the_same_name_is_not_released() -> None:
    cluster = Cluster()
    with acquire(cluster):
        cluster.put_by_another(others(-40, cluster.holder))
    assert "pid" in cluster.holder


def test_helm_ends_in_the_time_that_the_lease_leaves_for_it() -> None:
    end_seconds = process.GRACE_SECONDS + process._KILL_SECONDS
    assert TICK_SECONDS + end_seconds <= leases.STOP_SECONDS
