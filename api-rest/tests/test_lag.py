import pytest
from api_rest.lag import BELIEVED, LATE_AFTER, PARTS, Lag, Storing


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def storing(clock: Clock) -> Storing:
    return Storing(clock)


def test_nothing_is_known_before_the_first_sample(storing: Storing) -> None:
    assert (storing.lag(), storing.late(), storing.reason()) == (None, None, "")


def test_what_is_stored_as_far_as_the_topic_goes_is_not_late(
    storing: Storing, clock: Clock
) -> None:
    for _ in range(9):
        storing.sample({0: 7, 1: 3}, {0: 7, 1: 3})
        clock.now += 3
    assert storing.lag() == Lag(0, 0.0)


def test_what_waits_is_counted_over_all_partitions_and_a_group_that_never_was_has_stored_nothing(
    storing: Storing,
) -> None:
    storing.sample({0: 7, 1: 3}, {0: 5})
    assert storing.lag() == Lag(5, 0.0)


def test_what_was_stored_while_kafka_was_asked_is_not_less_than_nothing(storing: Storing) -> None:
    storing.sample({0: 7, 1: 3}, {0: 9, 1: 2})
    assert storing.lag() == Lag(1, 0.0)


def test_the_delay_counts_from_when_everything_was_stored(storing: Storing, clock: Clock) -> None:
    storing.sample({0: 5}, {0: 5})
    for _ in range(7):
        clock.now += 3
        storing.sample({0: 6}, {0: 5})
    assert storing.lag() == Lag(1, 21.0)


def test_a_backlog_that_is_worked_off_is_as_late_as_the_newest_sample_that_is_stored(
    storing: Storing, clock: Clock
) -> None:
    for end in (10, 20, 30, 40):
        storing.sample({0: end}, {0: 0})
        clock.now += 3
    storing.sample({0: 40}, {0: 20})
    assert storing.lag() == Lag(20, 9.0)
    storing.sample({0: 40}, {0: 39})
    assert storing.lag() == Lag(1, 6.0)
    storing.sample({0: 40}, {0: 40})
    assert storing.lag() == Lag(0, 0.0)


def test_a_topic_that_rested_does_not_make_the_next_event_late(
    storing: Storing, clock: Clock
) -> None:
    storing.sample({0: 5}, {0: 4})
    for _ in range(100):
        clock.now += 3
        storing.sample({0: 5}, {0: 4})
    clock.now += 3
    storing.sample({0: 6}, {0: 5})
    assert storing.lag() == Lag(1, 3.0)


def test_what_came_while_kafka_could_not_be_asked_is_not_late_yet(
    storing: Storing, clock: Clock
) -> None:
    storing.sample({0: 5}, {0: 5})
    clock.now += 300
    storing.sample({0: 6}, {0: 5})
    assert storing.lag() == Lag(1, 0.0)
    clock.now += 300
    storing.sample({0: 6}, {0: 5})
    assert storing.lag() == Lag(1, 300.0)


def test_an_old_sample_is_not_believed(storing: Storing, clock: Clock) -> None:
    storing.sample({0: 5}, {0: 0})
    clock.now += BELIEVED
    assert storing.lag() == Lag(5, 0.0)
    clock.now += 1
    assert storing.lag() is None


def test_a_long_backlog_takes_little_memory_and_its_delay_stays_about_right(
    storing: Storing, clock: Clock
) -> None:
    for event in range(1, 20_001):
        clock.now += 3
        storing.sample({0: event}, {0: 0})
    assert len(storing._open) < 1200
    for waiting in (20_000, 10_000, 500):
        storing.sample({0: 20_000}, {0: 20_000 - waiting})
        found = storing.lag()
        assert found is not None
        assert found.delay == pytest.approx(3 * waiting, abs=3 * 20_000 / PARTS)


def test_late_is_said_in_words_once_it_lasts(storing: Storing, clock: Clock) -> None:
    storing.sample({0: 1}, {0: 0})
    clock.now += LATE_AFTER
    storing.sample({0: 1}, {0: 0})
    assert storing.reason() == ""
    clock.now += 1
    storing.sample({0: 2890}, {0: 0})
    assert storing.late() == Lag(2890, 16.0)
    assert storing.reason() == (
        "2890 accepted events wait to be stored, the oldest for about 16 s: "
        "async-worker does not run, or cannot keep up"
    )
    storing.sample({0: 2890}, {0: 2889})
    clock.now += LATE_AFTER + 1
    storing.sample({0: 2890}, {0: 2889})
    assert storing.reason().startswith("1 accepted event waits to be stored")
