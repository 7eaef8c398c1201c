"""A deployment knows what it changed, and is read as it was written."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from delivery.errors import DeclarationError
from delivery.records.deployment import (
    Action,
    Contents,
    Deployment,
    Outcome,
    content_name,
    read_deployment,
)

DEPLOYMENT = Deployment(
    action=Action.DEPLOY,
    environment="develop",
    context="kind-sample",
    namespace="platform",
    contents=Contents(versions={"api-rest": "1.1.0"}),
)


def test_the_content_of_an_unreleased_version_is_named_by_its_key() -> None:
    versions = ("0.1.0-dev.26+cd38d5a", "cd38d5a", "0.1.0", "")
    assert [content_name(version) for version in versions] == ["cd38d5a", "cd38d5a", "0.1.0", ""]


@pytest.mark.parametrize(
    ("version", "digest", "is_unchanged"),
    [
        ("1.0.0", "sha256:a", True),
        ("1.0.0-rc.2", "sha256:a", True),
        ("1.0.0", "sha256:b", False),
        ("1.0.0", "", True),
        ("1.1.0", "", False),
    ],
)
def test_bytes_are_unchanged_by_digest_else_by_version(
    version: str, digest: str, *, is_unchanged: bool
) -> None:
    versions, digests = {"api-rest": "1.0.0", "other": "1"}, {"api-rest": "sha256:a"}
    contents = Contents(versions=versions, digests=digests)
    other = Contents(versions={"api-rest": version}, digests={"api-rest": digest} if digest else {})
    assert contents.unchanged_from(other) == ({"api-rest"} if is_unchanged else set())


def test_a_deployment_that_ended_has_an_outcome_and_a_duration() -> None:
    at = DEPLOYMENT.began + timedelta(seconds=90.25)
    ended = DEPLOYMENT.with_revisions(3, 2).ended(Outcome.SUCCEEDED, at=at)
    assert (ended.revision, ended.previous_revision) == (3, 2)
    assert (ended.outcome, ended.seconds) == (Outcome.SUCCEEDED, 90.25)
    assert ended.unchanged == set()
    assert ended.ended(Outcome.UNCHANGED).unchanged == {"api-rest"}
    assert ended.ended(Outcome.FAILED, at=DEPLOYMENT.began - timedelta(hours=1)).seconds == 0


def test_the_keys_of_deployment_json_are_those_of_earlier_versions() -> None:
    deployment = Deployment(
        action=Action.DEPLOY,
        environment="develop",
        contents=Contents(versions={"api-rest": "1.1.0"}),
        previous_contents=Contents(versions={"api-rest": "1.0.0"}),
        began=datetime(2026, 1, 1, tzinfo=UTC),
    ).with_revisions(3, 2)
    assert json.loads(deployment.to_json()) == {
        "action": "deploy",
        "environment": "develop",
        "context": "",
        "namespace": "",
        "contents": {"versions": {"api-rest": "1.1.0"}, "digests": {}},
        "before": {"versions": {"api-rest": "1.0.0"}, "digests": {}},
        "revision": 3,
        "previous": 2,
        "outcome": "started",
        "error": "",
        "began": "2026-01-01T00:00:00Z",
        "seconds": 0.0,
    }
    assert read_deployment(deployment.to_json(), file="deployment.json") == deployment


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"environment": "develop", "else": 1}'])
def test_an_invalid_deployment_is_an_error(text: str) -> None:
    message = r"cannot read deployment\.json: it is not a deployment"
    with pytest.raises(DeclarationError, match=message):
        read_deployment(text, file="deployment.json")
