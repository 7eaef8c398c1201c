"""The platform in a compose project of its own, with two instances of each app."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import requests
from docker.models.containers import Container
from kafka import KafkaConsumer, TopicPartition

from delivery.host.docker_api import Engine
from delivery.project.files import ROOT
from tests.commands import output
from tests.load import table
from tests.load.generator import Target
from tests.load.table import Login
from tests.ports import free_port
from tests.waiting import wait_for

__all__ = [
    "APIS",
    "HOST",
    "OWNER",
    "SERVICES",
    "WORKERS",
    "Address",
    "Stack",
    "get",
    "is_ready",
    "running",
    "wait_for",
]

Address = tuple[str, int]

APIS = ("api-rest", "api-rest-2")
WORKERS = ("async-worker", "async-worker-2")
SERVICES = (*APIS, *WORKERS, "kafka", "database")
# The account that owns the schema.
OWNER: Login = ("ledger", "ledger")
# What the apps call the machine that the tests run on.
HOST = "host.docker.internal"

_FILES = ("docker-compose.yaml", "ops/docker-compose.apps.yaml")
_GROUP = "async-worker"
_TOPIC = "deployments"
_PORTS = {"api-rest": 8000, "async-worker": 8001, "kafka": 9092, "database": 3306}
_PATIENCE = 180.0
_PROBE_TIMEOUT = 5.0
_ANSWER_TIMEOUT = 15.0


@dataclass(frozen=True)
class Stack:
    """Six containers."""

    engine: Engine
    name: str
    file: Path
    ports: Mapping[str, int]

    def compose(self, *arguments: str) -> str:
        """Run docker compose on this project."""
        return _compose(
            self.engine, {}, "--project-name", self.name, "--file", str(self.file), *arguments
        )

    def address(self, service: str) -> Address:
        """The address of a service on this machine."""
        return ("127.0.0.1", self.ports[service])

    def target(self, service: str) -> Target:
        """The address of a service, for a load."""
        return Target(*self.address(service))

    def post(self, payload: Mapping[str, Any], **headers: str) -> requests.Response:
        """Record an event by api-rest."""
        url = f"http://127.0.0.1:{self.ports['api-rest']}/deployments"
        return requests.post(url, json=payload, headers=headers, timeout=_ANSWER_TIMEOUT)

    def container(self, service: str) -> Container:
        """The container of a service in its present state."""
        return self.engine.client.containers.get(f"{self.name}-{service}-1")

    def signal(self, service: str, signal: str) -> int:
        """Send a signal that ends the container and return its exit code."""
        container = self.container(service)
        container.kill(signal=signal)
        return int(container.wait(timeout=_PATIENCE)["StatusCode"])

    def start(self, service: str) -> None:
        """Start a container that has ended."""
        self.container(service).start()

    @contextmanager
    def frozen(self, service: str) -> Iterator[None]:
        """Freeze a container: it keeps its connections and does not answer."""
        container = self.container(service)
        container.pause()
        try:
            yield
        finally:
            container.unpause()

    def memory(self, service: str) -> int | None:
        """The bytes of a container's processes, without cached files; None unless it runs."""
        memory = self._statistics(service)["memory_stats"].get("stats")
        # The name of cgroup v2, else of v1.
        return int(memory["anon"] if "anon" in memory else memory["rss"]) if memory else None

    def processor_seconds(self, service: str) -> float:
        """The processor time of a container's processes; 0 unless it runs."""
        return float(self._statistics(service)["cpu_stats"]["cpu_usage"]["total_usage"]) / 1e9

    def _statistics(self, service: str) -> dict[str, Any]:
        statistics = self.container(service).stats(stream=False, one_shot=True)
        assert isinstance(statistics, dict), "docker-py returned a stream"
        return statistics

    def wait_ready(self, service: str) -> float:
        """Wait until an app is ready; return how long that took."""
        return wait_for(f"{service} to be ready", lambda: is_ready(self.address(service)))

    def ended(self, services: Sequence[str] = SERVICES) -> dict[str, str]:
        """The containers that do not run, each with its exit code and last lines of log."""
        ended = {}
        for service in services:
            container = self.container(service)
            if container.status != "running":
                log = container.logs(tail=5).decode("utf-8", "replace")
                code = container.attrs["State"]["ExitCode"]
                ended[service] = f"exit code {code}, last lines of log:\n{log}"
        return ended

    def save_logs(self, folder: Path) -> Path:
        """Write each container's log to a file of its own."""
        for service in SERVICES:
            (folder / f"{service}.log").write_bytes(self.container(service).logs(timestamps=True))
        return folder

    def login(self, service: str) -> Login:
        """The account that an app uses in the database."""
        lines = self.container(service).attrs["Config"]["Env"]
        variables = dict(line.split("=", 1) for line in lines)
        return variables["DB_USERNAME"], variables["DB_PASSWORD"]

    def execute(self, sql: str, *values: object, login: Login = OWNER) -> list[dict[str, Any]]:
        """Run a statement in the ledger's database, by default as async-worker."""
        return table.execute(self.ports["database"], login, sql, *values)

    def count(self, run: str) -> int:
        """How many rows a run has."""
        (count,) = self.execute(
            "SELECT COUNT(*) AS rows_ FROM deployments WHERE component LIKE %s", f"{run}/%"
        )
        return int(count["rows_"])

    def rows(self, run: str) -> list[dict[str, Any]]:
        """The rows of a run, values as in the API's answers."""
        return table.rows(self.ports["database"], OWNER, run)

    def settle(self, run: str) -> float:
        """Wait until every message is consumed and stored; return how long that took."""
        consumer = KafkaConsumer(
            bootstrap_servers=f"localhost:{self.ports['kafka']}",
            group_id=_GROUP,
            enable_auto_commit=False,
        )
        counts = [-1]

        def settled() -> bool:
            counts.append(self.count(run))
            return _lag(consumer) == 0 and counts[-1] == counts[-2]

        with closing(consumer):
            return wait_for("the consumer group to have read everything", settled, every=1)

    def dead_letters(self) -> int:
        """How many messages are in the dead letter topic."""
        with closing(
            KafkaConsumer(bootstrap_servers=f"localhost:{self.ports['kafka']}")
        ) as consumer:
            partition = TopicPartition("deployments.dead-letter", 0)
            return int(consumer.end_offsets([partition])[partition])


def get(address: Address, path: str, timeout: float = _PROBE_TIMEOUT) -> requests.Response | None:
    """The answer to a GET; None without one."""
    try:
        return requests.get(f"http://{address[0]}:{address[1]}{path}", timeout=timeout)
    except requests.RequestException:
        return None


def is_ready(address: Address) -> bool:
    """Whether an app says that nothing is missing; a degraded api-rest answers 200, too."""
    answer = get(address, "/ready")
    if answer is None or answer.status_code != 200:
        return False
    return bool(answer.json()["status"] == "ready")


def _lag(consumer: KafkaConsumer) -> int:
    partitions = [
        TopicPartition(_TOPIC, number) for number in consumer.partitions_for_topic(_TOPIC) or ()
    ]
    ends = consumer.end_offsets(partitions)
    return sum(
        int(ends[partition]) - int(consumer.committed(partition) or 0) for partition in partitions
    )


@contextmanager
def running(
    engine: Engine,
    images: Mapping[str, str],
    environment: Mapping[str, str],
    services: Sequence[str],
) -> Iterator[Stack]:
    """Bring services up with these variables in both apps; remove them after the body."""
    ports = {service: free_port() for service in SERVICES}
    project = doubled(declared(engine, images, ports), ports, environment)
    with TemporaryDirectory() as folder:
        file = Path(folder, "compose.json")
        file.write_text(json.dumps(project), encoding="utf-8")
        stack = Stack(engine, f"ledger-test-{uuid.uuid4().hex[:8]}", file, ports)
        try:
            try:
                stack.compose("up", "--detach", "--wait", "--wait-timeout", "600", *services)
            except AssertionError as error:
                error.add_note(stack.compose("logs", "--no-color", "--tail", "10", *APIS, *WORKERS))
                raise
            yield stack
        finally:
            stack.compose("down", "--volumes", "--timeout", "5")


def declared(engine: Engine, images: Mapping[str, str], ports: Mapping[str, int]) -> dict[str, Any]:
    """The project's compose files as one, with these images and Kafka's advertised port."""
    files = [word for name in _FILES for word in ("--file", str(ROOT / name))]
    variables = {
        "API_REST_IMAGE": images["api-rest"],
        "ASYNC_WORKER_IMAGE": images["async-worker"],
        "KAFKA_PORT": str(ports["kafka"]),
    }
    config: dict[str, Any] = json.loads(
        _compose(engine, variables, *files, "config", "--format", "json")
    )
    return config


def _compose(engine: Engine, variables: Mapping[str, str], *arguments: str) -> str:
    environment = {**os.environ, **engine.environment, **variables}
    return output(["docker", "compose", "--ansi", "never", *arguments], environment=environment)


def doubled(
    config: Mapping[str, Any], ports: Mapping[str, int], environment: Mapping[str, str]
) -> dict[str, Any]:
    """The project with a second instance of each app, on these ports, with these variables."""
    services = {}
    configs = config.get("configs", {}).items()
    contents = {name: each["content"] for name, each in configs if "content" in each}
    for name in SERVICES:
        original = name.removesuffix("-2")
        service = dict(config["services"][original])
        # The engine would restart a container that ends by itself, and hide that it ended.
        service["restart"] = "no"
        service["ports"] = [f"127.0.0.1:{ports[name]}:{_PORTS[original]}"]
        if name in (*APIS, *WORKERS):
            service["environment"] = {**service["environment"], **environment}
            service["extra_hosts"] = [f"{HOST}:host-gateway"]
        services[name] = service
    return {
        "services": services,
        "configs": {name: {"content": content} for name, content in contents.items()},
        "networks": {"default": {"labels": config["networks"]["default"].get("labels", {})}},
        "volumes": {
            name: {"labels": volume.get("labels", {})} for name, volume in config["volumes"].items()
        },
    }
