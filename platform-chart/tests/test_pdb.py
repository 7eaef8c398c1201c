"""templates/components/pdb.yaml: how many pods a drain may take at a time."""

from __future__ import annotations

from typing import Any

import pytest
from support import alone, find, names, render

KIND = "PodDisruptionBudget"


def test_a_drain_evicts_one_pod_at_a_time() -> None:
    spec = find(render(alone(replicas=2)), KIND, "platform-web")["spec"]
    assert spec == {
        "maxUnavailable": 1,
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": {
            "matchLabels": {
                "app.kubernetes.io/name": "web",
                "app.kubernetes.io/instance": "platform",
            }
        },
    }


@pytest.mark.parametrize(
    "single",
    [
        {"replicas": 1},
        {"replicas": 0},
        {"replicas": 5, "scaling": {"enabled": True, "min": 1}},
        {"replicas": 5, "disruptionBudget": {"enabled": False}},
    ],
)
def test_a_single_pod_has_none(single: dict[str, Any]) -> None:
    assert names(render(alone(**single)), KIND) == []


def test_a_minimum_replaces_the_maximum() -> None:
    spec = find(
        render(alone(replicas=3, disruptionBudget={"minAvailable": "50%"})), KIND, "platform-web"
    )["spec"]
    assert spec["minAvailable"] == "50%"
    assert "maxUnavailable" not in spec


def test_scaling_counts_with_its_minimum() -> None:
    assert names(render(alone(replicas=1, scaling={"enabled": True, "min": 2})), KIND) == [
        "platform-web"
    ]
