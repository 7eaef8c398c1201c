"""A relay in front of a registry: it counts requests by kind, and bytes in both directions."""

from __future__ import annotations

import asyncio
import re
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field

__all__ = ["Relay", "Traffic", "kind", "parsing", "relay"]

_PIECE = 1 << 16
# The first byte of TLS; engines try that first, and use HTTP when it fails.
_TLS = b"\x16"
# The kinds of requests by their path: https://github.com/opencontainers/distribution-spec
_KINDS = {
    r"/v2/": "/v2/",
    r"/v2/.+/manifests/[^/]+": "manifest",
    r"/v2/.+/blobs/uploads/.*": "upload",
    r"/v2/.+/blobs/[^/]+": "blob",
    r"/v2/.+/tags/list": "tags",
    r"/v2/.+/referrers/[^/]+": "referrers",
}

_Parser = Generator[None, bytes, None]


@dataclass
class Traffic:
    """Counts: requests by kind, such as "HEAD manifest", and bytes to and from the registry."""

    requests: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    received: int = 0


class Relay:
    """A relay on a port of this machine."""

    def __init__(self, upstream: int) -> None:
        self.port = 0
        self._upstream = upstream
        self._traffic = Traffic()
        self._lock = threading.Lock()
        # Before Python 3.12 asyncio keeps no reference to them.
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self) -> Traffic:
        """The counts since the last call; an answer that a client has is counted."""
        with self._lock:
            taken, self._traffic = self._traffic, Traffic()
        return taken

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay a connection until either side ends it."""
        parser = parsing(self._count)
        next(parser)
        if task := asyncio.current_task():
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        # The other side reports a lost one; the end of the relay ends its connections.
        with suppress(OSError, asyncio.CancelledError), closing(writer):
            upstream_reader, upstream_writer = await asyncio.open_connection(
                "127.0.0.1", self._upstream
            )
            with closing(upstream_writer):
                await asyncio.gather(
                    _carry(reader, upstream_writer, lambda data: self._passed(data, parser)),
                    _carry(upstream_reader, writer, lambda data: self._passed(data, None)),
                )

    def _count(self, method: str, path: str) -> None:
        self._traffic.requests[kind(method, path)] += 1

    def _passed(self, data: bytes, parser: _Parser | None) -> None:
        with self._lock:
            if parser is None:
                self._traffic.received += len(data)
            else:
                self._traffic.sent += len(data)
                parser.send(data)


@contextmanager
def relay(upstream: int) -> Iterator[Relay]:
    """Relay a free port of this machine to another one."""
    relaying = Relay(upstream)
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(relaying.connected, "127.0.0.1", 0))
    relaying.port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield relaying
    finally:
        asyncio.run_coroutine_threadsafe(_end(server), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def kind(method: str, path: str) -> str:
    """The kind of a request, without repository and digest."""
    path = path.partition("?")[0]
    names = (name for pattern, name in _KINDS.items() if re.fullmatch(pattern, path))
    return f"{method} {next(names, path)}"


def parsing(on_request: Callable[[str, str], None]) -> _Parser:
    """Parse the HTTP/1.1 requests in a connection's bytes, in pieces of any size; ignore TLS."""
    pieces = _Pieces()
    if (yield from pieces.first()) == _TLS:
        while True:
            yield
    while True:
        words = (yield from pieces.line()).split()
        if not words:  # allowed between requests
            continue
        on_request(words[0].decode("latin-1"), words[1].decode("latin-1"))
        headers: dict[bytes, bytes] = {}
        while line := (yield from pieces.line()):
            name, _, value = line.partition(b":")
            headers[name.strip().lower()] = value.strip()
        if headers.get(b"transfer-encoding", b"").lower() == b"chunked":
            while size := int((yield from pieces.line()).partition(b";")[0], 16):
                yield from pieces.skip(size)
                yield from pieces.line()
            while (yield from pieces.line()):  # trailers
                pass
        else:
            yield from pieces.skip(int(headers.get(b"content-length", b"0")))


class _Pieces:
    """Reads lines and bodies from pieces of any size."""

    def __init__(self) -> None:
        self._left = b""

    def first(self) -> Generator[None, bytes, bytes]:
        while not self._left:
            self._left += yield
        return self._left[:1]

    def line(self) -> Generator[None, bytes, bytes]:
        while b"\n" not in self._left:
            self._left += yield
        line, _, self._left = self._left.partition(b"\n")
        return line.rstrip(b"\r")

    def skip(self, size: int) -> _Parser:
        while size > len(self._left):
            size -= len(self._left)
            self._left = yield
        self._left = self._left[size:]


async def _carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passed: Callable[[bytes], None]
) -> None:
    """Relay one direction of a connection; count each piece before it is sent."""
    while data := await reader.read(_PIECE):
        passed(data)
        writer.write(data)
        await writer.drain()
    with suppress(OSError):
        writer.write_eof()


async def _end(server: asyncio.Server) -> None:
    server.close()
    connections = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in connections:
        task.cancel()
    await asyncio.gather(*connections, return_exceptions=True)
