"""templates/_pod.tpl: capacityType and spread, combined with the user's affinity."""

from __future__ import annotations

from typing import Any

import pytest
from support import alone, load, pod, render

LABEL = "shipay.com.br/capacity-type"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def expression(key: str, *values: str) -> dict[str, Any]:
    return {"key": key, "operator": "In", "values": list(values)}


def preference(weight: int, *expressions: dict[str, Any]) -> dict[str, Any]:
    return {"weight": weight, "preference": {"matchExpressions": list(expressions)}}


ONDEMAND = expression(LABEL, "ondemand")
SPOT = preference(75, expression(LABEL, "spot"))


def affinity(values: str = "{}", **own: object) -> dict[str, Any]:
    """Return the affinity of a component with these values, and an affinity of the user's."""
    spec = pod(render(alone(**load(values), affinity=own)), "platform-web")
    result: dict[str, Any] = spec.get("affinity", {})
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
    every = preference(25, expression("kubernetes.io/os", "linux"))
    assert affinity("capacityType: {prefer: spot}")["nodeAffinity"][PREFERRED] == [SPOT, every]
    alone_on_spot = affinity("{capacityType: {prefer: spot}, spread: false}")
    assert alone_on_spot["nodeAffinity"][PREFERRED] == [SPOT]


def test_a_requirement_is_added_to_every_term_of_the_user() -> None:
    zone, disk = expression("zone", "a", "b"), expression("disk", "ssd")
    field = [expression("metadata.name", "node-1")]
    terms = [{"matchExpressions": [zone, disk]}, {"matchFields": field}]
    merged = affinity(
        "capacityType: {require: ondemand}", nodeAffinity={REQUIRED: {"nodeSelectorTerms": terms}}
    )
    assert merged["nodeAffinity"][REQUIRED]["nodeSelectorTerms"] == [
        {"matchExpressions": [zone, disk, ONDEMAND]},
        {"matchFields": field, "matchExpressions": [ONDEMAND]},
    ]


@pytest.mark.parametrize("capacity", ["require: ondemand", "prefer: spot"])
def test_other_parts_of_the_users_affinity_are_kept(capacity: str) -> None:
    own = preference(1, expression("disk", "ssd"))
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"a": "b"}}}
    pods = {"podAffinity": {REQUIRED: [term]}, "podAntiAffinity": {REQUIRED: [term]}}
    merged = affinity(f"capacityType: {{{capacity}}}", nodeAffinity={PREFERRED: [own]}, **pods)
    assert own in merged.pop("nodeAffinity")[PREFERRED]
    assert merged == pods


def test_the_users_requirement_is_kept_with_a_preference() -> None:
    required = {"nodeSelectorTerms": [{"matchExpressions": [expression("zone", "a")]}]}
    merged = affinity("capacityType: {prefer: spot}", nodeAffinity={REQUIRED: required})
    assert merged["nodeAffinity"][REQUIRED] == required
    assert SPOT in merged["nodeAffinity"][PREFERRED]


def test_kafka_and_the_database_avoid_spot() -> None:
    avoided = preference(75, {"key": LABEL, "operator": "NotIn", "values": ["spot"]})
    for name in ("platform-kafka", "platform-database"):
        assert avoided in pod(render(), name)["affinity"]["nodeAffinity"][PREFERRED]
    own = "{capacityType: {require: ondemand, avoid: null}}"
    documents = render(f"{{kafka: {own}, database: {own}}}")
    for name in ("platform-kafka", "platform-database"):
        node = pod(documents, name)["affinity"]["nodeAffinity"]
        assert node == {REQUIRED: {"nodeSelectorTerms": [{"matchExpressions": [ONDEMAND]}]}}


def test_on_any_cluster_nothing_needs_the_label() -> None:
    for document in render("", "values-any-cluster.yaml"):
        assert "nodeSelectorTerms" not in str(document)


def test_the_label_of_nodes_is_one_value() -> None:
    documents = render("capacityTypeLabel: karpenter.sh/capacity-type")
    for name in (
        *("platform-api-rest", "platform-async-worker"),
        *("platform-kafka", "platform-database"),
    ):
        text = str(pod(documents, name)["affinity"])
        assert "karpenter.sh/capacity-type" in text
        assert LABEL not in text


def test_pods_spread_over_nodes_as_far_as_possible() -> None:
    (constraint,) = pod(render(), "platform-api-rest")["topologySpreadConstraints"]
    labels = {"app.kubernetes.io/name": "api-rest", "app.kubernetes.io/instance": "platform"}
    assert constraint == {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": labels},
        "matchLabelKeys": ["pod-template-hash"],
    }
    assert "topologySpreadConstraints" not in pod(render(alone(spread=False)), "platform-web")


def test_the_users_constraints_count_the_components_pods() -> None:
    zones = {
        "maxSkew": 2,
        "topologyKey": "topology.kubernetes.io/zone",
        "whenUnsatisfiable": "DoNotSchedule",
    }
    own = {**zones, "labelSelector": {"matchLabels": {"a": "b"}}, "matchLabelKeys": ["x"]}
    values = alone(kind="StatefulSet", topologySpreadConstraints=[zones, own])
    host, zone, unchanged = pod(render(values), "platform-web")["topologySpreadConstraints"]
    assert host["topologyKey"] == "kubernetes.io/hostname"
    labels = {"app.kubernetes.io/name": "web", "app.kubernetes.io/instance": "platform"}
    assert zone == {**zones, "labelSelector": {"matchLabels": labels}}
    assert unchanged == own
