"""A scan with findings ends with exit code 13 and a hint."""

import pytest
from invoke.collection import Collection

from delivery.errors import UnscannedError
from delivery.scan import gate, scanning, vulnerabilities
from delivery.scan.gitleaks import Finding
from delivery.tasks import scan
from tests.tasks.running import inv

TASKS = Collection()
TASKS.add_collection(Collection("scan", scan.secrets, scan.vulnerabilities))


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
    assert inv(TASKS, "scan.secrets") == 13
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
    assert inv(TASKS, "scan.secrets", "--json") == 13
    printed = capsys.readouterr()
    assert printed.out == '{"findings": []}\n'
    assert "cannot pass the scan: 1 secret found" in printed.err


FOUND = vulnerabilities.Finding(
    *("kafka", "netty", "4.1", ("GHSA-1", "CVE-1"), "high", ("4.2",), ("pkg:maven/netty@4.1",)),
    blocks=True,
)


@pytest.mark.parametrize(("line", "code"), [("develop", 0), ("candidate", 13), ("release", 13)])
def test_vulnerabilities_are_a_table_and_block_a_release(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str, code: int
) -> None:
    monkeypatch.setattr(gate, "scan_clone", lambda: gate.Scan(line, [FOUND]))
    assert inv(TASKS, "scan.vulnerabilities") == code
    printed = capsys.readouterr()
    assert "kafka high GHSA-1 netty 4.1 4.2 blocks" in " ".join(printed.out.split())
    assert ("cannot pass the scan" in printed.err) is bool(code)


def test_the_vulnerabilities_of_a_release_are_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gate, "scan_release", lambda version: gate.Scan(f"of {version}", [FOUND]))
    monkeypatch.setattr(gate, "report", lambda: '{"findings": []}')
    assert inv(TASKS, "scan.vulnerabilities", "--version", "1.0.0", "--json") == 0
    assert capsys.readouterr().out == '{"findings": []}\n'


def test_what_could_not_be_looked_up_has_another_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> gate.Scan:
        raise UnscannedError("cannot scan for vulnerabilities: no database", hint="get one")

    monkeypatch.setattr(gate, "scan_clone", fail)
    assert inv(TASKS, "scan.vulnerabilities") == 12
    assert "hint: get one" in capsys.readouterr().err
