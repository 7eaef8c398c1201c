"""The one place that starts other programs."""

from __future__ import annotations

import os
import shlex
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from delivery.core.errors import CommandError
from delivery.tools import screen

__all__ = ["capture", "detach", "stream", "watch"]

_TAIL_LINES = 40
_GRACE_SECONDS = 10.0  # what a program gets to end by itself when we are interrupted


def capture(
    argv: Sequence[str],
    *,
    doing: str,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 60,
    text: str | None = None,
) -> str:
    """Run a short command and return its standard output; text is what it reads.

    doing names the action for the error, as in "read the engine's context". Raises CommandError when the program is not
    there, takes longer than timeout seconds, or exits with anything but 0.
    """
    screen.command(argv)
    try:
        done = subprocess.run(
            list(argv),
            cwd=cwd,
            env=_environment(env),
            input=text,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as error:
        raise _not_there(argv, doing) from error
    except subprocess.TimeoutExpired as error:
        raise CommandError(
            f"{doing}: {argv[0]} has not answered for {timeout:.0f} s", argv=list(argv), returncode=-1, tail=""
        ) from error
    if done.returncode:
        raise _failed(argv, doing, done.returncode, (done.stderr or done.stdout).splitlines())
    return done.stdout


def stream(
    argv: Sequence[str],
    *,
    doing: str,
    on_line: Callable[[str], None],
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> None:
    """Run a long command, giving each line it prints (output and errors together) to on_line.

    Raises CommandError, with the last lines, when it exits with anything but 0. Interrupted, it ends the command first.
    """
    screen.command(argv)
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    with _started(argv, doing, cwd, env) as process:
        try:
            for line in process.stdout or ():
                tail.append(line.rstrip())
                on_line(line)
            returncode = process.wait()
        except BaseException:
            _end(process)
            raise
    if returncode:
        raise _failed(argv, doing, returncode, list(tail))


def watch(
    argv: Sequence[str],
    *,
    doing: str,
    on_line: Callable[[str], None],
    tick: Callable[[], None],
    every: float,
    env: Mapping[str, str] | None = None,
) -> None:
    """Run a long command, calling tick every so many seconds beside it; what tick raises ends the command first.

    Raises CommandError, with the last lines, when it exits with anything but 0.
    """
    screen.command(argv)
    tail: deque[str] = deque(maxlen=_TAIL_LINES)

    def read(lines: Iterable[str]) -> None:
        for line in lines:
            tail.append(line.rstrip())
            on_line(line)

    with _started(argv, doing, None, env) as process:
        reader = threading.Thread(target=read, args=(process.stdout or (),), daemon=True)
        reader.start()
        try:
            while (returncode := _ended(process, every)) is None:
                tick()
        except BaseException:
            _end(process)
            raise
        finally:
            reader.join()
    if returncode:
        raise _failed(argv, doing, returncode, list(tail))


def detach(argv: Sequence[str], *, doing: str, log: Path) -> subprocess.Popen[bytes]:
    """Start a program that outlives us, in a session of its own, its output going to the file log."""
    screen.command(argv)
    try:
        with log.open("ab") as sink:
            return subprocess.Popen(
                list(argv), stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True
            )
    except FileNotFoundError as error:
        raise _not_there(argv, doing) from error


def _started(argv: Sequence[str], doing: str, cwd: Path | None, env: Mapping[str, str] | None) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(
            list(argv),
            cwd=cwd,
            env=_environment(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except FileNotFoundError as error:
        raise _not_there(argv, doing) from error


def _ended(process: subprocess.Popen[str], seconds: float) -> int | None:
    """The exit code of a program that ends within this time, else None."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def _environment(extra: Mapping[str, str] | None) -> dict[str, str] | None:
    return None if extra is None else {**os.environ, **extra}


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


def _not_there(argv: Sequence[str], doing: str) -> CommandError:
    return CommandError(
        f"{doing}: there is no program {argv[0]}", argv=list(argv), returncode=127, tail="", hint=f"install {argv[0]}"
    )


def _failed(argv: Sequence[str], doing: str, returncode: int, lines: Sequence[str]) -> CommandError:
    tail = "\n".join(lines[-_TAIL_LINES:])
    return CommandError(
        f"{doing}: `{shlex.join(argv[:4])}{' …' if len(argv) > 4 else ''}` exited with {returncode}",  # noqa: PLR2004
        argv=list(argv),
        returncode=returncode,
        tail=tail,
    )
