"""Deployments as CSV that a spreadsheet opens: UTF-8 with its mark, CRLF, RFC 4180, and nothing taken for a formula."""

from __future__ import annotations

import csv
import io
import json
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import structlog

from .errors import Busy, Cut, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from .listing import Batch, Listing

__all__ = ["COLUMNS", "Export", "head", "line"]

log = structlog.stdlib.get_logger(__name__)

COLUMNS = (
    "id",
    "received_at",
    "component",
    "version",
    "environment",
    "responsible",
    "stage",
    "status",
    "details",
)
# What spreadsheets begin a formula with; the wide forms of = + - @ are taken for the usual ones where such are typed.
FORMULA = tuple("=+-@\t\r\uff1d\uff0b\uff0d\uff20")
BYTE_ORDER_MARK = "\ufeff"


def head() -> bytes:
    """Return what a table begins with: the mark and the row of names."""
    return (BYTE_ORDER_MARK + _line(COLUMNS)).encode()


def line(event: Mapping[str, Any]) -> bytes:
    """Return the row of an event."""
    return _line(map(_cell, (event.get(name) for name in COLUMNS))).encode()


class Export:
    """A table that is read while it is sent, as WSGI's iterable."""

    def __init__(
        self,
        begun: bytes,
        rest: Listing,
        read: Callable[[Listing], Batch],
        closing: ExitStack,
    ) -> None:
        self._begun = begun
        self._rest = rest
        self._rows = rest.limit
        self._read = read
        self._closing = closing

    def __iter__(self) -> Iterator[bytes]:
        """Yield what is there, then batch by batch what is read."""
        begun, self._begun = self._begun, b""
        yield begun
        del begun
        more = True
        while more:
            batch = self._next()
            more = batch.more
            # The database looks at all that it is asked for, whatever of it fits.
            size = min(self._rows, 2 * len(batch.lines) or 1)
            self._rest = replace(self._rest, after=batch.last, limit=size)
            part = b"".join(batch.lines)
            # While this one is sent, only it is held.
            del batch
            yield part

    def close(self) -> None:
        """Let go of what it holds; WSGI calls it at the end, however that came."""
        self._closing.close()

    def _next(self) -> Batch:
        try:
            return self._read(self._rest)
        except (Unavailable, Busy) as error:
            # Its beginning is sent: all that can be told is that it is not whole.
            log.warning("a table was cut", reason=str(error))
            raise Cut from error


def _cell(value: object) -> str:
    if value is None:
        return ""
    text = (
        value
        if isinstance(value, str)
        else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    )
    # Spreadsheets may skip the whitespace first and see the formula then.
    return f"'{text}" if text.startswith(FORMULA) or text.lstrip().startswith(FORMULA) else text


def _line(cells: Iterable[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return line.getvalue()
