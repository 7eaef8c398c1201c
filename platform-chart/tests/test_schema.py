"""values.schema.json: closed, but for the maps that are the user's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from support import CHART, alone, beside, container, fails, load, pod, render

SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
COMPONENT = SCHEMA["$defs"]["component"]["properties"]


def test_it_is_a_schema() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)


def test_every_default_is_valid_by_itself() -> None:
    values = load((CHART / "values.yaml").read_text(encoding="utf-8"))
    jsonschema.validate(values, SCHEMA, cls=jsonschema.Draft7Validator)
    assert values["componentDefaults"].keys() <= COMPONENT.keys()


def test_every_key_of_a_component_has_a_default() -> None:
    values = load((CHART / "values.yaml").read_text(encoding="utf-8"))
    assert values["componentDefaults"].keys() == COMPONENT.keys()


def objects(schema: dict[str, Any], at: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema of an object with keys of its own, and where it is."""
    if "allOf" in schema:
        return  # narrows what is closed elsewhere
    if "properties" in schema:
        yield at, schema
    for name, below in [
        *schema.get("properties", {}).items(),
        ("*", schema.get("additionalProperties")),
    ]:
        if isinstance(below, dict):
            yield from objects(below, f"{at}.{name}")
    if isinstance(schema.get("items"), dict):
        yield from objects(schema["items"], f"{at}[]")


@pytest.mark.parametrize("name", [*SCHEMA["$defs"], ""])
def test_an_object_with_keys_has_no_others(name: str) -> None:
    schema = SCHEMA["$defs"][name] if name else {**SCHEMA, "$defs": {}}
    found = [
        at for at, each in objects(schema, name) if each.get("additionalProperties") is not False
    ]
    assert found == []


TYPOS: list[tuple[dict[str, Any], str]] = [
    ({"replica": 2}, "additional properties 'replica' not allowed"),
    ({"kind": "DaemonSet"}, "value must be one of 'Deployment', 'StatefulSet'"),
    ({"image": {"repositry": "x"}}, "additional properties 'repositry' not allowed"),
    ({"image": {"repository": "Upper/Case"}}, "does not match pattern"),
    ({"image": {"repository": "web:1.0"}}, "does not match pattern"),
    ({"image": {"repository": "web", "digest": "sha256:abc"}}, "does not match pattern"),
    ({"user": 0}, "minimum: got 0, want 1"),
    ({"ports": {"http": 70000}}, "maximum: got 70,000, want 65,535"),
    ({"ports": {"http": "80"}}, "got string, want"),
    ({"ports": {"much-too-long-name": 80}}, "'much-too-long-name'"),
    (
        {"ports": {"http": {"port": 80, "protocol": "HTTP"}}},
        "value must be one of 'TCP', 'UDP', 'SCTP'",
    ),
    ({"env": {"A B": "x"}}, "'A B' does not match pattern"),
    ({"env": {"A": ["x"]}}, "got array, want"),
    ({"config": {"A": {"b": "c"}}}, "got object, want"),
    ({"secrets": {"A": "x"}}, "got string, want"),
    ({"secrets": {"A": {"secrt": "x"}}}, "additional properties 'secrt' not allowed"),
    ({"uses": ["redis"]}, "value must be one of 'kafka', 'database'"),
    ({"volumes": {"v": {"mountPath": "relative"}}}, "does not match pattern '^/'"),
    ({"volumes": {"v": {"mountPath": "/v", "source": {"nfs": {}, "csi": {}}}}}, "maxProperties"),
    ({"claims": {"v": {"mountPath": "/v", "size": "1 GB"}}}, "'1 GB' does not match pattern"),
    (
        {"claims": {"v": {"mountPath": "/v", "accessModes": ["RWO"]}}},
        "value must be one of 'ReadWriteOnce'",
    ),
    ({"probes": {"livness": {}}}, "additional properties 'livness' not allowed"),
    ({"probes": {"liveness": {"httpGet": {"path": "/health"}}}}, "missing property 'port'"),
    (
        {"probes": {"liveness": {"tcpSocket": {"port": 80}, "periodSecond": 1}}},
        "'periodSecond' not allowed",
    ),
    ({"resources": {"limits": {"cpu": "5x"}}}, "'5x' does not match pattern"),
    ({"resources": {"limit": {}}}, "additional properties 'limit' not allowed"),
    ({"replicas": -1}, "minimum: got -1, want 0"),
    ({"replicas": "2"}, "got string, want integer"),
    ({"scaling": {"minReplicas": 1}}, "additional properties 'minReplicas' not allowed"),
    (
        {"rollout": {"strategy": "Rolling"}},
        "value must be one of 'RollingUpdate', 'Recreate', 'OnDelete'",
    ),
    ({"rollout": {"maxSurge": "a quarter"}}, "does not match pattern"),
    ({"shutdown": {"linger": 1.5}}, "got number, want integer"),
    ({"service": {"enabled": True, "type": "Internal"}}, "value must be one of 'ClusterIP'"),
    ({"networkPolicy": {"allow": []}}, "additional properties 'allow' not allowed"),
    ({"networkPolicy": {"ingress": [{"form": []}]}}, "additional properties 'form' not allowed"),
    ({"capacityType": {"prefer": "sport"}}, "value must be one of 'spot', 'ondemand'"),
    ({"affinity": {"nodeAfinity": {}}}, "additional properties 'nodeAfinity' not allowed"),
    (
        {
            "affinity": {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{}]}
                }
            }
        },
        "minProperties",
    ),
    ({"tolerations": [{"effects": "NoSchedule"}]}, "additional properties 'effects' not allowed"),
    ({"topologySpreadConstraints": [{"maxSkew": 1}]}, "missing properties"),
    ({"hostAliases": [{"ip": "1.1.1.1"}]}, "missing property 'hostnames'"),
    ({"podLabels": {"a": "not a label"}}, "does not match pattern"),
    ({"initContainers": [{"image": "x"}]}, "missing property 'name'"),
]


@pytest.mark.parametrize(
    ("number", "message"), [(number, message) for number, (_, message) in enumerate(TYPOS)]
)
def test_a_typo_is_refused_with_its_place(number: int, message: str) -> None:
    # Each in a component of its own, so that helm has to be asked but once.
    said = fails(
        beside([values for values, _ in TYPOS], [f"web-{each}" for each in range(len(TYPOS))])
    )
    places = (f"'/components/web-{number}'", f"'/components/web-{number}/")
    own = [line for line in said.splitlines() if any(place in line for place in places)]
    # Of a property's name helm does not say where it is.
    assert any(
        message in line for line in own or [line for line in said.splitlines() if "at ''" in line]
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"component": {}}, "additional properties 'component' not allowed"),
        ({"components": {"Web_App": {}}}, "'Web_App' does not match pattern"),
        (
            {"componentDefaults": {"replica": 1}},
            "at '/componentDefaults': additional properties 'replica' not allowed",
        ),
        ({"image": {"pullPolicy": "Sometimes"}}, "at '/image/pullPolicy': value must be one of"),
        ({"capacityTypeLabel": "not a label"}, "at '/capacityTypeLabel'"),
        (
            {"networkPolicy": {"scrapers": [{"namespace": "x"}]}},
            "additional properties 'namespace' not allowed",
        ),
    ],
)
def test_a_typo_outside_of_a_component_is_refused_too(values: dict[str, Any], message: str) -> None:
    assert message in fails(values)


def test_the_users_own_maps_are_open() -> None:
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


def test_null_takes_away_every_map_and_list_of_a_component() -> None:
    nullable = [
        key for key, schema in COMPONENT.items() if "null" in resolved(schema).get("type", [])
    ]
    assert {
        "probes",
        "env",
        "volumes",
        "affinity",
        "capacityType",
        "resources",
        "tolerations",
    } <= set(nullable)
    documents = render(alone(**dict.fromkeys(set(nullable) - {"tls"})))
    assert container(documents, "platform-web")["resources"] == {}
    assert "volumes" not in pod(documents, "platform-web")


def test_the_defaults_are_not_taken_away() -> None:
    assert "at '/componentDefaults': missing property 'probes'" in fails(
        {"componentDefaults": {"probes": None}}
    )


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = (
        SCHEMA["$defs"][schema["$ref"].rsplit("/", 1)[-1]] if "$ref" in schema else schema
    )
    return found
