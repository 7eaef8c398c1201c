"""What gitleaks scans and reports; tests/integration/test_scan.py runs the real program."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from delivery import process
from delivery.errors import DeliveryError, ScanError
from delivery.scan.gitleaks import Finding, Gitleaks
from tests.repositories import Repository


class FakeProgram:
    """gitleaks with this report; it keeps the environments that it runs in."""

    def __init__(self, report: str) -> None:
        self.report = report
        self.environments: list[Mapping[str, str]] = []

    def __call__(self, argv: list[str], *, options: process.Options, **_: object) -> str:
        assert "--redact" in argv  # no report contains a secret, even for a short time
        self.environments.append(options.env or {})
        Path(argv[argv.index("--report-path") + 1]).write_text(self.report)
        return ""


def test_settings_for_git_are_added_to_those_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = FakeProgram("[]")
    monkeypatch.setattr(process, "capture", program)
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    assert Gitleaks("gitleaks", tmp_path).commits(everything=False) == []
    (env,) = program.environments
    assert "GIT_CONFIG_KEY_0" not in env  # the user's own
    assert {env[f"GIT_CONFIG_KEY_{at}"]: env[f"GIT_CONFIG_VALUE_{at}"] for at in (1, 2)} == {
        "advice.graftFileDeprecated": "false",
        "log.showRoot": "true",
    }
    assert (env["GIT_CONFIG_COUNT"], env["GIT_NO_REPLACE_OBJECTS"]) == ("3", "1")


def test_findings_are_sorted_and_contain_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = {"RuleID": "private-key", "Commit": "c" * 40, "File": "a/b", "StartLine": 3}
    entry = {**place, "Secret": "hush", "Match": "key = hush", "Message": "hush"}
    report = json.dumps([entry, entry, {**entry, "Commit": ""}])
    monkeypatch.setattr(process, "capture", FakeProgram(report))
    findings = Gitleaks("gitleaks", tmp_path).commits(everything=True)
    assert findings == [Finding(commit, "a/b", 3, "private-key") for commit in ("", "c" * 40)]
    assert [finding.row()[0] for finding in findings] == ["working tree", "c" * 12]


@pytest.mark.parametrize("report", ["", "{}}", "[{}]", "[1]", "3"])
def test_an_invalid_report_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, report: str
) -> None:
    monkeypatch.setattr(process, "capture", FakeProgram(report))
    with pytest.raises(DeliveryError, match="cannot read the report of gitleaks") as raised:
        Gitleaks("gitleaks", tmp_path).commits(everything=True)
    assert raised.value.exit_code == 1  # 11 would say that there may be a secret


@pytest.fixture
def tree(tmp_path: Path) -> Repository:
    """A repository with a file of each kind."""
    repository = Repository(tmp_path / "tree")
    repository.commit("add", "a/tracked", "removed")
    (repository.root / "removed").unlink()
    (repository.root / "link").symlink_to("a/tracked")
    repository.write("new", "new\n")
    repository.write(".gitignore", "ignored\n")
    repository.write("ignored", "ignored\n")
    return repository


def test_files_that_are_not_ignored_are_scanned(
    tree: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def detect(_gitleaks: Gitleaks, source: Path, *options: str, doing: str) -> list[Finding]:
        assert (options, doing) == (("--no-git",), "look for secrets in the files")
        seen.extend(str(file.relative_to(source)) for file in source.rglob("*") if file.is_file())
        return []

    monkeypatch.setattr(Gitleaks, "_detect", detect)
    assert Gitleaks("gitleaks", tree.root).files() == (3, [])
    assert sorted(seen) == [".gitignore", "a/tracked", "new"]


def test_a_file_that_cannot_be_read_is_an_error(
    tree: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Path, _target: Path) -> None:
        raise PermissionError(13, "Permission denied", str(source))

    monkeypatch.setattr(shutil, "copyfile", refuse)
    with pytest.raises(ScanError, match=r"secrets in \.gitignore: Permission denied"):
        Gitleaks("gitleaks", tree.root).files()
