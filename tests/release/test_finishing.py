"""Tags are made on a real repository: all of them or none."""

from pathlib import Path
from typing import Any

import pytest

from delivery.errors import CommandError, DeclarationError
from delivery.project import git
from delivery.project.declaration import Declaration
from delivery.release import catalog, finishing, preparing
from delivery.release.finishing import Finish
from tests.release.test_preparing import repository
from tests.repositories import Repository

__all__ = ["repository"]


@pytest.fixture
def prepared(declaration: Declaration, repository: Repository) -> Repository:
    """A release that is prepared and merged into main."""
    repository.commit("fix(api-rest): a bug", "api-rest/src/app.py")
    preparing.write(preparing.look(declaration, (), repository.root), repository.root)
    repository.switch("main")
    repository.merge("develop")
    return repository


def look(declaration: Declaration, made: Repository, **more: Any) -> Finish:  # noqa: ANN401  # what look takes
    return finishing.look(declaration, root=made.root, **{"published": None, **more})


def test_what_is_prepared_is_tagged_and_nothing_else(declaration: Declaration, prepared: Repository) -> None:
    found = look(declaration, prepared)
    finishing.make(found.tags, prepared.root)
    assert found.version == "1.0.1"
    assert git.tags_here(prepared.root) == ["apps-v1.0.1", "platform-chart-v1.0.1"]
    assert "- A bug." in prepared.git("tag", "--list", "--format=%(contents)", "apps-v1.0.1")


def test_a_commit_that_main_has_left_behind_is_tagged_where_it_is_said_to_be_mains(
    declaration: Declaration, prepared: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = prepared.git("rev-parse", "HEAD")
    prepared.commit("fix(api-rest): more", "api-rest/src/app.py")
    prepared.switch(released)
    monkeypatch.setenv("BRANCH_NAME", "main")
    found = look(declaration, prepared)
    finishing.make(found.tags, prepared.root)
    assert git.tags_here(prepared.root) == ["apps-v1.0.1", "platform-chart-v1.0.1"]
    (merge,) = finishing.next_commands(declaration, found.names, found.branch, pushed=True)
    assert "git merge --no-ff main &&" in merge


def test_a_second_run_has_nothing_to_tag_and_knows_the_tags(declaration: Declaration, prepared: Repository) -> None:
    finishing.make(look(declaration, prepared).tags, prepared.root)
    again = look(declaration, prepared)
    assert again.tags == ()
    assert again.names == ["apps-v1.0.1", "platform-chart-v1.0.1"]


def test_where_nothing_is_to_be_tagged_the_registry_is_not_asked(
    declaration: Declaration, prepared: Repository
) -> None:
    finishing.make(look(declaration, prepared).tags, prepared.root)

    def published(_declaration: Declaration, _version: str) -> list[str]:
        pytest.fail("the registry is asked")

    assert look(declaration, prepared, published=published).tags == ()


def test_a_tag_of_ones_own_is_not_the_releases(declaration: Declaration, prepared: Repository) -> None:
    prepared.tag("v1.0.1", "tested")
    assert look(declaration, prepared).names == ["apps-v1.0.1", "platform-chart-v1.0.1"]


def test_when_one_cannot_be_made_none_stays(declaration: Declaration, prepared: Repository) -> None:
    found = look(declaration, prepared)
    prepared.git("tag", "platform-chart-v1.0.1", "HEAD~1")
    with pytest.raises(CommandError, match=r"tag platform-chart-v1\.0\.1"):
        finishing.make(found.tags, prepared.root)
    assert git.tags(prepared.root, "apps-v1.0.1") == []
    assert git.tags(prepared.root, "platform-chart-v1.0.1") == ["platform-chart-v1.0.1"]


def test_a_release_that_differs_is_not_tagged(declaration: Declaration, prepared: Repository) -> None:
    asked = list[str]()

    def published(_declaration: Declaration, version: str) -> list[str]:
        asked.append(version)
        return ["its api-rest was made from others"]

    with pytest.raises(DeclarationError, match=r"the registry's release 1\.0\.1 is another one") as caught:
        look(declaration, prepared, published=published)
    assert asked == ["1.0.1"]
    assert caught.value.details == "its api-rest was made from others"


def test_a_release_that_is_the_same_is_tagged(declaration: Declaration, prepared: Repository) -> None:
    assert len(look(declaration, prepared, published=lambda _declaration, _version: []).tags) == 2


def test_a_registry_without_the_release_says_what_to_do(
    declaration: Declaration, monkeypatch: pytest.MonkeyPatch
) -> None:
    def held(*_arguments: object) -> None:
        raise DeclarationError("deploy version 1.0.1: localhost:5001 holds no such release")

    monkeypatch.setattr(catalog, "held", held)
    with pytest.raises(DeclarationError, match=r"holds no whole release 1\.0\.1") as caught:
        finishing.published(declaration, "1.0.1")
    assert "--unpublished" in caught.value.hint


def test_the_tags_are_pushed(declaration: Declaration, prepared: Repository, tmp_path: Path) -> None:
    prepared.git("init", "--quiet", "--bare", str(tmp_path / "server"))
    prepared.git("remote", "add", "origin", str(tmp_path / "server"))
    found = look(declaration, prepared)
    finishing.make(found.tags, prepared.root)
    finishing.push(found.names, "origin", prepared.root)
    assert git.tags(tmp_path / "server") == found.names


def test_a_remote_that_is_not_there_is_named(prepared: Repository) -> None:
    with pytest.raises(DeclarationError, match="push the tags to origin: it is no remote"):
        finishing.address("origin", prepared.root)


def test_a_remotes_address_is_shown_without_its_password(prepared: Repository) -> None:
    prepared.git("remote", "add", "origin", "https://me:secret@example.com/acme/house.git")
    assert finishing.address("origin", prepared.root) == "https://example.com/acme/house.git"


def test_what_is_left_is_to_push_and_to_merge_back(declaration: Declaration) -> None:
    back = "git switch develop && git merge --no-ff main && git push origin develop"
    assert finishing.next_commands(declaration, ["a", "b"], "main", pushed=False) == [
        "git push --atomic origin a b",
        back,
    ]
    assert finishing.next_commands(declaration, ["a", "b"], "main", pushed=True) == [back]
