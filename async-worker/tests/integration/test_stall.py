"""A worker that does not consume is not ready, or exits."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from live import Scenario, Worker, eventually

pytestmark = pytest.mark.engine

# How long the chart lets a worker stop: shutdown.drain.
DRAIN = 35

# Makes kafka-python fail at the next poll after SIGUSR1, and shortens the limits of /health.
FAULTY = """
import signal, time
from kafka import KafkaConsumer
from kafka.errors import TopicAuthorizationFailedError

poll, signals = KafkaConsumer.poll, []
signal.signal(signal.SIGUSR1, lambda *_: signals.append(1))
health.STUCK_AFTER = 2.0
health.STALLED_AFTER = 1.0

def stall(consumer):
    print('{"event": "stalled"}', flush=True)
    time.sleep(3600)

def refuse(consumer):
    raise TopicAuthorizationFailedError()

def kill_thread(consumer):
    def die():
        raise MemoryError("the thread dies")
    consumer._net._poll_once = die
    consumer._net.wakeup()

def pause(consumer):
    consumer.pause(*consumer.assignment())

def faulty_poll(consumer, *arguments, **options):
    if signals:
        signals.clear()
        {fault}(consumer)
    return poll(consumer, *arguments, **options)

KafkaConsumer.poll = faulty_poll
"""


# Prints a line when one poll loops more often than the pauses allow.
COUNTING = """
from kafka.consumer.fetcher import Fetcher

broker.DELIVERY_TIMEOUT = 1
kafka_poll, fetch, rounds = broker.KafkaBroker.poll, Fetcher.fetch_records, []

def counted(*arguments, **options):
    rounds.append(1)
    return fetch(*arguments, **options)

def watched(kafka, timeout):
    rounds.clear()
    messages = kafka_poll(kafka, timeout)
    if len(rounds) > 20:
        print('{"event": "spins"}', flush=True)
    return messages

Fetcher.fetch_records, broker.KafkaBroker.poll = counted, watched
"""


# Subscribes while the consumer's first metadata request, which names no topic, is in flight: its
# response clears the request for the topic. And assignments take longer than a poll.
LATE = """
import time
from kafka import KafkaConsumer
from kafka.coordinator.consumer import ConsumerCoordinator

broker.REJOIN_AFTER = 1
subscribe, assign = KafkaConsumer.subscribe, ConsumerCoordinator._perform_assignment

def subscribe_late(consumer, topics):
    while not consumer._cluster.metadata_refresh_in_progress:
        time.sleep(0.001)
    subscribe(consumer, topics)
    KafkaConsumer.subscribe = subscribe

def assign_slowly(*arguments):
    time.sleep(0.2)
    return assign(*arguments)

KafkaConsumer.subscribe = subscribe_late
ConsumerCoordinator._perform_assignment = assign_slowly
"""


def start_faulty(scenario: Scenario, fault: str) -> Worker:
    """Start a worker, and make it fail once it is ready."""
    worker = scenario.start(FAULTY.replace("{fault}", fault))
    eventually(worker.ready, "it is not ready")
    worker.process.send_signal(signal.SIGUSR1)
    return worker


def test_health_fails_while_the_loop_is_stuck(scenario: Scenario) -> None:
    worker = start_faulty(scenario, "stall")
    eventually(lambda: "stalled" in worker.events(), "the loop is not stuck")
    eventually(lambda: worker.status("/health") == 503, "the worker is still healthy")
    assert worker.status("/ready") == 503


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("refuse", "TopicAuthorizationFailed"), ("kill_thread", "the thread dies")],
)
def test_a_permanent_error_exits_with_1(scenario: Scenario, fault: str, reason: str) -> None:
    worker = start_faulty(scenario, fault)
    eventually(lambda: worker.process.poll() is not None, "it does not end")
    assert worker.stop(signal.SIGTERM) == 1
    assert any(line["event"].startswith("cannot go on") for line in worker.lines)
    assert reason in str(worker.lines)


def test_a_worker_that_reads_nothing_is_not_ready(scenario: Scenario) -> None:
    worker = start_faulty(scenario, "pause")
    eventually(lambda: not worker.ready(), "the worker is still ready")
    assert worker.status("/health") == 200


@contextmanager
def frozen_broker() -> Iterator[None]:
    """Pause the broker's container: it keeps its connections and responds to nothing."""
    if "COMPOSE_PROJECT_NAME" not in os.environ:
        pytest.skip("the broker's container is unknown")
    container = f"{os.environ['COMPOSE_PROJECT_NAME']}-kafka-1"
    subprocess.run(["docker", "pause", container], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["docker", "unpause", container], check=True, capture_output=True)


def test_with_a_frozen_broker_the_worker_is_healthy_but_not_ready(scenario: Scenario) -> None:
    worker = scenario.start(COUNTING)
    eventually(worker.ready, "it is not ready")
    with frozen_broker():
        eventually(lambda: worker.status("/ready") == 503, "the worker is still ready")
        assert worker.status("/health") == 200
        # It polled all the time, without responses to its heartbeats.
        assert "spins" not in worker.events()
    scenario.publish(scenario.event("1"))
    eventually(lambda: scenario.count() == 1, "the event is not stored")
    eventually(worker.ready, "it is not ready again")
    assert worker.stop(signal.SIGTERM) == 0


def test_with_a_frozen_broker_the_worker_can_be_stopped(scenario: Scenario) -> None:
    worker = scenario.start("broker.DELIVERY_TIMEOUT = 1")
    eventually(worker.ready, "it is not ready")
    with frozen_broker():
        eventually(lambda: worker.status("/ready") == 503, "the worker is still ready")
        started = time.monotonic()
        assert worker.stop(signal.SIGTERM) == 0
        seconds = time.monotonic() - started
    assert seconds < DRAIN, f"{seconds:.1f} s"


def test_a_second_signal_exits_immediately(scenario: Scenario) -> None:
    worker = start_faulty(scenario, "stall")
    eventually(lambda: "stalled" in worker.events(), "the loop is not stuck")

    def ended() -> bool:
        worker.process.send_signal(signal.SIGTERM)
        return worker.process.poll() is not None

    eventually(ended, "it does not end")
    assert worker.stop(signal.SIGTERM) == 1


def test_a_join_that_kafka_python_forgets_is_repeated(scenario: Scenario) -> None:
    scenario.publish(scenario.event("1"))
    worker = scenario.start(LATE)
    eventually(lambda: scenario.count() == 1, "the event is not stored")
    eventually(worker.ready, "it is not ready")
    assert worker.stop(signal.SIGTERM) == 0
