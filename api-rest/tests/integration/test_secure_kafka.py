"""The app as a process against a Kafka that is encrypted and wants a login."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from api_rest.settings import Settings
from kafka import KafkaConsumer, TopicPartition
from kafka.admin import ACL, ACLOperation, ACLPermissionType, ResourcePattern, ResourceType
from ledger.broker_network import open_client
from secure_kafka import PASSWORD, USERNAME, SecureKafka

from ledger import config

TIMEOUT = 120
WRONG = "another password"
LEDGER = f"User:{USERNAME}"
TOKEN = "the-token-of-this-test"
WRITES = {"Authorization": f"Bearer {TOKEN}"}

pytestmark = pytest.mark.engine


def eventually(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    broker = SecureKafka(tmp_path_factory.mktemp("secure"), free_port())
    yield broker
    broker.close()


class Api:
    """The app as a process."""

    def __init__(self, environ: dict[str, str], log: Path) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._log = log
        self._file = log.open("wb")
        variables = {
            "HTTP_HOST": "127.0.0.1",
            "HTTP_PORT": str(port),
            "MANAGEMENT_PORT": str(free_port()),
            "LOG_LEVEL": "DEBUG",
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        command = [sys.executable, "-m", "api_rest"]
        environ = {**os.environ, **environ, **variables}
        self._process = subprocess.Popen(command, env=environ, stdout=self._file, stderr=self._file)

    def ready(self, token: str = "") -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        with contextlib.suppress(requests.ConnectionError):
            answer = requests.get(f"{self.url}/ready", headers=headers, timeout=10)
            return answer.status_code, answer.json()
        return 0, {}

    def has_kafka(self) -> bool:
        with contextlib.suppress(requests.ConnectionError):
            metrics = requests.get(f"{self.url}/metrics", timeout=10).text
            return 'api_rest_backend_up{backend="kafka"} 1.0' in metrics
        return False

    def output(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def end(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(TIMEOUT)
        self._file.close()
        return code


@pytest.fixture
def start(kafka: SecureKafka, tmp_path: Path) -> Iterator[Callable[..., Api]]:
    with contextlib.ExitStack() as stack:

        def start(**changes: str) -> Api:
            api = Api({**kafka.environ, **changes}, tmp_path / "log")
            stack.callback(lambda: api._process.returncode is None and api.end())
            return api

        yield start


def read(kafka: SecureKafka, topic: str) -> list[Any]:
    settings = config.load(Settings, {**os.environ, **kafka.environ})
    consumer = open_client(KafkaConsumer, settings, auto_offset_reset="earliest")
    consumer.assign([TopicPartition(topic, 0)])
    found: list[Any] = []

    def some() -> bool:
        for records in consumer.poll(timeout_ms=500).values():
            found.extend(json.loads(record.value) for record in records)
        return bool(found)

    try:
        eventually(some, "nothing is on the topic")
    finally:
        consumer.close()
    return found


def test_events_go_out_and_a_wrong_password_is_told_and_waited_out(
    kafka: SecureKafka, start: Callable[..., Api], deployment: dict[str, Any], tmp_path: Path
) -> None:
    admin = kafka.admin()
    admin.create_topics(
        {"secured": {"num_partitions": 1, "replication_factor": 1}}, wait_for_metadata=True
    )
    admin.close()
    tokens = tmp_path / "tokens"
    tokens.write_text(f"test write {TOKEN}\n")
    api = start(TOPIC="secured", BROKER_PASSWORD=WRONG, TOKENS_FILE=str(tokens))
    eventually(
        lambda: "invalid credentials" in str(api.ready(TOKEN)), "it does not say what is wrong"
    )
    assert api.ready()[0] == 503
    for without in ("", "no-token-of-this-test"):
        assert "Kafka does not answer" in api.ready(without)[1]["reasons"]
        assert "invalid credentials" not in str(api.ready(without))
        assert "localhost" not in str(api.ready(without))
    refused = requests.post(f"{api.url}/deployments", json=deployment, headers=WRITES, timeout=30)
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
    kafka.change_password(WRONG)
    eventually(api.has_kafka, "it does not log in once its password is right")
    accepted = requests.post(f"{api.url}/deployments", json=deployment, headers=WRITES, timeout=30)
    assert accepted.status_code == 202, accepted.text
    kafka.change_password(PASSWORD)
    eventually(
        lambda: "invalid credentials" in str(api.ready(TOKEN)),
        "it does not notice that its password was changed",
    )
    assert api.end() == 0
    assert "invalid credentials" in api.output()
    assert WRONG not in api.output()
    assert [event["id"] for event in read(kafka, "secured")] == [accepted.json()["id"]]


def test_an_event_that_kafka_refuses_fails_alone(
    kafka: SecureKafka, start: Callable[..., Api], deployment: dict[str, Any]
) -> None:
    small_events = {"max.message.bytes": "4000"}
    with contextlib.closing(kafka.admin()) as admin:
        admin.create_topics(
            {"small": {"num_partitions": 1, "replication_factor": 1, "configs": small_events}},
            wait_for_metadata=True,
        )
    api = start(TOPIC="small")
    eventually(api.has_kafka, "Kafka counts as away")

    def post(size: int) -> requests.Response:
        event = {**deployment, "details": {"text": "x" * size}}
        return requests.post(f"{api.url}/deployments", json=event, timeout=30)

    # Sent together: Kafka refuses the batches that are too large as a whole.
    sizes = [10, 8000, 1500] * 8
    with ThreadPoolExecutor(len(sizes)) as pool:
        answers = list(pool.map(post, sizes))
    expected = [413 if size == 8000 else 202 for size in sizes]
    assert [answer.status_code for answer in answers] == expected

    with contextlib.closing(kafka.admin()) as admin:
        topic = ResourcePattern(ResourceType.TOPIC, "small")
        only_reading = ACL(LEDGER, "*", ACLOperation.DESCRIBE, ACLPermissionType.ALLOW, topic)
        admin.create_acls([only_reading])
        eventually(lambda: post(10).status_code == 503, "the ACL has no effect")
        with ThreadPoolExecutor(len(sizes)) as pool:
            refused = list(pool.map(post, [10] * len(sizes)))
        assert {answer.json()["error"]["code"] for answer in refused} == {"refused-by-kafka"}
        assert "may not write to Kafka's topic small" in refused[0].text
        assert "localhost" not in refused[0].text
        assert api.has_kafka()
        admin.delete_acls([only_reading])
    eventually(lambda: post(10).status_code == 202, "it does not go on")
    assert "TopicAuthorizationFailedError" in api.output()


def test_a_group_that_may_not_be_described_is_no_reason_not_to_serve(
    kafka: SecureKafka, start: Callable[..., Api]
) -> None:
    with contextlib.closing(kafka.admin()) as admin:
        admin.create_topics(
            {"guarded": {"num_partitions": 1, "replication_factor": 1}}, wait_for_metadata=True
        )
        group = ResourcePattern(ResourceType.GROUP, "not-ours")
        admin.create_acls(
            [ACL("User:nobody", "*", ACLOperation.ALL, ACLPermissionType.ALLOW, group)]
        )
    api = start(TOPIC="guarded", WORKER_GROUP="not-ours")
    eventually(lambda: "not known how far events are stored" in api.output(), "it does not say so")
    assert "GroupAuthorizationFailedError" in api.output()
    # The check that said it has yet to end.
    eventually(api.has_kafka, "Kafka counts as away")
    metrics = requests.get(f"{api.url}/metrics", timeout=10).text
    assert "api_rest_store_delay_seconds NaN" in metrics
