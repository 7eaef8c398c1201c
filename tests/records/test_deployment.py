"""A deployment knows what it changed, and is read as it was written."""

from datetime import timedelta

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
    assert [
        content_name(version) for version in ("0.1.0-dev.26+cd38d5a", "cd38d5a", "0.1.0", "")
    ] == [
        "cd38d5a",
        "cd38d5a",
        "0.1.0",
        "",
    ]


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
    contents = Contents(
        versions={"api-rest": "1.0.0", "other": "1"}, digests={"api-rest": "sha256:a"}
    )
    other = Contents(versions={"api-rest": version}, digests={"api-rest": digest} if digest else {})
    assert contents.unchanged_from(other) == ({"api-rest"} if is_unchanged else set())


def test_a_deployment_that_ended_has_an_outcome_and_a_duration() -> None:
    ended = DEPLOYMENT.with_revisions(3, 2).ended(
        Outcome.SUCCEEDED, at=DEPLOYMENT.began + timedelta(seconds=90.25)
    )
    assert (ended.revision, ended.previous, ended.outcome, ended.seconds) == (
        3,
        2,
        Outcome.SUCCEEDED,
        90.25,
    )
    assert ended.unchanged == set()
    assert ended.ended(Outcome.UNCHANGED).unchanged == {"api-rest"}
    assert ended.ended(Outcome.FAILED, at=DEPLOYMENT.began - timedelta(hours=1)).seconds == 0


def test_a_deployment_is_read_as_it_was_written() -> None:
    assert read_deployment(DEPLOYMENT.to_json(), file="deployment.json") == DEPLOYMENT


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"environment": "develop", "else": 1}'])
def test_an_invalid_deployment_is_an_error(text: str) -> None:
    with pytest.raises(
        DeclarationError, match=r"cannot read deployment\.json: it is not a deployment"
    ):
        read_deployment(text, file="deployment.json")
