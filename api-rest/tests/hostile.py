"""Requests that two readers may read differently, each with the answer of a strict server."""

import re
from dataclasses import dataclass

__all__ = ["AFTER", "CASES", "GROUPS", "SMUGGLED", "STATUS", "Case"]

HOST = b"Host: a\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
AFTER = b"GET /after HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3}) ")
CHUNKED = b"Transfer-Encoding: chunked\r\n"
BIG = 65_536
HELLO = bytes.fromhex("16030100c0010000bc0303") + bytes(range(1, 9)) * 8


@dataclass(frozen=True)
class Case:
    """Bytes, and the statuses that come back; after a refusal the connection is closed.

    `paths` are the requests that the app gets; `ends`: the client says that it sends no more.
    """

    name: str
    sent: bytes
    statuses: tuple[int, ...]
    paths: tuple[str, ...] = ()
    ends: bool = False

    @property
    def refused(self) -> bool:
        """Whether the last answer is the connection's last."""
        return self.statuses[-1] >= 400


def refused(name: str, sent: bytes, status: int = 400) -> Case:
    return Case(name, sent, (status,))


def served(name: str, sent: bytes, *paths: str, statuses: tuple[int, ...] | None = None) -> Case:
    return Case(name, sent, statuses or (200,) * len(paths), paths)


def cut(name: str, sent: bytes) -> Case:
    return Case(name, sent, (400,), ends=True)


def line(text: bytes, headers: bytes = HOST) -> bytes:
    return text + b"\r\n" + headers + b"\r\n"


def field(text: bytes) -> bytes:
    return b"GET /x HTTP/1.1\r\n" + HOST + text + b"\r\n\r\n"


def post(headers: bytes, body: bytes = b"") -> bytes:
    return b"POST /x HTTP/1.1\r\n" + HOST + headers + b"\r\n" + body


def chunked(body: bytes, coding: bytes = CHUNKED) -> bytes:
    return post(coding, body)


LENGTHS = [
    served("Content-Length: 0", post(b"Content-Length: 0\r\n"), "/x"),
    served("a body of its Content-Length", post(b"Content-Length: 5\r\n", b"hello"), "/x"),
    served(
        "spaces around Content-Length's value", post(b"Content-Length: \t5 \r\n", b"hello"), "/x"
    ),
    refused(
        "Content-Length twice, different",
        post(b"Content-Length: 5\r\nContent-Length: 0\r\n", b"hello"),
    ),
    refused(
        "Content-Length twice, the same",
        post(b"Content-Length: 5\r\nContent-Length: 5\r\n", b"hello"),
    ),
    refused("Content-Length: 5, 5", post(b"Content-Length: 5, 5\r\n", b"hello")),
    refused("Content-Length: 5, 0", post(b"Content-Length: 5, 0\r\n", b"hello")),
    refused("Content-Length: -1", post(b"Content-Length: -1\r\n")),
    refused("Content-Length: +5", post(b"Content-Length: +5\r\n", b"hello")),
    refused("Content-Length: 0x5", post(b"Content-Length: 0x5\r\n", b"hello")),
    refused("Content-Length: 5e0", post(b"Content-Length: 5e0\r\n", b"hello")),
    refused("Content-Length: 5.0", post(b"Content-Length: 5.0\r\n", b"hello")),
    refused("Content-Length: 05", post(b"Content-Length: 05\r\n", b"hello")),
    refused("Content-Length: 1 0", post(b"Content-Length: 1 0\r\n", b"helloworld")),
    refused("Content-Length: 1_0", post(b"Content-Length: 1_0\r\n", b"helloworld")),
    refused("Content-Length in Arabic digits", post(b"Content-Length: \xd9\xa5\r\n", b"hello")),
    refused("Content-Length with a superscript", post(b"Content-Length: \xb2\r\n", b"he")),
    refused("an empty Content-Length", post(b"Content-Length:\r\n", b"hello")),
    refused("Content-Length: five", post(b"Content-Length: five\r\n", b"hello")),
    refused("Content-Length of 25 digits", post(b"Content-Length: 1" + b"0" * 24 + b"\r\n"), 413),
    refused(
        "Content-Length of 5,000 digits", post(b"Content-Length: " + b"9" * 5000 + b"\r\n"), 413
    ),
    refused("Content_Length", post(b"Content_Length: 5\r\n", b"hello")),
    refused(
        "Content_Length beside Content-Length",
        post(b"Content-Length: 0\r\nContent_Length: 5\r\n", b"hello"),
    ),
    refused("a space before Content-Length's colon", post(b"Content-Length : 5\r\n", b"hello")),
    refused("a folded Content-Length", post(b"Content-Length:\r\n 5\r\n", b"hello")),
    refused(
        "a vertical tab before Content-Length's value", post(b"Content-Length: \x0b5\r\n", b"hello")
    ),
    refused("a NUL in Content-Length's name", post(b"Content\x00-Length: 5\r\n", b"hello")),
    refused("a body one byte over the limit", post(b"Content-Length: %d\r\n" % (BIG + 1)), 413),
    served("a body of the limit", post(b"Content-Length: %d\r\n" % BIG, b"x" * BIG), "/x"),
    cut("a body shorter than its Content-Length", post(b"Content-Length: 9\r\n", b"short")),
    served(
        "bytes after the body are the next request",
        post(b"Content-Length: 1\r\n", b"x" + SMUGGLED),
        "/x",
        "/smuggled",
    ),
    Case(
        "rubbish after the body",
        post(b"Content-Length: 1\r\n", b"xrubbish\x00"),
        (200, 400),
        ("/x",),
    ),
    served(
        "GET with a body", b"GET /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", "/x"
    ),
    served(
        "a body that looks like a request",
        post(b"Content-Length: %d\r\n" % len(SMUGGLED), SMUGGLED) + line(b"GET /y HTTP/1.1"),
        "/x",
        "/y",
    ),
]

CODINGS = [
    served("chunks", chunked(b"5\r\nhello\r\n0\r\n\r\n"), "/x"),
    served(
        "Transfer-Encoding: CHUNKED", chunked(b"0\r\n\r\n", b"Transfer-Encoding: CHUNKED\r\n"), "/x"
    ),
    refused(
        "Content-Length, then Transfer-Encoding",
        post(b"Content-Length: 6\r\n" + CHUNKED, b"0\r\n\r\nG"),
    ),
    refused(
        "Transfer-Encoding, then Content-Length",
        post(CHUNKED + b"Content-Length: 6\r\n", b"0\r\n\r\nG"),
    ),
    refused(
        "Transfer-Encoding with Content-Length: 0",
        post(CHUNKED + b"Content-Length: 0\r\n", b"0\r\n\r\n"),
    ),
    refused("Transfer-Encoding twice", post(CHUNKED + CHUNKED, b"0\r\n\r\n")),
    refused(
        "Transfer-Encoding: chunked, chunked",
        post(b"Transfer-Encoding: chunked, chunked\r\n", b"0\r\n\r\n"),
    ),
    refused("Transfer-Encoding: identity", post(b"Transfer-Encoding: identity\r\n"), 501),
    refused("Transfer-Encoding: gzip", post(b"Transfer-Encoding: gzip\r\n"), 501),
    refused(
        "Transfer-Encoding: gzip, chunked",
        post(b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n"),
    ),
    refused(
        "Transfer-Encoding: chunked, identity",
        post(b"Transfer-Encoding: chunked, identity\r\n", b"0\r\n\r\n"),
    ),
    refused("Transfer-Encoding: xchunked", post(b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n")),
    refused(
        "Transfer-Encoding: chunked;q=1", post(b"Transfer-Encoding: chunked;q=1\r\n", b"0\r\n\r\n")
    ),
    refused(
        'Transfer-Encoding: "chunked"', post(b'Transfer-Encoding: "chunked"\r\n', b"0\r\n\r\n")
    ),
    refused("Transfer-Encoding: ,chunked", post(b"Transfer-Encoding: ,chunked\r\n", b"0\r\n\r\n")),
    refused("Transfer-Encoding: chunked,", post(b"Transfer-Encoding: chunked,\r\n", b"0\r\n\r\n")),
    refused("an empty Transfer-Encoding", post(b"Transfer-Encoding:\r\n"), 501),
    refused(
        "an empty Transfer-Encoding and Content-Length",
        post(b"Transfer-Encoding:\r\nContent-Length: 5\r\n", b"hello"),
    ),
    refused(
        "a vertical tab before chunked", post(b"Transfer-Encoding: \x0bchunked\r\n", b"0\r\n\r\n")
    ),
    refused("NEL after chunked", post(b"Transfer-Encoding: chunked\x85\r\n", b"0\r\n\r\n")),
    refused(
        "a space before Transfer-Encoding's colon",
        post(b"Transfer-Encoding : chunked\r\n", b"0\r\n\r\n"),
    ),
    refused(
        "a space before Transfer-Encoding",
        b"POST /x HTTP/1.1\r\nHost: a\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    refused(
        "a folded Transfer-Encoding", post(b"Transfer-Encoding:\r\n chunked\r\n", b"0\r\n\r\n")
    ),
    refused("Transfer_Encoding", post(b"Transfer_Encoding: chunked\r\n", b"0\r\n\r\n")),
    refused(
        "Transfer_Encoding beside Content-Length",
        post(b"Content-Length: 5\r\nTransfer_Encoding: chunked\r\n", b"0\r\n\r\n"),
    ),
    refused("Transfer-Encoding in HTTP/1.0", b"POST /x HTTP/1.0\r\n" + CHUNKED + b"\r\n0\r\n\r\n"),
    refused(
        "Transfer-Encoding, Content-Length in HTTP/1.0",
        b"POST /x HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 5\r\n"
        + CHUNKED
        + b"\r\n0\r\n\r\n",
    ),
    refused(
        "Transfer-Encoding after a bare LF",
        post(b"X: y\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    ),
    refused(
        "Transfer-Encoding after a bare CR",
        post(b"X: y\rTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    ),
]

CHUNKS = [
    served("chunk sizes with leading zeros", chunked(b"0005\r\nhello\r\n000\r\n\r\n"), "/x"),
    served("a chunk size in capitals", chunked(b"A\r\nhelloworld\r\n0\r\n\r\n"), "/x"),
    served("a chunk extension", chunked(b"5;name=value\r\nhello\r\n0;last\r\n\r\n"), "/x"),
    served("a quoted chunk extension", chunked(b'5;name="a;b"\r\nhello\r\n0\r\n\r\n'), "/x"),
    served("a trailer", chunked(b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"), "/x"),
    served(
        "chunks and the next request", chunked(b"0\r\n\r\n") + line(b"GET /y HTTP/1.1"), "/x", "/y"
    ),
    refused("a chunk size with 0x", chunked(b"0x5\r\nhello\r\n0\r\n\r\n")),
    refused("a negative chunk size", chunked(b"-5\r\nhello\r\n0\r\n\r\n")),
    refused("a signed chunk size", chunked(b"+5\r\nhello\r\n0\r\n\r\n")),
    refused("a chunk size with an underscore", chunked(b"1_0\r\n" + b"x" * 16 + b"\r\n0\r\n\r\n")),
    refused("a chunk size after a space", chunked(b" 5\r\nhello\r\n0\r\n\r\n")),
    refused("a chunk size before a space", chunked(b"5 \r\nhello\r\n0\r\n\r\n")),
    refused("a chunk size that is no number", chunked(b"zz\r\nhello\r\n0\r\n\r\n")),
    refused("no chunk size", chunked(b"\r\nhello\r\n0\r\n\r\n")),
    refused("an empty line before a chunk size", chunked(b"\r\n5\r\nhello\r\n0\r\n\r\n")),
    refused("a chunk size over the limit", chunked(b"FFFFFFF\r\nhello\r\n0\r\n\r\n"), 413),
    refused("a chunk size of 16 digits", chunked(b"FFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n"), 413),
    refused("a chunk size of 17 digits", chunked(b"10000000000000005\r\nhello\r\n0\r\n\r\n")),
    refused(
        "chunks over the limit together",
        chunked(b"8000\r\n" + b"x" * 32768 + b"\r\n8001\r\nx"),
        413,
    ),
    refused("a chunk longer than its size", chunked(b"5\r\nhello!\r\n0\r\n\r\n")),
    refused("a chunk that ends in two other bytes", chunked(b"5\r\nhelloXX0\r\n\r\n")),
    refused("a chunk shorter than its size", chunked(b"6\r\nhello\r\n0\r\n\r\n")),
    refused("a chunk that ends in a bare LF", chunked(b"5\r\nhello\n0\r\n\r\n")),
    refused("a chunk that ends in a bare CR", chunked(b"5\r\nhello\r0\r\n\r\n")),
    refused("a chunk size that ends in a bare LF", chunked(b"5\nhello\r\n0\r\n\r\n")),
    refused("a chunk size that ends in LF CR LF", chunked(b"5\n\r\nhello\r\n0\r\n\r\n")),
    refused("a chunk size that ends in a bare CR", chunked(b"5\rhello\r\n0\r\n\r\n")),
    refused("a last chunk that ends in a bare LF", chunked(b"0\n\n")),
    refused("a chunk extension that holds a bare LF", chunked(b"5;a\nb\r\nhello\r\n0\r\n\r\n")),
    refused("a chunk extension that ends in a bare LF", chunked(b"5;a\n\r\nhello\r\n0\r\n\r\n")),
    refused("a chunk extension that holds a NUL", chunked(b"5;a\x00\r\nhello\r\n0\r\n\r\n")),
    refused("a chunk extension without a name", chunked(b"5;\r\nhello\r\n0\r\n\r\n")),
    refused(
        "a chunk extension of 300 bytes", chunked(b"5;" + b"a" * 300 + b"\r\nhello\r\n0\r\n\r\n")
    ),
    refused("a trailer that is no header", chunked(b"0\r\nno header\r\n\r\n")),
    refused("a request where trailers belong", chunked(b"0\r\n" + SMUGGLED)),
    refused("a trailer with a bare LF", chunked(b"0\r\nX: a\nY: b\r\n\r\n")),
    refused("a trailer with a space before the colon", chunked(b"0\r\nX : a\r\n\r\n")),
    refused("a hundred and one trailers", chunked(b"0\r\n" + b"X: a\r\n" * 101 + b"\r\n")),
    cut("chunks without the last one", chunked(b"5\r\nhello\r\n")),
    cut("chunks without the last line", chunked(b"5\r\nhello\r\n0\r\n")),
]

LINES = [
    served("HTTP/1.0 without Host", b"GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "/x"),
    served("an empty line before the request", b"\r\n" + line(b"GET /x HTTP/1.1"), "/x"),
    served("the absolute form", line(b"GET http://a/x?y HTTP/1.1"), "/x"),
    served("the absolute form without a path", line(b"GET HTTP://A HTTP/1.1"), "/"),
    served("OPTIONS *", line(b"OPTIONS * HTTP/1.1"), "*"),
    served("a method nobody knows", line(b"BREW /x HTTP/1.1"), "/x"),
    served("TRACE is the app's to refuse", line(b"TRACE /x HTTP/1.1"), "/x"),
    served("dot segments are left as they are", line(b"GET /a/../x HTTP/1.1"), "/a/../x"),
    served("escapes are decoded once", line(b"GET /%2e%2e%2fx%2520 HTTP/1.1"), "/../x%20"),
    served("UTF-8 in escapes", line(b"GET /Zo%C3%AB HTTP/1.1"), "/Zo\u00c3\u00ab"),
    served("{|} in a query", line(b"GET /x?{a|b} HTTP/1.1"), "/x"),
    refused("several empty lines before the request", b"\r\n\r\n" + line(b"GET /x HTTP/1.1")),
    refused("a space before the request", line(b" GET /x HTTP/1.1")),
    refused("a bare LF before the request", b"\n" + line(b"GET /x HTTP/1.1")),
    refused("no version", line(b"GET /x")),
    refused("HTTP/0.9", b"GET /x\r\n\r\n"),
    refused("HTTP/0.9 by name", line(b"GET /x HTTP/0.9"), 505),
    refused("HTTP/1.2", line(b"GET /x HTTP/1.2"), 505),
    refused(
        "HTTP/1.2 with chunks", b"POST /x HTTP/1.2\r\n" + HOST + CHUNKED + b"\r\n0\r\n\r\n", 505
    ),
    refused("HTTP/2.0", line(b"GET /x HTTP/2.0"), 505),
    refused("HTTP/1.10", line(b"GET /x HTTP/1.10"), 505),
    refused("HTTP/11", line(b"GET /x HTTP/11")),
    refused("http/1.1 in small letters", line(b"GET /x http/1.1")),
    refused("HTTP /1.1", line(b"GET /x HTTP /1.1")),
    refused("HTTP/2's preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    refused("a TLS ClientHello", HELLO),
    refused("a method in small letters", line(b"get /x HTTP/1.1")),
    refused("a method with a slash", line(b"GE/T /x HTTP/1.1")),
    refused("a NUL in the method", line(b"G\x00ET /x HTTP/1.1")),
    refused("no method", line(b"/x HTTP/1.1")),
    refused("two spaces before the address", line(b"GET  /x HTTP/1.1")),
    refused("two spaces after the address", line(b"GET /x  HTTP/1.1")),
    refused("a tab before the address", line(b"GET\t/x HTTP/1.1")),
    refused("a tab in the address", line(b"GET /x\ty HTTP/1.1")),
    refused("a space in the address", line(b"GET /x y HTTP/1.1")),
    refused("a space after the version", line(b"GET /x HTTP/1.1 ")),
    refused("a tab after the version", line(b"GET /x HTTP/1.1\t")),
    refused("a bare CR after the version", line(b"GET /x HTTP/1.1\r")),
    refused("a bare LF after the request line", b"GET /x HTTP/1.1\nHost: a\r\n\r\n"),
    refused("bare LFs only", b"GET /x HTTP/1.1\nHost: a\n\n"),
    refused("bare CRs only", b"GET /x HTTP/1.1\rHost: a\r\r"),
    refused("an address without a slash", line(b"GET x HTTP/1.1")),
    refused("an empty address", line(b"GET  HTTP/1.1")),
    refused("GET *", line(b"GET * HTTP/1.1")),
    refused("//", line(b"GET //smuggled HTTP/1.1")),
    refused("the absolute form of another host", line(b"GET http://b/x HTTP/1.1")),
    refused("the absolute form of another scheme", line(b"GET ftp://a/x HTTP/1.1")),
    refused("the absolute form with a user", line(b"GET http://u@a/x HTTP/1.1")),
    refused("the authority form", line(b"GET a:80 HTTP/1.1")),
    refused("CONNECT", line(b"CONNECT a:80 HTTP/1.1"), 501),
    refused("CONNECT of a path", line(b"CONNECT /x HTTP/1.1"), 501),
    refused("a fragment", line(b"GET /x#y HTTP/1.1")),
    refused("a backslash", line(b"GET /x\\y HTTP/1.1")),
    refused("a NUL in the address", line(b"GET /x\x00y HTTP/1.1")),
    refused("DEL in the address", line(b"GET /x\x7fy HTTP/1.1")),
    refused("a control character in the address", line(b"GET /x\x01y HTTP/1.1")),
    refused("raw UTF-8 in the address", line("GET /Zoë HTTP/1.1".encode())),
    refused("an escape that is none", line(b"GET /%zz HTTP/1.1")),
    refused("half an escape", line(b"GET /x%4 HTTP/1.1")),
    refused("an escape in a query that is none", line(b"GET /x?%zz HTTP/1.1")),
    refused("an escaped NUL", line(b"GET /x%00 HTTP/1.1")),
    refused("an escaped line end", line(b"GET /x%0d%0aSet-Cookie:%20a HTTP/1.1")),
    refused("escapes that are not UTF-8", line(b"GET /smu%ffggled HTTP/1.1")),
    refused("an overlong escape", line(b"GET /%c0%ae%c0%ae/x HTTP/1.1")),
    refused("an address of 20,000 bytes", line(b"GET /" + b"x" * 20_000 + b" HTTP/1.1"), 414),
]

FIELDS = [
    served("the host with a port", b"GET /x HTTP/1.1\r\nHost: a.example:8000\r\n\r\n", "/x"),
    served("a host that is an IPv6 address", b"GET /x HTTP/1.1\r\nHost: [::1]:8000\r\n\r\n", "/x"),
    served("a header without a value", field(b"X:"), "/x"),
    served("a header with Latin-1", field(b"X: Zo\xeb"), "/x"),
    served("a header with an underscore, which is dropped", field(b"X_Y: z"), "/x"),
    served("a header twice", field(b"X: a\r\nX: b"), "/x"),
    served(
        "Upgrade: h2c is ignored",
        field(
            b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
            b"HTTP2-Settings: AAMAAABkAAQAAP__"
        ),
        "/x",
    ),
    served(
        "Upgrade: websocket is ignored", field(b"Connection: Upgrade\r\nUpgrade: websocket"), "/x"
    ),
    served("Connection: rubbish is ignored", field(b"Connection: @@@ , ,"), "/x"),
    served(
        "Expect: 100-continue",
        post(b"Expect: 100-Continue\r\nContent-Length: 5\r\n"),
        "/x",
        statuses=(100, 200),
    ),
    served(
        "a Content-Type that is nonsense",
        post(b"Content-Type: ;;;\r\nContent-Length: 1\r\n", b"x"),
        "/x",
    ),
    refused("no Host", b"GET /x HTTP/1.1\r\n\r\n"),
    refused("an empty Host", b"GET /x HTTP/1.1\r\nHost:\r\n\r\n"),
    refused("two Hosts", b"GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    refused("the same Host twice", b"GET /x HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
    refused("a Host with a space", b"GET /x HTTP/1.1\r\nHost: a b\r\n\r\n"),
    refused("a Host with a path", b"GET /x HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    refused("a Host with a user", b"GET /x HTTP/1.1\r\nHost: u@a\r\n\r\n"),
    refused("a Host with a comma", b"GET /x HTTP/1.1\r\nHost: a, b\r\n\r\n"),
    refused("a Host with a wrong port", b"GET /x HTTP/1.1\r\nHost: a:b\r\n\r\n"),
    refused("a folded header", field(b"X: a\r\n b")),
    refused("a first header that is folded", b"GET /x HTTP/1.1\r\n Host: a\r\n\r\n"),
    refused("a header without a colon", field(b"X")),
    refused("a space before a colon", field(b"X : a")),
    refused("a tab before a colon", field(b"X\t: a")),
    refused("a header without a name", field(b": a")),
    refused("a header's name with a parenthesis", field(b"X(): a")),
    refused("a header's name in UTF-8", field("Zoë: a".encode())),
    refused("a NUL in a header", field(b"X: a\x00b")),
    refused("a control character in a header", field(b"X: a\x01b")),
    refused("DEL in a header", field(b"X: a\x7fb")),
    refused("a bare LF in a header", field(b"X: a\nY: b")),
    refused("a bare CR in a header", field(b"X: a\rY: b")),
    refused("headers that end in LF CR LF", b"GET /x HTTP/1.1\r\nHost: a\n\r\n" + SMUGGLED),
    refused(
        "two Content-Types",
        post(b"Content-Type: a/b\r\nContent-Type: c/d\r\nContent-Length: 1\r\n", b"x"),
    ),
    refused("two Authorizations", field(b"Authorization: a\r\nAuthorization: b")),
    refused("two Idempotency-Keys", field(b"Idempotency-Key: a\r\nIdempotency-Key: b")),
    refused("Idempotency_Key", field(b"Idempotency_Key: a")),
    refused(
        "a hundred and one headers",
        field(b"\r\n".join(b"X%d: y" % number for number in range(100))),
        431,
    ),
    refused("headers of 20,000 bytes", field(b"X: " + b"y" * 20_000), 431),
    refused("Expect: rubbish", post(b"Expect: rubbish\r\nContent-Length: 5\r\n", b"hello"), 417),
    cut("headers that do not end", b"GET /x HTTP/1.1\r\nHost: a\r\n"),
]

SEQUENCES = [
    served(
        "three requests at once",
        line(b"GET /1 HTTP/1.1") + line(b"GET /2 HTTP/1.1") + line(b"GET /3 HTTP/1.1"),
        "/1",
        "/2",
        "/3",
    ),
    Case(
        "a good request, then a bad one",
        line(b"GET /x HTTP/1.1") + line(b"GET x HTTP/1.1"),
        (200, 400),
        ("/x",),
    ),
    refused(
        "a bad request, then a good one", line(b"GET x HTTP/1.1") + line(b"GET /smuggled HTTP/1.1")
    ),
    refused(
        "a refused body that is a request", post(b"Content-Length: 99999999\r\n", SMUGGLED), 413
    ),
]

GROUPS = {
    "Content-Length and bodies": LENGTHS,
    "Transfer-Encoding": CODINGS,
    "Chunks": CHUNKS,
    "Request lines": LINES,
    "Headers": FIELDS,
    "Sequences": SEQUENCES,
}
CASES = [case for group in GROUPS.values() for case in group]
