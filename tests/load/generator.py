"""Puts a steady load on the ledger over HTTPS and writes what came of each request, one JSON line each.

It runs in a pod, from a ConfigMap, so it stands on the standard library alone. Requests start on a fixed schedule whatever the
server does (an open loop), and none is ever repeated unless --insist says so; then each attempt is a line of its own. It judges
nothing: that is recording.py's. SIGUSR1 ends the schedule; once every request under way has ended, the last line says how
many there were.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import signal
import socket
import ssl
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

CONNECT_TIMEOUT = 5.0
# Longer than the API may wait for Kafka and the database together.
ANSWER_TIMEOUT = 15.0
PIECES = 10
TICK = 0.05
FLUSH = 1.0
SAY = 5.0
REMEMBERED = 500
RETRY_PAUSE = 0.5
ACCEPTED = 202
UNABLE = 500
STAGES = ("prepare", "test", "plan", "build", "scan", "push", "deploy", "verify", "record")
STATUSES = ("started", "succeeded", "failed", "rolled-back")
# Each component is posted by requests that may overlap; more of them make fewer wait for a common row.
COMPONENTS = 8


@dataclass(frozen=True)
class Request:
    """What number n asks for."""

    number: int
    kind: str
    method: str
    path: str
    fresh: bool
    key: str | None = None
    payload: dict[str, Any] | None = None


@dataclass(frozen=True)
class Target:
    """Where the API is, under which name its certificate is verified, and with which CAs."""

    address: str
    port: int
    name: str
    context: ssl.SSLContext


@dataclass(frozen=True)
class Load:
    """How much of what."""

    run: str
    rate: float
    slow_every: int = 100
    slow_seconds: float = 5.0
    insist: bool = False
    only_posts: bool = False
    at_once: int = 100_000
    answer_timeout: float = ANSWER_TIMEOUT
    count: int = sys.maxsize


def event(run: str, number: int) -> dict[str, Any]:
    """An event that is like no other, and tells which it is."""
    return {
        "component": f"{run}/part-{number % COMPONENTS}",
        "version": f"1.0.{number}",
        "environment": "local",
        "responsible": "Zoë",
        "stage": STAGES[number % len(STAGES)],
        "status": STATUSES[number % len(STATUSES)],
        "details": {"run": run, "number": number, "note": "🚀" if number % 2 else None},
    }


def request(load: Load, number: int, known: deque[str]) -> Request:
    """The number's request: half POST, half GET, half of each on a fresh connection; now and then a slow POST."""
    # Pairs of numbers, so that both methods have both kinds of connection; the hundreds, so that slow ones have, too.
    fresh = (number // 2 + number // 100) % 2 == 0
    slow = load.slow_every > 0 and number % load.slow_every == 0
    if load.only_posts or slow or number % 2 == 0:
        payload, key = event(load.run, number), f"{load.run}-{number}"
        return Request(
            number, "slow POST" if slow else "POST", "POST", "/deployments", fresh, key, payload
        )
    return Request(number, "GET", "GET", _path(number, known, load.run), fresh)


def _path(number: int, known: deque[str], run: str) -> str:
    # Of 40 reading requests one for the page and one for what it shows: a person's, among those of pipelines.
    turn = number // 4 % 40
    if turn == 0:
        return "/"
    if turn == 1:
        return "/environments"
    if turn % 5 == 2 or not known:
        return f"/deployments?limit=10&component={run}/part-{number % COMPONENTS}"
    return f"/deployments/{known[number % len(known)]}"


def _unix_clock() -> Callable[[], float]:
    """Unix time that never jumps."""
    offset = time.time() - time.monotonic()
    return lambda: offset + time.monotonic()


class Connection:
    """One TLS connection; it serves one request after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.may_serve_on = False
        certificate = writer.get_extra_info("ssl_object").getpeercert()
        self.serial: str = certificate["serialNumber"]

    @classmethod
    async def open(cls, target: Target) -> Connection:
        """Connect and verify the certificate."""
        async with asyncio.timeout(CONNECT_TIMEOUT):
            streams = await asyncio.open_connection(
                target.address, target.port, ssl=target.context, server_hostname=target.name
            )
        return cls(*streams)

    @property
    def ended(self) -> bool:
        """Whether the other side is known to have hung up."""
        return self._reader.at_eof() or self._writer.is_closing()

    async def send(self, head: bytes, body: bytes, seconds: float) -> None:
        """Send a request, its body in pieces over some seconds."""
        if seconds <= 0:
            self._writer.write(head + body)
            await self._writer.drain()
            return
        self._writer.write(head)
        size = -(-len(body) // PIECES)
        for start in range(0, len(body), size):
            await asyncio.sleep(seconds / PIECES)
            self._writer.write(body[start : start + size])
            await self._writer.drain()

    async def receive(self) -> tuple[int, bytes]:
        """Read one whole answer: its status and body."""
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status_line, *lines = head.rstrip("\r\n").split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        body = await self._reader.readexactly(int(headers["content-length"]))
        self.may_serve_on = headers.get("connection", "").lower() != "close"
        return int(status_line.split(" ", 2)[1]), body

    def close(self) -> None:
        """Hang up."""
        self.may_serve_on = False
        self._writer.close()


@dataclass
class Generator:
    """Sends what the load asks for and writes what came of it."""

    load: Load
    target: Target
    out: TextIO
    clock: Callable[[], float] = field(default_factory=_unix_clock)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    _idle: list[Connection] = field(default_factory=list)
    _known: deque[str] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    _lines: int = 0
    _poor: int = 0

    async def run(self) -> int:
        """Follow the schedule until stopped; return how many attempts were made."""
        ticking = asyncio.create_task(self._tick())
        turns = asyncio.Semaphore(self.load.at_once)
        under_way: set[asyncio.Task[None]] = set()
        start, number = self.clock(), 0
        while number < self.load.count and not self.stopped.is_set():
            due = start + number / self.load.rate
            if (wait := due - self.clock()) > 0:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.stopped.wait(), wait)
                    break
            await turns.acquire()
            task = asyncio.create_task(self._perform(number, due))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            task.add_done_callback(lambda _task: turns.release())
            number += 1
            if wait <= 0:
                await asyncio.sleep(0)  # behind its schedule, it must still let the requests go on
        if under_way:
            await asyncio.gather(*under_way)
        ticking.cancel()
        with suppress(asyncio.CancelledError):
            await ticking
        for connection in self._idle:
            connection.close()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        self._write(
            {
                "end": self._lines,
                "numbers": number,
                "cpu": round(usage.ru_utime + usage.ru_stime, 3),
            }
        )
        self.out.flush()
        return self._lines

    async def _perform(self, number: int, due: float) -> None:
        wanted = request(self.load, number, self._known)
        for attempt in range(sys.maxsize):
            line = await self._attempt(wanted, due if attempt == 0 else self.clock(), attempt)
            good = line["status"] is not None and line["status"] < UNABLE
            if good or not self.load.insist or self.stopped.is_set():
                return
            await asyncio.sleep(RETRY_PAUSE)

    async def _attempt(self, wanted: Request, due: float, attempt: int) -> dict[str, Any]:
        """One request, once."""
        line: dict[str, Any] = {
            "number": wanted.number,
            "attempt": attempt,
            "kind": wanted.kind,
            "path": wanted.path if wanted.method == "GET" else None,
            "key": wanted.key,
            "fresh": wanted.fresh,
            "due": due,
            "began": self.clock(),
            "status": None,
            "error": None,
            "step": "connect",
        }
        connection: Connection | None = None
        try:
            connection = await self._connected(line, fresh=wanted.fresh)
            line["serial"] = connection.serial
            slow = self.load.slow_seconds if wanted.kind == "slow POST" else 0.0
            async with asyncio.timeout(slow + self.load.answer_timeout):
                line["step"] = "send"
                await connection.send(*_serialised(wanted, self.target.name), slow)
                line["step"] = "receive"
                line["status"], body = await connection.receive()
            self._note(line, body)
        except TimeoutError:
            line["error"] = "timeout"
        except (
            OSError,
            EOFError,
            ValueError,
            KeyError,
        ) as error:  # ValueError, KeyError: not HTTP as we know it
            line["error"] = repr(error)
        finally:
            if connection is not None:
                if not wanted.fresh and line["error"] is None and connection.may_serve_on:
                    self._idle.append(connection)
                else:
                    connection.close()
        line["ended"] = self.clock()
        self._poor += line["error"] is not None or line["status"] >= UNABLE
        self._lines += 1
        self._write(line)
        return line

    async def _connected(self, line: dict[str, Any], *, fresh: bool) -> Connection:
        """A connection that rested, unless the server is known to have closed it; else a new one."""
        line["reused"] = False
        if not fresh:
            await asyncio.sleep(0)  # let the loop see who hung up
            while self._idle:
                connection = self._idle.pop()
                if not connection.ended:
                    line["reused"] = True
                    return connection
                connection.close()
        return await Connection.open(self.target)

    def _note(self, line: dict[str, Any], body: bytes) -> None:
        """Keep what an accepted event was answered with, and what a server that cannot serve says of itself."""
        if line["status"] == ACCEPTED:
            answer = json.loads(body)
            line["id"], line["received_at"] = str(answer["id"]), str(answer["received_at"])
            self._known.append(line["id"])
        elif line["status"] >= UNABLE:
            line["said"] = _said(body)

    async def _tick(self) -> None:
        """Write down when this process itself was late, so that nobody takes its delays for the server's; flush; talk."""
        flushed = said = self.clock()
        while True:
            before = self.clock()
            await asyncio.sleep(TICK)
            now = self.clock()
            if now - before > 2 * TICK:
                self._write({"lag": now - before - TICK, "at": now})
            if now - flushed > FLUSH:
                self.out.flush()
                flushed = now
            if now - said > SAY:
                print(f"{self._lines} requests, {self._poor} without a good answer", flush=True)  # noqa: T201
                said = now

    def _write(self, line: dict[str, Any]) -> None:
        self.out.write(json.dumps(line, separators=(",", ":")) + "\n")


def _said(body: bytes) -> str:
    """The message of an error answer, or else its first bytes."""
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return body[:100].decode("utf-8", "replace")


def _serialised(wanted: Request, host: str) -> tuple[bytes, bytes]:
    body = (
        b"" if wanted.payload is None else json.dumps(wanted.payload, ensure_ascii=False).encode()
    )
    lines = [f"{wanted.method} {wanted.path} HTTP/1.1", f"Host: {host}", "Accept: application/json"]
    if wanted.payload is not None:
        lines += [
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            f"Idempotency-Key: {wanted.key}",
        ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode(), body


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Put a steady load on the ledger over HTTPS.")
    parser.add_argument("--name", required=True, help="the API's host name, as in its certificate")
    parser.add_argument("--port", type=int, default=443)
    parser.add_argument("--ca", required=True, help="the file of CAs to verify with")
    parser.add_argument("--out", required=True, type=Path, help="where the lines go")
    parser.add_argument("--run", required=True, help="what its components begin with")
    parser.add_argument("--rate", type=float, required=True, help="requests a second")
    parser.add_argument(
        "--slow-every", type=int, default=100, help="one request in so many is slow; 0: none"
    )
    parser.add_argument(
        "--slow-seconds", type=float, default=5.0, help="how long a slow request's body takes"
    )
    parser.add_argument(
        "--insist", action="store_true", help="repeat a POST with its key until it is accepted"
    )
    parser.add_argument("--only-posts", action="store_true")
    parser.add_argument(
        "--at-once", type=int, default=100_000, help="how many requests may be under way"
    )
    return parser.parse_args(arguments)


async def _main(arguments: argparse.Namespace) -> None:
    loop, told_to_end = asyncio.get_running_loop(), asyncio.Event()
    # Looked up once: a Service keeps its address, and the cluster's DNS is not what is measured.
    address = socket.getaddrinfo(arguments.name, arguments.port, family=socket.AF_INET)[0][4][0]
    context = ssl.create_default_context(cafile=arguments.ca)
    target = Target(str(address), arguments.port, arguments.name, context)
    load = Load(
        arguments.run,
        arguments.rate,
        slow_every=arguments.slow_every,
        slow_seconds=arguments.slow_seconds,
        insist=arguments.insist,
        only_posts=arguments.only_posts,
        at_once=arguments.at_once,
    )
    with arguments.out.open("w", encoding="utf-8") as out:
        generator = Generator(load, target, out)
        loop.add_signal_handler(signal.SIGUSR1, generator.stopped.set)
        loop.add_signal_handler(signal.SIGTERM, told_to_end.set)
        running = asyncio.create_task(generator.run())
        ending = asyncio.create_task(told_to_end.wait())
        await asyncio.wait([running, ending], return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            running.cancel()
            raise SystemExit("told to end before the schedule was")
        print(f"{running.result()} requests, all of them ended", flush=True)  # noqa: T201
    await ending  # the file is read from this very pod


if __name__ == "__main__":
    asyncio.run(_main(_parse(None)))
