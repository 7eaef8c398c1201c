"""templates/components/networkpolicy.yaml."""

from __future__ import annotations

from typing import Any

from support import alone, find, names, render

KIND = "NetworkPolicy"
DNS = {
    "to": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}],
    "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}],
}


def pods_of(name: str) -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": name, "app.kubernetes.io/instance": "platform"}
    return {"podSelector": {"matchLabels": labels}}


def policy(values: dict[str, Any], name: str = "platform-web") -> dict[str, Any]:
    spec: dict[str, Any] = find(render(values), KIND, name)["spec"]
    return spec


def test_without_a_service_only_dns_is_allowed() -> None:
    spec = policy(alone(ports={"http": 80}))
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in spec
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert spec["egress"] == [DNS]
    assert spec["podSelector"] == pods_of("web")["podSelector"]


def test_the_namespace_may_connect_to_the_ports_of_a_service() -> None:
    spec = policy(
        alone(ports={"http": 5000, "debug": 6000}, service={"enabled": True, "ports": {"http": 80}})
    )
    assert spec["ingress"] == [
        {"from": [{"podSelector": {}}], "ports": [{"port": 5000, "protocol": "TCP"}]}
    ]


def test_clients_of_the_api_may_use_tls_only() -> None:
    (rule,) = policy({}, "platform-api-rest")["ingress"]
    assert rule["ports"] == [{"port": 8443, "protocol": "TCP"}]


def test_from_names_the_clients() -> None:
    spec = policy(
        alone(ports={"http": 80}, service={"enabled": True}, networkPolicy={"from": ["web"]})
    )
    assert spec["ingress"][0]["from"] == [pods_of("web")]


def test_to_and_uses_name_the_servers() -> None:
    values = alone(uses=["kafka", "database"], networkPolicy={"to": ["web"]})
    values["kafka"] = values["database"] = {"enabled": True}
    assert policy(values)["egress"] == [
        DNS,
        {"to": [pods_of("kafka")]},
        {"to": [pods_of("database")]},
        {"to": [pods_of("web")]},
    ]


def test_external_backends_are_allowed_by_their_ports() -> None:
    values = {
        **alone(uses=["kafka", "database"]),
        "externalKafka": {"bootstrapServers": ["a:9092", "b:9092", "c:9094"]},
        "externalDatabase": {"host": "d", "port": 3307, "existingSecret": "login"},
    }
    assert policy(values)["egress"] == [
        DNS,
        {"ports": [{"port": 9092, "protocol": "TCP"}, {"port": 9094, "protocol": "TCP"}]},
        {"ports": [{"port": 3307, "protocol": "TCP"}]},
    ]


def test_scrapers_may_connect_to_the_metrics() -> None:
    peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    values = {"networkPolicy": {"scrapers": [peer]}}
    rules = policy(values, "platform-async-worker")["ingress"]
    assert rules == [{"from": [peer], "ports": [{"port": 8001, "protocol": "TCP"}]}]


def test_the_users_rules_are_added() -> None:
    own = {"ports": [{"port": 443}]}
    spec = policy(alone(networkPolicy={"ingress": [own], "egress": [own]}))
    assert spec["ingress"] == [own]
    assert spec["egress"] == [DNS, own]


def test_other_dns_servers() -> None:
    dns = {"to": [{"ipBlock": {"cidr": "169.254.20.10/32"}}], "ports": [5353]}
    (rule,) = policy({**alone(), "networkPolicy": {"dns": dns}})["egress"]
    assert rule["to"] == dns["to"]
    assert {each["port"] for each in rule["ports"]} == {5353}


def test_a_component_with_a_token_may_reach_kubernetes_api() -> None:
    token = {"serviceAccount": {"automountServiceAccountToken": True}}
    ports = [{"port": port, "protocol": "TCP"} for port in (443, 6443)]
    assert policy(alone(**token))["egress"] == [DNS, {"ports": ports}]
    to = [{"ipBlock": {"cidr": "10.0.0.1/32"}}]
    values = {**alone(**token), "networkPolicy": {"apiServer": {"to": to, "ports": [6443]}}}
    assert policy(values)["egress"] == [DNS, {"ports": ports[1:], "to": to}]


def test_policies_can_be_disabled() -> None:
    assert names(render(alone(networkPolicy={"enabled": False})), KIND) == []
    assert "platform-api-rest" not in names(render({"networkPolicy": {"enabled": False}}), KIND)
