"""api-rest beside its FastAPI twin: the same requests, the same work, in turn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from statistics import median

from . import database, http, kafka
from .stack import BenchError, Container, Stack
from .tables import markdown, milliseconds

__all__ = ["measure"]

CONNECTIONS = (8, 64, 256)
ROWS = 2_000
TWIN_TOPIC = "deployments.fastapi"
EVENT = {
    "component": "api-rest",
    "version": "1.2.3",
    "environment": "develop",
    "responsible": "Jane Doe <jane@example.com>",
    "stage": "deploy",
    "status": "succeeded",
    "details": {"commit": "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567", "seconds": 12.5},
}
HEAD = (
    "request",
    "connections",
    "server",
    "answers/s",
    "p50 ms",
    "p99 ms",
    "errors",
    "CPU µs an answer",
    "ratio",
)


@dataclass(frozen=True)
class Server:
    """One side."""

    title: str
    container: Container
    topic: str


@dataclass(frozen=True)
class Turn:
    """One run against one side."""

    load: http.Load
    cpu: float
    share: dict[str, float]


def measure(stack: Stack, *, seconds: int, rounds: int, access_log: bool) -> str:
    """Return the table of requests."""
    rows = kafka.events(ROWS)
    with database.connected(stack.database_port) as cursor:
        database.empty(cursor)
        database.insert(cursor, rows)
    paths = {
        "POST": "/deployments",
        "GET one": f"/deployments/{rows[ROWS // 2]['id']}",
        "GET 50": "/deployments?limit=50",
    }
    table: list[list[str]] = []
    limits: list[str] = []
    with _servers(stack, access_log=access_log) as servers:
        _same_answers(servers, paths)
        for name, path in paths.items():
            for connections in CONNECTIONS:
                turns = _turns(
                    stack,
                    servers,
                    name,
                    path,
                    connections=connections,
                    seconds=seconds,
                    rounds=rounds,
                )
                table += _rows(name, connections, turns)
                limits.append(_limits(name, connections, turns))
    return "\n".join([markdown(HEAD, table), "", "Processors used, of the cores:", "", *limits])


@contextmanager
def _servers(stack: Stack, *, access_log: bool) -> Iterator[tuple[Server, ...]]:
    kafka.make(stack.kafka_port, [TWIN_TOPIC])
    told = {"LOG_LEVEL": "INFO" if access_log else "WARNING"}
    twin = {"TOPIC": TWIN_TOPIC, "ACCESS_LOG": str(access_log).lower()}
    with ExitStack() as opened:
        servers = (
            Server(
                "api-rest",
                opened.enter_context(stack.running("api", stack.images.api_rest, env=told)),
                "deployments",
            ),
            Server(
                "FastAPI",
                opened.enter_context(
                    stack.running("fastapi", stack.images.twins, "fastapi_twin", env=twin)
                ),
                TWIN_TOPIC,
            ),
        )
        http.first_200(servers[0].container.address, "/ready")
        http.first_200(servers[1].container.address, "/health")
        yield servers


def _same_answers(servers: tuple[Server, ...], paths: dict[str, str]) -> None:
    """A comparison is worth nothing if the sides do not answer alike."""
    for name, path in paths.items():
        method, body = ("POST", EVENT) if name == "POST" else ("GET", None)
        ours, theirs = (
            http.request(server.container.address, method, path, body) for server in servers
        )
        same = ours[0] == theirs[0] and (
            list(ours[1]) == list(theirs[1]) if body else ours[1] == theirs[1]
        )
        if not same:
            raise BenchError(
                f"compare {name}: the answers differ: {str(ours)[-300:]} and {str(theirs)[-300:]}"
            )
    refused = [
        http.request(server.container.address, "POST", "/deployments", {"component": "?"})[0]
        for server in servers
    ]
    if set(refused) != {422}:
        raise BenchError(f"compare a wrong POST: the answers are {refused}, not 422")


def _turns(
    stack: Stack,
    servers: tuple[Server, ...],
    name: str,
    path: str,
    *,
    connections: int,
    seconds: int,
    rounds: int,
) -> dict[str, list[Turn]]:
    turns: dict[str, list[Turn]] = {server.title: [] for server in servers}
    for server in servers:
        _load(server, name, path, connections=connections, seconds=1)
    for _ in range(rounds):
        for server in servers:
            turns[server.title].append(
                _turn(stack, server, name, path, connections=connections, seconds=seconds)
            )
    return turns


def _turn(
    stack: Stack, server: Server, name: str, path: str, *, connections: int, seconds: int
) -> Turn:
    before = kafka.end_offset(stack.kafka_port, server.topic) if name == "POST" else 0
    others = {"Kafka": stack.dependency("kafka"), "database": stack.dependency("database")}
    watched = {"server": server.container, **others}
    used = {title: container.cpu_seconds() for title, container in watched.items()}
    load = _load(server, name, path, connections=connections, seconds=seconds)
    used = {title: container.cpu_seconds() - used[title] for title, container in watched.items()}
    if name == "POST":
        written = kafka.end_offset(stack.kafka_port, server.topic) - before
        # wrk hangs up on what is under way when its time is over: written, but not counted as answered.
        if not load.answers - load.errors <= written <= load.answers + connections:
            raise BenchError(
                f"count {server.title}'s events: {load.answers} answers, {written} events on Kafka"
            )
    return Turn(
        load,
        used["server"] / max(1, load.answers),
        {title: cpu / seconds for title, cpu in used.items()},
    )


def _load(server: Server, name: str, path: str, *, connections: int, seconds: int) -> http.Load:
    script = "post" if name == "POST" else "get"
    return http.load(
        server.container.address, path, script=script, connections=connections, seconds=seconds
    )


def _rows(name: str, connections: int, turns: dict[str, list[Turn]]) -> Iterator[list[str]]:
    rates = {title: median(turn.load.rate for turn in side) for title, side in turns.items()}
    last = list(rates.values())[-1]
    for title, side in turns.items():
        yield [
            name,
            str(connections),
            title,
            f"{rates[title]:.0f}",
            milliseconds(median(turn.load.p50 for turn in side)),
            milliseconds(median(turn.load.p99 for turn in side)),
            str(sum(turn.load.errors for turn in side)),
            f"{median(turn.cpu for turn in side) * 1e6:.0f}",
            f"{rates[title] / last:.2f}",
        ]


def _limits(name: str, connections: int, turns: dict[str, list[Turn]]) -> str:
    shares = [
        f"{title} "
        + ", ".join(
            f"{part} {median(turn.share[part] for turn in side):.2f}" for part in side[0].share
        )
        for title, side in turns.items()
    ]
    return f"- {name}, {connections} connections: {'; '.join(shares)}"
