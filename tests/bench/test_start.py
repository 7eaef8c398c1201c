"""The table of starts."""

import pytest

from ops.bench import start
from ops.bench.stack import Images, Stack
from ops.bench.start import Case, measure


def test_starts_alternate_and_are_compared_with_the_floor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paths: list[str] = []
    seconds = iter([0.05, 0.5, 0.7, 2.0, 0.07, 0.3, 0.5, 3.0, 0.06, 0.4, 0.6, 1.0])

    def begin(_: Stack, case: Case) -> float:
        paths.append(case.path)
        return next(seconds)

    monkeypatch.setattr(start, "_start", begin)
    table = measure(Stack(Images.of({}), kafka_port=1, database_port=2), times=3)
    assert paths == ["/health", "/health", "/ready", "/health"] * 3
    assert [line.split(" | ", 1)[1] for line in table.splitlines()[2:]] == [
        "/health | 60.0 | 50.0 | 0.0 |",
        "/health | 400 | 300 | 340 |",
        "/ready | 600 | 500 | 540 |",
        "/health | 2000 | 1000 | 1940 |",
    ]
