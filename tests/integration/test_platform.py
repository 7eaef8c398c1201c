"""`inv up` from a clone, its containers and events, `inv down`."""

import json
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from docker.models.containers import Container
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaTimeoutError

from delivery.host.docker_api import MANAGED, Engine
from delivery.platform import lifecycle
from delivery.platform.compose import Compose
from delivery.records.ledger import Ledger
from tests.integration.conftest import Platform
from tests.ledger.stack import OWNER
from tests.load import table
from tests.waiting import wait_for

pytestmark = pytest.mark.engine

APPS = ("api-rest", "async-worker")
SERVICES = (*APPS, "database", "kafka", "prometheus")
HEARTBEAT = ("kind", b"heartbeat")


def checked_event(platform: Platform) -> str:
    """The id of the event by which the first `inv up` checked the platform."""
    match = re.search(r"event ([0-9a-f-]{36}) posted", platform.up.stdout)
    assert match, platform.up.stdout
    return match[1]


@pytest.fixture
def topic(platform: Platform) -> Iterator[KafkaConsumer]:
    """A consumer at the beginning of the topic, with a timeout of three heartbeats."""
    consumer = KafkaConsumer(
        bootstrap_servers=f"localhost:{platform.ports['KAFKA_PORT']}", consumer_timeout_ms=30_000
    )
    with closing(consumer):
        partitions = consumer.partitions_for_topic("deployments") or ()
        consumer.assign([TopicPartition("deployments", number) for number in partitions])
        consumer.seek_to_beginning()
        yield consumer


def in_database(platform: Platform, identifier: str) -> int:
    """The number of rows for an event."""
    find, port = "SELECT id FROM deployments WHERE id = %s", platform.ports["DATABASE_PORT"]
    return len(table.execute(port, OWNER, find, identifier))


def services(platform: Platform) -> dict[str, dict[str, Any]]:
    """The running services by name, of which none is down or behind."""
    done = platform.inv("status", "--json")
    assert done.returncode == 0, done.stderr + done.stdout
    return {service["name"]: service for service in json.loads(done.stdout)["services"]}


def container(engine: Engine, platform: Platform, service: str) -> Container:
    """The current container of a service."""
    return engine.client.containers.get(
        f"{platform.environment['COMPOSE_PROJECT_NAME']}-{service}-1"
    )


def test_the_next_up_finishes_an_interrupted_one(platform: Platform) -> None:
    interrupted = platform.interrupted
    assert interrupted.returncode == 130
    assert "cannot finish up: interrupted" in interrupted.stderr
    assert "Traceback" not in interrupted.stderr
    assert "✓ verify" not in interrupted.stdout
    assert "✓ verify" in platform.up.stdout


def ledger(platform: Platform) -> Ledger:
    return Ledger(f"http://localhost:{platform.ports['API_PORT']}")


def deployed(platform: Platform) -> dict[str, str]:
    """The version of each component in local, from the ledger."""
    return ledger(platform).running("local")


def deployments(platform: Platform) -> list[tuple[str, str]]:
    """The component and status of each deploy event in the ledger, the oldest first."""
    events = ledger(platform).events({"stage": "deploy"}, "2020-01-01T00:00:00Z")
    return [(event["component"], event["status"]) for event in reversed(events)]


def released(platform: Platform) -> dict[str, str]:
    """The version of each app in a clone without history: its shortened key."""
    images = json.loads((platform.folder / ".delivery" / "release.json").read_text())["images"]
    return {name: images[name]["key"][:7] for name in APPS}


def test_up_builds_pushes_and_checks(platform: Platform) -> None:
    assert "push async-worker" in platform.interrupted.stdout + platform.up.stdout
    assert in_database(platform, checked_event(platform)) == 1


def test_apps_run_from_the_registry_by_digest(platform: Platform) -> None:
    running = services(platform)
    assert {name: service["health"] for name, service in running.items()} == dict.fromkeys(
        SERVICES, "healthy"
    )
    for name in APPS:
        assert re.fullmatch(
            rf"{platform.registry}/{name}@sha256:[0-9a-f]{{64}}", running[name]["image"]
        )


def test_up_is_recorded_as_a_deployment_to_local(platform: Platform) -> None:
    # The worker needs a moment to store the events.
    wait_for("the ledger to have both apps", lambda: deployed(platform) == released(platform))
    assert sorted(deployments(platform)) == [
        (name, status) for name in APPS for status in ("started", "succeeded")
    ]
    assert "records:" not in platform.up.stderr  # a ledger that is not up yet is no warning


def test_a_second_up_changes_nothing(platform: Platform) -> None:
    running, recorded = services(platform), deployments(platform)
    done = platform.inv("up", "--monitoring")
    assert done.returncode == 0, done.stderr + done.stdout
    assert "nothing to do: the registry holds all 3 images" in done.stdout
    assert "already up and healthy" in done.stdout
    assert services(platform) == running
    assert deployments(platform) == recorded
    assert deployed(platform) == released(platform)


def test_kafka_and_database_are_limited_labelled_and_open_to_this_machine_only(
    engine: Engine, platform: Platform
) -> None:
    for service in ("kafka", "database"):
        attributes = container(engine, platform, service).attrs
        assert attributes["HostConfig"]["Memory"] > 0
        assert attributes["HostConfig"]["LogConfig"]["Config"]["max-size"]
        assert attributes["Config"]["Labels"][MANAGED] == "true"
        volumes = {mount["Name"] for mount in attributes["Mounts"] if mount["Type"] == "volume"}
        # An anonymous volume would be left by every start.
        assert volumes == {f"{platform.environment['COMPOSE_PROJECT_NAME']}_{service}"}
        ports = attributes["NetworkSettings"]["Ports"].values()
        assert {binding["HostIp"] for bound in ports for binding in bound or ()} == {"127.0.0.1"}


def test_a_producer_creates_no_topic(platform: Platform) -> None:
    broker = f"localhost:{platform.ports['KAFKA_PORT']}"
    with (
        closing(KafkaProducer(bootstrap_servers=broker, max_block_ms=1000)) as producer,
        pytest.raises(KafkaTimeoutError),
    ):
        producer.send("mistyped", b"lost")
    with closing(KafkaAdminClient(bootstrap_servers=broker)) as admin:
        assert "mistyped" not in admin.list_topics()


def test_every_service_has_a_limit_of_processes(engine: Engine, platform: Platform) -> None:
    limits = {
        name: container(engine, platform, name).attrs["HostConfig"]["PidsLimit"]
        for name in SERVICES
    }
    assert [name for name, limit in limits.items() if not limit] == []


def test_services_restart(engine: Engine, platform: Platform) -> None:
    policies = {
        container(engine, platform, name).attrs["HostConfig"]["RestartPolicy"]["Name"]
        for name in SERVICES
    }
    assert policies == {"unless-stopped"}
    worker = container(engine, platform, "async-worker")
    # From inside: the engine would not restart a container that it was told to stop.
    worker.exec_run([*worker.attrs["Config"]["Entrypoint"][:1], "-c", "import os; os.kill(1, 15)"])

    def is_back() -> bool:
        worker = container(engine, platform, "async-worker")
        return worker.attrs["RestartCount"] == 1 and worker.health == "healthy"

    wait_for("the worker to be healthy again", is_back)
    assert set(services(platform)) == set(SERVICES)


def test_logs_show_one_service(platform: Platform) -> None:
    assert "async-worker" in platform.inv("logs", "--service", "async-worker").stdout
    refused = platform.inv("logs", "--service", "nobody")
    assert refused.returncode == 2
    assert "there is no service nobody" in refused.stderr


def test_another_clone_of_the_same_name_is_told_of_this_one(
    engine: Engine, platform: Platform, tmp_path: Path
) -> None:
    name = platform.environment["COMPOSE_PROJECT_NAME"]
    this, other = (Compose(engine, name, folder, (), {}) for folder in (platform.folder, tmp_path))
    assert lifecycle.shared_note(this) == ""
    assert str(platform.folder) in lifecycle.shared_note(other)


def test_data_outlives_down_and_up(platform: Platform) -> None:
    identifier = checked_event(platform)
    assert platform.inv("down").returncode == 0
    assert services(platform) == {}
    done = platform.inv("up", "--monitoring")
    assert done.returncode == 0, done.stderr + done.stdout
    assert "nothing to do: the registry holds all 3 images" in done.stdout
    assert ledger(platform).wait_for(identifier, seconds=10)[0]["id"] == identifier
    assert in_database(platform, identifier) == 1
    # The ledger has the removal by `down` and the later deployment.
    assert {(name, "removed") for name in APPS} <= set(deployments(platform))
    wait_for("the ledger to have both apps", lambda: deployed(platform) == released(platform))


def test_the_topic_keeps_the_first_event_and_gets_heartbeats(
    platform: Platform, topic: KafkaConsumer
) -> None:
    records = [next(topic) for _ in range(sum(topic.end_offsets(topic.assignment()).values()))]
    assert any(checked_event(platform).encode() in record.value for record in records)
    heartbeats = sum(HEARTBEAT in record.headers for record in records)
    while heartbeats < 2:
        heartbeats += HEARTBEAT in next(topic).headers
