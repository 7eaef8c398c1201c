"""A worker that does not consume says so or ends; it never only sits there."""

import os
import signal
import subprocess

import pytest
from world import Worker, World, eventually

pytestmark = pytest.mark.engine

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
def test_what_no_waiting_heals_ends_the_worker_with_1(world: World, happens: str, reason: str) -> None:
    worker = struck(world, happens)
    eventually(lambda: worker.process.poll() is not None, "it does not end")
    assert worker.end(signal.SIGTERM) == 1
    assert any(line["event"].startswith("cannot go on") for line in worker.lines)
    assert reason in str(worker.lines)


def test_a_worker_that_polls_but_reads_nothing_is_not_ready(world: World) -> None:
    worker = struck(world, "pause")
    eventually(lambda: not worker.ready(), "it says that it is ready")
    assert worker.status("/health") == 200


@pytest.mark.skipif("COMPOSE_PROJECT_NAME" not in os.environ, reason="the broker's container is not known")
def test_while_the_broker_stands_still_it_is_not_ready_but_alive(world: World) -> None:
    container = f"{os.environ['COMPOSE_PROJECT_NAME']}-kafka-1"
    worker = world.start("broker.DELIVERY_TIMEOUT = 1")
    eventually(worker.ready, "it is not ready")
    subprocess.run(["docker", "pause", container], check=True, capture_output=True)
    try:
        eventually(lambda: worker.status("/ready") == 503, "it says that it is ready")
        assert worker.status("/health") == 200
    finally:
        subprocess.run(["docker", "unpause", container], check=True, capture_output=True)
    world.publish(world.event("1"))
    eventually(lambda: world.count() == 1, "the event is not stored")
    eventually(worker.ready, "it is not ready again")
    assert worker.end(signal.SIGTERM) == 0


def test_a_second_signal_ends_it_at_once(world: World) -> None:
    worker = struck(world, "stall")
    eventually(lambda: "stalled" in worker.events(), "it does not stall")

    def ended() -> bool:
        worker.process.send_signal(signal.SIGTERM)
        return worker.process.poll() is not None

    eventually(ended, "it does not end")
    assert worker.end(signal.SIGTERM) == 1
