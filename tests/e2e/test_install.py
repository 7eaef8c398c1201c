"""From no cluster to a platform whose own tests pass, by the two commands that a user gives."""

from __future__ import annotations

import json
import re

import pytest

from tests.e2e.conftest import Say
from tests.e2e.platform import API, WORKER, Platform

pytestmark = [pytest.mark.engine, pytest.mark.cluster]


def test_two_commands_make_a_cluster_and_a_platform_that_is_proved(
    platform: Platform, say: Say
) -> None:
    say("from no cluster to helm test green")
    for name, output in platform.outputs.items():
        say(f"{name}: {platform.stages[name]:.0f} s, of which")
        for line in re.findall(r"^✓ (.*)$", output, re.MULTILINE):
            say(f"    {line}")
    assert (
        "✓ helm test: " in platform.outputs["deploy"]
        or "compare: nothing to do" in platform.outputs["deploy"]
    )
    told = json.loads(platform.cluster.helm("status", platform.cluster.release, "--output", "json"))
    assert told["info"]["status"] == "deployed"
    tests = {
        hook["name"]: hook["last_run"]["phase"]
        for hook in told["hooks"]
        if "test" in hook["events"]
    }
    assert set(tests.values()) == {"Succeeded"}, tests
    assert len([name for name in tests if "test" in name]) >= 2
    # The scripts of tests that passed do not stay.
    scripts = f"{platform.cluster.release}-test"
    assert platform.cluster.kubectl("get", "configmap", scripts, "--ignore-not-found") == ""


def test_every_pod_is_ready_and_was_not_restarted(platform: Platform) -> None:
    platform.cluster.settle()
    restarts = {pod.name: pod.restarts for pod in platform.cluster.pods()}
    assert {part.part for part in platform.cluster.pods()} >= {API, WORKER, "kafka", "database"}
    assert {name: found for name, found in restarts.items() if any(found.values())} == {}


def test_the_limits_fit_two_processors_and_four_gibibytes(platform: Platform) -> None:
    containers = [
        one
        for pod in platform.cluster.pods()
        # The Job that makes the topics ends by itself, sooner or later than this test comes.
        if pod.manifest["metadata"]["ownerReferences"][0]["kind"] != "Job"
        for one in [
            *pod.manifest["spec"]["containers"],
            *pod.manifest["spec"].get("initContainers", ()),
        ]
    ]
    limits = [one["resources"]["limits"] for one in containers]
    assert sum(processors(one["cpu"]) for one in limits) <= 2
    assert sum(mebibytes(one["memory"]) for one in limits) <= 4096


def processors(text: str) -> float:
    return float(text[:-1]) / 1000 if text.endswith("m") else float(text)


def mebibytes(text: str) -> float:
    return float(text[:-2]) * {"Ki": 1 / 1024, "Mi": 1, "Gi": 1024}[text[-2:]]
