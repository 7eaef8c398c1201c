"""Numbers and lists in a sentence."""

import pytest

from delivery.words import plural, shorten


@pytest.mark.parametrize(("count", "text"), [(0, "0 files"), (1, "1 file"), (2, "2 files")])
def test_only_one_is_singular(count: int, text: str) -> None:
    assert plural(count, "file") == text


def test_three_names_are_shown() -> None:
    assert shorten(["a", "b", "c"]) == "a, b, c"
    assert shorten(["a", "b", "c", "d"]) == "a, b, c, …"
