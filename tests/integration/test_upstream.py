"""The images of the recipes behave like the published images of the same names.

Tests of what only a recipe has skip a published image; all other tests run with both.
"""

from __future__ import annotations

import io
import re
import socket
import ssl
import tarfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, cast

import docker
import pymysql
import pytest
import requests
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from docker.models.containers import Container
from docker.models.volumes import Volume
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.structs import OffsetAndMetadata

from delivery.host import upstreams
from delivery.host.docker_api import Engine
from delivery.project.declaration import Declaration
from tests import yaml_strict
from tests.ports import free_port
from tests.waiting import wait_for

KAFKA, DATABASE = "apache/kafka:4.1.1", "mariadb:11.8.9"
HAPROXY = "haproxy:3.0.11"
PROMETHEUS = "prom/prometheus:v2.53.3"
RECIPES = Path(__file__).parents[2] / "ops" / "upstream"
KAFKA_BIN = "/opt/kafka/bin"
INSIDE = "--bootstrap-server localhost:19092"
# Like the health check: a command of a second needs no compiler.
QUICK = "KAFKA_JVM_PERFORMANCE_OPTS='-XX:+UseSerialGC -XX:TieredStopAtLevel=1'"
JMX = "service:jmx:rmi:///jndi/rmi://localhost:9999/jmxrmi"
STATE = "kafka.server:type=KafkaServer,name=BrokerState"
CLUSTER_ID = "OUZK0efhTkiGz6XtqUSWGw"
PASSWORD = r"it's \ `quoted` % \"well\""  # every special character of SQL and shells

pytestmark = pytest.mark.engine
Run = Callable[..., Container]
Mount = dict[str, dict[str, str]]  # as docker-py takes volumes


def eventually(condition: Callable[[], object], name: str) -> None:
    wait_for(name, lambda: bool(condition()), every=0.1)


def shell(container: Container, command: str) -> tuple[int, str]:
    """Run a shell command in a container; return its exit code and its output."""
    # More than the minute for which Kafka's commands wait for a broker, on a busy machine.
    result = container.exec_run(["timeout", "120", "sh", "-c", command])
    code, output = cast("tuple[int, bytes]", result)
    return code, output.decode()


def log(container: Container) -> str:
    return container.logs().decode(errors="replace")


def exit_code(container: Container, seconds: int = 30) -> int:
    """Wait for the end of a container."""
    return int(container.wait(timeout=seconds)["StatusCode"])


def stop(container: Container) -> int:
    """Stop by SIGTERM, after 30 s by SIGKILL (137); return the exit code."""
    container.stop(timeout=30)
    return exit_code(container)


def address(container: Container, port: int) -> tuple[str, int]:
    """The host and port of a container's port on this machine."""
    container.reload()
    (binding,) = container.ports[f"{port}/tcp"] or []
    return binding["HostIp"], int(binding["HostPort"])


def put(container: Container, path: str, content: str | bytes) -> None:
    """Write a file into a container, running or not."""
    data = content if isinstance(content, bytes) else content.encode()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo(path.lstrip("/"))
        entry.size, entry.mode = len(data), 0o644
        tar.addfile(entry, io.BytesIO(data))
    container.put_archive("/", archive.getvalue())


@pytest.fixture(scope="module")
def client(engine: Engine) -> docker.DockerClient:
    return engine.client


@pytest.mark.parametrize(
    ("image", "program", "option"),
    [(DATABASE, "mariadbd", "--version"), (HAPROXY, "haproxy", "-v")],
)
def test_the_tag_is_the_version_that_runs(
    client: docker.DockerClient, image: str, program: str, option: str
) -> None:
    output = client.containers.run(image, [option], entrypoint=program, remove=True)
    version = re.search(r"\d+\.\d+\.\d+", output.decode())
    assert version
    # Debian has a newer one: ops/upstream/README.md, "Change a version".
    assert image.endswith(f":{version[0]}")


@pytest.fixture(scope="module")
def run(client: docker.DockerClient) -> Iterator[Run]:
    """Start containers, which are removed after the module."""
    started: list[Container] = []

    def start(
        image: str,
        *,
        files: Mapping[str, str | bytes] | None = None,
        **options: Any,
    ) -> Container:
        container = client.containers.create(
            image,
            name=f"up-{uuid.uuid4().hex[:12]}",
            labels={"delivery-platform.test": "upstream"},
            **options,
        )
        started.append(container)
        for path, content in (files or {}).items():
            put(container, path, content)
        container.start()
        return container

    def remove(container: Container) -> None:
        with suppress(docker.errors.NotFound):  # a test removed it
            container.remove(force=True, v=True)

    yield start
    with ThreadPoolExecutor() as threads:
        list(threads.map(remove, started))


@pytest.fixture
def _database_recipe(client: docker.DockerClient) -> None:
    labels = client.images.get(DATABASE).labels
    if "delivery-platform.recipe" not in labels:
        pytest.skip(f"{DATABASE} is the published image, and only the recipe does this")


@pytest.fixture(scope="module")
def volume(client: docker.DockerClient) -> Iterator[Callable[[str], Mount]]:
    """Make a volume, as the mount of a path; remove it with its containers after the module."""
    created: list[Volume] = []

    def create(path: str) -> Mount:
        created.append(client.volumes.create(f"up-{uuid.uuid4().hex[:12]}"))
        return {created[-1].name: {"bind": path, "mode": "rw"}}

    yield create
    for volume in created:
        for container in client.containers.list(all=True, filters={"volume": volume.name}):
            container.remove(force=True, v=True)
        volume.remove()


# Kafka


def kafka_environment(port: int, **more: str) -> dict[str, str]:
    """One node with both roles, which advertises this port of this machine."""
    return {
        "CLUSTER_ID": CLUSTER_ID,
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_INTER_BROKER_LISTENER_NAME": "INSIDE",
        "KAFKA_LISTENERS": "HOST://:9092,CONTROLLER://:9093,INSIDE://:19092",
        "KAFKA_ADVERTISED_LISTENERS": f"HOST://localhost:{port},INSIDE://localhost:19092",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": ",".join(
            f"{name}:PLAINTEXT" for name in ("CONTROLLER", "HOST", "INSIDE")
        ),
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_LOG_DIRS": "/var/lib/kafka/data/log",
        "KAFKA_HEAP_OPTS": "-Xms256M -Xmx256M",
        **more,
    }


def start_kafka(run: Run, mount: Mount | None = None, **more: str) -> tuple[Container, str]:
    """Start a broker and wait for it; return the container and the address."""
    port = free_port()
    container = run(
        KAFKA,
        environment=kafka_environment(port, **more),
        ports={"9092/tcp": ("127.0.0.1", port)},
        volumes=mount or {},
    )
    eventually(
        lambda: "Kafka Server started" in log(container), f"the broker starts\n{log(container)}"
    )
    return container, f"localhost:{port}"


def produce(broker: str, topic: str, *values: bytes) -> None:
    with closing(KafkaProducer(bootstrap_servers=broker, acks="all")) as producer:
        for value in values:
            producer.send(topic, value).get(timeout=30)


def consume(broker: str, topic: str) -> list[bytes]:
    """All values in a topic."""
    consumer = KafkaConsumer(
        bootstrap_servers=broker, auto_offset_reset="earliest", consumer_timeout_ms=5000
    )
    with closing(consumer):
        # Up to the known end, without a timeout.
        eventually(lambda: consumer.partitions_for_topic(topic), f"{topic} has partitions")
        partitions = [
            TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)
        ]
        consumer.assign(partitions)
        ends = consumer.end_offsets(partitions)
        values: list[bytes] = []
        while len(values) < sum(ends.values()):
            values.append(next(consumer).value)
        return values


def broker_settings(container: Container, server: str) -> str:
    options = "--entity-type brokers --entity-name 1 --describe --all"
    return shell(container, f"{QUICK} {KAFKA_BIN}/kafka-configs.sh {server} {options}")[1]


@pytest.fixture(scope="module")
def broker(run: Run) -> tuple[Container, str]:
    """A broker with a topic with one record that a group has read."""
    container, address = start_kafka(
        run,
        KAFKA_NUM_PARTITIONS="5",
        KAFKA_LOG4J_LOGGERS="org.apache.kafka.image=DEBUG",
        KAFKA_JMX_PORT="9999",
        KAFKA_JMX_HOSTNAME="localhost",
    )
    with closing(KafkaProducer(bootstrap_servers=address)) as producer:
        producer.send("counted", b"one", partition=0).get(timeout=30)
    partition = TopicPartition("counted", 0)
    with closing(
        KafkaConsumer(bootstrap_servers=address, group_id="listeners", enable_auto_commit=False)
    ) as consumer:
        consumer.assign([partition])
        consumer.commit({partition: OffsetAndMetadata(1, "", -1)})
    return container, address


def test_kafka_takes_its_settings_and_log_levels_from_variables(
    broker: tuple[Container, str],
) -> None:
    _, properties = shell(broker[0], "cat /var/lib/kafka/data/log/meta.properties")
    assert f"cluster.id={CLUSTER_ID}" in properties
    assert "node.id=1" in properties
    assert "STATIC_BROKER_CONFIG:num.partitions=5" in broker_settings(broker[0], INSIDE)
    lines = log(broker[0])
    assert re.search(r"DEBUG .*\(org\.apache\.kafka\.image", lines)
    assert not re.search(r"DEBUG .*\(kafka\.server", lines)


def test_kafka_runs_as_a_user_and_java_is_the_first_process(broker: tuple[Container, str]) -> None:
    assert shell(broker[0], "id -u; id -un; cat /proc/1/comm")[1].split() == [
        "1000",
        "appuser",
        "java",
    ]


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (f"kafka-metadata-quorum.sh {INSIDE} describe --status", "LeaderId:               1"),
        (f"kafka-broker-api-versions.sh {INSIDE}", "(id: 1 rack: null"),
        (f"kafka-consumer-groups.sh {INSIDE} --list", "listeners"),
        (f"kafka-get-offsets.sh {INSIDE} --topic counted", "counted:0:1"),
        ("kafka-storage.sh info --config /opt/kafka/config/server.properties", CLUSTER_ID),
        ("kafka-run-class.sh kafka.Kafka --version", "4.1.1"),
        (
            f"kafka-jmx.sh --jmx-url {JMX} --one-time --object-name {STATE} --attributes Value",
            f'"{STATE}:Value"',
        ),
    ],
    ids=lambda value: value.split()[0] if ".sh" in value else "",
)
def test_kafka_has_its_commands(broker: tuple[Container, str], command: str, answer: str) -> None:
    code, output = shell(broker[0], f"{QUICK} {KAFKA_BIN}/{command}")
    assert code == 0, output
    assert answer in output


def test_kafka_adds_variables_to_a_mounted_configuration(run: Run) -> None:
    mounted = (
        RECIPES / "kafka/docker/server.properties"
    ).read_text() + "num.partitions=3\nnum.io.threads=9\n"
    container = run(
        KAFKA,
        files={"/mnt/shared/config/server.properties": mounted},
        environment={"KAFKA_NUM_PARTITIONS": "7"},
    )
    eventually(lambda: "Kafka Server started" in log(container), "the broker starts")
    described = broker_settings(container, "--bootstrap-server localhost:9092")
    assert "num.io.threads=9 " in described
    assert "num.partitions=7 " in described


def test_kafka_takes_variables_as_arguments_and_reads_key_stores_from_the_secrets(run: Run) -> None:
    arguments = {
        "KAFKA_ADVERTISED_LISTENERS": "SSL://localhost:9092,INSIDE://localhost:19092",
        "KAFKA_LISTENERS": "SSL://:9092,CONTROLLER://:9093,INSIDE://:19092",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,SSL:SSL,INSIDE:PLAINTEXT",
        "KAFKA_SSL_KEYSTORE_FILENAME": "kafka.p12",
        "KAFKA_SSL_KEYSTORE_TYPE": "PKCS12",
        "KAFKA_SSL_KEYSTORE_CREDENTIALS": "password",
        "KAFKA_SSL_KEY_CREDENTIALS": "password",
    }
    container = run(
        KAFKA,
        command=[
            "/etc/kafka/docker/run",
            *(f"{name}={value}" for name, value in arguments.items()),
        ],
        environment=kafka_environment(0),
        ports={"9092/tcp": ("127.0.0.1", None)},
        files={
            "/etc/kafka/secrets/kafka.p12": key_store("secret"),
            "/etc/kafka/secrets/password": "secret",
        },
    )
    eventually(lambda: "Kafka Server started" in log(container), "the broker starts")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(address(container, 9092), timeout=10) as plain,
        context.wrap_socket(plain) as secured,
    ):
        assert secured.version() == "TLSv1.3"


def key_store(password: str) -> bytes:
    """A key and its certificate in Java's format."""
    issued = trustme.CA().issue_cert("localhost")
    certificate = x509.load_pem_x509_certificate(issued.cert_chain_pems[0].bytes())
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    encryption = serialization.BestAvailableEncryption(password.encode())
    return pkcs12.serialize_key_and_certificates(b"kafka", key, certificate, None, encryption)


def test_kafka_refuses_a_controller_that_advertises(run: Run) -> None:
    environment = {
        "KAFKA_PROCESS_ROLES": "controller",
        "KAFKA_ADVERTISED_LISTENERS": "PLAINTEXT://here:9092",
    }
    container = run(KAFKA, environment=environment)
    assert exit_code(container) == 1
    assert "KAFKA_ADVERTISED_LISTENERS" in log(container)


def test_kafka_stops_cleanly_keeps_its_data_and_refuses_storage_of_another_cluster(
    run: Run, volume: Callable[[str], Mount]
) -> None:
    mount = volume("/var/lib/kafka/data")
    container, address = start_kafka(run, mount)
    produce(address, "kept", b"before")
    assert stop(container) in (0, 143)
    container.remove(v=True)

    container, address = start_kafka(run, mount)
    assert "since clean shutdown file was found" in log(container)
    assert "is already formatted" in log(container)
    assert consume(address, "kept") == [b"before"]
    container.remove(force=True, v=True)

    other = run(
        KAFKA,
        environment=kafka_environment(9092, CLUSTER_ID="MkU3OEVBNTcwNTJENDM2Qg"),
        volumes=mount,
    )
    assert exit_code(other) == 1
    assert "MkU3OEVBNTcwNTJENDM2Qg" in log(other)


# Database

GO_ON = "/tmp/go-on"  # noqa: S108  # in a container
# An init file that blocks until the test creates a file.
WAIT = f"until [ -e {GO_ON} ]; do sleep 0.1; done\n"


def start_database(
    run: Run,
    mount: Mount | None = None,
    **options: Any,
) -> Container:
    environment = {
        "MARIADB_ROOT_PASSWORD": "root-secret",
        "MARIADB_DATABASE": "ledger",
        "MARIADB_USER": "ledger",
        "MARIADB_PASSWORD": PASSWORD,
        **options.pop("environment", {}),
    }
    return run(
        DATABASE,
        environment={name: value for name, value in environment.items() if value},
        ports={"3306/tcp": ("127.0.0.1", None)},
        volumes=mount or {},
        **options,
    )


def healthy(container: Container) -> bool:
    return shell(container, "healthcheck.sh --connect --innodb_initialized")[0] == 0


def wait_healthy(container: Container) -> None:
    def check() -> bool:
        container.reload()
        assert container.status == "running", log(container)
        return healthy(container)

    eventually(check, "the database is healthy")


def query(
    container: Container,
    sql: str,
    *,
    user: str = "ledger",
    password: str = PASSWORD,
    database: str = "ledger",
) -> Any:
    host, port = address(container, 3306)
    connection = pymysql.connect(
        host=host, port=port, user=user, password=password, database=database, autocommit=True
    )
    with closing(connection), connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def query_as_root(container: Container, sql: str) -> Any:
    return query(container, sql, user="root", password="root-secret", database="mysql")


@pytest.fixture(scope="module")
def database(run: Run) -> Container:
    container = start_database(run)
    wait_healthy(container)
    return container


def test_database_makes_the_user_its_database_and_nothing_else(database: Container) -> None:
    query(database, "CREATE TABLE mine (a INT)")
    assert query(database, "SELECT @@character_set_database") == (("utf8mb4",),)
    for forbidden in ("SELECT * FROM mysql.global_priv", "CREATE DATABASE other"):
        with pytest.raises(pymysql.err.OperationalError, match="denied"):
            query(database, forbidden)


def test_database_has_no_account_without_a_password(database: Container) -> None:
    without = "SELECT User FROM user WHERE User <> 'mariadb.sys' AND authentication_string = ''"
    assert query_as_root(database, without) == ()
    with pytest.raises(pymysql.err.OperationalError, match="denied"):
        query(database, "SELECT 1", password="wrong")


def test_database_runs_as_mysql(database: Container) -> None:
    assert shell(database, "stat -c '%u %U' /proc/1; cat /proc/1/comm")[1].split() == [
        "999",
        "mysql",
        "mariadbd",
    ]


def test_database_reads_its_settings_from_files(run: Run) -> None:
    secrets = {
        "ROOT_PASSWORD": "root-secret",
        "DATABASE": "filed",
        "USER": "clerk",
        "PASSWORD": PASSWORD,
    }
    container = start_database(
        run,
        files={f"/secrets/{name}": f"{value}\n" for name, value in secrets.items()},
        environment={f"MARIADB_{name}": "" for name in secrets}
        | {f"MARIADB_{name}_FILE": f"/secrets/{name}" for name in secrets},
    )
    wait_healthy(container)
    assert query(container, "SELECT DATABASE()", user="clerk", database="filed") == (("filed",),)
    assert query_as_root(container, "SELECT 1") == ((1,),)


@pytest.mark.usefixtures("_database_recipe")
@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"MARIADB_ROOT_PASSWORD": ""}, "no root password"),
        ({"MARIADB_PASSWORD": ""}, "MARIADB_USER without MARIADB_PASSWORD"),
        ({"MARIADB_PASSWORD_FILE": "/etc/hostname"}, "both it and MARIADB_PASSWORD_FILE are set"),
        (
            {"MARIADB_PASSWORD": "", "MARIADB_PASSWORD_FILE": "/absent"},
            "no readable file at /absent",
        ),
    ],
)
def test_database_says_which_setting_is_wrong(
    run: Run, environment: dict[str, str], reason: str
) -> None:
    container = start_database(run, environment=environment)
    assert exit_code(container) == 1
    assert reason in log(container)


def test_database_runs_init_files_once_and_is_not_healthy_before(
    run: Run, volume: Callable[[str], Mount]
) -> None:
    mount = volume("/var/lib/mysql")
    files = {
        "/docker-entrypoint-initdb.d/1.sql": "CREATE TABLE made (number INT DEFAULT 1);",
        "/docker-entrypoint-initdb.d/2.sql": "INSERT INTO made VALUES ();",
        "/docker-entrypoint-initdb.d/3.sh": WAIT,
    }
    container = start_database(run, mount, files=files)
    eventually(
        lambda: "running /docker-entrypoint-initdb.d/3.sh" in log(container), "the last file runs"
    )
    assert not healthy(container)
    put(container, GO_ON, "")
    wait_healthy(container)

    container.restart()
    wait_healthy(container)
    assert query(container, "SELECT COUNT(*) FROM made") == ((1,),)


def test_database_stops_cleanly_and_its_data_outlives_the_container(
    run: Run, volume: Callable[[str], Mount]
) -> None:
    mount = volume("/var/lib/mysql")
    container = start_database(run, mount)
    wait_healthy(container)
    query(container, "CREATE TABLE kept AS SELECT 'before' AS word")
    assert stop(container) == 0
    container.remove(v=True)

    container = start_database(run, mount)
    wait_healthy(container)
    assert "crash recovery" not in log(container)
    assert query(container, "SELECT word FROM kept") == (("before",),)


@pytest.mark.usefixtures("_database_recipe")
def test_database_begins_again_after_a_kill_while_it_was_made(
    run: Run, volume: Callable[[str], Mount]
) -> None:
    mount = volume("/var/lib/mysql")
    files = {
        "/docker-entrypoint-initdb.d/1.sql": "CREATE TABLE made (a INT);",
        "/docker-entrypoint-initdb.d/2.sh": WAIT,
        "/docker-entrypoint-initdb.d/3.sql": "INSERT INTO made VALUES (1);",
    }
    container = start_database(run, mount, files=files)
    eventually(
        lambda: "running /docker-entrypoint-initdb.d/2.sh" in log(container), "the second file runs"
    )
    container.kill("SIGKILL")
    assert exit_code(container) == 137

    put(container, GO_ON, "")
    container.start()
    wait_healthy(container)
    assert "starting it afresh" in log(container)
    assert query(container, "SELECT COUNT(*) FROM made") == ((1,),)


@pytest.mark.usefixtures("_database_recipe")
def test_database_leaves_foreign_files_alone(run: Run, volume: Callable[[str], Mount]) -> None:
    mount = volume("/var/lib/mysql")
    container = start_database(run, mount, files={"/var/lib/mysql/precious": "data"})
    assert exit_code(container) == 1
    assert "has files, no database" in log(container)
    looking = run(DATABASE, command=["cat", "/var/lib/mysql/precious"], volumes=mount)
    assert exit_code(looking) == 0
    assert log(looking) == "data"


# Prometheus


def start_prometheus(
    run: Run,
    mount: Mount | None = None,
    **options: Any,
) -> tuple[Container, str]:
    """Start Prometheus and wait until it answers; return the container and the address."""
    container = run(
        PROMETHEUS, ports={"9090/tcp": ("127.0.0.1", 0)}, volumes=mount or {}, **options
    )
    host, port = address(container, 9090)

    def ready() -> bool:
        with suppress(requests.RequestException):
            return requests.get(f"http://{host}:{port}/-/ready", timeout=10).status_code == 200
        return False

    eventually(ready, f"Prometheus answers\n{log(container)}")
    return container, f"http://{host}:{port}"


def data(url: str) -> dict[str, Any]:
    """The data in an answer of Prometheus' API."""
    return dict(requests.get(url, timeout=10).json()["data"])


@pytest.fixture(scope="module")
def _prometheus(engine: Engine, project: Declaration) -> None:
    """Get the image, which is optional."""
    upstreams.ensure(engine, project, ["prometheus"])


@pytest.mark.usefixtures("_prometheus")
def test_prometheus_runs_as_nobody_scrapes_itself_and_has_its_page_and_programs(
    run: Run, volume: Callable[[str], Mount]
) -> None:
    container, base = start_prometheus(run, volume("/prometheus"), read_only=True, cap_drop=["ALL"])
    assert shell(container, "id -u; id -g; pwd") == (0, "65534\n65534\n/prometheus\n")
    (job,) = yaml_strict.load(data(f"{base}/api/v1/status/config")["yaml"])["scrape_configs"]
    assert (job["job_name"], job["static_configs"]) == (
        "prometheus",
        [{"targets": ["localhost:9090"]}],
    )
    assert shell(container, "promtool check config /etc/prometheus/prometheus.yml")[0] == 0
    healthy = "Prometheus Server is Healthy.\n"
    assert shell(container, "wget -q -O - http://127.0.0.1:9090/-/healthy") == (0, healthy)
    assert requests.get(f"{base}/graph", timeout=10).status_code == 200
    assert stop(container) == 0
