"""What plain waitress does with the cases of hostile.py, as docs/hostile-http.md says."""

import re
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from hostile import AFTER, CASES, GROUPS, STATUS, Case
from waitress import create_server
from waitress.adjustments import Adjustments

LIMIT = 20
QUIET = 0.5
THREADS = 8
WAITS = "waits for the rest: its own limit is 1 GiB"
TEXT = (Path(__file__).parents[1] / "docs" / "hostile-http.md").read_text()
WAITING = set(re.findall(rf"^\| (.*) \| {WAITS} \|", TEXT, re.MULTILINE))


@dataclass(frozen=True)
class Seen:
    """The statuses, the requests that reached the app, and whether the server waits for more."""

    statuses: tuple[int, ...]
    paths: tuple[str, ...]
    waits: bool


class Recorder:
    """Remembers requests by the client's port; without probes, which our server answers itself."""

    def __init__(self) -> None:
        self.paths: dict[int, list[str]] = {}

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/health":
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
        return Seen(tuple(map(int, STATUS.findall(received))), tuple(app.paths[own]), waits)


@pytest.fixture(scope="module")
def seen() -> Iterator[dict[str, Seen]]:
    """What became of each case, by its name."""
    app = Recorder()
    server: Any = create_server(app, listen="127.0.0.1:0")
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        with ThreadPoolExecutor(THREADS) as pool:
            found = pool.map(lambda case: exchange(int(server.effective_port), app, case), CASES)
            yield {case.name: each for case, each in zip(CASES, found, strict=True)}
    finally:
        server.task_dispatcher.shutdown()
        server.trigger.pull_trigger(server.close)  # closed by the thread that polls
        thread.join(LIMIT)
    assert not thread.is_alive()


def in_words(case: Case, seen: Seen) -> str | None:
    """Say what waitress does, unless it is what our server does."""
    extra = not case.refused
    if seen == Seen(
        (*case.statuses, *([200] * extra)), (*case.paths, *(["/after"] * extra)), waits=False
    ):
        return None
    if seen.paths and seen.statuses == (200,) * len(seen.paths):
        if "" in seen.paths:
            return "served, but with an empty path"
        return "**served**, and what follows too" if seen.paths[-1] == "/after" else "**served**"
    words = {
        ((), (), True): WAITS,
        ((), (), False): "closes without an answer",
        ((200, 400), ("/x",), False): "**served**, then 400",
        ((400,), (), False): "400",
        ((501,), (), False): "501",
    }
    return words.get((seen.statuses, seen.paths, seen.waits), str(seen))


def row(case: Case, words: str) -> str:
    ours = " ".join(map(str, case.statuses)) + ", closes" * case.refused
    return f"| {case.name} | {words} | {ours} |"


def section(heading: str) -> list[str]:
    _, _, rest = TEXT.partition(f"\n### {heading}\n\n")
    return re.split(r"\n\n(?!\|)", rest)[0].splitlines()


@pytest.mark.parametrize("heading", GROUPS)
def test_the_document_says_in_which_cases_waitress_differs_and_how(
    seen: dict[str, Seen], heading: str
) -> None:
    words = [(case, in_words(case, seen[case.name])) for case in GROUPS[heading]]
    assert section(heading) == [
        f"{len(words)} cases; those in which waitress alone differs:",
        "",
        f"| sent | waitress {version('waitress')} alone | api-rest |",
        "|---|---|---|",
        *(row(case, differs) for case, differs in words if differs),
    ]


def test_the_document_has_no_other_sections() -> None:
    assert re.findall("^### (.*)", TEXT, re.MULTILINE) == list(GROUPS)


def test_the_document_counts_right(seen: dict[str, Seen]) -> None:
    served = [
        case for case in CASES if len(seen[case.name].paths) > len(case.paths) + (not case.refused)
    ]
    assert re.findall(r"hostile\.py`: (\d+) cases", TEXT) == [str(len(CASES))]
    assert re.findall(r"(\d+) are served", TEXT) == [str(len(served))]


def test_the_document_names_the_defaults_of_waitress() -> None:
    defaults = Adjustments()
    assert WAITS.endswith(f" {defaults.max_request_body_size >> 30} GiB")
    limit = f"it stops accepting at {defaults.connection_limit} connections"
    assert limit in " ".join(TEXT.split())
    assert f"its only timeout ({defaults.channel_timeout} s)" in TEXT
