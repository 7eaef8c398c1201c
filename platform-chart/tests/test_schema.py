"""values.schema.json: closed, except for maps whose keys the user chooses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from support import CHART, alone, container, fails, load, numbered, pod, render

SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
COMPONENT = SCHEMA["$defs"]["component"]["properties"]
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
VALUES = load((CHART / "values.yaml").read_text(encoding="utf-8"))


def test_it_is_a_schema_that_the_defaults_fit() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.validate(VALUES, SCHEMA, cls=jsonschema.Draft7Validator)


def test_every_key_of_a_component_has_a_default() -> None:
    assert VALUES["componentDefaults"].keys() == COMPONENT.keys()


def objects(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every schema of an object with fixed keys, with its path."""
    if "allOf" in schema:
        return  # it narrows another schema
    if "properties" in schema:
        yield path, schema
    children = {**schema.get("properties", {}), "*": schema.get("additionalProperties")}
    for name, child in {**children, "[]": schema.get("items")}.items():
        if isinstance(child, dict):
            yield from objects(child, f"{path}.{name}")


@pytest.mark.parametrize("name", [*SCHEMA["$defs"], ""])
def test_an_object_with_fixed_keys_is_closed(name: str) -> None:
    schema = SCHEMA["$defs"][name] if name else {**SCHEMA, "$defs": {}}
    for path, each in objects(schema, name):
        assert each.get("additionalProperties") is False, path


# A component's values, and the message. test_an_object_with_fixed_keys_is_closed covers more keys.
MISTAKES = [
    ("replica: 2", "additional properties 'replica' not allowed"),
    ("kind: ReplicaSet", "value must be one of 'Deployment', 'StatefulSet'"),
    ("cronjob: {cron: '* * * * *'}", "additional properties 'cron' not allowed"),
    ("job: {backoffLimit: -1}", "minimum: got -1, want 0"),
    ("persistentVolumeClaimRetentionPolicy: {whenDeleted: Keep}", "one of 'Retain', 'Delete'"),
    ("podSpec: {containers: []}", "'containers'"),
    ("serviceAccount: {rules: [{verbs: [get]}]}", "missing properties"),
    ("service: {ports: {http: {port: 80, nodePort: 70000}}}", "got 70,000, want 65,535"),
    ("image: {repository: Upper/Case}", "does not match pattern"),
    ("image: {repository: 'web:1.0'}", "does not match pattern"),
    ("image: {repository: web, digest: 'sha256:abc'}", "does not match pattern"),
    ("user: 0", "minimum: got 0, want 1"),
    ("ports: {http: 70000}", "maximum: got 70,000, want 65,535"),
    ("ports: {http: '80'}", "got string, want"),
    ("ports: {much-too-long-name: 80}", "'much-too-long-name'"),
    ("ports: {http: {port: 80, protocol: HTTP}}", "value must be one of 'TCP', 'UDP', 'SCTP'"),
    ("env: {A B: x}", "'A B' does not match pattern"),
    ("env: {A: [x]}", "got array, want"),
    ("config: {A: {b: c}}", "got object, want"),
    ("secrets: {A: x}", "got string, want"),
    ("uses: [redis]", "value must be one of 'kafka', 'database'"),
    ("volumes: {v: {mountPath: relative}}", "does not match pattern '^/'"),
    ("volumes: {v: {mountPath: /v, source: {nfs: {}, csi: {}}}}", "maxProperties"),
    ("claims: {v: {mountPath: /v, size: 1 GB}}", "'1 GB' does not match pattern"),
    ("claims: {v: {accessModes: [RWO]}}", "value must be one of 'ReadWriteOnce'"),
    ("probes: {liveness: {httpGet: {path: /health}}}", "missing property 'port'"),
    ("resources: {limits: {cpu: 5x}}", "'5x' does not match pattern"),
    ("replicas: -1", "minimum: got -1, want 0"),
    ("rollout: {strategy: Rolling}", "value must be one of 'RollingUpdate', 'Recreate'"),
    ("rollout: {maxSurge: a quarter}", "does not match pattern"),
    ("shutdown: {linger: 1.5}", "got number, want integer"),
    ("service: {type: Internal}", "value must be one of 'ClusterIP'"),
    ("capacityType: {prefer: sport}", "value must be one of 'spot', 'ondemand'"),
    (
        f"affinity: {{nodeAffinity: {{{REQUIRED}: {{nodeSelectorTerms: [{{}}]}}}}}}",
        "minProperties",
    ),
    ("topologySpreadConstraints: [{maxSkew: 1}]", "missing properties"),
    ("hostAliases: [{ip: 1.1.1.1}]", "missing property 'hostnames'"),
    ("podLabels: {a: not a label}", "does not match pattern"),
    ("initContainers: [{image: x}]", "missing property 'name'"),
]


@pytest.mark.parametrize("number", range(len(MISTAKES)), ids=[values for values, _ in MISTAKES])
def test_a_mistake_in_a_component_is_refused_with_its_path(number: int) -> None:
    # All components in one run of helm; every mistake is reported.
    lines = fails(numbered(values for values, _ in MISTAKES)).splitlines()
    paths = (f"'/components/web-{number}'", f"'/components/web-{number}/")
    own = [line for line in lines if any(path in line for path in paths)]
    # Helm does not name the path of an invalid key.
    assert any(
        MISTAKES[number][1] in line for line in own or [line for line in lines if "at ''" in line]
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("component: {}", "additional properties 'component' not allowed"),
        ("components: {Web_App: {}}", "'Web_App' does not match pattern"),
        ("componentDefaults: {replica: 1}", "at '/componentDefaults': additional properties"),
        ("componentDefaults: {probes: null}", "at '/componentDefaults': missing property 'probes'"),
        ("image: {pullPolicy: Sometimes}", "at '/image/pullPolicy': value must be one of"),
        ("capacityTypeLabel: not a label", "at '/capacityTypeLabel'"),
        ("proxy: {trustedProxies: [10.0.0.0/33]}", "at '/proxy/trustedProxies/0'"),
        ("tls: {extraNames: [a..b]}", "at '/tls/extraNames/0'"),
        ("kafka: {replicas: 2}", "at '/kafka/replicas': value must be one of 1, 3, 5"),
        ('kafka: {config: {a: "b\\nlisteners=x"}}', "at '/kafka/config/a'"),
        ("kafka: {resources: {limits: {memory: null}}}", "missing property 'memory'"),
        ("database: {username: root}", "at '/database/username'"),
        ("database: {accounts: {reader: {tables: {t: [DROP]}}}}", "must be one of 'SELECT'"),
        ('database: {config: {a: "b\\n[client]"}}', "at '/database/config/a'"),
    ],
)
def test_a_mistake_outside_of_components_is_refused_too(values: str, message: str) -> None:
    assert message in fails(values)


def test_maps_of_the_users_own_keys_are_open() -> None:
    assert render(
        alone(
            env={"ANY_name.1": 1},
            config={"x": True},
            annotations={"example.com/any": "x"},
            podAnnotations={"any": 1},
            podLabels={"example.com/any": "x_y.z"},
            nodeSelector={"any": "x"},
            resources={"limits": {"example.com/gpu": 1, "cpu": None}},
            volumes={
                "v": {"mountPath": "/v", "files": {"any name": "x"}},
                "w": {"mountPath": "/w", "source": {"csi": {}}},
            },
            lifecycle={"postStart": {"exec": {"command": ["true"]}}},
            securityContext={"runAsUser": 5},
            podSecurityContext={"supplementalGroups": [1]},
            affinity={"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
        )
    )


def test_null_removes_every_map_and_list_of_a_component() -> None:
    nullable = {
        key
        for key, schema in COMPONENT.items()
        if "null" in SCHEMA["$defs"].get(schema.get("$ref", "")[8:], schema).get("type", [])
    }
    assert nullable >= {"probes", "env", "volumes", "affinity", "resources", "tolerations"}
    documents = render(alone(**dict.fromkeys(nullable - {"tls"})))
    assert container(documents, "platform-web")["resources"] == {}
    assert "volumes" not in pod(documents, "platform-web")
