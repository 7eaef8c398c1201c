"""Numbers and lists in a sentence."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["first_three", "plural", "shorten"]

_SHOWN = 3


def shorten(names: Sequence[str]) -> str:
    """The first three names, and "…" for the rest."""
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")


def first_three(names: Sequence[str]) -> str:
    """The first three names, and the number of the rest."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def plural(count: int, noun: str) -> str:
    """A count with its noun, as in "1 file" and "2 files"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
