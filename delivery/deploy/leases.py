"""The lease: who is at a release, as a coordination.k8s.io/v1 Lease says it, so that two machines take turns too."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

__all__ = [
    "LEASE_SECONDS",
    "RENEW_DEADLINE_SECONDS",
    "REQUEST_SECONDS",
    "RETRY_SECONDS",
    "STOP_SECONDS",
    "Holding",
    "is_kept",
    "made",
    "read",
    "released",
    "renewed",
    "taken",
]

# As in client-go's leader election, the holder gives up before anyone else may take over. Each side
# counts on its own monotonic clock: the holder from when it sent the last renewal that succeeded,
# others from when they first saw a renewal, which is later. No wall clock is compared.
LEASE_SECONDS = 30  # others take over when they have seen no renewal for longer than this
RENEW_DEADLINE_SECONDS = 14  # without a renewal for this long, the holder stops its work
STOP_SECONDS = 13  # how long that may take at most: noticing it, and ending helm
REQUEST_SECONDS = 5  # how long one request for the lease may take; two fit before the deadline
RETRY_SECONDS = 2  # between two requests, of the holder and of those who wait

_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"  # MicroTime of the API

_Lease = dict[str, Any]


@dataclass(frozen=True)
class Holding:
    """What a Lease says: its holder ("" for nobody), since when, renewed when, and which version of the object says so."""

    holder: str
    since: datetime | None
    renewed: datetime | None
    version: str

    def dead(self, unchanged: float) -> bool:
        """Whether the holder is gone: the caller has seen no renewal for this many seconds."""
        return unchanged > LEASE_SECONDS

    def is_same(self, other: Holding) -> bool:
        """Whether both are of one holder, which has not lost the lease in between."""
        return (self.holder, self.since) == (other.holder, other.since)

    def covers(self, moment: datetime) -> bool:
        """Whether something begun at this moment was begun by this holder."""
        return self.since is not None and self.since <= moment


def is_kept(renewed: float, now: float) -> bool:
    """Whether a holder may go on that sent its last successful renewal at this time."""
    return now - renewed < RENEW_DEADLINE_SECONDS


def made(name: str, holder: str, now: datetime) -> _Lease:
    """A new Lease."""
    lease: _Lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name},
        "spec": {},
    }
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
