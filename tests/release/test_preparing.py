"""A release is prepared in a real repository: in one commit, or not at all."""

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
        "platform-chart/Chart.yaml": "apiVersion: v2\nname: platform\nversion: 1.0.0\n"
        "appVersion: 1.0.0\n",
        "platform-chart/values.yaml": VALUES,
        "platform-chart/CHANGELOG.md": CHANGELOG,
    }
    for path, text in texts.items():
        made.write(path, text)
    made.commit("feat: begin", "base-image/rootfs/etc", "api-rest/src/app.py")
    made.tag(*(f"{name}-v1.0.0" for name in NAMES))
    made.branch("develop")
    return made


def plan(repository: Repository, *arguments: str) -> Preparation:
    return preparing.plan(PROJECT, arguments, repository.root)


def prepare(repository: Repository, *arguments: str) -> None:
    preparing.write(plan(repository, *arguments), repository.root)


def versions(repository: Repository) -> list[tuple[str, str]]:
    """The version of each subproject in its files, and its next version."""
    checkout = gather.load_checkout(PROJECT, repository.root)
    return [(version.written, version.next) for version in checkout.versions.values()]


def fix(repository: Repository, message: str = "fix(api-rest): a bug") -> None:
    repository.commit(message, "api-rest/src/app.py")


def test_the_files_get_the_next_versions(repository: Repository) -> None:
    repository.commit("feat(base-image): time zones", "base-image/rootfs/zones")
    repository.branch("release/1.1")
    prepare(repository)
    expected = ("1.1.0", "1.0.1", "1.0.1")
    assert versions(repository) == [(version, version) for version in expected]
    assert repository.git("log", "-1", "--format=%an: %B") == (
        "tester: chore(release): base-image 1.1.0, apps 1.0.1, platform-chart 1.0.1"
    )
    assert repository.git("status", "--porcelain") == ""
    assert plan(repository).texts == {}, "a second run writes nothing"


def test_later_commits_are_prepared_on_top(repository: Repository) -> None:
    fix(repository)
    prepare(repository)
    fix(repository, "feat(api-rest): a page")
    prepared = plan(repository)
    assert prepared.subject == "chore(release): apps 1.1.0, platform-chart 1.0.1"
    assert "## [1.0.1]" not in prepared.texts["api-rest/CHANGELOG.md"]
    assert "- Runs apps 1.1.0." in prepared.texts["platform-chart/CHANGELOG.md"]
    assert "apps 1.0.1" not in prepared.texts["platform-chart/CHANGELOG.md"]


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("platform-chart=2.0.0", ("1.0.0", "1.0.0", "2.0.0")),
        ("base-image=2.0.0", ("2.0.0", "1.0.1", "1.0.1")),
        ("apps=1.4.0", ("1.0.0", "1.4.0", "1.0.1")),
    ],
)
def test_a_version_set_by_hand_changes_those_built_on_it(
    repository: Repository, argument: str, expected: tuple[str, str, str]
) -> None:
    prepare(repository, argument)
    assert versions(repository) == [(version, version) for version in expected]


def test_too_low_versions_and_uncommitted_files_are_errors(repository: Repository) -> None:
    fix(repository, "feat(api-rest): a page")
    with pytest.raises(DeclarationError, match=r"the commits ask for 1\.1\.0"):
        plan(repository, "apps=1.0.1")
    repository.write("note", "1")
    with pytest.raises(DeclarationError, match=r"1 file not committed \(note\)"):
        plan(repository)


@pytest.mark.parametrize(
    ("ref", "reason"),
    [("HEAD~0", "no branch is checked out"), ("main", "main is no branch for that")],
)
def test_the_checked_out_branch_counts_not_that_of_the_ci_server(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, ref: str, reason: str
) -> None:
    monkeypatch.setenv("BRANCH_NAME", "develop")
    repository.switch(ref)
    with pytest.raises(DeclarationError, match=reason):
        plan(repository)


def test_a_failing_commit_restores_the_files(repository: Repository) -> None:
    fix(repository)
    hook = repository.root / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(CommandError, match="commit the release"):
        prepare(repository)
    assert repository.git("status", "--porcelain") == ""


def test_an_interrupt_restores_the_files(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    fix(repository)
    prepared = plan(repository)
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
