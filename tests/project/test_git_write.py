"""Git changes what it is asked to, and nothing else."""

from pathlib import Path

import pytest

from delivery.errors import CommandError
from delivery.project import git_write
from tests.repositories import Repository, environment


@pytest.fixture(autouse=True)
def _nobodys_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment().items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "made")
    made.commit("feat: begin", "a/file", "b/file", "LICENSE")
    return made


def test_a_commit_has_the_files_that_are_named_and_no_other(repository: Repository) -> None:
    repository.write("a/file", "new")
    repository.write("b/file", "new")
    repository.git("add", "b/file")
    sha = git_write.commit(repository.root, "chore: a", ["a/file"])
    assert repository.git("show", "--format=%H %s", "--name-only", "HEAD").split() == [sha, "chore:", "a", "a/file"]
    assert repository.git("status", "--porcelain") == "M  b/file"


def test_a_tags_message_keeps_its_headings(repository: Repository) -> None:
    git_write.tag(repository.root, "apps-v1.0.0", "apps 1.0.0\n\n### Added\n\n- A page.\n")
    told = repository.git("for-each-ref", "--format=%(objecttype) %(contents)", "refs/tags/apps-v1.0.0")
    assert told == "tag apps 1.0.0\n\n### Added\n\n- A page."
    assert git_write.tags_here(repository.root) == ["apps-v1.0.0"]


def test_a_tag_that_is_there_is_an_error_and_stays(repository: Repository) -> None:
    repository.tag("apps-v1.0.0")
    repository.commit("feat: more", "a/file")
    before = repository.git("rev-parse", "apps-v1.0.0")
    with pytest.raises(CommandError, match=r"tag apps-v1\.0\.0"):
        git_write.tag(repository.root, "apps-v1.0.0", "again")
    assert repository.git("rev-parse", "apps-v1.0.0") == before


def test_a_tag_is_signed_where_git_says_so(repository: Repository, tmp_path: Path) -> None:
    signer = tmp_path / "signer"
    signer.write_text("#!/bin/sh\ncat >/dev/null\necho '[GNUPG:] SIG_CREATED ' >&2\necho SIGNED\n")
    signer.chmod(0o755)
    repository.git("config", "tag.gpgSign", "true")
    repository.git("config", "gpg.program", str(signer))
    git_write.tag(repository.root, "apps-v1.0.0", "apps 1.0.0")
    assert repository.git("cat-file", "tag", "apps-v1.0.0").endswith("SIGNED")


def test_tags_can_be_removed_again(repository: Repository) -> None:
    repository.tag("apps-v1.0.0", "apps-v1.1.0")
    git_write.remove_tags(repository.root, ["apps-v1.0.0"])
    git_write.remove_tags(repository.root, [])
    assert git_write.tags(repository.root) == ["apps-v1.1.0"]


def test_tags_are_pushed_all_or_none(repository: Repository, tmp_path: Path) -> None:
    other = Repository(tmp_path / "other")
    other.commit("feat: else", "a")
    other.tag("b-v1.0.0")
    repository.git("remote", "add", "origin", str(other.root))
    repository.tag("a-v1.0.0", "b-v1.0.0")
    with pytest.raises(CommandError, match="push the tags to origin"):
        git_write.push_tags(repository.root, "origin", ["a-v1.0.0", "b-v1.0.0"])
    assert git_write.tags(other.root) == ["b-v1.0.0"]
    git_write.push_tags(repository.root, "origin", ["a-v1.0.0"])
    assert git_write.tags(other.root) == ["a-v1.0.0", "b-v1.0.0"]


def test_branches_are_local_ones_else_origins(repository: Repository, tmp_path: Path) -> None:
    repository.branch("develop")
    repository.switch("main")
    git_write.clone(repository.root, tmp_path / "clone")
    current, found = git_write.branches(tmp_path / "clone")
    assert current == "main"
    assert found == {"main": "refs/heads/main", "develop": "refs/remotes/origin/develop"}
    repository.git("checkout", "--quiet", "--detach")
    assert git_write.branches(repository.root)[0] == ""


def test_a_shallow_clone_is_told_from_a_whole_one(repository: Repository, tmp_path: Path) -> None:
    repository.commit("feat: more", "a/file")
    repository.git("clone", "--quiet", "--depth=1", f"file://{repository.root}", str(tmp_path / "shallow"))
    assert git_write.shallow(tmp_path / "shallow")
    assert not git_write.shallow(repository.root)


def test_a_copy_has_the_branches_and_tags_that_are_asked_for_and_no_remote(
    repository: Repository, tmp_path: Path
) -> None:
    repository.tag("a-v1.0.0", "b-v1.0.0")
    repository.branch("develop")
    repository.branch("feature/x")
    refs = {"main": "HEAD", "develop": "refs/heads/develop"}
    git_write.copy_history(repository.root, tmp_path / "copy", checked_out="main", branches=refs, tags="a-v*")
    assert git_write.branches(tmp_path / "copy") == (
        "main",
        {"main": "refs/heads/main", "develop": "refs/heads/develop"},
    )
    assert git_write.tags(tmp_path / "copy") == ["a-v1.0.0"]
    assert git_write.remotes(tmp_path / "copy") == []
    assert (tmp_path / "copy" / "a" / "file").exists()
    linked = [
        path
        for path in (tmp_path / "copy" / ".git" / "objects").rglob("*")
        if path.is_file() and path.stat().st_nlink > 1
    ]
    assert linked == []


def test_a_filtered_history_has_the_paths_under_their_new_names_and_the_commits_that_touch_them(
    repository: Repository,
) -> None:
    repository.commit("feat: b", "b/other")
    repository.commit("feat: a", "a/sub/other")
    told = list[str]()
    git_write.filter_history(repository.root, renames={"a/": "", "LICENSE": "LICENSE"}, on_line=told.append)
    assert sorted(git_write.tree(repository.root, "HEAD")) == ["LICENSE", "file", "sub/other"]
    assert [line.split(" ", 2)[2] for line in git_write.commits(repository.root, "HEAD")] == ["feat: a", "feat: begin"]
    assert repository.git("status", "--porcelain") == ""


def test_commits_are_those_that_touch_the_paths(repository: Repository) -> None:
    repository.commit("feat: b", "b/other")
    repository.branch("side")
    repository.commit("feat: a", "a/other")
    repository.switch("main")
    repository.commit("feat: c", "c")
    repository.merge("side")
    assert [line.split(" ", 2)[2] for line in git_write.commits(repository.root, "HEAD", ["a"])] == [
        "feat: a",
        "feat: begin",
    ]
    assert len(git_write.commits(repository.root, "HEAD")) == 4


def test_commits_that_say_the_same_on_two_branches_are_both_told(repository: Repository) -> None:
    repository.branch("side")
    repository.commit("fix: there", a__file="same\n")
    repository.switch("main")
    repository.commit("fix: here", a__file="same\n")
    repository.merge("side")
    told = {line.split(" ", 2)[2] for line in git_write.commits(repository.root, "HEAD", ["a"])}
    assert told == {"fix: here", "fix: there", "feat: begin"}


def test_a_tree_names_odd_files_as_they_are(repository: Repository) -> None:
    repository.commit("feat: odd", "a/ä b\tc")
    assert "a/ä b\tc" in git_write.tree(repository.root, "HEAD")
