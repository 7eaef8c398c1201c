"""Worker processes, with the real Kafka and database."""

import io
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
from collections.abc import Callable
from contextlib import ExitStack, redirect_stderr, redirect_stdout, suppress
from datetime import datetime
from typing import Any

from async_worker.__main__ import main
from async_worker.event import KIND, KIND_HEARTBEAT
from async_worker.settings import Settings
from async_worker.store import Store, database_engine
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import InvalidReplicationFactorError
from ledger.broker_network import open_client
from ledger.tables import deployments, notifications
from sqlalchemy import Engine, delete, func, select

from ledger import config

TIMEOUT = 120
# A worker with short waits. `changes` are more lines of Python that run first.
PROGRAM = """
import sys
from datetime import timedelta
from async_worker import __main__, broker, event, health, notifier, service, worker

service.RETRY_AFTER = 0.1
broker.BOOTSTRAP_TIMEOUT_MS = 1_000
broker.HEARTBEAT_INTERVAL_MS = 200  # how fast a member notices a change of its group
worker.POLL_TIMEOUT = 0.1
worker.BACKOFF_MAX = 0.5
{changes}
sys.exit(__main__.main([]))
"""


def eventually(condition: Callable[[], object], problem: str) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, problem
        time.sleep(0.02)


class Forwarder:
    """A TCP proxy whose connections can be interrupted."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: list[socket.socket] = []
        self._interrupted = False
        threading.Thread(target=self._accept, daemon=True).start()

    def interrupt(self) -> None:
        self._interrupted = True
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def restore(self) -> None:
        self._interrupted = False

    def close(self) -> None:
        self.interrupt()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self._interrupted:
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
    """A worker process and its log lines."""

    def __init__(self, environ: dict[str, str], changes: str = "") -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = int(probe.getsockname()[1])
        self._url = f"http://127.0.0.1:{port}"
        self.lines: list[dict[str, Any]] = []
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM.replace("{changes}", changes)],
            env={
                **os.environ,
                **environ,
                "MANAGEMENT_PORT": str(port),
                "PYTHONPATH": os.pathsep.join(sys.path),
            },
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
            url = self._url + path
            with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310  our server
                return int(response.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        except OSError:
            return 0

    def ready(self) -> bool:
        return self.status("/ready") == 200

    def metric(self, line: str) -> float:
        """Return the value of a line of /metrics, or 0 when it is missing."""
        with (
            suppress(OSError),
            urllib.request.urlopen(self._url + "/metrics", timeout=10) as response,  # noqa: S310
        ):
            for text in response.read().decode().splitlines():
                name, _, value = text.rpartition(" ")
                if name == line:
                    return float(value)
        return 0.0

    def stop(self, number: signal.Signals) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(TIMEOUT)
        self._reader.join()
        assert self.process.stdout
        self.process.stdout.close()
        return code


class Services:
    """Clients of the real Kafka and database."""

    def __init__(self, stack: ExitStack) -> None:
        """Connect to the services that the environment names."""
        self.settings = config.load(Settings, os.environ)
        self.engine: Engine = database_engine(self.settings)
        stack.callback(self.engine.dispose)
        Store(self.engine).prepare()
        self.admin = open_client(KafkaAdminClient, self.settings)
        stack.callback(self.admin.close)
        self.topics: list[str] = []
        self.producer = open_client(
            KafkaProducer, self.settings, acks="all", max_request_size=2_000_000
        )
        stack.callback(self.producer.close)


class Scenario:
    """The topics, the consumer group and the component of one test."""

    def __init__(self, services: Services, stack: ExitStack) -> None:
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
        self.engine, self.admin, self.producer = services.engine, services.admin, services.producer
        stack.callback(self._delete_rows)
        eventually(self._topics_are_made, "Kafka made no topics")
        self.topics = services.topics
        self.topics += [self.settings.topic, self.settings.dead_letter_topic]

    def _topics_are_made(self) -> bool:
        try:
            self.admin.create_topics(
                {
                    self.settings.topic: {"num_partitions": 3, "replication_factor": 1},
                    self.settings.dead_letter_topic: {"num_partitions": 1, "replication_factor": 1},
                },
                wait_for_metadata=True,
            )
        except InvalidReplicationFactorError:  # a broker that was frozen has to report first
            return False
        return True

    def _delete_rows(self) -> None:
        with self.engine.begin() as connection:
            ids = select(deployments.c.id).where(deployments.c.component == self.component)
            connection.execute(delete(notifications).where(notifications.c.deployment_id.in_(ids)))
            connection.execute(delete(deployments).where(deployments.c.component == self.component))

    def start(self, changes: str = "", **settings: str) -> Worker:
        """Start a worker with some settings and lines of Python of its own."""
        worker = Worker({**self.environ, **settings}, changes)

        def kill() -> None:
            if worker.process.returncode is None:
                worker.stop(signal.SIGKILL)
            print(*worker.lines, sep="\n")

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
        self.producer.flush(TIMEOUT)

    def letters(self, count: int, topic: str | None = None) -> list[Any]:
        """Wait for that many dead letters and return all."""
        consumer = open_client(KafkaConsumer, self.settings, auto_offset_reset="earliest")
        # subscribe() may get no partitions for as long as the metadata is valid.
        consumer.assign([TopicPartition(topic or self.settings.dead_letter_topic, 0)])
        letters: list[Any] = []

        def all_read() -> bool:
            for records in consumer.poll(timeout_ms=500).values():
                letters.extend(records)
            return len(letters) >= count

        try:
            eventually(all_read, f"fewer than {count} dead letters")
        finally:
            consumer.close()
        return letters

    def redrive(self, *arguments: str) -> tuple[int, str]:
        """Run the command in this process; return its exit code and its output."""
        with redirect_stdout(io.StringIO()) as printed, redirect_stderr(io.StringIO()) as errors:
            code = main(["redrive", *arguments], {**os.environ, **self.environ})
        assert "Traceback" not in errors.getvalue()
        return code, printed.getvalue()

    def versions(self) -> list[str]:
        query = select(deployments.c.version).where(deployments.c.component == self.component)
        with self.engine.connect() as connection:
            return sorted(connection.execute(query).scalars())

    def ids(self, *, received_at: str) -> list[str]:
        """Return the ids of the rows with this time."""
        at = datetime.fromisoformat(received_at).replace(tzinfo=None)
        conditions = (deployments.c.component == self.component, deployments.c.received_at == at)
        with self.engine.connect() as connection:
            return list(connection.execute(select(deployments.c.id).where(*conditions)).scalars())

    def count(self) -> int:
        query = select(func.count()).where(deployments.c.component == self.component)
        with self.engine.connect() as connection:
            return int(connection.execute(query).scalar_one())

    def message_count(self) -> int:
        """Return how many messages the topic has had."""
        consumer = open_client(KafkaConsumer, self.settings)
        ends = consumer.end_offsets(
            [TopicPartition(self.settings.topic, number) for number in range(3)]
        )
        consumer.close()
        return int(sum(ends.values()))

    def lag(self) -> int:
        """Return how many events are not committed, without the heartbeats of stopped workers."""
        consumer = open_client(
            KafkaConsumer, self.settings, group_id=self.settings.group_id, enable_auto_commit=False
        )
        partitions = [TopicPartition(self.settings.topic, number) for number in range(3)]
        ends = consumer.end_offsets(partitions)
        consumer.assign(partitions)
        for partition in partitions:
            consumer.seek(partition, consumer.committed(partition) or 0)
        events = 0

        def all_read() -> bool:
            nonlocal events
            for records in consumer.poll(timeout_ms=500).values():
                events += sum((KIND, KIND_HEARTBEAT) not in record.headers for record in records)
            return all(consumer.position(partition) >= ends[partition] for partition in partitions)

        try:
            eventually(all_read, "the topic is not read to its end")
        finally:
            consumer.close()
        return events
