"""The generator against a local server: it keeps its schedule and records every outcome."""

import asyncio
import io
import itertools
import json
import ssl
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.load import generator as module
from tests.load.checker import check
from tests.load.generator import Generator, Load, Target, running
from tests.load.recording import Recording, failures, parse
from tests.registries import serving
from tests.waiting import wait_for

Answer = Callable[["Received", asyncio.StreamWriter], Awaitable[None]]


class Received:
    """A request as the server sees it."""

    def __init__(self, head: bytes, position: int) -> None:
        self.line, *headers = head.decode().strip().split("\r\n")
        self.headers = dict(line.split(": ", 1) for line in headers)
        # Its position on its connection.
        self.position = position
        self.body = b""
        # How long its body took.
        self.seconds = 0.0


def response(status: int, body: bytes, headers: str = "") -> bytes:
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


VALID = json.dumps({"id": "1", "received_at": "t"}).encode()


async def accept(received: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(response(202 if received.line.startswith("POST") else 200, VALID))


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def send(
    authority: trustme.CA,
    answer: Answer,
    count: int = 8,
    **load: Any,
) -> tuple[Recording, list[Received]]:
    """Send the first requests of a load to a server; return the recording and what it received."""
    requests: list[Received] = []
    options: dict[str, Any] = {"run": "run", "rate": 200.0, "slow_every": 0, "answer_timeout": 5.0}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        position, loop = 0, asyncio.get_running_loop()
        try:
            while not writer.is_closing():
                received = Received(await reader.readuntil(b"\r\n\r\n"), position)
                began = loop.time()
                length = int(received.headers.get("Content-Length", 0))
                received.body = await reader.readexactly(length)
                received.seconds = loop.time() - began
                requests.append(received)
                await answer(received, writer)
                position += 1
        except (asyncio.IncompleteReadError, OSError):
            writer.close()

    async def run() -> str:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        async with server:
            trusting = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
            port = server.sockets[0].getsockname()[1]
            target = Target("127.0.0.1", port, "localhost", trusting, "secret")
            out = io.StringIO()

            async def pick(_attempt: int) -> Target:
                return target

            generator = Generator(Load(**{**options, "count": count, **load}), pick, out)
            await asyncio.wait_for(generator.run(), 30)
            return out.getvalue()

    return parse(asyncio.run(run())), requests


def reasons(recording: Recording) -> list[str]:
    return [failure.reason for failure in failures(recording)]


def test_a_correct_server_fails_no_request(authority: trustme.CA) -> None:
    recording, received = send(authority, accept, 40)
    assert reasons(recording) == []
    assert len(recording.requests) == len(received) == 40
    posts = [request for request in received if request.line.startswith("POST")]
    keys = {request.headers["Idempotency-Key"] for request in posts}
    assert keys == {f"run-{number}" for number in range(0, 40, 2)}
    assert json.loads(posts[0].body)["responsible"] == "Zoë"
    sent = {request.key: request.payload for request in recording.posts}
    assert {post.headers["Idempotency-Key"]: json.loads(post.body) for post in posts} == sent
    assert {post.headers["Authorization"] for post in posts} == {"Bearer secret"}


def test_kept_connections_are_reused_and_fresh_ones_are_not(authority: trustme.CA) -> None:
    recording, _ = send(authority, accept, 40)
    assert {request.reused for request in recording.requests if request.fresh} == {False}
    kept = [request for request in recording.requests if not request.fresh]
    assert sum(request.reused for request in kept) >= 15
    # The first one opens a connection: it does not get a fresh one of another request.
    assert not min(kept, key=lambda request: request.began).reused
    assert len({request.serial for request in recording.requests}) == 1


def test_the_schedule_does_not_wait_for_the_server(authority: trustme.CA) -> None:
    async def late(received: Received, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.5)
        await accept(received, writer)

    recording, _ = send(authority, late, 20)
    due = [request.due for request in recording.requests]
    assert len(due) == 20
    assert max(due) - min(due) == pytest.approx(19 / 200)
    assert min(request.ended - request.began for request in recording.requests) >= 0.5


def test_a_slow_post_sends_its_body_slowly(authority: trustme.CA) -> None:
    recording, received = send(authority, accept, 1, slow_every=1, slow_seconds=0.3)
    assert recording.requests[0].kind == "slow POST"
    assert reasons(recording) == []
    assert received[0].seconds >= 0.2


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (response(503, b"{}"), "status 503, {}"),
        (response(503, b'{"error": {"message": "overloaded"}}'), "status 503, overloaded"),
        (response(502, b"<html>"), "status 502, <html>"),
        (b"", "IncompleteReadError"),
        (b"HTTP/1.1 202 A\r\nContent-Length: 50\r\n\r\nshort", "IncompleteReadError"),
        (b"HTTP/1.1 202 A\r\n\r\n", "KeyError('content-length')"),
        (response(202, b"no JSON"), "JSONDecodeError"),
        (response(202, b"null"), "TypeError"),
        (response(202, b'{"id": "1"}'), "KeyError('received_at')"),
    ],
)
def test_a_wrong_answer_is_recorded(authority: trustme.CA, answer: bytes, reason: str) -> None:
    async def wrong(_received: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.close()

    recording, _ = send(authority, wrong, 1)
    (recorded,) = reasons(recording)
    assert recorded.startswith(reason)
    assert recording.accepted == set()


def test_no_answer_is_a_timeout(authority: trustme.CA) -> None:
    async def silent(_received: Received, _writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(5)

    recording, _ = send(authority, silent, 1, answer_timeout=0.2)
    assert reasons(recording) == ["timeout at receive"]


def test_a_request_fails_when_its_kept_connection_breaks_and_is_not_repeated(
    authority: trustme.CA,
) -> None:
    async def twice(received: Received, writer: asyncio.StreamWriter) -> None:
        if received.position:
            writer.transport.abort()
        else:
            await accept(received, writer)

    recording, received = send(authority, twice, 20)
    failed = [failure.request for failure in failures(recording)]
    assert failed
    assert all(request.reused for request in failed)
    assert len(received) == len(recording.requests) == 20


@dataclass
class Unreliable:
    """An API that stores an event once for each key; it fails every third POST after storing it."""

    # Shared by all instances: the rows by key or number.
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    posts: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def __call__(
        self, _method: str, _path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        event, post = json.loads(body), next(self.posts)
        key = headers.get("Idempotency-Key") or str(event["details"]["number"])
        row = self.rows.setdefault(key, {**event, "id": f"id-{key}", "received_at": f"{post:09}"})
        return 503 if post % 3 == 0 else 202, {}, json.dumps(row).encode()


def test_only_posts_with_a_key_are_repeated_until_accepted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "RETRY_PAUSE", 0.001)
    load = Load(
        "run",
        2000.0,
        slow_every=0,
        insist=True,
        only_posts=True,
        keyless=0.25,
        repeat_every=5,
        concurrency=4,
        count=200,
    )
    api = Unreliable()
    with serving(api) as (one, to_one), serving(api) as (two, to_two):
        targets = [Target("127.0.0.1", int(each.rpartition(":")[2])) for each in (one, two)]

        async def pick(attempt: int) -> Target:
            if attempt % 10 == 3:
                raise ConnectionError("no instance is ready")
            return targets[attempt % 2]

        path = tmp_path / "requests"
        with running(load, pick, path) as generator:
            wait_for("half of the events", lambda: generator.accepted > 100, every=0.001)
            wait_for("the end of the schedule", lambda: '"end"' in path.read_text(), every=0.01)
    recording = parse(path.read_text())
    verdict = check(recording.posts, list(api.rows.values()))
    assert verdict.findings == (), verdict.describe()
    assert min(len(to_one), len(to_two)) > 50
    outcomes: dict[int, list[str]] = {}
    for post in sorted(recording.posts, key=lambda post: post.attempt):
        outcomes.setdefault(post.number, []).append(post.outcome)
    keyless = {post.number for post in recording.posts if post.key is None}
    assert len(keyless) == 50
    assert all(len(outcomes[number]) == 1 for number in keyless)
    assert all("accepted" in outcomes[number] for number in outcomes.keys() - keyless)
    assert any(outcome.count("accepted") == 2 for outcome in outcomes.values())
    assert any("no instance is ready" in str(failure) for failure in failures(recording))
