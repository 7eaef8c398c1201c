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

from delivery.core import lease as leases
from delivery.core.errors import CommandError, DeployError
from delivery.core.lease import LEASE_SECONDS, Holding
from delivery.tools import screen
from delivery.tools.kubernetes import Kubernetes, Object
from delivery.tools.machine import user

__all__ = ["Turn", "hold"]

_LOOK_SECONDS = 2.0
_CONFLICTS = ("AlreadyExists", "already exists", "Conflict", "the object has been modified")


@dataclass
class Turn:
    """Our turn at a release. dead is who had it before and never gave it back, which means that its work was cut off."""

    name: str
    dead: Holding | None
    lost: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        """Raise DeployError when somebody else has taken the turn, because we were not seen for too long."""
        if self.lost.is_set():
            raise DeployError(
                f"keep the lease {self.name}: it could not be renewed for {LEASE_SECONDS} s, and is somebody else's now",
                hint="the cluster or the network stood still; run the same command again",
            )


@contextmanager
def hold(kubernetes: Kubernetes, name: str, *, seconds: int, pause: float = _LOOK_SECONDS) -> Iterator[Turn]:
    """Hold the Lease of this name while the body runs; wait for another holder, at most for so many seconds."""
    lease, turn = _acquire(kubernetes, name, seconds, pause)
    ended = threading.Event()
    keeper = threading.Thread(target=_keep, args=(kubernetes, lease, turn, ended), daemon=True)
    keeper.start()
    try:
        yield turn
    finally:
        ended.set()
        keeper.join()
        if not turn.lost.is_set():
            _release(kubernetes, name)


def _me() -> str:
    return f"{user()}@{socket.gethostname()} pid {os.getpid()}"


def _acquire(kubernetes: Kubernetes, name: str, seconds: int, pause: float) -> tuple[Object, Turn]:
    """The Lease, ours, and the turn. The holder's clock need not be ours: what counts is for how long we saw no renewal."""
    began = time.monotonic()
    seen, unchanged_since, told = "", began, ""
    while True:
        lease = kubernetes.find("Lease", name)
        now = time.monotonic()
        if lease is None:
            with suppress(_Lost):
                return _put(kubernetes.create, leases.made(name, _me(), datetime.now(UTC))), Turn(name, None)
            continue
        holding = leases.read(lease)
        if holding.version != seen:
            seen, unchanged_since = holding.version, now
        dead = bool(holding.holder) and holding.dead(datetime.now(UTC), now - unchanged_since)
        if dead or not holding.holder:
            with suppress(_Lost):
                taken = _put(kubernetes.replace, leases.taken(lease, _me(), datetime.now(UTC)))
                return taken, Turn(name, holding if dead else None)
            continue
        if now - began > seconds:
            raise DeployError(
                f"wait for {holding.holder} to be done with {name}: it still is at it after {seconds} s",
                hint="wait for it, or give more time with --lock-timeout; a holder that is gone is noticed by itself",
            )
        if told != holding.holder:
            since = f" since {holding.since:%H:%M:%S} UTC" if holding.since else ""
            screen.say(f"… {holding.holder} is at {name}{since}; waiting for it")
            told = holding.holder
        time.sleep(pause)


class _Lost(Exception):  # noqa: N818  # not an error: somebody else was faster
    pass


def _put(put: Callable[[Object], Object], lease: Object) -> Object:
    try:
        return put(lease)
    except CommandError as error:
        if any(one in error.tail for one in _CONFLICTS):
            raise _Lost from error
        raise


def _keep(kubernetes: Kubernetes, lease: Object, turn: Turn, ended: threading.Event) -> None:
    """Renew the Lease until the turn has ended. A renewal that fails is tried again: the cluster may be busy."""
    renewed = time.monotonic()
    while not ended.wait(LEASE_SECONDS / 3):
        try:
            lease = _put(kubernetes.replace, leases.renewed(lease, datetime.now(UTC)))
            renewed = time.monotonic()
        except _Lost:
            turn.lost.set()
            return
        except CommandError:
            # Until the duration is over nobody takes it; then somebody may have, and we no longer know.
            if time.monotonic() - renewed > LEASE_SECONDS:
                turn.lost.set()
                return


def _release(kubernetes: Kubernetes, name: str) -> None:
    """Give the Lease back; where that fails it runs out by itself."""
    with suppress(CommandError, _Lost):
        lease = kubernetes.find("Lease", name)
        if lease is not None and leases.read(lease).holder == _me():
            _put(kubernetes.replace, leases.released(lease))
