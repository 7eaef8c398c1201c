"""templates/_validate-components.tpl: values of components that do not fit together."""

from __future__ import annotations

from typing import Any

import pytest
from support import alone, beside, fails, render

TMP = "/tmp"  # noqa: S108  where the defaults have a volume
CLAIM = {"mountPath": "/data", "size": "1Gi"}
WEB = {"ports": {"http": 80}, "service": {"enabled": True}}
SCALED = {"enabled": True}
API = "components.api-rest"

MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"image": {}}, "web.image.repository: it is empty; name an image"),
    ({"image": {"repository": "web"}}, "web.image: it has neither a tag nor a digest"),
    (
        {"capacityType": {"prefer": "spot", "require": "spot"}},
        "web.capacityType: it has both prefer and require",
    ),
    (
        {"podLabels": {"app.kubernetes.io/name": "x"}},
        "web.podLabels: the chart sets app.kubernetes.io/name",
    ),
    ({"ports": {"a": 80, "b": {"port": 80}}}, "web.ports: a and b are both 80/TCP"),
    (
        {"probes": {"liveness": {"periodSeconds": 5}}},
        "web.probes.liveness: it has none; set exactly one of httpGet, tcpSocket, exec, grpc",
    ),
    (
        {
            "ports": {"a": 80},
            "probes": {"liveness": {"tcpSocket": {"port": 80}, "exec": {"command": ["x"]}}},
        },
        "it has tcpSocket and exec; set exactly one",
    ),
    (
        {"ports": {"http": 80}, "probes": {"readiness": {"httpGet": {"port": "htp"}}}},
        "web.probes.readiness.httpGet.port: htp is none of the component's ports (http)",
    ),
    (
        {"ports": {"http": 80}, "probes": {"readiness": {"tcpSocket": {"port": 8080}}}},
        "web.probes.readiness.tcpSocket.port: 8080 is none of the component's ports (80)",
    ),
    (
        {"probes": {"startup": {"exec": {"command": ["x"]}, "successThreshold": 2}}},
        "web.probes.startup.successThreshold: only a readiness probe",
    ),
    (
        {"metrics": {"port": "metrics"}},
        "web.metrics.port: metrics is none of the component's ports (none)",
    ),
    ({"service": {"enabled": True}}, "web.service: it has no ports"),
    (
        {**WEB, "service": {"enabled": True, "ports": {"web": 80}}},
        "web.service.ports.web: web is none of the component's ports (http)",
    ),
    (
        {**WEB, "service": {"enabled": True, "ports": {"http": {"port": 80, "targetPort": 81}}}},
        "web.service.ports.http: 81 is none of the component's ports (80)",
    ),
    (
        {
            **WEB,
            "service": {
                "enabled": True,
                "ports": {"http": 9, "web": {"port": 9, "targetPort": "http"}},
            },
        },
        "web.service.ports: http and web are both 9/TCP",
    ),
    (
        {**WEB, "kind": "StatefulSet", "service": {"enabled": True, "ports": {"http": 8080}}},
        "web.service.ports.http: a headless Service cannot map 8080 to 80",
    ),
    (
        {**WEB, "service": {"enabled": True, "headless": True, "type": "NodePort"}},
        "web.service.headless: a headless Service has type ClusterIP",
    ),
    (
        {"secrets": {"A": {"key": "a"}}},
        "web.secrets.A: it has none; set exactly one of secret, value, from",
    ),
    ({"secrets": {"A": {"secret": "s", "value": "v"}}}, "web.secrets.A: it has secret and value;"),
    ({"secrets": {"A": {"from": "store"}}}, "web.secrets.A: store has no secret A by value"),
    ({"secrets": {"A": {"value": "v"}}, "env": {"A": "a"}}, "web.secrets.A: A is also in env"),
    (
        {"variables": {"linger": "DELAY"}, "env": {"DELAY": "5"}},
        "web.env.DELAY: set components.web.shutdown.linger instead",
    ),
    (
        {"variables": {"drain": "DRAIN"}, "config": {"DRAIN": "5"}},
        "web.config.DRAIN: set components.web.shutdown.drain instead",
    ),
    (
        {"volumes": {"v": {"mountPath": "/v"}}},
        "web.volumes.v: it has none; set exactly one of emptyDir",
    ),
    (
        {"volumes": {"v": {"mountPath": "/v", "secret": "a", "claim": "b"}}},
        "it has secret and claim;",
    ),
    (
        {"volumes": {"v": {"secret": "a"}}},
        "web.volumes.v.mountPath: it is empty",
    ),
    (
        {"volumes": {"v": {"mountPath": TMP, "secret": "a"}}},
        "web.volumes.v.mountPath: volumes.tmp is also at /tmp",
    ),
    (
        {"kind": "StatefulSet", "claims": {"tmp": {"mountPath": "/v", "size": 1}}},
        "web.volumes.tmp: a claim has this name too",
    ),
    (
        {"kind": "StatefulSet", "claims": {"data": {"mountPath": TMP, "size": 1}}},
        "web.claims.data.mountPath: volumes.tmp is also at /tmp",
    ),
    (
        {"kind": "StatefulSet", "claims": {"data": {"size": 1}}},
        "web.claims.data.mountPath: it is empty",
    ),
    (
        {"kind": "StatefulSet", "claims": {"data": {"mountPath": "/d"}}},
        "web.claims.data: set either size or existingClaim",
    ),
    (
        {"claims": {"data": CLAIM}},
        "web.claims.data: only one node can mount it, so the old and the new pod",
    ),
    (
        {"claims": {"data": CLAIM}, "replicas": 2, "rollout": {"strategy": "Recreate"}},
        "web.claims.data: only one node can mount it, and the Deployment has several",
    ),
    ({"scaling": {**SCALED, "min": 4, "max": 3}}, "web.scaling: min (4) is more than max (3)"),
    (
        {"scaling": {**SCALED, "cpu": None}},
        "web.scaling: set cpu, memory or metrics to scale by",
    ),
    (
        {"scaling": SCALED, "resources": {"requests": {"cpu": None}}},
        "web.scaling.cpu: it needs resources.requests.cpu",
    ),
    (
        {"replicas": 2, "disruptionBudget": {"minAvailable": 2}},
        "web.disruptionBudget.minAvailable: 2 of 2 pods block every drain",
    ),
    (
        {"replicas": 2, "disruptionBudget": {"minAvailable": "100%"}},
        "100% of 2 pods block every drain",
    ),
    (
        {"replicas": 2, "disruptionBudget": {"maxUnavailable": 0}},
        "web.disruptionBudget.maxUnavailable: 0 blocks every drain",
    ),
    (
        {"kind": "StatefulSet", "rollout": {"strategy": "Recreate"}},
        "a StatefulSet has RollingUpdate or OnDelete",
    ),
    (
        {"rollout": {"strategy": "OnDelete"}},
        "web.rollout.strategy: a Deployment has RollingUpdate or Recreate",
    ),
    (
        {"rollout": {"maxSurge": 0, "maxUnavailable": "0%"}},
        "web.rollout: maxSurge and maxUnavailable are both 0",
    ),
    (
        {"rollout": {"minReadySeconds": 300}},
        "web.rollout.minReadySeconds: it is not less than progressDeadlineSeconds (300)",
    ),
    ({"networkPolicy": {"to": ["store"]}}, "web.networkPolicy.to: there is no component store ("),
    (
        {"networkPolicy": {"from": ["store"]}},
        "web.networkPolicy.from: there is no component store (",
    ),
]


@pytest.mark.parametrize(
    ("number", "message"), [(number, message) for number, (_, message) in enumerate(MISTAKES)]
)
def test_a_mistake_is_named(number: int, message: str) -> None:
    # Each in a component of its own, so that helm has to be asked but once.
    said = fails(
        beside([values for values, _ in MISTAKES], [f"web-{each}" for each in range(len(MISTAKES))])
    )
    (line,) = [
        line for line in said.splitlines() if line.startswith(f"  - components.web-{number}.")
    ]
    assert message.replace("web.", f"web-{number}.") in line


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"service": {"ports": {"http": 80}}},
            f"{API}.service.ports: with tls.enabled the Service has port 443 only",
        ),
        (
            {"service": {"headless": True}},
            f"{API}.service.headless: a headless Service has type ClusterIP and no TLS",
        ),
        ({"service": {"enabled": False}}, f"{API}.tls.enabled: TLS needs a Service"),
    ],
)
def test_a_mistake_with_tls_is_named(values: dict[str, Any], message: str) -> None:
    assert message in fails({"components": {"api-rest": values}})


@pytest.mark.parametrize(("kind", "longest"), [("Deployment", 63), ("StatefulSet", 52)])
def test_a_name_is_short_enough_for_what_is_made_of_it(kind: str, longest: int) -> None:
    front = "f" * (longest - 31)
    fits, too_long = "c" * 30, "c" * 31
    values = alone(kind=kind)
    image = values["components"].pop("web")
    assert render(
        {
            **values,
            "fullnameOverride": front[:40],
            "components": {**values["components"], fits: image},
        }
    )
    said = fails(
        {
            **values,
            "fullnameOverride": front[:40],
            "components": {**values["components"], too_long: image},
        }
    )
    assert f"has {longest + 1} characters, and a {kind}'s name may have {longest}" in said


def test_no_component_has_the_name_of_an_object_of_the_chart() -> None:
    reserved = [
        *("kafka", "kafka-headless", "kafka-topics"),
        *("database", "database-headless", "database-reader"),
        *("tls", "ca", "ca-key", "proxy"),
    ]
    image = {"repository": "web", "tag": "1"}
    message = fails({"components": {name: {"image": image} for name in reserved}})
    for name in reserved:
        assert f"components.{name}: the chart has objects of this name" in message
    render({"kafka": {"enabled": False}} | alone("kafka"))


def test_a_sleep_before_the_end_needs_a_kubernetes_that_can_sleep() -> None:
    values = alone(shutdown={"linger": 5})
    assert render(values, kube_version="1.30.0")
    with pytest.raises(AssertionError, match=r"web\.shutdown\.linger: it needs Kubernetes 1\.30"):
        render(values, kube_version="1.29.4")


def test_all_mistakes_are_told_together() -> None:
    values = alone(scaling={"enabled": True, "min": 4}, metrics={"port": "m"})
    values["components"]["async-worker"] = {"enabled": True, "uses": [], "image": {"tag": ""}}
    said = fails(values)
    assert "3 mistakes in the values" in said
    for part in ("web.scaling", "web.metrics.port", "async-worker.image"):
        assert f"  - components.{part}" in said


def test_what_is_switched_off_is_not_looked_at() -> None:
    assert render(alone(enabled=False, image={}, metrics={"port": "m"})) == []


@pytest.mark.parametrize(
    "right",
    [
        {"claims": {"data": CLAIM}, "rollout": {"strategy": "Recreate"}},
        {"claims": {"data": {**CLAIM, "accessModes": ["ReadWriteMany"]}}, "replicas": 2},
        {
            "probes": {"liveness": {"tcpSocket": {"port": 99}}},
            "extraContainers": [{"name": "x", "image": "x"}],
        },
        {"replicas": 3, "disruptionBudget": {"minAvailable": 2}},
    ],
)
def test_what_only_looks_wrong_is_rendered(right: dict[str, Any]) -> None:
    assert render(alone(**right))
