"""From a clone to events flowing through containers, and back to nothing."""

import json
import re
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pymysql
import pytest
import requests
from docker.models.containers import Container
from kafka import KafkaConsumer, TopicPartition

from delivery.host.docker_api import Engine
from tests.integration.conftest import Platform
from tests.waiting import wait_for

pytestmark = pytest.mark.engine

OURS = ("api-rest", "async-worker")
SERVICES = (*OURS, "database", "kafka", "prometheus")
HEARTBEAT = ("kind", b"heartbeat")


def proved(platform: Platform) -> str:
    """The id of the event that the first `inv up` proved the platform with."""
    found = re.search(r"event ([0-9a-f-]{36}) posted", platform.up.stdout)
    assert found, platform.up.stdout
    return found[1]


@pytest.fixture
def topic(platform: Platform) -> Iterator[KafkaConsumer]:
    """A consumer at the beginning of the topic, which waits no longer than three heartbeats take."""
    consumer = KafkaConsumer(
        bootstrap_servers=f"localhost:{platform.ports['KAFKA_PORT']}", consumer_timeout_ms=30_000
    )
    with closing(consumer):
        partitions = consumer.partitions_for_topic("deployments") or ()
        consumer.assign([TopicPartition("deployments", number) for number in partitions])
        consumer.seek_to_beginning()
        yield consumer


def in_database(platform: Platform, identifier: str) -> int:
    """How many rows the table has for an event."""
    connection = pymysql.connect(
        host="127.0.0.1",
        port=platform.ports["DATABASE_PORT"],
        user="ledger",
        password="ledger",
        database="ledger",
    )
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM deployments WHERE id = %s", (identifier,))
        (count,) = cursor.fetchone() or (0,)
    return int(count)


def services(platform: Platform) -> dict[str, dict[str, Any]]:
    """What runs, by name; nothing of it is down or behind."""
    done = platform.inv("status", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    return {service["name"]: service for service in json.loads(done.stdout)["services"]}


def container(engine: Engine, platform: Platform, service: str) -> Container:
    """A service's container as it is now."""
    return engine.client.containers.get(
        f"{platform.environment['COMPOSE_PROJECT_NAME']}-{service}-1"
    )


def test_an_interrupted_up_says_so_and_is_finished_by_the_next(platform: Platform) -> None:
    interrupted = platform.interrupted
    assert interrupted.returncode == 130
    assert "cannot finish up: interrupted" in interrupted.stderr
    assert "Traceback" not in interrupted.stderr
    assert "✓ verify" not in interrupted.stdout
    assert "✓ verify" in platform.up.stdout


def deployed(platform: Platform) -> dict[str, str]:
    """The version of each component that the ledger says runs in `local`."""
    told = requests.get(
        f"http://localhost:{platform.ports['API_PORT']}/environments", timeout=10
    ).json()
    return {
        component["component"]: component["version"]
        for environment in told["environments"]
        if environment["environment"] == "local"
        for component in environment["components"]
    }


def deployments(platform: Platform) -> list[tuple[str, str]]:
    """The component and status of each event of a deploy that the ledger has, the oldest first."""
    address = f"http://localhost:{platform.ports['API_PORT']}/deployments"
    events = requests.get(address, params={"stage": "deploy", "limit": "500"}, timeout=10).json()[
        "deployments"
    ]
    return [(event["component"], event["status"]) for event in reversed(events)]


def released(platform: Platform) -> dict[str, str]:
    """The name of each app of the last release of a clone without a history: its key, shortened."""
    images = json.loads((platform.folder / ".delivery" / "release.json").read_text())["images"]
    return {name: images[name]["key"][:7] for name in OURS}


def test_up_builds_pushes_runs_and_proves(platform: Platform) -> None:
    assert "push async-worker" in platform.interrupted.stdout + platform.up.stdout
    assert in_database(platform, proved(platform)) == 1


def test_everything_runs_from_the_registry_by_digest(platform: Platform) -> None:
    running = services(platform)
    assert {name: service["health"] for name, service in running.items()} == dict.fromkeys(
        SERVICES, "healthy"
    )
    for name in OURS:
        assert re.fullmatch(
            rf"{platform.registry}/{name}@sha256:[0-9a-f]{{64}}", running[name]["image"]
        )


def test_up_is_a_deployment_of_both_apps_to_local(platform: Platform) -> None:
    # The worker stores what was delivered at the end of `inv up` in a moment.
    wait_for(
        "the ledger to say that both apps run", lambda: deployed(platform) == released(platform)
    )
    assert sorted(deployments(platform)) == [
        (name, status) for name in OURS for status in ("started", "succeeded")
    ]
    assert "records:" not in platform.up.stderr  # a ledger that is not up yet is no news


def test_the_second_up_changes_nothing_and_says_so(platform: Platform) -> None:
    before, recorded = services(platform), deployments(platform)
    done = platform.inv("up", "--monitoring")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing to do: the registry holds all 3 images" in done.stdout
    assert "already up and healthy" in done.stdout
    assert services(platform) == before
    assert deployments(platform) == recorded
    assert deployed(platform) == released(platform)


def test_no_service_may_have_threads_and_processes_without_end(
    engine: Engine, platform: Platform
) -> None:
    limits = {
        name: container(engine, platform, name).attrs["HostConfig"]["PidsLimit"]
        for name in SERVICES
    }
    assert [name for name, limit in limits.items() if not limit] == []


def test_every_service_that_ends_by_itself_is_started_again(
    engine: Engine, platform: Platform
) -> None:
    policies = {
        container(engine, platform, name).attrs["HostConfig"]["RestartPolicy"]["Name"]
        for name in SERVICES
    }
    assert policies == {"unless-stopped"}
    worker = container(engine, platform, "async-worker")
    # Asked from inside, so that the engine does not know that anybody wants it to end.
    worker.exec_run([*worker.attrs["Config"]["Entrypoint"][:1], "-c", "import os; os.kill(1, 15)"])

    def is_back() -> bool:
        worker = container(engine, platform, "async-worker")
        return worker.attrs["RestartCount"] == 1 and worker.health == "healthy"

    wait_for("the worker to be healthy again", is_back)
    assert set(services(platform)) == set(SERVICES)


def test_status_fails_and_says_why_while_something_is_down(platform: Platform) -> None:
    platform.compose("kill", "async-worker")
    try:
        done, told = platform.inv("status"), platform.inv("status", "--json")
    finally:
        platform.compose("start", "async-worker")
    assert (done.returncode, told.returncode) == (7, 7)
    assert "images" in done.stdout
    assert "cannot use all of the platform: async-worker is exited" in done.stderr
    assert "./run inv up" in done.stderr
    assert json.loads(told.stdout)["problems"] == ["async-worker is exited"]
    wait_for("all to be well again", lambda: platform.inv("status").returncode == 0)


def test_logs_show_one_service(platform: Platform) -> None:
    assert "async-worker" in platform.inv("logs", "--service", "async-worker").stdout
    refused = platform.inv("logs", "--service", "nobody")
    assert refused.returncode == 2
    assert "there is no service nobody" in refused.stderr


def test_a_taken_port_is_named_with_who_has_it(platform: Platform) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        refused = platform.inv("up", environment={"API_PORT": str(port)})
    assert refused.returncode == 7
    assert f"port {port} of api-rest is taken by another program" in refused.stderr
    assert f"API_PORT={port + 1} ./run inv up" in refused.stderr


def test_data_outlives_down_and_up(platform: Platform) -> None:
    identifier = proved(platform)
    assert platform.inv("down").returncode == 0
    assert services(platform) == {}
    done = platform.inv("up", "--monitoring")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing to do: the registry holds all 3 images" in done.stdout
    address = f"http://localhost:{platform.ports['API_PORT']}/deployments/{identifier}"
    assert requests.get(address, timeout=10).json()["id"] == identifier
    assert in_database(platform, identifier) == 1
    # What `down` told the ledger before it was gone is there, too, and so is what runs since.
    assert {(name, "removed") for name in OURS} <= set(deployments(platform))
    wait_for(
        "the ledger to say that both apps run", lambda: deployed(platform) == released(platform)
    )


def test_the_topic_keeps_the_first_event_and_gets_heartbeats(
    platform: Platform, topic: KafkaConsumer
) -> None:
    held = [next(topic) for _ in range(sum(topic.end_offsets(topic.assignment()).values()))]
    assert any(proved(platform).encode() in record.value for record in held)
    heartbeats = sum(HEARTBEAT in record.headers for record in held)
    while heartbeats < 2:
        heartbeats += HEARTBEAT in next(topic).headers
