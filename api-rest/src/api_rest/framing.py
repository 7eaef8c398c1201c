"""Reads requests from a connection's bytes; refuses what two readers might read differently.

It replaces waitress' own parser; docs/hostile-http.md lists what that one lets through. After
a refusal nothing of the connection is read as a request any more.
"""

from __future__ import annotations

import re
from functools import lru_cache
from io import BytesIO
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from .errors import Problem

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Chunks", "Request"]

MAX_FIELDS = 100
# A chunk's size with its extensions.
MAX_CHUNK_LINE = 256
# More digits than any length has; int() is slow, and refuses, beyond a few thousand.
MAX_LENGTH_DIGITS = 18

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_BEGINNING = re.compile(rb"(?:\r\n)?(?:[!#$%&'*+\-.^_`|~0-9A-Z]|\Z)|\r\Z")
# RFC 3986 without the fragment, and with ^ { | }, which browsers send in queries as they are.
_TARGET = rb"(?:[!$&-;=?-Z\[\]^_a-~]|%[0-9A-Fa-f]{2})+"
_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Z]+) (" + _TARGET + rb") HTTP/(1\.[01])")
_OTHER_VERSION = re.compile(rb"[A-Z]+ [!-~]+ HTTP/(?!1\.[01]\Z)[0-9]+\.[0-9]+")
_ABSOLUTE = re.compile(rb"https?://([^/?]+)([^?]*)(\??.*)", re.IGNORECASE)
_FIELD = re.compile(rb"(" + _TOKEN + rb"):([\t -~\x80-\xff]*)")
_HOST = re.compile(r"(?:[0-9A-Za-z._~-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_LENGTH = re.compile(r"0|[1-9][0-9]*")
_CHUNK_LINE = re.compile(
    rb"([0-9A-Fa-f]{1,16})(?:;"
    + _TOKEN
    + rb"(?:=(?:"
    + _TOKEN
    + rb'|"(?:[\t !#-\[\]-~]|\\[\t -~])*"))?)*'
)
# A line end that is not CR LF, or what no line may hold; one CR may still wait for its LF.
_NOT_IN_LINES = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)|\x00")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

# Given twice, one reader takes the first, another the last.
_ONCE = frozenset(
    {
        "AUTHORIZATION",
        "CONTENT_LENGTH",
        "CONTENT_TYPE",
        "EXPECT",
        "HOST",
        "IDEMPOTENCY_KEY",
        "TRANSFER_ENCODING",
    }
)
# Nobody in front of this app is known to set these truthfully, and Bottle believes them.
_UNTRUSTED = frozenset(
    {
        "FORWARDED",
        "X_FORWARDED_BY",
        "X_FORWARDED_FOR",
        "X_FORWARDED_HOST",
        "X_FORWARDED_PORT",
        "X_FORWARDED_PROTO",
    }
)


class Request:
    """One request as it arrives, and then what waitress' WSGITask wants to know of it."""

    url_scheme = "http"

    def __init__(self, *, max_header_bytes: int, max_body_bytes: int) -> None:
        self._max_header_bytes = max_header_bytes
        self._max_body_bytes = max_body_bytes
        self._held = b""
        self._chunks: Chunks | None = None
        self._missing = 0
        self._body = bytearray()
        self.completed = False
        self.error: Problem | None = None
        self.expect_continue = False
        self.headers: dict[str, str] = {}
        self.command = self.path = self.query = self.request_uri = ""
        self.version = "1.1"

    def received(self, data: bytes) -> int:
        """Take what belongs to this request and return how many bytes that was."""
        try:
            if self._chunks:
                return self._take_chunks(self._chunks, data)
            if self._missing:
                return self._take_fixed(data)
            return self._take_head(data)
        except Problem as problem:
            self.error = problem
            self.completed = True
            return len(data)

    @property
    def keeps_alive(self) -> bool:
        """Whether the client may send another request on the connection."""
        connection = self.headers.get("CONNECTION")
        return not self.error and (
            connection == "keep-alive" if self.version == "1.0" else connection != "close"
        )

    def get_body_stream(self) -> BytesIO:
        """Return the body as a file."""
        return BytesIO(self._body)

    def _take_head(self, data: bytes) -> int:
        # Searched bytes are not searched again, but for a line end that may be cut in two.
        seen = len(self._held)
        held = self._held + data
        end = held.find(b"\r\n\r\n", max(1, seen - 3))
        if max(end, 0) > self._max_header_bytes or (end < 0 and len(held) > self._max_header_bytes):
            if held.find(b"\r\n", 1, self._max_header_bytes) < 0:
                raise Problem(
                    414,
                    "uri-too-long",
                    f"the request line has more than {self._max_header_bytes} bytes",
                )
            raise _too_many_headers(f"the headers have more than {self._max_header_bytes} bytes")
        if end < 0:
            if not _BEGINNING.match(held) or _NOT_IN_LINES.search(held, max(0, seen - 1)):
                raise _bad("this is not HTTP/1.1")
            self._held = held
            return len(data)
        self._held = b""
        # One empty line before a request is forgiven, as RFC 9112 asks.
        self._parse_head(held[2 if held.startswith(b"\r\n") else 0 : end])
        return len(data) - (len(held) - end - 4)

    def _parse_head(self, head: bytes) -> None:
        request_line, *lines = head.split(b"\r\n")
        self.headers = headers = _fields(lines)
        host = self._parse_request_line(request_line, headers.get("HOST"))
        if host is None:
            if self.version == "1.1":
                raise _bad("a request of HTTP/1.1 needs the header Host")
        elif not _HOST.fullmatch(host):
            raise _bad("the header Host is not a host with an optional port")
        if connection := headers.get("CONNECTION"):
            options = {option.strip(" \t").lower() for option in connection.split(",")}
            headers["CONNECTION"] = next(
                (one for one in ("close", "keep-alive") if one in options), ""
            )
        self._expect_body()

    def _parse_request_line(self, line: bytes, host: str | None) -> str | None:
        found = _REQUEST_LINE.fullmatch(line)
        if not found:
            if _OTHER_VERSION.fullmatch(line):
                raise Problem(
                    505, "http-version-not-supported", "this server speaks HTTP/1.1 and HTTP/1.0"
                )
            raise _bad("the request line is not METHOD /path HTTP/1.1")
        method, target, version = found.groups()
        self.command, self.request_uri, self.version = (
            method.decode(),
            target.decode(),
            version.decode(),
        )
        if self.command == "CONNECT":
            raise Problem(501, "not-implemented", "this server is no proxy")
        if absolute := _ABSOLUTE.fullmatch(target):
            authority, path, query = absolute.groups()
            if host is not None and authority.decode().lower() != host.lower():
                raise _bad("the address and the header Host name different hosts")
            host = authority.decode()
            target = (path or b"/") + query
        elif not (target.startswith(b"/") or (target == b"*" and self.command == "OPTIONS")):
            raise _bad("the address must begin with /")
        path, _, query = target.partition(b"?")
        self.path, self.query = _path(path), query.decode()
        return host

    def _expect_body(self) -> None:
        coding = self.headers.pop("TRANSFER_ENCODING", None)
        length = self.headers.get("CONTENT_LENGTH")
        if coding is not None:
            self._expect_chunks(coding.lower(), length)
        elif length is not None:
            if not _LENGTH.fullmatch(length):
                raise _bad("Content-Length is not a whole number")
            if len(length) > MAX_LENGTH_DIGITS or int(length) > self._max_body_bytes:
                raise _too_large(self._max_body_bytes)
            self._missing = int(length)
        self.completed = not (self._chunks or self._missing)
        if self.version == "1.1" and "EXPECT" in self.headers:
            if self.headers["EXPECT"].lower() != "100-continue":
                raise Problem(417, "expectation-failed", "nothing can be expected but 100-continue")
            self.expect_continue = not self.completed

    def _expect_chunks(self, coding: str, length: str | None) -> None:
        if length is not None:
            raise _bad("a request has Content-Length or Transfer-Encoding, not both")
        if self.version == "1.0":
            raise _bad("HTTP/1.0 has no Transfer-Encoding")
        if coding != "chunked":
            if "chunked" in coding:
                raise _bad("chunked is the only Transfer-Encoding, once")
            raise Problem(501, "not-implemented", "no Transfer-Encoding but chunked is known here")
        self._chunks = Chunks(self._body, limit=self._max_body_bytes)

    def _take_fixed(self, data: bytes) -> int:
        part = data[: self._missing]
        self._body += part
        self._missing -= len(part)
        self.completed = not self._missing
        return len(part)

    def _take_chunks(self, chunks: Chunks, data: bytes) -> int:
        taken = chunks.received(data)
        if chunks.done:
            # The app sees a body of a known length.
            self.headers["CONTENT_LENGTH"] = str(len(self._body))
            self.completed = True
        return taken


class Chunks:
    """Takes a chunked body apart: sizes, data, trailers (which are checked and dropped)."""

    def __init__(self, body: bytearray, *, limit: int) -> None:
        self._body = body
        self._limit = limit
        self._held = b""
        self._missing = 0
        self._trailers = 0
        self._step: Callable[[bytes, int], int] = self._size
        self.done = False

    def received(self, data: bytes) -> int:
        """Take what belongs to the body, return how many bytes that was, or raise a Problem."""
        held = self._held + data
        at = 0
        while not self.done and (after := self._step(held, at)) > at:
            at = after
        self._held = b"" if self.done else held[at:]
        return len(data) - (len(held) - at) if self.done else len(data)

    # Each step returns where the next one goes on, or the same place when more bytes are needed.

    def _size(self, held: bytes, at: int) -> int:
        end = _line_end(held, at)
        if end < 0:
            return at
        found = _CHUNK_LINE.fullmatch(held, at, end)
        if not found:
            raise _bad("a chunk does not begin with its size")
        self._missing = int(found[1], 16)
        if len(self._body) + self._missing > self._limit:
            raise _too_large(self._limit)
        self._step = self._data if self._missing else self._trailer
        return end + 2

    def _data(self, held: bytes, at: int) -> int:
        part = held[at : at + self._missing]
        self._body += part
        self._missing -= len(part)
        if not self._missing:
            self._step = self._data_end
        return at + len(part)

    def _data_end(self, held: bytes, at: int) -> int:
        end = held[at : at + 2]
        if not b"\r\n".startswith(end):
            raise _bad("a chunk is longer than its size says")
        if len(end) < 2:  # noqa: PLR2004  the two are CR and LF
            return at
        self._step = self._size
        return at + 2

    def _trailer(self, held: bytes, at: int) -> int:
        end = _line_end(held, at)
        if end < 0:
            return at
        self._trailers += 1
        if end == at:
            self.done = True
        elif self._trailers > MAX_FIELDS or not _FIELD.fullmatch(held, at, end):
            raise _bad("what follows the last chunk is neither a header nor the end")
        return end + 2


def _line_end(held: bytes, at: int) -> int:
    end = held.find(b"\r\n", at)
    length = (len(held) if end < 0 else end) - at
    if length > MAX_CHUNK_LINE or (end < 0 and _NOT_IN_LINES.search(held, at)):
        raise _bad("a line between chunks is too long, or does not end in CR LF")
    return end


def _fields(lines: list[bytes]) -> dict[str, str]:
    if len(lines) > MAX_FIELDS:
        raise _too_many_headers(f"there are more than {MAX_FIELDS} headers")
    headers: dict[str, str] = {}
    for line in lines:
        found = _FIELD.fullmatch(line)
        if not found:
            raise _bad("a header is not Name: value, on one line that ends in CR LF")
        name = _name(found[1])
        if not name:
            continue
        value = found[2].strip(b" \t").decode("latin-1")
        if name not in headers:
            headers[name] = value
        elif name in _ONCE:
            raise _bad(f"the header {name.replace('_', '-').title()} is given more than once")
        else:
            headers[name] += f", {value}"
    return headers


@lru_cache(maxsize=256)
def _name(field: bytes) -> str:
    """Return a header's name as WSGI spells it; empty if the header is to be dropped."""
    name = field.upper().replace(b"-", b"_").decode()
    if b"_" in field:
        # WSGI could not tell it from the one with dashes.
        if name in _ONCE:
            raise _bad("a header's name has an underscore where a dash belongs")
        return ""
    return "" if name in _UNTRUSTED else name


def _path(path: bytes) -> str:
    if path.startswith(b"//"):
        raise _bad("the path begins with //")
    try:
        plain = unquote_to_bytes(path).decode() if b"%" in path else path.decode()
    except UnicodeDecodeError:
        raise _bad("the path is not UTF-8") from None
    if _CONTROL.search(plain):
        raise _bad("the path has control characters")
    # WSGI carries bytes as Latin-1.
    return plain.encode().decode("latin-1")


def _bad(message: str) -> Problem:
    return Problem(400, "bad-request", message)


def _too_many_headers(message: str) -> Problem:
    return Problem(431, "request-header-fields-too-large", message)


def _too_large(limit: int) -> Problem:
    return Problem(413, "too-large", f"the body may have at most {limit} bytes")
