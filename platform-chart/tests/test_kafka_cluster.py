"""Three brokers with login and TLS: nothing acknowledged is lost while they are replaced, all go at once, one loses its disk.

`KUBECONFIG` names the cluster, `REGISTRY` where its nodes pull images from (localhost:5001), `KAFKA_REPOSITORY`
Kafka's image there. helm and kubectl are found on PATH, or by HELM and KUBECTL.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import CHART, helm

pytestmark = pytest.mark.cluster

REGISTRY = os.environ.get("REGISTRY", "localhost:5001")
IMAGE = os.environ.get("KAFKA_REPOSITORY", f"{REGISTRY}/apache/kafka")
KUBECONFIG = os.environ.get("KUBECONFIG", str(Path.home() / ".kube" / "config"))
BROKERS = [f"platform-kafka-{node}" for node in range(3)]
# Three brokers on a machine with little to spare: who is slow is not away.
PATIENT = {
    "controller.quorum.fetch.timeout.ms": 15000,
    "controller.quorum.election.timeout.ms": 5000,
    "controller.quorum.request.timeout.ms": 15000,
    "broker.session.timeout.ms": 45000,
}
VALUES: dict[str, Any] = {
    "components": {"api-rest": {"enabled": False}, "async-worker": {"enabled": False}},
    "database": {"enabled": False},
    "tests": {"enabled": False},
    "kafka": {
        "image": {"repository": IMAGE},
        "replicas": 3,
        "replicationFactor": 3,
        "minInsyncReplicas": 2,
        "auth": {"enabled": True},
        "tls": {"enabled": True},
        "spread": "require",
        "resources": {"requests": {"cpu": "100m", "memory": "768Mi"}, "limits": {"cpu": "1", "memory": "768Mi"}},
        "persistence": {"size": "1Gi"},
    },
}
# One numbered message after the other, each once the one before is on all replicas in sync; /tmp/stop ends it.
PRODUCE = """
cat >/tmp/client.properties <<END
security.protocol=SASL_SSL
sasl.mechanism=SCRAM-SHA-512
sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required username="$NAME" password="$PASSWORD";
ssl.truststore.type=PEM
ssl.truststore.location=/ca/ca.crt
acks=all
delivery.timeout.ms=600000
END
for ((i = 1; ; i++)); do
    if [[ -e /tmp/stop ]]; then break; fi
    echo "$i" | tee /tmp/last
    sleep 0.1
done | /opt/kafka/bin/kafka-console-producer.sh --bootstrap-server platform-kafka:9092 --topic deployments --sync \
    --producer.config /tmp/client.properties 2>/tmp/errors
touch /tmp/done
sleep 3600
"""


def client() -> dict[str, Any]:
    """A pod of Kafka's image that produces as the components do."""
    login = {"NAME": "username", "PASSWORD": "password"}
    env = [{"name": k, "valueFrom": {"secretKeyRef": {"name": "platform-kafka", "key": v}}} for k, v in login.items()]
    options = {"KAFKA_HEAP_OPTS": "-Xmx96M", "LOG_DIR": "/tmp"}  # noqa: S108
    authority = {"secretName": "platform-kafka-tls", "items": [{"key": "ca.crt", "path": "ca.crt"}]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "client"},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "client",
                    "image": f"{IMAGE}:4.1.1",
                    "command": ["bash", "-c", PRODUCE],
                    "env": [*env, *({"name": name, "value": value} for name, value in options.items())],
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                    "volumeMounts": [{"name": "ca", "mountPath": "/ca"}],
                }
            ],
            "volumes": [{"name": "ca", "secret": authority}],
        },
    }


class Cluster:
    """A namespace of its own on the cluster."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        argv = [
            os.environ.get("KUBECTL", "kubectl"),
            "--kubeconfig",
            KUBECONFIG,
            "--namespace",
            self.namespace,
            *arguments,
        ]
        result = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=900, input=stdin)
        assert result.returncode == 0, f"{' '.join(argv)}\n{result.stdout}{result.stderr}"
        return result.stdout.strip()

    def deploy(self, **config: int) -> None:
        values = {**VALUES, "kafka": {**VALUES["kafka"], "config": {**PATIENT, **config}}}
        release = ("upgrade", "--install", "platform", str(CHART), "--namespace", self.namespace, "--values", "-")
        result = helm(*release, stdin=json.dumps(values), kubeconfig=KUBECONFIG)
        assert result.returncode == 0, result.stderr
        self.ready()

    def ready(self) -> None:
        self.kubectl("rollout", "status", "statefulset/platform-kafka", "--timeout=600s")

    def bash(self, pod: str, script: str) -> str:
        return self.kubectl("exec", pod, "--", "bash", "-c", script)

    def stored(self) -> int:
        """How many messages there are."""
        command = "/opt/kafka/bin/kafka-get-offsets.sh --bootstrap-server platform-kafka:9092 --topic deployments"
        lines = self.bash("client", f"{command} --command-config /tmp/client.properties").splitlines()
        return sum(int(line.rsplit(":", 1)[1]) for line in lines if line.startswith("deployments:"))


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster(f"kafka-{secrets.token_hex(4)}")
    made.kubectl("create", "namespace", made.namespace)
    try:
        made.kubectl("label", "namespace", made.namespace, "pod-security.kubernetes.io/enforce=restricted")
        yield made
    finally:
        made.kubectl("delete", "namespace", made.namespace, "--wait=true", "--timeout=300s")


def test_nothing_acknowledged_is_lost(cluster: Cluster) -> None:
    cluster.deploy()
    cluster.kubectl("wait", "--for=condition=Complete", "job", "--all", "--timeout=600s")
    cluster.kubectl("apply", "--filename=-", stdin=json.dumps(client()))
    cluster.kubectl("wait", "pod/client", "--for=condition=Ready", "--timeout=300s")

    before = cluster.kubectl("get", "pods", *BROKERS, "--output=jsonpath={.items[*].metadata.uid}").split()
    cluster.deploy(**{"num.network.threads": 4})
    after = cluster.kubectl("get", "pods", *BROKERS, "--output=jsonpath={.items[*].metadata.uid}").split()
    assert not set(before) & set(after)

    cluster.kubectl("delete", "pod", *BROKERS)
    cluster.ready()

    cluster.kubectl("delete", "pvc", "data-platform-kafka-1", "--wait=false")
    cluster.kubectl("delete", "pod", "platform-kafka-1")
    cluster.ready()

    cluster.bash("client", "touch /tmp/stop; until [[ -e /tmp/done ]]; do sleep 1; done")
    sent = int(cluster.bash("client", "cat /tmp/last"))
    # A producer of Kafka's own repeats nothing that it is told was written.
    assert cluster.stored() == sent
    assert "ERROR" not in cluster.bash("client", "cat /tmp/errors")
