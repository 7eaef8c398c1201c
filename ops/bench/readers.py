"""Recording beside readers: how long a POST takes while many clients read the page."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from statistics import median

from . import database, http, kafka
from .api import ROWS
from .stack import BenchError, Stack
from .tables import markdown, milliseconds

__all__ = ["measure"]

WRITERS = 8
READERS = 64
# How many seconds the readers begin before the load and end after it.
MARGIN = 1
HEAD = ("POST, 8 connections", "POSTs/s", "p50 ms", "p99 ms", "pages/s")


def measure(stack: Stack, *, seconds: int, rounds: int) -> str:
    """The table of POSTs alone and beside readers of the page, which alternate."""
    with database.connected(stack.database_port) as cursor:
        database.empty(cursor)
        database.insert(cursor, kafka.events(ROWS))
    runs: dict[str, list[tuple[http.Load, float]]] = {
        "alone": [],
        f"beside {READERS} readers of /": [],
    }
    alone, beside = runs.values()
    with stack.running("api", stack.images.api_rest, env={"TOPIC": "deployments"}) as api:
        http.first_200(api.address, "/ready")
        _post(api.address, 1)
        for _ in range(rounds):
            # Answered after the requests that former readers left in the queue.
            http.first_200(api.address, "/environments")
            alone.append((_post(api.address, seconds), 0.0))
            beside.append(_post_beside_readers(api.address, seconds))
    return markdown(HEAD, [_row(name, side) for name, side in runs.items()])


def _post_beside_readers(address: str, seconds: int) -> tuple[http.Load, float]:
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(
            http.load, address, "/", script="get", connections=READERS, seconds=seconds + 2 * MARGIN
        )
        _post(address, MARGIN)
        posts = _post(address, seconds)
        return posts, reading.result().rate


def _post(address: str, seconds: int) -> http.Load:
    load = http.load(address, "/deployments", script="post", connections=WRITERS, seconds=seconds)
    if load.errors:
        raise BenchError(f"measure recording: {load.errors} of {load.answers} POSTs failed")
    return load


def _row(name: str, runs: list[tuple[http.Load, float]]) -> list[str]:
    posts = [post for post, _ in runs]
    return [
        name,
        f"{median(post.rate for post in posts):.0f}",
        milliseconds(median(post.p50 for post in posts)),
        milliseconds(median(post.p99 for post in posts)),
        f"{median(pages for _, pages in runs):.0f}",
    ]
