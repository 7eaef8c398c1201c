"""Large reads and slow clients leave api-rest within its memory limit."""

from __future__ import annotations

import csv
import io
import json
import re
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection, HTTPException

import pytest

from tests.ledger.conftest import Say
from tests.ledger.stack import Stack

pytestmark = pytest.mark.engine

EVENTS = 600
EVENT_BYTES = 30_000
READERS = 8
# Of 256 MB; the rest is for the kernel's buffers and the process of the health check.
LIMIT = 200_000_000

LOAD_EVENTS = 3_000
LOAD_EVENT_BYTES = 32_000
LOAD_READERS = 20
LOAD_SECONDS = 60
# More than the megabytes of the limit: each waits for an answer of one.
IDLERS = 250

OK, BUSY = 200, 503
TIMEOUT = 60.0

_INSERT = """
INSERT INTO deployments
    (id, component, version, environment, responsible, stage, status, received_at, details)
SELECT UUID(), 'large', seq, %s, 'test', 'test', 'succeeded',
    UTC_TIMESTAMP(6) - INTERVAL seq SECOND, JSON_OBJECT('log', REPEAT('x', %s))
FROM seq_{first}_to_{last}
"""


# Slow clients in api-rest's container: a port's proxy would buffer megabytes, and so would the
# kernel with large segments. One thread: the container limits processes.
# Arguments: path, clients, seconds, reads a second.
_SLOW = """
import socket, sys, time
path, count, seconds, rate = sys.argv[1], *map(int, sys.argv[2:])
def connect():
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
    client.connect(('127.0.0.1', 8000))
    client.sendall(f'GET {path} HTTP/1.1\\r\\nHost: ledger\\r\\n\\r\\n'.encode())
    client.setblocking(False)
    return client
def read(client):
    try:
        return len(client.recv(4096))
    except BlockingIOError:
        return None
    except OSError:
        return 0
end, received = time.monotonic() + seconds, 0
clients = [connect() for _ in range(count)]
while time.monotonic() < end:
    time.sleep(1 / rate if rate else seconds)
    for number, client in enumerate(clients if rate else ()):
        size = read(client)
        received += size or 0
        if size == 0:
            client.close()
            clients[number] = connect()
print(received)
"""


class Events:
    """Large events in an environment of their own."""

    def __init__(self, stack: Stack, environment: str) -> None:
        self.stack = stack
        self.environment = environment

    def write(self, count: int, size: int) -> None:
        """Insert them into the table, 200 at a time."""
        for first in range(1, count + 1, 200):
            statement = _INSERT.format(first=first, last=min(first + 199, count))
            self.stack.execute(statement, self.environment, size)

    def ids(self) -> list[str]:
        """Their ids, the newest first."""
        rows = self.stack.execute(
            "SELECT id FROM deployments WHERE environment = %s ORDER BY received_at DESC, id DESC",
            self.environment,
        )
        return [row["id"] for row in rows]

    def address(self, path: str, **query: int) -> str:
        options = "".join(f"&{name}={value}" for name, value in query.items())
        return f"{path}?environment={self.environment}{options}"

    def remove(self) -> None:
        self.stack.execute("DELETE FROM deployments WHERE environment = %s", self.environment)


@pytest.fixture
def events(stack: Stack) -> Iterator[Events]:
    events = Events(stack, f"memory-{uuid.uuid4().hex[:8]}")
    yield events
    events.remove()


def memory(stack: Stack) -> tuple[int, int]:
    """The memory of api-rest's process, present and highest, in bytes."""
    program = "print(open('/proc/1/status').read())"
    command = ("/usr/bin/python3", "-I", "-S", "-c", program)
    status = stack.compose("exec", "--no-TTY", "api-rest", *command)
    kilobytes = dict(re.findall(r"(VmRSS|VmHWM):\s+(\d+) kB", status))
    return int(kilobytes["VmRSS"]) * 1024, int(kilobytes["VmHWM"]) * 1024


def started(stack: Stack) -> tuple[str, str]:
    """The container's status, and when it started."""
    state = stack.container("api-rest").attrs["State"]
    return state["Status"], state["StartedAt"]


def get(stack: Stack, path: str) -> tuple[int, bytes, str | None]:
    """The status, the whole body, and the address in the Link header."""
    with closing(HTTPConnection(*stack.address("api-rest"), timeout=TIMEOUT)) as connection:
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            link = response.getheader("Link")
            following = link and link.removeprefix("<").partition(">")[0]
            return response.status, response.read(), following
        except (OSError, HTTPException) as error:
            state = stack.container("api-rest").attrs["State"]
            raise AssertionError(f"GET {path}: {error!r}; the container: {state}") from error


def get_when_ready(stack: Stack, path: str) -> tuple[bytes, str | None]:
    """The body and the Link; retry while the server is busy."""
    while True:
        status, body, following = get(stack, path)
        if status != BUSY:
            assert status == OK, body
            return body, following
        assert json.loads(body)["error"]["code"] == "busy"
        time.sleep(1)


def bodies(stack: Stack, path: str | None) -> Iterator[bytes]:
    """The body of every page, to the end."""
    while path:
        body, path = get_when_ready(stack, path)
        yield body


def pages(stack: Stack, path: str) -> list[str]:
    """The ids of every page."""
    read = bodies(stack, path)
    return [event["id"] for body in read for event in json.loads(body)["deployments"]]


def tables(stack: Stack, path: str) -> list[str]:
    """The ids of every table."""
    texts = (body.decode("utf-8-sig") for body in bodies(stack, path))
    tables = (csv.DictReader(io.StringIO(text, newline=""), strict=True) for text in texts)
    return [row["id"] for table in tables for row in table]


def test_large_reads_show_every_event_once(stack: Stack, events: Events, say: Say) -> None:
    events.write(EVENTS, EVENT_BYTES)
    expected, running = events.ids(), started(stack)
    assert len(expected) == EVENTS
    before, _ = memory(stack)
    path = events.address("/deployments", limit=500)
    with ThreadPoolExecutor(READERS) as pool:
        read = list(pool.map(lambda _: pages(stack, path), range(READERS)))
    assert read == [expected] * READERS
    for limit in (10_000, 100):
        assert tables(stack, events.address("/deployments.csv", limit=limit)) == expected
    present, most = memory(stack)
    say(f"api-rest's memory: {before:,} bytes before, {most:,} at most, {present:,} after")
    assert started(stack) == running
    assert most < LIMIT


@pytest.fixture
def restarted(stack: Stack, events: Events) -> Iterator[None]:
    """Starts the database again after a test that kills it, before its rows are removed."""
    del events
    yield
    stack.start("database")
    for service in ("api-rest", "async-worker"):
        stack.wait_ready(service)


@pytest.mark.usefixtures("restarted")
def test_a_table_is_cut_when_the_database_goes_away(stack: Stack, events: Events) -> None:
    # More than all buffers on the way hold.
    events.write(EVENTS, 4 * EVENT_BYTES)
    with closing(HTTPConnection(*stack.address("api-rest"), timeout=TIMEOUT)) as connection:
        connection.request("GET", events.address("/deployments.csv", limit=10_000))
        response = connection.getresponse()
        assert response.status == OK
        since = int(time.time())
        stack.signal("database", "SIGKILL")
        with pytest.raises((OSError, HTTPException)):
            response.read()
    log = stack.container("api-rest").logs(since=since).decode()
    assert "a table was cut" in log
    assert "Traceback" not in log


def read_for(stack: Stack, path: str, end: float) -> Counter[int]:
    """Read one address again and again; return how often each status came."""
    statuses: Counter[int] = Counter()
    while time.monotonic() < end:
        status, _, _ = get(stack, path)
        statuses[status] += 1
        if status == BUSY:
            time.sleep(1)
    return statuses


def read_slowly(stack: Stack, path: str, clients: int, seconds: int, rate: int) -> int:
    """Read one address 4 KB at a time, nothing if the rate is 0; return how many bytes came."""
    numbers = map(str, (clients, seconds, rate))
    command = ("/usr/bin/python3", "-I", "-S", "-c", _SLOW, path, *numbers)
    return int(stack.compose("exec", "--no-TTY", "api-rest", *command))


def test_clients_that_read_nothing_hold_little(stack: Stack, events: Events, say: Say) -> None:
    events.write(100, EVENT_BYTES)
    running = started(stack)
    path = events.address("/deployments", limit=500)
    read_slowly(stack, path, IDLERS, 20, 0)
    present, most = memory(stack)
    say(f"api-rest's memory: {most:,} at most, {present:,} after")
    assert started(stack) == running
    assert most < LIMIT


@pytest.mark.chaos
@pytest.mark.parametrize("path", ["/deployments", "/deployments.csv"])
def test_a_minute_of_large_reads_then_of_slow_ones_stays_within_the_memory_limit(
    stack: Stack, events: Events, path: str, say: Say
) -> None:
    events.write(LOAD_EVENTS, LOAD_EVENT_BYTES)
    running = started(stack)
    address = events.address(path, limit=500)
    with ThreadPoolExecutor(LOAD_READERS + 1) as pool:
        end = time.monotonic() + LOAD_SECONDS
        busy = [pool.submit(read_for, stack, address, end) for _ in range(LOAD_READERS)]
        statuses: Counter[int] = Counter()
        for done in busy:
            statuses += done.result()
        _, fast = memory(stack)
        end = time.monotonic() + LOAD_SECONDS
        slow = pool.submit(read_slowly, stack, address, LOAD_READERS, LOAD_SECONDS, 10)
        # Fast readers are served meanwhile.
        others = read_for(stack, events.address("/deployments", limit=1), end)
        received = slow.result()
    present, most = memory(stack)
    say(f"{path}: {dict(statuses)} at full speed, {fast:,} bytes of memory at most")
    say(f"{path}: {received:,} bytes read slowly, others {dict(others)}")
    say(f"{path}: {most:,} bytes at most, {present:,} now")
    assert started(stack) == running
    assert set(statuses) <= {OK, BUSY}
    assert set(others) == {OK}
    assert most < LIMIT
