"""The errors that the modules of this app raise for each other."""
# ruff: noqa: N818  named for the state they report

from collections.abc import Mapping

__all__ = ["Busy", "Cut", "Problem", "Unavailable"]


class Problem(Exception):
    """A request that gets an error answer.

    status, headers: of the HTTP answer
    code: for programs
    message: for people
    fields: what is wrong with each wrong field
    """

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
        """Return the JSON body, which has the same shape for every error."""
        error: dict[str, object] = {"code": self.code, "message": self.message}
        if self.fields:
            error["fields"] = self.fields
        return {"error": error}


class Unavailable(Exception):
    """Kafka or the database does not answer; the client may retry.

    message: for the log, since it may name hosts and users
    plain: for everybody
    """

    def __init__(self, *message: object, plain: str = "") -> None:
        super().__init__(*message)
        self.plain = plain


class Busy(Exception):
    """There was no time for this request; the client may retry.

    reason: for the log
    plain: for everybody
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
    """An answer that is partly sent cannot be finished. The reason is logged already."""
