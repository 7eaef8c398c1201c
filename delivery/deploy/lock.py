"""Take turns at a release: of two deploys, on whichever machines, the second waits."""

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
from delivery.deploy.leases import RENEW_DEADLINE_SECONDS, REQUEST_SECONDS, RETRY_SECONDS, Holding
from delivery.errors import CommandError, DeployError, LeaseLostError
from delivery.machine import actor

__all__ = ["Turn", "hold"]

_CONFLICTS = ("AlreadyExists", "already exists", "Conflict", "the object has been modified")


@dataclass
class Turn:
    """Our turn at a release: the lease that we hold, by its name."""

    name: str
    dead: Holding | None  # who had it before and never gave it back: its work was cut off
    lost: threading.Event = field(default_factory=threading.Event)
    # When the last renewal that succeeded was sent, on the monotonic clock.
    renewed: float = field(default_factory=time.monotonic)
    successor: str = ""  # who has taken the lease from us, when that is known

    def check(self) -> None:
        """Raise LeaseLostError when the lease is lost: somebody else has it, or may have it soon.

        To be called before anything is changed, and again and again beside helm. It asks the clock
        and not the cluster, so that it answers while a renewal hangs.
        """
        if not leases.is_kept(self.renewed, time.monotonic()):
            self.lost.set()  # for good: our caller stops, though a renewal may yet succeed
        if self.lost.is_set():
            reason = f"it could not be renewed for {RENEW_DEADLINE_SECONDS} s"
            if self.successor:
                reason = f"{self.successor} has it now"
            after = "nothing is rolled back, the next deploy repairs what was cut off"
            raise LeaseLostError(
                f"cannot keep the lease {self.name}: {reason}; {after}",
                hint="see that the cluster answers, and run the same command again",
            )


@contextmanager
def hold(
    kubernetes: Kubernetes, name: str, *, seconds: int, pause: float = RETRY_SECONDS
) -> Iterator[Turn]:
    """Hold the Lease of this name while the body runs; wait for another holder, at most for so many seconds."""
    quick = kubernetes.within(REQUEST_SECONDS)
    lease, turn = _acquire(kubernetes, name, seconds, pause)
    ended = threading.Event()
    keeper = threading.Thread(target=_keep, args=(quick, lease, turn, ended, pause), daemon=True)
    keeper.start()
    try:
        yield turn
    finally:
        ended.set()
        keeper.join()
        # One that was lost is never given back: the next has to know that our work was cut off.
        if not turn.lost.is_set():
            _release(quick, lease)


def _me() -> str:
    return f"{actor()}@{socket.gethostname()} pid {os.getpid()}"


def _acquire(kubernetes: Kubernetes, name: str, seconds: int, pause: float) -> tuple[Object, Turn]:
    """The Lease, ours, and the turn. The holder's clock need not be ours: what counts is for how long we saw no renewal."""
    began = time.monotonic()
    quick = kubernetes.within(REQUEST_SECONDS)
    seen, unchanged_since, told = "", began, ""
    while True:
        lease = kubernetes.find("Lease", name)
        now = time.monotonic()
        if lease is None:
            with suppress(_ConflictError):
                created = _put(quick.create, leases.made(name, _me(), datetime.now(UTC)))
                return created, Turn(name, None, renewed=now)
            continue
        holding = leases.read(lease)
        if holding.version != seen:
            seen, unchanged_since = holding.version, now
        dead = bool(holding.holder) and holding.dead(now - unchanged_since)
        if dead or not holding.holder:
            with suppress(_ConflictError):
                taken = _put(quick.replace, leases.taken(lease, _me(), datetime.now(UTC)))
                return taken, Turn(name, holding if dead else None, renewed=now)
            continue
        if now - began > seconds:
            raise DeployError(
                f"wait for {holding.holder} to be done with {name}: it still is at it after {seconds} s",
                hint="wait for it, or give more time with --lock-timeout; a holder that is gone is noticed by itself",
            )
        if told != holding.holder:
            since = f" since {holding.since:%H:%M:%S} UTC" if holding.since else ""
            console.say(f"… {holding.holder} is at {name}{since}; waiting for it")
            told = holding.holder
        time.sleep(pause)


class _ConflictError(Exception):
    """The Lease is not the version any more that the change was made from."""


def _put(put: Callable[[Object], Object], lease: Object) -> Object:
    try:
        return put(lease)
    except CommandError as error:
        if any(one in error.tail for one in _CONFLICTS):
            raise _ConflictError from error
        raise


def _keep(
    kubernetes: Kubernetes, lease: Object, turn: Turn, ended: threading.Event, pause: float
) -> None:
    """Renew the Lease until the turn has ended or is lost; one that fails is tried again."""
    while not ended.wait(pause):
        lease = _renew(kubernetes, lease, turn)
        if turn.lost.is_set() or not leases.is_kept(turn.renewed, time.monotonic()):
            turn.lost.set()
            return


def _renew(kubernetes: Kubernetes, lease: Object, turn: Turn) -> Object:
    """Try to renew the Lease once; the Lease to try it with the next time."""
    sent = time.monotonic()
    try:
        try:
            renewed = _put(kubernetes.replace, leases.renewed(lease, datetime.now(UTC)))
        except _ConflictError:
            # A renewal of ours may have been applied, and its answer lost.
            return _read_again(kubernetes, lease, turn)
    except CommandError:
        return lease
    turn.renewed = sent
    return renewed


def _read_again(kubernetes: Kubernetes, lease: Object, turn: Turn) -> Object:
    """The Lease as it is; the turn is lost when that is not ours any more."""
    current = kubernetes.find("Lease", turn.name)
    if current is not None and leases.read(current).is_same(leases.read(lease)):
        return current
    turn.successor = (leases.read(current).holder if current else "") or "nobody"
    turn.lost.set()
    return lease


def _release(kubernetes: Kubernetes, ours: Object) -> None:
    """Give the Lease back; where that fails it runs out by itself."""
    with suppress(CommandError, _ConflictError):
        lease = kubernetes.find("Lease", ours["metadata"]["name"])
        if lease is not None and leases.read(lease).is_same(leases.read(ours)):
            _put(kubernetes.replace, leases.released(lease))
