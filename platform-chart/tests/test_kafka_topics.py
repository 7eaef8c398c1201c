"""files/kafka/topics.sh: which of Kafka's commands it runs; and the Job that runs it."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest
from support import CHART, Document, find, names, of_kind, pod, pod_annotations, render

SCRIPT = CHART / "files" / "kafka" / "topics.sh"
# Replaces a command of Kafka: logs its arguments, and describes what the test has set.
COMMAND = """#!/bin/bash
echo "$(basename "$0" .sh) $*" >>"$HOME/commands"
[[ $* != *--describe* ]] || cat "$HOME/$(basename "$0" .sh)"
[[ $* != *--create* ]] || cp "$HOME/created" "$HOME/kafka-topics"
"""
DEFAULT = "  min.insync.replicas=1 sensitive=false synonyms={}\n"
CREATE_DEPLOYMENTS = (
    "kafka-topics --create --if-not-exists --topic deployments"
    " --partitions 3 --replication-factor 1"
)
ALTER_TOPIC = "kafka-configs --alter --entity-type topics --entity-name deployments --add-config"
ALTER_BROKERS = "kafka-configs --alter --entity-type brokers --entity-default --add-config"


def topic(name: str = "deployments", partitions: int = 3, config: str = "") -> str:
    """Return a line of `kafka-topics.sh --describe`."""
    return (
        f"Topic: {name}\tTopicId: x\tPartitionCount: {partitions}\tReplicationFactor: 1\t"
        f"Configs: min.insync.replicas=1{config}\n"
    )


class Cluster:
    """A Kafka that consists of its commands."""

    def __init__(self, home: Path) -> None:
        self.home = home
        (home / "bin").mkdir()
        for name in ("kafka-topics", "kafka-configs"):
            command = home / "bin" / f"{name}.sh"
            command.write_text(COMMAND)
            command.chmod(0o755)
        self.script = home / "topics.sh"
        text = SCRIPT.read_text()
        folders = {"/opt/kafka/bin": "bin", "/run/kafka": "", "/etc/kafka/chart": ""}
        for original, folder in folders.items():
            assert original in text
            text = text.replace(original, str(home / folder))
        self.script.write_text(text)

    def run(self, requested: str, existing: str = "", created: str = "", **variables: str) -> str:
        """Run the script, with a port that accepts connections; return its output."""
        contents = {"topics": requested, "kafka-topics": existing, "created": created}
        for name, content in {**contents, "kafka-configs": DEFAULT}.items():
            (self.home / name).write_text(content)
        with socket.create_server(("127.0.0.1", 0)) as server:
            result = self.start(server.getsockname()[1], **variables)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def start(self, port: int, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "BOOTSTRAP": f"127.0.0.1:{port}",
            "WAIT": "60",
            "PROTOCOL": "PLAINTEXT",
            "HOME": str(self.home),
            **variables,
        }
        argv = ["bash", str(self.script)]
        return subprocess.run(
            argv, env=environment, capture_output=True, text=True, check=False, timeout=60
        )

    @property
    def changes(self) -> list[str]:
        """The commands that change something, without the options of the connection."""
        lines = (self.home / "commands").read_text().splitlines()
        words = [line.split() for line in lines if "--describe" not in line]
        assert all(line[1::2][:2] == ["--bootstrap-server", "--command-config"] for line in words)
        return [" ".join([line[0], *line[5:]]) for line in words]


@pytest.fixture(name="cluster")
def _cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


KEEP = "topic deployments 3 1\nset deployments retention.ms=-1\n"


@pytest.mark.parametrize(
    ("requested", "existing", "created", "changes"),
    [
        pytest.param(f"minimum 1\n{KEEP}", topic(config=",retention.ms=-1"), "", [], id="same"),
        pytest.param(
            KEEP,
            "",
            topic(config=",retention.ms=-1"),
            [f"{CREATE_DEPLOYMENTS} --config retention.ms=-1"],
            id="a missing topic",
        ),
        pytest.param(
            KEEP,
            "",
            topic(partitions=1),
            [
                f"{CREATE_DEPLOYMENTS} --config retention.ms=-1",
                "kafka-topics --alter --topic deployments --partitions 3",
                f"{ALTER_TOPIC} retention.ms=[-1]",
            ],
            id="a topic that the worker created meanwhile",
        ),
        pytest.param(
            "topic deployments 3 1\n",
            topic("deployments.dead-letter"),
            topic("deployments.dead-letter") + topic(),
            [CREATE_DEPLOYMENTS],
            id="a topic whose name begins with the same letters",
        ),
        pytest.param(
            "topic deployments 6 1\n",
            topic(),
            "",
            ["kafka-topics --alter --topic deployments --partitions 6"],
            id="more partitions",
        ),
        pytest.param(
            KEEP,
            topic(config=",retention.ms=-10"),
            "",
            [f"{ALTER_TOPIC} retention.ms=[-1]"],
            id="another value",
        ),
        pytest.param(
            "minimum 2\n",
            "",
            "",
            [f"{ALTER_BROKERS} min.insync.replicas=2"],
            id="another minimum of all brokers",
        ),
    ],
)
def test_the_script_changes_what_differs(
    cluster: Cluster, requested: str, existing: str, created: str, changes: list[str]
) -> None:
    output = cluster.run(requested, existing, created)
    assert cluster.changes == changes
    assert output.endswith("topics: up to date\n")


@pytest.mark.parametrize(
    ("requested", "report"),
    [
        ("topic deployments 2 1\n", "deployments keeps 3 partitions, 2 requested"),
        ("topic deployments 3 3\n", "deployments keeps 1 copies, 3 requested"),
    ],
)
def test_it_only_reports_what_kafka_cannot_change(
    cluster: Cluster, requested: str, report: str
) -> None:
    assert report in cluster.run(requested, topic())
    assert cluster.changes == []


def test_it_logs_in_as_a_broker(cluster: Cluster) -> None:
    cluster.run("", PROTOCOL="SASL_SSL", BROKER_PASSWORD="secret")
    properties = (cluster.home / "client.properties").read_text()
    assert "security.protocol=SASL_SSL" in properties
    assert 'ScramLoginModule required username="broker" password="secret";' in properties
    assert "ssl.truststore.location=/etc/platform/kafka/ca.crt" in properties
    assert (cluster.home / "client.properties").stat().st_mode & 0o077 == 0


def test_without_brokers_it_fails_after_its_time(cluster: Cluster) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    result = cluster.start(port, WAIT="0")
    assert result.returncode == 1
    assert f"no broker answers at 127.0.0.1:{port}" in result.stderr


# The Job.


def file(values: str = "") -> list[str]:
    documents = render(f"kafka: {{{values}}}")
    topics: str = find(documents, "ConfigMap", "platform-kafka-topics")["data"]["topics"]
    return topics.splitlines()


def test_the_default_topics_are_those_of_the_apps() -> None:
    assert file() == [
        "minimum 1",
        "topic deployments 3 1",
        "topic deployments.dead-letter 1 1",
        "set deployments.dead-letter max.message.bytes=2097152",
        "set deployments.dead-letter retention.ms=-1",
    ]


def test_a_topic_may_have_its_own_copies_and_large_numbers() -> None:
    big = "{partitions: 1, replicationFactor: 3, config: {retention.bytes: '10000000000'}}"
    lines = file(f"replicas: 3, topics: {{big: {big}}}")
    assert "topic big 1 3" in lines
    assert "set big retention.bytes=10000000000" in lines


def jobs(documents: list[Document]) -> list[Document]:
    return [job for job in of_kind(documents, "Job") if "topics" in job["metadata"]["name"]]


@pytest.mark.parametrize(
    ("values", "is_new"),
    [
        ("topics: {deployments: {partitions: 6}}", True),
        ("topics: {more: {partitions: 1}}", True),
        (f"image: {{digest: 'sha256:{'0' * 64}'}}", True),
        ("auth: {enabled: true}", True),
        ("topicsJob: {resources: {limits: {memory: 256Mi}}}", True),
        ("config: {num.io.threads: '4'}", False),
        ("resources: {limits: {memory: 2Gi}}", False),
    ],
)
def test_a_changed_pod_needs_a_new_job(values: str, *, is_new: bool) -> None:
    (before,), (after,) = jobs(render()), jobs(render(f"kafka: {{{values}}}"))
    assert (before["metadata"]["name"] != after["metadata"]["name"]) == is_new


def test_an_install_does_not_wait_for_the_job_and_the_job_stays() -> None:
    (job,) = jobs(render())
    annotations = job["metadata"].get("annotations", {})
    assert not [key for key in annotations if key.startswith("helm.sh/hook")]
    assert "ttlSecondsAfterFinished" not in job["spec"]
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "OnFailure"


def test_topics_do_not_restart_brokers() -> None:
    before, after = render(), render("kafka: {topics: {deployments: {partitions: 6}}}")
    assert pod_annotations(after, "platform-kafka") == pod_annotations(before, "platform-kafka")
    assert pod(after, "platform-kafka") == pod(before, "platform-kafka")


def test_without_topics_there_is_no_job() -> None:
    documents = render("kafka: {topics: {deployments: null, deployments.dead-letter: null}}")
    assert not [name for name in names(documents, "Job") if "topics" in name]
