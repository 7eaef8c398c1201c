"""The one module that starts other programs.

Each runs in a session of its own, without a terminal. Ctrl-C reaches only us; whatever interrupts us
ends the program and all that it started, except what has made itself another session. A program that
needs a password gets it from elsewhere: an agent, a file, the environment.
"""

from __future__ import annotations

import codecs
import csv
import functools
import io
import os
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Full, Queue
from types import FrameType
from typing import IO

from delivery import console
from delivery.errors import CommandError, TerminatedError

__all__ = [
    "GRACE_SECONDS",
    "Options",
    "Timer",
    "capture",
    "csv_line",
    "detach",
    "stream",
    "terminable",
    "watch",
]

GRACE_SECONDS = 10.0  # from asking a program and all that it started to end, until they are killed
_KILL_SECONDS = 1.0  # how long the kernel may take to end what is killed
# How long an output is waited for after the program has ended. What it left running may keep it open.
_OPEN_SECONDS = 1.0
_LOOK_SECONDS = 0.1
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_TAIL_LINES = 40
_CHUNK_BYTES = 65536
_CHUNKS = 64  # that wait to be taken; a program that prints faster is held back, as by a pipe

_Sink = Callable[[bytes], object]
_Chunks = Queue[tuple[_Sink, bytes] | None]  # what is read, None for the end of an output


@dataclass(frozen=True)
class Options:
    """Where a program runs."""

    folder: Path | None = None  # None: our own
    env: Mapping[str, str] | None = None  # variables in addition to our own


@dataclass(frozen=True)
class Timer:
    """What is called every so many seconds while a program runs."""

    tick: Callable[[], None] = lambda: None
    every: float = float("inf")  # seconds


@dataclass(frozen=True)
class _Command:
    """A program to run. doing names the action for errors, as in "read the engine's context"."""

    argv: Sequence[str]
    doing: str
    options: Options = Options()
    text: str | None = None  # what it reads
    prefix: Sequence[str] = ()  # the program that starts it, with its arguments


def capture(
    argv: Sequence[str],
    *,
    doing: str,
    options: Options = Options(),
    timeout: float = 60,
    text: str | None = None,
) -> str:
    """Run a short command and return its standard output; text is what it reads.

    doing names the action for the error, as in "read the engine's context". Raises CommandError when
    the program is not there, takes longer than timeout seconds, or exits with anything but 0.
    """

    def expire() -> None:
        message = f"cannot {doing}: {argv[0]} has not answered for {timeout:.0f} s"
        raise CommandError(message, argv=list(argv), returncode=-1, tail="")

    console.command(argv)
    output, errors = bytearray(), bytearray()
    command = _Command(argv, doing, options, text)
    if returncode := _run(command, [output.extend, errors.extend], Timer(expire, timeout)):
        raise _failed(argv, doing, returncode, _text(errors or output).splitlines())
    return _text(output)


def stream(
    argv: Sequence[str],
    *,
    doing: str,
    on_line: Callable[[str], None],
    options: Options = Options(),
) -> None:
    """Run a long command, giving each line it prints (output and errors together) to on_line.

    Raises CommandError, with the last lines, when it exits with anything but 0. Interrupted, it ends
    the command first.
    """
    console.command(argv)
    _stream(_Command(argv, doing, options), on_line, Timer())


def watch(
    argv: Sequence[str],
    *,
    doing: str,
    on_line: Callable[[str], None],
    timer: Timer,
    options: Options = Options(),
) -> None:
    """Run a long command with a timer beside it.

    What its tick raises ends the command first. Raises CommandError, with the last lines, when it exits
    with anything but 0. On Linux the command is killed when we are killed: nobody watches it then.
    """
    console.command(argv)
    prefix = _killed_with_us() if shutil.which(argv[0]) else ()
    _stream(_Command(argv, doing, options, prefix=prefix), on_line, timer)


def detach(argv: Sequence[str], *, doing: str, log: Path) -> subprocess.Popen[bytes]:
    """Start a program that outlives us, in a session of its own, its output going to the file log."""
    console.command(argv)
    try:
        with log.open("ab") as sink:
            return subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    except FileNotFoundError as error:
        raise _not_there(argv, doing) from error


def csv_line(*fields: object) -> str:
    """One record of CSV, as programs in Go read an option that is a list: a path may hold a comma."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(fields)
    return text.getvalue()


@contextmanager
def terminable() -> Iterator[None]:
    """Raise TerminatedError on SIGTERM and SIGHUP, so that programs that run are ended first."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, _frame: FrameType | None) -> None:
        raise TerminatedError(signal.Signals(number).name)

    # What somebody else handles, or ignores as nohup does, is left to them.
    taken = [number for number in _ENDING if signal.getsignal(number) is signal.SIG_DFL]
    try:
        for number in taken:
            signal.signal(number, handle)
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _stream(command: _Command, on_line: Callable[[str], None], timer: Timer) -> None:
    lines = _Lines(on_line)
    returncode = _run(command, [lines.feed], timer)
    lines.end()
    if returncode:
        raise _failed(command.argv, command.doing, returncode, list(lines.tail))


def _run(command: _Command, sinks: Sequence[_Sink], timer: Timer) -> int:
    """Run a program and return its exit code; what is raised meanwhile ends it first.

    Of two sinks the second gets the errors; one alone gets both outputs.
    """
    process = None
    chunks: _Chunks = Queue(_CHUNKS)
    ended = (
        threading.Event()
    )  # from now on what is printed is thrown away, and holds no program back
    try:
        with _uninterrupted():
            process = _start(command, apart=len(sinks) > 1)
            for pipe, sink in zip((process.stdout, process.stderr), sinks, strict=False):
                _beside(_read, pipe, sink, chunks, ended)
            if command.text is not None:
                _beside(_write, process.stdin, command.text)
        return _follow(process, chunks, len(sinks), timer)
    except BaseException:
        ended.set()
        if process:
            _end(process)
        raise
    finally:
        ended.set()


def _start(command: _Command, *, apart: bool) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            [*command.prefix, *command.argv],
            cwd=command.options.folder,
            env={**os.environ, **(command.options.env or {})},
            stdin=subprocess.DEVNULL if command.text is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if apart else subprocess.STDOUT,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise _not_there(command.argv, command.doing) from error


@functools.cache
def _killed_with_us() -> tuple[str, ...]:
    """What to write before a command, so that the kernel kills it when the thread that started it is killed.

    () where there is no setpriv of util-linux that can do that.
    """
    prefix = ("setpriv", "--pdeathsig", "KILL")
    with suppress(OSError):
        if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0:
            return prefix
    return ()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold signals back until the body has run: an exception amid a start would leave the program running."""
    arrived: list[tuple[int, FrameType | None]] = []
    handlers: dict[int, Callable[[int, FrameType | None], object]] = {}
    if threading.current_thread() is threading.main_thread():  # no other thread is interrupted
        for number in map(int, _ENDING):
            handler = signal.getsignal(number)
            if callable(handler):
                handlers[number] = handler
    try:
        for number in handlers:
            signal.signal(number, lambda *signalled: arrived.append(signalled))
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for number, frame in arrived:
        handlers[number](number, frame)


def _follow(
    process: subprocess.Popen[bytes], chunks: _Chunks, still_open: int, timer: Timer
) -> int:
    """Give a program's output to the sinks, calling the timer's tick; return its exit code.

    Its outputs are read to their ends, or until the program has ended and no more came for a moment.
    """
    due = time.monotonic() + timer.every
    ended = None
    heard = 0.0  # when the last piece of output was taken
    while still_open or ended is None:
        if still_open:
            with suppress(Empty):
                if chunk := chunks.get(timeout=_until(due)):
                    chunk[0](chunk[1])
                else:
                    still_open -= 1
                heard = time.monotonic()
        else:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_until(due))
        now = time.monotonic()
        if ended is None and process.poll() is not None:
            ended = now
        if ended is None and now >= due:
            timer.tick()
            due = time.monotonic() + timer.every
        if ended is not None and now > max(ended, heard) + _OPEN_SECONDS:
            break
    return process.wait()


def _until(due: float) -> float:
    return max(0.0, min(due - time.monotonic(), _LOOK_SECONDS))


def _beside(function: Callable[..., None], *arguments: object) -> None:
    """Run a function in a thread that is not waited for: a pipe may stay open for long."""
    threading.Thread(target=function, args=arguments, daemon=True).start()


def _read(pipe: io.BufferedReader, sink: _Sink, chunks: _Chunks, ended: threading.Event) -> None:
    with pipe:
        while chunk := pipe.read1(_CHUNK_BYTES):
            _put((sink, chunk), chunks, ended)
    _put(None, chunks, ended)


def _put(chunk: tuple[_Sink, bytes] | None, chunks: _Chunks, ended: threading.Event) -> None:
    """Hand a piece of output on, unless nobody takes it any more."""
    while not ended.is_set():
        with suppress(Full):
            chunks.put(chunk, timeout=_LOOK_SECONDS)
            return


def _write(pipe: IO[bytes], text: str) -> None:
    with suppress(BrokenPipeError), pipe:  # a program may end without having read everything
        pipe.write(text.encode())


def _text(output: bytes | bytearray) -> str:
    return _decoder().decode(bytes(output), final=True)


def _decoder() -> io.IncrementalNewlineDecoder:
    """Decode UTF-8 piece by piece, with every kind of line end as a newline."""
    return io.IncrementalNewlineDecoder(
        codecs.getincrementaldecoder("utf-8")("replace"), translate=True
    )


class _Lines:
    """Splits a program's output into lines, and keeps the last ones."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self.tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._on_line = on_line
        self._decoder = _decoder()
        self._rest = ""

    def feed(self, chunk: bytes, *, final: bool = False) -> None:
        *lines, self._rest = (self._rest + self._decoder.decode(chunk, final)).split("\n")
        for line in lines:
            self._give(line + "\n")

    def end(self) -> None:
        """Pass on a last line that has no line end."""
        self.feed(b"", final=True)
        if self._rest:
            self._give(self._rest)

    def _give(self, line: str) -> None:
        self.tail.append(line.rstrip())
        self._on_line(line)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program and all that it started: terminate, wait for the grace, kill.

    A second interrupt kills at once.
    """
    deadline = time.monotonic() + GRACE_SECONDS
    try:
        _signal(process, signal.SIGTERM)
        while _lives(process) and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS / 5)
    finally:
        _signal(process, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_KILL_SECONDS)


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # ended, or another user's
        os.killpg(process.pid, number)


def _lives(process: subprocess.Popen[bytes]) -> bool:
    """Whether any process of the program's group still runs."""
    process.poll()  # until it is asked for its exit code it stays as a zombie
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _runs(process.pid)


def _runs(group: int) -> bool:
    """Whether any process of a group is more than a zombie; some containers have nobody to reap those."""
    stats = list(Path("/proc").glob("[0-9]*/stat"))
    for stat in stats:
        with suppress(OSError):  # the process has just ended
            state, _parent, its_group = (
                stat.read_text(errors="replace").rpartition(")")[2].split()[:3]
            )
            if int(its_group) == group and state not in {"Z", "X"}:
                return True
    return not stats  # elsewhere than on Linux there is no /proc


def _not_there(argv: Sequence[str], doing: str) -> CommandError:
    return CommandError(
        f"cannot {doing}: there is no program {argv[0]}",
        argv=list(argv),
        returncode=127,
        tail="",
        hint=f"install {argv[0]}",
    )


def _failed(argv: Sequence[str], doing: str, returncode: int, lines: Sequence[str]) -> CommandError:
    tail = "\n".join(lines[-_TAIL_LINES:])
    return CommandError(
        f"cannot {doing}: `{shlex.join(argv[:4])}{' …' if len(argv) > 4 else ''}` exited with {returncode}",  # noqa: PLR2004
        argv=list(argv),
        returncode=returncode,
        tail=tail,
    )
