"""Tables in documents that tests hold equal to what they found; `WRITE_PAGES=1 pytest …` writes them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

__all__ = ["hold", "table"]


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [tuple(columns), ("---",) * len(columns), *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines
    )


def hold(page: Path, name: str, text: str) -> None:
    """Assert that a page has this text between its marks <!-- NAME --> and <!-- /NAME -->, or write it there when told to."""
    marked = re.compile(rf"(<!-- {name} -->\n\n).*?(\n\n<!-- /{name} -->)", re.DOTALL)
    found = page.read_text(encoding="utf-8")
    assert len(marked.findall(found)) == 1, f"{page} has no place for {name}"
    wanted = marked.sub(lambda match: f"{match[1]}{text}{match[2]}", found)
    if os.environ.get("WRITE_PAGES"):
        page.write_text(wanted, encoding="utf-8")
    assert page.read_text(encoding="utf-8") == wanted, "WRITE_PAGES=1 writes it anew"
