"""Tags are made on a real repository: all of them or none."""

from dataclasses import replace
from pathlib import Path

import pytest

from delivery.build import planning
from delivery.build.plan import Plan, make_images, make_plan
from delivery.errors import CommandError, DeclarationError
from delivery.project.declaration import Declaration
from delivery.project.gitflow import Line
from delivery.release import catalog, finishing
from delivery.release.finishing import Finish
from delivery.release.released import make_release
from tests import repositories
from tests.project.examples import NAMES, PROJECT, checkout, decision, version
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


def look(made: Repository) -> Finish:
    return finishing.plan(PROJECT, root=made.root, compare=None)


def never(_declaration: Declaration, _version: str) -> list[str]:
    pytest.fail("the registry is asked")


def test_what_is_prepared_is_tagged_once_and_nothing_else(prepared: Repository) -> None:
    prepared.tag("v1.0.1", "tested")
    found = look(prepared)
    finishing.make_tags(found.tags, prepared.root)
    assert (found.version, found.names) == ("1.0.1", TAGS)
    assert repositories.tags(prepared.root, "*1.0.1") == [*TAGS, "v1.0.1"]
    assert "- A bug." in prepared.git("tag", "--list", "--format=%(contents)", "apps-v1.0.1")
    again = finishing.plan(PROJECT, root=prepared.root, compare=never)
    assert (again.tags, again.names) == ((), TAGS)


def test_a_commit_that_main_has_left_behind_is_tagged_where_it_is_said_to_be_mains(
    prepared: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = prepared.git("rev-parse", "HEAD")
    fix(prepared)
    prepared.switch(released)
    monkeypatch.setenv("BRANCH_NAME", "main")
    found = look(prepared)
    finishing.make_tags(found.tags, prepared.root)
    assert prepared.git("tag", "--points-at", released).split() == TAGS
    (merge,) = finishing.next_commands(PROJECT, found.names, found.branch, pushed=True)
    assert "git merge --no-ff main &&" in merge


def test_when_one_cannot_be_made_none_stays(prepared: Repository) -> None:
    found = look(prepared)
    prepared.git("tag", "platform-chart-v1.0.1", "HEAD~1")
    with pytest.raises(CommandError, match=r"tag platform-chart-v1\.0\.1"):
        finishing.make_tags(found.tags, prepared.root)
    assert repositories.tags(prepared.root, "*-v1.0.1") == ["platform-chart-v1.0.1"]


def test_a_release_that_differs_is_not_tagged(prepared: Repository) -> None:
    different = {"1.0.1": ["its api-rest was made from others"]}
    with pytest.raises(DeclarationError, match=r"release 1\.0\.1 is another one") as caught:
        finishing.plan(PROJECT, root=prepared.root, compare=lambda _, version: different[version])
    assert caught.value.details == "its api-rest was made from others"
    same = finishing.plan(PROJECT, root=prepared.root, compare=lambda _, _version: [])
    assert [tag.name for tag in same.tags] == TAGS


def test_a_registry_without_the_release_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def held(*_arguments: object) -> None:
        raise DeclarationError("deploy version 1.0.1: localhost:5001 holds no such release")

    monkeypatch.setattr(catalog, "require", held)
    with pytest.raises(DeclarationError, match=r"holds no whole release 1\.0\.1") as caught:
        finishing.differences(PROJECT, "1.0.1")
    assert "--unpublished" in caught.value.hint


def test_the_registrys_release_is_held_against_the_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    digest, other = (f"sha256:{digit * 64}" for digit in "ab")

    def plan(key: str) -> Plan:
        """The plan of sources with this key of api-rest, under which the registry holds other bytes by now."""
        found = checkout(
            PROJECT,
            decision(Line.RELEASE, "main"),
            {name: version(name, "1.0.1") for name in NAMES},
        )
        images = make_images(
            PROJECT, {"base-image": "k1", "api-rest": key}, {"api-rest": other}, found
        )
        return make_plan(found, images, ("k3", ""))

    released = make_release(plan("k2"), {"base-image": digest}, digest, "me")
    app = replace(released.images["api-rest"], digest=digest)
    released = replace(released, images={**released.images, "api-rest": app})
    monkeypatch.setattr(catalog, "require", lambda *_: released)
    monkeypatch.setattr(planning, "plan_checkout", lambda *_: plan("k2"))
    assert finishing.differences(PROJECT, "1.0.1") == []
    monkeypatch.setattr(planning, "plan_checkout", lambda *_: plan("k9"))
    (line,) = finishing.differences(PROJECT, "1.0.1")
    assert line.startswith("api-rest: published is 1.0.1, ")


def test_the_tags_are_pushed(prepared: Repository, tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="push the tags to origin: it is no remote"):
        finishing.remote_address("origin", prepared.root)
    prepared.git("init", "--quiet", "--bare", str(tmp_path / "server"))
    prepared.git("remote", "add", "origin", str(tmp_path / "server"))
    found = look(prepared)
    finishing.make_tags(found.tags, prepared.root)
    finishing.push_tags(found.names, "origin", prepared.root)
    assert repositories.tags(tmp_path / "server") == TAGS
    prepared.git("remote", "set-url", "origin", "https://me:secret@example.com/acme/sample.git")
    assert (
        finishing.remote_address("origin", prepared.root) == "https://example.com/acme/sample.git"
    ), "without its password"


def test_what_is_left_is_to_push_and_to_merge_back() -> None:
    back = "git switch develop && git merge --no-ff main && git push origin develop"
    push = "git push --atomic origin a b"
    assert finishing.next_commands(PROJECT, ["a", "b"], "main", pushed=False) == [push, back]
    assert finishing.next_commands(PROJECT, ["a", "b"], "main", pushed=True) == [back]
