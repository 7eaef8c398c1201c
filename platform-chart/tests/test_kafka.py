"""templates/kafka, and how components connect to it; test_kafka_topics.py has the topics."""

from __future__ import annotations

import base64
import re
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from live import upgraded
from support import (
    Document,
    by_name,
    container,
    fails,
    find,
    names,
    of_kind,
    pod,
    pod_annotations,
    render,
    secret,
    variables,
)

THREE = "replicas: 3, replicationFactor: 3, minInsyncReplicas: 2"
SECURE = f"{THREE}, auth: {{enabled: true}}, tls: {{enabled: true}}"
WORKER = "platform-async-worker"


def external(settings: str = "") -> str:
    """Return values with an external Kafka."""
    servers = "bootstrapServers: [a:9094, b:9094]"
    return f"kafka: {{enabled: false}}\nexternalKafka: {{{servers}, {settings}}}"


def kafka(values: str = "") -> list[Document]:
    return render(f"kafka: {{{values}}}")


def properties(values: str = "") -> dict[str, str]:
    """Return server.properties."""
    text = find(kafka(values), "ConfigMap", "platform-kafka")["data"]["server.properties"]
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


@pytest.mark.parametrize(("values", "replicas"), [("", 1), (THREE, 3)])
def test_the_quorum_has_every_broker(values: str, replicas: int) -> None:
    assert properties(values)["controller.quorum.voters"].split(",") == [
        f"{node}@platform-kafka-{node}.platform-kafka-headless.test.svc:9093"
        for node in range(replicas)
    ]


@pytest.mark.parametrize(("values", "copies", "minimum"), [("", "1", "1"), (THREE, "3", "2")])
def test_internal_topics_have_as_many_copies_as_the_others(
    values: str, copies: str, minimum: str
) -> None:
    settings = properties(values)
    factors = [value for key, value in settings.items() if key.endswith("replication.factor")]
    assert factors == [copies] * 4
    suffixes = (".min.isr", "insync.replicas")
    assert {value for key, value in settings.items() if key.endswith(suffixes)} == {minimum}
    # async-worker may create topics before the Job does.
    assert variables(kafka(values), WORKER)["TOPIC_REPLICATION"] == copies


def test_kafka_creates_no_topic_by_itself() -> None:
    assert properties()["auto.create.topics.enable"] == "false"


def test_logs_are_below_the_root_of_the_volume() -> None:
    mounts = by_name(container(render(), "platform-kafka")["volumeMounts"])
    assert properties()["log.dirs"] == f"{mounts['data']['mountPath']}/log"


def test_the_users_properties_are_last_() -> None:
    config = "config: {log.retention.bytes: '10000000000', message.max.bytes: '2000000'}"
    assert list(properties(config).items())[-2:] == [
        ("log.retention.bytes", "10000000000"),
        ("message.max.bytes", "2000000"),
    ]


def test_only_the_pod_itself_reaches_the_listener_of_the_probes() -> None:
    assert "LOCAL://127.0.0.1:9095" in properties(SECURE)["listeners"].split(",")
    ports = {port["containerPort"] for port in container(render(), "platform-kafka")["ports"]}
    assert 9095 not in ports


@pytest.mark.parametrize(
    ("values", "protocol"),
    [
        ("", "PLAINTEXT"),
        ("auth: {enabled: true}", "SASL_PLAINTEXT"),
        ("tls: {enabled: true}", "SSL"),
        ("auth: {enabled: true}, tls: {enabled: true}", "SASL_SSL"),
    ],
)
def test_every_other_listener_has_the_same_protocol(values: str, protocol: str) -> None:
    listeners = properties(values)["listener.security.protocol.map"].split(",")
    assert dict(pair.split(":") for pair in listeners) == {
        "CLIENT": protocol,
        "CONTROLLER": protocol,
        "INTERNAL": protocol,
        "LOCAL": "PLAINTEXT",
    }
    assert variables(kafka(values), WORKER)["BROKER_SECURITY_PROTOCOL"] == protocol


def test_brokers_log_in_by_scram_and_controllers_by_plain() -> None:
    settings = properties(SECURE)
    assert settings["sasl.mechanism.inter.broker.protocol"] == "SCRAM-SHA-512"
    assert settings["sasl.mechanism.controller.protocol"] == "PLAIN"
    suffix = "sasl.enabled.mechanisms"
    assert settings[f"listener.name.client.{suffix}"] == "SCRAM-SHA-512"
    assert settings[f"listener.name.internal.{suffix}"] == "SCRAM-SHA-512"
    assert settings[f"listener.name.controller.{suffix}"] == "PLAIN"


def test_the_cluster_id_depends_on_release_and_namespace_only() -> None:
    def cluster_id(release: str = "platform", values_file: str = "", **options: str) -> str:
        documents = render("", values_file, release, **options)
        return str(variables(documents, f"{release}-kafka")["CLUSTER_ID"])

    assert len(base64.urlsafe_b64decode(cluster_id() + "==")) == 16
    assert len({cluster_id(), cluster_id(namespace="other"), cluster_id("other")}) == 3
    assert cluster_id(values_file="values-production.yaml") == cluster_id()


def test_no_config_map_contains_a_password_or_key() -> None:
    documents = kafka(SECURE)
    text = str(of_kind(documents, "ConfigMap"))
    for each in of_kind(documents, "Secret"):
        for value in secret(documents, each["metadata"]["name"]).values():
            assert len(value) <= 20 or value not in text


def test_a_change_of_the_configuration_restarts_only_kafka() -> None:
    before, after = render(), kafka("config: {num.io.threads: '4'}")
    assert pod_annotations(before, "platform-kafka") != pod_annotations(after, "platform-kafka")
    for name in ("platform-api-rest", WORKER, "platform-database"):
        assert pod_annotations(before, name) == pod_annotations(after, name)
        assert pod(before, name) == pod(after, name)


def test_generated_passwords_and_certificates_restart_nothing() -> None:
    # Different topics, so that helm runs twice and generates other passwords and certificates.
    first, second = (
        kafka(f"{SECURE}, topics: {{{name}: {{partitions: 1}}}}") for name in ("a", "b")
    )
    for name in ("platform-kafka", "platform-kafka-tls"):
        assert find(first, "Secret", name)["data"] != find(second, "Secret", name)["data"]
    for name in ("platform-kafka", WORKER):
        assert pod(first, name) == pod(second, name)
        assert pod_annotations(first, name) == pod_annotations(second, name)


def test_only_the_headless_service_names_brokers_that_are_not_ready() -> None:
    service = find(render(), "Service", "platform-kafka-headless")["spec"]
    assert (service["clusterIP"], service["publishNotReadyAddresses"]) == ("None", True)
    assert "publishNotReadyAddresses" not in find(render(), "Service", "platform-kafka")["spec"]


def test_brokers_start_together_and_are_updated_one_by_one() -> None:
    spec = find(kafka(THREE), "StatefulSet", "platform-kafka")["spec"]
    assert (spec["replicas"], spec["podManagementPolicy"]) == (3, "Parallel")
    assert spec["updateStrategy"]["type"] == "RollingUpdate"


def test_the_probes_check_different_things() -> None:
    broker = container(render(), "platform-kafka")
    assert broker["readinessProbe"]["exec"]["command"][1:] == ["/etc/kafka/chart/state.sh", "ready"]
    # A broker that waits for a quorum is not killed: its controllers' port is open.
    for probe in ("startupProbe", "livenessProbe"):
        assert broker[probe]["tcpSocket"] == {"port": "controller"}
    # The script's own timeout, for two requests.
    assert broker["readinessProbe"]["timeoutSeconds"] >= 8


@pytest.mark.parametrize(("replicas", "wait"), [(THREE, 33), ("replicas: 1", 0)])
def test_the_grace_period_is_the_sum_of_the_shutdown(replicas: str, wait: int) -> None:
    spec = pod(kafka(f"{replicas}, shutdown: {{waitSeconds: 33, seconds: 44}}"), "platform-kafka")
    assert spec["terminationGracePeriodSeconds"] == wait + 44 + 10
    hook = spec["containers"][0].get("lifecycle")
    # A single broker waits for no others.
    assert (hook is None) == (wait == 0)
    assert hook is None or hook["preStop"]["exec"]["command"][2:] == ["wait", "33"]


@pytest.mark.parametrize(("replicas", "exists"), [(1, False), (3, True)])
def test_several_brokers_have_a_disruption_budget(replicas: int, *, exists: bool) -> None:
    budgets = names(kafka(f"replicas: {replicas}"), "PodDisruptionBudget")
    assert ("platform-kafka" in budgets) == exists


def test_in_production_every_broker_needs_its_own_node() -> None:
    constraints = pod(render("", "values-production.yaml"), "platform-kafka")
    hosts = constraints["topologySpreadConstraints"][0]
    assert hosts["topologyKey"] == "kubernetes.io/hostname"
    assert (hosts["maxSkew"], hosts["whenUnsatisfiable"]) == (1, "DoNotSchedule")


def test_an_uninstall_keeps_the_generated_passwords() -> None:
    documents = kafka(SECURE)
    annotations = find(documents, "Secret", "platform-kafka")["metadata"]["annotations"]
    assert annotations == {"helm.sh/resource-policy": "keep"}
    passwords = secret(documents, "platform-kafka")
    assert passwords.pop("username") == "platform"
    assert sorted(passwords) == ["broker-password", "controller-password", "password"]
    assert len(set(passwords.values())) == 3
    assert all(re.fullmatch("[A-Za-z0-9]{32}", password) for password in passwords.values())


def test_an_existing_secret_replaces_the_generated_one() -> None:
    documents = kafka(f"{THREE}, auth: {{enabled: true, existingSecret: own}}")
    assert "platform-kafka" not in names(documents, "Secret")
    password = variables(documents, WORKER)["BROKER_PASSWORD"]
    assert password == {"name": "own", "key": "password"}


def test_a_component_gets_address_login_and_ca() -> None:
    documents = kafka(SECURE)
    assert variables(documents, WORKER, "BROKER_") == {
        "BROKER_URL": "platform-kafka:9092",
        "BROKER_SECURITY_PROTOCOL": "SASL_SSL",
        "BROKER_SASL_MECHANISM": "SCRAM-SHA-512",
        "BROKER_USERNAME": {"name": "platform-kafka", "key": "username"},
        "BROKER_PASSWORD": {"name": "platform-kafka", "key": "password"},
        "BROKER_CA_FILE": "/etc/platform/kafka/ca.crt",
    }
    spec = pod(documents, WORKER)
    assert by_name(spec["volumes"])["kafka-ca"]["secret"] == {
        "secretName": "platform-kafka-ca",
        "items": [{"key": "ca.crt", "path": "ca.crt"}],
    }
    mounts = by_name(spec["containers"][0]["volumeMounts"])
    assert mounts["kafka-ca"]["mountPath"] == "/etc/platform/kafka"


def test_no_pod_mounts_the_secret_with_the_key_of_the_ca() -> None:
    documents = kafka(SECURE)
    assert secret(documents, "platform-kafka-ca").keys() == {"ca.crt"}
    assert secret(documents, "platform-kafka-tls").keys() == {"ca.crt", "tls.crt", "tls.key"}
    ca_key = secret(documents, "platform-kafka-ca-key")
    assert ca_key["tls.crt"] == secret(documents, "platform-kafka-ca")["ca.crt"]
    others = str([each for each in documents if each["kind"] != "Secret"])
    assert "platform-kafka-ca-key" not in others


def test_an_upgrade_keeps_the_ca_of_an_earlier_chart() -> None:
    documents = kafka(SECURE)
    keys, name = find(documents, "Secret", "platform-kafka-ca-key")["data"], "platform-kafka-tls"
    earlier = find(documents, "Secret", name)
    earlier["data"] |= {"ca.crt": keys["tls.crt"], "ca.key": keys["tls.key"]}
    made = f"{datetime.now(UTC) - timedelta(days=300):%Y-%m-%dT%H:%M:%SZ}"
    earlier["metadata"] = {
        "name": name,
        "creationTimestamp": made,
        "labels": earlier["metadata"]["labels"],
        "annotations": {"platform/names": "a hash"},
    }
    earlier["type"] = "Opaque"
    documents = upgraded([earlier], f"kafka: {{{SECURE}}}")
    new_keys, new = (find(documents, "Secret", each) for each in ("platform-kafka-ca-key", name))
    assert new_keys["data"] == keys
    # The type of a Secret cannot change, and the key of the CA leaves it.
    assert new["type"] == "Opaque"
    assert "ca.key" not in new["data"]
    assert new["data"]["ca.crt"] == keys["tls.crt"]
    assert new["data"]["tls.crt"] != earlier["data"]["tls.crt"]


def test_an_existing_certificate_brings_its_own_ca() -> None:
    documents = kafka("tls: {enabled: true, existingSecret: own}")
    assert by_name(pod(documents, WORKER)["volumes"])["kafka-ca"]["secret"]["secretName"] == "own"
    assert not [name for name in names(documents, "Secret") if "kafka" in name]


def test_the_certificate_names_every_broker_and_the_service(tmp_path: Path) -> None:
    for name, value in secret(kafka(SECURE), "platform-kafka-tls").items():
        (tmp_path / name).write_text(value)
    certificate, ca = str(tmp_path / "tls.crt"), str(tmp_path / "ca.crt")
    show = ["openssl", "x509", "-in", certificate, "-noout", "-ext", "subjectAltName"]
    text = subprocess.run(show, capture_output=True, text=True, check=True).stdout
    assert set(re.findall("DNS:([^,\\s]+)", text)) == {
        *(f"platform-kafka-{node}.platform-kafka-headless.test.svc" for node in range(3)),
        *(f"platform-kafka{end}" for end in ("", ".test", ".test.svc", ".test.svc.cluster.local")),
    }
    verify = ["openssl", "verify", "-CAfile", ca, certificate]
    assert subprocess.run(verify, check=False).returncode == 0


def test_cert_manager_issues_a_certificate_that_kafka_can_read() -> None:
    issuer = "{name: corp, kind: ClusterIssuer}"
    documents = kafka(
        f"{THREE}, tls: {{enabled: true, certManager: {{enabled: true, issuerRef: {issuer}}}}}"
    )
    certificate = find(documents, "Certificate", "platform-kafka-tls")["spec"]
    assert certificate["privateKey"]["encoding"] == "PKCS8"
    assert (certificate["issuerRef"]["name"], certificate["issuerRef"]["group"]) == (
        "corp",
        "cert-manager.io",
    )
    assert "platform-kafka-tls" not in names(documents, "Secret")


def test_an_external_kafka_replaces_the_charts() -> None:
    documents = render(external())
    assert not [each for each in documents if each["metadata"]["name"].startswith("platform-kafka")]
    assert variables(documents, WORKER, "BROKER_") == {
        "BROKER_URL": "a:9094,b:9094",
        "BROKER_SECURITY_PROTOCOL": "PLAINTEXT",
    }


def test_an_external_kafka_with_login_and_ca() -> None:
    login = "securityProtocol: SASL_SSL, saslMechanism: PLAIN, existingSecret: login"
    documents = render(external(f"{login}, caSecret: authority"))
    assert variables(documents, WORKER, "BROKER_") == {
        "BROKER_URL": "a:9094,b:9094",
        "BROKER_SECURITY_PROTOCOL": "SASL_SSL",
        "BROKER_SASL_MECHANISM": "PLAIN",
        "BROKER_USERNAME": {"name": "login", "key": "username"},
        "BROKER_PASSWORD": {"name": "login", "key": "password"},
        "BROKER_CA_FILE": "/etc/platform/kafka/ca.crt",
    }
    volumes = by_name(pod(documents, WORKER)["volumes"])
    assert volumes["kafka-ca"]["secret"]["secretName"] == "authority"


def peers(rule: dict[str, Any]) -> set[str]:
    return {peer["podSelector"]["matchLabels"]["app.kubernetes.io/name"] for peer in rule["from"]}


def test_only_components_that_use_kafka_may_connect() -> None:
    clients, brokers = find(render(), "NetworkPolicy", "platform-kafka")["spec"]["ingress"]
    assert peers(clients) == {"api-rest", "async-worker", "kafka-topics"}
    assert [port["port"] for port in clients["ports"]] == [9092]
    assert peers(brokers) == {"kafka"}
    documents = render("components: {api-rest: {uses: [database]}}")
    clients, _ = find(documents, "NetworkPolicy", "platform-kafka")["spec"]["ingress"]
    assert peers(clients) == {"async-worker", "kafka-topics"}


def test_more_peers_may_connect() -> None:
    peer = {"namespaceSelector": {"matchLabels": {"team": "data"}}}
    documents = render({"kafka": {"allowFrom": [peer]}})
    clients, _ = find(documents, "NetworkPolicy", "platform-kafka")["spec"]["ingress"]
    assert clients["from"][-1] == peer


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("replicationFactor: 3", "kafka.replicationFactor: 3 copies need more brokers"),
        ("minInsyncReplicas: 2", "kafka.minInsyncReplicas: 2 is more than kafka.replicationFactor"),
        (f"{THREE.replace('2', '3')}", "no broker could be down; set it to 2 or less"),
        (
            "topics: {deployments: {partitions: 1, replicationFactor: 3}}",
            "kafka.topics.deployments.replicationFactor: 3 copies need more brokers",
        ),
        (
            f"{THREE}, topics: {{a: {{partitions: 1, replicationFactor: 1}}}}",
            "kafka.topics.a: 2 of 1 copies cannot be in sync",
        ),
        ("config: {node.id: '7'}", "kafka.config: the chart sets node.id"),
        ("auth: {existingSecret: x}", "it has no effect while kafka.auth.enabled is false"),
        ("tls: {existingSecret: x}", "have no effect while kafka.tls.enabled is false"),
        (
            "tls: {enabled: true, existingSecret: x, certManager: {enabled: true}}",
            "kafka.tls: existingSecret and certManager are set; keep one",
        ),
        (
            "tls: {enabled: true, certManager: {enabled: true}}",
            "kafka.tls.certManager.issuerRef.name: it is empty",
        ),
        ("enabled: false", "components.async-worker.uses: there is no kafka"),
    ],
)
def test_a_mistake_is_reported(values: str, message: str) -> None:
    assert message in fails(f"kafka: {{{values}}}")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            "externalKafka: {bootstrapServers: [a:1]}",
            "externalKafka.bootstrapServers: kafka.enabled is true too",
        ),
        (
            external("securityProtocol: SASL_SSL"),
            "SASL_SSL needs a Secret with username and password",
        ),
        (external("existingSecret: x"), "PLAINTEXT uses no password"),
        (external("caSecret: x"), "PLAINTEXT uses no CA"),
    ],
)
def test_a_mistake_with_an_external_kafka_is_reported(values: str, message: str) -> None:
    assert message in fails(values)
