"""The lease: who is at a release, as a coordination.k8s.io/v1 Lease says it, so that two machines take turns too."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

__all__ = ["LEASE_SECONDS", "Holding", "made", "read", "released", "renewed", "taken"]

# A holder that has not renewed for so long is dead. It renews three times as often.
LEASE_SECONDS = 15

_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"  # MicroTime of the API

_Lease = dict[str, Any]


@dataclass(frozen=True)
class Holding:
    """What a Lease says: its holder ("" for nobody), since when, renewed when, and which version of the object says so."""

    holder: str
    since: datetime | None
    renewed: datetime | None
    version: str

    def dead(self, now: datetime, unchanged: float) -> bool:
        """Whether the holder is gone: no renewal seen for so many seconds, or one so old that no clock is that wrong."""
        old = self.renewed is None or (now - self.renewed).total_seconds() > 20 * LEASE_SECONDS
        return old or unchanged > LEASE_SECONDS

    def covers(self, moment: datetime) -> bool:
        """Whether something begun at this moment was begun by this holder."""
        return self.since is not None and self.since <= moment


def made(name: str, holder: str, now: datetime) -> _Lease:
    """A new Lease."""
    lease: _Lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name}, "spec": {}}
    return taken(lease, holder, now)


def read(lease: _Lease) -> Holding:
    """What a Lease says."""
    spec = lease.get("spec") or {}
    return Holding(
        holder=spec.get("holderIdentity") or "",
        since=_read_time(spec.get("acquireTime")),
        renewed=_read_time(spec.get("renewTime")),
        version=lease["metadata"].get("resourceVersion", ""),
    )


def taken(lease: _Lease, holder: str, now: datetime) -> _Lease:
    """The Lease with a new holder. It keeps its version, so that of two who take it one is refused."""
    changes = int((lease.get("spec") or {}).get("leaseTransitions") or 0) + 1
    time = now.strftime(_TIME)
    return _with(
        lease,
        holderIdentity=holder,
        acquireTime=time,
        renewTime=time,
        leaseDurationSeconds=LEASE_SECONDS,
        leaseTransitions=changes,
    )


def renewed(lease: _Lease, now: datetime) -> _Lease:
    """The Lease, held for another while."""
    return _with(lease, renewTime=now.strftime(_TIME))


def released(lease: _Lease) -> _Lease:
    """The Lease without a holder."""
    return _with(lease, holderIdentity="")


def _with(lease: _Lease, **spec: object) -> _Lease:
    return {**lease, "spec": {**(lease.get("spec") or {}), **spec}}


def _read_time(text: str | None) -> datetime | None:
    return datetime.strptime(text, _TIME).replace(tzinfo=UTC) if text else None
