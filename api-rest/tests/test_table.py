"""Read back with Python's csv module; a spreadsheet itself is too large for this suite."""

import csv
import io
import json
from typing import Any

import pytest
from api_rest.table import COLUMNS, Table


def event(**changes: object) -> dict[str, Any]:
    return {
        "id": "1",
        "received_at": "2026-01-31T12:00:00.000000Z",
        "component": "api-rest",
        "version": "1.2.3",
        "environment": "staging",
        "responsible": "Zoë",
        "stage": "deploy",
        "status": "succeeded",
        **changes,
    }


def written(*events: dict[str, Any], budget: int = 1_000_000) -> list[list[str]]:
    table = Table(budget)
    table.add(events)
    return list(csv.reader(io.StringIO(table.body().decode("utf-8-sig"), newline=""), strict=True))


def cell(**changes: object) -> str:
    _, row = written(event(**changes))
    (name,) = changes
    return row[COLUMNS.index(name)]


def test_the_bytes_of_an_empty_table() -> None:
    expected = b"\xef\xbb\xbfid,received_at,component,version,environment,responsible,stage,status,details\r\n"
    assert Table(10).body() == expected


def test_a_row_reads_as_it_was_recorded() -> None:
    details = {"text": 'a "quoted", thing\r\nwith lines', "é": [1, 2.5]}
    header, row = written(event(details=details))
    read = dict(zip(header, row, strict=True))
    assert json.loads(read.pop("details")) == details
    assert read == event()


def test_lines_end_with_crlf_and_quotes_are_doubled() -> None:
    table = Table(1000)
    table.add([event(version='1,"2"')])
    assert b',"1,""2""",' in table.body()
    assert table.body().endswith(b",\r\n")
    assert table.body().count(b"\n") == table.body().count(b"\r\n") == 2


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
def test_what_a_spreadsheet_would_run_begins_with_an_apostrophe(text: str) -> None:
    assert cell(responsible=text) == f"'{text}"


@pytest.mark.parametrize("text", ["a=1", "1-1", "1.2.3", "'x", "Zoë", "", '"'])
def test_anything_else_stays_as_it_is(text: str) -> None:
    assert cell(responsible=text) == text


def test_it_stops_before_the_budget_and_says_so() -> None:
    table = Table(400)
    taken = [table.add([event(id=str(number), version="x" * 100)]) for number in range(4)]
    assert taken == [True, False, False, False]
    assert table.last is not None
    assert table.last["id"] == "0"
    assert len(table.body()) <= 400


def test_what_fits_exactly_is_taken() -> None:
    table = Table(10_000)
    table.add([event(), event()])
    assert Table(len(table.body())).add([event(), event()])
    assert not Table(len(table.body()) - 1).add([event(), event()])


def test_the_first_row_is_taken_in_any_case() -> None:
    assert len(written(event(), event(), budget=1)) == 2
