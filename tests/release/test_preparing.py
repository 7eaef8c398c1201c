"""A release is prepared on a real repository: all of it, in one commit, or nothing."""

from pathlib import Path

import pytest

from delivery.errors import CommandError, DeclarationError
from delivery.project import gather
from delivery.project.preparation import Preparation
from delivery.release import preparing
from tests.conftest import DECLARATION
from tests.project.examples import NAMES, PROJECT
from tests.repositories import Repository, environment

CHANGELOG = "# Changelog\n\n## [Unreleased]\n"
VALUES = """\
components:
  api-rest:
    image: {repository: localhost:5001/api-rest, tag: 1.0.0, digest: ""}
"""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """Three subprojects, released as 1.0.0, on develop."""
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    made = Repository(tmp_path / "sample")
    texts = {
        "delivery.toml": DECLARATION,
        "base-image/VERSION": "1.0.0\n",
        "base-image/CHANGELOG.md": CHANGELOG,
        "base-image/.dockerignore": "*\n!rootfs\n",
        "api-rest/pyproject.toml": '[project]\nname = "api-rest"\nversion = "1.0.0"  # ours\n',
        "api-rest/CHANGELOG.md": CHANGELOG,
        "api-rest/.dockerignore": "*\n!pyproject.toml\n!src\n",
        "platform-chart/Chart.yaml": "apiVersion: v2\nname: platform\nversion: 1.0.0\nappVersion: 1.0.0\n",
        "platform-chart/values.yaml": VALUES,
        "platform-chart/CHANGELOG.md": CHANGELOG,
    }
    for path, text in texts.items():
        made.write(path, text)
    made.commit("feat: begin", "base-image/rootfs/etc", "api-rest/src/app.py")
    made.tag(*(f"{name}-v1.0.0" for name in NAMES))
    made.branch("develop")
    return made


def look(repository: Repository, *told: str) -> Preparation:
    return preparing.plan(PROJECT, told, repository.root)


def prepare(repository: Repository, *told: str) -> None:
    preparing.write(look(repository, *told), repository.root)


def versions(repository: Repository) -> list[tuple[str, str]]:
    """What the files say of each subproject, and what its next version is."""
    found = gather.load_checkout(PROJECT, repository.root).versions.values()
    return [(one.written, one.next) for one in found]


def fix(repository: Repository, message: str = "fix(api-rest): a bug") -> None:
    repository.commit(message, "api-rest/src/app.py")


def test_afterwards_the_files_say_what_the_next_versions_are(repository: Repository) -> None:
    repository.commit("feat(base-image): time zones", "base-image/rootfs/zones")
    repository.branch("release/1.1")
    planned = [following for _, following in versions(repository)]
    prepare(repository)
    assert planned == ["1.1.0", "1.0.1", "1.0.1"]
    assert versions(repository) == [(one, one) for one in planned]
    assert repository.git("log", "-1", "--format=%an: %B") == (
        "tester: chore(release): base-image 1.1.0, apps 1.0.1, platform-chart 1.0.1"
    )
    assert repository.git("status", "--porcelain") == ""
    again = look(repository)
    assert (again.texts, again.subject) == ({}, "")


def test_what_comes_after_it_is_prepared_on_top(repository: Repository) -> None:
    fix(repository)
    prepare(repository)
    fix(repository, "feat(api-rest): a page")
    prepared = look(repository)
    assert prepared.subject == "chore(release): apps 1.1.0, platform-chart 1.0.1"
    assert "## [1.0.1]" not in prepared.texts["api-rest/CHANGELOG.md"]
    assert "- Runs apps 1.1.0." in prepared.texts["platform-chart/CHANGELOG.md"]
    assert "apps 1.0.1" not in prepared.texts["platform-chart/CHANGELOG.md"]


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        ("platform-chart=2.0.0", ("1.0.0", "1.0.0", "2.0.0")),
        ("base-image=2.0.0", ("2.0.0", "1.0.1", "1.0.1")),
        ("apps=1.4.0", ("1.0.0", "1.4.0", "1.0.1")),
    ],
)
def test_a_version_by_hand_is_the_next_one_and_goes_through(
    repository: Repository, told: str, wanted: tuple[str, str, str]
) -> None:
    prepare(repository, told)
    assert versions(repository) == [(one, one) for one in wanted]


def test_a_version_below_what_the_commits_ask_for_and_what_is_not_committed_are_refused(
    repository: Repository,
) -> None:
    fix(repository, "feat(api-rest): a page")
    with pytest.raises(DeclarationError, match=r"the commits ask for 1\.1\.0"):
        look(repository, "apps=1.0.1")
    repository.write("note", "1")
    with pytest.raises(DeclarationError, match=r"1 files are not committed \(note\)"):
        look(repository)


@pytest.mark.parametrize(
    ("where", "why"),
    [("HEAD~0", "no branch is checked out"), ("main", "main is no branch for that")],
)
def test_what_is_checked_out_counts_and_not_what_a_ci_server_says(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, where: str, why: str
) -> None:
    monkeypatch.setenv("BRANCH_NAME", "develop")
    repository.switch(where)
    with pytest.raises(DeclarationError, match=why):
        look(repository)


def test_a_commit_that_a_hook_refuses_leaves_everything_as_it_was(repository: Repository) -> None:
    fix(repository)
    hook = repository.root / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(CommandError, match="commit the release"):
        prepare(repository)
    assert repository.git("status", "--porcelain") == ""


def test_an_interrupt_between_two_files_leaves_everything_as_it_was(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    fix(repository)
    prepared = look(repository)
    write = Path.write_bytes
    count = iter(range(9))

    def interrupted(self: Path, data: bytes) -> int:
        if next(count) == 1:
            raise KeyboardInterrupt
        return write(self, data)

    monkeypatch.setattr(Path, "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        preparing.write(prepared, repository.root)
    assert repository.git("status", "--porcelain") == ""
