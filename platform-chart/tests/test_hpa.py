"""templates/components/hpa.yaml: scaling by load."""

from __future__ import annotations

from support import alone, find, render


def test_scaling_is_a_horizontal_pod_autoscaler() -> None:
    documents = render(
        alone(kind="StatefulSet", scaling={"enabled": True, "min": 3, "max": 6, "cpu": 85})
    )
    spec = find(documents, "HorizontalPodAutoscaler", "platform-web")["spec"]
    assert spec == {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "platform-web"},
        "minReplicas": 3,
        "maxReplicas": 6,
        "metrics": [
            {
                "type": "Resource",
                "resource": {
                    "name": "cpu",
                    "target": {"type": "Utilization", "averageUtilization": 85},
                },
            }
        ],
    }


def test_memory_other_metrics_and_behavior() -> None:
    own = {
        "type": "External",
        "external": {"metric": {"name": "lag"}, "target": {"type": "Value", "value": 5}},
    }
    behavior = {"scaleDown": {"stabilizationWindowSeconds": 60}}
    scaling = {"enabled": True, "cpu": None, "memory": 70, "metrics": [own], "behavior": behavior}
    spec = find(render(alone(scaling=scaling)), "HorizontalPodAutoscaler", "platform-web")["spec"]
    assert [each.get("resource", {}).get("name", each["type"]) for each in spec["metrics"]] == [
        "memory",
        "External",
    ]
    assert spec["behavior"] == behavior
