"""Errors of tasks: no traceback, an exit code by class. All tasks: help, JSON, size."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import signature

import pytest
from invoke.collection import Collection
from invoke.program import Program

from delivery import console
from delivery.errors import EngineError, TerminatedError
from delivery.project.files import ROOT
from delivery.records import recorder
from delivery.tasks.decorator import task
from tasks import namespace


def run(
    error: BaseException | None, monkeypatch: pytest.MonkeyPatch, *arguments: str, **stage: str
) -> int:
    monkeypatch.delenv("DELIVERY_TRACEBACK", raising=False)

    def work(of: str = "", say: str = "") -> None:
        """Work."""
        del of, say
        if error:
            raise error

    try:
        Program(namespace=Collection(task(**stage)(work))).run(["inv", "work", *arguments])
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (None, 0, ""),
        (
            EngineError("cannot find an engine: none", hint="start one"),
            3,
            "error: cannot find an engine: none",
        ),
        (KeyboardInterrupt(), 130, "cannot finish work: interrupted"),
        (TerminatedError(), 143, "cannot finish work: interrupted"),
        (
            ZeroDivisionError("oops"),
            70,
            "cannot finish work: internal error: ZeroDivisionError: oops",
        ),
    ],
)
def test_the_error_decides_on_the_exit_code(
    error: BaseException | None,
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(error, monkeypatch) == code
    printed = capsys.readouterr().err
    assert message in printed
    assert "Traceback" not in printed


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str, str]]:
    """The recorded stages: name, part, step, error."""
    stages: list[tuple[str, str, str, str]] = []

    @contextmanager
    def stage(name: str, *, part: str, step: str) -> Iterator[None]:
        ended = ""
        try:
            yield
        except BaseException as error:
            ended = type(error).__name__
            raise
        finally:
            stages.append((name, part, step, ended))

    monkeypatch.setenv("BUILD_URL", "https://ci.example.com/1/")
    monkeypatch.setattr(recorder, "stage", stage)
    return stages


def test_a_task_that_is_a_stage_is_recorded(
    recorded: list[tuple[str, str, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(None, monkeypatch, stage="build") == 0
    assert run(EngineError("none"), monkeypatch, stage="scan", step="scan.secrets") == 3
    assert run(KeyboardInterrupt(), monkeypatch, stage="push") == 130
    assert run(None, monkeypatch) == 0
    assert recorded == [
        ("build", "", "work", ""),
        ("scan", "", "scan.secrets", "EngineError"),
        ("push", "", "work", "KeyboardInterrupt"),
    ]


def test_a_task_by_hand_is_not_recorded(
    recorded: list[tuple[str, str, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BUILD_URL")
    assert run(None, monkeypatch, stage="build") == 0
    assert recorded == []


def test_about_names_the_part_and_unless_skips_the_record(
    recorded: list[tuple[str, str, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"stage": "test", "about": "of", "unless": "say"}
    assert run(None, monkeypatch, "--of", "apps", **options) == 0
    assert run(None, monkeypatch, **options) == 0
    assert run(None, monkeypatch, "--say", "pushes", **options) == 0
    assert recorded == [("test", "apps", "work", ""), ("test", "", "work", "")]


def test_the_list_has_every_task_with_help() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "delivery", "--list"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    lines = [line for line in printed.splitlines() if line.startswith("  ") and line[2] != " "]
    assert {line.split()[0] for line in lines} >= {
        "up",
        "down",
        "status",
        "logs",
        "engine.up",
        "cache.clean",
    }
    assert all(len(line.split()) > 2 for line in lines)
    assert all(len(line) < 80 for line in lines)


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_json_is_alone_on_stdout(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    def work(json_: bool = False) -> None:
        """Work."""
        console.say("… fetching")
        with console.step("install"):
            pass
        if json_:
            console.data("{}\n")

    Program(namespace=Collection(task()(work))).run(["inv", "work", *arguments])
    printed = capsys.readouterr()
    log, data = (printed.err, printed.out) if arguments else (printed.out, printed.err)
    assert log.startswith("… fetching\n✓ install (")
    assert data == ("{}\n" if arguments else "")
    console.say("afterwards")
    assert capsys.readouterr().out == "afterwards\n"


def test_every_task_with_json_uses_console_data() -> None:
    with_json = {
        name: task.body.__wrapped__
        for name in namespace.task_names
        if "json_" in signature((task := namespace[name]).body.__wrapped__).parameters
    }
    assert set(with_json) >= {
        *("status", "plan", "images.sbom", "records.waiting", "scan.secrets"),
        *("signing.verify", "engine.status", "cluster.status"),
    }
    assert [name for name, body in with_json.items() if "data" not in body.__code__.co_names] == []


# The work is done in other packages: a task reads its flags, calls a function and prints.
LONGEST = 20


def lines_of(body: ast.FunctionDef) -> int:
    """The lines of a function without its docstring."""
    statements = body.body[1:] if ast.get_docstring(body) else body.body
    return len(ast.unparse(ast.Module(statements, [])).splitlines())


def test_no_task_is_long() -> None:
    bodies = {
        f"{path.stem}.{node.name}": lines_of(node)
        for path in (ROOT / "delivery" / "tasks").glob("*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef)
    }
    assert bodies["deploy.rollback"] > 1
    assert {
        name: lines
        for name, lines in bodies.items()
        if lines > LONGEST and name != "decorator.task"
    } == {}
