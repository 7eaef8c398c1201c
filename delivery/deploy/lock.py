"""Lock an environment by a Lease: of two deploys, on whichever machines, the second waits."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from delivery import console
from delivery.deploy import leases
from delivery.deploy.kubectl import Kubernetes, Object
from delivery.deploy.leases import (
    LEASE_SECONDS,
    RENEW_DEADLINE_SECONDS,
    REQUEST_SECONDS,
    RETRY_SECONDS,
    Holder,
)
from delivery.errors import CommandError, DeployError, LeaseLostError
from delivery.machine import actor

__all__ = ["Lock", "acquire", "is_held"]

_CONFLICTS = ("AlreadyExists", "already exists", "Conflict", "the object has been modified")


@dataclass
class Lock:
    """A Lease that this process holds."""

    name: str  # the Lease's
    dead_holder: Holder | None  # the previous holder, if it died: its deploy was cut off
    lost: threading.Event = field(default_factory=threading.Event)
    # When the last renewal that succeeded was sent, on the monotonic clock.
    renewed: float = field(default_factory=time.monotonic)
    successor: str = ""  # the next holder, when a renewal has seen it

    @property
    def is_expired(self) -> bool:
        """Whether the last renewal is so old that this process has to stop its work."""
        return time.monotonic() - self.renewed >= RENEW_DEADLINE_SECONDS

    def check(self) -> None:
        """Raise LeaseLostError when another process has the Lease, or may have it soon.

        Call it before each change, and regularly beside helm. It reads the clock instead of asking
        the cluster, so that it answers while a renewal hangs.
        """
        if self.is_expired:
            self.lost.set()  # for good: the caller stops, even if a later renewal succeeds
        if self.lost.is_set():
            reason = f"it could not be renewed for {RENEW_DEADLINE_SECONDS} s"
            if self.successor:
                reason = f"{self.successor} has it now"
            raise LeaseLostError(
                f"cannot keep the lease {self.name}: {reason}; "
                "nothing is rolled back, the next deploy repairs what was cut off",
                hint="check that the cluster answers, then run the same command again",
            )


def is_held(kubernetes: Kubernetes, name: str) -> bool:
    """Whether the Lease of this name has a holder, dead or alive."""
    lease = kubernetes.within(REQUEST_SECONDS).find("Lease", name)
    return lease is not None and bool(leases.read_holder(lease).name)


@contextmanager
def acquire(kubernetes: Kubernetes, name: str, *, seconds: int) -> Iterator[Lock]:
    """Hold the Lease of this name while the body runs; wait so long for another holder."""
    quick = kubernetes.within(REQUEST_SECONDS)
    lease, lock = _acquire(kubernetes, name, seconds)
    ended = threading.Event()
    renewal = threading.Thread(target=_renew_until, args=(ended, quick, lease, lock), daemon=True)
    renewal.start()
    try:
        yield lock
    finally:
        ended.set()
        renewal.join()
        # A lost Lease stays as it is: the next holder has to see that this deploy was cut off.
        if not lock.lost.is_set():
            _release(quick, lease)


def _acquire(kubernetes: Kubernetes, name: str, seconds: int) -> tuple[Object, Lock]:
    """Acquire the Lease; a holder is dead once this process has seen no renewal for long enough."""
    quick, own_name = kubernetes.within(REQUEST_SECONDS), _own_name()
    started = unchanged_since = time.monotonic()
    last_version, announced = "", ""
    while True:
        lease, now = kubernetes.find("Lease", name), time.monotonic()
        if lease is None:
            with suppress(_ConflictError):
                created = _put(quick.create, leases.new_lease(name, own_name, datetime.now(UTC)))
                return created, Lock(name, None, renewed=now)
            continue
        holder = leases.read_holder(lease)
        if holder.version != last_version:
            last_version, unchanged_since = holder.version, now
        is_dead = bool(holder.name) and now - unchanged_since > LEASE_SECONDS
        if is_dead or not holder.name:
            with suppress(_ConflictError):
                taken = _put(quick.replace, leases.acquired(lease, own_name, datetime.now(UTC)))
                return taken, Lock(name, holder if is_dead else None, renewed=now)
            continue
        if now - started > seconds:
            raise DeployError(
                f"cannot lock {name}: {holder.name} still holds it after {seconds} s",
                hint="wait for that deploy, or pass a longer --lock-timeout "
                f"(a holder that died loses the lock after {LEASE_SECONDS} s)",
            )
        if announced != holder.name:
            since = f" since {holder.since:%H:%M:%S} UTC" if holder.since else ""
            console.say(f"… {holder.name} holds {name}{since}; waiting until it is released")
            announced = holder.name
        time.sleep(RETRY_SECONDS)


def _own_name() -> str:
    return f"{actor()}@{socket.gethostname()} pid {os.getpid()}"


class _ConflictError(Exception):
    """The Lease has changed since it was read."""


def _put(put: Callable[[Object], Object], lease: Object) -> Object:
    try:
        return put(lease)
    except CommandError as error:
        if any(text in error.tail for text in _CONFLICTS):
            raise _ConflictError from error
        raise


def _renew_until(ended: threading.Event, kubernetes: Kubernetes, lease: Object, lock: Lock) -> None:
    """Renew the Lease until the body has ended or the Lease is lost; retry a failed renewal."""
    while not ended.wait(RETRY_SECONDS):
        lease = _renew(kubernetes, lease, lock)
        if lock.lost.is_set() or lock.is_expired:
            lock.lost.set()
            return


def _renew(kubernetes: Kubernetes, lease: Object, lock: Lock) -> Object:
    """Try to renew the Lease once; return the Lease for the next renewal."""
    sent = time.monotonic()
    try:
        try:
            renewed = _put(kubernetes.replace, leases.renewed(lease, datetime.now(UTC)))
        except _ConflictError:
            # An earlier renewal may have been applied though its answer was lost.
            return _read_again(kubernetes, lease, lock)
    except CommandError:
        return lease
    lock.renewed = sent
    return renewed


def _read_again(kubernetes: Kubernetes, lease: Object, lock: Lock) -> Object:
    """The Lease as it is now; the lock is lost when the Lease has another holder."""
    latest = kubernetes.find("Lease", lock.name)
    if latest is not None and _have_same_holder(latest, lease):
        return latest
    lock.successor = (leases.read_holder(latest).name if latest else "") or "nobody"
    lock.lost.set()
    return lease


def _release(kubernetes: Kubernetes, own: Object) -> None:
    """Release the Lease; if that fails, it expires by itself."""
    with suppress(CommandError, _ConflictError):
        lease = kubernetes.find("Lease", own["metadata"]["name"])
        if lease is not None and _have_same_holder(lease, own):
            _put(kubernetes.replace, leases.released(lease))


def _have_same_holder(lease: Object, other: Object) -> bool:
    return leases.read_holder(lease).is_same(leases.read_holder(other))
