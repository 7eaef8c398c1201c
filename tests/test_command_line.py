"""The command line of `./run inv`: help, errors with hints, completion."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from delivery.command_line import CommandLine
from delivery.project.files import ROOT
from tests.signals import with_default_signals


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        CommandLine(name="inv", binary="inv", version="0").run(["inv", *words])
    return int(ended.value.code or 0)


@pytest.mark.parametrize(
    ("words", "task"),
    [
        (["ci.program", "--help"], "ci.program"),
        (["ci.program", "-h"], "ci.program"),
        (["logs", "--service", "--help"], "logs"),
        (["deploy", "--version", "1.0.0", "--help"], "deploy"),
        (["up", "records.show", "--help"], "records.show"),
    ],
)
def test_help_after_a_task_shows_its_help(
    words: list[str], task: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*words) == 0
    assert capsys.readouterr().out.startswith(f"Usage: inv [--core-opts] {task} ")


def test_help_before_a_task_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help", "down") == 0
    shown = capsys.readouterr().out
    assert "Usage: inv [--core-opts] down " in shown
    assert "\n\n  Stop the platform; its data stays.\n" in shown
    assert "Docstring" not in shown


def test_help_describes_each_flag() -> None:
    """In a process of its own: Invoke takes the help out of a task once it has parsed it."""
    argv = [sys.executable, "-m", "delivery", "--help", "down"]
    shown = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "without a confirmation" in " ".join(shown.split())


@pytest.mark.parametrize("keeps_none", [True, False])
def test_bytecode_is_kept_as_python_is_told(
    *, keeps_none: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", keeps_none)
    run("--list")
    assert sys.dont_write_bytecode is keeps_none


@pytest.mark.parametrize(
    ("task", "flag"),
    [
        ("logs", "-s STRING, --service=STRING"),
        ("registry.prune", "--without=STRING"),
        ("registry.prune", "--in-use=STRING"),
        ("release.prepare", "--subproject=STRING"),
    ],
)
def test_help_shows_the_value_of_a_flag_that_may_be_repeated(
    task: str, flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--help", task) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert flag in shown


def test_help_alone_shows_the_core_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    shown = capsys.readouterr().out
    assert "Core options:" in shown
    assert "--list-format" in shown
    assert "shell: bash or zsh" in " ".join(shown.split())
    for flag in ("--dry", "--pty", "--prompt-for-sudo-password", "--write-pyc", "--collection"):
        assert flag not in shown


def test_no_words_list_the_tasks(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    printed = capsys.readouterr().out
    assert run("--list") == 0
    assert printed == capsys.readouterr().out
    assert "Available tasks" in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["upp"], "cannot run upp: no such task\nhint: did you mean up?"),
        (["UP"], "cannot run UP: no such task\nhint: did you mean cluster.up or engine.up or up?"),
        (["up", "--MONITORING"], "no such flag: --MONITORING\nhint: did you mean --monitoring?"),
        (
            ["waiting"],
            "cannot run waiting: no such task\nhint: did you mean records.waiting?",
        ),
        (
            ["cache.fill"],
            "no such task\nhint: choose from cache.clean, cache.prune, cache.status",
        ),
        (
            ["cache.statu"],
            "hint: did you mean cache.status? choose from cache.clean, cache.prune, cache.status",
        ),
        (["clustr.status"], "hint: did you mean cache.status or cluster.status or engine.status"),
        (["clustr.u"], "hint: did you mean cluster.up?"),
        (["records.deliver"], "hint: did you mean ci.deliver?"),
        (
            ["engine"],
            "cannot run engine: no such task\nhint: it is a namespace: choose from engine.down, ",
        ),
        (
            ["up", "--monitorin"],
            "cannot run up: no such flag: --monitorin\nhint: did you mean --monitoring? ",
        ),
        (
            ["repos.split", "--too", "x"],
            "repos.split: no such flag: --too\nhint: did you mean --to?",
        ),
        (["signing.keys", "-x"], "cannot run signing.keys: no such flag: -x"),
        (
            ["logs", "--component", "--x", "--servic", "x"],
            "cannot run logs: no such flag: --servic",
        ),
        (["component.add", "-p80", "--foo"], "cannot run component.add: no such flag: --foo"),
        (
            ["--foo", "up"],
            "cannot run a task: no such flag: --foo\nhint: see the tasks with `./run inv --list`",
        ),
        (
            ["--monitoring", "up"],
            "--monitoring\nhint: a task's flags stand after it: `./run inv up --monitoring`\n",
        ),
        (["--tail", "5", "status", "logs"], "stand after it: `./run inv logs --tail …`\n"),
        (["--tail=5", "logs"], "stand after it: `./run inv logs --tail …`\n"),
        (["--confg", "up"], "no such flag: --confg\nhint: see the tasks with `./run inv --list`"),
        (["freeze"], "cannot run freeze: --environment, --until, --reason are missing\nhint: see"),
        (
            ["component.add"],
            "cannot run component.add: --name is missing\nhint: see its flags with `./run inv ",
        ),
        (["logs", "--tail"], "cannot run logs: --tail needs a value"),
        (["logs", "--service"], "cannot run logs: --service needs a value\nhint: see its flags"),
        (["logs", "--service", "--follow"], "cannot run logs: --service needs a value"),
        (["logs", "--service", "kafka", "--service"], "cannot run logs: --service needs a value"),
        (["registry.prune", "--in-use"], "cannot run registry.prune: --in-use needs a value"),
        (["--help", "upp"], "cannot run upp: no such task"),
        (["--list-depth"], "cannot run a task: --list-depth needs a value"),
        (
            ["--list", "scam"],
            "cannot list scam: no such namespace\nhint: did you mean scan? choose from ",
        ),
        (
            ["deploy", "--environment", "stagin"],
            "hint: did you mean staging? --environment takes one of ",
        ),
        (["--print-completion-script", "fish"], "cannot complete in fish"),
        (
            ["logs", "--tail", "abc"],
            "cannot run logs: --tail needs a number of at least 0, not 'abc'\nhint: see its flags",
        ),
        (["logs", "--tail", "-5"], "cannot run logs: --tail needs a number of at least 0, not '-5"),
        (["logs", "--tail=-5"], "cannot run logs: --tail needs a number of at least 0, not '-5'"),
        (["logs", "--tail="], "cannot run logs: --tail needs a number of at least 0, not ''"),
        (["logs", "-tx"], "cannot run logs: --tail needs a number of at least 0, not 'x'"),
        (
            ["--list-depth", "x"],
            "'x' is not a number\nhint: see which flag takes a number with `./run inv --help`\n",
        ),
        (["--dry", "status"], "cannot run a task with --dry"),
        (["status", "--dry"], "cannot run a task with --dry"),
        (["engine.status", "-f", "/nope"], "cannot run a task with --config: it has no effect"),
        (["-e", "status"], "--echo: it has no effect here\nhint: set DELIVERY_ECHO=1"),
    ],
)
def test_a_bad_command_line_is_an_error_with_a_hint(
    words: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    assert run(*words) == 2
    assert message in capsys.readouterr().err


# Instead of Invoke: waits while it is imported.
LOADING = """
import signal
print("loading", flush=True)
signal.pause()
"""


def test_an_interrupt_while_modules_are_loaded_shows_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "invoke").mkdir()
    (tmp_path / "invoke" / "__init__.py").write_text(LOADING)
    with subprocess.Popen(
        with_default_signals([sys.executable, "-m", "delivery", "status"]),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as started:
        assert started.stdout
        assert started.stdout.readline() == "loading\n"
        started.send_signal(signal.SIGINT)
        _, errors = started.communicate()
    assert (started.returncode, errors) == (-signal.SIGINT, "")


def test_run_without_a_command_is_a_usage_error() -> None:
    done = subprocess.run([ROOT / "run"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: cannot run a command: none given\nhint: pass one: ")


@pytest.mark.parametrize(
    ("change", "is_made_again"),
    [("true", False), ("echo >>ops/locks/run.txt", True), ("rm .venv/bin/python", True)],
)
def test_run_makes_the_tools_again_once_their_lock_changes(
    change: str, *, is_made_again: bool, tmp_path: Path
) -> None:
    python = tmp_path / "python"
    python.write_text(
        '#!/bin/sh\nif [ "$2" = venv ]; then mkdir -p "$3/bin" && cp "$0" "$3/bin/python"; fi\n'
    )
    python.chmod(0o755)
    (tmp_path / "ops" / "locks").mkdir(parents=True)
    (tmp_path / "ops" / "locks" / "run.txt").write_text("invoke==1\n")
    (tmp_path / "run").write_bytes((ROOT / "run").read_bytes())

    def make() -> bool:
        argv = ["sh", str(tmp_path / "run"), "true"]
        environment = {**os.environ, "PYTHON": str(python)}
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True)
        return "making .venv" in done.stderr

    assert make()
    subprocess.run(["sh", "-c", change], cwd=tmp_path, check=True)
    assert make() is is_made_again
    assert not make()


def test_a_closed_pipe_ends_a_list_without_an_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed:
        argv = [sys.executable, "-m", "delivery", "--list"]
        done = subprocess.run(
            argv, cwd=ROOT, stdout=closed, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize(
    ("words", "completions"),
    [
        (("./run", "i"), {"inv"}),
        (("./run", "inv", "cluster."), {"cluster.up", "cluster.down", "cluster.status"}),
        (("./run", "inv", "up", "--mon"), {"--monitoring"}),
        (("./run", "nox", "-"), set()),
    ],
)
def test_bash_completes_tasks_and_flags(
    words: tuple[str, ...], completions: set[str], tmp_path: Path
) -> None:
    program = tmp_path / "run"
    program.write_text(
        f'#!/bin/sh\ncd "{ROOT}" && shift && exec "{sys.executable}" -m delivery "$@"\n'
    )
    program.chmod(0o755)
    complete = (
        f'eval "$(./run inv --print-completion-script bash)"; COMP_WORDS=({" ".join(words)}); '
        f'COMP_CWORD={len(words) - 1}; _delivery_run; printf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    done = subprocess.run(
        ["bash", "-c", complete], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert (set(done.stdout.split()), done.stderr) == (completions, "")


def test_a_list_of_tasks_imports_only_their_names_and_help() -> None:
    program = "import sys, tasks; print(*sys.modules)"
    argv = [sys.executable, "-c", program]
    loaded = subprocess.check_output(argv, cwd=ROOT, text=True).split()
    slow = {"docker", "pydantic", "requests", "delivery.project.files"}
    assert slow.intersection(loaded) == set()
