"""templates/components/hpa.yaml: scaling by load."""

from __future__ import annotations

from live import upgraded
from support import Document, alone, find, numbered, of_kind, render


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


def scaled(live: list[Document], *, replicas: int = 0) -> Document:
    """Return the Deployment after an upgrade to 3 to 6 pods; `replicas` is what runs."""
    if replicas:
        find(live, "Deployment", "platform-web")["spec"]["replicas"] = replicas
    scaling = {"enabled": True, "min": 3, "max": 6}
    return find(upgraded(live, alone(scaling=scaling)), "Deployment", "platform-web")


def test_pods_of_a_fixed_number_stay_until_the_autoscaler_acts() -> None:
    rows = [
        (kind, row) for kind in ("Deployment", "StatefulSet") for row in ((4, 4), (1, 3), (9, 6))
    ]
    live = render(numbered(f"{{kind: {kind}, replicas: {running}}}" for kind, (running, _) in rows))
    scaling = "scaling: {enabled: true, min: 3, max: 6}"
    documents = upgraded(live, numbered(f"{{kind: {kind}, {scaling}}}" for kind, _ in rows))
    for number, (kind, (_, expected)) in enumerate(rows):
        assert find(documents, kind, f"platform-web-{number}")["spec"]["replicas"] == expected


def test_later_upgrades_keep_what_the_autoscaler_has_set() -> None:
    first = scaled(render(alone(replicas=4)))
    live = [first, *of_kind(render(alone(scaling={"enabled": True})), "HorizontalPodAutoscaler")]
    assert scaled(live, replicas=5)["spec"]["replicas"] == 5


def test_what_has_always_been_scaled_has_no_number() -> None:
    first, live = (render(alone(scaling={"enabled": True, "min": 3})) for _ in range(2))
    # Without a cluster too: `kubectl apply` would set the number again each time.
    for workload in (find(first, "Deployment", "platform-web"), scaled(live, replicas=5)):
        assert "replicas" not in workload["spec"]
        assert "annotations" not in workload["metadata"]


def test_a_fixed_number_again_ends_it() -> None:
    live = [scaled(render(alone(replicas=4)))]
    fixed = find(upgraded(live, alone(replicas=2)), "Deployment", "platform-web")
    assert fixed["spec"]["replicas"] == 2
    assert "annotations" not in fixed["metadata"]
