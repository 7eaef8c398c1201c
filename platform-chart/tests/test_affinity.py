"""templates/_pod.tpl: capacityType and spread, combined with the user's affinity."""

from __future__ import annotations

from typing import Any

import pytest
from support import alone, pod, render

LABEL = "shipay.com.br/capacity-type"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def expression(key: str, *values: str) -> dict[str, Any]:
    return {"key": key, "operator": "In", "values": list(values)}


ONDEMAND = expression(LABEL, "ondemand")
SPOT = {"weight": 75, "preference": {"matchExpressions": [expression(LABEL, "spot")]}}


def affinity(**values: object) -> dict[str, Any]:
    result: dict[str, Any] = pod(render(alone(**values)), "platform-web").get("affinity", {})
    return result


def test_the_api_prefers_spot_and_may_run_anywhere() -> None:
    node = pod(render(), "platform-api-rest")["affinity"]["nodeAffinity"]
    assert SPOT in node[PREFERRED]
    assert REQUIRED not in node


def test_the_worker_runs_on_ondemand_only() -> None:
    node = pod(render(), "platform-async-worker")["affinity"]["nodeAffinity"]
    assert node == {REQUIRED: {"nodeSelectorTerms": [{"matchExpressions": [ONDEMAND]}]}}


def test_without_a_capacity_type_there_is_no_affinity() -> None:
    assert affinity() == {}


def test_a_preference_has_less_weight_if_pods_spread() -> None:
    every = {
        "weight": 25,
        "preference": {"matchExpressions": [expression("kubernetes.io/os", "linux")]},
    }
    assert affinity(capacityType={"prefer": "spot"})["nodeAffinity"][PREFERRED] == [SPOT, every]
    assert affinity(capacityType={"prefer": "spot"}, spread=False)["nodeAffinity"][PREFERRED] == [
        SPOT
    ]


def test_a_requirement_is_added_to_every_term_of_the_user() -> None:
    terms = [
        {"matchExpressions": [expression("zone", "a")]},
        {"matchExpressions": [expression("zone", "b"), expression("disk", "ssd")]},
        {"matchFields": [expression("metadata.name", "node-1")]},
    ]
    own = {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": terms}}}
    assert affinity(affinity=own, capacityType={"require": "ondemand"})["nodeAffinity"] == {
        REQUIRED: {
            "nodeSelectorTerms": [
                {"matchExpressions": [expression("zone", "a"), ONDEMAND]},
                {
                    "matchExpressions": [
                        expression("zone", "b"),
                        expression("disk", "ssd"),
                        ONDEMAND,
                    ]
                },
                {
                    "matchFields": [expression("metadata.name", "node-1")],
                    "matchExpressions": [ONDEMAND],
                },
            ]
        }
    }


@pytest.mark.parametrize("capacity", [{"require": "ondemand"}, {"prefer": "spot"}])
def test_other_parts_of_the_users_affinity_are_kept(capacity: dict[str, str]) -> None:
    preference = {"weight": 1, "preference": {"matchExpressions": [expression("disk", "ssd")]}}
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"a": "b"}}}
    own = {
        "nodeAffinity": {PREFERRED: [preference]},
        "podAffinity": {REQUIRED: [term]},
        "podAntiAffinity": {REQUIRED: [term]},
    }
    merged = affinity(affinity=own, capacityType=capacity)
    assert preference in merged["nodeAffinity"][PREFERRED]
    assert merged["podAffinity"] == own["podAffinity"]
    assert merged["podAntiAffinity"] == own["podAntiAffinity"]


def test_the_users_requirement_is_kept_with_a_preference() -> None:
    own = {
        "nodeAffinity": {
            REQUIRED: {"nodeSelectorTerms": [{"matchExpressions": [expression("zone", "a")]}]}
        }
    }
    merged = affinity(affinity=own, capacityType={"prefer": "spot"})["nodeAffinity"]
    assert merged[REQUIRED] == own["nodeAffinity"][REQUIRED]
    assert SPOT in merged[PREFERRED]


def test_the_label_of_nodes_is_one_value() -> None:
    values = {"capacityTypeLabel": "karpenter.sh/capacity-type"}
    for name in ("platform-api-rest", "platform-async-worker"):
        text = str(pod(render(values), name)["affinity"])
        assert "karpenter.sh/capacity-type" in text
        assert LABEL not in text


def test_pods_spread_over_nodes_as_far_as_possible() -> None:
    (constraint,) = pod(render(), "platform-api-rest")["topologySpreadConstraints"]
    assert constraint == {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {
            "matchLabels": {
                "app.kubernetes.io/name": "api-rest",
                "app.kubernetes.io/instance": "platform",
            }
        },
        "matchLabelKeys": ["pod-template-hash"],
    }


def test_the_users_constraints_count_the_components_pods() -> None:
    zones = {
        "maxSkew": 2,
        "topologyKey": "topology.kubernetes.io/zone",
        "whenUnsatisfiable": "DoNotSchedule",
    }
    own = {**zones, "labelSelector": {"matchLabels": {"a": "b"}}, "matchLabelKeys": ["x"]}
    values = alone(kind="StatefulSet", topologySpreadConstraints=[zones, own])
    host, zone, kept = pod(render(values), "platform-web")["topologySpreadConstraints"]
    assert host["topologyKey"] == "kubernetes.io/hostname"
    labels = {"app.kubernetes.io/name": "web", "app.kubernetes.io/instance": "platform"}
    assert zone == {**zones, "labelSelector": {"matchLabels": labels}}
    assert kept["matchLabelKeys"] == ["x"]
    assert kept["labelSelector"] == {"matchLabels": {"a": "b"}}


def test_spread_can_be_disabled() -> None:
    assert "topologySpreadConstraints" not in pod(render(alone(spread=False)), "platform-web")
