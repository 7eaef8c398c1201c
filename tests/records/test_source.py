"""Records come from a clone, its commit and an actor."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from delivery.records import source
from delivery.release.released import Release, ReleasedPart
from tests.records.conftest import BUILD
from tests.repositories import Repository

RELEASE = Release(
    {"api-rest": ReleasedPart("r/api-rest", "k", "sha256:" + "c" * 64, "1.0.0")},
    "1.0.0",
    ReleasedPart("r/platform-chart", "k", "sha256:" + "d" * 64, "1.0.0"),
    "release",
    "main",
)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"BUILD_URL": BUILD}, "tester"),
        ({"BUILD_URL": BUILD, "CHANGE_AUTHOR": "zoe"}, "zoe"),
        ({"BUILD_URL": BUILD, "CHANGE_AUTHOR": "zoe", "DELIVERY_RESPONSIBLE": "boss"}, "boss"),
        ({"CHANGE_AUTHOR": "zoe", "LOGNAME": "me"}, "me"),
        ({"CI_JOB_URL": BUILD}, "tester"),
    ],
)
def test_the_actor_is_the_author_in_a_pipeline_else_the_user(
    sample: Repository,
    monkeypatch: pytest.MonkeyPatch,
    variables: Mapping[str, str],
    expected: str,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert source.load(sample.root).origin.actor == expected


def test_a_clone_is_read_without_its_remote(
    sample: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    sample.git("remote", "add", "origin", "file:///nowhere")
    assert source.load(sample.root).versions == {
        "base-image": "1.0.0",
        "api-rest": "1.1.0-dev.1",
        "platform-chart": "1.0.1-dev.1",
        "sample": "1.0.1-dev.1",
    }
    assert capsys.readouterr().out == ""


def test_a_version_has_the_digest_that_this_clone_has_published(sample: Repository) -> None:
    sample.write(".delivery/release.json", RELEASE.to_json())
    sample.git("switch", "--quiet", "main")
    names = ["api-rest", "platform-chart"]
    assert source.load(sample.root).contents(names, sample.root).digests == {
        "api-rest": "sha256:" + "c" * 64,
        "platform-chart": "sha256:" + "d" * 64,
    }
    sample.write("api-rest/src/b", "other")
    sample.commit("fix: another")
    contents = source.load(sample.root).contents(["api-rest"], sample.root)
    assert (contents.versions, contents.digests) == ({"api-rest": "1.0.1"}, {})


def test_a_release_comes_from_its_commit(sample: Repository) -> None:
    sha = sample.git("rev-parse", "main")
    origin = source.origin_of(replace(RELEASE, commit=sha), sample.root)
    committed_at = sample.git("log", "-1", "--format=%cI", "main")
    assert (origin.commit, origin.branch, origin.line) == (sha, "main", "release")
    assert (origin.committed_at, origin.pipeline) == (committed_at, "")
    unknown = source.origin_of(replace(RELEASE, commit="0" * 40), sample.root)
    assert (unknown.commit, unknown.committed_at) == ("0" * 40, "")
    head = source.origin_of(None, sample.root)
    assert (head.commit, head.branch) == (sample.git("rev-parse", "HEAD"), "")
