"""A relay before a registry that counts what passes: requests by their kind, and every byte of either way."""

from __future__ import annotations

import asyncio
import re
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field

__all__ = ["Relay", "Traffic", "kind", "reading", "relay"]

_PIECE = 1 << 16
_TLS = b"\x16"  # how a TLS client says hello; engines try that first, and take HTTP when they are not understood
# What is asked of a registry, by the end of its path: https://github.com/opencontainers/distribution-spec
_KINDS = {
    r"/v2/": "/v2/",
    r"/v2/.+/manifests/[^/]+": "manifest",
    r"/v2/.+/blobs/uploads/.*": "upload",
    r"/v2/.+/blobs/[^/]+": "blob",
    r"/v2/.+/tags/list": "tags",
    r"/v2/.+/referrers/[^/]+": "referrers",
}

_Reading = Generator[None, bytes, None]


@dataclass
class Traffic:
    """What has passed: requests by their kind ("HEAD manifest"), the bytes to the registry, the bytes from it."""

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
        self._tasks: set[asyncio.Task[None]] = (
            set()
        )  # asyncio itself keeps no hold of them before Python 3.12

    def take(self) -> Traffic:
        """What has passed since this was asked last. A client that has its answer finds it counted."""
        with self._lock:
            taken, self._traffic = self._traffic, Traffic()
        return taken

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection until either side ends it."""
        watch = reading(self._asked)
        next(watch)
        if task := asyncio.current_task():
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        # A side that has gone is for the other one to complain of; the end of the relay ends its connections.
        with suppress(OSError, asyncio.CancelledError), closing(writer):
            upstream_reader, upstream_writer = await asyncio.open_connection(
                "127.0.0.1", self._upstream
            )
            with closing(upstream_writer):
                await asyncio.gather(
                    _carry(reader, upstream_writer, lambda data: self._passed(data, watch)),
                    _carry(upstream_reader, writer, lambda data: self._passed(data, None)),
                )

    def _asked(self, method: str, path: str) -> None:
        self._traffic.requests[kind(method, path)] += 1

    def _passed(self, data: bytes, watch: _Reading | None) -> None:
        with self._lock:
            if watch is None:
                self._traffic.received += len(data)
            else:
                self._traffic.sent += len(data)
                watch.send(data)


@contextmanager
def relay(upstream: int) -> Iterator[Relay]:
    """Relay a free port of this machine to another one."""
    made = Relay(upstream)
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(made.connected, "127.0.0.1", 0))
    made.port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        asyncio.run_coroutine_threadsafe(_end(server), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def kind(method: str, path: str) -> str:
    """What a request is, without the repository and the digest that it is about."""
    path = path.partition("?")[0]
    return f"{method} {next((name for shape, name in _KINDS.items() if re.fullmatch(shape, path)), path)}"


def reading(on_request: Callable[[str, str], None]) -> _Reading:
    """Read HTTP/1.1 requests out of a connection's bytes, in whatever pieces they are sent to it. An attempt at TLS is none."""
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
    """Lines and bodies out of pieces that end anywhere."""

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

    def skip(self, size: int) -> _Reading:
        while size > len(self._left):
            size -= len(self._left)
            self._left = yield
        self._left = self._left[size:]


async def _carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passed: Callable[[bytes], None]
) -> None:
    """Carry one way of a connection to its end, counting each piece before it goes on."""
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
