"""A worker process with a Kafka that requires TLS and a login."""

import json
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from kafka import KafkaProducer
from ledger.broker_network import open_client
from live import Scenario, Services, eventually
from secure_kafka import PASSWORD, SecureKafka

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
def secure_scenario(kafka: SecureKafka, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scenario]:
    for name, value in kafka.environ.items():
        monkeypatch.setenv(name, value)
    kafka.admin().close()
    with ExitStack() as stack:
        yield Scenario(Services(stack), stack)


def test_a_wrong_password_is_logged_and_retried(
    kafka: SecureKafka, secure_scenario: Scenario
) -> None:
    scenario = secure_scenario
    worker = scenario.start(BROKER_PASSWORD=WRONG, LOG_LEVEL="DEBUG")

    def log_text() -> str:
        return json.dumps(worker.lines)

    eventually(lambda: "invalid credentials" in log_text(), "the log has no reason")
    assert (worker.status("/ready"), worker.status("/health")) == (503, 200)
    kafka.change_password(WRONG)
    eventually(worker.ready, "the worker does not log in with the right password")
    kafka.change_password(PASSWORD)
    eventually(
        lambda: worker.status("/ready") == 503, "the worker does not notice the changed password"
    )
    assert worker.status("/health") == 200
    producer = open_client(KafkaProducer, scenario.settings, acks="all")
    producer.send(
        scenario.settings.topic, key=b"k", value=json.dumps(scenario.event("1")).encode()
    ).get(30)
    producer.close()
    kafka.change_password(WRONG)
    eventually(lambda: scenario.count() == 1, "the event is not stored")
    assert worker.stop(signal.SIGTERM) == 0
    assert WRONG not in log_text()
    kafka.change_password(PASSWORD)
    assert scenario.redrive() == (0, "0 were put back, 0 cannot be.\n")
