"""async-worker beside its twins: each stores a full topic in an empty table."""

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
TIMEOUT = 300.0
POLL = 0.2
HEAD = (
    "consumer",
    "events/s",
    "first to last row, s",
    "start to last row, s",
    "CPU µs an event",
    "ratio",
)


@dataclass(frozen=True)
class Run:
    """One run of one consumer; times in seconds."""

    storing: float
    total: float
    cpu: float
    share: dict[str, float]


def measure(stack: Stack, *, count: int, rounds: int) -> str:
    """The table of consumers."""
    events = kafka.events(count)
    # A topic each: async-worker also sends heartbeats to its own.
    kafka.make(stack.kafka_port, map(_topic, CONSUMERS))
    for title in CONSUMERS:
        kafka.fill(stack.kafka_port, _topic(title), events)
    expected = database.checksum(events)
    runs: dict[str, list[Run]] = {title: [] for title in CONSUMERS}
    with database.connected(stack.database_port) as cursor:
        for number in range(rounds):
            for title, side in runs.items():
                side.append(_run(stack, cursor, title, f"{title}-{number}", expected))
    table = markdown(HEAD, _rows(count, runs))
    return "\n".join([table, "", "Processors used, of the cores:", "", *_limits(runs)])


def _run(stack: Stack, cursor: Cursor, title: str, group: str, expected: tuple[int, int]) -> Run:
    database.empty(cursor)
    watched = {"Kafka": stack.dependency("kafka"), "database": stack.dependency("database")}
    used = {name: container.cpu_seconds() for name, container in watched.items()}
    begun = time.monotonic()
    with _consumer(stack, title, group) as consumer:
        first = _wait(stack, cursor, title, 1)
        last = _wait(stack, cursor, title, expected[0])
        cpu = consumer.cpu_seconds()
        stored = database.contents(cursor)
    if stored != expected:
        raise BenchError(
            f"compare what {title} stored: {stored[0]} of {expected[0]} events, or other ones"
        )
    storing = last - first
    share = {
        name: (container.cpu_seconds() - used[name]) / (last - begun)
        for name, container in watched.items()
    }
    return Run(storing, last - begun, cpu, {"consumer": cpu / (last - begun), **share})


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
    deadline = time.monotonic() + TIMEOUT
    while database.count(cursor) < rows:
        if time.monotonic() > deadline:
            count = database.count(cursor)
            raise BenchError(f"wait for {title}: {count} rows, not {rows}, in {TIMEOUT:.0f} s")
        stack.inspect("consumer")
        time.sleep(POLL if rows > 1 else POLL / 20)
    return time.monotonic()


def _rows(count: int, runs: dict[str, list[Run]]) -> Iterator[list[str]]:
    rates = {title: median(count / run.storing for run in side) for title, side in runs.items()}
    for title, side in runs.items():
        yield [
            title,
            f"{rates[title]:.0f}",
            f"{median(run.storing for run in side):.1f}",
            f"{median(run.total for run in side):.1f}",
            f"{median(run.cpu for run in side) / count * 1e6:.0f}",
            f"{rates[title] / rates['faust-streaming']:.2f}",
        ]


def _limits(runs: dict[str, list[Run]]) -> Iterator[str]:
    for title, side in runs.items():
        shares = ", ".join(
            f"{part} {median(run.share[part] for run in side):.2f}" for part in side[0].share
        )
        yield f"- {title}: {shares}"
