"""A worker that does not consume says so or ends; it never only sits there."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from world import Worker, World, eventually

pytestmark = pytest.mark.engine

# How long the chart waits for a worker that is told to stop: shutdown.drain.
DRAIN = 35

# Lets something happen to kafka-python at the next look for messages after SIGUSR1.
# What is noticed by the time that has passed is noticed soon.
STRANGE = """
import signal, time
from kafka import KafkaConsumer
from kafka.errors import TopicAuthorizationFailedError

poll, told = KafkaConsumer.poll, []
signal.signal(signal.SIGUSR1, lambda *_: told.append(1))
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

def strange(consumer, *arguments, **options):
    if told:
        told.clear()
        {happens}(consumer)
    return poll(consumer, *arguments, **options)

KafkaConsumer.poll = strange
"""


# Says so when one look for messages goes round kafka-python more often than pauses allow.
COUNTING = """
from kafka.consumer.fetcher import Fetcher

broker.DELIVERY_TIMEOUT = 1
look, fetch, rounds = broker.KafkaBroker.poll, Fetcher.fetch_records, []

def counted(*arguments, **options):
    rounds.append(1)
    return fetch(*arguments, **options)

def watched(kafka, timeout):
    rounds.clear()
    messages = look(kafka, timeout)
    if len(rounds) > 20:
        print('{"event": "spins"}', flush=True)
    return messages

Fetcher.fetch_records, broker.KafkaBroker.poll = counted, watched
"""


def struck(world: World, happens: str) -> Worker:
    """A worker that was ready when this began to happen."""
    worker = world.start(STRANGE.replace("{happens}", happens))
    eventually(worker.ready, "it is not ready")
    worker.process.send_signal(signal.SIGUSR1)
    return worker


def test_a_loop_that_stalls_is_no_longer_alive(world: World) -> None:
    worker = struck(world, "stall")
    eventually(lambda: "stalled" in worker.events(), "it does not stall")
    eventually(lambda: worker.status("/health") == 503, "it says that it lives")
    assert worker.status("/ready") == 503


@pytest.mark.parametrize(
    ("happens", "reason"),
    [("refuse", "TopicAuthorizationFailed"), ("kill_thread", "the thread dies")],
)
def test_what_no_waiting_heals_ends_the_worker_with_1(
    world: World, happens: str, reason: str
) -> None:
    worker = struck(world, happens)
    eventually(lambda: worker.process.poll() is not None, "it does not end")
    assert worker.end(signal.SIGTERM) == 1
    assert any(line["event"].startswith("cannot go on") for line in worker.lines)
    assert reason in str(worker.lines)


def test_a_worker_that_polls_but_reads_nothing_is_not_ready(world: World) -> None:
    worker = struck(world, "pause")
    eventually(lambda: not worker.ready(), "it says that it is ready")
    assert worker.status("/health") == 200


@contextmanager
def frozen_broker() -> Iterator[None]:
    """Freeze the broker's container: it keeps its connections and answers nothing."""
    if "COMPOSE_PROJECT_NAME" not in os.environ:
        pytest.skip("the broker's container is not known")
    container = f"{os.environ['COMPOSE_PROJECT_NAME']}-kafka-1"
    subprocess.run(["docker", "pause", container], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["docker", "unpause", container], check=True, capture_output=True)


def test_while_the_broker_stands_still_it_is_not_ready_but_alive(world: World) -> None:
    worker = world.start(COUNTING)
    eventually(worker.ready, "it is not ready")
    with frozen_broker():
        eventually(lambda: worker.status("/ready") == 503, "it says that it is ready")
        assert worker.status("/health") == 200
        # It looked for messages all the time, and without an answer to its heartbeats.
        assert "spins" not in worker.events()
    world.publish(world.event("1"))
    eventually(lambda: world.count() == 1, "the event is not stored")
    eventually(worker.ready, "it is not ready again")
    assert worker.end(signal.SIGTERM) == 0


def test_while_the_broker_stands_still_it_can_be_stopped(world: World) -> None:
    worker = world.start("broker.DELIVERY_TIMEOUT = 1")
    eventually(worker.ready, "it is not ready")
    with frozen_broker():
        eventually(lambda: worker.status("/ready") == 503, "it says that it is ready")
        told = time.monotonic()
        assert worker.end(signal.SIGTERM) == 0
        took = time.monotonic() - told
    assert took < DRAIN, f"{took:.1f} s"


def test_a_second_signal_ends_it_at_once(world: World) -> None:
    worker = struck(world, "stall")
    eventually(lambda: "stalled" in worker.events(), "it does not stall")

    def ended() -> bool:
        worker.process.send_signal(signal.SIGTERM)
        return worker.process.poll() is not None

    eventually(ended, "it does not end")
    assert worker.end(signal.SIGTERM) == 1
