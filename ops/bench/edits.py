"""From a saved file until it is served: `inv dev`, beside `docker compose watch` and `inv up`."""
# ruff: noqa: T201  a command line speaks by print

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from statistics import median

from .delivery import APART, FOREIGN, PEERS, clone_of_the_working_tree, output, registry
from .stack import BUNDLE, BenchError, need
from .tables import markdown

__all__ = ["Clone", "main", "table"]

FAILED = 1
EDITED, SERVED = "api-rest/src/api_rest/assets/page.css", "/assets/page.css"
SECONDS = 120.0
UP = ("./run", "inv", "up")
DEV = ("./run", "inv", "dev")
COMPOSE = (
    "docker",
    "compose",
    "--project-directory=.",
    "--file=docker-compose.yaml",
    "--file=ops/docker-compose.apps.yaml",
    f"--file={PEERS / 'watch.yaml'}",
)
HEAD = ("one line changed, until it is served", "min s", "median s", "max s")


class Clone:
    """A clone whose platform runs at ports of its own."""

    def __init__(self, folder: Path, port: int, environment: Mapping[str, str]) -> None:
        self.folder, self.port = folder, port
        self.environment = {**environment, "API_PORT": str(port)}

    def edit(self, then: Callable[[], object] = lambda: None) -> float:
        """The seconds from a saved line until it is served; then: what the user does after it."""
        line = f"/* {uuid.uuid4()} */"
        begun = time.perf_counter()
        with (self.folder / EDITED).open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
        then()
        while line not in self._served():
            if time.perf_counter() - begun > SECONDS:
                raise BenchError(f"see the line served: not in {SECONDS:.0f} s")
            time.sleep(0.02)
        return time.perf_counter() - begun

    def run(self, *argv: str) -> None:
        """Run a command to its end."""
        output(argv, self.folder, self.environment)

    @contextmanager
    def watching(self, argv: Sequence[str], sign: str) -> Iterator[None]:
        """Run a command beside the body, which begins when the command's output has the sign."""
        with tempfile.NamedTemporaryFile() as printed:
            process = subprocess.Popen(
                argv,
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
            )
            try:
                _await(process, Path(printed.name), sign)
                yield
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(SECONDS)

    def _served(self) -> str:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", SERVED)
            return connection.getresponse().read().decode()
        except (OSError, HTTPException):
            return ""
        finally:
            connection.close()


def _await(process: subprocess.Popen[bytes], output: Path, sign: str) -> None:
    deadline = time.monotonic() + SECONDS
    while sign not in output.read_text(encoding="utf-8"):
        if process.poll() is not None or time.monotonic() > deadline:
            raise BenchError(f"watch: {output.read_text(encoding='utf-8')[-1500:]}")
        time.sleep(0.05)


def main(arguments: Sequence[str]) -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="bench edits", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how many edits each gets (5)")
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error("--rounds is 1 or more")
    try:
        need({"docker": "docker-cli", "git": "git"})
        with clone_of_the_working_tree() as folder, registry() as port:
            print(_measure(folder, port, options.rounds), flush=True)
    except BenchError as error:
        print(f"bench cannot {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("bench was interrupted; its platform is removed", file=sys.stderr)
        return FAILED
    return 0


def _measure(folder: Path, port: int, rounds: int) -> str:
    inherited = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    bundle = os.environ.get("BUILD_CA", BUNDLE)
    ours = {"DELIVERY_REGISTRY": f"localhost:{port}", "DELIVERY_BUILD_CA": bundle}
    ports = {"KAFKA_PORT": str(port + 1), "DATABASE_PORT": str(port + 2)}
    clone = Clone(folder, port + 3, {**inherited, **ours, **ports, **APART, "BUILD_CA": bundle})
    measured: dict[str, list[float]] = {}
    try:
        clone.run(*UP)
        measured["./run inv up"] = [clone.edit(lambda: clone.run(*UP)) for _ in range(rounds)]
        with clone.watching(DEV, "watching this clone"):
            measured["./run inv dev"] = [clone.edit() for _ in range(rounds)]
        released = json.loads((folder / ".delivery" / "release.json").read_text(encoding="utf-8"))
        images = released["images"].items()
        references = {
            f"{name.upper().replace('-', '_')}_IMAGE": f"{each['repository']}@{each['digest']}"
            for name, each in images
        }
        clone.environment |= references
        clone.run(*COMPOSE, "up", "--detach", "--build", "--no-deps", "api-rest")
        with clone.watching((*COMPOSE, "watch", "--no-up", "api-rest"), "Watch enabled"):
            edits = [clone.edit() for _ in range(rounds)]
            measured["docker compose watch, which builds the image"] = edits
    finally:
        clone.run("./run", "inv", "down", "--volumes", "--yes")
    return table(measured)


def table(measured: Mapping[str, Sequence[float]]) -> str:
    """The table, the quickest first."""
    rows = sorted((median(times), title, times) for title, times in measured.items())
    return markdown(
        HEAD,
        [
            (title, *(f"{each:.2f}" for each in (min(times), middle, max(times))))
            for middle, title, times in rows
        ],
    )
