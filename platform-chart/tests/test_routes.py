"""templates/components/ingress.yaml and route.yaml: a component reached from outside."""

from __future__ import annotations

from typing import Any

import pytest
from support import SECURED, Document, alone, fails, find, names, render

CONTROLLER = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}}
PLAIN = {"ports": {"http": 5000}, "service": {"enabled": True, "ports": {"http": 80}}}
PARENTS = [{"name": "gateway", "namespace": "infra"}]
NO_PORT = "none of the Service's ports is called http or https; rename one, or set the "
OTHER_PORTS = {"ports": {"a": 1, "b": 2}, "service": {"enabled": True}}


def outside(**values: Any) -> list[Document]:
    return render({**alone(**{**PLAIN, **values}), "networkPolicy": {"controllers": [CONTROLLER]}})


def ingress(**values: Any) -> Document:
    own = {"enabled": True, "hosts": [{"host": "web.example.com"}], **values}
    return find(outside(ingress=own), "Ingress", "platform-web")


def route(**values: Any) -> Document:
    own = {"enabled": True, "parentRefs": PARENTS, **values}
    return find(outside(route=own), "HTTPRoute", "platform-web")


def backend(port: str | int = "http") -> dict[str, Any]:
    kind = "name" if isinstance(port, str) else "number"
    return {"service": {"name": "platform-web", "port": {kind: port}}}


def test_an_ingress_forwards_all_paths_of_a_host_by_default() -> None:
    path = {"path": "/", "pathType": "Prefix", "backend": backend()}
    assert ingress()["spec"] == {
        "rules": [{"host": "web.example.com", "http": {"paths": [path]}}],
    }


def test_an_ingress_has_class_paths_certificates_labels_and_annotations() -> None:
    tls = [{"secretName": "web-tls", "hosts": ["web.example.com"]}]
    paths = [{"path": "/api", "pathType": "Exact", "port": 8080}]
    own = ingress(
        className="nginx",
        hosts=[{"host": "*.example.com", "paths": paths}],
        tls=tls,
        labels={"a": "1"},
        annotations={"b": "true"},
    )
    assert own["metadata"]["labels"]["a"] == "1"
    assert own["metadata"]["annotations"] == {"b": "true"}
    assert own["spec"]["ingressClassName"] == "nginx"
    assert own["spec"]["tls"] == tls
    (rule,) = own["spec"]["rules"]
    assert rule["http"]["paths"] == [
        {"path": "/api", "pathType": "Exact", "backend": backend(8080)}
    ]


def test_a_route_forwards_everything_by_default() -> None:
    backends = [{"name": "platform-web", "port": 80}]
    assert route(hostnames=["web.example.com"])["spec"] == {
        "parentRefs": PARENTS,
        "hostnames": ["web.example.com"],
        "rules": [{"backendRefs": backends}],
    }


def test_a_rule_of_a_route_forwards_to_the_service_unless_it_names_another_backend() -> None:
    matches = [{"path": {"type": "PathPrefix", "value": "/api"}}]
    redirect = {"filters": [{"type": "RequestRedirect"}], "backendRefs": []}
    first, second = route(rules=[{"matches": matches}, redirect])["spec"]["rules"]
    assert first == {"matches": matches, "backendRefs": [{"name": "platform-web", "port": 80}]}
    assert second == redirect


def test_no_port_has_to_be_called_http_if_all_are_named() -> None:
    refs = [{"name": "platform-web", "port": 2}]
    documents = outside(
        **OTHER_PORTS,
        ingress={"enabled": True, "hosts": [{"host": "a", "paths": [{"port": "b"}]}]},
        route={"enabled": True, "parentRefs": PARENTS, "rules": [{"backendRefs": refs}]},
    )
    (rule,) = find(documents, "Ingress", "platform-web")["spec"]["rules"]
    assert rule["http"]["paths"][0]["backend"] == backend("b")
    assert find(documents, "HTTPRoute", "platform-web")["spec"]["rules"] == [{"backendRefs": refs}]


def test_with_tls_both_forward_to_port_443() -> None:
    values = {
        **SECURED,
        "ingress": {"enabled": True, "hosts": [{"host": "a"}]},
        "route": {"enabled": True, "parentRefs": PARENTS},
    }
    documents = outside(**values)
    (rule,) = find(documents, "Ingress", "platform-web")["spec"]["rules"]
    assert rule["http"]["paths"][0]["backend"] == backend("https")
    (rule,) = find(documents, "HTTPRoute", "platform-web")["spec"]["rules"]
    assert rule["backendRefs"] == [{"name": "platform-web", "port": 443}]


@pytest.mark.parametrize("key", ["ingress", "route"])
@pytest.mark.parametrize("clients", [[], ["web"]])
def test_the_network_policy_lets_the_controller_in(key: str, clients: list[str]) -> None:
    own = {"enabled": True, "hosts": [{"host": "a"}], "parentRefs": PARENTS}
    values = {
        name: own[name] for name in ("enabled", "hosts" if key == "ingress" else "parentRefs")
    }
    documents = outside(**{key: values, "networkPolicy": {"from": clients}})
    (rule,) = find(documents, "NetworkPolicy", "platform-web")["spec"]["ingress"]
    assert len(rule["from"]) == 2
    assert rule["from"][1] == CONTROLLER
    assert rule["ports"] == [{"port": 5000, "protocol": "TCP"}]


def test_only_a_component_with_a_route_lets_the_controller_in() -> None:
    documents = outside()
    assert names(documents, "Ingress") == names(documents, "HTTPRoute") == []
    (rule,) = find(documents, "NetworkPolicy", "platform-web")["spec"]["ingress"]
    assert rule["from"] == [{"podSelector": {}}]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ingress": {"enabled": True}, **PLAIN}, "ingress.hosts: it is empty"),
        ({"route": {"enabled": True}, **PLAIN}, "route.parentRefs: it is empty"),
        ({"route": {"enabled": True}}, "route: it needs a Service"),
        (
            {"route": {"enabled": True}, **OTHER_PORTS},
            f"route: {NO_PORT}backendRefs of each rule",
        ),
        (
            {"ingress": {"enabled": True, "hosts": [{"host": "a"}]}, **OTHER_PORTS},
            f"ingress: {NO_PORT}port of each path",
        ),
        ({"ingress": {"enabled": True}, **PLAIN}, "name it in networkPolicy.controllers"),
    ],
)
def test_a_mistake_is_refused(values: dict[str, Any], message: str) -> None:
    assert message in fails(alone(**values))
