"""Two commands make a cluster and a platform whose chart tests pass."""

from __future__ import annotations

import json

import pytest

from tests.e2e.platform import API, WORKER, Platform

pytestmark = [pytest.mark.engine, pytest.mark.cluster]


def test_two_commands_make_a_cluster_and_a_tested_platform(platform: Platform) -> None:
    assert (
        "✓ helm test: " in platform.outputs["deploy"]
        or "compare: nothing to do" in platform.outputs["deploy"]
    )
    status = json.loads(
        platform.cluster.helm("status", platform.cluster.release, "--output", "json")
    )
    assert status["info"]["status"] == "deployed"
    tests = {
        hook["name"]: hook["last_run"]["phase"]
        for hook in status["hooks"]
        if "test" in hook["events"]
    }
    assert set(tests.values()) == {"Succeeded"}, tests
    assert len([name for name in tests if "test" in name]) >= 2
    # The pods of passed tests are deleted.
    assert [pod for pod in platform.cluster.get("pods") if "test" in pod["metadata"]["name"]] == []


def test_every_pod_is_ready_and_was_not_restarted(platform: Platform) -> None:
    platform.cluster.settle()
    restarts = {pod.name: pod.restarts for pod in platform.cluster.pods()}
    assert {pod.component for pod in platform.cluster.pods()} >= {API, WORKER, "kafka", "database"}
    assert {name: counts for name, counts in restarts.items() if any(counts.values())} == {}
