"""A Kafka broker that requires TLS and a login, for the tests of both apps."""

from __future__ import annotations

import socket
import ssl
import subprocess
import time
import uuid
from typing import TYPE_CHECKING

import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from kafka import KafkaAdminClient
from kafka.admin import UserScramCredentialUpsertion

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["PASSWORD", "USERNAME", "SecureKafka"]

IMAGE = "apache/kafka:4.1.1"
USERNAME, PASSWORD = "led=ger", "pass=word of the ledger"
OTHER_USERNAME, OTHER_PASSWORD = "admin", "password of the admin"
# Clients have to log in again after this time.
LOGIN_LIFETIME_MS = 1_000
TIMEOUT = 180
# Options for a fast start.
JVM = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:SharedArchiveFile=/opt/kafka/kafka.jsa"
# The image's own start script cannot add logins when it formats the storage.
START = r"""
set -e
printf '%s' "$STORE" >/tmp/store.pem
cat >/tmp/server.properties <<END
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@localhost:9093
controller.listener.names=CONTROLLER
inter.broker.listener.name=INSIDE
listeners=CONTROLLER://localhost:9093,INSIDE://localhost:9092,CLIENTS://:9094
advertised.listeners=INSIDE://localhost:9092,CLIENTS://localhost:$PORT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,INSIDE:PLAINTEXT,CLIENTS:SASL_SSL
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.clients.scram-sha-512.sasl.jaas.config=$MODULE required;
listener.name.clients.scram-sha-512.connections.max.reauth.ms=$LASTS
ssl.keystore.type=PEM
ssl.keystore.location=/tmp/store.pem
log.dirs=/tmp/log
auto.create.topics.enable=false
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=true
super.users=User:ANONYMOUS;User:admin
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
END
cd /opt/kafka
bin/kafka-storage.sh format --cluster-id OUZK0efhTkiGz6XtqUSWGw --config /tmp/server.properties \
    --add-scram "$LOGIN" --add-scram "$OTHER_LOGIN"
exec bin/kafka-server-start.sh /tmp/server.properties
"""


class SecureKafka:
    """A broker with SASL_SSL and SCRAM-SHA-512, and the settings to connect to it."""

    def __init__(self, folder: Path, port: int) -> None:
        """Start it, without waiting for it."""
        self._name = f"secure-kafka-{uuid.uuid4().hex}"
        self._ca = trustme.CA()
        ca_file = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(str(ca_file))
        self.servers = [f"localhost:{port}"]
        self.environ = {
            "BROKER_URL": self.servers[0],
            "BROKER_SECURITY_PROTOCOL": "SASL_SSL",
            "BROKER_USERNAME": USERNAME,
            "BROKER_PASSWORD": PASSWORD,
            "BROKER_CA_FILE": str(ca_file),
        }
        environ = {
            "MODULE": "org.apache.kafka.common.security.scram.ScramLoginModule",
            "STORE": _store(self._ca.issue_cert("localhost")),
            "PORT": str(port),
            "LASTS": str(LOGIN_LIFETIME_MS),
            "LOGIN": _login(USERNAME, PASSWORD),
            "OTHER_LOGIN": _login(OTHER_USERNAME, OTHER_PASSWORD),
            "KAFKA_HEAP_OPTS": "-Xmx320M",
            "KAFKA_JVM_PERFORMANCE_OPTS": JVM,
        }
        variables = [
            part for name, value in environ.items() for part in ("--env", f"{name}={value}")
        ]
        options = (
            f"--name={self._name}",
            "--detach",
            "--rm",
            "--label=delivery-platform.managed=true",
            "--memory=640m",
            f"--publish=127.0.0.1:{port}:9094",
            "--entrypoint=bash",
        )
        _docker("run", *options, *variables, IMAGE, "-c", START)

    def admin(self) -> KafkaAdminClient:
        """Wait for the broker and return a client with another login."""
        context = ssl.create_default_context()
        self._ca.configure_trust(context)
        self._wait(context)
        return KafkaAdminClient(
            bootstrap_servers=self.servers,
            security_protocol="SASL_SSL",
            ssl_context=context,
            sasl_mechanism="SCRAM-SHA-512",
            sasl_plain_username=OTHER_USERNAME,
            sasl_plain_password=OTHER_PASSWORD,
        )

    def _wait(self, context: ssl.SSLContext) -> None:
        host, _, port = self.servers[0].partition(":")
        deadline = time.monotonic() + TIMEOUT
        while True:
            try:
                with socket.create_connection((host, int(port)), 5) as connection:
                    context.wrap_socket(connection, server_hostname=host).close()
            except OSError:
                assert time.monotonic() < deadline, _docker("logs", "--tail", "20", self._name)
                time.sleep(0.2)
            else:
                return

    def change_password(self, password: str) -> None:
        """Change the password of the ledger's user. Open connections have to log in again soon."""
        admin = self.admin()
        admin.alter_user_scram_credentials(
            [UserScramCredentialUpsertion(USERNAME, "SCRAM-SHA-512", password)]
        )
        admin.close()

    def close(self) -> None:
        """Remove the container."""
        _docker("rm", "--force", "--volumes", self._name)


def _login(name: str, password: str) -> str:
    return f'SCRAM-SHA-512=[name="{name}",password="{password}"]'


def _store(certificate: trustme.LeafCert) -> str:
    """Return the key and the certificates for Java, which needs PKCS#8."""
    key = load_pem_private_key(certificate.private_key_pem.bytes(), None)
    parts = [
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        *(pem.bytes() for pem in certificate.cert_chain_pems),
    ]
    return b"".join(parts).decode("ascii")


def _docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout
