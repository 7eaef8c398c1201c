"""files/kafka/state.sh: its requests to a broker, and its result for the responses."""

from __future__ import annotations

import os
import socketserver
import struct
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import CHART

SCRIPT = CHART / "files" / "kafka" / "state.sh"
DESCRIBE_QUORUM, METADATA = 55, 3
UNKNOWN = -1
# The request after the correlation id: no client id and its fields, as in Kafka's protocol guide.
REQUESTS = {
    DESCRIBE_QUORUM: b"\xff\xff\x00\x02\x13__cluster_metadata\x02\x00\x00\x00\x00\x00\x00\x00",
    METADATA: b"\xff\xff" + b"\xff\xff\xff\xff" + b"\x00",
}
# A partition: the brokers with a copy, and those in sync.
Partition = tuple[list[int], list[int]]


def text(value: str | None) -> bytes:
    """Return a string as in versions without tags."""
    return (
        struct.pack(">h", -1) if value is None else struct.pack(">h", len(value)) + value.encode()
    )


def integers(values: Sequence[int]) -> bytes:
    """Return an array of numbers."""
    return struct.pack(f">i{len(values)}i", len(values), *values)


def quorum(leader: int, error: int = 0, partition_error: int = 0) -> bytes:
    """Return a response to DescribeQuorum version 0."""
    name = b"\x13__cluster_metadata"
    partition = struct.pack(">ihiiq", 0, partition_error, leader, 7, 1234) + b"\x01\x01\x00"
    return b"\x00" + struct.pack(">h", error) + b"\x02" + name + b"\x02" + partition + b"\x00\x00"


def metadata(brokers: Sequence[int], topics: dict[str, list[Partition]]) -> bytes:
    """Return a response to Metadata version 5."""
    response = struct.pack(">ii", 0, len(brokers))
    for broker in brokers:
        response += (
            struct.pack(">i", broker) + text("localhost") + struct.pack(">i", 9095) + text(None)
        )
    response += text("cluster") + struct.pack(">ii", 0, len(topics))
    for name, partitions in topics.items():
        response += struct.pack(">h", 0) + text(name) + b"\x00" + struct.pack(">i", len(partitions))
        for index, (copies, insync) in enumerate(partitions):
            response += struct.pack(">hii", 0, index, insync[0] if insync else UNKNOWN)
            response += integers(copies) + integers(insync) + integers([])
    return response


@dataclass
class Broker:
    """A fake broker."""

    port: int
    quorum: threading.Semaphore
    """Released once for each request about the quorum."""


@contextmanager
def broker(responses: dict[int, bytes]) -> Iterator[Broker]:
    """Run a broker with these responses, by api key."""
    asked = threading.Semaphore(0)

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            (length,) = struct.unpack(">i", self.rfile.read(4))
            request = self.rfile.read(length)
            key, version, correlation = struct.unpack(">hhi", request[:8])
            assert (key, version) in {(DESCRIBE_QUORUM, 0), (METADATA, 5)}
            assert request[8:] == REQUESTS[key]
            response = struct.pack(">i", correlation) + responses.get(key, b"")
            self.wfile.write(struct.pack(">i", len(response)) + response)
            self.wfile.flush()
            if key == DESCRIBE_QUORUM:
                asked.release()
            # A broker does not close a connection after a response.
            self.rfile.read()

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()
        try:
            yield Broker(server.server_address[1], asked)
        finally:
            server.shutdown()


def environment(port: int, node: int = 1, **more: str) -> dict[str, str]:
    """Return the variables of a node's pod."""
    return {
        **os.environ,
        "POD_NAME": f"platform-kafka-{node}",
        "REPLICAS": "3",
        "LOCAL_PORT": str(port),
        **more,
    }


def state(
    port: int, *arguments: str, node: int = 1, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run the script as in the pod of a node."""
    argv = ["bash", str(SCRIPT), *arguments]
    return subprocess.run(
        argv,
        env=environment(port, node, **more),
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


@contextmanager
def waiting(port: int) -> Iterator[subprocess.Popen[str]]:
    """Run the script as the hook of a stopping broker, without a time limit."""
    script = SCRIPT.read_text()
    assert "sleep 1" in script
    argv = ["bash", "-c", script.replace("sleep 1", "sleep 0.05"), SCRIPT.name, "wait", "1000"]
    with subprocess.Popen(argv, env=environment(port), text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def ready(responses: dict[int, bytes], node: int = 1) -> tuple[int, str]:
    """Return exit status and output of the readiness probe."""
    with broker(responses) as fake:
        result = state(fake.port, "ready", node=node)
    return result.returncode, result.stdout


IN_SYNC: Partition = ([0, 1, 2], [2, 1, 0])


def test_a_broker_in_sync_with_a_leader_is_ready() -> None:
    topics = {"deployments": [IN_SYNC, IN_SYNC], "__consumer_offsets": [IN_SYNC] * 50}
    assert ready({DESCRIBE_QUORUM: quorum(2), METADATA: metadata([0, 1, 2], topics)}) == (0, "")


def test_a_cluster_without_topics_is_ready() -> None:
    assert ready({DESCRIBE_QUORUM: quorum(0), METADATA: metadata([0, 1, 2], {})}) == (0, "")


@pytest.mark.parametrize(
    ("response", "output"),
    [
        (quorum(-1), "the quorum has no leader\n"),
        (quorum(2, error=41), "the quorum does not answer\n"),
        (quorum(2, partition_error=6), "the quorum has no leader\n"),
        (b"", "the quorum does not answer\n"),
    ],
)
def test_without_a_leader_it_is_not_ready(response: bytes, output: str) -> None:
    assert ready({DESCRIBE_QUORUM: response, METADATA: metadata([0, 1, 2], {})}) == (1, output)


def test_a_broker_out_of_sync_is_not_ready() -> None:
    response = metadata([0, 1, 2], {"a": [IN_SYNC], "b": [IN_SYNC, ([1, 2, 0], [2, 0])]})
    assert ready({DESCRIBE_QUORUM: quorum(2), METADATA: response}) == (
        1,
        "broker 1 is not in sync with partition 1 of b\n",
    )


def test_a_broker_stays_ready_while_another_is_down() -> None:
    response = metadata([0, 1], {"a": [([0, 1, 2], [0, 1]), ([2], [])]})
    assert ready({DESCRIBE_QUORUM: quorum(0), METADATA: response}) == (0, "")


def test_a_broker_is_not_ready_until_the_cluster_knows_it() -> None:
    response = metadata([0, 2], {"a": [([0, 2], [0, 2])]})
    output = "the cluster does not know this broker yet\n"
    assert ready({DESCRIBE_QUORUM: quorum(0), METADATA: response}) == (1, output)


def test_a_response_that_is_cut_off_is_not_ready() -> None:
    response = metadata([0, 1, 2], {"a": [IN_SYNC]})[:-6]
    status, output = ready({DESCRIBE_QUORUM: quorum(0), METADATA: response})
    assert status == 1
    assert "the response about the cluster cannot be read" in output


def test_a_broker_without_a_port_is_not_ready() -> None:
    with broker({}) as fake:
        pass
    result = state(fake.port, "ready")
    assert (result.returncode, result.stdout) == (1, "the quorum does not answer\n")


def test_at_most_three_lines_are_printed() -> None:
    response = metadata([0, 1, 2], {"a": [([0, 1, 2], [0, 2])] * 40})
    status, output = ready({DESCRIBE_QUORUM: quorum(0), METADATA: response})
    assert (status, len(output.splitlines())) == (1, 3)


def test_it_does_not_wait_if_the_others_are_in_sync() -> None:
    # That this broker is out of sync does not matter: the others continue.
    response = metadata([0, 1, 2], {"a": [([0, 1, 2], [0, 2]), IN_SYNC]})
    with broker({DESCRIBE_QUORUM: quorum(0), METADATA: response}) as fake:
        result = state(fake.port, "wait", "1000")
    assert result.returncode == 0


@pytest.mark.parametrize(
    "responses",
    [
        {DESCRIBE_QUORUM: quorum(0), METADATA: metadata([0, 1, 2], {"a": [([0, 1, 2], [0, 1])]})},
        {DESCRIBE_QUORUM: quorum(0), METADATA: metadata([0, 1], {})},
        {DESCRIBE_QUORUM: quorum(-1), METADATA: metadata([0, 1, 2], {})},
    ],
    ids=["another broker is out of sync", "another broker is down", "no leader"],
)
def test_it_waits_while_the_others_are_not_in_sync(responses: dict[int, bytes]) -> None:
    with broker(responses) as fake, waiting(fake.port) as process:
        # A second request: it has waited after the first.
        for _ in range(2):
            assert fake.quorum.acquire(timeout=30)
        assert process.poll() is None


def test_it_stops_waiting_after_its_time(tmp_path: Path) -> None:
    output = tmp_path / "output"
    with broker({DESCRIBE_QUORUM: quorum(0), METADATA: metadata([0, 1], {})}) as fake:
        result = state(fake.port, "wait", "0", OUTPUT=str(output))
    assert result.returncode == 0
    assert output.read_text() == "kafka: stopping after 0 s although: 2 of 3 brokers are up\n"


def test_it_stops_waiting_once_the_others_are_back() -> None:
    responses = {DESCRIBE_QUORUM: quorum(0), METADATA: metadata([0, 1], {})}
    with broker(responses) as fake, waiting(fake.port) as process:
        assert fake.quorum.acquire(timeout=30)
        responses[METADATA] = metadata([0, 1, 2], {})
        assert process.wait(timeout=30) == 0


@pytest.mark.parametrize("arguments", [[], ["unready"]])
def test_wrong_arguments_print_the_usage(arguments: list[str]) -> None:
    result = state(1, *arguments)
    assert result.returncode == 2
    assert "usage: state.sh ready | wait SECONDS" in result.stderr
