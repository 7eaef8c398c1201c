"""docker-compose.yaml: what its Kafka and its database may do; test_platform.py reaches both."""

from __future__ import annotations

import json
import os
import socket
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pymysql
import pytest

from tests.commands import output
from tests.ledger.stack import OWNER
from tests.load import table
from tests.load.table import Login
from tests.ports import free_port
from tests.waiting import wait_for

pytestmark = pytest.mark.engine

FILE = Path(__file__).parents[2] / "docker-compose.yaml"
KEPT = [{"id": "kept"}]  # the row of an earlier version
ACCESS_DENIED = 1045


def docker(*arguments: str, environment: Mapping[str, str] | None = None) -> str:
    return output(["docker", *arguments], environment={**os.environ, **(environment or {})})


@dataclass
class Project:
    """The compose file with its own project name and ports."""

    name: str
    kafka_port: int
    database_port: int
    files: tuple[Path, ...] = (FILE,)
    variables: dict[str, str] = field(default_factory=dict)

    def compose(self, *arguments: str) -> str:
        environment = {
            "COMPOSE_PROJECT_NAME": self.name,
            "KAFKA_PORT": str(self.kafka_port),
            "DATABASE_PORT": str(self.database_port),
            **self.variables,
        }
        files = [argument for file in self.files for argument in ("--file", str(file))]
        return docker("compose", *files, *arguments, environment=environment)

    def up(self, *services: str) -> None:
        self.compose("up", "--detach", "--wait", "--wait-timeout", "600", *services)

    def inspect(self, service: str) -> dict[str, Any]:
        (container,) = json.loads(docker("inspect", f"{self.name}-{service}-1"))
        return dict(container)

    def query(self, sql: str, login: Login = OWNER) -> list[dict[str, Any]]:
        return table.execute(self.database_port, login, sql)


def new_project(*more_files: Path) -> Project:
    return Project(f"up-{uuid.uuid4().hex[:8]}", free_port(), free_port(), (FILE, *more_files))


@contextmanager
def running(project: Project, *services: str, end: Sequence[str] = ()) -> Iterator[Project]:
    """Start it, and remove it afterwards."""
    try:
        project.up(*services)
        yield project
    finally:
        project.compose("down", "--volumes", *end)


EARLIER_VERSION = "services: {database: {command: !reset null, configs: !reset []}}"


@pytest.fixture
def earlier(tmp_path: Path) -> Iterator[Project]:
    """A database of an earlier version, with one account and a row."""
    override = tmp_path / "earlier.yaml"
    override.write_text(EARLIER_VERSION)
    with running(new_project(override), "database") as created:
        created.query("CREATE TABLE deployments AS SELECT 'kept' AS id")
        yield created


def refuses(project: Project, login: Login) -> bool:
    """Whether a login is refused."""
    try:
        project.query("SELECT 1", login)
    except pymysql.err.OperationalError as error:
        return int(error.args[0]) == ACCESS_DENIED
    return False


def test_a_volume_of_an_earlier_version_gets_the_second_account(earlier: Project) -> None:
    find = "SELECT id FROM deployments"
    assert refuses(earlier, ("reader", "reader"))
    replace(earlier, files=(FILE,)).up("database")
    assert earlier.query(find, ("reader", "reader")) == KEPT
    assert earlier.query(find) == KEPT

    owner, reader = "of the 'owner'\\", 'of the "reader" %;'
    passwords = {"DB_PASSWORD": owner, "DB_READER_PASSWORD": reader}
    replace(earlier, files=(FILE,), variables=passwords).up("database")
    assert earlier.query(find, ("reader", reader)) == KEPT
    assert earlier.query(find, ("ledger", owner)) == KEPT
    assert refuses(earlier, ("reader", "reader"))
    assert refuses(earlier, OWNER)

    # Only this one is no variable of the server.
    passwords["DB_READER_PASSWORD"] = "new"
    replace(earlier, files=(FILE,), variables=passwords).up("database")
    assert earlier.query(find, ("reader", "new")) == KEPT


@pytest.fixture
def two_voters(tmp_path: Path) -> Iterator[Project]:
    """Kafka with a second controller, of which none is a majority; clients use the first."""
    config = json.loads(new_project().compose("config", "--format", "json"))
    kafka = config["services"]["kafka"]
    quorum = {"KAFKA_CONTROLLER_QUORUM_VOTERS": "1@kafka:9093,2@second:9093"}
    shared = ("CLUSTER_ID", "KAFKA_CONTROLLER_LISTENER_NAMES", "KAFKA_LOG_DIRS")
    second = {
        **{name: kafka["environment"][name] for name in shared},
        **quorum,
        "KAFKA_NODE_ID": "2",
        "KAFKA_PROCESS_ROLES": "controller",
        "KAFKA_LISTENERS": "CONTROLLER://:9093",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT",
        "KAFKA_HEAP_OPTS": "-Xmx256M",
    }
    override = tmp_path / "two-voters.json"
    services = {
        "kafka": {
            "environment": {
                **quorum,
                "KAFKA_LISTENERS": "CONTROLLER://:9093,INTERNAL://:19092,HOST://:9092",
            }
        },
        "second": {"image": kafka["image"], "environment": second},
    }
    override.write_text(json.dumps({"services": services}))
    # A broker without a majority never ends its shutdown.
    with running(new_project(override), "kafka", "second", end=("--timeout", "0")) as created:
        yield created


def test_kafka_is_not_healthy_without_a_leader_though_its_port_is_open(two_voters: Project) -> None:
    command = two_voters.inspect("kafka")["Config"]["Healthcheck"]["Test"][1]

    def healthy() -> bool:
        try:
            docker("exec", f"{two_voters.name}-kafka-1", "sh", "-c", command)
        except AssertionError:
            return False
        return True

    two_voters.compose("kill", "second")  # after `up` it was healthy
    # A leader without followers steps down after 1.5 controller.quorum.fetch.timeout.ms (3 s).
    wait_for("the broker to be unhealthy", lambda: not healthy())
    with socket.create_connection(("127.0.0.1", two_voters.kafka_port), timeout=5):
        pass

    two_voters.compose("start", "second")
    wait_for("the broker to be healthy again", healthy)
