"""Read and write the coordination.k8s.io/v1 Lease by which machines lock an environment."""

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
    "Holder",
    "acquired",
    "new_lease",
    "read_holder",
    "released",
    "renewed",
]

# As in client-go's leader election, the holder gives up before anyone else may take over. Each side
# counts on its own monotonic clock: the holder from when it sent the last renewal that succeeded,
# others from when they first saw a renewal, which is later. No wall clock is compared.
LEASE_SECONDS = 30  # others take over when they have seen no renewal for longer than this
RENEW_DEADLINE_SECONDS = 14  # without a renewal for this long, the holder stops its work
STOP_SECONDS = 13  # how long stopping takes at most: noticing the loss, and ending helm
REQUEST_SECONDS = 5  # how long a request for the Lease may take; two fit before the deadline
RETRY_SECONDS = 2  # between two requests, both to renew and to acquire

_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"  # MicroTime of the API

_Lease = dict[str, Any]


@dataclass(frozen=True)
class Holder:
    """The holder of a Lease, as a version of the Lease has it."""

    name: str  # "" for nobody
    since: datetime | None
    version: str  # the Lease's resourceVersion

    def is_same(self, other: Holder) -> bool:
        """Whether both are the same holder, which has not lost the Lease in between."""
        return (self.name, self.since) == (other.name, other.since)

    def had_lease_at(self, moment: datetime) -> bool:
        """Whether this holder already had the Lease at this moment."""
        return self.since is not None and self.since <= moment


def new_lease(name: str, holder: str, now: datetime) -> _Lease:
    """A new Lease with this holder."""
    lease: _Lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name},
        "spec": {},
    }
    return acquired(lease, holder, now)


def read_holder(lease: _Lease) -> Holder:
    """The holder that a Lease names."""
    spec = lease.get("spec") or {}
    since = spec.get("acquireTime")
    return Holder(
        name=spec.get("holderIdentity") or "",
        since=datetime.strptime(since, _TIME).replace(tzinfo=UTC) if since else None,
        version=lease["metadata"].get("resourceVersion", ""),
    )


def acquired(lease: _Lease, holder: str, now: datetime) -> _Lease:
    """The Lease with a new holder.

    It keeps its resourceVersion, so that the API refuses the second of two who acquire it.
    """
    transitions = int((lease.get("spec") or {}).get("leaseTransitions") or 0) + 1
    time = now.strftime(_TIME)
    return _with(
        lease,
        holderIdentity=holder,
        acquireTime=time,
        renewTime=time,
        leaseDurationSeconds=LEASE_SECONDS,
        leaseTransitions=transitions,
    )


def renewed(lease: _Lease, now: datetime) -> _Lease:
    """The Lease with a new renewTime."""
    return _with(lease, renewTime=now.strftime(_TIME))


def released(lease: _Lease) -> _Lease:
    """The Lease without a holder."""
    return _with(lease, holderIdentity="")


def _with(lease: _Lease, **spec: object) -> _Lease:
    return {**lease, "spec": {**(lease.get("spec") or {}), **spec}}
