"""Programs are run, watched and ended together with their children."""

import os
import re
import select
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from delivery import process
from delivery.errors import CommandError
from tests.signals import with_default_signals
from tests.waiting import wait_for

PYTHON = sys.executable
WAIT = "import time; time.sleep(30)"


def test_a_program_gets_its_folder_and_both_environments(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KEPT", "1")
    code = "import os; print(os.getcwd(), os.environ['KEPT'] + os.environ['ADDED'])"
    options = process.Options(tmp_path.resolve(), {"ADDED": "2"})
    printed = process.capture([PYTHON, "-c", code], doing="try", options=options)
    assert printed == f"{options.folder} 12\n"


def test_an_error_has_the_action_the_exit_code_the_last_lines_and_a_hint() -> None:
    code = "import sys; sys.exit(print('the reason', file=sys.stderr) or 3)"
    options = process.Options(hint="try again")
    with pytest.raises(CommandError, match=r"cannot try: `.* exited with 3") as caught:
        process.capture([PYTHON, "-c", code], doing="try", options=options)
    assert (caught.value.returncode, caught.value.tail) == (3, "the reason")
    assert caught.value.hint == "try again"


def test_a_missing_program_is_named() -> None:
    with pytest.raises(CommandError, match="cannot try: there is no program no-such-program"):
        process.capture(["no-such-program"], doing="try")


def test_a_missing_folder_is_no_missing_program(tmp_path: Path) -> None:
    options = process.Options(tmp_path / "gone")
    with pytest.raises(CommandError, match=r"cannot try: there is no folder .*/gone$"):
        process.capture([PYTHON], doing="try", options=options)


def test_stream_passes_stdout_and_stderr_line_by_line() -> None:
    lines: list[str] = []
    code = "import sys; print('a', flush=True); print('b', file=sys.stderr)"
    process.stream([PYTHON, "-c", code], doing="try", on_line=lines.append)
    assert [line.strip() for line in lines] == ["a", "b"]


def test_stream_keeps_the_last_lines_of_a_failure() -> None:
    code = "print(*range(100), sep='\\n'); raise SystemExit(1)"
    with pytest.raises(CommandError) as caught:
        process.stream([PYTHON, "-c", code], doing="try", on_line=lambda _: None)
    assert caught.value.tail.splitlines() == [str(number) for number in range(60, 100)]


READY = re.compile(r"^ready on (\d+)")


def test_a_program_runs_while_the_body_runs() -> None:
    code = "import time; print('hello\\nready on 7', flush=True); time.sleep(30)"
    with process.running([PYTHON, "-c", code], doing="try", ready=READY) as match:
        assert match[1] == "7"
    with (
        pytest.raises(ZeroDivisionError),
        process.running(
            [PYTHON, "-c", f"import os; print('ready on', os.getpid(), flush=True); {WAIT}"],
            doing="try",
            ready=READY,
        ) as match,
    ):
        raise ZeroDivisionError
    with pytest.raises(ProcessLookupError):
        os.kill(int(match[1]), 0)


def test_a_program_that_ends_before_it_is_ready_says_why() -> None:
    code = "import sys; sys.exit('no such pod')"
    with (
        pytest.raises(CommandError, match="cannot try") as caught,
        process.running([PYTHON, "-c", code], doing="try", ready=READY),
    ):
        pass
    assert caught.value.tail == "no such pod"


def test_a_program_that_is_never_ready_is_ended() -> None:
    argv = [PYTHON, "-c", WAIT]
    with (
        pytest.raises(CommandError, match="has not answered"),
        process.running(argv, doing="try", ready=READY, timeout=0.2),
    ):
        pass


def test_text_is_standard_input() -> None:
    argv, options = [PYTHON, "-c", "print(input())"], process.Options(text="a\n")
    lines: list[str] = []
    process.stream(argv, doing="try", on_line=lines.append, options=options)
    assert [process.capture(argv, doing="try", options=options)] == lines == ["a\n"]
    assert repr(options) == repr(process.Options())  # it may be secret


def test_a_timer_ticks_until_the_program_ends(tmp_path: Path) -> None:
    go = tmp_path / "go"
    code = (
        "import pathlib, time\nprint('ready', flush=True)\n"
        f"while not pathlib.Path({str(go)!r}).exists(): time.sleep(0.01)\nprint('done')"
    )
    lines: list[str] = []
    process.stream(
        [PYTHON, "-c", code], doing="try", on_line=lines.append, timer=process.Timer(go.touch, 0.05)
    )
    assert [line.strip() for line in lines] == ["ready", "done"]


def test_an_error_of_the_timer_ends_the_program_first(tmp_path: Path) -> None:
    ready, ended = tmp_path / "ready", tmp_path / "ended"
    code = (
        "import pathlib, signal, sys, time\n"
        f"ended = pathlib.Path({str(ended)!r})\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(ended.touch()))\n"
        f"pathlib.Path({str(ready)!r}).touch()\n"
        "time.sleep(30)"
    )

    def tick() -> None:
        if ready.exists():
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        process.stream(
            [PYTHON, "-c", code],
            doing="try",
            on_line=lambda _: None,
            timer=process.Timer(tick, 0.01),
        )
    assert ended.exists()


def test_a_failure_beside_a_timer_keeps_the_last_lines_and_the_signal() -> None:
    code = (
        "import os, signal; print('the reason', flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    with pytest.raises(CommandError) as caught:
        process.stream(
            [PYTHON, "-c", code],
            doing="try",
            on_line=lambda _: None,
            timer=process.Timer(every=0.05),
        )
    assert (caught.value.returncode, caught.value.tail) == (-9, "the reason")


def test_a_detached_program_writes_to_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    detached = process.detach([PYTHON, "-c", "print('hello')"], doing="try", log=log)
    deadline = time.monotonic() + 10
    while detached.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert log.read_text() == "hello\n"


def test_the_echoed_command_line_is_quoted_for_a_shell(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DELIVERY_ECHO", "1")
    process.capture([PYTHON, "-c", "pass # a b"], doing="try")
    assert f"$ {shlex.quote(PYTHON)} -c 'pass # a b'" in capsys.readouterr().err


@dataclass
class Family:
    """A shell with a child program, which holds a FIFO open as long as it runs."""

    fifo: Path
    pipe: int
    written: bytes = b""
    interrupted: threading.Event = field(default_factory=threading.Event)

    def argv(self, grandchild: str, shell: str = "wait") -> list[str]:
        """The command line of a shell that starts the grandchild, then runs the text of `shell`."""
        return ["sh", "-c", f'(exec 3>"$1"; {grandchild}) & {shell}', "sh", str(self.fifo)]

    def read(self) -> bool:
        """Wait for the program to write or end; return whether it still runs."""
        assert select.select([self.pipe], [], [], 30)[0], (
            f"the program still runs; it wrote {self.written!r}"
        )
        chunk = os.read(self.pipe, 4096)
        self.written += chunk
        return bool(chunk)

    def output(self) -> str:
        """Everything that the program has written, once it has ended."""
        while self.read():
            pass
        return self.written.decode()


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Family]:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    pipe = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    yield Family(fifo, pipe)
    os.close(pipe)


def interrupted(argv: list[str], family: Family) -> None:
    """Run a command and interrupt this process once the grandchild has written something.

    With a timer, which starts the command by another program that has to be ended, too.
    """

    def interrupt() -> None:
        family.read()
        os.kill(os.getpid(), signal.SIGINT)
        family.interrupted.set()

    # A background job ignores Ctrl-C, and these tests may be one.
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = threading.Thread(target=interrupt)
    thread.start()
    timer = process.Timer(every=0.05)
    try:
        with pytest.raises(KeyboardInterrupt):
            process.stream(argv, doing="try", on_line=lambda _: None, timer=timer)
    finally:
        thread.join()
        signal.signal(signal.SIGINT, previous)


def test_an_interrupt_ends_the_children_of_a_program(family: Family) -> None:
    interrupted(family.argv("echo begun >&3; exec sleep 60"), family)
    assert family.output() == "begun\n"


def test_an_interrupt_during_the_start_ends_the_program(
    family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Popen(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **keywords: Any) -> None:  # as its own
            super().__init__(*arguments, **keywords)
            family.interrupted.wait(30)

    monkeypatch.setattr(subprocess, "Popen", Popen)
    interrupted(family.argv("echo begun >&3; exec sleep 60"), family)
    assert family.output() == "begun\n"


def test_children_get_time_to_shut_down(family: Family) -> None:
    # The shell itself ends at once.
    grandchild = (
        "trap 'sleep 0.2; echo tidied >&3; exit' TERM; echo begun >&3; while :; do sleep 0.1; done"
    )
    interrupted(family.argv(grandchild), family)
    assert family.output() == "begun\ntidied\n"


def test_a_child_that_ignores_sigterm_is_killed(
    family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "GRACE_SECONDS", 0.1)
    interrupted(family.argv("trap '' TERM; echo begun >&3; exec sleep 60"), family)
    assert family.output() == "begun\n"


def test_a_second_interrupt_kills_at_once(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    sleep = time.sleep

    def interrupt(_seconds: float) -> None:
        monkeypatch.setattr(time, "sleep", sleep)  # waiting for the killed program sleeps, too
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupt)
    monkeypatch.setattr(process, "_KILL_SECONDS", 30)  # a busy machine may take its time
    interrupted(family.argv("trap '' TERM; echo begun >&3; exec sleep 60"), family)
    assert family.output() == "begun\n"


def test_a_timeout_ends_the_children_of_a_program(family: Family) -> None:
    with pytest.raises(CommandError, match="has not answered"):
        process.capture(family.argv("echo begun >&3; exec sleep 60"), doing="try", timeout=0.5)
    os.close(os.open(family.fifo, os.O_WRONLY))  # on a slow machine the program has not begun
    family.output()


_ORPHANS = 'read -r _ < "$2"; printf "the last line"'  # after the grandchild has begun


def orphaning(family: Family) -> list[str]:
    """A shell that ends while the grandchild lives on and holds the shell's output open."""
    go = family.fifo.with_name("go")
    os.mkfifo(go)
    return [*family.argv('echo $$ >&3; echo go > "$2"; exec sleep 60', _ORPHANS), str(go)]


@pytest.fixture
def _ended(family: Family) -> Iterator[None]:
    yield
    family.read()
    ended = select.select([family.pipe], [], [], 0)[0]
    os.killpg(int(family.written), signal.SIGKILL)
    assert not ended, "stream waited for the grandchild"


@pytest.mark.usefixtures("_ended")
def test_stream_does_not_wait_for_a_pipe_that_a_child_keeps_open(
    family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "_OPEN_SECONDS", 0.1)
    lines: list[str] = []
    process.stream(orphaning(family), doing="try", on_line=lines.append)
    assert lines == ["the last line"]


def test_a_long_output_is_read_to_its_end_after_the_program_has_ended(
    family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "_OPEN_SECONDS", 0.05)
    lines: list[str] = []
    code = "import sys; open(sys.argv[1], 'w').write('all'); sys.stdout.write('x\\n' * 100_000)"

    def slowly(line: str) -> None:
        if not lines:
            family.output()
        lines.append(line)
        if len(lines) % 20_000 == 0:
            threading.Event().wait(0.1)  # longer than an output is waited for

    process.stream([PYTHON, "-c", code, str(family.fifo)], doing="try", on_line=slowly)
    assert len(lines) == 100_000


def test_a_program_that_prints_too_fast_blocks(family: Family) -> None:
    # More than pipe and queue take; the program writes to the FIFO after all of it.
    size = process._CHUNKS * process._CHUNK_BYTES + 2**21
    code = (
        f"import sys; sys.stdout.write(('x' * 1023 + '\\n') * ({size} // 1024)); "
        "open(sys.argv[1], 'w').write('all')"
    )
    blocked: list[bool] = []

    def first(_line: str) -> None:
        if not blocked:
            blocked.append(not select.select([family.pipe], [], [], 0.3)[0])

    process.stream([PYTHON, "-c", code, str(family.fifo)], doing="try", on_line=first)
    assert blocked == [True]
    assert family.output() == "all"


SCRIPT = """
import sys
from invoke import Context, Exit
from delivery.tasks.decorator import task
from delivery import process

@task()
def work():
    process.stream(sys.argv[1:], doing="try", on_line=lambda _: None)

try:
    work(Context())
except Exit as error:
    sys.exit(error.code)
"""


@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)], ids=str
)
def test_a_signal_to_a_task_ends_its_programs(
    sent: signal.Signals, code: int, family: Family
) -> None:
    argv = family.argv("echo begun >&3; exec sleep 60")
    with subprocess.Popen(
        with_default_signals([sys.executable, "-c", SCRIPT, *argv]),
        stderr=subprocess.DEVNULL,
    ) as process:
        family.read()
        process.send_signal(sent)
        assert process.wait(30) == code
    assert family.output() == "begun\n"


def test_an_interrupt_that_was_left_to_the_system_is_a_keyboard_interrupt() -> None:
    previous = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        with pytest.raises(KeyboardInterrupt) as caught, process.terminable():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, previous)
    assert caught.type is KeyboardInterrupt


WATCHER = """
import sys
from delivery import process

process.stream(sys.argv[1:], doing="try", on_line=lambda _: None, timer=process.Timer(every=60))
"""


@pytest.mark.skipif(
    not process._kill_with_parent(), reason="setpriv of util-linux ends it, on Linux alone"
)
def test_a_program_with_a_timer_is_killed_together_with_its_parent(family: Family) -> None:
    argv = ["sh", "-c", 'exec 3>"$1"; echo begun >&3; exec sleep 60', "sh", str(family.fifo)]
    with subprocess.Popen(
        [sys.executable, "-c", WATCHER, *argv], stderr=subprocess.DEVNULL
    ) as process:
        family.read()
        process.kill()
    assert family.output() == "begun\n"


def test_standard_input_is_empty_by_default() -> None:
    assert (
        process.capture(
            [PYTHON, "-c", "import sys; print(sys.stdin.read())"], doing="try", timeout=30
        )
        == "\n"
    )


def test_lines_may_come_in_chunks_with_every_kind_of_line_end() -> None:
    code = (
        "import os, sys\n"
        "for piece in (b'a\\xc3', b'\\xa9\\r', b'\\nb\\rc\\n\\xff'): "
        "os.write(1, piece); sys.stdin.readline()"
    )
    lines: list[str] = []
    process.stream([PYTHON, "-c", code], doing="try", on_line=lines.append)
    assert lines == ["aé\n", "b\n", "c\n", "\ufffd"]


TOUCH = "import pathlib, sys; pathlib.Path(sys.argv[1]).touch()"
AWAIT = "import pathlib, sys, time\nwhile not pathlib.Path(sys.argv[1]).exists(): time.sleep(0.01)"


def test_commands_run_side_by_side(tmp_path: Path) -> None:
    file = str(tmp_path / "made")
    with process.side_by_side() as pool:
        waits = pool.submit(process.capture, [sys.executable, "-c", AWAIT, file], doing="wait")
        process.capture([sys.executable, "-c", TOUCH, file], doing="touch")
    assert waits.result() == ""


def test_an_interrupt_ends_the_commands_side_by_side(tmp_path: Path) -> None:
    file = tmp_path / "runs"
    argv = [sys.executable, "-c", f"{TOUCH}; import time; time.sleep(60)", str(file)]
    futures: list[Future[str]] = []

    def start_and_interrupt() -> None:
        with process.side_by_side() as pool:
            futures.append(pool.submit(process.capture, argv, doing="wait"))
            wait_for("the command to run", file.exists, seconds=30, every=0.01)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        start_and_interrupt()
    with pytest.raises(CommandError, match="exited with -15"):
        futures[0].result()
