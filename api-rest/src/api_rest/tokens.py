"""Bearer tokens from a file, which allow to write or to read."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from bottle import request
from ledger.config import SettingsError

from .errors import Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from bottle import HTTPResponse, Route

    from .settings import Settings

__all__ = ["AccessPlugin", "Token", "Tokens", "client", "configured", "parse"]

log = structlog.stdlib.get_logger(__name__)

READ, WRITE = "read", "write"
SCOPES = (READ, WRITE)
NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
SECRET = re.compile(r"[!-~]{16,512}")
# How many seconds to wait between two checks for a changed file.
CHECK_INTERVAL = 1.0
FIELDS = 3
# Machines read these without a token, and the page needs its assets.
OPEN = ("/metrics", "/openapi.json")
OPEN_BELOW = "/assets/"
_CLIENT = "api_rest.client"


@dataclass(frozen=True)
class Token:
    """One token of the file."""

    # Its owner.
    name: str
    scope: str
    # The SHA-256 of the token.
    digest: bytes


def parse(text: str) -> tuple[Token, ...]:
    """Return the tokens of a file of lines `name scope token`.

    Raises SettingsError with every line that is wrong or repeats a token.
    """
    tokens: list[Token] = []
    problems: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        if not fields or fields[0].startswith("#"):
            continue
        if reason := _problem(fields):
            problems.append(f"TOKENS_FILE: line {number}: {reason}")
            continue
        digest = hashlib.sha256(fields[2].encode()).digest()
        if any(token.digest == digest for token in tokens):
            problems.append(
                f"TOKENS_FILE: line {number}: this token is there already; "
                "one token is one client's"
            )
        tokens.append(Token(fields[0], fields[1], digest))
    if not tokens and not problems:
        problems.append("TOKENS_FILE: it holds no token")
    if problems:
        raise SettingsError(problems)
    return tuple(tokens)


def _problem(fields: list[str]) -> str | None:
    if len(fields) != FIELDS:
        return "it must be `name scope token`"
    if not NAME.fullmatch(fields[0]):
        return "the name must be 1 to 64 letters, digits and ._-"
    if fields[1] not in SCOPES:
        return f"the scope must be {' or '.join(SCOPES)}"
    if not SECRET.fullmatch(fields[2]):
        return "the token must be 16 to 512 printable ASCII characters"
    return None


class Tokens:
    """The tokens of a file, read again when it changes. A wrong file keeps the tokens before."""

    def __init__(self, path: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the file, or raise SettingsError."""
        self._path = path
        self._clock = clock
        self._reloading = threading.Lock()
        self._checked = clock()
        self._signature = _signature(path)
        self._tokens = parse(_read(path))

    def find(self, presented: str) -> Token | None:
        """Return the known token that was presented, or None; always takes the same time."""
        self._reload()
        digest = hashlib.sha256(presented.encode("utf-8", "surrogatepass")).digest()
        match = None
        for token in self._tokens:
            if hmac.compare_digest(token.digest, digest):
                match = token
        return match

    def know(self, authorization: str) -> bool:
        """Return whether an Authorization header has one of these tokens, which all may read."""
        presented = _bearer(authorization)
        return presented is not None and self.find(presented) is not None

    def _reload(self) -> None:
        """Read the file again if it changed."""
        is_checked = self._clock() - self._checked < CHECK_INTERVAL
        if is_checked or not self._reloading.acquire(blocking=False):
            return
        try:
            self._checked = self._clock()
            signature = _signature(self._path)
            if signature != self._signature:
                # Set before the read: a change in between is read the next time.
                self._signature = signature
                self._tokens = parse(_read(self._path))
                log.info("tokens read again", file=self._path, tokens=len(self._tokens))
        except SettingsError as error:
            log.error(  # noqa: TRY400  the traceback says nothing more
                "tokens kept as they were", file=self._path, reasons=error.problems
            )
        finally:
            self._reloading.release()


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


def configured(settings: Settings) -> Tokens | None:
    """Return the tokens of the settings' file, None without one; raise SettingsError if wrong."""
    if settings.tokens_file:
        return Tokens(settings.tokens_file)
    if settings.protect_reads:
        raise SettingsError(["PROTECT_READS: it needs a TOKENS_FILE"])
    return None


class AccessPlugin:
    """The Bottle plugin that checks the tokens of requests."""

    name = "access"
    api = 2

    def __init__(self, tokens: Tokens, *, protect_reads: bool) -> None:
        self._tokens = tokens
        self.protect_reads = protect_reads

    def apply(
        self, handler: Callable[..., HTTPResponse], route: Route
    ) -> Callable[..., HTTPResponse]:
        """Check the token of a route that needs one, before the request is read."""
        if route.rule in OPEN or route.rule.startswith(OPEN_BELOW):
            return handler
        writes = route.method != "GET"
        if not writes and not self.protect_reads:
            return handler

        def admitted(**arguments: Any) -> HTTPResponse:  # noqa: ANN401  the route's
            self._check(writes=writes)
            return handler(**arguments)

        return admitted

    def _check(self, *, writes: bool) -> None:
        presented = _bearer(request.environ.get("HTTP_AUTHORIZATION", ""))
        if presented is None:
            raise Problem(
                401, "unauthorized", "send a token: `Authorization: Bearer …`", headers=_challenge()
            )
        token = self._tokens.find(presented)
        if token is None:
            raise Problem(
                401, "unauthorized", "nobody has this token", headers=_challenge("invalid_token")
            )
        structlog.contextvars.bind_contextvars(client=token.name)
        request.environ[_CLIENT] = token.name
        if writes and token.scope != WRITE:
            headers = _challenge("insufficient_scope")
            raise Problem(403, "forbidden", "this token may only read", headers=headers)


def client() -> str:
    """Return the owner of the current request's token; empty if none was needed."""
    name: str = request.environ.get(_CLIENT, "")
    return name


def _bearer(authorization: str) -> str | None:
    """Return the bearer token of an Authorization header, or None."""
    scheme, _, presented = authorization.partition(" ")
    return presented.strip() if scheme.lower() == "bearer" else None


def _challenge(error: str = "") -> dict[str, str]:
    suffix = f', error="{error}"' if error else ""
    return {"WWW-Authenticate": f'Bearer realm="ledger"{suffix}'}
