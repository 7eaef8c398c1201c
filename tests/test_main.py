"""`./run inv` is invoke's program, in which --help is help wherever it stands behind a task."""

import os
import subprocess
import sys

import pytest

from delivery.__main__ import Menu
from delivery.project.files import ROOT


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        Menu(name="inv", binary="inv", version="0").run(["inv", *words])
    return int(ended.value.code or 0)


@pytest.mark.parametrize(
    ("words", "task"),
    [
        (["program", "--help"], "program"),
        (["program", "-h"], "program"),
        (["logs", "--service", "--help"], "logs"),
        (["deploy", "--version", "1.0.0", "--help"], "deploy"),
        (["up", "records.show", "--help"], "records.show"),
    ],
)
def test_help_behind_a_task_is_help(words: list[str], task: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*words) == 0
    assert capsys.readouterr().out.startswith(f"Usage: inv [--core-opts] {task} ")


def test_help_before_a_task_is_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help", "down") == 0
    assert "Usage: inv [--core-opts] down " in capsys.readouterr().out


def test_help_alone_is_of_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    assert "Core options:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["logs", "--tail", "x"], "cannot read the flags: invalid literal for int() with base 10: 'x'"),
        (["--dry", "status"], "--dry is not obeyed here"),
        (["status", "--dry"], "--dry is not obeyed here"),
    ],
)
def test_what_cannot_be_obeyed_is_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*words) == 2
    assert said in capsys.readouterr().err


def test_a_list_that_nobody_reads_to_its_end_says_nothing() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed:
        argv = [sys.executable, "-m", "delivery", "--list"]
        done = subprocess.run(argv, cwd=ROOT, stdout=closed, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (141, "")
