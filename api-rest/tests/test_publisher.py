"""Batches and their results. tests/integration uses a real Kafka."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from api_rest.errors import Unavailable
from api_rest.publisher import Publisher
from kafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError, UnknownError


class Future:
    def __init__(self) -> None:
        self.asked = threading.Event()
        self.answered = threading.Event()
        self.exception: Exception | None = None

    def answer(self, error: Exception | None) -> None:
        self.exception = error
        self.answered.set()

    def get(self, timeout: float) -> None:
        self.asked.set()
        if not self.answered.wait(timeout):
            raise KafkaTimeoutError(f"after {timeout} s")
        if self.exception:
            raise self.exception


class Producer:
    """Acknowledges on flush; can delay the flush."""

    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []
        self.open: list[tuple[bytes, Future]] = []
        self.refused: dict[bytes, Exception] = {}
        self.failed: dict[bytes, Exception] = {}
        self.silent = False
        self.broken: BaseException | None = None
        self.timeout = 1
        self.flushing = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def send(
        self, topic: str, *, key: bytes, value: bytes, headers: list[tuple[str, bytes]]
    ) -> Future:
        assert (topic, key, headers) == ("t", b"k", [("kind", b"deployment")])
        if value in self.refused:
            raise self.refused[value]
        self.open.append((value, future := Future()))
        return future

    def flush(self, timeout: float) -> None:
        assert timeout == self.timeout
        self.flushing.set()
        assert self.go_on.wait(30)
        batch, self.open = self.open, []
        self.batches.append([value for value, _ in batch])
        if self.silent:
            raise KafkaTimeoutError("flush")
        if self.broken:
            raise self.broken
        for value, future in batch:
            future.answer(self.failed.get(value))


class Splitting(Producer):
    """Splits each batch that has a large event, as kafka-python does: its flush() then fails."""

    def flush(self, timeout: float) -> None:
        if all(value not in self.failed for value, _ in self.open):
            super().flush(timeout)
            return
        _, future = self.open[0]

        def answer() -> None:
            assert future.asked.wait(30)
            super(Splitting, self).flush(timeout)

        threading.Thread(target=answer).start()
        raise UnknownError("Future not done")


@pytest.fixture
def producer() -> Producer:
    return Producer()


@pytest.fixture
def publisher(producer: Producer) -> Iterator[Publisher]:
    publisher = Publisher(producer, "t", 1)
    yield publisher
    producer.go_on.set()
    publisher.close()


def publish(publisher: Publisher, value: bytes) -> None:
    publisher.publish(b"k", value, [("kind", b"deployment")])


def test_an_event_is_acknowledged(publisher: Publisher, producer: Producer) -> None:
    publish(publisher, b"1")
    assert producer.batches == [[b"1"]]


def test_events_during_a_batch_become_the_next_batch(
    publisher: Publisher, producer: Producer
) -> None:
    producer.go_on.clear()
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(publish, publisher, b"0")
        assert producer.flushing.wait(30)
        others = [pool.submit(publish, publisher, b"%d" % number) for number in range(1, 9)]
        while publisher._waiting.qsize() < 8:
            pass
        assert not first.done()
        producer.go_on.set()
        for future in (first, *others):
            future.result()
    first_batch, second_batch = producer.batches
    assert first_batch == [b"0"]
    assert sorted(second_batch) == [b"%d" % number for number in range(1, 9)]


@pytest.mark.parametrize("how", ["refused", "failed"])
def test_one_bad_event_fails_alone(publisher: Publisher, producer: Producer, how: str) -> None:
    getattr(producer, how)[b"bad"] = MessageSizeTooLargeError("too large")
    publish(publisher, b"1")
    with pytest.raises(MessageSizeTooLargeError):
        publish(publisher, b"bad")
    publish(publisher, b"2")


def test_the_events_of_a_split_batch_get_their_own_answers() -> None:
    producer = Splitting()
    producer.failed[b"large"] = MessageSizeTooLargeError("too large")
    publisher = Publisher(producer, "t", 1)
    producer.go_on.clear()
    with ThreadPoolExecutor(3) as pool:
        pool.submit(publish, publisher, b"0")
        assert producer.flushing.wait(30)
        small, large = (pool.submit(publish, publisher, value) for value in (b"small", b"large"))
        while publisher._waiting.qsize() < 2:
            pass
        producer.go_on.set()
        assert small.exception() is None
        assert isinstance(large.exception(), MessageSizeTooLargeError)
    publisher.close()


def test_an_event_without_an_answer_is_not_acknowledged(
    publisher: Publisher, producer: Producer
) -> None:
    producer.silent = True
    with pytest.raises(KafkaTimeoutError):
        publish(publisher, b"1")


def test_an_exception_reaches_the_request_and_the_thread_goes_on(
    publisher: Publisher, producer: Producer
) -> None:
    producer.broken = RuntimeError("the event loop is closed")
    with pytest.raises(RuntimeError, match="the event loop is closed"):
        publish(publisher, b"1")
    producer.broken = None
    publish(publisher, b"2")
    assert publisher.alive


def test_an_unreadable_acknowledgement_is_an_error(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(_: Future, timeout: float) -> None:
        raise KeyError(timeout)

    with monkeypatch.context() as patched:
        patched.setattr(Future, "get", unreadable)
        with pytest.raises(KeyError):
            publish(publisher, b"1")
    publish(publisher, b"2")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("where", ["refused", "broken"])
def test_without_the_thread_a_request_fails_at_once(producer: Producer, where: str) -> None:
    publisher = Publisher(producer, "t", 1)
    # What is no Exception: the only way to end it.
    if where == "refused":
        producer.refused[b"1"] = SystemExit()  # type: ignore[assignment]
    else:
        producer.broken = SystemExit()
    with pytest.raises(KafkaTimeoutError):
        publish(publisher, b"1")
    publisher._thread.join()
    assert not publisher.alive
    with pytest.raises(Unavailable, match="has ended"):
        publish(publisher, b"2")


def test_an_abandoned_event_is_not_sent(producer: Producer) -> None:
    producer.timeout = 0
    publisher = Publisher(producer, "t", 0)
    producer.go_on.clear()
    errors: list[Any] = []

    def late(value: bytes) -> None:
        try:
            publish(publisher, value)
        except KafkaError as error:
            errors.append(error)

    threads = [threading.Thread(target=late, args=(value,)) for value in (b"1", b"2")]
    threads[0].start()
    assert producer.flushing.wait(30)
    threads[1].start()
    for thread in threads:
        thread.join()
    assert len(errors) == 2
    producer.go_on.set()
    publisher.close()
    publisher._thread.join()
    assert producer.batches[0] == [b"1"]
    assert b"2" not in {value for batch in producer.batches for value in batch}


def test_close_sends_the_waiting_events(producer: Producer) -> None:
    publisher = Publisher(producer, "t", 1)
    producer.go_on.clear()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(publish, publisher, b"1")
        assert producer.flushing.wait(30)
        second = pool.submit(publish, publisher, b"2")
        while not publisher._waiting.qsize():
            pass
        closing = threading.Thread(target=publisher.close)
        closing.start()
        producer.go_on.set()
        first.result()
        second.result()
        closing.join()
    assert not publisher._thread.is_alive()
