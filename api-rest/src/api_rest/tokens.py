"""Bearer tokens from a file: who may write, who may read."""

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

__all__ = ["Access", "Token", "Tokens", "client", "configured", "parse"]

log = structlog.stdlib.get_logger(__name__)

READ, WRITE = "read", "write"
SCOPES = (READ, WRITE)
NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
SECRET = re.compile(r"[!-~]{16,512}")
# How often a changed file is looked for at most.
LOOK_AFTER = 1.0
WORDS = 3
# What machines ask without a token, and what the page needs before anybody could show one.
OPEN = ("/metrics", "/openapi.json")
OPEN_BELOW = "/assets/"
_CLIENT = "api_rest.client"


@dataclass(frozen=True)
class Token:
    """One token: what its owner is called, what it allows, and the SHA-256 of it."""

    name: str
    scope: str
    digest: bytes


def parse(text: str) -> tuple[Token, ...]:
    """Read a tokens file, `name scope token` a line, or raise SettingsError with every wrong line; no token is repeated."""
    found: list[Token] = []
    problems: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if reason := _wrong(words):
            problems.append(f"TOKENS_FILE: line {number}: {reason}")
            continue
        digest = hashlib.sha256(words[2].encode()).digest()
        if any(token.digest == digest for token in found):
            problems.append(
                f"TOKENS_FILE: line {number}: this token is there already; one token is one client's"
            )
        found.append(Token(words[0], words[1], digest))
    if not found and not problems:
        problems.append("TOKENS_FILE: it holds no token")
    if problems:
        raise SettingsError(problems)
    return tuple(found)


def _wrong(words: list[str]) -> str | None:
    if len(words) != WORDS:
        return "it must be `name scope token`"
    if not NAME.fullmatch(words[0]):
        return "the name must be 1 to 64 letters, digits and ._-"
    if words[1] not in SCOPES:
        return f"the scope must be {' or '.join(SCOPES)}"
    if not SECRET.fullmatch(words[2]):
        return "the token must be 16 to 512 printable ASCII characters"
    return None


class Tokens:
    """The tokens of a file, which may change while this runs; a version of it that is wrong changes nothing."""

    def __init__(self, path: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the file, or raise SettingsError."""
        self._path = path
        self._clock = clock
        self._looking = threading.Lock()
        self._looked = clock()
        self._seen = _signature(path)
        self._tokens = parse(_read(path))

    def find(self, presented: str) -> Token | None:
        """Return the token that was presented; takes as long for every one, known or not."""
        self._look()
        digest = hashlib.sha256(presented.encode("utf-8", "surrogatepass")).digest()
        found = None
        for token in self._tokens:
            if hmac.compare_digest(token.digest, digest):
                found = token
        return found

    def know(self, authorization: str) -> bool:
        """Tell whether a request's Authorization header has one of these tokens: each may read."""
        presented = _bearer(authorization)
        return presented is not None and self.find(presented) is not None

    def _look(self) -> None:
        """Take over a changed file."""
        if self._clock() - self._looked < LOOK_AFTER or not self._looking.acquire(blocking=False):
            return
        try:
            self._looked = self._clock()
            signature = _signature(self._path)
            if signature != self._seen:
                # First: what changes between the two is read again the next time.
                self._seen = signature
                self._tokens = parse(_read(self._path))
                log.info("tokens read again", file=self._path, tokens=len(self._tokens))
        except SettingsError as error:
            log.error("tokens kept as they were", file=self._path, reasons=error.problems)  # noqa: TRY400
        finally:
            self._looking.release()


def _signature(path: str) -> tuple[int, int, int] | None:
    """Return what changes with the file, also when a link on the way to it is turned, as Kubernetes does."""
    try:
        found = os.stat(path)  # noqa: PTH116  a path as the setting spells it
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise SettingsError([f"TOKENS_FILE: cannot read {path} ({reason})"]) from None


def configured(settings: Settings) -> Tokens | None:
    """Return the tokens that the settings name, None when they name none, or raise SettingsError."""
    if settings.tokens_file:
        return Tokens(settings.tokens_file)
    if settings.protect_reads:
        raise SettingsError(["PROTECT_READS: it needs a TOKENS_FILE"])
    return None


class Access:
    """The Bottle plugin that lets a request through to its route only with the token that the route needs."""

    name = "access"
    api = 2

    def __init__(self, tokens: Tokens, *, protect_reads: bool) -> None:
        self._tokens = tokens
        self._protect_reads = protect_reads

    def apply(
        self, handler: Callable[..., HTTPResponse], route: Route
    ) -> Callable[..., HTTPResponse]:
        """Ask for a token where one is needed, before anything of the request is read."""
        if route.rule in OPEN or route.rule.startswith(OPEN_BELOW):
            return handler
        writes = route.method != "GET"
        if not writes and not self._protect_reads:
            return handler

        def admitted(**arguments: Any) -> HTTPResponse:  # noqa: ANN401  whatever the route takes
            self._admit(writes=writes)
            return handler(**arguments)

        return admitted

    def _admit(self, *, writes: bool) -> None:
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
    """Return whose token the current request came with; empty when none was needed."""
    name: str = request.environ.get(_CLIENT, "")
    return name


def _bearer(authorization: str) -> str | None:
    """Return what a header presents as a bearer token, or None."""
    scheme, _, presented = authorization.partition(" ")
    return presented.strip() if scheme.lower() == "bearer" else None


def _challenge(error: str = "") -> dict[str, str]:
    return {
        "WWW-Authenticate": f'Bearer realm="ledger", error="{error}"'
        if error
        else 'Bearer realm="ledger"'
    }
