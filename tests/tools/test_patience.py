"""What may pass is waited out; what will not is an error at once."""

import pytest

from delivery.core.errors import RegistryError
from delivery.tools.patience import patiently


def answering(*outcomes: RegistryError | str) -> tuple[list[float], str]:
    """Ask something that has these outcomes one after the other; the pauses made, and the answer."""
    left, pauses = list(outcomes), list[float]()

    def ask() -> str:
        outcome = left.pop(0)
        if isinstance(outcome, RegistryError):
            raise outcome
        return outcome

    return pauses, patiently(ask, pause=pauses.append)


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
