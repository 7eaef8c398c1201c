"""A scan that has something to say ends with exit code 11 and what to do."""

import pytest
from invoke.collection import Collection
from invoke.program import Program

from delivery.project import files
from delivery.project.declaration import Declaration
from delivery.scan import scanning
from delivery.scan.findings import CURRENT, OLD, UNSEEN, Checked, Finding
from delivery.tasks import scan

MENU = Collection()
MENU.add_collection(Collection("scan", scan.secrets, scan.packages))
NOW = Checked("app", "deb", "libc6", "1", CURRENT, "1")
BEHIND = Checked("app", "deb", "libssl", "1", OLD, "2", security=True)
HIDDEN = Checked("app", "pypi", "bottle", "1", UNSEEN, why="no network")


def inv(*arguments: str) -> int:
    try:
        Program(namespace=MENU).run(["inv", *arguments])
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


@pytest.mark.parametrize(("arguments", "everything"), [((), False), (("--history",), True)])
def test_no_secret_is_a_success(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], *, everything: bool
) -> None:
    told: list[bool] = []

    def none(*, everything: bool) -> list[Finding]:
        told.append(everything)
        return []

    monkeypatch.setattr(scanning, "secrets", none)
    assert inv("scan.secrets", *arguments) == 0
    assert told == [everything]


def test_a_secret_is_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [Finding("", "a/b", 7, "private-key"), Finding("c" * 40, "a/b", 3, "private-key")]
    monkeypatch.setattr(scanning, "secrets", lambda **_: found)
    assert inv("scan.secrets") == 11
    printed = capsys.readouterr()
    rows = [line.split() for line in printed.out.splitlines()]
    assert ["working", "tree", "a/b", "7", "private-key"] in rows
    assert ["c" * 12, "a/b", "3", "private-key"] in rows
    assert "error (scan): look for secrets: 2 found" in printed.err
    assert "revoke or replace" in " ".join(printed.err.split())


@pytest.mark.parametrize(
    ("checked", "code", "said"),
    [
        ([NOW], 0, ""),
        ([], 0, ""),
        ([NOW, BEHIND], 11, "look for packages that are out of date: 1 are"),
        ([NOW, BEHIND, HIDDEN], 11, "look for packages that are out of date: 1 are"),
        ([NOW, HIDDEN], 11, "1 could not be looked at"),
    ],
)
def test_packages_are_a_success_when_all_are_current(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    declaration: Declaration,
    checked: list[Checked],
    code: int,
    said: str,
) -> None:
    monkeypatch.setattr(files, "load_declaration", lambda: declaration)
    monkeypatch.setattr(scanning, "packages", lambda _declaration: checked)
    assert inv("scan.packages") == code
    printed = capsys.readouterr()
    assert said in " ".join(printed.err.split())
    shown = [line.split()[:4] for line in printed.out.splitlines()]
    assert (["deb", "libssl", "1", "2"] in shown) == (BEHIND in checked)
    assert (["pypi", "bottle", "1", "?"] in shown) == (HIDDEN in checked)
    assert ["deb", "libc6", "1", "1"] not in shown


@pytest.mark.parametrize("task", ["secrets", "packages"])
def test_a_machine_gets_the_report_alone(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    declaration: Declaration,
    task: str,
) -> None:
    monkeypatch.setattr(files, "load_declaration", lambda: declaration)
    monkeypatch.setattr(scanning, "secrets", lambda **_: [Finding("", "a/b", 7, "private-key")])
    monkeypatch.setattr(scanning, "packages", lambda _declaration: [BEHIND])
    monkeypatch.setattr(scanning, "report", lambda name: f'{{"report": "{name}"}}')
    assert inv(f"scan.{task}", "--json") == 11
    assert capsys.readouterr().out == f'{{"report": "{task}.json"}}\n'
