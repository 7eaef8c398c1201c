"""What a person sees: steps with their times, live on a terminal and as plain lines in CI."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table

from delivery.core.errors import DeliveryError

__all__ = ["Step", "command", "error", "out", "say", "step", "table"]

_QUIET_SECONDS = 15.0  # in CI, how long a step may say nothing before it says that it goes on

out = Console(highlight=False, soft_wrap=True)
_err = Console(highlight=False, soft_wrap=True, stderr=True)


class Step:
    """One step under way: what its tools print passes through here."""

    def __init__(self, title: str, status: Status | None) -> None:
        self.title = title
        self.detail = ""
        self._status = status
        self._began = self._spoke = time.monotonic()

    def line(self, text: str) -> None:
        """Take note of one line of a tool's output: the latest on a terminal, now and then one in CI."""
        text = text.strip()
        if not text:
            return
        if self._status:
            width = max(20, out.width - len(self.title) - 16)
            self._status.update(f"{escape(self.title)} [dim]{self.seconds:.0f} s {escape(text[:width])}[/]")
        elif time.monotonic() - self._spoke > _QUIET_SECONDS:
            self._spoke = time.monotonic()
            out.print(f"  … {escape(self.title)}, {self.seconds:.0f} s: [dim]{escape(text[:160])}[/]")

    def done(self, detail: str) -> None:
        """Say what came of the step; printed when it ends."""
        self.detail = detail

    @property
    def seconds(self) -> float:
        """How long the step has taken so far."""
        return time.monotonic() - self._began


@contextmanager
def step(title: str) -> Iterator[Step]:
    """Show a step from its beginning to its end, with what came of it and how long it took."""
    live = out.is_terminal and not os.environ.get("CI")
    status = out.status(escape(title)) if live else None
    if status:
        status.start()
    now = Step(title, status)
    try:
        yield now
    except BaseException:
        if status:
            status.stop()
        out.print(f"[red]✗[/] {escape(title)} [dim]({now.seconds:.1f} s)[/]")
        raise
    if status:
        status.stop()
    detail = f": {escape(now.detail)}" if now.detail else ""
    out.print(f"[green]✓[/] {escape(title)}{detail} [dim]({now.seconds:.1f} s)[/]")


def say(text: str) -> None:
    """Print a line as it is."""
    out.print(text, markup=False)


def command(argv: Sequence[str]) -> None:
    """Echo a command line when DELIVERY_ECHO asks for it, quoted so that it can be pasted."""
    if os.environ.get("DELIVERY_ECHO"):
        _err.print(f"$ {shlex.join(argv)}", style="dim", markup=False)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their column names."""
    shown = Table(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for column in columns:
        shown.add_column(column, overflow="fold")
    for row in rows:
        shown.add_row(*(escape(cell) for cell in row))
    out.print(shown)


def error(failure: DeliveryError) -> None:
    """Print an error: what was being done and what is wrong, the details, what to do."""
    sys.stdout.flush()
    if failure.details:
        for line in failure.details.splitlines():
            _err.print(f"  {line}", markup=False)
    _err.print(f"[bold red]error[/] ({failure.reference}): {escape(failure.message)}")
    if failure.hint:
        _err.print(f"[bold]to do[/]: {escape(failure.hint)}")
