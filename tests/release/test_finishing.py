"""Tags are made in a real repository: all of them or none."""

from pathlib import Path

import pytest

from delivery.build import planning
from delivery.errors import CommandError, DeclarationError
from delivery.project.gitflow import Line
from delivery.release import catalog, finishing
from delivery.release.finishing import Finish
from delivery.release.released import make_release
from tests import repositories
from tests.build.examples import KEYS, plan_of
from tests.project.examples import PROJECT, checkout, decision, versions
from tests.release.test_preparing import fix, prepare, repository
from tests.repositories import Repository

__all__ = ["repository"]

TAGS = ["apps-v1.0.1", "platform-chart-v1.0.1"]


@pytest.fixture
def prepared(repository: Repository) -> Repository:
    """A release that is prepared and merged into main."""
    fix(repository)
    prepare(repository)
    repository.switch("main")
    repository.merge("develop")
    return repository


def plan(repository: Repository) -> Finish:
    return finishing.plan(PROJECT, unpublished=True, root=repository.root)


def test_prepared_versions_are_tagged_once_and_nothing_else(prepared: Repository) -> None:
    prepared.tag("v1.0.1", "tested")
    finish = plan(prepared)
    finishing.make_tags(finish.tags, prepared.root)
    assert (finish.version, finish.names) == ("1.0.1", TAGS)
    assert repositories.tags(prepared.root, "*1.0.1") == [*TAGS, "v1.0.1"]
    assert "- A bug." in prepared.git("tag", "--list", "--format=%(contents)", "apps-v1.0.1")
    again = finishing.plan(PROJECT, root=prepared.root)  # asks no registry
    assert (again.tags, again.names) == ((), TAGS)


def test_an_older_commit_of_main_is_tagged_on_a_detached_head(
    prepared: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = prepared.git("rev-parse", "HEAD")
    fix(prepared)
    prepared.switch(released)
    monkeypatch.setenv("BRANCH_NAME", "main")
    finish = plan(prepared)
    finishing.make_tags(finish.tags, prepared.root)
    assert prepared.git("tag", "--points-at", released).split() == TAGS
    (merge,) = finishing.next_commands(PROJECT, finish.names, finish.branch, pushed=True)
    assert "git merge --no-ff main &&" in merge


def test_a_failure_removes_the_tags_made_before(prepared: Repository) -> None:
    finish = plan(prepared)
    prepared.git("tag", "platform-chart-v1.0.1", "HEAD~1")
    with pytest.raises(CommandError, match=r"tag platform-chart-v1\.0\.1"):
        finishing.make_tags(finish.tags, prepared.root)
    assert repositories.tags(prepared.root, "*-v1.0.1") == ["platform-chart-v1.0.1"]


def test_a_release_with_other_content_is_not_tagged(
    prepared: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["its api-rest was made from others"]
    monkeypatch.setattr(finishing, "differences", lambda _declaration, _version: lines)
    with pytest.raises(DeclarationError, match=r"release 1\.0\.1 has other content") as caught:
        finishing.plan(PROJECT, root=prepared.root)
    assert caught.value.details == "its api-rest was made from others"
    lines.clear()
    assert [tag.name for tag in finishing.plan(PROJECT, root=prepared.root).tags] == TAGS


def test_an_unpublished_release_is_an_error_with_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    def require(*_arguments: object) -> None:
        raise DeclarationError("cannot deploy version 1.0.1: there is no such release")

    monkeypatch.setattr(catalog, "require", require)
    with pytest.raises(DeclarationError, match=r"holds no complete release 1\.0\.1") as caught:
        finishing.differences(PROJECT, "1.0.1")
    assert caught.value.details == "there is no such release"
    assert caught.value.hint.startswith("run `./run inv push` first, ")
    assert "--unpublished" in caught.value.hint


def test_the_published_release_is_compared_with_the_sources(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    digest, other = (f"sha256:{digit * 64}" for digit in "ab")
    main = checkout(PROJECT, decision(Line.RELEASE, "main"), versions("1.0.1"))
    # The registry has other content under the same key by now.
    planned = plan_of(main, {"api-rest": other})
    released = make_release(plan_of(main), dict.fromkeys(KEYS, digest), digest, "me")
    monkeypatch.setattr(catalog, "require", lambda *_: released)
    monkeypatch.setattr(planning, "plan_checkout", lambda *_: planned)
    assert finishing.differences(PROJECT, "1.0.1") == []
    planned = plan_of(main, keys={**KEYS, "api-rest": "k9"})
    (line,) = finishing.differences(PROJECT, "1.0.1")
    assert line.startswith("api-rest: published as 1.0.1, ")


def test_the_tags_are_pushed(prepared: Repository, tmp_path: Path) -> None:
    message = "cannot push the tags to origin: it is not a remote"
    with pytest.raises(DeclarationError, match=message):
        finishing.remote_address("origin", prepared.root)
    prepared.git("init", "--quiet", "--bare", str(tmp_path / "server"))
    prepared.git("remote", "add", "origin", str(tmp_path / "server"))
    finish = plan(prepared)
    finishing.make_tags(finish.tags, prepared.root)
    finishing.push_tags(finish.names, "origin", prepared.root)
    assert repositories.tags(tmp_path / "server") == TAGS
    prepared.git("remote", "set-url", "origin", "https://me:secret@example.com/acme/sample.git")
    shown = finishing.remote_address("origin", prepared.root)
    assert shown == "https://example.com/acme/sample.git", "without its password"


def test_the_next_commands_push_and_merge_back() -> None:
    back = "git switch develop && git merge --no-ff main && git push origin develop"
    push = "git push --atomic origin a b"
    assert finishing.next_commands(PROJECT, ["a", "b"], "main", pushed=False) == [push, back]
    assert finishing.next_commands(PROJECT, ["a", "b"], "main", pushed=True) == [back]
