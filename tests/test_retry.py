"""A retriable error is retried with pauses; another one is raised at once."""

from datetime import UTC, datetime

import pytest

from delivery.errors import RegistryError
from delivery.retry import BusyError, retry_after, with_retries

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def run(*outcomes: RegistryError | str) -> tuple[list[float], str]:
    """Retry a request with these outcomes in turn; return the pauses and the answer."""
    remaining, pauses = list(outcomes), list[float]()

    def request() -> str:
        outcome = remaining.pop(0)
        if isinstance(outcome, RegistryError):
            raise outcome
        return outcome

    return pauses, with_retries(request, pause=pauses.append, jitter=lambda: 0.0)


def test_pauses_double() -> None:
    busy = RegistryError("503", retriable=True)
    pauses, answer = run(busy, busy, "yes")
    assert answer == "yes"
    assert pauses == [0.5, 1.0]


def test_an_error_that_is_not_retriable_is_raised() -> None:
    with pytest.raises(RegistryError, match="403"):
        run(RegistryError("403"), "not reached")


def test_the_last_error_is_raised_in_the_end() -> None:
    errors = [RegistryError(f"fault {number}", retriable=True) for number in range(5)]
    with pytest.raises(RegistryError, match="fault 4"):
        run(*errors, "not reached")


def test_a_busy_error_sets_the_shortest_pause() -> None:
    pauses, _ = run(BusyError("429", after=7.0), BusyError("429", after=0.1), "yes")
    assert pauses == [7.0, 1.0]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("3600", 60.0),
        ("-5", 0.0),
        ("Sat, 21 Nov 2026 12:00:09 GMT", 9.0),
        ("Sat, 21 Nov 2026 12:00:09 -0000", 9.0),
        ("Sat, 21 Nov 2026 11:00:00 GMT", 0.0),
        ("Sun, 22 Nov 2026 12:00:00 GMT", 60.0),
        ("", 0.0),
        ("soon", 0.0),
    ],
)
def test_retry_after_is_read(header: str, seconds: float) -> None:
    assert retry_after(header, NOW) == seconds
