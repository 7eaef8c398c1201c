"""files/kafka/start.sh: the configuration with which it starts a broker."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from support import CHART

SCRIPT = CHART / "files" / "kafka" / "start.sh"
COMMAND = """#!/bin/bash
echo "$(basename "$0" .sh) $*" >>"$HOME/commands"
[[ $0 != *storage* ]] || { mkdir -p "$HOME/log" && touch "$HOME/log/meta.properties"; }
[[ $0 != *server-start* ]] || env >"$HOME/environment"
"""
SECRETS = {
    "AUTH": "true",
    "CLIENT_USERNAME": "platform",
    "CLIENT_PASSWORD": "c",
    "BROKER_PASSWORD": "b",
    "CONTROLLER_PASSWORD": "k",
}


class Pod:
    """A pod's files, in a folder."""

    def __init__(self, home: Path) -> None:
        self.home = home
        (home / "bin").mkdir()
        for name in ("kafka-storage", "kafka-server-start"):
            command = home / "bin" / f"{name}.sh"
            command.write_text(COMMAND)
            command.chmod(0o755)
        (home / "server.properties.chart").write_text("from.the.chart=1\n")
        text = SCRIPT.read_text()
        folders = {
            "$CHART/server.properties": "server.properties.chart",
            "/opt/kafka/bin": "bin",
            "/run/kafka": "",
            "/var/lib/kafka/data/log": "log",
            "/etc/kafka/tls": "tls",
        }
        for original, folder in folders.items():
            assert original in text
            text = text.replace(original, str(home / folder))
        self.script = home / "start.sh"
        self.script.write_text(text)

    def start(self, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the script as the second broker."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "POD_NAME": "platform-kafka-1",
            "DOMAIN": "platform-kafka-headless.test.svc",
            "CLUSTER_ID": "id",
            "HEAP_PERCENTAGE": "50",
            **variables,
        }
        return subprocess.run(
            ["bash", str(self.script)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def read(self, name: str) -> str:
        """Return the content of a file."""
        return (self.home / name).read_text()


@pytest.fixture(name="pod")
def _pod(tmp_path: Path) -> Pod:
    return Pod(tmp_path)


def test_each_broker_has_its_id_and_its_host_name(pod: Pod) -> None:
    assert pod.start().returncode == 0
    host = "platform-kafka-1.platform-kafka-headless.test.svc"
    assert pod.read("server.properties").splitlines() == [
        "from.the.chart=1",
        "node.id=1",
        "advertised.listeners="
        + ",".join(
            [
                f"CLIENT://{host}:9092",
                f"CONTROLLER://{host}:9093",
                f"INTERNAL://{host}:9094",
                "LOCAL://localhost:9095",
            ]
        ),
    ]


def test_new_storage_is_formatted_once(pod: Pod) -> None:
    pod.start()
    pod.start()
    properties = pod.home / "server.properties"
    assert [line.replace("//", "/") for line in pod.read("commands").splitlines()] == [
        f"kafka-storage format --ignore-formatted --cluster-id id --config {properties}",
        f"kafka-server-start {properties}",
        f"kafka-server-start {properties}",
    ]


def test_the_heap_is_a_percentage_of_the_memory(pod: Pod) -> None:
    pod.start()
    assert "KAFKA_HEAP_OPTS=-XX:InitialRAMPercentage=50 -XX:MaxRAMPercentage=50 " in pod.read(
        "environment"
    )


def test_new_storage_has_the_users(pod: Pod) -> None:
    pod.start(**SECRETS)
    command = pod.read("commands").splitlines()[0]
    assert "--add-scram SCRAM-SHA-512=[name=broker,password=b]" in command
    assert "--add-scram SCRAM-SHA-512=[name=platform,password=c]" in command


def test_every_listener_but_the_probes_has_a_login(pod: Pod) -> None:
    pod.start(**SECRETS)
    logins = {}
    for line in pod.read("server.properties").splitlines()[3:]:
        key, value = line.split("=", 1)
        logins[key] = value.removeprefix("org.apache.kafka.common.security.")
    assert logins == {
        "listener.name.controller.plain.sasl.jaas.config": (
            'plain.PlainLoginModule required username="controller" password="k"'
            ' user_controller="k";'
        ),
        "listener.name.internal.scram-sha-512.sasl.jaas.config": (
            'scram.ScramLoginModule required username="broker" password="b";'
        ),
        "listener.name.client.scram-sha-512.sasl.jaas.config": (
            'scram.ScramLoginModule required username="broker" password="b";'
        ),
    }
    assert (pod.home / "server.properties").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "password", ["", 'quo"te', "com,ma", "brack]et", "back\\slash", "blank space"]
)
def test_a_password_that_cannot_be_quoted_is_refused(pod: Pod, password: str) -> None:
    result = pod.start(**SECRETS | {"BROKER_PASSWORD": password})
    assert result.returncode == 1
    assert "the password in BROKER_PASSWORD is empty or has characters other than" in result.stderr
    assert not (pod.home / "commands").exists()


def openssl(*arguments: str) -> str:
    """Return the output of openssl."""
    return subprocess.run(
        ["openssl", *arguments], capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.parametrize("bits", ["2048", "3072"])
def test_rsa_keys_are_converted_to_pkcs8(pod: Pod, bits: str) -> None:
    tls = pod.home / "tls"
    tls.mkdir()
    key = tls / "tls.key"
    key.write_text(openssl("genrsa", "-traditional", bits))
    (tls / "tls.crt").write_text("the certificate\n")
    assert key.read_text().startswith("-----BEGIN RSA PRIVATE KEY-----")
    assert pod.start().returncode == 0
    store = pod.read("keystore.pem")
    assert store.endswith("-----END PRIVATE KEY-----\nthe certificate\n")
    converted = openssl("pkcs8", "-topk8", "-nocrypt", "-in", str(key))
    assert openssl("pkey", "-in", str(pod.home / "keystore.pem")) == converted
    assert (pod.home / "keystore.pem").stat().st_mode & 0o077 == 0


def test_other_keys_are_copied_or_refused(pod: Pod) -> None:
    tls = pod.home / "tls"
    tls.mkdir()
    (tls / "tls.crt").write_text("certificate\n")
    (tls / "tls.key").write_text("-----BEGIN PRIVATE KEY-----\nkey\n")
    assert pod.start().returncode == 0
    assert pod.read("keystore.pem") == "-----BEGIN PRIVATE KEY-----\nkey\ncertificate\n"
    (tls / "tls.key").write_text("-----BEGIN EC PRIVATE KEY-----\n")
    result = pod.start()
    assert result.returncode == 1
    assert (
        "is neither a PKCS #8 nor an RSA private key; convert it: openssl pkcs8 -topk8 -nocrypt"
        in result.stderr
    )
