"""Whether requests are to come to this instance, and what they would miss there."""

from dataclasses import dataclass, field

__all__ = ["Reason", "State"]


@dataclass(frozen=True)
class Reason:
    """Why something is missing: in words for anybody, and with all that the log says of it."""

    plain: str
    full: str


@dataclass(frozen=True)
class State:
    """What /ready tells."""

    ready: bool
    missing: list[str] = field(default_factory=list)

    @property
    def status(self) -> int:
        """The HTTP status: balancers look at nothing else."""
        return 200 if self.ready else 503

    def body(self) -> dict[str, object]:
        """Return what people and monitors look at."""
        if self.ready and not self.missing:
            return {"status": "ready"}
        return {"status": "degraded" if self.ready else "not ready", "reasons": self.missing}
