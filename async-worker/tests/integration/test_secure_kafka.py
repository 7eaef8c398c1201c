"""The worker as a process against a Kafka that is encrypted and wants a login."""

import json
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from kafka import KafkaProducer
from ledger.broker_network import open_client
from secure_kafka import PASSWORD, SecureKafka
from world import Services, World, eventually

pytestmark = pytest.mark.engine

WRONG = "another password"


@pytest.fixture
def kafka(tmp_path: Path) -> Iterator[SecureKafka]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    broker = SecureKafka(tmp_path, port)
    yield broker
    broker.close()


@pytest.fixture
def secure_world(kafka: SecureKafka, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name, value in kafka.environ.items():
        monkeypatch.setenv(name, value)
    kafka.admin().close()
    with ExitStack() as stack:
        yield World(Services(stack), stack)


def test_events_are_stored_and_a_wrong_password_is_told_and_waited_out(
    kafka: SecureKafka, secure_world: World
) -> None:
    world = secure_world
    worker = world.start(BROKER_PASSWORD=WRONG, LOG_LEVEL="DEBUG")

    def told() -> str:
        return json.dumps(worker.lines)

    eventually(lambda: "invalid credentials" in told(), "it does not say what is wrong")
    assert (worker.status("/ready"), worker.status("/health")) == (503, 200)
    kafka.change_password(WRONG)
    eventually(worker.ready, "it does not log in once its password is right")
    kafka.change_password(PASSWORD)
    eventually(
        lambda: worker.status("/ready") == 503, "it does not notice that its password was changed"
    )
    assert worker.status("/health") == 200
    producer = open_client(KafkaProducer, world.settings, acks="all")
    producer.send(world.settings.topic, key=b"k", value=json.dumps(world.event("1")).encode()).get(
        30
    )
    producer.close()
    kafka.change_password(WRONG)
    eventually(lambda: world.count() == 1, "the event is not stored")
    assert worker.end(signal.SIGTERM) == 0
    assert WRONG not in told()
    kafka.change_password(PASSWORD)
    assert world.redrive() == (0, "0 were put back, 0 cannot be.\n")
