"""files/kafka/state.sh: what a broker is asked, and what follows from its answers."""

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
# What follows the correlation id: no client id, and what is asked for, as Kafka's protocol guide has it.
REQUESTS = {
    DESCRIBE_QUORUM: b"\xff\xff\x00\x02\x13__cluster_metadata\x02\x00\x00\x00\x00\x00\x00\x00",
    METADATA: b"\xff\xff" + b"\xff\xff\xff\xff" + b"\x00",
}
# A partition: who keeps a copy, and whose copies are in sync.
Partition = tuple[list[int], list[int]]


def text(value: str | None) -> bytes:
    """A string as versions without tags have it."""
    return (
        struct.pack(">h", -1) if value is None else struct.pack(">h", len(value)) + value.encode()
    )


def integers(values: Sequence[int]) -> bytes:
    """An array of numbers."""
    return struct.pack(f">i{len(values)}i", len(values), *values)


def quorum(leader: int, error: int = 0, partition_error: int = 0) -> bytes:
    """An answer to DescribeQuorum version 0."""
    name = b"\x13__cluster_metadata"
    partition = struct.pack(">ihiiq", 0, partition_error, leader, 7, 1234) + b"\x01\x01\x00"
    return b"\x00" + struct.pack(">h", error) + b"\x02" + name + b"\x02" + partition + b"\x00\x00"


def metadata(brokers: Sequence[int], topics: dict[str, list[Partition]]) -> bytes:
    """An answer to Metadata version 5."""
    answer = struct.pack(">ii", 0, len(brokers))
    for broker in brokers:
        answer += (
            struct.pack(">i", broker) + text("localhost") + struct.pack(">i", 9095) + text(None)
        )
    answer += text("cluster") + struct.pack(">ii", 0, len(topics))
    for name, partitions in topics.items():
        answer += struct.pack(">h", 0) + text(name) + b"\x00" + struct.pack(">i", len(partitions))
        for index, (copies, insync) in enumerate(partitions):
            answer += struct.pack(">hii", 0, index, insync[0] if insync else UNKNOWN)
            answer += integers(copies) + integers(insync) + integers([])
    return answer


@dataclass
class Broker:
    """Where a broker listens, and how often it was asked about the quorum."""

    port: int
    quorum: threading.Semaphore


@contextmanager
def broker(answers: dict[int, bytes]) -> Iterator[Broker]:
    """A broker that gives these answers to what is asked of it."""
    asked = threading.Semaphore(0)

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            (length,) = struct.unpack(">i", self.rfile.read(4))
            request = self.rfile.read(length)
            key, version, correlation = struct.unpack(">hhi", request[:8])
            assert (key, version) in {(DESCRIBE_QUORUM, 0), (METADATA, 5)}
            assert request[8:] == REQUESTS[key]
            answer = struct.pack(">i", correlation) + answers.get(key, b"")
            self.wfile.write(struct.pack(">i", len(answer)) + answer)
            self.wfile.flush()
            if key == DESCRIBE_QUORUM:
                asked.release()
            # A broker does not close a connection after an answer.
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
    """What the pod of a node tells the script."""
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
    """Run the script as the pod of a node does."""
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
    """A broker that is to leave, with all the time in the world; stopped at the end."""
    script = SCRIPT.read_text()
    assert "sleep 1" in script
    argv = ["bash", "-c", script.replace("sleep 1", "sleep 0.05"), SCRIPT.name, "wait", "1000"]
    with subprocess.Popen(argv, env=environment(port), text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def ready(answers: dict[int, bytes], node: int = 1) -> tuple[int, str]:
    """Ask whether a node is ready; the exit status and what was said."""
    with broker(answers) as asked:
        result = state(asked.port, "ready", node=node)
    return result.returncode, result.stdout


IN_SYNC: Partition = ([0, 1, 2], [2, 1, 0])


def test_a_broker_in_sync_with_a_leader_is_ready() -> None:
    topics = {"deployments": [IN_SYNC, IN_SYNC], "__consumer_offsets": [IN_SYNC] * 50}
    assert ready({DESCRIBE_QUORUM: quorum(2), METADATA: metadata([0, 1, 2], topics)}) == (0, "")


def test_a_cluster_without_topics_is_ready() -> None:
    assert ready({DESCRIBE_QUORUM: quorum(0), METADATA: metadata([0, 1, 2], {})}) == (0, "")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (quorum(-1), "the quorum has no leader\n"),
        (quorum(2, error=41), "the quorum does not answer\n"),
        (quorum(2, partition_error=6), "the quorum has no leader\n"),
        (b"", "the quorum does not answer\n"),
    ],
)
def test_without_a_leader_it_is_not_ready(answer: bytes, said: str) -> None:
    assert ready({DESCRIBE_QUORUM: answer, METADATA: metadata([0, 1, 2], {})}) == (1, said)


def test_it_is_not_ready_while_it_is_out_of_sync() -> None:
    answer = metadata([0, 1, 2], {"a": [IN_SYNC], "b": [IN_SYNC, ([1, 2, 0], [2, 0])]})
    assert ready({DESCRIBE_QUORUM: quorum(2), METADATA: answer}) == (
        1,
        "broker 1 is not in sync with partition 1 of b\n",
    )


def test_it_stays_ready_while_another_one_is_away() -> None:
    answer = metadata([0, 1], {"a": [([0, 1, 2], [0, 1]), ([2], [])]})
    assert ready({DESCRIBE_QUORUM: quorum(0), METADATA: answer}) == (0, "")


def test_it_is_not_ready_before_the_cluster_counts_on_it() -> None:
    answer = metadata([0, 2], {"a": [([0, 2], [0, 2])]})
    said = "the cluster does not know this broker yet\n"
    assert ready({DESCRIBE_QUORUM: quorum(0), METADATA: answer}) == (1, said)


def test_an_answer_cut_short_is_not_ready() -> None:
    answer = metadata([0, 1, 2], {"a": [IN_SYNC]})[:-6]
    status, said = ready({DESCRIBE_QUORUM: quorum(0), METADATA: answer})
    assert status == 1
    assert "the response about the cluster cannot be read" in said


def test_a_broker_that_listens_to_nobody_is_not_ready() -> None:
    with broker({}) as asked:
        pass
    result = state(asked.port, "ready")
    assert (result.returncode, result.stdout) == (1, "the quorum does not answer\n")


def test_many_partitions_out_of_sync_are_not_all_named() -> None:
    answer = metadata([0, 1, 2], {"a": [([0, 1, 2], [0, 2])] * 40})
    status, said = ready({DESCRIBE_QUORUM: quorum(0), METADATA: answer})
    assert (status, len(said.splitlines())) == (1, 3)


def test_it_leaves_at_once_when_the_others_are_in_sync() -> None:
    # What it lacks itself keeps nobody: it is the others that have to carry on.
    answer = metadata([0, 1, 2], {"a": [([0, 1, 2], [0, 2]), IN_SYNC]})
    with broker({DESCRIBE_QUORUM: quorum(0), METADATA: answer}) as asked:
        result = state(asked.port, "wait", "1000")
    assert result.returncode == 0


@pytest.mark.parametrize(
    "answers",
    [
        {DESCRIBE_QUORUM: quorum(0), METADATA: metadata([0, 1, 2], {"a": [([0, 1, 2], [0, 1])]})},
        {DESCRIBE_QUORUM: quorum(0), METADATA: metadata([0, 1], {})},
        {DESCRIBE_QUORUM: quorum(-1), METADATA: metadata([0, 1, 2], {})},
    ],
    ids=["another one is out of sync", "another one is away", "there is no leader"],
)
def test_it_waits_while_the_others_are_not_in_sync(answers: dict[int, bytes]) -> None:
    with broker(answers) as asked, waiting(asked.port) as process:
        # It has looked twice, so it waited in between.
        for _ in range(2):
            assert asked.quorum.acquire(timeout=30)
        assert process.poll() is None


def test_it_leaves_when_its_time_is_up(tmp_path: Path) -> None:
    output = tmp_path / "output"
    with broker({DESCRIBE_QUORUM: quorum(0), METADATA: metadata([0, 1], {})}) as asked:
        result = state(asked.port, "wait", "0", OUTPUT=str(output))
    assert result.returncode == 0
    assert output.read_text() == "kafka: stopping after 0 s although: 2 of 3 brokers are up\n"


def test_it_leaves_once_the_others_are_back() -> None:
    answers = {DESCRIBE_QUORUM: quorum(0), METADATA: metadata([0, 1], {})}
    with broker(answers) as asked, waiting(asked.port) as process:
        assert asked.quorum.acquire(timeout=30)
        answers[METADATA] = metadata([0, 1, 2], {})
        assert process.wait(timeout=30) == 0


@pytest.mark.parametrize("arguments", [[], ["unready"]])
def test_it_says_how_it_is_called(arguments: list[str]) -> None:
    result = state(1, *arguments)
    assert result.returncode == 2
    assert "usage: state.sh ready | wait SECONDS" in result.stderr
