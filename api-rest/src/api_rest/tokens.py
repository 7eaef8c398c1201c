"""Who sends a request and what they may do: bearer tokens, and users that a proxy names."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from bottle import request
from ledger.config import SettingsError
from ledger.event_rules import check_actor

from .errors import Problem
from .proxies import is_trusted

if TYPE_CHECKING:
    from collections.abc import Callable

    from bottle import HTTPResponse, Route

__all__ = ["AccessPlugin", "Token", "Tokens", "actor", "check_scope", "parse", "user"]

log = structlog.stdlib.get_logger(__name__)

READ, WRITE = "read", "write"
# A component and an environment, either with * and ?, as in `api-*@staging`.
GLOB = re.compile(r"[A-Za-z0-9._/*?-]+@[A-Za-z0-9._/*?-]+")
NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
SECRET = re.compile(r"[!-~]{16,512}")
FIELDS = 3
_TOKEN, _USER = "api_rest.token", "api_rest.user"


@dataclass(frozen=True)
class Token:
    """One token of the file."""

    # Its owner, the actor of the events that it writes.
    name: str
    # `read`, `write`, or `write:GLOBS` for those components and environments only.
    scope: str

    def may_write(self, component: str, environment: str) -> bool:
        """Return whether its scope covers a component in an environment."""
        kind, _, globs = self.scope.partition(":")
        place = f"{component}@{environment}"
        return kind == WRITE and any(fnmatchcase(place, glob) for glob in (globs or "*").split(","))


def parse(text: str) -> dict[bytes, Token]:
    """Return the tokens of a file of lines `name scope token`, by their digests.

    Raises SettingsError with every line that is wrong or repeats a token.
    """
    tokens: dict[bytes, Token] = {}
    problems: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        if not fields or fields[0].startswith("#"):
            continue
        if reason := _problem(fields):
            problems.append(f"TOKENS_FILE: line {number}: {reason}")
            continue
        digest = _digest(fields[2])
        if digest in tokens:
            problems.append(
                f"TOKENS_FILE: line {number}: this token is there already; "
                "one token is one client's"
            )
        tokens[digest] = Token(fields[0], fields[1])
    if not tokens and not problems:
        problems.append("TOKENS_FILE: it holds no token")
    if problems:
        raise SettingsError(problems)
    return tokens


def _problem(fields: list[str]) -> str | None:
    if len(fields) != FIELDS:
        return "it must be `name scope token`"
    if not NAME.fullmatch(fields[0]):
        return "the name must be 1 to 64 letters, digits and ._-"
    kind, colon, globs = fields[1].partition(":")
    if kind not in {READ, WRITE} or (colon and kind == READ):
        return "the scope must be read, write or write:COMPONENT@ENVIRONMENT,…"
    if colon and not all(map(GLOB.fullmatch, globs.split(","))):
        return "after write: must stand COMPONENT@ENVIRONMENT, with * and ?, several with commas"
    if not SECRET.fullmatch(fields[2]):
        return "the token must be 16 to 512 printable ASCII characters"
    return None


class Tokens:
    """The tokens of a file, read again when it changes. A wrong file keeps the tokens before."""

    def __init__(self, path: str) -> None:
        """Read the file, or raise SettingsError."""
        self._path = path
        self._signature = _signature(path)
        self._tokens = parse(_read(path))

    def find(self, presented: str) -> Token | None:
        """Return the known token that was presented, or None."""
        if (signature := _signature(self._path)) != self._signature:
            # Set before the read: a change in between is read the next time.
            self._signature = signature
            self._reload()
        return self._tokens.get(_digest(presented))

    def know(self, authorization: str) -> bool:
        """Return whether an Authorization header has one of these tokens, which all may read."""
        presented = _bearer(authorization)
        return presented is not None and self.find(presented) is not None

    def _reload(self) -> None:
        try:
            self._tokens = parse(_read(self._path))
        except SettingsError as error:
            log.error(  # noqa: TRY400  the traceback says nothing more
                "tokens kept as they were", file=self._path, reasons=error.problems
            )
        else:
            log.info("tokens read again", file=self._path, tokens=len(self._tokens))


def _digest(token: str) -> bytes:
    """Return what a token is looked up by: how long that takes says nothing about the token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _signature(path: str) -> tuple[int, int, int] | None:
    """Return what changes with the file, or with a link in its path, as Kubernetes uses them."""
    try:
        status = os.stat(path)  # noqa: PTH116  a path as the setting spells it
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise SettingsError([f"TOKENS_FILE: cannot read {path} ({reason})"]) from None


class AccessPlugin:
    """The Bottle plugin that finds out who sends a request, and refuses what they may not do.

    Routes that everybody may read skip it.

    tokens: None lets everybody write
    user_header: where a trusted proxy names the user who logged in to it; empty for none
    """

    name = "access"
    api = 2

    def __init__(
        self, tokens: Tokens | None = None, *, protect_reads: bool = False, user_header: str = ""
    ) -> None:
        self._tokens = tokens
        self._user_variable = f"HTTP_{user_header.upper().replace('-', '_')}"
        self.protect_writes = tokens is not None
        self.protect_reads = protect_reads

    def apply(
        self, handler: Callable[..., HTTPResponse], route: Route
    ) -> Callable[..., HTTPResponse]:
        """Check the token of a route that needs one, before the request is read."""
        writes = route.method != "GET"

        def admitted(**arguments: Any) -> HTTPResponse:  # noqa: ANN401  the route's
            request.environ[_USER] = user = self._user()
            token = None
            if self._tokens and (writes or (self.protect_reads and not user)):
                request.environ[_TOKEN] = token = _presented(self._tokens)
            if name := actor():
                structlog.contextvars.bind_contextvars(actor=name)
            if token and writes and token.scope == READ:
                raise _forbidden(token, "may only read")
            return handler(**arguments)

        return admitted

    def _user(self) -> str:
        """Return the user that a trusted proxy names, or nothing."""
        if not is_trusted(request.environ):
            return ""
        name: str = request.environ.get(self._user_variable, "")
        # WSGI decodes headers as Latin-1.
        name = name.encode("latin-1").decode("utf-8", "replace")
        return "" if check_actor(name) else name


def _presented(tokens: Tokens) -> Token:
    """Return the token that the current request presents, or raise a Problem."""
    presented = _bearer(request.environ.get("HTTP_AUTHORIZATION", ""))
    if presented is None:
        raise Problem(
            401, "unauthorized", "send a token: `Authorization: Bearer …`", headers=_challenge()
        )
    token = tokens.find(presented)
    if token is None:
        raise Problem(
            401, "unauthorized", "nobody has this token", headers=_challenge("invalid_token")
        )
    return token


def check_scope(component: str, environment: str) -> None:
    """Raise a Problem unless the current request may write about a component."""
    token: Token | None = request.environ.get(_TOKEN)
    if token and not token.may_write(component, environment):
        globs = token.scope.removeprefix(f"{WRITE}:")
        raise _forbidden(token, f"may write {globs} only, not {component}@{environment}")


def actor() -> str:
    """Return who sends the current request: the token's name, or the user; empty if unknown."""
    token: Token | None = request.environ.get(_TOKEN)
    return token.name if token else user()


def user() -> str:
    """Return the user of the current request that a trusted proxy names; empty if unknown."""
    name: str = request.environ.get(_USER, "")
    return name


def _forbidden(token: Token, reason: str) -> Problem:
    headers = _challenge("insufficient_scope")
    return Problem(403, "forbidden", f"the token {token.name} {reason}", headers=headers)


def _bearer(authorization: str) -> str | None:
    """Return the bearer token of an Authorization header, or None."""
    scheme, _, presented = authorization.partition(" ")
    return presented.strip() if scheme.lower() == "bearer" else None


def _challenge(error: str = "") -> dict[str, str]:
    suffix = f', error="{error}"' if error else ""
    return {"WWW-Authenticate": f'Bearer realm="ledger"{suffix}'}
