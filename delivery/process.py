"""Start other programs; no other module does.

Each program runs in its own session, without a terminal: Ctrl-C reaches only this process. An
interrupt ends the program and all that it started, except processes with another session. A program
that needs a password reads it from an agent, a file or the environment.
"""

from __future__ import annotations

import codecs
import csv
import functools
import io
import os
import re
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
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
    "running",
    "side_by_side",
    "stream",
    "terminable",
]

GRACE_SECONDS = 10.0  # between SIGTERM and SIGKILL
_KILL_SECONDS = 1.0  # that the kernel may take after SIGKILL
# How long to read output after the program has ended: its children may keep the pipe open.
_OPEN_SECONDS = 1.0
_POLL_SECONDS = 0.1
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_TAIL_LINES = 40
_SHOWN_WORDS = 4  # of a command line in an error
_CHUNK_BYTES = 65536
_CHUNKS = 64  # in the queue at most; a program that prints faster blocks, like on a full pipe

_by_thread: dict[int, subprocess.Popen[bytes]] = {}  # the program that a thread runs

_Sink = Callable[[bytes], object]
_Chunks = Queue[tuple[_Sink, bytes] | None]  # None: the end of an output


@dataclass(frozen=True)
class Options:
    """The folder, the environment and the input of a program, and a hint if it fails."""

    folder: Path | None = None  # default: this process' own
    env: Mapping[str, str] | None = None  # in addition to this process' own
    text: str | None = field(default=None, repr=False)  # its standard input
    hint: str = ""  # what to do if it fails


@dataclass(frozen=True)
class Timer:
    """A function that is called every few seconds while a program runs."""

    tick: Callable[[], None] = lambda: None
    every: float = float("inf")  # seconds


@dataclass(frozen=True)
class _Command:
    argv: Sequence[str]
    doing: str  # for errors: "cannot {doing}: …"
    options: Options = Options()
    prefix: Sequence[str] = ()  # the command line of the program that starts it

    def missing(self) -> CommandError:
        """The error of a program, or of its folder, that does not exist."""
        folder, program = self.options.folder, self.argv[0]
        if folder and not folder.is_dir():
            hint = "create it, then run the same command again"
            return self._error(f"there is no folder {folder}", 127, hint=hint)
        return self._error(f"there is no program {program}", 127, hint=f"install {program}")

    def expired(self, timeout: float) -> CommandError:
        """The error of a program that takes too long."""
        return self._error(f"{self.argv[0]} has not answered for {timeout:.0f} s", -1)

    def failed(self, returncode: int, lines: Sequence[str]) -> CommandError:
        """The error of a program that ended with another exit code than 0."""
        shown = shlex.join(self.argv[:_SHOWN_WORDS])
        shown += " …" if len(self.argv) > _SHOWN_WORDS else ""
        tail = "\n".join(lines[-_TAIL_LINES:])
        hint = self.options.hint
        return self._error(f"`{shown}` exited with {returncode}", returncode, tail, hint)

    def _error(self, reason: str, code: int, tail: str = "", hint: str = "") -> CommandError:
        message, argv = f"cannot {self.doing}: {reason}", list(self.argv)
        return CommandError(message, argv=argv, returncode=code, tail=tail, hint=hint)


def capture(
    argv: Sequence[str],
    *,
    doing: str,
    options: Options = Options(),
    timeout: float = 60,
) -> str:
    """Run a short command and return its standard output.

    Raises CommandError ("cannot {doing}: …") if the program is missing, runs longer than timeout
    seconds, or does not exit with 0.
    """
    command = _Command(argv, doing, options)

    def expire() -> None:
        raise command.expired(timeout)

    output, errors = bytearray(), bytearray()
    if returncode := _run(command, [output.extend, errors.extend], Timer(expire, timeout)):
        raise command.failed(returncode, _text(errors or output).splitlines())
    return _text(output)


def stream(
    argv: Sequence[str],
    *,
    doing: str,
    on_line: Callable[[str], None],
    options: Options = Options(),
    timer: Timer | None = None,
) -> None:
    """Run a long command and pass each line of its output (stdout and stderr) to on_line.

    Raises CommandError, with the last lines, if it does not exit with 0. An interrupt, or an error
    of the timer, ends the command first. A command with a timer must not run unattended: on Linux
    the kernel kills it together with this process.
    """
    prefix = _kill_with_parent() if timer and shutil.which(argv[0]) else ()
    lines = _Lines(on_line)
    command = _Command(argv, doing, options, prefix=prefix)
    returncode = _run(command, [lines.feed], timer or Timer())
    lines.end()
    if returncode:
        raise command.failed(returncode, list(lines.tail))


def detach(argv: Sequence[str], *, doing: str, log: Path) -> subprocess.Popen[bytes]:
    """Start a program that outlives this process, in its own session, with its output in a file."""
    with log.open("ab") as sink:
        return _start(_Command(argv, doing), stdout=sink)


@contextmanager
def running(
    argv: Sequence[str], *, doing: str, ready: re.Pattern[str], timeout: float = 10
) -> Iterator[re.Match[str]]:
    """Run a program while the body runs, from the line of its output that matches `ready` on.

    Raises CommandError if it prints no such line within timeout seconds. On Linux the kernel kills
    it together with this process.
    """
    prefix = _kill_with_parent() if shutil.which(argv[0]) else ()
    command = _Command(argv, doing, prefix=prefix)
    with _uninterrupted():
        process = _start(command)
    try:
        matches: Queue[re.Match[str] | None] = Queue()
        tail: deque[str] = deque(maxlen=_TAIL_LINES)
        _in_thread(_match, process.stdout, ready, matches, tail)
        try:
            match = matches.get(timeout=timeout)
        except Empty:
            raise command.expired(timeout) from None
        if match is None:  # it has closed its output, and is about to end
            raise command.failed(process.wait(timeout), list(tail))
        yield match
    finally:
        _end(process)


@contextmanager
def side_by_side() -> Iterator[ThreadPoolExecutor]:
    """Threads for short commands that need not wait for each other; an exception ends them all."""
    threads: list[int] = []
    pool = ThreadPoolExecutor(initializer=lambda: threads.append(threading.get_ident()))
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for thread in threads:
            if process := _by_thread.get(thread):
                _end(process)
        raise
    finally:
        pool.shutdown()


def csv_line(*fields: object) -> str:
    """A line of CSV: how Go programs read an option that is a list. A path may have a comma."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(fields)
    return text.getvalue()


@contextmanager
def terminable() -> Iterator[None]:
    """Raise TerminatedError on SIGTERM and SIGHUP, so that running programs are ended first.

    And KeyboardInterrupt on SIGINT, which delivery/__main__.py has left to the system.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise TerminatedError(signal.Signals(number).name)

    # Signals that another handler takes, or that nohup ignores, keep that meaning.
    default = [number for number in _SIGNALS if signal.getsignal(number) is signal.SIG_DFL]
    try:
        for number in default:
            signal.signal(number, handle)
        yield
    finally:
        for number in default:
            signal.signal(number, signal.SIG_DFL)


def _run(command: _Command, sinks: Sequence[_Sink], timer: Timer) -> int:
    """Run a program and return its exit code; an exception meanwhile ends the program first.

    With two sinks the second gets stderr; a single sink gets stdout and stderr.
    """
    process = None
    chunks: _Chunks = Queue(_CHUNKS)
    ended = threading.Event()  # from then on output is discarded, so that no program blocks
    try:
        with _uninterrupted():
            separate = subprocess.PIPE if len(sinks) > 1 else subprocess.STDOUT
            process = _start(command, stderr=separate)
            _by_thread[threading.get_ident()] = process
            for pipe, sink in zip((process.stdout, process.stderr), sinks, strict=False):
                _in_thread(_read, pipe, sink, chunks, ended)
            if command.options.text is not None:
                _in_thread(_write, process.stdin, command.options.text)
        return _follow(process, chunks, len(sinks), timer)
    except BaseException:
        ended.set()
        if process:
            _end(process)
        raise
    finally:
        ended.set()
        _by_thread.pop(threading.get_ident(), None)


def _start(
    command: _Command,
    *,
    stdout: int | IO[bytes] = subprocess.PIPE,
    stderr: int = subprocess.STDOUT,
) -> subprocess.Popen[bytes]:
    console.command(command.argv)
    try:
        return subprocess.Popen(
            [*command.prefix, *command.argv],
            cwd=command.options.folder,
            env={**os.environ, **(command.options.env or {})},
            stdin=subprocess.DEVNULL if command.options.text is None else subprocess.PIPE,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise command.missing() from error


@functools.cache
def _kill_with_parent() -> tuple[str, ...]:
    """The prefix that makes the kernel kill a command together with the thread that started it.

    Empty without a setpriv (of util-linux) that can do that.
    """
    prefix = ("setpriv", "--pdeathsig", "KILL")
    with suppress(OSError):
        if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0:
            return prefix
    return ()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Delay signals until the body has run: an exception during a start would orphan a program."""
    arrived: list[tuple[int, FrameType | None]] = []
    handlers: dict[int, Callable[[int, FrameType | None], object]] = {}
    if threading.current_thread() is threading.main_thread():  # no other thread is interrupted
        for number in map(int, _SIGNALS):
            handler = signal.getsignal(number)
            if callable(handler):
                handlers[number] = handler
    try:
        for number in handlers:
            signal.signal(number, lambda *received: arrived.append(received))
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for number, frame in arrived:
        handlers[number](number, frame)


def _follow(
    process: subprocess.Popen[bytes], chunks: _Chunks, still_open: int, timer: Timer
) -> int:
    """Pass a program's output to the sinks and call the timer; return the exit code.

    Reads to the end of the outputs, or until _OPEN_SECONDS after the program's end without output.
    """
    due = time.monotonic() + timer.every
    ended = None  # when the program ended
    latest = 0.0  # when the last chunk came
    while still_open or ended is None:
        if still_open:
            with suppress(Empty):
                if chunk := chunks.get(timeout=_until(due)):
                    chunk[0](chunk[1])
                else:
                    still_open -= 1
                latest = time.monotonic()
        else:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_until(due))
        now = time.monotonic()
        if ended is None and process.poll() is not None:
            ended = now
        if ended is None and now >= due:
            timer.tick()
            due = time.monotonic() + timer.every
        if ended is not None and now > max(ended, latest) + _OPEN_SECONDS:
            break
    return process.wait()


def _until(due: float) -> float:
    return max(0.0, min(due - time.monotonic(), _POLL_SECONDS))


def _in_thread(function: Callable[..., None], *arguments: object) -> None:
    """Run a function in a daemon thread: a pipe may stay open for long."""
    threading.Thread(target=function, args=arguments, daemon=True).start()


def _read(pipe: io.BufferedReader, sink: _Sink, chunks: _Chunks, ended: threading.Event) -> None:
    with pipe:
        while chunk := pipe.read1(_CHUNK_BYTES):
            _put((sink, chunk), chunks, ended)
    _put(None, chunks, ended)


def _match(
    pipe: io.BufferedReader,
    ready: re.Pattern[str],
    matches: Queue[re.Match[str] | None],
    tail: deque[str],
) -> None:
    """Read a program's output to its end; queue each match, and None at the end."""
    with pipe:
        for line in pipe:
            tail.append(_text(line).rstrip())
            if match := ready.search(tail[-1]):
                matches.put(match)
    matches.put(None)


def _put(chunk: tuple[_Sink, bytes] | None, chunks: _Chunks, ended: threading.Event) -> None:
    """Queue a chunk of output, unless the queue is no longer read."""
    while not ended.is_set():
        with suppress(Full):
            chunks.put(chunk, timeout=_POLL_SECONDS)
            return


def _write(pipe: IO[bytes], text: str) -> None:
    with suppress(BrokenPipeError), pipe:  # a program may end before it has read everything
        pipe.write(text.encode())


def _text(output: bytes | bytearray) -> str:
    return _decoder().decode(bytes(output), final=True)


def _decoder() -> io.IncrementalNewlineDecoder:
    """An incremental decoder of UTF-8 that makes every kind of line end a newline."""
    return io.IncrementalNewlineDecoder(
        codecs.getincrementaldecoder("utf-8")("replace"), translate=True
    )


class _Lines:
    """Splits a program's output into lines and keeps the last ones."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self.tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._on_line = on_line
        self._decoder = _decoder()
        self._rest = ""

    def feed(self, chunk: bytes, *, final: bool = False) -> None:
        *lines, self._rest = (self._rest + self._decoder.decode(chunk, final)).split("\n")
        for line in lines:
            self._add(line + "\n")

    def end(self) -> None:
        """Pass on a last line without line end."""
        self.feed(b"", final=True)
        if self._rest:
            self._add(self._rest)

    def _add(self, line: str) -> None:
        self.tail.append(line.rstrip())
        self._on_line(line)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program and all that it started: SIGTERM, then SIGKILL after the grace period.

    A second interrupt sends SIGKILL at once.
    """
    deadline = time.monotonic() + GRACE_SECONDS
    try:
        _signal(process, signal.SIGTERM)
        while _is_alive(process) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS / 5)
    finally:
        _signal(process, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_KILL_SECONDS)


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # it has ended, or belongs to another user
        os.killpg(process.pid, number)


def _is_alive(process: subprocess.Popen[bytes]) -> bool:
    """Whether a process of the program's group still runs."""
    process.poll()  # reaps the program, which is a zombie until then
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _has_running_process(process.pid)


def _has_running_process(group: int) -> bool:
    """Whether a process of the group is not a zombie; in some containers nobody reaps zombies."""
    stats = list(Path("/proc").glob("[0-9]*/stat"))
    for stat in stats:
        with suppress(OSError):  # the process has ended meanwhile
            state, _parent, its_group = (
                stat.read_text(errors="replace").rpartition(")")[2].split()[:3]
            )
            if int(its_group) == group and state not in {"Z", "X"}:
                return True
    return not stats  # only Linux has /proc
