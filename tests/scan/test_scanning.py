"""The report has the findings in files and commits."""

import json
from pathlib import Path

import pytest

from delivery.host import programs
from delivery.scan import scanning
from delivery.scan.gitleaks import Finding, Gitleaks
from tests.repositories import Repository


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    made = Repository(tmp_path / "clone")
    made.commit("first", "a")
    made.commit("second", "a")
    made.branch("other", "HEAD~1")
    made.commit("third", "b")
    made.switch("main")
    monkeypatch.setattr(programs, "ensure", lambda name: name)
    monkeypatch.setattr(Gitleaks, "files", lambda _: (1, [Finding("", "a", 1, "r")]))
    return made


@pytest.mark.parametrize(
    ("everything", "of", "count"), [(False, "main", 2), (True, "every ref", 3)]
)
def test_findings_in_files_and_commits_are_reported(
    repository: Repository,
    monkeypatch: pytest.MonkeyPatch,
    of: str,
    count: int,
    *,
    everything: bool,
) -> None:
    requested: list[bool] = []

    def commits(_: Gitleaks, *, everything: bool) -> list[Finding]:
        requested.append(everything)
        return [Finding("c" * 40, "a", 1, "r"), Finding("", "a", 1, "r")]

    monkeypatch.setattr(Gitleaks, "commits", commits)
    expected = [Finding("", "a", 1, "r"), Finding("c" * 40, "a", 1, "r")]
    assert scanning.find_secrets(repository.root, everything=everything) == expected
    assert requested == [everything]
    report = json.loads(scanning.report(repository.root))
    assert (report["files"], report["commits"], report["of"]) == (1, count, of)
    assert report["shallow"] is False
    assert report["findings"][0] == {"commit": "", "file": "a", "line": 1, "rule": "r"}
    assert len(report["findings"]) == 2


def test_a_shallow_clone_is_noted(
    repository: Repository,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Gitleaks, "commits", lambda *_, **__: [])
    shallow = tmp_path / "shallow"
    repository.git("clone", "--quiet", "--depth=1", repository.root.as_uri(), str(shallow))
    scanning.find_secrets(shallow)
    printed = " ".join(capsys.readouterr().out.split())
    assert "this clone is shallow" in printed
    assert "`git fetch --unshallow --tags` fetches them" in printed
    assert json.loads(scanning.report(shallow))["shallow"] is True
