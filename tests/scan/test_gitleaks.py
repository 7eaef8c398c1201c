"""What gitleaks gets to see; tests/integration/test_scan.py runs the real one."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from delivery import process
from delivery.errors import ScanError
from delivery.scan.findings import Finding
from delivery.scan.gitleaks import Gitleaks
from tests.repositories import Repository


def test_settings_for_git_stand_beside_those_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environments: list[Mapping[str, str]] = []

    def capture(argv: list[str], *, options: process.Options, **_: object) -> str:
        assert "--redact" in argv  # a secret is in no report, however short that lives
        environments.append(options.env or {})
        Path(argv[argv.index("--report-path") + 1]).write_text("[]")
        return ""

    monkeypatch.setattr(process, "capture", capture)
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    assert Gitleaks("gitleaks", tmp_path).commits(everything=False) == []
    (env,) = environments
    assert "GIT_CONFIG_KEY_0" not in env  # the user's own
    assert {env[f"GIT_CONFIG_KEY_{at}"]: env[f"GIT_CONFIG_VALUE_{at}"] for at in (1, 2)} == {
        "advice.graftFileDeprecated": "false",
        "log.showRoot": "true",
    }
    assert (env["GIT_CONFIG_COUNT"], env["GIT_NO_REPLACE_OBJECTS"]) == ("3", "1")


@pytest.fixture
def tree(tmp_path: Path) -> Repository:
    """A repository with a file of each kind."""
    repository = Repository(tmp_path / "tree")
    repository.commit("one", "a/tracked", "removed")
    (repository.root / "removed").unlink()
    (repository.root / "link").symlink_to("a/tracked")
    repository.write("new", "new\n")
    repository.write(".gitignore", "ignored\n")
    repository.write("ignored", "ignored\n")
    return repository


def test_files_are_those_that_git_tracks_or_would(
    tree: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def look(_gitleaks: Gitleaks, source: Path, *options: str, doing: str) -> list[Finding]:
        assert (options, doing) == (("--no-git",), "look for secrets in the files")
        seen.extend(str(file.relative_to(source)) for file in source.rglob("*") if file.is_file())
        return []

    monkeypatch.setattr(Gitleaks, "_detect", look)
    assert Gitleaks("gitleaks", tree.root).files() == (3, [])
    assert sorted(seen) == [".gitignore", "a/tracked", "new"]


def test_a_file_that_cannot_be_read_is_an_error(
    tree: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Path, _target: Path) -> None:
        raise PermissionError(13, "Permission denied", str(source))

    monkeypatch.setattr(shutil, "copyfile", refuse)
    with pytest.raises(ScanError, match=r"cannot read \.gitignore: Permission denied"):
        Gitleaks("gitleaks", tree.root).files()
