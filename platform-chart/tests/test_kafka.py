"""templates/kafka and what components learn of it, without the topics (test_kafka_topics.py)."""

from __future__ import annotations

import base64
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support import container, fails, find, names, of_kind, pod, pod_annotations, render

THREE: dict[str, Any] = {"replicas": 3, "replicationFactor": 3, "minInsyncReplicas": 2}
SECURE: dict[str, Any] = {**THREE, "auth": {"enabled": True}, "tls": {"enabled": True}}
EXTERNAL: dict[str, Any] = {
    "kafka": {"enabled": False},
    "externalKafka": {"bootstrapServers": ["a.example:9094", "b.example:9094"]},
}


def properties(values: dict[str, Any] | None = None) -> dict[str, str]:
    """server.properties, as Kafka would read it."""
    text = find(render({"kafka": values or {}}), "ConfigMap", "platform-kafka")["data"][
        "server.properties"
    ]
    return dict(
        line.split("=", 1) for line in text.splitlines() if line and not line.startswith("#")
    )


def variables(values: dict[str, Any], name: str = "platform-async-worker") -> dict[str, Any]:
    """What a component finds in its environment about Kafka."""
    env = container(render(values), name)["env"]
    return {
        each["name"]: each.get("value", each.get("valueFrom", {}).get("secretKeyRef"))
        for each in env
        if each["name"].startswith("BROKER_")
    }


def test_one_broker_is_its_own_quorum() -> None:
    assert (
        properties()["controller.quorum.voters"]
        == "0@platform-kafka-0.platform-kafka-headless.test.svc:9093"
    )


def test_three_brokers_know_each_other_by_name() -> None:
    assert properties(THREE)["controller.quorum.voters"].split(",") == [
        f"{node}@platform-kafka-{node}.platform-kafka-headless.test.svc:9093" for node in range(3)
    ]


@pytest.mark.parametrize(("values", "copies", "least"), [({}, "1", "1"), (THREE, "3", "2")])
def test_kafkas_own_topics_have_as_many_copies(
    values: dict[str, Any], copies: str, least: str
) -> None:
    found = properties(values)
    assert {found[key] for key in found if key.endswith("replication.factor")} == {copies}
    assert {found[key] for key in found if key.endswith((".min.isr", "insync.replicas"))} == {least}
    assert len([key for key in found if key.endswith("replication.factor")]) == 4


def test_no_topic_is_made_by_a_typing_error() -> None:
    assert properties()["auto.create.topics.enable"] == "false"


def test_logs_are_below_the_volume_and_not_its_root() -> None:
    mounts = {
        mount["name"]: mount["mountPath"]
        for mount in container(render(), "platform-kafka")["volumeMounts"]
    }
    assert properties()["log.dirs"] == f"{mounts['data']}/log"


def test_ones_own_properties_come_last_and_numbers_are_written_out() -> None:
    found = properties(
        {"config": {"log.retention.bytes": 10000000000, "message.max.bytes": "2000000"}}
    )
    assert list(found.items())[-2:] == [
        ("log.retention.bytes", "10000000000"),
        ("message.max.bytes", "2000000"),
    ]


def test_the_probes_listener_is_for_the_pod_alone() -> None:
    assert "LOCAL://127.0.0.1:9095" in properties(SECURE)["listeners"].split(",")
    ports = {port["containerPort"] for port in container(render(), "platform-kafka")["ports"]}
    assert 9095 not in ports


@pytest.mark.parametrize(
    ("on", "protocol"),
    [
        ([], "PLAINTEXT"),
        (["auth"], "SASL_PLAINTEXT"),
        (["tls"], "SSL"),
        (["auth", "tls"], "SASL_SSL"),
    ],
)
def test_every_listener_but_the_pods_own_is_protected_alike(on: list[str], protocol: str) -> None:
    values = {each: {"enabled": True} for each in on}
    found = dict(
        pair.split(":") for pair in properties(values)["listener.security.protocol.map"].split(",")
    )
    assert found == {
        "CLIENT": protocol,
        "CONTROLLER": protocol,
        "INTERNAL": protocol,
        "LOCAL": "PLAINTEXT",
    }
    assert variables({"kafka": values})["BROKER_SECURITY_PROTOCOL"] == protocol


def test_brokers_log_in_by_scram_and_controllers_by_what_needs_no_metadata() -> None:
    found = properties(SECURE)
    assert found["sasl.mechanism.inter.broker.protocol"] == "SCRAM-SHA-512"
    assert found["listener.name.client.sasl.enabled.mechanisms"] == "SCRAM-SHA-512"
    assert found["listener.name.internal.sasl.enabled.mechanisms"] == "SCRAM-SHA-512"
    assert (
        found["sasl.mechanism.controller.protocol"]
        == found["listener.name.controller.sasl.enabled.mechanisms"]
        == "PLAIN"
    )


def test_the_cluster_keeps_its_identity() -> None:
    def identity(
        release: str = "platform", namespace: str = "test", files: Sequence[str] = ()
    ) -> str:
        env = container(render(None, files, release, namespace), f"{release}-kafka")["env"]
        return str(next(each["value"] for each in env if each["name"] == "CLUSTER_ID"))

    assert len(base64.urlsafe_b64decode(identity() + "==")) == 16
    assert len({identity(), identity(namespace="other"), identity(release="other")}) == 3
    # Another version of the chart or other values make no other cluster of it.
    assert identity(files=["values-production.yaml"]) == identity()


def test_no_password_and_no_key_is_in_the_configmap() -> None:
    documents = render({"kafka": SECURE})
    secrets = [
        value for secret in of_kind(documents, "Secret") for value in secret["data"].values()
    ]
    text = "".join(str(each) for each in of_kind(documents, "ConfigMap"))
    assert secrets
    assert not [
        value for value in secrets if base64.b64decode(value).decode() in text and len(value) > 20
    ]


def test_a_change_of_kafkas_configuration_restarts_kafka_alone() -> None:
    before, after = render(), render({"kafka": {"config": {"num.io.threads": 4}}})
    assert pod_annotations(before, "platform-kafka") != pod_annotations(after, "platform-kafka")
    for name in ("platform-api-rest", "platform-async-worker", "platform-database"):
        assert pod_annotations(before, name) == pod_annotations(after, name)
        assert pod(before, name) == pod(after, name)


def test_generated_passwords_and_certificates_restart_nothing() -> None:
    # Rendered twice, for the topics are others: with other passwords and another certificate.
    first, second = (
        render({"kafka": {**SECURE, "topics": {name: {"partitions": 1}}}})
        for name in ("one", "other")
    )
    for name in ("platform-kafka", "platform-kafka-tls"):
        assert find(first, "Secret", name)["data"] != find(second, "Secret", name)["data"]
    for name in ("platform-kafka", "platform-async-worker"):
        assert pod(first, name) == pod(second, name)
        assert pod_annotations(first, name) == pod_annotations(second, name)


def test_the_headless_service_names_brokers_that_are_not_ready() -> None:
    service = find(render(), "Service", "platform-kafka-headless")["spec"]
    assert (service["clusterIP"], service["publishNotReadyAddresses"]) == ("None", True)
    assert "publishNotReadyAddresses" not in find(render(), "Service", "platform-kafka")["spec"]


def test_brokers_start_together_and_are_changed_one_by_one() -> None:
    spec = find(render({"kafka": THREE}), "StatefulSet", "platform-kafka")["spec"]
    assert (spec["replicas"], spec["podManagementPolicy"], spec["updateStrategy"]["type"]) == (
        3,
        "Parallel",
        "RollingUpdate",
    )


def test_the_probes_are_distinct() -> None:
    kafka = container(render(), "platform-kafka")
    assert kafka["readinessProbe"]["exec"]["command"][1:] == ["/etc/kafka/chart/state.sh", "ready"]
    # Neither kills a broker that waits for a quorum: the controllers' port is open before there is one.
    assert (
        kafka["startupProbe"]["tcpSocket"]
        == kafka["livenessProbe"]["tcpSocket"]
        == {"port": "controller"}
    )
    # The script's own patience, for two questions.
    assert kafka["readinessProbe"]["timeoutSeconds"] >= 8


def test_the_grace_period_is_what_leaving_may_take() -> None:
    shutdown = {"waitSeconds": 33, "seconds": 44}
    spec = pod(render({"kafka": {**THREE, "shutdown": shutdown}}), "platform-kafka")
    assert spec["terminationGracePeriodSeconds"] == 33 + 44 + 10
    assert spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][2:] == ["wait", "33"]


def test_one_broker_alone_waits_for_nobody() -> None:
    spec = pod(
        render({"kafka": {"shutdown": {"waitSeconds": 33, "seconds": 44}}}), "platform-kafka"
    )
    assert spec["terminationGracePeriodSeconds"] == 44 + 10
    assert "lifecycle" not in spec["containers"][0]


@pytest.mark.parametrize(("replicas", "budgets"), [(1, 0), (3, 1)])
def test_one_broker_at_a_time_may_be_evicted(replicas: int, budgets: int) -> None:
    found = [
        name
        for name in names(render({"kafka": {"replicas": replicas}}), "PodDisruptionBudget")
        if "kafka" in name
    ]
    assert len(found) == budgets


def test_production_puts_every_broker_on_a_node_of_its_own() -> None:
    documents = render(values_files=["values-production.yaml"])
    spec = pod(documents, "platform-kafka")
    hosts = next(
        each
        for each in spec["topologySpreadConstraints"]
        if each["topologyKey"] == "kubernetes.io/hostname"
    )
    assert (hosts["maxSkew"], hosts["whenUnsatisfiable"]) == (1, "DoNotSchedule")
    assert find(documents, "StatefulSet", "platform-kafka")["spec"]["replicas"] == 3


def test_users_have_a_secret_that_outlives_the_release() -> None:
    secret = find(render({"kafka": SECURE}), "Secret", "platform-kafka")
    assert secret["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert sorted(secret["data"]) == [
        "broker-password",
        "controller-password",
        "password",
        "username",
    ]
    passwords = [
        base64.b64decode(value).decode()
        for key, value in secret["data"].items()
        if key != "username"
    ]
    assert len(set(passwords)) == 3
    assert all(re.fullmatch("[A-Za-z0-9]{32}", password) for password in passwords)


def test_an_existing_secret_is_used_instead() -> None:
    values = {"kafka": {**SECURE, "auth": {"enabled": True, "existingSecret": "mine"}}}
    documents = render(values)
    assert "platform-kafka" not in names(documents, "Secret")
    assert variables(values)["BROKER_PASSWORD"] == {"name": "mine", "key": "password"}


def test_a_component_gets_what_it_needs_to_log_in() -> None:
    assert variables({"kafka": SECURE}) == {
        "BROKER_URL": "platform-kafka:9092",
        "BROKER_SECURITY_PROTOCOL": "SASL_SSL",
        "BROKER_SASL_MECHANISM": "SCRAM-SHA-512",
        "BROKER_USERNAME": {"name": "platform-kafka", "key": "username"},
        "BROKER_PASSWORD": {"name": "platform-kafka", "key": "password"},
        "BROKER_CA_FILE": "/etc/platform/kafka/ca.crt",
    }


@pytest.mark.parametrize(("values", "copies"), [({}, "1"), (THREE, "3")])
def test_the_worker_makes_topics_with_as_many_copies_as_the_job(
    values: dict[str, Any], copies: str
) -> None:
    env = container(render({"kafka": values}), "platform-async-worker")["env"]
    assert [each["value"] for each in env if each["name"] == "TOPIC_REPLICATION"] == [copies]


def test_a_component_sees_the_certificate_of_the_authority_and_no_key() -> None:
    spec = pod(render({"kafka": SECURE}), "platform-async-worker")
    volume = next(each for each in spec["volumes"] if each["name"] == "kafka-ca")
    assert volume["secret"] == {
        "secretName": "platform-kafka-tls",
        "items": [{"key": "ca.crt", "path": "ca.crt"}],
    }
    mount = next(
        each for each in spec["containers"][0]["volumeMounts"] if each["name"] == "kafka-ca"
    )
    assert mount["mountPath"] == "/etc/platform/kafka"


def test_no_pod_sees_the_authoritys_key() -> None:
    for document in render({"kafka": SECURE}):
        if document["kind"] in {"StatefulSet", "Deployment", "Job"}:
            assert "ca.key" not in str(document)


def test_the_certificate_names_every_broker_and_the_service(tmp_path: Path) -> None:
    data = find(render({"kafka": SECURE}), "Secret", "platform-kafka-tls")["data"]
    for name, value in data.items():
        (tmp_path / name).write_bytes(base64.b64decode(value))
    show = ["openssl", "x509", "-in", str(tmp_path / "tls.crt"), "-noout", "-ext", "subjectAltName"]
    text = subprocess.run(show, capture_output=True, text=True, check=True).stdout
    brokers = {f"platform-kafka-{node}.platform-kafka-headless.test.svc" for node in range(3)}
    service = {
        f"platform-kafka{rest}" for rest in ("", ".test", ".test.svc", ".test.svc.cluster.local")
    }
    assert set(re.findall("DNS:([^,\\s]+)", text)) == brokers | service
    verify = ["openssl", "verify", "-CAfile", str(tmp_path / "ca.crt"), str(tmp_path / "tls.crt")]
    assert subprocess.run(verify, check=False).returncode == 0


def test_cert_manager_makes_a_certificate_that_kafka_can_read() -> None:
    tls = {
        "enabled": True,
        "certManager": {"enabled": True, "issuerRef": {"name": "corp", "kind": "ClusterIssuer"}},
    }
    documents = render({"kafka": {**THREE, "tls": tls}})
    certificate = find(documents, "Certificate", "platform-kafka-tls")["spec"]
    assert certificate["privateKey"]["encoding"] == "PKCS8"
    assert certificate["issuerRef"] == {
        "name": "corp",
        "kind": "ClusterIssuer",
        "group": "cert-manager.io",
    }
    assert "platform-kafka-tls" not in names(documents, "Secret")


def test_an_external_kafka_is_used_instead() -> None:
    documents = render(EXTERNAL)
    assert not [each for each in documents if each["metadata"]["name"].startswith("platform-kafka")]
    assert variables(EXTERNAL) == {
        "BROKER_URL": "a.example:9094,b.example:9094",
        "BROKER_SECURITY_PROTOCOL": "PLAINTEXT",
    }


def test_an_external_kafka_with_a_login_and_an_authority() -> None:
    external = {
        **EXTERNAL["externalKafka"],
        "securityProtocol": "SASL_SSL",
        "saslMechanism": "PLAIN",
        "existingSecret": "login",
        "caSecret": "authority",
    }
    values = {**EXTERNAL, "externalKafka": external}
    assert variables(values) == {
        "BROKER_URL": "a.example:9094,b.example:9094",
        "BROKER_SECURITY_PROTOCOL": "SASL_SSL",
        "BROKER_SASL_MECHANISM": "PLAIN",
        "BROKER_USERNAME": {"name": "login", "key": "username"},
        "BROKER_PASSWORD": {"name": "login", "key": "password"},
        "BROKER_CA_FILE": "/etc/platform/kafka/ca.crt",
    }
    volumes = pod(render(values), "platform-async-worker")["volumes"]
    assert (
        next(each for each in volumes if each["name"] == "kafka-ca")["secret"]["secretName"]
        == "authority"
    )


def peers(rule: dict[str, Any]) -> set[str]:
    """The parts that a rule names."""
    return {peer["podSelector"]["matchLabels"]["app.kubernetes.io/name"] for peer in rule["from"]}


def test_only_who_uses_kafka_reaches_it() -> None:
    clients, brokers = find(render(), "NetworkPolicy", "platform-kafka")["spec"]["ingress"]
    assert peers(clients) == {"api-rest", "async-worker", "kafka-topics"}
    assert [port["port"] for port in clients["ports"]] == [9092]
    assert peers(brokers) == {"kafka"}
    without = find(
        render({"components": {"api-rest": {"uses": ["database"]}}}),
        "NetworkPolicy",
        "platform-kafka",
    )
    assert peers(without["spec"]["ingress"][0]) == {"async-worker", "kafka-topics"}


def test_kafka_has_the_peers_that_are_allowed_besides() -> None:
    peer = {"namespaceSelector": {"matchLabels": {"team": "data"}}}
    clients, _ = find(render({"kafka": {"allowFrom": [peer]}}), "NetworkPolicy", "platform-kafka")[
        "spec"
    ]["ingress"]
    assert clients["from"][-1] == peer


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"kafka": {"replicas": 2}}, "kafka"),
        (
            {"kafka": {"replicationFactor": 3}},
            "kafka.replicationFactor: 3 copies need more brokers than kafka.replicas, 1",
        ),
        (
            {"kafka": {"minInsyncReplicas": 2}},
            "kafka.minInsyncReplicas: 2 is more than kafka.replicationFactor, 1",
        ),
        (
            {"kafka": {**THREE, "minInsyncReplicas": 3}},
            "no broker could be down; set it to 2 or less",
        ),
        (
            {"kafka": {"topics": {"deployments": {"partitions": 1, "replicationFactor": 3}}}},
            "kafka.topics.deployments.replicationFactor: 3 copies need more brokers",
        ),
        (
            {"kafka": {**THREE, "topics": {"a": {"partitions": 1, "replicationFactor": 1}}}},
            "kafka.topics.a: 2 of 1 copies cannot be in sync",
        ),
        ({"kafka": {"config": {"node.id": 7}}}, "kafka.config: the chart sets node.id"),
        ({"kafka": {"config": {"a": "b\nlisteners=x"}}}, "kafka"),
        (
            {"kafka": {"auth": {"existingSecret": "x"}}},
            "it has no effect while kafka.auth.enabled is false",
        ),
        (
            {"kafka": {"tls": {"existingSecret": "x"}}},
            "have no effect while kafka.tls.enabled is false",
        ),
        (
            {
                "kafka": {
                    "tls": {
                        "enabled": True,
                        "existingSecret": "x",
                        "certManager": {"enabled": True},
                    }
                }
            },
            "kafka.tls: existingSecret and certManager are set; keep one",
        ),
        (
            {"kafka": {"tls": {"enabled": True, "certManager": {"enabled": True}}}},
            "kafka.tls.certManager.issuerRef.name: it is empty",
        ),
        ({"kafka": {"enabled": False}}, "components.async-worker.uses: there is no kafka"),
        (
            {"externalKafka": {"bootstrapServers": ["a:1"]}},
            "externalKafka.bootstrapServers: kafka.enabled is true too",
        ),
        (
            {
                **EXTERNAL,
                "externalKafka": {**EXTERNAL["externalKafka"], "securityProtocol": "SASL_SSL"},
            },
            "SASL_SSL needs a Secret with username and password",
        ),
        (
            {**EXTERNAL, "externalKafka": {**EXTERNAL["externalKafka"], "existingSecret": "x"}},
            "PLAINTEXT uses no password",
        ),
        (
            {**EXTERNAL, "externalKafka": {**EXTERNAL["externalKafka"], "caSecret": "x"}},
            "PLAINTEXT uses no CA",
        ),
        ({"kafka": {"replica": 3}}, "replica"),
        ({"kafka": {"resources": {"limits": {"memory": None}}}}, "memory"),
    ],
)
def test_what_does_not_fit_is_said(values: dict[str, Any], said: str) -> None:
    assert said in fails(values)


def test_mistakes_are_said_together() -> None:
    said = fails(
        {
            "kafka": {
                "replicationFactor": 3,
                "config": {"node.id": 7},
                "auth": {"existingSecret": "x"},
            }
        }
    )
    assert "kafka.replicationFactor" in said
    assert "kafka.config" in said
    assert "kafka.auth.existingSecret" in said
