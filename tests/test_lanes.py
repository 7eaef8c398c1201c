"""Nox sessions run in parallel: their progress, failures and interrupts."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from delivery import console
from delivery.errors import TestError
from delivery.project.files import ROOT
from tests import lanes
from tests.lanes import Run, run_all

# A session that ends once its output was seen, which creates a file.
WAITS = """
import pathlib, sys, time
deadline = time.monotonic() + 60
print("FAILED tests/test_a.py::test_a - it broke", flush=True)
while not pathlib.Path(sys.argv[1]).exists():
    if time.monotonic() > deadline: sys.exit("the output was not seen")
    time.sleep(0.01)
"""
INTERRUPTED = """
import pathlib, signal, sys
def clean_up(*_): pathlib.Path(sys.argv[1]).touch(); sys.exit(3)
signal.signal(signal.SIGINT, clean_up)
print("ready", flush=True)
signal.pause()
"""


def python(code: str, *arguments: str) -> Callable[[Run], list[str]]:
    return lambda _run: [sys.executable, "-c", code, *arguments]


def test_progress_and_failures_are_read_from_pytests_output() -> None:
    run = Run("lint")
    failed = ["FAILED tests/test_a.py::test_a - it broke", "ERROR tests/test_b.py::test_b"]
    counted = "tests/test_a.py ..........                 [ 72/635]"
    for line in (counted, "nox > pytest -m 'not engine'", *failed, "ERROR: no", "1 failed"):
        run.read(line)
    assert (run.count, run.failed) == ("72/635", failed)


def test_tests_that_failed_for_one_reason_are_counted() -> None:
    broke, other = ("FAILED a.py::one - it broke", "FAILED a.py::two")
    run = Run("lint", failed=[broke, other, "ERROR a.py::three - it broke"])
    assert lanes.failures(run) == [f"{broke} (and 1 more)", other]


def test_a_failure_is_shown_before_its_session_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = tmp_path / "seen"
    monkeypatch.setattr(console, "say", lambda text: seen.touch() if "it broke" in text else None)
    run = Run("lint")
    run_all([run], python(WAITS, str(seen)))
    assert run.returncode == 0
    assert len(run.failed) == 1


def test_a_failed_session_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(console, "say", shown.append)
    runs = [Run("lint"), Run("types"), Run("unit")]
    code = "import sys; print(sys.argv[1]); sys.exit(sys.argv[1] == 'lint')"
    with pytest.raises(TestError, match="1 of 3 sessions failed") as caught:
        run_all(runs, lambda run: [sys.executable, "-c", code, run.name])
    assert caught.value.hint == "run them again: ./run nox -s lint"
    assert [run.returncode for run in runs] == [1, 0, 0]
    assert sorted(shown) == ["lint  │ lint", "types │ types", "unit  │ unit"]


def test_an_interrupt_ends_running_sessions_and_starts_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cleaned = tmp_path / "cleaned"
    main_thread = threading.main_thread().ident or 0
    monkeypatch.setattr(
        console, "say", lambda _text: signal.pthread_kill(main_thread, signal.SIGINT)
    )
    runs = [Run("lint"), Run("types")]
    # The shell that started the tests may ignore interrupts.
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_all(runs, python(INTERRUPTED, str(cleaned)), width=1)
    finally:
        signal.signal(signal.SIGINT, previous)
    assert cleaned.exists()
    assert [run.returncode for run in runs] == [3, None]


def test_a_failed_session_gives_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fake(runs: list[Run], argv_of: Callable[[Run], list[str]]) -> None:
        assert argv_of(runs[0])[1:] == ["-m", "nox", "--session", "lint", "--", "-k", "x"]
        if runs[-1].session == "types":
            runs[-1].failed = ["FAILED a::b"]
            raise TestError("cannot pass: 1 of 2 sessions failed")

    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(lanes, "run_all", fake)
    assert lanes.main(["lint", "--", "-k", "x"]) == 0
    assert lanes.main(["lint", "types", "--", "-k", "x"]) == 1
    printed = capsys.readouterr()
    assert "FAILED a::b" in printed.out
    assert "1 of 2 sessions failed" in printed.err
    assert lanes.main([]) == 2


TERMINATED = """
import sys
from tests import lanes
argv = [sys.executable, "-c", sys.argv[1], sys.argv[2]]
lanes.run_all = lambda runs, _argv_of, run_all=lanes.run_all: run_all(runs, lambda _run: argv)
sys.exit(lanes.main(["lint"]))
"""


def test_sigterm_ends_the_sessions(tmp_path: Path) -> None:
    cleaned = tmp_path / "cleaned"
    with subprocess.Popen(
        [sys.executable, "-c", TERMINATED, INTERRUPTED, str(cleaned)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        while "ready" not in process.stdout.readline():
            pass
        process.terminate()
        process.stdout.read()
    assert process.returncode == 143
    assert cleaned.exists()
