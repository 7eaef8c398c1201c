"""templates/components/networkpolicy.yaml: who may talk to whom."""

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
    found: dict[str, Any] = find(render(values), KIND, name)["spec"]
    return found


def test_nobody_comes_in_where_nothing_is_served_and_only_dns_is_asked() -> None:
    spec = policy(alone(ports={"http": 80}))
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert spec["ingress"] == []
    assert spec["egress"] == [DNS]
    assert spec["podSelector"] == pods_of("web")["podSelector"]


def test_the_namespace_comes_in_where_a_service_leads() -> None:
    spec = policy(
        alone(ports={"http": 5000, "debug": 6000}, service={"enabled": True, "ports": {"http": 80}})
    )
    assert spec["ingress"] == [
        {"from": [{"podSelector": {}}], "ports": [{"port": 5000, "protocol": "TCP"}]}
    ]


def test_the_api_is_reached_by_tls_alone() -> None:
    (rule,) = policy({}, "platform-api-rest")["ingress"]
    assert rule["ports"] == [{"port": 8443, "protocol": "TCP"}]


def test_only_the_named_components_come_in() -> None:
    spec = policy(
        alone(ports={"http": 80}, service={"enabled": True}, networkPolicy={"from": ["web"]})
    )
    assert spec["ingress"][0]["from"] == [pods_of("web")]


def test_it_goes_to_the_named_components_and_to_what_it_uses() -> None:
    values = alone(uses=["kafka", "database"], networkPolicy={"to": ["web"]})
    values["kafka"] = values["database"] = {"enabled": True}
    assert policy(values)["egress"] == [
        DNS,
        {"to": [pods_of("kafka")]},
        {"to": [pods_of("database")]},
        {"to": [pods_of("web")]},
    ]


def test_kafka_and_a_database_elsewhere_are_known_by_their_ports() -> None:
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


def test_scrapers_reach_the_port_of_the_metrics() -> None:
    peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    values = {"networkPolicy": {"scrapers": [peer]}}
    rules = policy(values, "platform-async-worker")["ingress"]
    assert rules == [{"from": [peer], "ports": [{"port": 8001, "protocol": "TCP"}]}]


def test_further_rules_are_added() -> None:
    own = {"ports": [{"port": 443}]}
    spec = policy(alone(networkPolicy={"ingress": [own], "egress": [own]}))
    assert spec["ingress"] == [own]
    assert spec["egress"] == [DNS, own]


def test_dns_can_be_elsewhere() -> None:
    dns = {"to": [{"ipBlock": {"cidr": "169.254.20.10/32"}}], "ports": [5353]}
    (rule,) = policy({**alone(), "networkPolicy": {"dns": dns}})["egress"]
    assert rule["to"] == dns["to"]
    assert {each["port"] for each in rule["ports"]} == {5353}


def test_there_is_none_where_it_is_switched_off() -> None:
    assert names(render(alone(networkPolicy={"enabled": False})), KIND) == []
    assert "platform-api-rest" not in names(render({"networkPolicy": {"enabled": False}}), KIND)
