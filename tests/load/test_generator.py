"""The generator against a real TLS server of this test's own: it keeps its schedule, and writes down whatever the server does."""

import asyncio
import io
import json
import signal
import ssl
import subprocess
import sys
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.load import generator as module
from tests.load.generator import Generator, Load, Target, request
from tests.load.recording import Recording, Request, failures, parse

Serve = Callable[["Asked", asyncio.StreamWriter], Awaitable[None]]


class Asked:
    """A request as a server sees it: which one on its connection, and how long its body took."""

    def __init__(self, head: bytes, body: bytes, turn: int, seconds: float) -> None:
        self.line = head.split(b"\r\n", 1)[0].decode()
        self.headers = dict(line.split(": ", 1) for line in head.decode().strip().split("\r\n")[1:])
        self.body = body
        self.turn = turn
        self.seconds = seconds


def answer(status: int, body: bytes, more: str = "") -> bytes:
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


GOOD = json.dumps({"id": "one", "received_at": "t"}).encode()


async def good(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(answer(202 if asked.line.startswith("POST") else 200, GOOD))


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def drive(
    authority: trustme.CA, serve: Serve, count: int = 8, **load: object
) -> tuple[Recording, list[Asked]]:
    """Send the first so many requests of a load to a server that answers as told."""
    seen: list[Asked] = []
    options: dict[str, Any] = {"run": "run", "rate": 200.0, "slow_every": 0, "answer_timeout": 5.0}
    wanted = Load(**{**options, "count": count, **load})

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        turn, loop = 0, asyncio.get_running_loop()
        try:
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                began = loop.time()
                asked = Asked(head, b"", turn, 0.0)
                asked.body = await reader.readexactly(int(asked.headers.get("Content-Length", 0)))
                asked.seconds = loop.time() - began
                seen.append(asked)
                await serve(asked, writer)
                turn += 1
        except (asyncio.IncompleteReadError, OSError):
            writer.close()

    async def run() -> str:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
        async with server:
            trusting = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
            target = Target("127.0.0.1", server.sockets[0].getsockname()[1], "localhost", trusting)
            out = io.StringIO()
            made = Generator(wanted, target, out)
            await asyncio.wait_for(made.run(), 30)
            return out.getvalue()

    return parse(asyncio.run(run())), seen


def reasons(recording: Recording) -> list[str]:
    return [failure.reason for failure in failures(recording, [])]


def test_the_mix_has_every_kind_on_both_kinds_of_connection() -> None:
    load = Load("run", 200.0)
    mix = Counter(
        (one.kind, one.fresh)
        for one in (request(load, number, deque(["id"])) for number in range(1000))
    )
    assert mix["slow POST", True] == mix["slow POST", False] == 5
    assert min(mix.values()) == 5
    assert sum(count for (kind, _), count in mix.items() if kind == "GET") == 500
    assert sum(count for (_, fresh), count in mix.items() if fresh) == 500


def test_a_good_server_fails_nothing(authority: trustme.CA) -> None:
    recording, seen = drive(authority, good, 40)
    assert reasons(recording) == []
    assert len(recording.requests) == len(seen) == 40
    posts = [asked for asked in seen if asked.line.startswith("POST")]
    assert {asked.headers["Idempotency-Key"] for asked in posts} == {
        f"run-{n}" for n in range(0, 40, 2)
    }
    assert json.loads(posts[0].body)["responsible"] == "Zoë"


def test_fresh_connections_serve_once_and_kept_ones_again(authority: trustme.CA) -> None:
    recording, _ = drive(authority, good, 40)
    assert {request.reused for request in recording.requests if request.fresh} == {False}
    assert sum(request.reused for request in recording.requests if not request.fresh) >= 15
    # The first one that is to be kept finds none: a fresh connection is not left to others.
    assert not min(
        (one for one in recording.requests if not one.fresh), key=lambda one: one.began
    ).reused
    assert len({request.serial for request in recording.requests}) == 1


def test_the_schedule_does_not_wait_for_the_server(authority: trustme.CA) -> None:
    async def late(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.5)
        await good(asked, writer)

    recording, _ = drive(authority, late, 20)
    assert len(recording.requests) == 20
    assert max(one.due for one in recording.requests) - min(
        one.due for one in recording.requests
    ) == pytest.approx(19 / 200)
    assert min(one.ended - one.began for one in recording.requests) >= 0.5


def test_a_slow_post_takes_its_time_to_send(authority: trustme.CA) -> None:
    recording, seen = drive(authority, good, 1, slow_every=1, slow_seconds=0.3)
    assert recording.requests[0].kind == "slow POST"
    assert reasons(recording) == []
    assert seen[0].seconds >= 0.2


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (answer(503, b"{}"), "status 503, {}"),
        (
            answer(503, b'{"error": {"message": "too many are waiting"}}'),
            "status 503, too many are waiting",
        ),
        (answer(502, b"<html>"), "status 502, <html>"),
        (b"", "IncompleteReadError"),
        (b"HTTP/1.1 202 A\r\nContent-Length: 50\r\n\r\nshort", "IncompleteReadError"),
        (b"HTTP/1.1 202 A\r\n\r\n", "KeyError('content-length')"),
        (answer(202, b"no JSON"), "JSONDecodeError"),
        (answer(202, b'{"id": "one"}'), "KeyError('received_at')"),
    ],
)
def test_a_wrong_answer_is_written_down(authority: trustme.CA, sent: bytes, reason: str) -> None:
    async def wrong(_asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        writer.close()

    recording, _ = drive(authority, wrong, 1)
    assert [one.startswith(reason) for one in reasons(recording)] == [True], reasons(recording)


def test_silence_is_a_timeout(authority: trustme.CA) -> None:
    async def silent(_asked: Asked, _writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(5)

    recording, _ = drive(authority, silent, 1, answer_timeout=0.2)
    assert reasons(recording) == ["timeout at receive"]


def test_a_server_that_announces_its_hanging_up_fails_nothing(authority: trustme.CA) -> None:
    async def once(asked: Asked, writer: asyncio.StreamWriter) -> None:
        # It leaves the hanging up to the client, which may send nothing more on this connection.
        writer.write(
            answer(202 if asked.line.startswith("POST") else 200, GOOD, "Connection: close\r\n")
        )

    recording, seen = drive(authority, once, 20)
    assert reasons(recording) == []
    assert {asked.turn for asked in seen} == {0}


def test_a_connection_that_was_closed_while_it_rested_is_not_used_again(
    authority: trustme.CA,
) -> None:
    async def once(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await good(asked, writer)
        writer.close()

    recording, _ = drive(authority, once, 20, rate=20.0)
    assert reasons(recording) == []
    assert not any(request.reused for request in recording.requests)


def test_a_kept_connection_that_dies_under_a_request_fails_it_and_is_not_tried_again(
    authority: trustme.CA,
) -> None:
    async def twice(asked: Asked, writer: asyncio.StreamWriter) -> None:
        if asked.turn:
            writer.transport.abort()
        else:
            await good(asked, writer)

    recording, seen = drive(authority, twice, 20)
    failed = [failure.request for failure in failures(recording, [])]
    assert failed
    assert all(request.reused for request in failed)
    assert len(seen) == len(recording.requests) == 20


def test_who_insists_repeats_until_accepted_and_every_attempt_is_a_line(
    authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_PAUSE", 0.01)
    turns: Counter[str] = Counter()

    async def third_time(asked: Asked, writer: asyncio.StreamWriter) -> None:
        turns[asked.headers["Idempotency-Key"]] += 1
        if turns[asked.headers["Idempotency-Key"]] < 3:
            writer.write(answer(503, b"{}"))
        else:
            await good(asked, writer)

    # Slow enough that none is still insisting when the schedule ends.
    recording, _ = drive(authority, third_time, 4, insist=True, only_posts=True, rate=5.0)
    made: dict[int, list[Request]] = {}
    for one in recording.requests:
        made.setdefault(one.number, []).append(one)
    assert [[one.status for one in attempts] for attempts in made.values()] == [[503, 503, 202]] * 4
    assert {one.key for one in made[1]} == {"run-1"}


def test_its_own_lateness_is_written_down(authority: trustme.CA) -> None:
    async def block(asked: Asked, writer: asyncio.StreamWriter) -> None:
        # The server shares the generator's loop here, so what blocks one blocks both.
        __import__("time").sleep(0.3)
        await good(asked, writer)

    recording, _ = drive(authority, block, 1)
    assert max(lag.lag for lag in recording.lags) > 0.2


def test_the_program_ends_its_schedule_when_told_and_stays_to_be_read(
    authority: trustme.CA, tmp_path: Path
) -> None:
    ca, out = tmp_path / "ca.pem", tmp_path / "out.jsonl"
    authority.cert_pem.write_to_path(str(ca))
    options = [
        "--name",
        "localhost",
        "--port",
        "1",
        "--ca",
        str(ca),
        "--out",
        str(out),
        "--run",
        "r",
        "--rate",
        "50",
    ]
    program = [sys.executable, module.__file__, *options]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while not out.exists() or not out.stat().st_size:
            pass
        process.send_signal(signal.SIGUSR1)
        assert "all of them ended" in process.stdout.readline()
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    recording = parse(out.read_text())
    assert recording.requests
    assert all("refused" in reason.lower() for reason in reasons(recording))
