"""The real subprojects are split off whole, and one does what its README says."""

import shutil
import subprocess
from pathlib import Path

import pytest

from delivery.host import docker_api
from delivery.project import files
from delivery.project.files import ROOT
from delivery.project.git import look
from delivery.split import poetry, repositories, splitting
from tests.repositories import environment

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of this one in which the files are committed as they are now."""
    to = tmp_path_factory.mktemp("house") / "clone"

    def git(*arguments: str) -> str:
        argv = ["git", *arguments]
        return subprocess.run(argv, check=True, capture_output=True, text=True, env=environment()).stdout

    if look(ROOT).ends:  # as CI servers clone: there is no history to split, but the files
        git("init", "--quiet", "--initial-branch=main", str(to))
    else:
        git("clone", "--quiet", "--no-local", str(ROOT), str(to))
        git("-C", str(to), "remote", "remove", "origin")
        git("-C", str(to), "rm", "--quiet", "-r", "--cached", ".")
    listed = git("-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for path in filter(None, listed.split("\0")):
        (to / path).unlink(missing_ok=True)
        if (ROOT / path).exists():
            (to / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / path, to / path, follow_symlinks=False)
    git("-C", str(to), "add", "--all")
    git("-C", str(to), "commit", "--quiet", "--allow-empty", "--message", "chore: as it is")
    git("-C", str(to), "tag", "apps-v0.0.1")
    return to


def images() -> set[str]:
    """What the engine holds of a check."""
    argv = ["docker", "image", "ls", "--format", "{{.Repository}}"]
    told = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.split()
    return {name for name in told if name.startswith("repos-check-")}


def wrong(found: list[splitting.Finding]) -> list[str]:
    return [f"{one.what}: {one.found}" for one in found if not one.good]


# The smallest one; `inv repos.check` does it for all of them.
def test_a_subproject_stands_alone_and_leaves_no_image(house: Path) -> None:
    before = images()
    found = splitting.check(files.load_declaration(), only="base-image", quick=True, root=house)
    assert wrong(found) == []
    told = {one.what: one.found for one in found}
    assert (told["images"], told["tags"]) == ("base-image", "none yet")
    assert "collected" in told["tests"]
    assert images() <= before


@pytest.mark.parametrize(("name", "tags"), [("apps", "apps-v0.0.1"), ("platform-chart", "none yet")])
def test_the_others_have_their_history_files_tags_and_links(
    house: Path, name: str, tags: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker_api, "find", lambda: None)  # so no image is built
    monkeypatch.setattr(repositories, "commands_to_test", lambda _readme: "")
    found = splitting.check(files.load_declaration(), only=name, root=house)
    assert wrong(found) == []
    assert {one.what: one.found for one in found}["tags"] == tags


def test_the_real_history_splits_into_the_same_commits_each_time(house: Path, tmp_path: Path) -> None:
    first, again = (
        look(splitting.split(files.load_declaration(), tmp_path / folder, "apps", house)[0]).commit
        for folder in ("first", "again")
    )
    assert first == again


def test_poetry_is_there_once_with_its_export() -> None:
    folder = poetry.ensure(print)
    told = subprocess.run([folder / "poetry", "export", "--help"], check=True, capture_output=True, text=True).stdout
    assert "requirements.txt" in told
    assert poetry.ensure(lambda line: pytest.fail(f"installed again: {line}")) == folder
