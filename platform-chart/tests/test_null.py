"""What null takes away at each level, as README's table says; with every Helm."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from support import CHART, alone, container, find, helm, helms, load, names, pod, rendered_by

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


def both(removed: dict[str, Any]) -> dict[str, Any]:
    """Return values that take the same from both components."""
    own = alone(**OWN)["components"]["web"]
    probes = {**own["probes"], **(removed["probes"] or {})} if removed["probes"] else None
    return {"components": {"api-rest": removed, "web": {**own, **removed, "probes": probes}}}


@pytest.fixture(params=helms(), ids=os.path.basename)
def program(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("name", NAMES)
def test_null_empties_a_map_or_list_of_a_component(name: str, program: str) -> None:
    removed = dict.fromkeys(("resources", "volumes", "config", "probes", "uses"))
    own = container(rendered_by(program, both(removed)), f"platform-{name}", name)
    assert own["resources"] == {}
    assert not {"livenessProbe", "startupProbe", "volumeMounts", "envFrom"} & own.keys()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("level", ["resources", "limits"])
def test_null_removes_an_entry_of_a_map(name: str, level: str, program: str) -> None:
    resources = {"limits": None} if level == "limits" else {"limits": {"cpu": None}}
    removed = {
        "resources": resources,
        "volumes": {"tmp": None},
        "config": {"LOG_LEVEL": None, "TRUSTED_PROXIES": None},
        "probes": {"startup": None},
    }
    documents = rendered_by(program, both(removed))
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
    assert names(rendered_by(program, values), "Deployment") == expected


def test_null_takes_a_setting_of_values_yaml_back_to_component_defaults(program: str) -> None:
    values = load("components: {api-rest: {replicas: null, rollout: {minReadySeconds: null}}}")
    spec = find(rendered_by(program, values), "Deployment", "platform-api-rest")["spec"]
    assert (spec["replicas"], spec["minReadySeconds"]) == (1, 0)


def test_null_removes_an_entry_of_a_default_of_every_component(program: str) -> None:
    values = load("componentDefaults: {resources: {limits: {cpu: null}}}")
    for name in ("api-rest", "async-worker"):
        own = container(rendered_by(program, values), f"platform-{name}", name)
        assert own["resources"]["limits"].keys() == {"memory"}


def test_null_is_refused_where_a_value_is_needed(program: str) -> None:
    values = load("componentDefaults: {probes: null}\nkafka: {persistence: null}\ntls: null")
    values["components"] = {"web": {"image": {"repository": "w", "tag": "1"}, "replicas": None}}
    arguments = ("template", "platform", str(CHART), "--values", "-")
    result = helm(*arguments, program=program, stdin=json.dumps(values))
    assert result.returncode != 0
    assert "4 mistakes" in result.stderr
    assert "components.web.replicas: null" in result.stderr
    for path in ("componentDefaults.probes", "kafka.persistence", "tls"):
        assert f"- {path}: it is missing" in result.stderr


def test_no_shipped_component_sets_what_a_default_would_fill_in_again() -> None:
    """Helm removes what null takes from values.yaml, so the chart cannot see the null."""
    values = load((CHART / "values.yaml").read_text(encoding="utf-8"))
    removable = ("volumes", "resources", "ports", "env", "config", "probes", "affinity")
    defaults = {key for key in removable if values["componentDefaults"][key]}
    assert defaults == {"volumes", "resources"}
    for component in values["components"].values():
        assert not defaults & component.keys()
