"""Worker, Kafka and database die under a stream of events that clients repeat until accepted: nothing is lost, nothing twice."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.conftest import Say
from tests.e2e.ledger import compare, rows
from tests.e2e.platform import API, DATABASE, KAFKA, WORKER, Authority, Platform
from tests.e2e.traffic import traffic
from tests.load.checker import Verdict
from tests.load.recording import Recording, summarise, table

pytestmark = [pytest.mark.engine, pytest.mark.cluster]

RUN = f"crash-{uuid.uuid4().hex[:8]}"
RATE = 20
CONCURRENCY = 32
AFTERMATH = 4


@dataclass(frozen=True)
class Aftermath:
    """What a generator that insists saw, what the table holds, and what had been there before."""

    recording: Recording
    verdict: Verdict
    before: list[str]
    after: list[str]
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


def delete_kafka(platform: Platform) -> None:
    """The pod goes at once, and comes back to its claim."""
    delete(platform.cluster, KAFKA)


def delete_everything(platform: Platform) -> None:
    """Every pod that holds data, at the same moment."""
    delete(platform.cluster, KAFKA, DATABASE)


def delete(cluster: Cluster, *parts: str) -> None:
    pods = [pod for part in parts for pod in cluster.pods(part)]
    assert len(pods) >= len(parts)
    cluster.kubectl("delete", "pod", "--grace-period=0", "--force", *(pod.name for pod in pods))
    gone = {pod.uid for pod in pods}
    wait_for("other pods in their place", lambda: not gone & set(cluster.uids().values()))


STRIKES: dict[str, Callable[[Platform], None]] = {
    "worker killed -9": kill_worker,
    "Kafka's pod deleted": delete_kafka,
    "all pods of Kafka and the database deleted": delete_everything,
}


@pytest.fixture(scope="module")
def aftermath(platform: Platform, authority: Authority, say: Say) -> Aftermath:
    """All strikes under one stream of events."""
    cluster = platform.cluster
    cluster.settle()
    (node,) = cluster.nodes()
    options = [
        "--name",
        platform.host,
        "--run",
        RUN,
        "--rate",
        str(RATE),
        "--concurrency",
        str(CONCURRENCY),
    ]
    options += ["--insist", "--only-posts", "--slow-every", "0"]
    with traffic(
        cluster, "crash", platform.image(API), node, authority.certificate, options
    ) as running:
        time.sleep(AFTERMATH)
        before = [row["id"] for row in rows(cluster, RUN)]
        for name, strike in STRIKES.items():
            with running.phase(name):
                strike(platform)
                cluster.settle()
                time.sleep(AFTERMATH)
            phase = running.phases[-1]
            say(f"{name}: all ready again after {phase.until - phase.since - AFTERMATH:.0f} s")
        recording = running.finish()
    say(table(summarise(recording, running.phases)))
    verdict = compare(cluster, recording, RUN)
    say(verdict.describe())
    after = [row["id"] for row in rows(cluster, RUN)]
    return Aftermath(recording, verdict, before, after, sum(cluster.pod(WORKER).restarts.values()))


def test_every_accepted_event_is_in_the_table_exactly_once(aftermath: Aftermath) -> None:
    assert aftermath.verdict.findings == (), aftermath.verdict.describe()


def test_every_event_was_accepted_in_the_end(aftermath: Aftermath) -> None:
    """Who insists gets through; the last ones may have been told to stop."""
    sent = {post.number for post in aftermath.recording.posts}
    assert sent
    assert sent - aftermath.recording.accepted == set()


def test_the_strikes_were_felt(aftermath: Aftermath) -> None:
    """A proof without a failed attempt would be one of nothing."""
    assert aftermath.restarts >= 1
    assert aftermath.verdict.counts.retries > 0


def test_what_was_stored_before_is_there_afterwards(aftermath: Aftermath) -> None:
    assert aftermath.before
    assert set(aftermath.before) <= set(aftermath.after)
