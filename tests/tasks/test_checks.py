"""`inv ci.check` runs the nox sessions of a part, with a local registry."""

import sys
from collections.abc import Callable, Sequence

import pytest

from delivery import process
from delivery.errors import CommandError, DeclarationError, TestError
from delivery.project import files
from delivery.project.declaration import Declaration
from delivery.tasks import checks
from tests.tasks.running import run


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict[str, str]]]:
    """The command lines that were run, each with its variables."""
    runs: list[tuple[list[str], dict[str, str]]] = []

    def stream(
        argv: Sequence[str], *, doing: str, on_line: Callable[[str], None], options: process.Options
    ) -> None:
        runs.append((list(argv), dict(options.env or {})))
        on_line(f"{doing}\n")

    monkeypatch.setattr(process, "stream", stream)
    return runs


@pytest.mark.parametrize("part", ["base-image", "apps", "platform-chart", "sample"])
def test_check_runs_the_sessions_of_a_part(
    runs: list[tuple[list[str], dict[str, str]]], part: str
) -> None:
    run(checks.check, of=part)
    assert runs == [
        (
            [sys.executable, "-m", "nox", "-t", part],
            {"DELIVERY_REGISTRY": "localhost:5001", "DELIVERY_COVERAGE": "1"},
        )
    ]


def test_a_report_is_a_session_of_its_own(runs: list[tuple[list[str], dict[str, str]]]) -> None:
    run(checks.report, of="coverage")
    assert runs == [([sys.executable, "-m", "nox", "-s", "coverage"], {})]
    with pytest.raises(DeclarationError, match="cannot report covrage: no such report") as caught:
        run(checks.report, of="covrage")
    assert caught.value.hint == "did you mean coverage? choose from coverage, sonar"


def test_check_never_uses_a_remote_registry(
    runs: list[tuple[list[str], dict[str, str]]],
    declaration: Declaration,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        files, "load_declaration", lambda: declaration.with_registry("registry.example.com/acme")
    )
    run(checks.check, of="apps")
    assert runs[0][1]["DELIVERY_REGISTRY"] == "localhost:5001"


def test_an_unknown_part_is_an_error(runs: list[tuple[list[str], dict[str, str]]]) -> None:
    with pytest.raises(DeclarationError) as caught:
        run(checks.check, of="else")
    assert caught.value.message == "cannot check else: no such part"
    assert caught.value.hint == "choose from base-image, apps, platform-chart, sample"
    assert runs == []


@pytest.mark.usefixtures("runs")
def test_a_failed_check_has_its_own_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object, **_keywords: object) -> None:
        raise CommandError("cannot check apps: it exited with 1", argv=[], returncode=1, tail="")

    monkeypatch.setattr(process, "stream", fail)
    with pytest.raises(TestError) as caught:
        run(checks.check, of="apps")
    assert caught.value.exit_code == 14
    assert caught.value.message == "cannot pass the checks of apps: a session failed"
    with pytest.raises(TestError, match="cannot report sonar: the session failed"):
        run(checks.report, of="sonar")
