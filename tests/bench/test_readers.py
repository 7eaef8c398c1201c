"""The rows of recording beside readers, and measurements that are refused."""

import threading

import pytest

from ops.bench import http
from ops.bench.readers import MARGIN, _post_beside_readers, _row
from ops.bench.stack import BenchError


def load(rate: float, p50: float, p99: float = 0.2, errors: int = 0) -> http.Load:
    return http.Load(100, rate, p50, p99, errors)


def test_a_row_has_medians() -> None:
    runs = [(load(100, 0.003), 7.0), (load(300, 0.001), 9.0), (load(200, 0.002), 8.0)]
    assert _row("alone", runs) == ["alone", "200", "2.0", "200", "8"]


def test_the_readers_begin_before_the_load_and_end_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    posted = threading.Event()
    loads: list[tuple[str, int]] = []

    def measured(_address: str, path: str, *, seconds: int, **_: object) -> http.Load:
        loads.append((path, seconds))
        if path == "/":
            assert posted.wait(30)
        elif seconds != MARGIN:
            posted.set()
        return load(5, 0.001)

    monkeypatch.setattr(http, "load", measured)
    assert _post_beside_readers("api", 4) == (load(5, 0.001), 5)
    assert sorted(loads) == [("/", 4 + 2 * MARGIN), ("/deployments", MARGIN), ("/deployments", 4)]


def test_a_failed_post_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "load", lambda *_, **__: load(5, 0.001, errors=1))
    with pytest.raises(BenchError, match="1 of 100 POSTs failed"):
        _post_beside_readers("api", 4)
