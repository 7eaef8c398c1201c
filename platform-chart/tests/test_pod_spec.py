"""podSpec: fields of the pods' spec that have no value of their own."""

from __future__ import annotations

import pytest
from support import alone, pod, render

OWN = {
    "dnsConfig": {"options": [{"name": "ndots", "value": "1"}]},
    "runtimeClassName": "gvisor",
    "schedulerName": "own",
    "hostUsers": False,
}


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
def test_other_fields_are_added(kind: str) -> None:
    spec = pod(render(alone(kind=kind, podSpec=OWN)), "platform-web")
    assert OWN.items() <= spec.items()
    assert spec["containers"][0]["name"] == "web"


def test_it_is_merged_over_what_the_chart_sets() -> None:
    own = {"enableServiceLinks": True, "securityContext": {"supplementalGroups": [7]}}
    spec = pod(render(alone(podSpec=own)), "platform-web")
    assert spec["enableServiceLinks"] is True
    assert spec["securityContext"]["supplementalGroups"] == [7]
    assert spec["securityContext"]["runAsNonRoot"] is True


def test_a_default_applies_to_every_component() -> None:
    documents = render({"componentDefaults": {"podSpec": {"schedulerName": "own"}}})
    for name in ("platform-api-rest", "platform-async-worker"):
        assert pod(documents, name)["schedulerName"] == "own"


def test_large_numbers_stay_whole() -> None:
    spec = pod(render(alone(user=1000650000, podSpec=OWN)), "platform-web")
    assert spec["securityContext"]["runAsUser"] == 1000650000
