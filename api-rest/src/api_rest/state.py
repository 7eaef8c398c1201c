"""What GET /ready answers. A module of its own: the server imports it before anything slow."""

from dataclasses import dataclass, field

__all__ = ["Reason", "State"]


@dataclass(frozen=True)
class Reason:
    """Why a backend cannot be used."""

    # For everybody.
    plain: str
    # For the log and for clients with a token.
    full: str


@dataclass(frozen=True)
class State:
    """Whether this instance is ready, and what is wrong with it."""

    ready: bool
    missing: list[str] = field(default_factory=list)

    @property
    def status(self) -> int:
        """The HTTP status, which is all that load balancers read."""
        return 200 if self.ready else 503

    def body(self) -> dict[str, object]:
        """Return the JSON body, for people and monitors."""
        if self.ready and not self.missing:
            return {"status": "ready"}
        return {"status": "degraded" if self.ready else "not ready", "reasons": self.missing}
