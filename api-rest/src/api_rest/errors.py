"""What can go wrong, as the parts of this app tell each other. Imports nothing of ours."""
# ruff: noqa: N818  named for what they say

from collections.abc import Mapping

__all__ = ["Busy", "Cut", "Problem", "Unavailable"]


class Problem(Exception):
    """A request that gets an error answer: the status, a code for programs, a message for people, the wrong fields."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        fields: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.fields = dict(fields or {})
        self.headers = dict(headers or {})

    def body(self) -> dict[str, object]:
        """Return the JSON body, the same shape for every error this app answers with."""
        error: dict[str, object] = {"code": self.code, "message": self.message}
        if self.fields:
            error["fields"] = self.fields
        return {"error": error}


class Unavailable(Exception):
    """Kafka or the database is away; it may come back, so the same request can be tried again.

    plain: what anybody may read of it. The message may name hosts and users: it is for the log.
    """

    def __init__(self, *message: object, plain: str = "") -> None:
        super().__init__(*message)
        self.plain = plain


class Busy(Exception):
    """There was no time for this one request; it may be tried again.

    plain: what anybody may read of it. The message is for the log.
    """

    def __init__(
        self,
        code: str,
        reason: str,
        *,
        plain: str = "the database had no time for this request",
    ) -> None:
        super().__init__(reason)
        self.code = code
        self.plain = plain


class Cut(Exception):
    """An answer that has begun cannot be finished; why is in the log already."""
