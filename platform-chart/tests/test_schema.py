"""schema.json: closed, except for maps whose keys the user chooses; templates enforce it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from support import CHART, EXAMPLES, alone, container, fails, load, pod, render

SCHEMA = json.loads((CHART / "schema.json").read_text(encoding="utf-8"))
COMPONENT = SCHEMA["$defs"]["component"]["properties"]
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
        # Names of resources, and what has Kubernetes' syntax, are open.
        is_open = path in {"quantities", "variable", "containers.[]"}
        assert each.get("additionalProperties") is False or is_open, path


# What templates/_validate-schema.tpl understands.
KEYWORDS = {
    *("$ref", "allOf", "type", "enum", "not", "title", "description"),
    *("pattern", "maxLength", "minimum", "maximum", "items", "uniqueItems", "minItems"),
    *("properties", "patternProperties", "additionalProperties", "propertyNames", "required"),
    *("minProperties", "maxProperties"),
}


def schemas(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every schema in a schema."""
    yield schema
    named = [schema.get(key, {}) for key in ("properties", "patternProperties", "$defs")]
    children = [child for map_ in named for child in map_.values()] + schema.get("allOf", [])
    children += [schema.get(key) for key in ("items", "additionalProperties", "propertyNames")]
    for child in children:
        if isinstance(child, dict):
            yield from schemas(child)


def test_the_templates_understand_every_keyword() -> None:
    used = {keyword for each in schemas(SCHEMA) for keyword in each}
    assert used - KEYWORDS == {"$schema", "$defs"}


def test_every_pattern_has_a_title_for_its_message() -> None:
    patterns = [each for each in schemas(SCHEMA) if each.keys() & {"pattern", "maxLength"}]
    assert len(patterns) > 20
    assert [each for each in patterns if "title" not in each] == []


def test_a_list_of_values_without_a_type_is_of_texts() -> None:
    for each in schemas(SCHEMA):
        if "enum" in each and "type" not in each:
            assert {type(value) for value in each["enum"]} == {str}


@pytest.mark.parametrize("file", [*(each.name for each in CHART.glob("values*.yaml")), *EXAMPLES])
def test_editors_find_the_schema(file: str) -> None:
    path = (CHART / file).parent
    first = (CHART / file).read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# yaml-language-server: $schema=")
    assert (path / first.partition("=")[2]).resolve(strict=True) == CHART / "schema.json"


def outside(schema: dict[str, Any], values: Any, path: str) -> Iterator[str]:
    """Yield the path of each value that null may not remove, though the schema lets it."""
    schema = SCHEMA["$defs"].get(schema.get("$ref", "")[8:], schema)
    if schema.get("additionalProperties") is not False or not isinstance(values, dict):
        return
    for key in schema["properties"].keys() & values.keys():
        each = schema["properties"][key]
        types = SCHEMA["$defs"].get(each.get("$ref", "")[8:], each).get("type", [])
        if "null" not in types and key not in schema.get("required", []):
            yield f"{path}.{key}"
        yield from outside(each, values[key], f"{path}.{key}")


def test_null_may_not_remove_what_templates_need() -> None:
    sections = SCHEMA["properties"].keys() & VALUES.keys() - {"components", "componentDefaults"}
    removable = {
        path
        for name in sections
        for path in outside(SCHEMA["properties"][name], VALUES[name], name)
    }
    # An image has a tag or a digest, which the checks say; a capacity type is optional.
    spared = re.compile(r"[.](image|capacityType)[.]")
    assert {path for path in removable if not spared.search(path)} == set()
    optional = {"global", "commonLabels", "extraObjects"}
    assert SCHEMA["properties"].keys() - set(SCHEMA["required"]) == optional


def mistyped(values: Any) -> Any:
    """Return values in which every leaf has the wrong type."""
    if isinstance(values, dict) and values:
        return {key: mistyped(value) for key, value in values.items()}
    return 5 if isinstance(values, dict) else {"a": "b"}


@pytest.mark.parametrize("depth", ["sections", "leaves"])
def test_wrong_types_are_all_reported_and_break_no_check(depth: str) -> None:
    sections = {key: VALUES[key] for key in VALUES.keys() - {"components"}}
    values = dict.fromkeys(sections, 5) if depth == "sections" else mistyped(sections)
    message = fails(values)
    assert "error calling include" not in message
    for section in sections:
        assert f"  - {section}" in message


def test_maps_of_the_users_own_keys_are_open() -> None:
    assert render(
        alone(
            env={"ANY_name.1": "1"},
            config={"x": "true"},
            annotations={"example.com/any": "x"},
            podAnnotations={"any": "1"},
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
