import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from api_rest.concurrency import Admission, Gate, SharedValue
from api_rest.errors import Busy, Problem, Unavailable

READERS = 64
LIMIT = 30


class Source:
    """Counts its computations, and can delay them."""

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
    """Counts the threads that wait for it."""

    waiting = threading.Semaphore(0)

    def result(self, timeout: float | None = None) -> int:
        self.waiting.release()
        return super().result(timeout)


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def value(source: Source) -> SharedValue[int]:
    return SharedValue(source.compute, 2.0, lambda: source.now)


@pytest.fixture
def ask_together(
    value: SharedValue[int], source: Source, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], list[Future[int]]]]:
    """Has one reader compute, 63 wait for that, and only then lets it end."""
    monkeypatch.setattr("api_rest.concurrency.Future", Waiting)
    monkeypatch.setattr(Waiting, "waiting", threading.Semaphore(0))
    source.go_on.clear()
    with ThreadPoolExecutor(READERS) as pool:

        def ask() -> list[Future[int]]:
            readers = [pool.submit(value.get)]
            assert source.entered.wait(LIMIT)
            source.now += 3.0  # it takes longer than the value is kept
            readers += [pool.submit(value.get) for _ in range(READERS - 1)]
            for _ in range(READERS - 1):
                assert Waiting.waiting.acquire(timeout=LIMIT)
            source.go_on.set()
            return readers

        yield ask
        source.go_on.set()


def test_it_is_computed_again_once_it_is_too_old(value: SharedValue[int], source: Source) -> None:
    assert value.get() == 1
    source.now = 1.9
    assert value.get() == 1
    source.now = 2.0
    assert value.get() == 2


def test_the_age_counts_from_the_start(source: Source) -> None:
    def slowly() -> int:
        source.now += 3.0
        return source.compute()

    value = SharedValue(slowly, 2.0, lambda: source.now)
    assert (value.get(), value.get()) == (1, 2)


def test_callers_during_a_computation_get_its_result(
    ask_together: Callable[[], list[Future[int]]], source: Source
) -> None:
    assert {reader.result(LIMIT) for reader in ask_together()} == {1}
    assert source.asked == 1


def test_callers_during_a_computation_get_its_error(
    ask_together: Callable[[], list[Future[int]]], source: Source
) -> None:
    source.error = ValueError("away")
    assert {reader.exception(LIMIT) for reader in ask_together()} == {source.error}
    assert source.asked == 1


def test_a_failure_is_not_kept(value: SharedValue[int], source: Source) -> None:
    source.error = ValueError("away")
    with pytest.raises(ValueError, match="away"):
        value.get()
    source.error = None
    assert value.get() == 2


def test_callers_beyond_the_limit_are_busy() -> None:
    admission = Admission(2)
    with admission.within(0), admission.within(0):
        with pytest.raises(Busy, match="too many large answers") as caught, admission.within(0):
            pass
        assert caught.value.code == "busy"


def test_a_caller_that_fails_no_longer_counts() -> None:
    admission = Admission(1)
    with pytest.raises(KeyError), admission.within(0):
        raise KeyError
    with admission.within(0):
        pass


def fail(gate: Gate) -> None:
    with pytest.raises(Unavailable, match="away"), gate.passing():
        raise Unavailable("away")


def test_a_refused_caller_does_not_end_the_trial_of_the_other() -> None:
    gate = Gate()
    fail(gate)
    with gate.passing():
        for _ in range(2):
            with pytest.raises(Unavailable), gate.passing():
                pytest.fail("a second caller got in")


def test_the_gate_is_open_again_after_a_success() -> None:
    gate = Gate()
    fail(gate)
    with gate.passing():
        pass
    with gate.passing(), gate.passing():
        pass


def test_the_next_trial_can_come_from_another_thread() -> None:
    gate = Gate()
    fail(gate)
    thread = threading.Thread(target=fail, args=(gate,))
    thread.start()
    thread.join()
    with gate.passing():
        pass


def test_a_bug_does_not_close_the_gate() -> None:
    gate = Gate()
    with pytest.raises(KeyError), gate.passing():
        raise KeyError
    with gate.passing(), gate.passing():
        pass


def test_a_request_that_is_refused_alone_does_not_close_the_gate() -> None:
    gate = Gate()
    with pytest.raises(Problem), gate.passing():
        raise Problem(413, "too-large", "Kafka takes no event as large as this")
    with gate.passing(), gate.passing():
        pass


def test_a_closed_gate_repeats_what_everybody_may_know() -> None:
    gate = Gate()
    with pytest.raises(Unavailable), gate.checking():
        raise Unavailable("kafka-0: no topic", plain="no topic")
    with gate.passing(), pytest.raises(Unavailable) as caught, gate.passing():
        pytest.fail("a second caller got in")
    assert (str(caught.value), caught.value.plain) == ("kafka-0: no topic", "no topic")


def test_a_check_is_never_refused_and_opens_the_gate_for_others() -> None:
    gate = Gate()
    fail(gate)
    with gate.passing():
        with gate.checking():
            pass
        with gate.passing(), gate.passing():
            pass


def test_a_check_that_fails_closes_the_gate() -> None:
    gate = Gate()
    with pytest.raises(Unavailable), gate.checking():
        raise Unavailable("away")
    with gate.passing(), pytest.raises(Unavailable, match="away"), gate.passing():
        pytest.fail("a second caller got in")


def be_busy(gate: Gate) -> None:
    with pytest.raises(Busy), gate.passing():
        raise Busy("busy", "no connection was free")


def test_busy_does_not_close_the_gate() -> None:
    gate = Gate()
    be_busy(gate)
    with gate.passing(), gate.passing():
        pass


def test_busy_does_not_open_the_gate() -> None:
    gate = Gate()
    fail(gate)
    be_busy(gate)
    with gate.passing(), pytest.raises(Unavailable, match="away"), gate.passing():
        pytest.fail("a second caller got in")
