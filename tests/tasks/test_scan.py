"""A scan with findings ends with exit code 11 and a hint."""

import pytest
from invoke.collection import Collection

from delivery.scan import scanning
from delivery.scan.gitleaks import Finding
from delivery.tasks import scan
from tests.tasks.running import inv

TASKS = Collection()
TASKS.add_collection(Collection("scan", scan.secrets))


@pytest.mark.parametrize(("arguments", "everything"), [((), False), (("--history",), True)])
def test_no_secret_is_a_success(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], *, everything: bool
) -> None:
    calls: list[bool] = []

    def none(*, everything: bool) -> list[Finding]:
        calls.append(everything)
        return []

    monkeypatch.setattr(scanning, "find_secrets", none)
    assert inv(TASKS, "scan.secrets", *arguments) == 0
    assert calls == [everything]


def test_a_secret_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    findings = [Finding("", "a/b", 7, "private-key"), Finding("c" * 40, "a/b", 3, "private-key")]
    monkeypatch.setattr(scanning, "find_secrets", lambda **_: findings)
    assert inv(TASKS, "scan.secrets") == 11
    printed = capsys.readouterr()
    rows = [line.split() for line in printed.out.splitlines()]
    assert ["working", "tree", "a/b", "7", "private-key"] in rows
    assert ["c" * 12, "a/b", "3", "private-key"] in rows
    assert "error: cannot pass the scan: 2 secrets found" in printed.err
    assert "revoke or replace" in " ".join(printed.err.split())


def test_json_prints_only_the_report(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        scanning, "find_secrets", lambda **_: [Finding("", "a/b", 7, "private-key")]
    )
    monkeypatch.setattr(scanning, "report", lambda: '{"findings": []}')
    assert inv(TASKS, "scan.secrets", "--json") == 11
    printed = capsys.readouterr()
    assert printed.out == '{"findings": []}\n'
    assert "cannot pass the scan: 1 secret found" in printed.err
