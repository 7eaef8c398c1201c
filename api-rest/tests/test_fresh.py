import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from api_rest.fresh import Fresh

READERS = 64
LIMIT = 30


class Source:
    """Counts how often it is asked; holds its answer back while told to."""

    def __init__(self) -> None:
        self.now = 0.0
        self.asked = 0
        self.error: Exception | None = None
        self.entered = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def compute(self) -> int:
        self.asked += 1
        self.entered.set()
        assert self.go_on.wait(LIMIT)
        if self.error:
            raise self.error
        return self.asked


class Waiting(Future[int]):
    """Tells when somebody waits for it."""

    waiting = threading.Semaphore(0)

    def result(self, timeout: float | None = None) -> int:
        self.waiting.release()
        return super().result(timeout)


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def fresh(source: Source) -> Fresh[int]:
    return Fresh(source.compute, 2.0, lambda: source.now)


@pytest.fixture
def ask_together(
    fresh: Fresh[int], source: Source, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], list[Future[int]]]]:
    """Has one reader compute, 63 wait for that, and only then lets it end."""
    monkeypatch.setattr("api_rest.fresh.Future", Waiting)
    monkeypatch.setattr(Waiting, "waiting", threading.Semaphore(0))
    source.go_on.clear()
    with ThreadPoolExecutor(READERS) as pool:

        def ask() -> list[Future[int]]:
            readers = [pool.submit(fresh.get)]
            assert source.entered.wait(LIMIT)
            source.now += 3.0  # it takes longer than the value is kept
            readers += [pool.submit(fresh.get) for _ in range(READERS - 1)]
            for _ in range(READERS - 1):
                assert Waiting.waiting.acquire(timeout=LIMIT)
            source.go_on.set()
            return readers

        yield ask
        source.go_on.set()


def test_it_is_computed_again_once_it_is_too_old(fresh: Fresh[int], source: Source) -> None:
    assert fresh.get() == 1
    source.now = 1.9
    assert fresh.get() == 1
    source.now = 2.0
    assert fresh.get() == 2


def test_its_age_counts_from_when_it_was_begun(source: Source) -> None:
    def slowly() -> int:
        source.now += 3.0
        return source.compute()

    fresh = Fresh(slowly, 2.0, lambda: source.now)
    assert (fresh.get(), fresh.get()) == (1, 2)


def test_those_who_ask_meanwhile_get_the_same(
    ask_together: Callable[[], list[Future[int]]], source: Source
) -> None:
    assert {reader.result(LIMIT) for reader in ask_together()} == {1}
    assert source.asked == 1


def test_a_failure_is_everybodys_who_waits_and_nobody_tries_it_in_turn(
    ask_together: Callable[[], list[Future[int]]], source: Source
) -> None:
    source.error = ValueError("away")
    assert {reader.exception(LIMIT) for reader in ask_together()} == {source.error}
    assert source.asked == 1


def test_a_failure_is_not_kept(fresh: Fresh[int], source: Source) -> None:
    source.error = ValueError("away")
    with pytest.raises(ValueError, match="away"):
        fresh.get()
    source.error = None
    assert fresh.get() == 2
