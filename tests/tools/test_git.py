"""What differs from the last commit."""

import subprocess
from pathlib import Path

import pytest

from delivery.core.errors import CommandError
from delivery.tools import git


def test_names_what_is_changed_and_what_is_new(tmp_path: Path) -> None:
    def run(*argv: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *argv], check=True)

    (tmp_path / "kept").write_text("1")
    (tmp_path / "changed").write_text("1")
    run("init", "--quiet")
    run("add", ".")
    run("commit", "--quiet", "--message", "first")
    assert git.changes(tmp_path) == []
    (tmp_path / "changed").write_text("2")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "file").write_text("1")
    assert sorted(git.changes(tmp_path)) == ["changed", "new/file"]


def test_a_folder_that_is_no_clone_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(CommandError, match="changes that are not committed"):
        git.changes(tmp_path)
