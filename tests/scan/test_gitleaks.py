"""gitleaks is asked so that it sees everything, and tells nothing."""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from delivery import process
from delivery.errors import CommandError, DeliveryError, ScanError
from delivery.scan.findings import Finding
from delivery.scan.gitleaks import Gitleaks
from tests.repositories import Repository

LOG = (
    "--log-opts=--full-history -m --text --no-color --no-textconv --no-show-signature --pretty=medium "
    "--date=default --src-prefix=a/ --dst-prefix=b/ --submodule=short"
)
ONE: dict[str, object] = {"RuleID": "r", "Commit": "", "File": "f", "StartLine": 1}


@dataclass
class Fake:
    """A gitleaks that finds this and ends so; how it was called."""

    found: list[dict[str, object]] = field(default_factory=list)
    code: int = 0
    argv: list[str] = field(default_factory=list)
    cwd: Path | None = None
    env: dict[str, str] = field(default_factory=dict)

    def capture(self, argv: list[str], *, doing: str, cwd: Path, env: dict[str, str], timeout: float) -> str:
        assert timeout > 60  # a history may be long
        self.argv, self.cwd, self.env = argv, cwd, env
        Path(argv[argv.index("--report-path") + 1]).write_text(json.dumps(self.found))
        if self.code:
            raise CommandError(doing, argv=argv, returncode=self.code, tail="")
        return ""

    @property
    def options(self) -> list[str]:
        """The command line, without where the report goes."""
        at = self.argv.index("--report-path")
        return self.argv[:at] + self.argv[at + 2 :]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    made = Fake()
    monkeypatch.setattr(process, "capture", made.capture)
    return made


def called(*options: str) -> list[str]:
    argv = ["gitleaks", "detect", "--no-banner", "--redact", "--source", ".", *options]
    return [*argv, "--report-format", "json", "--exit-code", "3"]


def test_commits_are_looked_at_with_merges_and_what_is_called_binary(fake: Fake, tmp_path: Path) -> None:
    fake.found, fake.code = [ONE], 3
    assert Gitleaks("gitleaks", tmp_path).commits(everything=False) == [Finding("", "f", 1, "r")]
    assert fake.options == called(f"{LOG} HEAD")
    assert fake.cwd == tmp_path


def test_every_ref_is_looked_at_when_all_is_wanted(fake: Fake, tmp_path: Path) -> None:
    assert Gitleaks("gitleaks", tmp_path).commits(everything=True) == []
    assert fake.options == called(f"{LOG} --all")


def test_the_configuration_is_the_projects(fake: Fake, tmp_path: Path) -> None:
    (tmp_path / ".gitleaks.toml").touch()
    Gitleaks("gitleaks", tmp_path).commits(everything=False)
    assert fake.options == [*called(f"{LOG} HEAD"), "--config", str(tmp_path / ".gitleaks.toml")]


def test_a_fault_is_not_taken_for_no_finding(fake: Fake, tmp_path: Path) -> None:
    fake.code = 1
    with pytest.raises(CommandError, match="look for secrets in the commits"):
        Gitleaks("gitleaks", tmp_path).commits(everything=False)


def test_a_report_that_is_none_is_an_error(fake: Fake, tmp_path: Path) -> None:
    fake.found = [{"File": "f"}]
    with pytest.raises(DeliveryError, match="read what gitleaks found"):
        Gitleaks("gitleaks", tmp_path).commits(everything=False)


def test_what_a_user_has_set_up_for_git_changes_nothing(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    Gitleaks("gitleaks", tmp_path).commits(everything=False)
    count = int(fake.env["GIT_CONFIG_COUNT"])
    assert "GIT_CONFIG_KEY_0" not in fake.env  # the user's own
    assert {fake.env[f"GIT_CONFIG_KEY_{at}"]: fake.env[f"GIT_CONFIG_VALUE_{at}"] for at in range(1, count)} == {
        "advice.graftFileDeprecated": "false",
        "log.showRoot": "true",
    }
    assert fake.env["GIT_NO_REPLACE_OBJECTS"] == "1"


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


def test_files_are_those_that_git_tracks_or_would(tree: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def look(_gitleaks: Gitleaks, source: Path, *options: str, doing: str) -> list[Finding]:
        assert (options, doing) == (("--no-git",), "look for secrets in the files")
        seen.extend(str(file.relative_to(source)) for file in source.rglob("*") if file.is_file())
        return []

    monkeypatch.setattr(Gitleaks, "_detect", look)
    assert Gitleaks("gitleaks", tree.root).files() == (3, [])
    assert sorted(seen) == [".gitignore", "a/tracked", "new"]


def test_a_file_that_cannot_be_read_is_an_error(tree: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, _target: Path) -> None:
        raise PermissionError(13, "Permission denied", str(source))

    monkeypatch.setattr(shutil, "copyfile", refuse)
    with pytest.raises(ScanError, match=r"cannot read \.gitignore: Permission denied"):
        Gitleaks("gitleaks", tree.root).files()
