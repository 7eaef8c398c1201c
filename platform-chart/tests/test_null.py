"""What null takes away at each level, as README's table says; with every Helm."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from support import CHART, Document, alone, container, helm, helms, load, load_all, names, pod

NAMES = ("api-rest", "web")  # a component of values.yaml, and one of the user's
OWN: dict[str, Any] = {
    "ports": {"http": 8000},
    "env": {"A": "a", "B": "b"},
    "config": {"LOG_LEVEL": "INFO"},
    "probes": {
        "startup": {"tcpSocket": {"port": "http"}},
        "liveness": {"tcpSocket": {"port": "http"}},
    },
    "service": {"enabled": True},
}


def rendered(values: dict[str, Any], program: str) -> list[Document]:
    result = helm(
        *("template", "platform", str(CHART), "--namespace", "test", "--values", "-"),
        program=program,
        stdin=json.dumps(values),
    )
    assert result.returncode == 0, result.stderr
    return load_all(result.stdout)


@pytest.fixture(params=helms(), ids=os.path.basename)
def program(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("name", NAMES)
def test_null_empties_a_map_or_list_of_a_component(name: str, program: str) -> None:
    values = alone(**OWN) if name == "web" else {}
    removed = {"resources": None, "volumes": None, "config": None, "probes": None, "uses": None}
    values.setdefault("components", {}).setdefault(name, {}).update(removed)
    own = container(rendered(values, program), f"platform-{name}", name)
    assert own["resources"] == {}
    assert not {"livenessProbe", "startupProbe", "volumeMounts", "envFrom"} & own.keys()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("level", ["resources", "limits"])
def test_null_removes_an_entry_of_a_map(name: str, level: str, program: str) -> None:
    values = alone(**OWN) if name == "web" else {}
    resources = {"limits": None} if level == "limits" else {"limits": {"cpu": None}}
    removed = {
        "resources": resources,
        "volumes": {"tmp": None},
        "config": {"LOG_LEVEL": None, "TRUSTED_PROXIES": None},
        "probes": {"startup": None},
    }
    component = values.setdefault("components", {}).setdefault(name, {})
    component.update({**removed, "probes": {**component.get("probes", {}), "startup": None}})
    documents = rendered(values, program)
    own = container(documents, f"platform-{name}", name)
    limits = own["resources"].get("limits", {})
    assert limits.keys() == ({"memory"} if level == "resources" else set())
    assert own["resources"]["requests"].keys() == {"cpu", "memory"}
    assert "livenessProbe" in own
    assert not {"startupProbe", "envFrom"} & own.keys()
    volumes = pod(documents, f"platform-{name}").get("volumes", [])
    assert "tmp" not in [volume["name"] for volume in volumes]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ("{components: {async-worker: null}}", ["platform-api-rest"]),
        ("{components: {api-rest: null, async-worker: null}}", []),
    ],
)
def test_null_removes_a_component(values: str, expected: list[str], program: str) -> None:
    assert names(rendered(load(values), program), "Deployment") == expected


def test_null_takes_a_setting_of_values_yaml_back_to_component_defaults(program: str) -> None:
    values = load("components: {api-rest: {replicas: null, rollout: {minReadySeconds: null}}}")
    documents = rendered(values, program)
    (spec,) = [
        each["spec"]
        for each in documents
        if each["kind"] == "Deployment" and each["metadata"]["name"] == "platform-api-rest"
    ]
    assert (spec["replicas"], spec["minReadySeconds"]) == (1, 0)


def test_null_removes_an_entry_of_a_default_of_every_component(program: str) -> None:
    values = load("componentDefaults: {resources: {limits: {cpu: null}}}")
    for name in ("api-rest", "async-worker"):
        own = container(rendered(values, program), f"platform-{name}", name)
        assert own["resources"]["limits"].keys() == {"memory"}


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ("components: {web: {image: {repository: w, tag: '1'}, replicas: null}}", "replicas: null"),
        ("componentDefaults: {probes: null}", "componentDefaults.probes: it is missing"),
        ("kafka: {persistence: null}", "kafka.persistence: it is missing"),
        ("tls: null", "tls: it is missing"),
    ],
)
def test_null_is_refused_where_a_value_is_needed(values: str, path: str, program: str) -> None:
    arguments = ("template", "platform", str(CHART), "--values", "-")
    result = helm(*arguments, program=program, stdin=json.dumps(load(values)))
    assert result.returncode != 0
    assert path in result.stderr


def test_no_shipped_component_sets_what_a_default_would_fill_in_again() -> None:
    """Helm removes what null takes from values.yaml, so the chart cannot see the null."""
    values = load((CHART / "values.yaml").read_text(encoding="utf-8"))
    removable = ("volumes", "resources", "ports", "env", "config", "probes", "affinity")
    defaults = {key for key in removable if values["componentDefaults"][key]}
    assert defaults == {"volumes", "resources"}
    for component in values["components"].values():
        assert not defaults & component.keys()
