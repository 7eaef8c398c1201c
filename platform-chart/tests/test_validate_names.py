"""templates/_validate-names.tpl: two objects of one kind and name; and names that are too long."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support import alone, fails, names, render

FILES = {"mountPath": "/f", "files": {"a": "b"}}
SECRET_FILES = {"mountPath": "/f", "secretFiles": {"a": "b"}}
CLAIM = {"mountPath": "/c", "size": "1Gi"}
IMAGE = {"repository": "web", "tag": "1"}


def two(first: dict[str, Any], second: dict[str, Any], name: str = "web-x") -> dict[str, Any]:
    """Return values with the components web and web-x."""
    values = alone("web", **first)
    values["components"][name] = {"image": IMAGE, **second}
    return values


def extra(kind: str, name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            two({"volumes": {"x": FILES}}, {"config": {"A": "b"}}),
            "components.web.volumes.x makes ConfigMap platform-web-x too",
        ),
        (
            two({"volumes": {"x": SECRET_FILES}}, {"secrets": {"A": {"value": "b"}}}),
            "components.web.volumes.x makes Secret platform-web-x too",
        ),
        (
            two({"volumes": {"x-y": FILES}}, {"volumes": {"y": FILES}}),
            "components.web.volumes.x-y makes ConfigMap platform-web-x-y too",
        ),
        (
            two(
                {"claims": {"x-y": CLAIM}, "rollout": {"strategy": "Recreate"}},
                {"claims": {"y": CLAIM}, "rollout": {"strategy": "Recreate"}},
            ),
            "components.web.claims.x-y makes PersistentVolumeClaim platform-web-x-y too",
        ),
        (
            two({}, {"serviceAccount": {"name": "platform-web"}}),
            "components.web.serviceAccount makes ServiceAccount platform-web too",
        ),
        (
            alone() | {"extraObjects": [extra("Deployment", "platform-web")]},
            "extraObjects[0]: components.web makes Deployment platform-web too",
        ),
        (
            alone(ports={"http": 80}, service={"enabled": True})
            | {"extraObjects": [extra("Service", "platform-web")]},
            "extraObjects[0]: components.web.service makes Service platform-web too",
        ),
        (
            alone() | {"extraObjects": [extra("NetworkPolicy", "platform-web")]},
            "extraObjects[0]: components.web.networkPolicy makes NetworkPolicy platform-web too",
        ),
        (
            {"extraObjects": [json.dumps(extra("Secret", "platform-database"))]},
            "extraObjects[0]: the chart makes Secret platform-database too",
        ),
        (
            {
                "extraObjects": [
                    extra("Secret", "{{ .Release.Name }}-a"),
                    extra("Secret", "platform-a"),
                ]
            },
            "extraObjects[1]: extraObjects[0] makes Secret platform-a too",
        ),
        ({"components": {"test": {"image": IMAGE}}}, "components.test: the chart has objects"),
    ],
)
def test_two_objects_of_one_name_are_refused(values: dict[str, Any], message: str) -> None:
    error = fails(values)
    assert message in error
    assert "one mistake" in error


def test_other_kinds_may_have_the_same_name() -> None:
    assert render(two({"volumes": {"x": FILES}}, {"secrets": {"A": {"value": "b"}}}))
    assert render({"extraObjects": [extra("ConfigMap", "platform-api-rest-tls")]})


@pytest.mark.parametrize("file", ["", "values-production.yaml"])
def test_a_component_test_is_allowed_where_nothing_is_tested(file: str) -> None:
    assert render({"components": {"test": {"image": IMAGE}}, "tests": {"enabled": False}}, file)


LONG = "a-release-whose-name-has-forty-characters"


@pytest.mark.parametrize("release", ["platform", LONG[:40]])
def test_a_short_release_keeps_its_names(release: str) -> None:
    assert names(render("", "", release), "Deployment") == [
        f"{release}-api-rest",
        f"{release}-async-worker",
    ]


def test_two_long_releases_have_different_names() -> None:
    first, second = (
        {(each["kind"], each["metadata"]["name"]) for each in render("", "", f"{LONG}-{end}")}
        for end in ("one", "two")
    )
    assert not first & second
    assert all(len(name) <= 63 for _, name in first)
