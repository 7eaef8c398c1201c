"""Run nox sessions in parallel: `python -m tests.lanes SESSION... [-- OPTION...]`.

Options are for pytest. Each line of a session is printed at once after the session's name. A status
line shows the running sessions and their progress. The exit code is 1 if a session failed.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

from delivery import console, process
from delivery.errors import TerminatedError, TestError

__all__ = ["Run", "failures", "main", "run_all", "status", "summary"]

WIDTH = 3  # sessions at once

# By pytest's console_output_style=count, at the end of a line.
_COUNT = re.compile(r"\[ *(\d+/\d+)\]$")
_FAILED = re.compile(r"(FAILED|ERROR) \S+::")  # a line of pytest's short summary


@dataclass
class Run:
    """A session and its progress."""

    session: str
    count: str = ""  # of tests, as in "7/9"
    failed: list[str] = field(default_factory=list)  # lines of pytest's summary
    began: float = 0.0
    seconds: float = 0.0
    returncode: int | None = None

    @property
    def name(self) -> str:
        """The session without nox's punctuation: "unit api-rest" for unit(project='api-rest')."""
        return re.sub(r"\(\w+='(.*)'\)", r" \1", self.session)

    def read(self, line: str) -> None:
        """Read progress and failures from a line of output."""
        if match := _COUNT.search(line):
            self.count = match[1]
        if _FAILED.match(line):
            self.failed.append(line)


def status(runs: Sequence[Run]) -> str:
    """The running sessions with their progress, and the number of ended ones."""
    ended = [run for run in runs if run.returncode is not None]
    running = [run for run in runs if run.began and run.returncode is None]
    parts = [f"{run.name} {run.count}".rstrip() for run in running]
    failed = sum(bool(run.returncode) for run in ended)
    return (
        f"{len(ended)} of {len(runs)} done"
        + (f", {failed} failed" if failed else "")
        + (f"; running: {', '.join(parts)}" if parts else "")
    )


def summary(runs: Sequence[Run]) -> list[list[str]]:
    """A row for each session: name, outcome, seconds."""
    return [
        [run.name, "failed" if run.returncode else "passed", f"{run.seconds:.0f}"] for run in runs
    ]


def failures(run: Run) -> list[str]:
    """The session's failed tests: for each reason the first, and how many others have it."""
    reasons: dict[str, list[str]] = {}
    for line in run.failed:
        reasons.setdefault(line.partition(" - ")[2] or line, []).append(line)
    return [
        lines[0] + (f" (and {len(lines) - 1} more)" if lines[1:] else "")
        for lines in reasons.values()
    ]


def run_all(
    runs: Sequence[Run], argv_of: Callable[[Run], Sequence[str]], width: int = WIDTH
) -> None:
    """Run the command of every session in this order, `width` at once.

    Raises TestError after all have ended, if one failed. An interrupt ends them.
    """
    processes: set[subprocess.Popen[str]] = set()
    stopped = threading.Event()
    with console.step("checks") as step, ThreadPoolExecutor(width) as pool:

        def work(run: Run) -> None:
            if stopped.is_set():
                return
            run.began = time.monotonic()
            with _start(argv_of(run)) as process:
                processes.add(process)
                if stopped.is_set():  # since the check above
                    _interrupt(process)
                step.line(status(runs))
                for line in process.stdout or ():
                    text = line.rstrip("\n")
                    run.read(text)
                    console.say(f"{run.name:<{_widest(runs)}} │ {text}")
                    step.line(status(runs))
            processes.discard(process)
            run.returncode, run.seconds = process.returncode, time.monotonic() - run.began
            step.line(status(runs))

        submitted = [pool.submit(work, run) for run in runs]
        try:
            for future in submitted:
                future.result()
        except BaseException:
            stopped.set()
            for process in list(processes):
                _interrupt(process)
            raise
        step.done(status(runs))
        if failed := [run for run in runs if run.returncode]:
            again = " ".join(shlex.quote(run.session) for run in failed)
            raise TestError(
                f"cannot pass the checks: {len(failed)} of {len(runs)} sessions failed",
                hint=f"run them again: ./run nox -s {again}",
            )


def main(arguments: Sequence[str]) -> int:
    """Run the sessions; return 1 if one failed, 130 or 143 after a signal."""
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    runs = [Run(session) for session in arguments[:cut]]
    nox = [sys.executable, "-m", "nox", "--session"]
    # In a background job SIGINT is ignored, which the sessions would inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if not runs:
        console.say("usage: python -m tests.lanes SESSION... [-- OPTION...]")
        return 2
    failure = None
    try:
        with process.terminable():
            run_all(runs, lambda run: [*nox, run.session, *arguments[cut:]])
    except TestError as error:
        failure = error
    except KeyboardInterrupt as error:
        console.say("checks: interrupted")
        return 143 if isinstance(error, TerminatedError) else 130
    console.table("sessions", ["session", "outcome", "seconds"], summary(runs))
    for run in runs:
        for line in failures(run):
            console.say(f"{run.name:<{_widest(runs)}} │ {line}")
    if failure:
        # A busy machine may be the reason.
        load = os.getloadavg()[2]
        console.say(f"load of the last 15 minutes: {load:.1f}, on {os.cpu_count()} processors")
        console.error(failure)
    return 1 if failure else 0


def _interrupt(process: subprocess.Popen[str]) -> None:
    """Interrupt a session like a terminal: pytest and compose clean up."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)


def _start(argv: Sequence[str]) -> subprocess.Popen[str]:
    """Start a session in its own process group."""
    return subprocess.Popen(
        list(argv),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        start_new_session=True,
    )


def _widest(runs: Sequence[Run]) -> int:
    return max(len(run.name) for run in runs)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
