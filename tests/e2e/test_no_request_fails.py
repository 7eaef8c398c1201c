"""200 requests a second over HTTPS while the platform is changed in every ordinary way: none fails, no event is lost.

A machine that has other work may not carry as many: pods then say that too many requests wait, whatever is done to the platform.
Such a storm proves nothing, is ended, said, and made again with half the rate; at the lowest rate every failure counts.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pytest

from tests.e2e.cluster import wait_for
from tests.e2e.conftest import Say
from tests.e2e.ledger import compare
from tests.e2e.platform import API, Authority, Client, Platform
from tests.e2e.traffic import Traffic, traffic
from tests.load.recording import Phase, Recording, Summary, failures, serials, summarise, table

pytestmark = [pytest.mark.engine, pytest.mark.cluster]

HALVINGS = 3  # 200, 100, 50, 25 a second
QUIET_SECONDS = 10
# values-local.yaml fits a laptop, where 250 millicores do not carry this load: throttled pods would be all that is proved.
CAPACITY = [
    f"components.{API}.resources.limits.cpu=1",
    "database.resources.limits.cpu=1",
    "proxy.resources.limits.cpu=1",
]
# What a phase lasts at least, so that slow requests are under way in each.
AFTERMATH = 6

PHASES = ("nothing", "rollout restart", "upgrade", "drain", "scale in", "certificate rotation")


@dataclass(frozen=True)
class Storm:
    """What a generator saw of it all, at so many requests a second."""

    run: str
    rate: float
    recording: Recording
    phases: list[Phase]
    summaries: dict[str, Summary]
    new_serial: str


def rest(_platform: Platform) -> None:
    """Nothing happens: what the other phases are compared with."""
    time.sleep(QUIET_SECONDS)


def restart(platform: Platform) -> None:
    """Every pod of the API is replaced."""
    before = {pod.uid for pod in platform.cluster.pods(API)}
    platform.cluster.kubectl("rollout", "restart", "deployment", platform.name(API))
    platform.cluster.settle()
    # A pod that is told to end serves on for a while.
    wait_for(
        "the old pods to be gone",
        lambda: not before & {pod.uid for pod in platform.cluster.pods(API)},
    )


def upgrade(platform: Platform) -> None:
    """A new revision with another configuration."""
    before = {pod.uid for pod in platform.cluster.pods(API)}
    platform.upgrade(f"components.{API}.config.LOG_LEVEL=WARNING")
    platform.cluster.settle()
    # A pod that is told to end serves on for a while.
    wait_for(
        "the old pods to be gone",
        lambda: not before & {pod.uid for pod in platform.cluster.pods(API)},
    )


def drain(platform: Platform) -> None:
    """The spot node is taken away, as spot nodes are; the API leaves it and comes back later."""
    cluster = platform.cluster
    (node,) = cluster.nodes("spot")
    assert [pod for pod in cluster.pods(API) if pod.node == node], (
        f"no pod of the API is on {node}: {cluster.table()}"
    )
    try:
        cluster.kubectl(
            "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=120s"
        )
        cluster.settle()
        assert [pod.name for pod in cluster.pods() if pod.node == node] == []
    finally:
        cluster.kubectl("uncordon", node)


def scale_in(platform: Platform) -> None:
    """One pod more, and back to as many as the load needs."""
    cluster, deployment = platform.cluster, platform.name(API)
    replicas = int(cluster.get_one("deployment", deployment)["spec"]["replicas"])
    for count in (replicas + 1, replicas):
        cluster.kubectl("scale", "deployment", deployment, f"--replicas={count}")
        cluster.settle()


CHANGES: dict[str, Callable[[Platform], None]] = {
    "nothing": rest,
    "rollout restart": restart,
    "upgrade": upgrade,
    "drain": drain,
    "scale in": scale_in,
}


def rotate(platform: Platform, authority: Authority, client: Client) -> str:
    """Put another certificate into the Secret, and wait until every pod of the API serves it; return its serial."""
    cluster = platform.cluster
    patch = json.dumps({"data": authority.issue(platform.names)})

    def served() -> set[str]:
        return client.serials(cluster.pods(API), platform.host)

    old = served()
    cluster.kubectl("patch", "secret", f"{cluster.release}-tls", "--patch", patch)
    for pod in cluster.pods(API):
        # The kubelet looks at Secrets about once a minute; a change of the pod makes it look now.
        cluster.kubectl(
            "annotate", "pod", pod.name, f"e2e/looked-at={time.time():.0f}", "--overwrite"
        )

    wait_for(
        "the new certificate on every pod of the API",
        lambda: not old & served(),
        seconds=150,
        every=2,
    )
    (serial,) = served()
    return serial


@pytest.fixture(scope="module")
def storm(platform: Platform, authority: Authority, client: Client, rate: float, say: Say) -> Storm:
    """Everything that is done to the platform, one after the other, under one load that this machine carries."""
    tried = rate
    for _ in range(HALVINGS):
        if (carried := storm_of(tried, platform, authority, client, say, give_up=True)) is not None:
            return carried
        say(
            f"this machine does not carry {tried:g} requests a second: once more with {tried / 2:g}"
        )
        tried /= 2
    last = storm_of(tried, platform, authority, client, say, give_up=False)
    assert last is not None
    return last


def storm_of(
    rate: float,
    platform: Platform,
    authority: Authority,
    client: Client,
    say: Say,
    *,
    give_up: bool,
) -> Storm | None:
    """A storm at a rate; None if it was given up as too much for the machine."""
    cluster = platform.cluster
    platform.upgrade(*CAPACITY, f"components.{API}.config.LOG_LEVEL=INFO")
    cluster.settle()
    (node,) = cluster.nodes()
    new: list[str] = []
    # A platform that was kept has the keys of runs before; a key that comes again is answered as before.
    run = f"load-{uuid.uuid4().hex[:8]}"
    options = ["--name", platform.host, "--run", run, "--rate", str(rate)]
    changes: dict[str, Callable[[], None]] = {
        name: partial(change, platform) for name, change in CHANGES.items()
    }
    changes["certificate rotation"] = lambda: new.append(rotate(platform, authority, client))
    with traffic(
        cluster, "load", platform.image(API), node, authority.certificate, options
    ) as running:
        for name, change in changes.items():
            blow(running, name, change, say)
            if give_up and running.overloaded():
                return None
        recording = running.finish()
    summaries = {one.phase: one for one in summarise(recording, running.phases)}
    say(table(summaries.values()))
    late = max(one.latest for one in summaries.values())
    say(
        f"the generator took {recording.cpu:.0f} s of processor time, and began its requests {late:.0f} ms late at most"
    )
    for failure in failures(recording, running.phases)[:20]:
        say(str(failure))
    return Storm(run, rate, recording, running.phases, summaries, new[0])


def blow(running: Traffic, name: str, change: Callable[[], None], say: Say) -> None:
    """One phase: the change, and what comes after it."""
    with running.phase(name):
        change()
        time.sleep(AFTERMATH)
    phase = running.phases[-1]
    say(f"{name}: {phase.until - phase.since:.0f} s")


def test_the_generator_was_not_what_failed(storm: Storm) -> None:
    starved = [
        str(one) for one in failures(storm.recording, storm.phases) if one.fault == "generator"
    ]
    assert starved == [], "this run proves nothing: the machine is too busy for the generator"


@pytest.mark.parametrize("phase", PHASES)
def test_no_request_fails_during(storm: Storm, phase: str) -> None:
    failed = [str(one) for one in failures(storm.recording, storm.phases) if one.phase == phase]
    assert failed == []


def test_no_request_failed_at_all(storm: Storm) -> None:
    assert [str(one) for one in failures(storm.recording, storm.phases)] == []


@pytest.mark.parametrize("phase", PHASES)
def test_there_was_load_of_every_kind_during(storm: Storm, phase: str) -> None:
    """There was something to fail: a phase that was proved by a trickle would be no proof."""
    summary = storm.summaries[phase]
    # Not all of it: what is under way when a phase ends counts for the next one, and machines are noisy.
    assert summary.requests >= 0.5 * storm.rate * summary.seconds
    assert summary.fresh == pytest.approx(summary.requests / 2, rel=0.1)
    assert summary.slow >= 1


def test_the_new_certificate_is_served_and_the_old_one_no_more(storm: Storm) -> None:
    """Seen by the requests themselves: only the old one before, only the new one at the end."""
    rotation = storm.phases[-1]
    before = serials(storm.recording, storm.phases[0].since, rotation.since)
    after = serials(storm.recording, rotation.until - AFTERMATH, rotation.until)
    assert storm.new_serial not in before
    assert set(after) == {storm.new_serial}


def test_every_accepted_event_is_stored_once(storm: Storm, platform: Platform, say: Say) -> None:
    verdict = compare(platform.cluster, storm.recording, storm.run)
    say(verdict.describe())
    assert verdict.findings == (), verdict.describe()
    assert verdict.counts.accepted == len(storm.recording.posts)
