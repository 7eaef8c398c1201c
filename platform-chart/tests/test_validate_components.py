"""templates/_validate-components.tpl: values of components that do not fit together."""

from __future__ import annotations

from typing import Any

import pytest
from support import SECURED, alone, fails, load, numbered, render

CLAIM = "{mountPath: /data, size: 1Gi}"
WEB = "ports: {http: 80}\nservice: "
API = "components.api-rest"

# Values of a component, and the message without the component's name.
MISTAKES = [
    ("image: {}", ".image.repository: it is empty; name an image"),
    ("image: {repository: web}", ".image: it has neither a tag nor a digest"),
    (
        "capacityType: {prefer: spot, require: spot}",
        ".capacityType: it has prefer and require; keep one (null removes one)",
    ),
    (
        "podLabels: {app.kubernetes.io/name: x}",
        ".podLabels: the chart sets app.kubernetes.io/name",
    ),
    ("ports: {a: 80, b: {port: 80}}", ".ports: a and b are both 80/TCP"),
    (
        "probes: {liveness: {periodSeconds: 5}}",
        ".probes.liveness: it has none; set exactly one of httpGet, tcpSocket, exec, grpc",
    ),
    (
        "ports: {a: 80}\nprobes: {liveness: {tcpSocket: {port: 80}, exec: {command: [x]}}}",
        ".probes.liveness: it has tcpSocket and exec; set exactly one",
    ),
    (
        "ports: {http: 80}\nprobes: {readiness: {httpGet: {port: htp}}}",
        ".probes.readiness.httpGet.port: htp is none of the component's ports (http)",
    ),
    (
        "ports: {http: 80}\nprobes: {readiness: {tcpSocket: {port: 8080}}}",
        ".probes.readiness.tcpSocket.port: 8080 is none of the component's ports (80)",
    ),
    (
        "probes: {startup: {exec: {command: [x]}, successThreshold: 2}}",
        ".probes.startup.successThreshold: only a readiness probe",
    ),
    ("metrics: {port: m}", ".metrics.port: m is none of the component's ports (none)"),
    ("service: {enabled: true}", ".service: it has no ports"),
    (
        f"{WEB} {{enabled: true, ports: {{web: 80}}}}",
        ".service.ports.web: web is none of the component's ports (http)",
    ),
    (
        f"{WEB} {{enabled: true, ports: {{http: {{port: 80, targetPort: 81}}}}}}",
        ".service.ports.http: 81 is none of the component's ports (80)",
    ),
    (
        f"{WEB} {{enabled: true, ports: {{http: 9, web: {{port: 9, targetPort: http}}}}}}",
        ".service.ports: http and web are both 9/TCP",
    ),
    (
        f"kind: StatefulSet\n{WEB} {{enabled: true, ports: {{http: 8080}}}}",
        ".service.ports.http: a headless Service cannot map 8080 to 80",
    ),
    (
        f"{WEB} {{enabled: true, headless: true, type: NodePort}}",
        ".service.headless: a headless Service has type ClusterIP",
    ),
    ("secrets: {A: {key: a}}", ".secrets.A: it has none; set exactly one of secret, value, from"),
    ("secrets: {A: {secret: s, value: v}}", ".secrets.A: it has secret and value;"),
    ("secrets: {A: {from: store}}", ".secrets.A: store has no secret A by value"),
    ("secrets: {A: {value: v}}\nenv: {A: a}", ".secrets.A: A is also in env"),
    ("variables: {linger: DELAY}\nenv: {DELAY: '5'}", ".env.DELAY: set components.web"),
    ("variables: {drain: DRAIN}\nconfig: {DRAIN: '5'}", ".config.DRAIN: set components.web"),
    (
        "volumes: {v: {mountPath: /v}}",
        ".volumes.v: it has none; set exactly one of emptyDir, files, secretFiles, configMap",
    ),
    ("volumes: {v: {mountPath: /v, secret: a, claim: b}}", "it has secret and claim;"),
    ("volumes: {v: {secret: a}}", ".volumes.v.mountPath: it is empty"),
    (
        "volumes: {v: {mountPath: /tmp, secret: a}}",
        ".volumes.v.mountPath: volumes.tmp is also at /tmp",
    ),
    (
        "kind: StatefulSet\nclaims: {tmp: {mountPath: /v, size: 1Gi}}",
        ".volumes.tmp: a claim has this name too",
    ),
    (
        "kind: StatefulSet\nclaims: {data: {mountPath: /tmp, size: 1Gi}}",
        ".claims.data.mountPath: volumes.tmp is also at /tmp",
    ),
    (
        "kind: StatefulSet\nclaims: {data: {mountPath: /d}}",
        ".claims.data: set either size or existingClaim",
    ),
    (f"claims: {{data: {CLAIM}}}", ".claims.data: only one node can mount it, so the old and"),
    (
        f"claims: {{data: {CLAIM}}}\nreplicas: 2\nrollout: {{strategy: Recreate}}",
        ".claims.data: only one node can mount it, and the Deployment has several",
    ),
    ("scaling: {enabled: true, min: 4, max: 3}", ".scaling: min (4) is more than max (3)"),
    ("scaling: {enabled: true, cpu: null}", ".scaling: set cpu, memory, metrics or kafka to"),
    (
        "scaling: {enabled: true}\nresources: {requests: {cpu: null}}",
        ".scaling.cpu: it needs resources.requests.cpu",
    ),
    (
        "replicas: 2\ndisruptionBudget: {minAvailable: 2}",
        ".disruptionBudget.minAvailable: 2 of 2 pods block every drain",
    ),
    (
        "replicas: 2\ndisruptionBudget: {minAvailable: 100%}",
        ".disruptionBudget.minAvailable: 100% of 2 pods block every drain",
    ),
    (
        "replicas: 2\ndisruptionBudget: {maxUnavailable: 0}",
        ".disruptionBudget.maxUnavailable: 0 blocks every drain",
    ),
    (
        "kind: StatefulSet\nrollout: {strategy: Recreate}",
        ".rollout.strategy: a StatefulSet has RollingUpdate or OnDelete",
    ),
    (
        "rollout: {strategy: OnDelete}",
        ".rollout.strategy: a Deployment has RollingUpdate or Recreate",
    ),
    (
        "rollout: {maxSurge: 0, maxUnavailable: 0%}",
        ".rollout: maxSurge and maxUnavailable are both 0",
    ),
    (
        "rollout: {minReadySeconds: 300}",
        ".rollout.minReadySeconds: it is not less than progressDeadlineSeconds (300)",
    ),
    (
        "resources: {requests: {memory: 1Gi}}",
        ".resources.requests.memory: 1Gi is more than the limit, 256Mi; raise limits.memory too",
    ),
    (
        "initContainers: [{name: x, image: x, resources: {requests: {a: 1}, limits: {a: 5m}}}]",
        ".initContainers[0].resources.requests.a: 1 is more than the limit, 5m",
    ),
    (
        "initContainers: [{name: a, image: x}]\nextraContainers: [{name: a, image: x}]",
        ".extraContainers[0].name: a is initContainers[0] too; choose another name",
    ),
    (
        "extraContainers: [{name: a, image: x, volumeMounts: [{name: v, mountPath: /v}]}]",
        ".extraContainers[0].volumeMounts: there is no volume v; name one of tmp,",
    ),
    (
        "scaling: {enabled: true}\nextraContainers: [{name: a, image: x}]",
        ".extraContainers[0].resources.requests.cpu: scaling.cpu needs it of every container",
    ),
    ("networkPolicy: {to: [store]}", ".networkPolicy.to: there is no component store ("),
    ("networkPolicy: {from: [store]}", ".networkPolicy.from: there is no component store ("),
]


@pytest.mark.parametrize("number", range(len(MISTAKES)), ids=[message for _, message in MISTAKES])
def test_a_mistake_is_reported_with_its_path(number: int) -> None:
    # All components in one run of helm; every mistake is reported.
    message = fails(numbered(values for values, _ in MISTAKES))
    assert f"{len(MISTAKES)} mistakes in the values" in message
    (line,) = [line for line in message.splitlines() if f" components.web-{number}." in line]
    assert MISTAKES[number][1] in line


@pytest.mark.parametrize(
    ("service", "message"),
    [
        ("{ports: {http: 80}}", ".service.ports: with tls.enabled the Service has port 443 only"),
        ("{headless: true}", ".service.headless: a headless Service has type ClusterIP and no TLS"),
        ("{enabled: false}", ".tls.enabled: TLS needs a Service"),
    ],
)
def test_a_mistake_in_a_service_with_tls(service: str, message: str) -> None:
    assert API + message in fails(f"components: {{api-rest: {{service: {service}}}}}")


@pytest.mark.parametrize(
    ("kind", "longest"), [("Deployment", 63), ("StatefulSet", 52), ("Job", 54)]
)
def test_the_length_of_a_name(kind: str, longest: int) -> None:
    def values(length: int) -> dict[str, Any]:
        prefix = "f" * (longest - 31)
        return alone("c" * (length - len(prefix) - 1), kind=kind) | {"fullnameOverride": prefix}

    assert render(values(longest))
    message = fails(values(longest + 1))
    assert f"has {longest + 1} characters, and a {kind}'s name may have {longest}" in message


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
    render(alone("kafka"))


def test_a_sleep_before_the_shutdown_needs_kubernetes_1_30() -> None:
    values = alone(shutdown={"linger": 5})
    assert render(values, kube_version="1.30.0")
    with pytest.raises(AssertionError, match=r"web\.shutdown\.linger: it needs Kubernetes 1\.30"):
        render(values, kube_version="1.29.4")


@pytest.mark.parametrize("name", ["web", "proxy"])
def test_no_container_has_the_name_of_one_of_the_chart(name: str) -> None:
    values = alone(**SECURED, extraContainers=[{"name": name, "image": "x"}])
    assert f"extraContainers[0].name: {name} is the c" in fails(values)


def test_no_volume_has_the_name_of_one_of_the_chart() -> None:
    volumes, claims = ["kafka-ca", "database-ca", "token"], ["proxy", "certificate"]
    own = {
        "volumes": {name: {"mountPath": f"/{name}", "claim": "own"} for name in volumes},
        "claims": {name: {"mountPath": f"/{name}", "existingClaim": "own"} for name in claims},
    }
    backends = {backend: {"tls": {"enabled": True}} for backend in ("kafka", "database")}
    message = fails({"components": {"api-rest": own}, **backends})
    for path in [f"volumes.{name}" for name in volumes] + [f"claims.{name}" for name in claims]:
        assert f"{API}.{path}: the chart adds a volume of this name; rename it" in message


def test_requests_above_limits_outside_of_components() -> None:
    parts = ("kafka", "database", "proxy", "tests")
    values: dict[str, Any] = {part: {"resources": {"requests": {"cpu": 9}}} for part in parts}
    values["kafka"]["topicsJob"] = {"resources": {"requests": {"cpu": 9}}}
    message = fails(values)
    for part in (*parts, "kafka.topicsJob"):
        assert f"- {part}.resources.requests.cpu: 9 is more than the limit, " in message


def test_a_mount_of_any_volume_of_the_component() -> None:
    mounts = [{"name": name, "mountPath": f"/{name}"} for name in ("tmp", "data")]
    values = load(f"{{kind: StatefulSet, claims: {{data: {CLAIM}}}}}")
    assert render(
        alone(**values, extraContainers=[{"name": "x", "image": "x", "volumeMounts": mounts}])
    )


def test_a_disabled_component_is_not_checked() -> None:
    assert render(alone(enabled=False, image={}, metrics={"port": "m"})) == []


def test_values_that_fit_together_are_rendered() -> None:
    assert render(
        numbered(
            [
                f"claims: {{data: {CLAIM}}}\nrollout: {{strategy: Recreate}}",
                "claims: {d: {mountPath: /d, size: 1G, accessModes: [ReadWriteMany]}}\nreplicas: 2",
                "extraContainers: [{name: x, image: x}]\nprobes: {liveness: {grpc: {port: 9}}}",
                "replicas: 3\ndisruptionBudget: {minAvailable: 2}",
            ]
        )
    )
