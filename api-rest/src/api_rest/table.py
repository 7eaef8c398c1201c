"""Deployments as CSV that a spreadsheet opens: UTF-8 with its mark, CRLF, RFC 4180, and nothing taken for a formula."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["COLUMNS", "Table"]

COLUMNS = ("id", "received_at", "component", "version", "environment", "responsible", "stage", "status", "details")
# What spreadsheets begin a formula with; the wide forms of = + - @ are taken for the usual ones where such are typed.
FORMULA = tuple("=+-@\t\r\uff1d\uff0b\uff0d\uff20")
BYTE_ORDER_MARK = "\ufeff"


class Table:
    """Rows that are added until they are enough bytes."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._lines = [(BYTE_ORDER_MARK + _line(COLUMNS)).encode()]
        self._size = len(self._lines[0])
        self.last: Mapping[str, Any] | None = None

    def add(self, events: Iterable[Mapping[str, Any]]) -> bool:
        """Take events while they fit, the first in any case; tell whether all did."""
        for event in events:
            line = _line(map(_cell, (event.get(name) for name in COLUMNS))).encode()
            if self.last is not None and self._size + len(line) > self._budget:
                return False
            self._lines.append(line)
            self._size += len(line)
            self.last = event
        return True

    def body(self) -> bytes:
        """Return the file."""
        return b"".join(self._lines)


def _cell(value: object) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    # Spreadsheets may skip the whitespace first and see the formula then.
    return f"'{text}" if text.startswith(FORMULA) or text.lstrip().startswith(FORMULA) else text


def _line(cells: Iterable[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return line.getvalue()
