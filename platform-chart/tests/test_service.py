"""templates/components/service.yaml."""

from __future__ import annotations

from typing import Any

import pytest
from support import SECURED, alone, fails, find, names, render


def service(**values: object) -> dict[str, Any]:
    return find(render(alone(**values)), "Service", "platform-web")


def spec(**values: object) -> dict[str, Any]:
    result: dict[str, Any] = service(**values)["spec"]
    return result


def test_the_api_has_port_443_only_and_the_worker_no_service() -> None:
    documents = render()
    api = find(documents, "Service", "platform-api-rest")["spec"]
    assert api["type"] == "ClusterIP"
    assert api["ports"] == [
        {"name": "https", "port": 443, "targetPort": "https", "protocol": "TCP"}
    ]
    assert "platform-async-worker" not in names(documents, "Service")


def test_the_default_ports_are_the_components() -> None:
    own = spec(
        ports={"http": 5000, "dns": {"port": 53, "protocol": "UDP"}}, service={"enabled": True}
    )
    assert own["ports"] == [
        {"name": "dns", "port": 53, "targetPort": "dns", "protocol": "UDP"},
        {"name": "http", "port": 5000, "targetPort": "http", "protocol": "TCP"},
    ]


def test_the_target_of_a_port_has_its_name_by_default() -> None:
    ports = {
        "http": 80,
        "web": {"port": 8080, "targetPort": "http"},
        "raw": {"port": 9, "targetPort": 5000},
    }
    own = spec(ports={"http": 5000}, service={"enabled": True, "ports": ports})["ports"]
    assert {each["name"]: (each["port"], each["targetPort"]) for each in own} == {
        "http": (80, "http"),
        "web": (8080, "http"),
        "raw": (9, 5000),
    }


def test_a_port_has_the_protocol_of_the_components_port() -> None:
    own = spec(
        ports={"dns": {"port": 53, "protocol": "UDP"}},
        service={"enabled": True, "ports": {"dns": 53}},
    )
    assert own["ports"][0]["protocol"] == "UDP"


@pytest.mark.parametrize(
    ("kind", "headless", "expected"),
    [
        ("Deployment", None, False),
        ("StatefulSet", None, True),
        ("StatefulSet", False, False),
        ("Deployment", True, True),
    ],
)
def test_the_service_of_a_statefulset_is_headless_by_default(
    kind: str, *, headless: bool | None, expected: bool
) -> None:
    own = {"enabled": True} if headless is None else {"enabled": True, "headless": headless}
    assert (spec(kind=kind, ports={"db": 1}, service=own).get("clusterIP") == "None") is expected


def test_it_selects_the_components_pods() -> None:
    own = spec(ports={"http": 80}, service={"enabled": True})
    assert own["selector"] == {
        "app.kubernetes.io/name": "web",
        "app.kubernetes.io/instance": "platform",
    }


def test_type_annotations_and_unready_addresses_are_copied() -> None:
    own = service(
        ports={"http": 80},
        service={
            "enabled": True,
            "type": "LoadBalancer",
            "annotations": {"a": "true"},
            "publishNotReadyAddresses": True,
        },
    )
    assert own["spec"]["type"] == "LoadBalancer"
    assert own["spec"]["publishNotReadyAddresses"] is True
    assert own["metadata"]["annotations"] == {"a": "true"}


def test_other_fields_are_copied() -> None:
    fields = {
        "type": "LoadBalancer",
        "loadBalancerClass": "example.com/internal",
        "loadBalancerSourceRanges": ["10.0.0.0/8"],
        "externalTrafficPolicy": "Local",
        "internalTrafficPolicy": "Cluster",
        "trafficDistribution": "PreferClose",
        "ipFamilyPolicy": "PreferDualStack",
        "ipFamilies": ["IPv6", "IPv4"],
        "sessionAffinity": "ClientIP",
    }
    own = spec(ports={"http": 80}, service={"enabled": True, **fields})
    assert fields.items() <= own.items()


def test_a_label_is_added() -> None:
    labels = service(ports={"http": 80}, service={"enabled": True, "labels": {"a": "1"}})[
        "metadata"
    ]
    assert labels["labels"]["a"] == "1"
    assert labels["labels"]["app.kubernetes.io/name"] == "web"


def test_a_port_may_have_a_node_port_and_an_application_protocol() -> None:
    port = {"port": 80, "nodePort": 30080, "appProtocol": "kubernetes.io/h2c"}
    own = spec(
        ports={"http": 5000}, service={"enabled": True, "type": "NodePort", "ports": {"http": port}}
    )
    assert port.items() <= own["ports"][0].items()


def test_with_tls_only_https_may_have_a_node_port() -> None:
    port = {"port": 443, "nodePort": 30443, "appProtocol": "https"}
    own = spec(**{**SECURED, "service": {"enabled": True, "ports": {"https": port}}})
    assert own["ports"] == [{**port, "name": "https", "targetPort": "https", "protocol": "TCP"}]
    wrong = {**SECURED, "service": {"enabled": True, "ports": {"https": 8443}}}
    assert "remove all but {https: {port: 443}}" in fails(alone(**wrong))
