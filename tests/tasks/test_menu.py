"""No traceback reaches a user, and the exit code says what kind of error it was."""

import subprocess
import sys

import pytest
from invoke.collection import Collection
from invoke.program import Program

from delivery.core.errors import EngineError
from delivery.tasks.menu import item
from delivery.tools.files import ROOT


def run(error: BaseException | None, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.delenv("DELIVERY_TRACEBACK", raising=False)

    def work(_context: object) -> None:
        """Work."""
        if error:
            raise error

    try:
        Program(namespace=Collection(item()(work))).run(["inv", "work"])
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (None, 0, ""),
        (EngineError("find an engine: none", hint="start one"), 3, "error (no-engine): find an engine: none"),
        (KeyboardInterrupt(), 130, "work: interrupted"),
        (ZeroDivisionError("oops"), 70, "work: a mistake of this project's own: ZeroDivisionError: oops"),
    ],
)
def test_exits_as_the_error_says(
    error: BaseException | None,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(error, monkeypatch) == code
    printed = capsys.readouterr().err
    assert said in printed
    assert "Traceback" not in printed


def test_every_task_is_on_the_menu_with_a_line_of_help() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "invoke", "--list"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    lines = [line for line in printed.splitlines() if line.startswith("  ") and line[2] != " "]
    assert {line.split()[0] for line in lines} >= {"up", "down", "status", "logs", "engine.up", "cache.clean"}
    assert all(len(line.split()) > 2 for line in lines)
    assert all(len(line) < 80 for line in lines)
