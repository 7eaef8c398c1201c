"""Output for people: steps with their durations, live on a terminal and as plain lines in CI."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import cast

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table
from rich.text import Text

from delivery import cache
from delivery.errors import DeliveryError

__all__ = [
    "Step",
    "command",
    "data",
    "diff",
    "error",
    "log_line",
    "out",
    "say",
    "step",
    "table",
    "to_stderr",
]

_LIVE_SECONDS = 0.25  # between two updates of a step on a terminal
_COLOURS = ("cyan", "magenta", "green", "blue", "yellow")
_DIFF_COLOURS = {"+": "green", "-": "red", "@": "cyan"}
_UNLIMITED = 10_000  # columns: wider than any row
_DIGEST = re.compile(r"(sha256:[0-9a-f]{12})[0-9a-f]{52}")
_QUIET_SECONDS = 15.0  # between two lines about a running step in a log
_DURATIONS = "durations.json"  # in the cache
_SHORT_SECONDS = 1.0  # a step that found nothing to do says nothing about the next time
_SAVED = 200  # durations

# Without emoji, which Rich makes of `delivery.toml:100:`.
out = Console(highlight=False, soft_wrap=True, emoji=False)
_err = Console(highlight=False, soft_wrap=True, emoji=False, stderr=True)


class Step:
    """A running step. Its tools report their output here."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.detail = ""
        self.latest = ""
        self._began = time.monotonic()

    def line(self, text: str) -> None:
        """Take one line of a tool's output, which is shown until the next line."""
        self.latest = text.strip() or self.latest

    def done(self, detail: str) -> None:
        """Set the result, which is printed when the step ends."""
        self.detail = detail

    @property
    def seconds(self) -> float:
        """The seconds since the step began."""
        return time.monotonic() - self._began


@contextmanager
def step(title: str) -> Iterator[Step]:
    """Show a step from its beginning to its end, then its result and its duration.

    A step that took a second or more before shows how far it is, by its last duration.
    """
    current = Step(title)
    try:
        with _shown(current, _durations().get(title, 0.0)):
            yield current
    except BaseException:
        out.print(f"[red]✗[/] {escape(title)} [dim]({current.seconds:.1f} s)[/]")
        raise
    if current.seconds >= _SHORT_SECONDS:
        _save_duration(title, current.seconds)
    detail = f": {escape(current.detail)}" if current.detail else ""
    out.print(f"[green]✓[/] {escape(title)}{detail} [dim]({current.seconds:.1f} s)[/]")


@contextmanager
def _shown(current: Step, expected: float) -> Iterator[None]:
    """Show a step's progress: continuously on a terminal, every few seconds in CI's log."""
    if not out.is_terminal or os.environ.get("CI"):
        with _ticking(_QUIET_SECONDS, lambda: _report(current, expected)):
            yield
        return
    columns = [SpinnerColumn(), TextColumn("{task.description}", markup=False)]
    if expected:
        columns.append(BarColumn(bar_width=20))
    columns.append(TextColumn("{task.fields[detail]}", style="dim", markup=False))
    with Progress(*columns, console=out, transient=True, auto_refresh=False) as progress:
        task = progress.add_task(current.title, total=expected or None, detail="")

        def update() -> None:
            room = max(20, out.width - len(current.title) - 48)
            detail = f"{_time(current, expected)} {current.latest[:room]}"
            progress.update(task, completed=current.seconds, detail=detail, refresh=True)

        with _ticking(_LIVE_SECONDS, update):
            yield


def _report(current: Step, expected: float) -> None:
    latest = escape(current.latest[:160])
    time_text = _time(current, expected)
    out.print(f"  … {escape(current.title)}, {time_text}: [dim]{latest}[/]")


def _time(current: Step, expected: float) -> str:
    """How long a step runs, and how long it still takes if it takes as long as the last time."""
    left = expected - current.seconds
    return f"{current.seconds:.0f} s" + (f", about {left:.0f} s left" if left > 0 else "")


def _durations() -> dict[str, float]:
    """How many seconds each step took the last time, by its title."""
    try:
        saved = json.loads((cache.cache_home() / _DURATIONS).read_text(encoding="utf-8"))
        return {str(title): float(seconds) for title, seconds in saved.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _save_duration(title: str, seconds: float) -> None:
    """Save what a step took; a cache that cannot be written only loses the estimate."""
    durations = {name: took for name, took in _durations().items() if name != title}
    newest = [*durations.items(), (title, round(seconds, 1))][-_SAVED:]
    with suppress(OSError, DeliveryError):
        file = cache.folder() / _DURATIONS
        partial = file.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(dict(newest)), encoding="utf-8")
        partial.replace(file)


@contextmanager
def _ticking(seconds: float, tick: Callable[[], None]) -> Iterator[None]:
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(seconds):
            tick()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def to_stderr() -> Iterator[None]:
    """Print to stderr meanwhile, so that stdout has only what `data` prints."""
    previous, out.stderr = out.stderr, True
    try:
        yield
    finally:
        out.stderr = previous


def data(content: object) -> None:
    """Print output for programs to stdout: a string unchanged, anything else as JSON."""
    text = content if isinstance(content, str) else json.dumps(content, indent=2)
    sys.stdout.write(text.rstrip("\n") + "\n")


def say(text: str) -> None:
    """Print a line unchanged."""
    out.print(text, markup=False)


def diff(lines: Sequence[str]) -> None:
    """Print the lines of a diff unchanged, in its usual colours on a terminal."""
    for line in lines:
        out.print(Text(line, style=_DIFF_COLOURS.get(line[:1], "")))


def log_line(source: str, text: str) -> None:
    """Print a line of a log after its source, which always has the same colour."""
    colour = _COLOURS[sum(source.encode()) % len(_COLOURS)]
    out.print(Text.assemble((f"{source:<12}", colour), " ", text))


def command(argv: Sequence[str]) -> None:
    """Print a command line to stderr if DELIVERY_ECHO is set, quoted for a shell."""
    if os.environ.get("DELIVERY_ECHO"):
        _err.print(f"$ {shlex.join(argv)}", style="dim", markup=False)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows below their column names.

    A terminal folds long cells and shows twelve digits of a digest. Piped output is for other
    programs: each row is one line with whole cells.
    """
    out.print(f"[italic]{escape(title)}[/]")  # the table would fold it to its own width
    grid = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        grid.add_column(column, overflow="fold")
    for row in rows:
        grid.add_row(
            *(escape(_DIGEST.sub(r"\1", cell) if out.is_terminal else cell) for cell in row)
        )
    if out.is_terminal:
        out.print(grid)
        return
    plain = Console(file=io.StringIO(), width=_UNLIMITED, highlight=False, emoji=False)
    plain.print(grid)
    for line in cast("io.StringIO", plain.file).getvalue().splitlines():
        say(line.rstrip())


def error(failure: DeliveryError) -> None:
    """Print an error: its details, its message, its hint."""
    sys.stdout.flush()
    for line in failure.details.splitlines():
        _err.print(f"  {line}", markup=False)
    _err.print(f"[bold red]error:[/] {escape(failure.message)}")
    look = "`./run inv doctor` shows what this machine lacks" if failure.of_machine else ""
    if hint := "; ".join(filter(None, (failure.hint, look))):
        _err.print(f"[bold]hint:[/] {escape(hint)}")
