"""From a clone to events flowing through containers, and back to nothing."""

import json
import re
import signal
import subprocess
import time
from typing import Any

import pymysql
import pytest
import requests
from kafka import KafkaConsumer, TopicPartition

from tests.integration.conftest import Clone

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def first(clone: Clone) -> str:
    """What the first `inv up` prints."""
    done = clone.inv("up")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def event_of(printed: str) -> str:
    """The id of the event that `inv up` proved the platform with."""
    found = re.search(r"event ([0-9a-f-]{36}) posted", printed)
    assert found, printed
    return found[1]


def ended(clone: Clone) -> int:
    """How many records the deployments topic has taken so far."""
    consumer = KafkaConsumer(bootstrap_servers=f"localhost:{clone.ports['KAFKA_PORT']}")
    try:
        partitions = [
            TopicPartition("deployments", number) for number in consumer.partitions_for_topic("deployments") or ()
        ]
        return sum(consumer.end_offsets(partitions).values())
    finally:
        consumer.close()


def in_database(clone: Clone, identifier: str) -> int:
    """How many rows the table has for an event."""
    connection = pymysql.connect(
        host="127.0.0.1", port=clone.ports["DATABASE_PORT"], user="ledger", password="ledger", database="ledger"
    )
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM deployments WHERE id = %s", (identifier,))
        (count,) = cursor.fetchone() or (0,)
    return int(count)


def services(clone: Clone) -> dict[str, dict[str, Any]]:
    """What runs, by name."""
    status = json.loads(clone.inv("status", "--json").stdout)
    return {service["name"]: service for service in status["services"]}


def test_up_builds_pushes_runs_and_proves(first: str, clone: Clone) -> None:
    assert "push async-worker" in first
    assert in_database(clone, event_of(first)) == 1


def test_everything_runs_from_the_registry_by_digest(first: str, clone: Clone) -> None:
    del first
    running = services(clone)
    assert {name: service["health"] for name, service in running.items()} == dict.fromkeys(
        ("api-rest", "async-worker", "database", "kafka"), "healthy"
    )
    for name in ("api-rest", "async-worker"):
        assert re.fullmatch(rf"{clone.registry}/{name}@sha256:[0-9a-f]{{64}}", running[name]["image"])


def test_the_second_up_changes_nothing_and_says_so(first: str, clone: Clone) -> None:
    del first
    before = services(clone)
    done = clone.inv("up")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing to do: the registry holds all 3 images" in done.stdout
    assert "already up and healthy" in done.stdout
    assert services(clone) == before


def test_the_heartbeat_goes_through_the_topic(first: str, clone: Clone) -> None:
    del first
    before = ended(clone)
    deadline = time.monotonic() + 45
    while ended(clone) < before + 2:
        assert time.monotonic() < deadline, "the topic has not grown by two heartbeats"
        time.sleep(1)


def test_an_event_is_there_after_down_and_up(first: str, clone: Clone) -> None:
    assert clone.inv("down").returncode == 0
    assert services(clone) == {}
    assert clone.inv("up").returncode == 0
    address = f"http://localhost:{clone.ports['API_PORT']}/deployments/{event_of(first)}"
    assert requests.get(address, timeout=10).json()["id"] == event_of(first)
    assert in_database(clone, event_of(first)) == 1


def test_an_interrupted_up_is_finished_by_the_next(first: str, clone: Clone) -> None:
    del first
    assert clone.inv("down", "--volumes").returncode == 0
    running = subprocess.Popen(
        clone.argv("up"),
        cwd=clone.folder,
        env=clone.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A script's background job, as CI may be, ignores Ctrl-C, and so do its children: a user's terminal does not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509  # no thread runs here
    )
    with running:
        assert running.stdout
        for line in running.stdout:
            if line.startswith("✓ registry"):
                time.sleep(1)
                running.send_signal(signal.SIGINT)
                break
        said = running.communicate(timeout=60)[1]
    assert running.returncode == 130
    assert "up: interrupted" in said
    assert "Traceback" not in said
    done = clone.inv("up")
    assert done.returncode == 0, done.stdout + done.stderr


def test_logs_show_one_service(first: str, clone: Clone) -> None:
    del first
    assert "async-worker" in clone.inv("logs", "--service", "async-worker").stdout
    refused = clone.inv("logs", "--service", "nobody")
    assert refused.returncode == 2
    assert "there is no service nobody" in refused.stderr


def test_a_taken_port_is_named_with_who_has_it(first: str, clone: Clone) -> None:
    del first
    assert clone.inv("down").returncode == 0
    with subprocess.Popen(
        ["python3", "-m", "http.server", str(clone.ports["API_PORT"]), "--bind", "127.0.0.1"],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    ) as holder:
        time.sleep(1)
        refused = clone.inv("up")
        holder.terminate()
    assert refused.returncode == 7
    port = clone.ports["API_PORT"]
    assert f"port {port}, which api-rest is to publish, is taken by another program" in refused.stderr
    assert f"API_PORT={port + 1} ./run inv up" in refused.stderr
