from dataclasses import asdict
from datetime import datetime
from typing import Any

import pytest
from api_rest.drift import Drift
from api_rest.drift_reports import FOUND_MAX, TEXT_MAX, parse
from api_rest.errors import Problem

NOW = datetime(2026, 12, 1, 12)  # noqa: DTZ001  UTC without a zone, as in the database
DRIFT = Drift("web", "Service/web", "spec.type", "changed", "A", "B", "kubectl", "")
ROW = asdict(DRIFT)


def test_a_report_has_what_was_found_and_when() -> None:
    report = parse({"environment": "staging", "found": [ROW]}, now=NOW)
    assert (report.environment, report.checked_at, report.found) == ("staging", NOW, (DRIFT,))
    assert report.rows() == [ROW]


@pytest.mark.parametrize(
    "found",
    [
        None,
        {},
        ["x"],
        [{**ROW, "more": ""}],
        [{**ROW, "at": None}],
        [{**ROW, "live": "x" * (TEXT_MAX + 1)}],
        [{**ROW, "live": "\ud800"}],
        [ROW] * (FOUND_MAX + 1),
    ],
)
def test_a_wrong_list_is_refused(found: Any) -> None:
    with pytest.raises(Problem) as error:
        parse({"environment": "staging", "found": found}, now=NOW)
    assert set(error.value.fields) == {"found"}


def test_every_wrong_field_is_named() -> None:
    with pytest.raises(Problem) as error:
        parse({"environment": "a b", "colour": "red"}, now=NOW)
    assert set(error.value.fields) == {"environment", "found", "colour"}
    with pytest.raises(Problem) as error:
        parse([], now=NOW)
    assert set(error.value.fields) == {"body"}
