"""The references of images."""

from __future__ import annotations

from typing import Any

import pytest
from support import alone, container, fails, pods, render

MIRROR = "mirror.example.com:5000/copies"


def images(documents: list[dict[str, Any]]) -> set[str]:
    return {
        each["image"]
        for _, spec in pods(documents)
        for each in [*spec["containers"], *spec.get("initContainers", [])]
    }


def test_a_registry_is_that_of_every_image() -> None:
    own = [{"name": "own", "image": "ghcr.io/own/image@sha256:0"}]
    values = {
        "image": {"registry": MIRROR},
        "components": {
            "api-rest": {"initContainers": own},
            "async-worker": {"extraContainers": own},
        },
        "tests": {"image": {"repository": "localhost/python", "tag": "3"}},
    }
    found = images(render(values))
    assert {f"{MIRROR}/own/image@sha256:0", f"{MIRROR}/python:3"} <= found
    assert len(found) >= 7
    assert all(each.startswith(f"{MIRROR}/") for each in found)


@pytest.mark.parametrize(
    ("repository", "expected"),
    [
        ("web", "web"),
        ("library/web", "library/web"),
        ("docker.io/library/web", "library/web"),
        ("localhost:5001/web", "web"),
        ("localhost/web", "web"),
        ("quay.io/a/b/web", "a/b/web"),
    ],
)
def test_only_the_registry_of_a_repository_is_replaced(repository: str, expected: str) -> None:
    values = {**alone(image={"repository": repository, "tag": "1"}), "image": {"registry": MIRROR}}
    assert container(render(values), "platform-web")["image"] == f"{MIRROR}/{expected}:1"


@pytest.mark.parametrize("registry", ["https://mirror", "mirror/", "mirror:x"])
def test_a_registry_is_a_host_without_scheme(registry: str) -> None:
    assert "- image.registry: " in fails({"image": {"registry": registry}})
