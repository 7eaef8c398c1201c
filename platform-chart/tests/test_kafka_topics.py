"""files/kafka/topics.sh: which of Kafka's commands it gives, beside what is there already; and the Job that runs it."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest
from support import CHART, find, names, of_kind, pod, pod_annotations, render

SCRIPT = CHART / "files" / "kafka" / "topics.sh"
# Stands in for a command of Kafka's: notes what it is given, and describes what the test says is there.
COMMAND = """#!/bin/bash
echo "$(basename "$0" .sh) $*" >>"$HOME/commands"
[[ $* != *--describe* ]] || cat "$HOME/$(basename "$0" .sh)"
[[ $* != *--create* ]] || cp "$HOME/created" "$HOME/kafka-topics"
"""
DEPLOYMENTS = "Topic: deployments\tTopicId: x\tPartitionCount: 3\tReplicationFactor: 1\tConfigs: min.insync.replicas=1"
DEFAULT = "  min.insync.replicas=1 sensitive=false synonyms={}\n"


class Cluster:
    """A Kafka of which only the commands are there."""

    def __init__(self, home: Path) -> None:
        self.home = home
        for name in ("kafka-topics", "kafka-configs"):
            (home / "bin").mkdir(exist_ok=True)
            command = home / "bin" / f"{name}.sh"
            command.write_text(COMMAND)
            command.chmod(0o755)
        self.script = home / "topics.sh"
        text = SCRIPT.read_text()
        for inside, here in {
            "/opt/kafka/bin": "bin",
            "/run/kafka": "",
            "/etc/kafka/chart": "",
        }.items():
            assert inside in text
            text = text.replace(inside, str(home / here))
        self.script.write_text(text)

    def run(
        self, wanted: str, topics: str = "", created: str = "", default: str = DEFAULT, **more: str
    ) -> str:
        """Run the script; what it said."""
        for name, content in {
            "topics": wanted,
            "kafka-topics": topics,
            "created": created,
            "kafka-configs": default,
        }.items():
            (self.home / name).write_text(content)
        with socket.create_server(("127.0.0.1", 0)) as server:
            bootstrap = f"127.0.0.1:{server.getsockname()[1]}"
            given = {
                "BOOTSTRAP": bootstrap,
                "WAIT": "60",
                "PROTOCOL": "PLAINTEXT",
                "HOME": str(self.home),
                **more,
            }
            result = subprocess.run(
                ["bash", str(self.script)],
                env={**os.environ, **given},
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
        assert result.returncode == 0, result.stderr
        return result.stdout

    @property
    def changes(self) -> list[str]:
        """The commands that change something, without where they go."""
        lines = (self.home / "commands").read_text().splitlines()
        client = self.home / "client.properties"
        return [
            " ".join(
                part
                for part in line.split()
                if part not in {"--bootstrap-server", "--command-config", str(client)}
            )
            for line in (
                " ".join(w for w in each.split() if not w.startswith("127.")) for each in lines
            )
            if "--describe" not in line
        ]


@pytest.fixture(name="cluster")
def _cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


def test_a_topic_that_is_missing_is_made_with_its_configuration(cluster: Cluster) -> None:
    made = DEPLOYMENTS + ",retention.ms=-1\n"
    cluster.run("minimum 1\ntopic deployments 3 1\nset deployments retention.ms=-1\n", created=made)
    assert cluster.changes == [
        "kafka-topics --create --if-not-exists --topic deployments --partitions 3 --replication-factor 1 --config retention.ms=-1"
    ]


def test_what_somebody_else_made_meanwhile_is_brought_to_the_same(cluster: Cluster) -> None:
    made = "Topic: deployments\tTopicId: x\tPartitionCount: 1\tReplicationFactor: 1\tConfigs: min.insync.replicas=1\n"
    cluster.run("topic deployments 3 1\nset deployments retention.ms=-1\n", created=made)
    assert cluster.changes[1:] == [
        "kafka-topics --alter --topic deployments --partitions 3",
        "kafka-configs --alter --entity-type topics --entity-name deployments --add-config retention.ms=[-1]",
    ]


def test_nothing_is_done_when_all_is_as_wanted(cluster: Cluster) -> None:
    there = DEPLOYMENTS + ",retention.ms=-1\n"
    said = cluster.run(
        "minimum 1\ntopic deployments 3 1\nset deployments retention.ms=-1\n", topics=there
    )
    assert cluster.changes == []
    assert said == "topics: up to date\n"


def test_a_topic_is_not_taken_for_one_whose_name_begins_the_same(cluster: Cluster) -> None:
    there = DEPLOYMENTS.replace("deployments", "deployments.dead-letter") + "\n"
    cluster.run("topic deployments 3 1\n", topics=there, created=f"{there}{DEPLOYMENTS}\n")
    assert cluster.changes[0].startswith(
        "kafka-topics --create --if-not-exists --topic deployments "
    )


def test_partitions_are_added_and_never_taken_away(cluster: Cluster) -> None:
    cluster.run("topic deployments 6 1\n", topics=DEPLOYMENTS + "\n")
    assert cluster.changes == ["kafka-topics --alter --topic deployments --partitions 6"]
    (cluster.home / "commands").unlink()
    said = cluster.run("topic deployments 2 1\n", topics=DEPLOYMENTS + "\n")
    assert cluster.changes == []
    assert "deployments keeps 3 partitions, 2 requested" in said


def test_copies_are_only_reported(cluster: Cluster) -> None:
    said = cluster.run("topic deployments 3 3\n", topics=DEPLOYMENTS + "\n")
    assert cluster.changes == []
    assert "deployments keeps 1 copies, 3 requested" in said


def test_a_setting_that_differs_is_changed(cluster: Cluster) -> None:
    there = DEPLOYMENTS + ",retention.ms=-10\n"
    cluster.run("topic deployments 3 1\nset deployments retention.ms=-1\n", topics=there)
    assert cluster.changes == [
        "kafka-configs --alter --entity-type topics --entity-name deployments --add-config retention.ms=[-1]"
    ]


def test_the_least_copies_are_set_for_all_brokers(cluster: Cluster) -> None:
    cluster.run("minimum 2\n")
    assert cluster.changes == [
        "kafka-configs --alter --entity-type brokers --entity-default --add-config min.insync.replicas=2"
    ]


def test_it_logs_in_as_a_broker(cluster: Cluster) -> None:
    cluster.run("", PROTOCOL="SASL_SSL", BROKER_PASSWORD="secret")
    written = (cluster.home / "client.properties").read_text()
    assert "security.protocol=SASL_SSL" in written
    assert 'ScramLoginModule required username="broker" password="secret";' in written
    assert "ssl.truststore.location=/etc/platform/kafka/ca.crt" in written
    assert (cluster.home / "client.properties").stat().st_mode & 0o077 == 0


def test_without_brokers_it_gives_up_when_its_time_is_over(cluster: Cluster) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    given = {
        **os.environ,
        "BOOTSTRAP": f"127.0.0.1:{port}",
        "WAIT": "0",
        "PROTOCOL": "PLAINTEXT",
        "HOME": str(cluster.home),
    }
    result = subprocess.run(
        ["bash", str(cluster.script)],
        env=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 1
    assert f"no broker answers at 127.0.0.1:{port}" in result.stderr


WANTED = """minimum 1
topic deployments 3 1
topic deployments.dead-letter 1 1
set deployments.dead-letter max.message.bytes=2097152
set deployments.dead-letter retention.ms=-1
"""


def test_the_topics_are_those_that_the_apps_use() -> None:
    documents = render()
    assert (
        find(documents, "ConfigMap", "platform-kafka-topics")["data"]["topics"].strip()
        == WANTED.strip()
    )


def test_numbers_are_written_out() -> None:
    topics = {
        "big": {"partitions": 1, "config": {"retention.bytes": 10000000000, "retention.ms": -1}}
    }
    wanted = find(render({"kafka": {"topics": topics}}), "ConfigMap", "platform-kafka-topics")[
        "data"
    ]["topics"]
    assert "set big retention.bytes=10000000000" in wanted


def test_a_topic_can_have_copies_of_its_own() -> None:
    topics = {"deployments": {"partitions": 3, "replicationFactor": 3}}
    values = {"kafka": {"replicas": 3, "topics": topics}}
    wanted = find(render(values), "ConfigMap", "platform-kafka-topics")["data"]["topics"]
    assert "topic deployments 3 3" in wanted


def job(values: dict[str, object]) -> str:
    """The name of the Job for these values."""
    (name,) = [name for name in names(render({"kafka": values}), "Job") if "topics" in name]
    return name


@pytest.mark.parametrize(
    "values",
    [
        {"topics": {"deployments": {"partitions": 6}}},
        {"minInsyncReplicas": 1, "topics": {"more": {"partitions": 1}}},
        {"image": {"digest": f"sha256:{'0' * 64}"}},
        {"auth": {"enabled": True}},
        {"topicsJob": {"resources": {"limits": {"memory": "256Mi"}}}},
    ],
)
def test_another_task_is_another_job(values: dict[str, object]) -> None:
    assert job(values) != job({})


@pytest.mark.parametrize(
    "values", [{"config": {"num.io.threads": 4}}, {"resources": {"limits": {"memory": "2Gi"}}}]
)
def test_what_does_not_concern_the_topics_makes_no_new_job(values: dict[str, object]) -> None:
    assert job(values) == job({})


def test_the_job_keeps_no_install_waiting_and_stays() -> None:
    (made,) = [each for each in of_kind(render(), "Job") if "topics" in each["metadata"]["name"]]
    assert not [
        key for key in made["metadata"].get("annotations", {}) if key.startswith("helm.sh/hook")
    ]
    assert "ttlSecondsAfterFinished" not in made["spec"]
    assert made["spec"]["template"]["spec"]["restartPolicy"] == "OnFailure"


def test_topics_do_not_restart_brokers() -> None:
    more = render({"kafka": {"topics": {"deployments": {"partitions": 6}}}})
    assert pod_annotations(more, "platform-kafka") == pod_annotations(render(), "platform-kafka")
    assert pod(more, "platform-kafka") == pod(render(), "platform-kafka")


def test_without_topics_there_is_no_job() -> None:
    documents = render(
        {"kafka": {"topics": {"deployments": None, "deployments.dead-letter": None}}}
    )
    assert not [name for name in names(documents, "Job") if "topics" in name]
