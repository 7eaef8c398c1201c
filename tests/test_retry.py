"""What may pass is waited out; what will not is an error at once."""

from datetime import UTC, datetime

import pytest

from delivery.errors import RegistryError
from delivery.retry import BusyError, retry_after, with_retries

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def answering(*outcomes: RegistryError | str, chance: float = 0.0) -> tuple[list[float], str]:
    """Ask something that has these outcomes one after the other; the pauses made, and the answer."""
    left, pauses = list(outcomes), list[float]()

    def ask() -> str:
        outcome = left.pop(0)
        if isinstance(outcome, RegistryError):
            raise outcome
        return outcome

    return pauses, with_retries(ask, pause=pauses.append, jitter=lambda: chance)


def test_asks_again_later_each_time() -> None:
    busy = RegistryError("503", retriable=True)
    pauses, answer = answering(busy, busy, "yes")
    assert answer == "yes"
    assert pauses == [0.5, 1.0]


def test_a_refusal_is_final() -> None:
    with pytest.raises(RegistryError, match="403"):
        answering(RegistryError("403"), "never asked")


def test_gives_up_in_the_end_with_the_last_error() -> None:
    errors = [RegistryError(f"fault {number}", retriable=True) for number in range(5)]
    with pytest.raises(RegistryError, match="fault 4"):
        answering(*errors, "never asked")


def test_one_that_says_when_to_come_back_is_left_alone_until_then() -> None:
    pauses, _ = answering(BusyError("429", after=7.0), BusyError("429", after=0.1), "yes")
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
def test_reads_how_long_it_is_to_wait(header: str, seconds: float) -> None:
    assert retry_after(header, NOW) == seconds
