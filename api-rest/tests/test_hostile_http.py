"""What api-rest alone does with the cases of hostile.py, as docs/hostile-http.md says."""

import json
import re
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from api_rest.server import Server
from api_rest.settings import Settings
from hostile import AFTER, CASES, GROUPS, STATUS, Case

from ledger import config

LIMIT = 20
QUIET = 0.5
THREADS = 8
WAITS = "waits for the rest"
TEXT = (Path(__file__).parents[1] / "docs" / "hostile-http.md").read_text()
WAITING = set(re.findall(rf"^\| (.*?) \| [^|]* \| {WAITS} \|", TEXT, re.MULTILINE))


@dataclass(frozen=True)
class Seen:
    """The statuses, the requests that reached the app, and whether the server waits for more."""

    statuses: tuple[int, ...]
    paths: tuple[str, ...]
    waits: bool
    received: bytes = b""


class Recorder:
    """Remembers requests by the client's port."""

    def __init__(self) -> None:
        self.paths: dict[int, list[str]] = {}

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        self.paths[int(environ["REMOTE_PORT"])].append(environ["PATH_INFO"])
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]


def send(connection: socket.socket, case: Case) -> bytes:
    """Send the case and a good request in one packet; return what was read."""
    if case.ends:
        connection.sendall(case.sent)
        connection.shutdown(socket.SHUT_WR)
    elif 100 in case.statuses:
        connection.sendall(case.sent)
        received = connection.recv(65_536)
        connection.sendall(b"hello" + AFTER)
        return received
    else:
        connection.sendall(case.sent + AFTER)
    return b""


def exchange(port: int, app: Recorder, case: Case) -> Seen:
    waits = False
    with socket.create_connection(("127.0.0.1", port), LIMIT) as connection:
        own = connection.getsockname()[1]
        app.paths[own] = []
        received = send(connection, case)
        connection.settimeout(QUIET if case.name in WAITING else LIMIT)
        try:
            while part := connection.recv(65_536):
                received += part
        except TimeoutError:
            waits = True
        except ConnectionResetError:
            received += b"RESET"
        statuses = tuple(map(int, STATUS.findall(received)))
        return Seen(statuses, tuple(app.paths[own]), waits, received)


@pytest.fixture(scope="module")
def seen() -> Iterator[dict[str, Seen]]:
    """What became of each case, by its name."""
    app = Recorder()
    needed = dict.fromkeys(
        ("BROKER_URL", "DB_HOST", "DB_DATABASE", "DB_USERNAME", "DB_PASSWORD"), "unused"
    )
    with socket.create_server(("127.0.0.1", 0)) as probe:
        free = str(probe.getsockname()[1])
    settings = config.load(
        Settings,
        {**needed, "HTTP_HOST": "127.0.0.1", "HTTP_PORT": free, "SHUTDOWN_TIMEOUT": "0"},
    )
    stopping = threading.Event()
    server = Server(app, settings, stopping)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        with ThreadPoolExecutor(THREADS) as pool:
            found = pool.map(lambda case: exchange(server.port, app, case), CASES)
            yield {case.name: each for case, each in zip(CASES, found, strict=True)}
    finally:
        stopping.set()
        thread.join(LIMIT)
    assert not thread.is_alive()


def in_words(case: Case, seen: Seen) -> str | None:
    """Say what api-rest does, unless it is what a strict reader does."""
    extra = not case.refused
    strict = (*case.statuses, *([200] * extra)), (*case.paths, *(["/after"] * extra))
    if (seen.statuses, seen.paths) == strict and not seen.waits:
        return None
    if seen.paths and seen.statuses == (200,) * len(seen.paths):
        if "" in seen.paths:
            return "served, but with an empty path"
        return "**served**, and what follows too" if seen.paths[-1] == "/after" else "**served**"
    if seen.paths:
        refused = ((200, 400), ("/x",), False)
        same = (seen.statuses, seen.paths, seen.waits) == refused
        return "**served**, then 400" if same else str(seen)
    if seen.waits:
        return WAITS
    return " ".join(map(str, seen.statuses)) or "closes, no answer"


def strict_words(case: Case) -> str:
    return " ".join(map(str, case.statuses))


def table(heading: str) -> list[list[str]]:
    """Return the cells of a group's table in the document, without its head."""
    _, _, rest = TEXT.partition(f"\n### {heading}\n\n")
    lines = re.split(r"\n\n(?!\|)", rest)[0].splitlines()
    return [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")][1:]


def test_each_case_has_a_name_of_its_own() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("heading", GROUPS)
def test_the_document_says_in_which_cases_api_rest_is_not_strict(
    seen: dict[str, Seen], heading: str
) -> None:
    words = [(case, in_words(case, seen[case.name])) for case in GROUPS[heading]]
    expected = [[case.name, strict_words(case), differs] for case, differs in words if differs]
    assert [row[:3] for row in table(heading)] == expected
    assert f"\n### {heading}\n\n{len(words)} cases" in TEXT


def test_the_document_has_no_other_groups_and_counts_right(seen: dict[str, Seen]) -> None:
    assert re.findall("^### (.*)", TEXT, re.MULTILINE) == list(GROUPS)
    served = [
        case for case in CASES if len(seen[case.name].paths) > len(case.paths) + (not case.refused)
    ]
    assert re.findall(r"hostile\.py`: (\d+) cases", TEXT) == [str(len(CASES))]
    assert re.findall(r"(\d+) are served", TEXT) == [str(len(served))]


def test_a_refusal_is_json_and_the_connections_last_answer(seen: dict[str, Seen]) -> None:
    refusals = [each for each in seen.values() if each.statuses and each.statuses[-1] >= 400]
    whole = [each.received for each in refusals if not each.received.endswith(b"RESET")]
    assert len(whole) > len(refusals) / 2
    for received in whole:
        head, _, body = received.rpartition(b"\r\n\r\n")
        assert b"\r\nConnection: close\r\n" in head
        assert set(json.loads(body)["error"]) == {"code", "message"}
