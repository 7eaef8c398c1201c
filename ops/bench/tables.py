"""Figures as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["markdown", "milliseconds"]

TENTH = 0.1


def markdown(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; all columns but the first are numbers."""
    lines = [_line(head), _line(["---", *["---:"] * (len(head) - 1)])]
    return "\n".join([*lines, *(_line([str(cell) for cell in row]) for row in rows)])


def milliseconds(seconds: float) -> str:
    """A time in milliseconds with its significant digits."""
    digits = 1 if seconds < TENTH else 0
    return f"{seconds * 1000:.{digits}f}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
