"""The expected contents of the table after a consumer."""

from ops.bench.database import checksum
from ops.bench.kafka import events


def test_the_checksum_is_that_of_the_ids_in_any_order() -> None:
    rows = events(5)
    assert checksum(rows) == checksum(reversed(rows))
    assert checksum([{**rows[0], "id": "another"}, *rows[1:]]) != checksum(rows)


def test_the_checksum_is_the_sum_that_the_database_makes() -> None:
    # CRC32('a') and CRC32('b') of MariaDB
    assert checksum([{"id": "a"}, {"id": "b"}]) == (2, 3904355907 + 1908338681)


def test_events_are_distinct_and_later_each_time() -> None:
    made = events(200)
    assert len({event["id"] for event in made}) == 200
    times = [event["received_at"] for event in made]
    assert times == sorted(set(times))
    assert all(time.endswith("Z") for time in times)
