"""The worker as a process against the real Kafka and database."""

import json
import os
import select as select_
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from async_worker import config
from async_worker.event import decode
from async_worker.settings import Settings
from async_worker.store import Store, database_engine, deployments
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from sqlalchemy import Engine, delete, func, select

pytestmark = pytest.mark.engine

SOURCES = Path(__file__).parents[2] / "src"
PATIENCE = 60


def eventually(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


class Forwarder:
    """A TCP port in front of another one that can be cut and joined again."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: list[socket.socket] = []
        self._cut = False
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self._cut = True
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def join(self) -> None:
        self._cut = False

    def close(self) -> None:
        self.cut()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self._cut:
                near.close()
                continue
            far = socket.create_connection(self._target)
            self._open += [near, far]
            threading.Thread(target=self._pump, args=(near, far), daemon=True).start()

    @staticmethod
    def _pump(near: socket.socket, far: socket.socket) -> None:
        with near, far, suppress(OSError):
            while True:
                ready, _, _ = select_.select([near, far], [], [])
                for source in ready:
                    data = source.recv(65536)
                    if not data:
                        return
                    (far if source is near else near).sendall(data)


class Worker:
    """A worker process; its log lines as they come."""

    def __init__(self, environ: dict[str, str]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = int(probe.getsockname()[1])
        self._url = f"http://127.0.0.1:{port}"
        self.lines: list[dict[str, Any]] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "async_worker"],
            env={**os.environ, **environ, "HEALTH_PORT": str(port), "PYTHONPATH": str(SOURCES)},
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(json.loads(line))

    def events(self) -> list[str]:
        return [line["event"] for line in self.lines]

    def status(self, path: str) -> int:
        try:
            with urllib.request.urlopen(self._url + path, timeout=10) as response:  # noqa: S310  our own server
                return int(response.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        except OSError:
            return 0

    def ready(self) -> bool:
        return self.status("/ready") == 200

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE)
        self._reader.join()
        assert self.process.stdout
        self.process.stdout.close()
        return code


class World:
    """A topic, a group and a component of their own on the real Kafka, and this component's rows in the real table."""

    def __init__(self, stack: ExitStack) -> None:
        name = uuid.uuid4().hex
        self._stack = stack
        self.component = f"test-{name}"
        self.environ = {
            "TOPIC": f"{name}.deployments",
            "DEAD_LETTER_TOPIC": f"{name}.dead-letter",
            "GROUP_ID": name,
            "BATCH_SIZE": "50",
            "HEARTBEAT_INTERVAL": "1",
        }
        self.settings = config.load(Settings, {**os.environ, **self.environ})
        self.engine: Engine = database_engine(self.settings)
        stack.callback(self.engine.dispose)
        Store(self.engine).prepare()
        stack.callback(self._delete_rows)
        self.servers = list(self.settings.broker_url)
        self.admin = KafkaAdminClient(bootstrap_servers=self.servers)
        stack.callback(self.admin.close)
        self.admin.create_topics(
            {
                self.settings.topic: {"num_partitions": 3, "replication_factor": 1},
                self.settings.dead_letter_topic: {"num_partitions": 1, "replication_factor": 1},
            },
            wait_for_metadata=True,
        )
        stack.callback(self.admin.delete_topics, [self.settings.topic, self.settings.dead_letter_topic])
        self.producer = KafkaProducer(bootstrap_servers=self.servers, acks="all")
        stack.callback(self.producer.close)

    def _delete_rows(self) -> None:
        with self.engine.begin() as connection:
            connection.execute(delete(deployments).where(deployments.c.component == self.component))

    def start(self, **changes: str) -> Worker:
        worker = Worker({**self.environ, **changes})

        def kill() -> None:
            if worker.process.returncode is None:
                worker.end(signal.SIGKILL)

        self._stack.callback(kill)
        return worker

    def event(self, version: str) -> dict[str, Any]:
        return {
            "id": str(uuid.uuid4()),
            "component": self.component,
            "version": version,
            "environment": "test",
            "responsible": "Zoë",
            "stage": "deploy",
            "status": "succeeded",
            "received_at": "2026-01-02T03:04:05.000678Z",
            "details": {"é": [1]},
        }

    def publish(self, *values: dict[str, Any] | bytes, keys: int = 1) -> None:
        for number, value in enumerate(values):
            body = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.producer.send(self.settings.topic, key=f"k{number % keys}".encode(), value=body)
        self.producer.flush(PATIENCE)

    def count(self) -> int:
        query = select(func.count()).where(deployments.c.component == self.component)
        with self.engine.connect() as connection:
            return int(connection.execute(query).scalar_one())

    def lag(self) -> int:
        """Return how many messages the group has not committed yet."""
        consumer = KafkaConsumer(
            bootstrap_servers=self.servers, group_id=self.settings.group_id, enable_auto_commit=False
        )
        partitions = [TopicPartition(self.settings.topic, number) for number in range(3)]
        ends = consumer.end_offsets(partitions)
        left = sum(ends[partition] - (consumer.committed(partition) or 0) for partition in partitions)
        consumer.close()
        return int(left)


@pytest.fixture
def world() -> Iterator[World]:
    with ExitStack() as stack:
        yield World(stack)


def test_events_are_stored_and_a_sigterm_leaves_nothing_uncommitted(world: World) -> None:
    worker = world.start()
    event = world.event("1.2.3")
    world.publish(event)
    eventually(lambda: world.count() == 1, "the event is not stored")
    eventually(worker.ready, "the worker is not ready")
    eventually(lambda: "heartbeat" in worker.events(), "no heartbeat came back")
    assert worker.status("/health") == 200
    assert worker.end(signal.SIGTERM) == 0
    assert world.lag() == 0
    with world.engine.connect() as connection:
        row = connection.execute(select(deployments).where(deployments.c.id == event["id"])).mappings().one()
    assert row["received_at"].isoformat() + "Z" == event["received_at"]
    assert {name: row[name] for name in event if name != "received_at"} == {
        name: value for name, value in event.items() if name != "received_at"
    }


def test_the_real_database_refuses_one_row_and_stores_the_others(world: World) -> None:
    rows = [decode(json.dumps(world.event(version)).encode()) for version in ("1", "2", "3")]
    rows[1]["version"] = "x" * 129
    store = Store(world.engine)
    store.add(rows[2:])
    ((refused, reason),) = store.add(rows)
    assert refused == rows[1]
    assert "Data too long" in reason
    assert world.count() == 2


def test_an_event_sent_twice_is_stored_once(world: World) -> None:
    event = world.event("1")
    world.publish(event, event, {**event, "version": "2"}, world.event("3"))
    world.start()
    eventually(lambda: world.count() == 2, "not exactly two rows")


def test_what_can_never_be_processed_is_put_aside_and_the_rest_goes_on(world: World) -> None:
    world.publish(b"{", world.event("1"), b"\xff", {**world.event("2"), "stage": "pray"}, world.event("3"))
    world.start()
    eventually(lambda: world.count() == 2, "the good events are not stored")
    consumer = KafkaConsumer(
        world.settings.dead_letter_topic, bootstrap_servers=world.servers, auto_offset_reset="earliest"
    )
    letters: list[Any] = []

    def all_read() -> bool:
        for records in consumer.poll(timeout_ms=500).values():
            letters.extend(records)
        return len(letters) >= 3

    eventually(all_read, "no dead letters")
    consumer.close()
    assert [letter.value for letter in letters][:2] == [b"{", b"\xff"]
    headers = [dict(letter.headers) for letter in letters]
    assert [header["origin-offset"] for header in headers] == [b"0", b"2", b"3"]
    assert b"stage must be one of" in headers[2]["reason"]


def test_a_worker_killed_midway_loses_nothing(world: World) -> None:
    total = 2000
    world.publish(*(world.event(str(number)) for number in range(total)), keys=9)
    worker = world.start()
    eventually(lambda: world.count() > 0, "nothing is stored")
    worker.end(signal.SIGKILL)
    assert world.count() < total, "it was killed too late to show anything"
    world.start()
    eventually(lambda: world.count() == total, "events are missing")


def test_a_database_that_goes_away_and_comes_back_loses_nothing(world: World) -> None:
    forwarder = Forwarder(world.settings.db_host, world.settings.db_port)
    worker = world.start(DB_HOST="127.0.0.1", DB_PORT=str(forwarder.port))
    world.publish(world.event("before"))
    eventually(lambda: world.count() == 1, "nothing is stored")
    eventually(worker.ready, "it is not ready")
    forwarder.cut()
    world.publish(*(world.event(str(number)) for number in range(200)), keys=9)
    eventually(lambda: worker.status("/ready") == 503, "it still says that it is ready")
    eventually(lambda: "still waiting" in worker.events(), "it does not wait")
    assert worker.status("/health") == 200
    assert world.count() == 1
    forwarder.join()
    eventually(lambda: world.count() == 201, "events are missing")
    eventually(worker.ready, "it is not ready again")
    assert worker.end(signal.SIGTERM) == 0
    assert world.lag() == 0
    forwarder.close()


def test_a_worker_starts_before_the_database(world: World) -> None:
    forwarder = Forwarder(world.settings.db_host, world.settings.db_port)
    forwarder.cut()
    worker = world.start(DB_HOST="127.0.0.1", DB_PORT=str(forwarder.port))
    world.publish(world.event("1"))
    eventually(lambda: "not connected yet, trying again" in worker.events(), "it does not wait")
    forwarder.join()
    eventually(lambda: world.count() == 1, "the event is not stored")
    forwarder.close()


def test_a_worker_told_to_stop_while_it_waits_ends_cleanly(world: World) -> None:
    worker = world.start(BROKER_URL="127.0.0.1:1")
    eventually(lambda: "not connected yet, trying again" in worker.events(), "it does not wait")
    assert worker.status("/health") == 200
    assert worker.status("/ready") == 503
    assert worker.end(signal.SIGTERM) == 0


def test_two_workers_share_and_one_takes_over(world: World) -> None:
    first, second = world.start(), world.start()
    eventually(lambda: first.ready() and second.ready(), "they have not both joined")
    world.publish(*(world.event(str(number)) for number in range(300)), keys=9)
    eventually(lambda: world.count() == 300, "events are missing")
    assert first.end(signal.SIGTERM) == 0
    world.publish(*(world.event(str(number)) for number in range(300)), keys=9)
    eventually(lambda: world.count() == 600, "events are missing after one has left")
    assert second.end(signal.SIGTERM) == 0


def test_workers_that_start_together_make_the_topics_once(world: World) -> None:
    topics = {"TOPIC": f"{uuid.uuid4()}", "DEAD_LETTER_TOPIC": f"{uuid.uuid4()}"}
    workers = [world.start(**topics) for _ in range(2)]
    eventually(lambda: all(worker.ready() for worker in workers), "they do not get ready")
    assert set(topics.values()) <= set(world.admin.list_topics())
    assert [worker.end(signal.SIGTERM) for worker in workers] == [0, 0]
    world.admin.delete_topics(list(topics.values()))
