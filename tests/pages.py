"""Tables in pages that tests compare with their results; `WRITE_PAGES=1 pytest …` writes them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

__all__ = ["check_page", "table"]


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [tuple(columns), ("---",) * len(columns), *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines
    )


def check_page(page: Path, name: str, text: str) -> None:
    """Assert that a page has this text between <!-- NAME --> and <!-- /NAME -->, or write it."""
    marked = re.compile(rf"(<!-- {name} -->\n\n).*?(\n\n<!-- /{name} -->)", re.DOTALL)
    current = page.read_text(encoding="utf-8")
    assert len(marked.findall(current)) == 1, f"{page} has no comments for {name}"
    expected = marked.sub(lambda match: f"{match[1]}{text}{match[2]}", current)
    if os.environ.get("WRITE_PAGES"):
        page.write_text(expected, encoding="utf-8")
    assert page.read_text(encoding="utf-8") == expected, "WRITE_PAGES=1 writes it"
