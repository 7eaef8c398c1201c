"""A release is prepared on a real repository: all of it, in one commit, or nothing."""

from pathlib import Path

import pytest

from delivery.errors import CommandError, DeclarationError
from delivery.project import gather, git
from delivery.project.declaration import Declaration
from delivery.project.versions import Version
from delivery.release import preparing
from tests.conftest import DECLARATION
from tests.repositories import Repository, environment

CHANGELOG = "# Changelog\n\n## [Unreleased]\n"
VALUES = 'components:\n  api-rest:\n    image: {repository: localhost:5001/api-rest, tag: 1.0.0, digest: ""}\n'


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """Three subprojects, released as 1.0.0, on develop."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "BRANCH_NAME", "CHANGE_ID", "TAG_NAME", "GITHUB_REF"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    made = Repository(tmp_path / "house")
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
    made.tag("base-image-v1.0.0", "apps-v1.0.0", "platform-chart-v1.0.0")
    made.branch("develop")
    return made


def decided(declaration: Declaration, repository: Repository) -> dict[str, Version]:
    return dict(gather.look(declaration, repository.root).versions)


def test_afterwards_the_files_say_what_the_next_versions_are(declaration: Declaration, repository: Repository) -> None:
    repository.commit("feat(base-image): time zones", "base-image/rootfs/zones")
    repository.branch("release/1.1")
    planned = {name: one.next for name, one in decided(declaration, repository).items()}
    preparing.write(preparing.look(declaration, (), repository.root), repository.root)
    after = decided(declaration, repository)
    assert planned == {"base-image": "1.1.0", "apps": "1.0.1", "platform-chart": "1.0.1"}
    assert {name: (one.written, one.next) for name, one in after.items()} == {
        name: (v, v) for name, v in planned.items()
    }
    assert (
        repository.git("log", "-1", "--format=%B")
        == "chore(release): base-image 1.1.0, apps 1.0.1, platform-chart 1.0.1"
    )
    assert repository.git("status", "--porcelain") == ""


def test_a_second_run_finds_nothing_to_write(declaration: Declaration, repository: Repository) -> None:
    repository.commit("fix(api-rest): a bug", "api-rest/src/app.py")
    preparing.write(preparing.look(declaration, (), repository.root), repository.root)
    again = preparing.look(declaration, (), repository.root)
    assert (again.texts, again.subject) == ({}, "")
    assert "- A bug." in (repository.root / "api-rest/CHANGELOG.md").read_text()


def test_what_comes_after_it_is_prepared_on_top(declaration: Declaration, repository: Repository) -> None:
    repository.commit("fix(api-rest): a bug", "api-rest/src/app.py")
    preparing.write(preparing.look(declaration, (), repository.root), repository.root)
    repository.commit("feat(api-rest): a page", "api-rest/src/page.py")
    prepared = preparing.look(declaration, (), repository.root)
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
    declaration: Declaration, repository: Repository, told: str, wanted: tuple[str, str, str]
) -> None:
    preparing.write(preparing.look(declaration, [told], repository.root), repository.root)
    after = decided(declaration, repository)
    assert tuple(one.written for one in after.values()) == wanted
    assert tuple(one.next for one in after.values()) == wanted


def test_a_version_by_hand_below_what_the_commits_ask_for_is_refused(
    declaration: Declaration, repository: Repository
) -> None:
    repository.commit("feat(api-rest): a page", "api-rest/src/page.py")
    with pytest.raises(DeclarationError, match=r"the commits make it 1\.1\.0"):
        preparing.look(declaration, ["apps=1.0.1"], repository.root)


def test_nothing_changed_means_nothing_to_write(declaration: Declaration, repository: Repository) -> None:
    repository.commit("docs: how", "README.md")
    assert preparing.look(declaration, (), repository.root).texts == {}


def test_changes_that_are_not_committed_are_refused(declaration: Declaration, repository: Repository) -> None:
    repository.write("note", "1")
    with pytest.raises(DeclarationError, match=r"1 files are not committed \(note\)"):
        preparing.look(declaration, (), repository.root)


def test_a_detached_head_is_refused_whatever_a_ci_server_says(
    declaration: Declaration, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRANCH_NAME", "develop")
    repository.git("checkout", "--quiet", "--detach")
    with pytest.raises(DeclarationError, match="no branch is checked out"):
        preparing.look(declaration, (), repository.root)


def test_what_is_checked_out_counts_and_not_what_a_ci_server_says(
    declaration: Declaration, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRANCH_NAME", "develop")
    repository.switch("main")
    with pytest.raises(DeclarationError, match="main is no branch for that"):
        preparing.look(declaration, (), repository.root)


def test_a_commit_that_a_hook_refuses_leaves_everything_as_it_was(
    declaration: Declaration, repository: Repository
) -> None:
    repository.commit("fix(api-rest): a bug", "api-rest/src/app.py")
    hook = repository.root / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(CommandError, match="commit the release"):
        preparing.write(preparing.look(declaration, (), repository.root), repository.root)
    assert repository.git("status", "--porcelain") == ""


def test_an_interrupt_between_two_files_leaves_everything_as_it_was(
    declaration: Declaration, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.commit("fix(api-rest): a bug", "api-rest/src/app.py")
    prepared = preparing.look(declaration, (), repository.root)
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


def test_nothing_but_the_release_is_committed(declaration: Declaration, repository: Repository) -> None:
    repository.commit("fix(api-rest): a bug", "api-rest/src/app.py")
    prepared = preparing.look(declaration, (), repository.root)
    repository.write("other", "1")
    repository.git("add", "other")
    preparing.write(prepared, repository.root)
    assert repository.git("status", "--porcelain") == "A  other"


def test_a_release_is_committed_under_the_name_of_who_prepares_it(
    declaration: Declaration, repository: Repository
) -> None:
    repository.commit("fix(api-rest): a bug", "api-rest/src/app.py")
    preparing.write(preparing.look(declaration, (), repository.root), repository.root)
    assert git.look(repository.root).commit == repository.git("rev-parse", "HEAD")
    assert repository.git("log", "-1", "--format=%an") == "tester"
