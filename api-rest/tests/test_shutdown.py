"""Two instances that stop in turn, and clients that leave an instance that is not ready."""

import http.client
import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROUNDS = int(os.environ.get("SHUTDOWN_ROUNDS", "6"))
CLIENTS = 16
LIMIT = 30
HERE = Path(__file__).parent


class Instance:
    """A process that serves, and the port it serves at."""

    def __init__(self, port: int) -> None:
        self.port = port
        environ = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)}
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "served.py"), str(port)], env=environ
        )
        deadline = time.monotonic() + LIMIT
        while not self.listens():
            assert time.monotonic() < deadline, "it does not start"
            time.sleep(0.02)

    def listens(self) -> bool:
        with socket.socket() as connection:
            return connection.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(LIMIT)


class Client(threading.Thread):
    """Posts without a pause, on a connection that it keeps if it may; nothing is sent twice."""

    def __init__(self, ports: list[int], stopping: set[int]) -> None:
        super().__init__(daemon=True)
        self.ports = itertools.cycle(ports)
        # Where no new connections go, as a balancer leaves an instance that is not ready.
        self.stopping = stopping
        self.finish = threading.Event()
        self.answered = 0
        self.failures: list[str] = []

    def run(self) -> None:
        connection = self._connect()
        while not self.finish.is_set():
            body = str(self.answered)
            try:
                connection.request("POST", "/x", body)
                answer = connection.getresponse()
                if (answer.status, answer.read()) != (200, body.encode()):
                    self.failures.append(f"status {answer.status}")
                self.answered += 1
                goes = answer.will_close
            except OSError as error:
                self.failures.append(repr(error))
                goes = True
            except http.client.HTTPException as error:
                self.failures.append(repr(error))
                goes = True
            if goes:
                connection.close()
                connection = self._connect()
        connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        for port in self.ports:
            if port in self.stopping:
                continue
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT)
            try:
                connection.connect()
            except ConnectionRefusedError:
                time.sleep(0.001)
                continue
            return connection
        raise AssertionError("the ports come in a circle")


@pytest.fixture
def ports() -> list[int]:
    found = []
    for _ in range(2):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            found.append(int(probe.getsockname()[1]))
    return found


@pytest.fixture
def stopping() -> set[int]:
    return set()


@pytest.fixture
def clients(ports: list[int], stopping: set[int]) -> Iterator[list[Client]]:
    clients = [Client(ports, stopping) for _ in range(CLIENTS)]
    yield clients
    for client in clients:
        client.finish.set()
        if client.ident:
            client.join(LIMIT)


def test_no_request_fails_while_instances_are_stopped_one_after_another(
    ports: list[int], clients: list[Client], stopping: set[int]
) -> None:
    instances = [Instance(port) for port in ports]
    try:
        for client in clients:
            client.start()
        for turn in range(ROUNDS):
            before = sum(client.answered for client in clients)
            deadline = time.monotonic() + LIMIT
            while sum(client.answered for client in clients) < before + 2 * CLIENTS:
                assert time.monotonic() < deadline, "the clients get no answers"
                time.sleep(0.005)
            port = ports[turn % 2]
            stopping.add(port)
            assert instances[turn % 2].stop() == 0
            assert [failure for client in clients for failure in client.failures] == [], (
                f"in round {turn}"
            )
            instances[turn % 2] = Instance(port)
            stopping.remove(port)
    finally:
        for client in clients:
            client.finish.set()
        for client in clients:
            client.join(LIMIT)
        for instance in instances:
            instance.process.kill()
            instance.process.wait(LIMIT)
    assert [failure for client in clients for failure in client.failures] == []
