"""async-worker beside its twins: a full topic into an empty table, in turn."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from . import database, kafka
from .stack import BenchError, Container, Stack
from .tables import markdown

if TYPE_CHECKING:
    from pymysql.cursors import Cursor

__all__ = ["measure"]

CONSUMERS = ("async-worker", "aiokafka", "faust-streaming")
PATIENCE = 300.0
LOOK = 0.2
HEAD = (
    "consumer",
    "events/s",
    "first to last row, s",
    "start to last row, s",
    "CPU µs an event",
    "ratio",
)


@dataclass(frozen=True)
class Turn:
    """One run of one consumer; times in seconds."""

    storing: float
    total: float
    cpu: float
    share: dict[str, float]


def measure(stack: Stack, *, count: int, rounds: int) -> str:
    """Return the table of consumers."""
    events = kafka.events(count)
    # A topic each: async-worker also sends heartbeats to its own.
    kafka.make(stack.kafka_port, map(_topic, CONSUMERS))
    for title in CONSUMERS:
        kafka.fill(stack.kafka_port, _topic(title), events)
    expected = database.checksum(events)
    turns: dict[str, list[Turn]] = {title: [] for title in CONSUMERS}
    with database.connected(stack.database_port) as cursor:
        for number in range(rounds):
            for title, side in turns.items():
                side.append(_turn(stack, cursor, title, f"{title}-{number}", expected))
    table = markdown(HEAD, _rows(count, turns))
    return "\n".join([table, "", "Processors used, of the cores:", "", *_limits(turns)])


def _turn(stack: Stack, cursor: Cursor, title: str, group: str, expected: tuple[int, int]) -> Turn:
    database.empty(cursor)
    watched = {"Kafka": stack.dependency("kafka"), "database": stack.dependency("database")}
    used = {name: container.cpu_seconds() for name, container in watched.items()}
    begun = time.monotonic()
    with _consumer(stack, title, group) as consumer:
        first = _wait(stack, cursor, title, 1)
        last = _wait(stack, cursor, title, expected[0])
        cpu = consumer.cpu_seconds()
        found = database.held(cursor)
    if found != expected:
        raise BenchError(
            f"count what {title} stored: {found[0]} of {expected[0]} events, or other ones"
        )
    storing = last - first
    share = {
        name: (container.cpu_seconds() - used[name]) / (last - begun)
        for name, container in watched.items()
    }
    return Turn(storing, last - begun, cpu, {"consumer": cpu / (last - begun), **share})


@contextmanager
def _consumer(stack: Stack, title: str, group: str) -> Iterator[Container]:
    env = {"TOPIC": _topic(title), "GROUP_ID": group}
    image, command = {
        "async-worker": (stack.images.async_worker, ()),
        "aiokafka": (stack.images.twins, ("aiokafka_twin",)),
        "faust-streaming": (
            stack.images.twins,
            ("faust_twin", "worker", "--without-web", "--loglevel=warn"),
        ),
    }[title]
    with stack.running("consumer", image, *command, env=env) as container:
        yield container


def _topic(title: str) -> str:
    return f"bench-{title}"


def _wait(stack: Stack, cursor: Cursor, title: str, rows: int) -> float:
    deadline = time.monotonic() + PATIENCE
    while database.count(cursor) < rows:
        if time.monotonic() > deadline:
            raise BenchError(
                f"wait for {title}: {database.count(cursor)} rows, not {rows}, within {PATIENCE:.0f} s"
            )
        stack.inspect("consumer")
        time.sleep(LOOK if rows > 1 else LOOK / 20)
    return time.monotonic()


def _rows(count: int, turns: dict[str, list[Turn]]) -> Iterator[list[str]]:
    rates = {title: median(count / turn.storing for turn in side) for title, side in turns.items()}
    for title, side in turns.items():
        yield [
            title,
            f"{rates[title]:.0f}",
            f"{median(turn.storing for turn in side):.1f}",
            f"{median(turn.total for turn in side):.1f}",
            f"{median(turn.cpu for turn in side) / count * 1e6:.0f}",
            f"{rates[title] / rates['faust-streaming']:.2f}",
        ]


def _limits(turns: dict[str, list[Turn]]) -> Iterator[str]:
    for title, side in turns.items():
        shares = ", ".join(
            f"{part} {median(turn.share[part] for turn in side):.2f}" for part in side[0].share
        )
        yield f"- {title}: {shares}"
