"""Programs are started in one place, and what went wrong with them can be acted on."""

import sys
import time
from pathlib import Path

import pytest

from delivery.core.errors import CommandError
from delivery.tools import command

PYTHON = sys.executable


def test_returns_what_the_command_prints() -> None:
    assert command.capture([PYTHON, "-c", "print('out')"], doing="try") == "out\n"


def test_adds_to_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEPT", "1")
    code = "import os; print(os.environ['KEPT'] + os.environ['ADDED'])"
    assert command.capture([PYTHON, "-c", code], doing="try", env={"ADDED": "2"}) == "12\n"


def test_a_failure_names_the_action_the_code_and_the_last_words() -> None:
    with pytest.raises(CommandError, match=r"try: `.* exited with 3") as caught:
        command.capture([PYTHON, "-c", "import sys; sys.exit(print('the reason', file=sys.stderr) or 3)"], doing="try")
    assert (caught.value.returncode, caught.value.tail) == (3, "the reason")


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(CommandError, match="try: there is no program no-such-program"):
        command.capture(["no-such-program"], doing="try")


def test_one_that_takes_too_long_is_ended() -> None:
    with pytest.raises(CommandError, match="has not answered"):
        command.capture([PYTHON, "-c", "import time; time.sleep(30)"], doing="try", timeout=0.2)


def test_streams_both_outputs_line_by_line() -> None:
    lines: list[str] = []
    code = "import sys; print('a', flush=True); print('b', file=sys.stderr)"
    command.stream([PYTHON, "-c", code], doing="try", on_line=lines.append)
    assert [line.strip() for line in lines] == ["a", "b"]


def test_a_streamed_failure_keeps_the_last_lines() -> None:
    code = "print(*range(100), sep='\\n'); raise SystemExit(1)"
    with pytest.raises(CommandError) as caught:
        command.stream([PYTHON, "-c", code], doing="try", on_line=lambda _: None)
    assert caught.value.tail.splitlines() == [str(number) for number in range(60, 100)]


def test_an_interrupt_ends_the_command_first(tmp_path: Path) -> None:
    ended = tmp_path / "ended"
    code = (
        "import pathlib, signal, sys, time\n"
        f"signal.signal(signal.SIGTERM, lambda *_: sys.exit(pathlib.Path({str(ended)!r}).touch()))\n"
        "print('ready', flush=True)\n"
        "time.sleep(30)"
    )

    def interrupt(_line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        command.stream([PYTHON, "-c", code], doing="try", on_line=interrupt)
    assert ended.exists()


def test_hands_a_command_what_it_reads() -> None:
    assert command.capture([PYTHON, "-c", "print(input())"], doing="try", text="said\n") == "said\n"


def test_ticks_beside_a_command_until_it_ends(tmp_path: Path) -> None:
    go = tmp_path / "go"
    code = (
        "import pathlib, time\nprint('ready', flush=True)\n"
        f"while not pathlib.Path({str(go)!r}).exists(): time.sleep(0.01)\nprint('done')"
    )
    lines: list[str] = []
    command.watch([PYTHON, "-c", code], doing="try", on_line=lines.append, tick=go.touch, every=0.05)
    assert [line.strip() for line in lines] == ["ready", "done"]


def test_what_a_tick_raises_ends_the_command_first(tmp_path: Path) -> None:
    ready, ended = tmp_path / "ready", tmp_path / "ended"
    code = (
        "import pathlib, signal, sys, time\n"
        f"signal.signal(signal.SIGTERM, lambda *_: sys.exit(pathlib.Path({str(ended)!r}).touch()))\n"
        f"pathlib.Path({str(ready)!r}).touch()\n"
        "time.sleep(30)"
    )

    def tick() -> None:
        if ready.exists():
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        command.watch([PYTHON, "-c", code], doing="try", on_line=lambda _: None, tick=tick, every=0.01)
    assert ended.exists()


def test_a_watched_failure_keeps_the_last_lines_and_the_signal() -> None:
    code = "import os, signal; print('the reason', flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    with pytest.raises(CommandError) as caught:
        command.watch([PYTHON, "-c", code], doing="try", on_line=lambda _: None, tick=lambda: None, every=0.05)
    assert (caught.value.returncode, caught.value.tail) == (-9, "the reason")


def test_a_detached_program_writes_to_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = command.detach([PYTHON, "-c", "print('hello')"], doing="try", log=log)
    deadline = time.monotonic() + 10
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert log.read_text() == "hello\n"


def test_echoes_a_line_that_can_be_pasted(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DELIVERY_ECHO", "1")
    command.capture([PYTHON, "-c", "pass # a b"], doing="try")
    assert f"$ {PYTHON} -c 'pass # a b'" in capsys.readouterr().err
