from datetime import datetime, timedelta
from typing import Any

import pytest
from api_rest.errors import Problem
from api_rest.freezes import parse

NOW = datetime(2026, 12, 1, 12)  # noqa: DTZ001  UTC without a zone, as in the database
BODY = {
    "environment": "production",
    "until": "2026-12-26T08:00:00-03:00",
    "reason": "the busiest week",
    "responsible": "Zoë",
}


def test_a_freeze_has_its_end_in_utc() -> None:
    freeze = parse(BODY, now=NOW)
    assert freeze.document() == {
        **BODY,
        "id": freeze.id,
        "until": "2026-12-26T11:00:00.000000Z",
        "actor": None,
        "created_at": "2026-12-01T12:00:00.000000Z",
    }
    assert parse(BODY, now=NOW).id != freeze.id


def test_an_end_that_has_passed_is_now() -> None:
    assert parse({**BODY, "until": "0001-01-01T00:00:00+14:00"}, now=NOW).until == NOW
    assert parse({**BODY, "until": "2026-12-01T12:00:01Z"}, now=NOW).until - NOW == timedelta(
        seconds=1
    )


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"until": "tomorrow"}, {"until"}),
        ({"until": "2026-12-26T08:00:00"}, {"until"}),
        ({"reason": "", "environment": "a b"}, {"reason", "environment"}),
        ({"reason": "x" * 501}, {"reason"}),
        ({"reason": "a\nb", "responsible": None}, {"reason", "responsible"}),
        ({"id": "1", "col\nour": "red"}, {"id", "'col\\nour'"}),
    ],
)
def test_every_wrong_field_is_named(changes: dict[str, Any], wrong: set[str]) -> None:
    with pytest.raises(Problem) as error:
        parse({**BODY, **changes}, now=NOW)
    assert (error.value.status, set(error.value.fields)) == (422, wrong)


@pytest.mark.parametrize("body", [None, [], "production"])
def test_a_body_is_an_object_with_every_field(body: object) -> None:
    with pytest.raises(Problem) as error:
        parse(body, now=NOW)
    assert set(error.value.fields) == {"body"}
    with pytest.raises(Problem) as error:
        parse({}, now=NOW)
    assert set(error.value.fields) == set(BODY)
