"""Rows of the table have values as in the API's answers."""

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.load import table


@pytest.mark.parametrize(
    ("stored", "details"), [('{"number": 1}', {"number": 1}), ("null", None), (None, None)]
)
def test_a_row_has_the_values_of_an_answer(
    monkeypatch: pytest.MonkeyPatch, stored: str | None, details: Any
) -> None:
    # The driver's times have no zone.
    time = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).replace(tzinfo=None)
    row = {"id": "1", "received_at": time, "details": stored}
    monkeypatch.setattr(table, "execute", lambda *_: [dict(row)])
    assert table.rows(3306, ("user", "password"), "run") == [
        {"id": "1", "received_at": "2026-01-02T03:04:05.000000Z", "details": details}
    ]
