"""Figures as Markdown."""

import pytest

from ops.bench.tables import markdown, milliseconds


def test_a_table_has_a_head_and_numbers_to_the_right() -> None:
    assert markdown(
        ("server", "answers/s", "errors"), [["api-rest", 812, "0"], ["FastAPI", 640, "3"]]
    ).splitlines() == [
        "| server | answers/s | errors |",
        "| --- | ---: | ---: |",
        "| api-rest | 812 | 0 |",
        "| FastAPI | 640 | 3 |",
    ]


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
