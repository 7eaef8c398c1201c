import pytest
from api_rest.lag import LATE_AFTER, PRECISION, SAMPLE_VALID_SECONDS, Lag, LagMonitor


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def monitor(clock: Clock) -> LagMonitor:
    return LagMonitor(clock)


def test_there_is_no_lag_before_the_first_sample(monitor: LagMonitor) -> None:
    assert (monitor.lag(), monitor.late(), monitor.reason()) == (None, None, "")


def test_a_topic_that_is_stored_has_no_lag(monitor: LagMonitor, clock: Clock) -> None:
    for _ in range(9):
        monitor.sample({0: 7, 1: 3}, {0: 7, 1: 3})
        clock.now += 3
    assert monitor.lag() == Lag(0, 0.0)


def test_waiting_events_are_counted_over_all_partitions(
    monitor: LagMonitor,
) -> None:
    monitor.sample({0: 7, 1: 3}, {0: 5})
    assert monitor.lag() == Lag(5, 0.0)


def test_events_stored_during_a_sample_are_not_negative(
    monitor: LagMonitor,
) -> None:
    monitor.sample({0: 7, 1: 3}, {0: 9, 1: 2})
    assert monitor.lag() == Lag(1, 0.0)


def test_the_delay_counts_from_the_last_sample_without_lag(
    monitor: LagMonitor, clock: Clock
) -> None:
    monitor.sample({0: 5}, {0: 5})
    for _ in range(7):
        clock.now += 3
        monitor.sample({0: 6}, {0: 5})
    assert monitor.lag() == Lag(1, 21.0)


def test_a_shrinking_backlog_has_a_shrinking_delay(monitor: LagMonitor, clock: Clock) -> None:
    for end in (10, 20, 30, 40):
        monitor.sample({0: end}, {0: 0})
        clock.now += 3
    monitor.sample({0: 40}, {0: 20})
    assert monitor.lag() == Lag(20, 9.0)
    monitor.sample({0: 40}, {0: 39})
    assert monitor.lag() == Lag(1, 6.0)
    monitor.sample({0: 40}, {0: 40})
    assert monitor.lag() == Lag(0, 0.0)


def test_an_idle_time_does_not_count_as_delay(monitor: LagMonitor, clock: Clock) -> None:
    monitor.sample({0: 5}, {0: 4})
    for _ in range(100):
        clock.now += 3
        monitor.sample({0: 5}, {0: 4})
    clock.now += 3
    monitor.sample({0: 6}, {0: 5})
    assert monitor.lag() == Lag(1, 3.0)


def test_a_time_without_samples_does_not_count_as_delay(monitor: LagMonitor, clock: Clock) -> None:
    monitor.sample({0: 5}, {0: 5})
    clock.now += 300
    monitor.sample({0: 6}, {0: 5})
    assert monitor.lag() == Lag(1, 0.0)
    clock.now += 300
    monitor.sample({0: 6}, {0: 5})
    assert monitor.lag() == Lag(1, 300.0)


def test_an_old_sample_is_no_lag(monitor: LagMonitor, clock: Clock) -> None:
    monitor.sample({0: 5}, {0: 0})
    clock.now += SAMPLE_VALID_SECONDS
    assert monitor.lag() == Lag(5, 0.0)
    clock.now += 1
    assert monitor.lag() is None


def test_a_long_backlog_needs_few_samples(monitor: LagMonitor, clock: Clock) -> None:
    for event in range(1, 20_001):
        clock.now += 3
        monitor.sample({0: event}, {0: 0})
    assert len(monitor._open) < 1200
    for waiting in (20_000, 10_000, 500):
        monitor.sample({0: 20_000}, {0: 20_000 - waiting})
        found = monitor.lag()
        assert found is not None
        assert found.delay == pytest.approx(3 * waiting, abs=3 * 20_000 / PRECISION)


def test_a_long_lag_has_a_sentence(monitor: LagMonitor, clock: Clock) -> None:
    monitor.sample({0: 1}, {0: 0})
    clock.now += LATE_AFTER
    monitor.sample({0: 1}, {0: 0})
    assert monitor.reason() == ""
    clock.now += 1
    monitor.sample({0: 2890}, {0: 0})
    assert monitor.late() == Lag(2890, 16.0)
    assert monitor.reason() == (
        "2890 accepted events wait to be stored, the oldest for about 16 s: "
        "async-worker does not run, or cannot keep up"
    )
    monitor.sample({0: 2890}, {0: 2889})
    clock.now += LATE_AFTER + 1
    monitor.sample({0: 2890}, {0: 2889})
    assert monitor.reason().startswith("1 accepted event waits to be stored")
