"""Read back with Python's csv module; a spreadsheet itself is too large for this suite."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from api_rest.errors import Busy, Cut, Unavailable
from api_rest.listing import EPOCH, Batch, Listing, Position
from api_rest.table import COLUMNS, Export, head, line


def event(**changes: object) -> dict[str, Any]:
    return {
        "id": "1",
        "received_at": "2026-01-31T12:00:00.000000Z",
        "component": "api-rest",
        "version": "1.2.3",
        "environment": "staging",
        "responsible": "Zoë",
        "actor": "jenkins",
        "stage": "deploy",
        "status": "succeeded",
        **changes,
    }


def written(*events: dict[str, Any]) -> list[list[str]]:
    body = b"".join((head(), *map(line, events)))
    return list(csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True))


def cell(**changes: object) -> str:
    _, row = written(event(**changes))
    (name,) = changes
    return row[COLUMNS.index(name)]


def test_the_bytes_of_an_empty_table() -> None:
    names = "id,received_at,component,version,environment,responsible,actor,stage,status,details"
    expected = b"\xef\xbb\xbf" + f"{names}\r\n".encode()
    assert head() == expected


def test_a_row_has_the_values_of_its_event() -> None:
    details = {"text": 'a "quoted", thing\r\nwith lines', "é": [1, 2.5]}
    header, row = written(event(details=details))
    read = dict(zip(header, row, strict=True))
    assert json.loads(read.pop("details")) == details
    assert read == event()


def test_lines_end_with_crlf_and_quotes_are_doubled() -> None:
    row = line(event(version='1,"2"'))
    assert b',"1,""2""",' in row
    assert row.endswith(b",\r\n")
    assert head().count(b"\n") == row.count(b"\n") == row.count(b"\r\n") == 1


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        "  =1",
        "\u00a0=1",
        "\uff1d1",
        "\uff0b1",
        "\uff0d1",
        "\uff201",
    ],
)
def test_a_formula_begins_with_an_apostrophe(text: str) -> None:
    assert cell(responsible=text) == f"'{text}"


@pytest.mark.parametrize("text", ["a=1", "1-1", "1.2.3", "'x", "Zoë", "", '"'])
def test_other_values_stay_unchanged(text: str) -> None:
    assert cell(responsible=text) == text


def batches(*sizes: int) -> Iterator[Batch]:
    """Batches of so many lines each."""
    number = 0
    for index, size in enumerate(sizes):
        lines = [b"%d" % (number + one) for one in range(size)]
        number += size
        last = Position(EPOCH, str(number)) if size else None
        yield Batch(lines, last, more=index < len(sizes) - 1)


class Reader:
    """Answers with these batches, one after the other, then with an error."""

    def __init__(self, *sizes: int, error: Exception | None = None) -> None:
        self.listings: list[Listing] = []
        self._batches = batches(*sizes, *([0] if error else []))
        self._count = len(sizes)
        self._error = error

    def __call__(self, listing: Listing) -> Batch:
        self.listings.append(listing)
        if self._error and len(self.listings) > self._count:
            raise self._error
        return next(self._batches)


def test_an_export_is_read_while_it_is_sent() -> None:
    reader = Reader(2, 1)
    parts = iter(Export(b"begun", Listing(limit=7), reader, ExitStack()))
    assert next(parts) == b"begun"
    assert reader.listings == []
    assert next(parts) == b"01"
    assert reader.listings == [Listing(limit=7)]
    assert list(parts) == [b"2"]
    # Of rows so large no more than it takes to find out that they are small again.
    assert reader.listings[1:] == [Listing(limit=4, cursor=Position(EPOCH, "2"))]


@pytest.mark.parametrize(
    "error",
    [Unavailable("gone"), Busy("took-too-long", "slow")],
)
def test_a_failed_read_cuts_an_export_and_is_logged(
    error: Exception, caplog: pytest.LogCaptureFixture, structured: Callable[..., Any]
) -> None:
    parts = iter(Export(b"begun", Listing(), Reader(1, error=error), ExitStack()))
    assert (next(parts), next(parts)) == (b"begun", b"0")
    with pytest.raises(Cut):
        next(parts)
    (entry,) = structured(caplog)
    assert (entry["event"], entry["reason"]) == ("a table was cut", str(error))
    assert "exc_info" not in entry


def test_closing_an_unread_export_closes_its_resources() -> None:
    let_go: list[int] = []
    holding = ExitStack()
    holding.callback(let_go.append, 1)
    export = Export(b"begun", Listing(), Reader(), holding)
    export.close()
    export.close()
    assert let_go == [1]
