"""The worker, Kafka and the database crash under load: no event is lost or stored twice."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.e2e.cluster import wait_for
from tests.e2e.conftest import Say
from tests.e2e.ledger import compare
from tests.e2e.platform import DATABASE, KAFKA, WORKER, Authority, Platform
from tests.e2e.traffic import traffic
from tests.load.checker import Verdict
from tests.load.recording import Recording, summarise, table

pytestmark = [pytest.mark.engine, pytest.mark.cluster]

RATE = 20
CONCURRENCY = 32
REST_SECONDS = 2


@dataclass(frozen=True)
class Result:
    """The requests of the load, compared with the table."""

    recording: Recording
    verdict: Verdict
    restarts: int


def kill_worker(platform: Platform) -> None:
    """SIGKILL from the node: no handler runs, and the kubelet starts the container again."""
    cluster, pod = platform.cluster, platform.cluster.pod(WORKER)
    before = pod.restarts[WORKER]
    cluster.shell(pod.node, "pkill", "-KILL", "-f", "async_worker")
    wait_for(
        "the kubelet to start the worker again",
        lambda: cluster.pod(WORKER).restarts[WORKER] > before,
    )


def delete_backends(platform: Platform) -> None:
    """Delete every pod with data at once; their successors get their volumes."""
    cluster = platform.cluster
    pods = [*cluster.pods(KAFKA), *cluster.pods(DATABASE)]
    assert {pod.component for pod in pods} == {KAFKA, DATABASE}
    cluster.kubectl("delete", "pod", "--grace-period=0", "--force", *(pod.name for pod in pods))
    gone = {pod.uid for pod in pods}
    wait_for("the deleted pods to be gone", lambda: not gone & set(cluster.uids().values()))


CRASHES: dict[str, Callable[[Platform], None]] = {
    "worker killed -9": kill_worker,
    "all pods of Kafka and the database deleted": delete_backends,
}


@pytest.fixture(scope="module")
def result(platform: Platform, authority: Authority, say: Say) -> Result:
    """All crashes under one load."""
    cluster = platform.cluster
    cluster.settle()
    options = ["--rate", str(RATE), "--concurrency", str(CONCURRENCY)]
    options += ["--insist", "--only-posts", "--slow-every", "0"]
    with traffic(platform, authority, "crash", *options) as running:
        time.sleep(REST_SECONDS)
        for name, crash in CRASHES.items():
            with running.phase(name):
                crash(platform)
                cluster.settle()
                time.sleep(REST_SECONDS)
            phase = running.phases[-1]
            say(f"{name}: all ready again after {phase.until - phase.since - REST_SECONDS:.0f} s")
        recording = running.finish()
    say(table(summarise(recording, running.phases)))
    verdict = compare(cluster, recording, running.run)
    say(verdict.describe())
    return Result(recording, verdict, sum(cluster.pod(WORKER).restarts.values()))


def test_every_accepted_event_is_in_the_table_exactly_once(result: Result) -> None:
    assert result.verdict.findings == (), result.verdict.describe()


def test_every_event_was_accepted_in_the_end(result: Result) -> None:
    """The generator repeats a POST until the API accepts it."""
    sent = {post.number for post in result.recording.posts}
    assert sent
    assert sent - result.recording.accepted == set()


def test_requests_failed_during_the_crashes(result: Result) -> None:
    """Without a failed attempt the test would say nothing."""
    assert result.restarts >= 1
    assert result.verdict.counts.retries > 0
