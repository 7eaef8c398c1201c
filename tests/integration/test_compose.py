"""docker-compose.yaml brings up the external dependencies alone, for this machine and for containers beside them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pymysql
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.errors import KafkaTimeoutError

from tests.integration.conftest import free_port
from tests.waiting import wait_for

pytestmark = pytest.mark.engine

FILE = Path(__file__).parents[2] / "docker-compose.yaml"
KAFKA_BIN = "/opt/kafka/bin"
OWNER = "ledger"  # the account that owns the schema, and its password
ACCESS_DENIED = 1045


def docker(
    *arguments: str, check: bool = True, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        ["docker", *arguments],
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    if check:
        assert done.returncode == 0, f"docker {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
    return done


@dataclass
class Project:
    """The compose file under a project name, and on ports, of its own."""

    name: str
    kafka_port: int
    database_port: int
    files: tuple[Path, ...] = (FILE,)
    variables: dict[str, str] = field(default_factory=dict)

    def compose(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        environment = {
            "COMPOSE_PROJECT_NAME": self.name,
            "KAFKA_PORT": str(self.kafka_port),
            "DATABASE_PORT": str(self.database_port),
            **self.variables,
        }
        files = [argument for file in self.files for argument in ("--file", str(file))]
        return docker("compose", *files, *arguments, check=check, environment=environment)

    def up(self, *services: str) -> None:
        self.compose("up", "--detach", "--wait", "--wait-timeout", "180", *services)

    def inspect(self, service: str) -> dict[str, Any]:
        (container,) = json.loads(docker("inspect", f"{self.name}-{service}-1").stdout)
        return dict(container)

    def in_network(self, image: str, command: str) -> str:
        """Run a shell command in a container that joins the network; its output."""
        network = f"--network={self.name}_default"
        return docker(
            "run",
            "--rm",
            network,
            "--entrypoint=sh",
            self.inspect(image)["Config"]["Image"],
            "-c",
            command,
        ).stdout

    def leftovers(self) -> dict[str, str]:
        mine = f"label=com.docker.compose.project={self.name}"
        return {
            "containers": docker("ps", "--all", "--quiet", "--filter", mine).stdout,
            "networks": docker("network", "ls", "--quiet", "--filter", mine).stdout,
            "volumes": docker("volume", "ls", "--quiet", "--filter", mine).stdout,
        }

    @property
    def broker(self) -> str:
        return f"localhost:{self.kafka_port}"

    def query(self, sql: str, user: str = OWNER, password: str = OWNER) -> Any:  # noqa: ANN401
        connection = pymysql.connect(
            host="127.0.0.1",
            port=self.database_port,
            user=user,
            password=password,
            database="ledger",
            autocommit=True,
        )
        with closing(connection), connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall()


def new_project(*more_files: Path) -> Project:
    return Project(f"up-{uuid.uuid4().hex[:8]}", free_port(), free_port(), (FILE, *more_files))


@contextmanager
def running(project: Project, *services: str, end: Sequence[str] = ()) -> Iterator[Project]:
    """Have it up, and gone afterwards."""
    try:
        project.up(*services)
        yield project
    finally:
        project.compose("down", "--volumes", *end)


@pytest.fixture(scope="module")
def project() -> Iterator[Project]:
    with running(new_project()) as created:
        yield created


def test_everything_is_there_for_this_machine(project: Project) -> None:
    told = {"from-here": {"num_partitions": 1, "replication_factor": 1}}
    with closing(KafkaAdminClient(bootstrap_servers=project.broker)) as admin:
        admin.create_topics(told)
    with closing(KafkaProducer(bootstrap_servers=project.broker, acks="all")) as producer:
        producer.send("from-here", b"greeting").get(timeout=30)
    consumer = KafkaConsumer(
        "from-here",
        bootstrap_servers=project.broker,
        auto_offset_reset="earliest",
        consumer_timeout_ms=15000,
    )
    with closing(consumer):
        assert next(consumer).value == b"greeting"
    assert project.query("SELECT CURRENT_USER(), @@character_set_database") == (
        ("ledger@%", "utf8mb4"),
    )


def test_everything_is_there_for_containers(project: Project) -> None:
    server = "--bootstrap-server kafka:19092"
    heard = project.in_network(
        "kafka",
        f"cd {KAFKA_BIN} && ./kafka-topics.sh {server} --create --topic from-inside --partitions 1 >&2"
        f" && echo greeting | ./kafka-console-producer.sh {server} --topic from-inside"
        f" && ./kafka-console-consumer.sh {server} --topic from-inside --from-beginning --max-messages 1",
    )
    assert heard == "greeting\n"
    found = project.in_network(
        "database",
        "mariadb --host=database --user=ledger --password=ledger --batch --skip-column-names -e 'SELECT DATABASE()' ledger",
    )
    assert found == "ledger\n"


def test_a_topic_is_made_only_on_purpose(project: Project) -> None:
    with (
        closing(KafkaProducer(bootstrap_servers=project.broker, max_block_ms=1000)) as producer,
        pytest.raises(KafkaTimeoutError),
    ):
        producer.send("mistyped", b"lost")
    with closing(KafkaAdminClient(bootstrap_servers=project.broker)) as admin:
        assert "mistyped" not in admin.list_topics()


def test_ports_are_open_to_this_machine_only(project: Project) -> None:
    bindings = [
        binding
        for service in ("kafka", "database")
        for bound in project.inspect(service)["NetworkSettings"]["Ports"].values()
        for binding in bound or []
    ]
    assert {binding["HostIp"] for binding in bindings} == {"127.0.0.1"}
    assert {int(binding["HostPort"]) for binding in bindings} == {
        project.kafka_port,
        project.database_port,
    }


def test_everything_is_limited_labelled_and_named_by_the_project(project: Project) -> None:
    for service in ("kafka", "database"):
        container = project.inspect(service)
        assert container["HostConfig"]["Memory"] > 0
        assert container["HostConfig"]["LogConfig"]["Config"]["max-size"]
        assert container["Config"]["Labels"]["delivery-platform.managed"] == "true"
        volumes = {mount["Name"] for mount in container["Mounts"] if mount["Type"] == "volume"}
        assert volumes == {f"{project.name}_{service}"}, (
            "a nameless volume would be left behind by every start"
        )


# The last one on this project. That data outlives down and up is proved by test_platform.py.
def test_down_keeps_the_volumes_unless_they_are_to_go_too(project: Project) -> None:
    project.compose("down")
    assert {kind for kind, left in project.leftovers().items() if left} == {"volumes"}
    project.compose("down", "--volumes")
    assert project.leftovers() == {"containers": "", "networks": "", "volumes": ""}


OF_THE_VERSION_BEFORE = "services: {database: {command: !reset null, configs: !reset []}}"


@pytest.fixture
def earlier(tmp_path: Path) -> Iterator[Project]:
    """A database with one account for all, as the version before made it, and a row in it."""
    override = tmp_path / "earlier.yaml"
    override.write_text(OF_THE_VERSION_BEFORE)
    with running(new_project(override), "database") as created:
        created.query("CREATE TABLE deployments AS SELECT 'kept' AS id")
        yield created


def refuses(project: Project, user: str, password: str) -> bool:
    """Whether a login is refused."""
    try:
        project.query("SELECT 1", user, password)
    except pymysql.err.OperationalError as error:
        return int(error.args[0]) == ACCESS_DENIED
    return False


def test_a_volume_of_the_version_before_gets_the_second_account(earlier: Project) -> None:
    assert refuses(earlier, "reader", "reader")
    replace(earlier, files=(FILE,)).up("database")
    assert earlier.query("SELECT id FROM deployments", "reader", "reader") == (("kept",),)
    assert earlier.query("SELECT id FROM deployments") == (("kept",),)

    owner, reader = "of the 'owner'\\", 'of the "reader" %;'
    passwords = {"DB_PASSWORD": owner, "DB_READER_PASSWORD": reader}
    replace(earlier, files=(FILE,), variables=passwords).up("database")
    assert earlier.query("SELECT id FROM deployments", "reader", reader) == (("kept",),)
    assert earlier.query("SELECT id FROM deployments", password=owner) == (("kept",),)
    assert refuses(earlier, "reader", "reader")
    assert refuses(earlier, "ledger", "ledger")

    # Of the two only this one is no variable of the server's.
    passwords["DB_READER_PASSWORD"] = "new"
    replace(earlier, files=(FILE,), variables=passwords).up("database")
    assert earlier.query("SELECT id FROM deployments", "reader", "new") == (("kept",),)


@pytest.fixture
def two_voters(tmp_path: Path) -> Iterator[Project]:
    """Kafka with a second controller: neither is a majority by itself, and clients only ever speak to the first."""
    kafka = json.loads(new_project().compose("config", "--format", "json").stdout)["services"][
        "kafka"
    ]
    quorum = {"KAFKA_CONTROLLER_QUORUM_VOTERS": "1@kafka:9093,2@second:9093"}
    same = ("CLUSTER_ID", "KAFKA_CONTROLLER_LISTENER_NAMES", "KAFKA_LOG_DIRS")
    second = {
        **{name: kafka["environment"][name] for name in same},
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
    # A broker that has no majority never ends its shutdown by itself.
    with running(new_project(override), "kafka", "second", end=("--timeout", "0")) as created:
        yield created


def test_kafka_is_not_healthy_without_a_leader_though_its_port_is_open(two_voters: Project) -> None:
    command = two_voters.inspect("kafka")["Config"]["Healthcheck"]["Test"][1]

    def healthy() -> bool:
        return (
            docker(
                "exec", f"{two_voters.name}-kafka-1", "sh", "-c", command, check=False
            ).returncode
            == 0
        )

    two_voters.compose("kill", "second")  # `up` has waited until it was healthy
    # A leader without followers steps down after one and a half of controller.quorum.fetch.timeout.ms: 3 seconds.
    wait_for("the broker to be called unhealthy", lambda: not healthy())
    with socket.create_connection(("127.0.0.1", two_voters.kafka_port), timeout=5):
        pass

    two_voters.compose("start", "second")
    wait_for("the broker to be healthy again", healthy)
