"""Recording beside readers: how long a POST takes while many ask for the page."""

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
# The readers begin before the turn and end after it, by so many seconds.
MARGIN = 1
HEAD = ("POST, 8 connections", "POSTs/s", "p50 ms", "p99 ms", "pages/s")


def measure(stack: Stack, *, seconds: int, rounds: int) -> str:
    """Return the table of POSTs alone and beside readers of the page, in turn."""
    with database.connected(stack.database_port) as cursor:
        database.empty(cursor)
        database.insert(cursor, kafka.events(ROWS))
    turns: dict[str, list[tuple[http.Load, float]]] = {
        "alone": [],
        f"beside {READERS} readers of /": [],
    }
    alone, beside = turns.values()
    with stack.running("api", stack.images.api_rest, env={"TOPIC": "deployments"}) as api:
        http.first_200(api.address, "/ready")
        _post(api.address, 1)
        for _ in range(rounds):
            # Behind what readers who are gone have left in the queue.
            http.first_200(api.address, "/environments")
            alone.append((_post(api.address, seconds), 0.0))
            beside.append(_post_beside_readers(api.address, seconds))
    return markdown(HEAD, [_row(name, side) for name, side in turns.items()])


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


def _row(name: str, turns: list[tuple[http.Load, float]]) -> list[str]:
    posts = [post for post, _ in turns]
    return [
        name,
        f"{median(post.rate for post in posts):.0f}",
        milliseconds(median(post.p50 for post in posts)),
        milliseconds(median(post.p99 for post in posts)),
        f"{median(pages for _, pages in turns):.0f}",
    ]
