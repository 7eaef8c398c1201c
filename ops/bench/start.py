"""How long a container takes from `docker start` to its first 200."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median

from . import http
from .stack import Stack
from .tables import markdown, milliseconds

__all__ = ["measure"]

HEAD = ("container", "until", "median ms", "least ms", "above the minimum, ms")
MANAGEMENT_PORT = 8001
# Answers every connection with 200: the time of the engine and Python alone.
FLOOR = """
import socket
listening = socket.create_server(("", 8000), backlog=64)
while True:
    connection, _ = listening.accept()
    connection.recv(4096)
    head = b"HTTP/1.1 200 OK\\r\\nContent-Length: 4\\r\\nConnection: close\\r\\n\\r\\n"
    connection.sendall(head + b"null")
    connection.close()
"""


@dataclass(frozen=True)
class Case:
    """A container to start, and the path that must answer 200."""

    title: str
    image: str
    path: str
    command: tuple[str, ...] = ()
    port: int = http.PORT


def measure(stack: Stack, *, times: int) -> str:
    """Return the table of starts."""
    cases = (
        Case(
            "the minimum: Python and a socket",
            stack.images.base,
            "/health",
            ("-I", "-S", "-c", FLOOR),
        ),
        Case("api-rest", stack.images.api_rest, "/health", port=MANAGEMENT_PORT),
        Case("api-rest", stack.images.api_rest, "/ready"),
        Case(
            "FastAPI, which listens once Kafka is connected",
            stack.images.twins,
            "/health",
            ("fastapi_twin",),
        ),
    )
    seconds: dict[Case, list[float]] = {case: [] for case in cases}
    for _ in range(times):
        for case in cases:
            seconds[case].append(_start(stack, case))
    minimum = median(seconds[cases[0]])
    rows = [
        [
            case.title,
            case.path,
            milliseconds(median(side)),
            milliseconds(min(side)),
            milliseconds(median(side) - minimum),
        ]
        for case, side in seconds.items()
    ]
    return markdown(HEAD, rows)


def _start(stack: Stack, case: Case) -> float:
    stack.create("start", case.image, *case.command, env={"TOPIC": "deployments"})
    try:
        begun = time.time()
        stack.start("start")
        address = stack.inspect("start").address
        return http.first_200(address, case.path, port=case.port) - begun
    finally:
        stack.remove("start")
