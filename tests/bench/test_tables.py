"""Figures as Markdown."""

import pytest

from ops.bench.tables import milliseconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0"),
        (0.00126, "1.3"),
        (0.0994, "99.4"),
        (0.1, "100"),
        (1.2346, "1235"),
        (-0.0021, "-2.1"),
    ],
)
def test_a_time_has_only_significant_digits(seconds: float, text: str) -> None:
    assert milliseconds(seconds) == text
