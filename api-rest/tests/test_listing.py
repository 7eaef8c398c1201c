import uuid
from datetime import datetime, timedelta
from urllib.parse import parse_qsl, quote

import pytest
from api_rest import listing
from api_rest.errors import Problem
from api_rest.listing import AFTER, EPOCH, Listing, Position, next_link, parameters, parse

KNOWN = (*parameters(limit_max=500), AFTER)
EVENT_ID = "0b1e1a5c-6f0d-4f6e-9f57-3f6d1f2f7a11"
MOMENT = datetime(2026, 1, 31, 11, 0, 0, 123456)  # noqa: DTZ001  UTC without a zone


def read(query: str) -> Listing:
    return parse(listing.read(query, KNOWN), limit_default=50)


def wrong(query: str) -> dict[str, str]:
    with pytest.raises(Problem) as caught:
        read(query)
    assert (caught.value.status, caught.value.code) == (422, "invalid-query")
    return caught.value.fields


def test_an_empty_query_is_the_default_listing() -> None:
    assert read("") == Listing(filters={}, limit=50)


def test_every_parameter_is_parsed() -> None:
    cursor = Position(MOMENT, EVENT_ID).cursor()
    query = (
        "component=a%2Fb&environment=prod&version=%C3%A9+1&status=failed&stage=deploy"
        f"&responsible=Zo%C3%AB&since=2026-01-31T12:00:00%2B01:00"
        f"&until=2026-01-31T11:00:00.5Z&limit=500&cursor={cursor}&after={2**63 - 1}"
    )
    assert read(query) == Listing(
        filters={
            "component": "a/b",
            "environment": "prod",
            "version": "é 1",
            "status": "failed",
            "stage": "deploy",
            "responsible": "Zoë",
        },
        since=datetime(2026, 1, 31, 11),  # noqa: DTZ001
        until=datetime(2026, 1, 31, 11, 0, 0, 500_000),  # noqa: DTZ001
        limit=500,
        after=2**63 - 1,
        cursor=Position(MOMENT, EVENT_ID),
    )


def test_the_order_of_filters_does_not_depend_on_the_query() -> None:
    assert list(read("stage=deploy&component=a").filters) == list(
        read("component=a&stage=deploy").filters
    )


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("colour=red&limit=5", {"colour"}),
        ("limit=0", {"limit"}),
        ("limit=501", {"limit"}),
        ("limit=", {"limit"}),
        ("limit=+5", {"limit"}),
        ("limit=%D9%A5", {"limit"}),
        (f"limit={'1' * 5000}", {"limit"}),
        ("limit=-1&id=1", {"limit", "id"}),
        ("stage=deploy&stage=test", {"stage"}),
        ("limit=1&limit=2", {"limit"}),
        ("stage=Pray&status=&component=a%20b", {"stage", "status", "component"}),
        ("version=%00", {"version"}),
        (f"after={2**63}", {"after"}),
        ("after=-1", {"after"}),
        ("cursor=", {"cursor"}),
        ("cursor=abc", {"cursor"}),
        ("%0A=1", {"'\\n'"}),
    ],
)
def test_every_wrong_parameter_is_named(query: str, names: set[str]) -> None:
    assert set(wrong(query)) == names


def test_a_route_without_parameters_refuses_each() -> None:
    with pytest.raises(Problem) as caught:
        listing.read("a=1&b=2&a=3", ())
    assert caught.value.fields == dict.fromkeys("ab", "is not a parameter; there are none here")
    assert listing.read("", ()) == {}


@pytest.mark.parametrize("query", ["version=%FF", "version", "&&"])
def test_an_unreadable_query_is_a_problem(query: str) -> None:
    assert wrong(query) == {}


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-31",
        "2026-01-31T12:00:00 01:00",  # a plus that is not quoted
        "",
    ],
)
def test_a_wrong_time_is_named(text: str) -> None:
    assert "RFC 3339" in wrong(f"since={quote(text)}")["since"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-31t11:00:00.123456789z", MOMENT),
        ("2026-01-31T05:00:00.123456-06:00", MOMENT),
        ("0001-01-01T00:00:00+01:00", datetime.min),  # noqa: DTZ901
        ("9999-12-31T23:59:59-01:00", datetime.max),  # noqa: DTZ901
    ],
)
def test_times_are_converted_to_utc(text: str, expected: datetime) -> None:
    assert read(f"until={quote(text)}").until == expected


@pytest.mark.parametrize("moment", [EPOCH, MOMENT, EPOCH.replace(year=6535, microsecond=999_999)])
def test_a_cursor_becomes_its_position_again(moment: datetime) -> None:
    position = Position(moment, str(uuid.uuid4()))
    assert Position.parse(position.cursor()) == position


def test_a_changed_cursor_is_refused_or_another_position() -> None:
    cursor = Position(MOMENT, EVENT_ID).cursor()
    for index in range(len(cursor)):
        for letter in "A_z-9=+/ é":
            changed = cursor[:index] + letter + cursor[index + 1 :]
            try:
                position = Position.parse(changed)
            except ValueError as error:
                assert "`next`" in str(error)  # noqa: PT017  either is right
            else:
                assert position.cursor() == changed


def test_the_largest_cursor_is_a_time() -> None:
    assert Position.parse("Af" + "_" * 30).received_at - EPOCH < timedelta(days=366 * 4600)


def test_the_link_repeats_the_query_with_the_cursor() -> None:
    link = next_link("/deployments", "version=%C3%A9+1&cursor=old&limit=2", "new")
    address, _, relation = link.partition(">; ")
    assert relation == 'rel="next"'
    path, _, query = address.removeprefix("<").partition("?")
    assert path == "/deployments"
    assert parse_qsl(query) == [("version", "é 1"), ("limit", "2"), ("cursor", "new")]


def test_a_link_quotes_its_query() -> None:
    assert (
        next_link("/x", "version=%3E%22%0D%0A", "c")
        == '</x?version=%3E%22%0D%0A&cursor=c>; rel="next"'
    )
