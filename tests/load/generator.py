"""Send a steady load to the ledger and record the outcome of each request, one JSON line each.

Requests start on a fixed schedule, whatever the server does (an open loop). A failed request is
repeated only with `insist`; each attempt is a line of its own. SIGUSR1 ends the schedule. The last
line says how many requests there were, once all of them have ended.

tests/e2e runs this file in a pod, from a ConfigMap: it imports only the standard library.
tests/ledger runs it in a thread. `recording.py` reads the lines and finds the failures.
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
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

CONNECT_TIMEOUT = 5.0
# Longer than the API may wait for Kafka and the database together.
ANSWER_TIMEOUT = 15.0
BODY_CHUNKS = 10
FLUSH_SECONDS = 1.0
PROGRESS_SECONDS = 5.0
REMEMBERED_IDS = 500
RETRY_PAUSE = 0.5
ACCEPTED = 202
SERVER_ERROR = 500
STAGES = ("prepare", "test", "plan", "build", "scan", "push", "deploy", "verify", "record")
STATUSES = ("started", "succeeded", "failed", "rolled-back")
ENVIRONMENTS = ("develop", "staging", "production")
# Texts that a careless encoding breaks.
ACTORS = ("Zoë", "李雷", "ops@example.com", 'O\'Neil \\ "Sons"')
NOTES = ("", "🚀", "a\nb\u0000c", None)
# Requests of one component may overlap; several components make fewer of them wait for a row.
COMPONENTS = 8


@dataclass(frozen=True)
class Request:
    """A request of the schedule, by its number."""

    number: int
    kind: str
    method: str
    path: str
    fresh: bool
    key: str | None = None
    payload: dict[str, Any] | None = None


@dataclass(frozen=True)
class Target:
    """An address of the API."""

    host: str
    port: int
    # The name in its certificate, and the CAs to verify it with; no context: plain HTTP.
    name: str = ""
    context: ssl.SSLContext | None = None
    # The bearer token that may write; empty: none.
    token: str = ""


# Returns the target of an attempt; raises OSError without one. Retries count up the argument.
Pick = Callable[[int], Awaitable[Target]]


@dataclass(frozen=True)
class Load:
    """The requests to send, and how fast."""

    # The prefix of the components, the keys, and `details.run`.
    run: str
    # Requests a second.
    rate: float
    # One request in this many is a POST with a slow body; 0: none.
    slow_every: int = 100
    slow_seconds: float = 5.0
    # Repeat a POST with its key until the API accepts it.
    insist: bool = False
    only_posts: bool = False
    # The share of POSTs without an Idempotency-Key; these are never repeated.
    keyless: float = 0.0
    # One accepted POST in this many is sent again; 0: none.
    repeat_every: int = 0
    # How many requests may be open; at this limit the schedule waits.
    concurrency: int = 100_000
    answer_timeout: float = ANSWER_TIMEOUT
    count: int = sys.maxsize


def event(run: str, number: int) -> dict[str, Any]:
    """An event that differs from all others and names its number."""
    return {
        "component": f"{run}/part-{number % COMPONENTS}",
        "version": f"1.0.{number}",
        "environment": ENVIRONMENTS[number % len(ENVIRONMENTS)],
        "responsible": ACTORS[number // 2 % len(ACTORS)],
        "stage": STAGES[number % len(STAGES)],
        "status": STATUSES[number % len(STATUSES)],
        "details": {
            "run": run,
            "number": number,
            "note": NOTES[number // 8 % len(NOTES)],
            "x": number / 7,
        },
    }


def planned(load: Load, number: int, known_ids: deque[str]) -> Request:
    """The request of a number: half are POSTs, half GETs; half of each use a fresh connection."""
    # Pairs of numbers, so that both methods have both kinds of connection; hundreds for slow POSTs.
    fresh = (number // 2 + number // 100) % 2 == 0
    slow = load.slow_every > 0 and number % load.slow_every == 0
    if load.only_posts or slow or number % 2 == 0:
        # A stride through the hundred, so that requests with and without a key alternate.
        key = None if number * 37 % 100 < load.keyless * 100 else f"{load.run}-{number}"
        kind = "slow POST" if slow else "POST"
        return Request(number, kind, "POST", "/deployments", fresh, key, event(load.run, number))
    return Request(number, "GET", "GET", _path(number, known_ids, load.run), fresh)


def _path(number: int, known_ids: deque[str], run: str) -> str:
    # Of 40 GETs one is for the page and one for its data, as of a person among pipelines.
    position = number // 4 % 40
    if position == 0:
        return "/"
    if position == 1:
        return "/environments"
    if position % 5 == 2 or not known_ids:
        return f"/deployments?limit=10&component={run}/part-{number % COMPONENTS}"
    return f"/deployments/{known_ids[number % len(known_ids)]}"


def _unix_clock() -> Callable[[], float]:
    """Unix time that never jumps."""
    offset = time.time() - time.monotonic()
    return lambda: offset + time.monotonic()


class Connection:
    """A connection to the API, for one request after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.reusable = False
        tls = writer.get_extra_info("ssl_object")
        # The serial number of the server's certificate.
        self.serial: str | None = tls.getpeercert()["serialNumber"] if tls else None

    @classmethod
    async def open(cls, target: Target) -> Connection:
        """Connect, and verify the certificate."""
        name = target.name if target.context else None
        async with asyncio.timeout(CONNECT_TIMEOUT):
            streams = await asyncio.open_connection(
                target.host, target.port, ssl=target.context, server_hostname=name
            )
        return cls(*streams)

    @property
    def is_closed(self) -> bool:
        """Whether the server is known to have closed the connection."""
        return self._reader.at_eof() or self._writer.is_closing()

    async def send(self, head: bytes, body: bytes, seconds: float) -> None:
        """Send a request, its body in chunks over this time."""
        if seconds <= 0:
            self._writer.write(head + body)
            await self._writer.drain()
            return
        self._writer.write(head)
        size = -(-len(body) // BODY_CHUNKS)
        for start in range(0, len(body), size):
            await asyncio.sleep(seconds / BODY_CHUNKS)
            self._writer.write(body[start : start + size])
            await self._writer.drain()

    async def receive(self) -> tuple[int, bytes]:
        """The status and body of one answer."""
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status_line, *lines = head.rstrip("\r\n").split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        body = await self._reader.readexactly(int(headers["content-length"]))
        self.reusable = headers.get("connection", "").lower() != "close"
        return int(status_line.split(" ", 2)[1]), body

    def close(self) -> None:
        """Close the connection."""
        self.reusable = False
        self._writer.close()


@dataclass
class Generator:
    """Sends the requests of a load and records their outcomes."""

    load: Load
    pick: Pick
    out: TextIO
    clock: Callable[[], float] = field(default_factory=_unix_clock)
    # Set it to end the schedule.
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    # How many attempts ended, and how many of them without an answer or with a server error.
    attempts: int = 0
    failed: int = 0
    _idle: dict[Target, list[Connection]] = field(default_factory=lambda: defaultdict(list))
    _known_ids: deque[str] = field(default_factory=lambda: deque(maxlen=REMEMBERED_IDS))
    _accepted: set[int] = field(default_factory=set)

    @property
    def accepted(self) -> int:
        """How many events the API has accepted; may be read from any thread."""
        return len(self._accepted)

    async def run(self) -> None:
        """Follow the schedule until stopped, and wait for the open requests."""
        flushing = asyncio.create_task(self._flush())
        try:
            numbers = await self._follow_schedule()
        finally:
            flushing.cancel()
            with suppress(asyncio.CancelledError):
                await flushing
            for connections in self._idle.values():
                for connection in connections:
                    connection.close()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        self._write(
            {
                "end": self.attempts,
                "numbers": numbers,
                "run": self.load.run,
                "cpu": round(usage.ru_utime + usage.ru_stime, 3),
            }
        )
        self.out.flush()

    async def _follow_schedule(self) -> int:
        """Start each request when it is due; return how many there were once all have ended."""
        slots = asyncio.Semaphore(self.load.concurrency)
        async with asyncio.TaskGroup() as open_requests:
            start, number = self.clock(), 0
            while number < self.load.count and not self.stopped.is_set():
                if slots.locked():
                    # What the server could not take is not made up for later.
                    blocked = self.clock()
                    async with slots:
                        start += self.clock() - blocked
                due = start + number / self.load.rate
                if (wait := due - self.clock()) > 0:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self.stopped.wait(), wait)
                        break
                await slots.acquire()
                task = open_requests.create_task(self._perform(number, due))
                task.add_done_callback(lambda _task: slots.release())
                number += 1
                if wait <= 0:
                    await asyncio.sleep(0)  # behind the schedule: the open requests still proceed
        return number

    async def _perform(self, number: int, due: float) -> None:
        """Send a request; repeat it as the load says."""
        request = planned(self.load, number, self._known_ids)
        attempt = 0
        while not await self._attempt(request, due, attempt):
            if not self.load.insist or request.key is None or self.stopped.is_set():
                return
            await asyncio.sleep(RETRY_PAUSE)
            due, attempt = self.clock(), attempt + 1
        every = self.load.repeat_every
        if every and request.key and number % every == 0:
            # As a client that never saw the answer; another instance must give the same one.
            await self._attempt(request, self.clock(), attempt + 1)

    async def _attempt(self, request: Request, due: float, attempt: int) -> bool:
        """Send a request once, and record the outcome; whether the server could answer it."""
        line: dict[str, Any] = {
            "number": request.number,
            "attempt": attempt,
            "kind": request.kind,
            "path": request.path if request.method == "GET" else None,
            "key": request.key,
            "fresh": request.fresh,
            "due": due,
            "began": self.clock(),
            "status": None,
            "error": None,
            "step": "connect",
            "reused": False,
        }
        try:
            await self._exchange(request, line)
        except TimeoutError:
            line["error"] = "timeout"
        # The last three: the answer is not the HTTP or JSON that is expected.
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            line["error"] = repr(error)
        line["ended"] = self.clock()
        answered = line["error"] is None and line["status"] < SERVER_ERROR
        self.failed += not answered
        self.attempts += 1
        self._write(line)
        return answered

    async def _exchange(self, request: Request, line: dict[str, Any]) -> None:
        """Send a request and receive its answer; write the progress into the line."""
        target = await self.pick(request.number + line["attempt"])
        connection = None if request.fresh else await self._idle_connection(target)
        line["reused"] = connection is not None
        connection = connection or await Connection.open(target)
        keep = False
        try:
            line["serial"] = connection.serial
            slow = self.load.slow_seconds if request.kind == "slow POST" else 0.0
            async with asyncio.timeout(slow + self.load.answer_timeout):
                line["step"] = "send"
                await connection.send(*_serialised(request, target), slow)
                line["step"] = "receive"
                line["status"], body = await connection.receive()
            self._read_answer(line, body)
            keep = not request.fresh and connection.reusable
        finally:
            if keep:
                self._idle[target].append(connection)
            else:
                connection.close()

    async def _idle_connection(self, target: Target) -> Connection | None:
        """An idle connection that the server is not known to have closed."""
        await asyncio.sleep(0)  # lets the event loop notice closed connections
        idle = self._idle[target]
        while idle:
            connection = idle.pop()
            if not connection.is_closed:
                return connection
            connection.close()
        return None

    def _read_answer(self, line: dict[str, Any], body: bytes) -> None:
        """Record the id and time of an accepted event, or the message of a server error."""
        if line["status"] == ACCEPTED:
            answer = json.loads(body)
            line["id"], line["received_at"] = str(answer["id"]), str(answer["received_at"])
            self._known_ids.append(line["id"])
            self._accepted.add(line["number"])
        elif line["status"] >= SERVER_ERROR:
            line["message"] = _message(body)

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            self.out.flush()

    def _write(self, line: dict[str, Any]) -> None:
        self.out.write(json.dumps(line, separators=(",", ":")) + "\n")


@contextmanager
def running(load: Load, pick: Pick, path: Path) -> Iterator[Generator]:
    """Send a load from a thread while the body runs; the open requests end after it.

    Raises the generator's error even if the body fails: it may be the reason.
    """
    with (
        path.open("x", encoding="utf-8") as out,
        ThreadPoolExecutor(1) as thread,
        closing(asyncio.new_event_loop()) as loop,
    ):
        generator = Generator(load, pick, out)
        done = thread.submit(loop.run_until_complete, generator.run())
        try:
            yield generator
        finally:
            loop.call_soon_threadsafe(generator.stopped.set)
            done.result()


def _message(body: bytes) -> str:
    """The message of an error answer, or else its first bytes."""
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return body[:100].decode("utf-8", "replace")


def _serialised(request: Request, target: Target) -> tuple[bytes, bytes]:
    lines = [
        f"{request.method} {request.path} HTTP/1.1",
        f"Host: {target.name or 'localhost'}",
        "Accept: application/json",
    ]
    if target.token:
        lines.append(f"Authorization: Bearer {target.token}")
    body = b""
    if request.payload is not None:
        body = json.dumps(request.payload, ensure_ascii=False).encode()
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    if request.key is not None:
        lines.append(f"Idempotency-Key: {request.key}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode(), body


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Send a steady load to the ledger over HTTPS.")
    add = parser.add_argument
    add("--name", required=True, help="the API's host name, as in its certificate")
    add("--port", type=int, default=443)
    add("--ca", required=True, help="the file of CAs to verify with")
    add("--token", default="", help="the bearer token that may write")
    add("--out", required=True, type=Path, help="the file to record the outcomes in")
    add("--run", required=True, help="the prefix of the components")
    add("--rate", type=float, required=True, help="requests a second")
    add("--slow-every", type=int, default=100, help="one request in this many is slow; 0: none")
    add("--insist", action="store_true", help="repeat a POST with its key until it is accepted")
    add("--only-posts", action="store_true")
    add("--concurrency", type=int, default=100_000, help="how many requests may be open")
    return parser.parse_args(arguments)


async def _main(arguments: argparse.Namespace) -> None:
    loop, terminated = asyncio.get_running_loop(), asyncio.Event()
    # Looked up once: a Service keeps its address, and the cluster's DNS is not measured.
    address = socket.getaddrinfo(arguments.name, arguments.port, family=socket.AF_INET)[0][4][0]
    context = ssl.create_default_context(cafile=arguments.ca)
    target = Target(str(address), arguments.port, arguments.name, context, arguments.token)

    async def pick(_attempt: int) -> Target:
        return target

    load = Load(
        arguments.run,
        arguments.rate,
        slow_every=arguments.slow_every,
        insist=arguments.insist,
        only_posts=arguments.only_posts,
        concurrency=arguments.concurrency,
    )
    with arguments.out.open("w", encoding="utf-8") as out:
        generator = Generator(load, pick, out)
        loop.add_signal_handler(signal.SIGUSR1, generator.stopped.set)
        loop.add_signal_handler(signal.SIGTERM, terminated.set)
        sending = asyncio.create_task(generator.run())
        terminating = asyncio.create_task(terminated.wait())
        while not sending.done() and not terminating.done():
            await asyncio.wait(
                [sending, terminating],
                timeout=PROGRESS_SECONDS,
                return_when=asyncio.FIRST_COMPLETED,
            )
            print(f"{generator.attempts} requests, {generator.failed} failed", flush=True)
        if not sending.done():
            sending.cancel()
            raise SystemExit("terminated before the schedule ended")
        sending.result()
        print("all requests have ended", flush=True)
    await terminating  # the file is read from this pod


if __name__ == "__main__":
    asyncio.run(_main(_parse(None)))
