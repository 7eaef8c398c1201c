"""Deployments as CSV for spreadsheets: RFC 4180, UTF-8 with a byte order mark, no formulas."""

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
    "actor",
    "stage",
    "status",
    "details",
)
# The first characters of a formula in spreadsheets. Some accept the wide forms of = + - @ too.
FORMULA = tuple("=+-@\t\r\uff1d\uff0b\uff0d\uff20")
BYTE_ORDER_MARK = "\ufeff"


def head() -> bytes:
    """Return the byte order mark and the row of names."""
    return (BYTE_ORDER_MARK + _line(COLUMNS)).encode()


def line(event: Mapping[str, Any]) -> bytes:
    """Return the row of an event."""
    return _line(map(_cell, (event.get(name) for name in COLUMNS))).encode()


class Export:
    """A WSGI iterable that reads a table while it is sent.

    begun: the first part
    rest: the listing that follows
    closing: what to close at the end
    """

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
        """Yield the first part, then each batch once it is read."""
        begun, self._begun = self._begun, b""
        yield begun
        del begun
        more = True
        while more:
            batch = self._next()
            more = batch.more
            # The database reads all rows up to the limit, so ask for little more than fits.
            size = min(self._rows, 2 * len(batch.lines) or 1)
            self._rest = replace(self._rest, cursor=batch.last, limit=size)
            part = b"".join(batch.lines)
            # Keep only this part in memory while it is sent.
            del batch
            yield part

    def close(self) -> None:
        """Release its place in the queue; WSGI calls it at the end in any case."""
        self._closing.close()

    def _next(self) -> Batch:
        try:
            return self._read(self._rest)
        except (Unavailable, Busy) as error:
            # The status is sent already: the client can only see that the body is incomplete.
            log.warning("a table was cut", reason=str(error))
            raise Cut from error


def _cell(value: object) -> str:
    if value is None:
        return ""
    text = value
    if not isinstance(text, str):
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    # Spreadsheets may ignore leading whitespace.
    return f"'{text}" if text.startswith(FORMULA) or text.lstrip().startswith(FORMULA) else text


def _line(cells: Iterable[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return line.getvalue()
