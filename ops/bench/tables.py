"""Figures as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["markdown", "milliseconds"]


def markdown(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table; all columns but the first are numbers."""
    lines = [_line(head), _line(["---", *["---:"] * (len(head) - 1)])]
    return "\n".join([*lines, *(_line([str(cell) for cell in row]) for row in rows)])


def milliseconds(seconds: float) -> str:
    """Return a time with as many digits as mean something."""
    return f"{seconds * 1000:.1f}" if seconds < 0.1 else f"{seconds * 1000:.0f}"  # noqa: PLR2004


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
