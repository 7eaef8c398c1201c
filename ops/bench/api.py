"""api-rest beside its FastAPI twin: the same requests and the same work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
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
class Request:
    """A request that wrk sends."""

    name: str
    path: str
    connections: int
    seconds: int


@dataclass(frozen=True)
class Run:
    """One run of a load against one side."""

    load: http.Load
    # Processor seconds of the server for an answer.
    cpu: float
    # The processors that each part used.
    share: dict[str, float]


def measure(stack: Stack, *, seconds: int, rounds: int, access_log: bool) -> str:
    """The table of requests."""
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
        _require_same_answers(servers, paths)
        for name, path in paths.items():
            for connections in CONNECTIONS:
                request = Request(name, path, connections, seconds)
                runs = _runs(stack, servers, request, rounds)
                table += _rows(name, connections, runs)
                limits.append(_limits(name, connections, runs))
    return "\n".join([markdown(HEAD, table), "", "Processors used, of the cores:", "", *limits])


@contextmanager
def _servers(stack: Stack, *, access_log: bool) -> Iterator[tuple[Server, ...]]:
    kafka.make(stack.kafka_port, [TWIN_TOPIC])
    ours = {"LOG_LEVEL": "INFO" if access_log else "WARNING"}
    twin = {"TOPIC": TWIN_TOPIC, "ACCESS_LOG": str(access_log).lower()}
    with (
        stack.running("api", stack.images.api_rest, env=ours) as api,
        stack.running("fastapi", stack.images.twins, "fastapi_twin", env=twin) as fastapi,
    ):
        http.first_200(api.address, "/ready")
        http.first_200(fastapi.address, "/health")
        yield Server("api-rest", api, "deployments"), Server("FastAPI", fastapi, TWIN_TOPIC)


def _require_same_answers(servers: tuple[Server, ...], paths: dict[str, str]) -> None:
    """Raise BenchError if the sides answer differently: then a comparison means nothing."""
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


def _runs(
    stack: Stack, servers: tuple[Server, ...], request: Request, rounds: int
) -> dict[str, list[Run]]:
    for server in servers:
        _load(server, replace(request, seconds=1))
    runs: dict[str, list[Run]] = {server.title: [] for server in servers}
    for _ in range(rounds):
        for server in servers:
            runs[server.title].append(_run(stack, server, request))
    return runs


def _run(stack: Stack, server: Server, request: Request) -> Run:
    is_post = request.name == "POST"
    before = kafka.end_offset(stack.kafka_port, server.topic) if is_post else 0
    others = {"Kafka": stack.dependency("kafka"), "database": stack.dependency("database")}
    watched = {"server": server.container, **others}
    used = {title: container.cpu_seconds() for title, container in watched.items()}
    load = _load(server, request)
    used = {title: container.cpu_seconds() - used[title] for title, container in watched.items()}
    if is_post:
        written = kafka.end_offset(stack.kafka_port, server.topic) - before
        # At its end wrk drops the open requests: written, but not counted as answered.
        if not load.answers - load.errors <= written <= load.answers + request.connections:
            raise BenchError(
                f"count {server.title}'s events: {load.answers} answers, {written} events on Kafka"
            )
    return Run(
        load,
        used["server"] / max(1, load.answers),
        {title: cpu / request.seconds for title, cpu in used.items()},
    )


def _load(server: Server, request: Request) -> http.Load:
    return http.load(
        server.container.address,
        request.path,
        script="post" if request.name == "POST" else "get",
        connections=request.connections,
        seconds=request.seconds,
    )


def _rows(name: str, connections: int, runs: dict[str, list[Run]]) -> Iterator[list[str]]:
    rates = {title: median(run.load.rate for run in side) for title, side in runs.items()}
    last = list(rates.values())[-1]
    for title, side in runs.items():
        yield [
            name,
            str(connections),
            title,
            f"{rates[title]:.0f}",
            milliseconds(median(run.load.p50 for run in side)),
            milliseconds(median(run.load.p99 for run in side)),
            str(sum(run.load.errors for run in side)),
            f"{median(run.cpu for run in side) * 1e6:.0f}",
            f"{rates[title] / last:.2f}",
        ]


def _limits(name: str, connections: int, runs: dict[str, list[Run]]) -> str:
    shares = [
        f"{title} "
        + ", ".join(
            f"{part} {median(run.share[part] for run in side):.2f}" for part in side[0].share
        )
        for title, side in runs.items()
    ]
    return f"- {name}, {connections} connections: {'; '.join(shares)}"
