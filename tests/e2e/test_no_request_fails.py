"""A load while the platform changes in every ordinary way: no request fails.

`--load 200` makes it a storm. A busy machine may not carry the load: pods then refuse requests
because too many are waiting, whatever the change. Such a run is ended and repeated at half the
rate; at the lowest rate every failure counts.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from threading import Event, Thread
from typing import Self

import pytest

from tests.e2e.cluster import wait_for
from tests.e2e.conftest import Say
from tests.e2e.ledger import compare
from tests.e2e.platform import API, Authority, Client, Platform
from tests.e2e.traffic import traffic
from tests.load.recording import Phase, Recording, Summary, failures, serials, summarise, table

pytestmark = [pytest.mark.engine, pytest.mark.cluster]

COMPONENT = f"components.{API}"
LOWEST_RATE = 25
# As before the changes.
UNCHANGED = [
    *(f"{COMPONENT}.{value}" for value in ("replicas=2", "scaling.enabled=false")),
    f"{COMPONENT}.config.LOG_LEVEL=INFO",
]
# How long a phase lasts at least, so that each has slow requests: at 25 a second one in 1.6 s.
REST_SECONDS = 3
SLOW_EVERY = 40

PHASES = (
    *("nothing", "upgrade", "drain", "scale out", "autoscaler", "scale in"),
    "certificate rotation",
)


@dataclass(frozen=True)
class Result:
    """The requests of a load during all changes."""

    run: str
    rate: float
    recording: Recording
    phases: list[Phase]
    summaries: dict[str, Summary]
    new_serial: str
    watched: Watched


class Watched:
    """The numbers of pods of the API that were seen while the body ran."""

    def __init__(self, platform: Platform) -> None:
        self.platform, self.over = platform, Event()
        self.wanted: list[int] = []
        self.ready: list[int] = []

    def __enter__(self) -> Self:
        self.thread = Thread(target=self.watch, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()

    def watch(self) -> None:
        while not self.over.wait(0.3):
            live = self.platform.cluster.get_one("deployment", self.platform.name(API))
            self.wanted.append(int(live["spec"]["replicas"]))
            self.ready.append(int(live["status"].get("readyReplicas", 0)))


def rest(_platform: Platform) -> None:
    """No change: the baseline of the other phases."""


@contextmanager
def replacing_pods(platform: Platform) -> Iterator[None]:
    """Wait until the pods of the API from before the body are gone."""
    before = {pod.uid for pod in platform.cluster.pods(API)}
    yield
    platform.cluster.settle()
    # A terminating pod still serves for a while.
    wait_for(
        "the old pods to be gone",
        lambda: not before & {pod.uid for pod in platform.cluster.pods(API)},
    )


def upgrade(platform: Platform) -> None:
    """Deploy a revision with another configuration, which replaces every pod of the API."""
    with replacing_pods(platform):
        platform.upgrade(f"{COMPONENT}.config.LOG_LEVEL=WARNING")


def drain(platform: Platform) -> None:
    """Drain the spot node; the API leaves it and returns later."""
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


def scale_out(platform: Platform) -> None:
    """Add a pod."""
    platform.upgrade(f"{COMPONENT}.replicas=3")
    platform.cluster.settle()


def autoscale(platform: Platform) -> Watched:
    """Leave the number of pods to an autoscaler, and upgrade again."""
    scaling = f"{COMPONENT}.scaling"
    with Watched(platform) as watched:
        platform.upgrade(f"{scaling}.enabled=true", f"{scaling}.min=2", f"{scaling}.max=6")
        platform.upgrade(f"{scaling}.max=5")
        before = acts(platform)
        wait_for("the autoscaler to act", lambda: acts(platform) > before)
    return watched


def acts(platform: Platform) -> int:
    """How often the autoscaler acted; without metrics each time is an event."""
    kind = "involvedObject.kind=HorizontalPodAutoscaler"
    events = platform.cluster.get("events", "--field-selector", kind)
    return sum(int(event.get("count") or 1) for event in events)


def scale_in(platform: Platform) -> None:
    """Remove a pod again, and the autoscaler."""
    platform.upgrade(*UNCHANGED[:2])
    platform.cluster.settle()


CHANGES: dict[str, Callable[[Platform], None]] = {
    "nothing": rest,
    "upgrade": upgrade,
    "drain": drain,
    "scale out": scale_out,
}


@dataclass(frozen=True)
class Setting:
    """The fixtures that a run needs."""

    platform: Platform
    authority: Authority
    client: Client
    say: Say


def rotate(setting: Setting) -> str:
    """Replace the certificate, wait until every pod of the API serves it; return its serial."""
    platform, cluster = setting.platform, setting.platform.cluster
    patch = json.dumps({"data": setting.authority.issue(platform.names)})

    def served() -> set[str]:
        return setting.client.serials(cluster.pods(API), platform.host)

    old = served()
    cluster.kubectl("patch", "secret", f"{cluster.release}-tls", "--patch", patch)
    for pod in cluster.pods(API):
        # The kubelet reads Secrets about once a minute, and at once when the pod changes.
        cluster.kubectl(
            "annotate", "pod", pod.name, f"e2e/changed-at={time.time():.0f}", "--overwrite"
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
def result(
    platform: Platform, authority: Authority, client: Client, rate: float, say: Say
) -> Result:
    """All changes, one after the other, under a load that this machine carries."""
    setting = Setting(platform, authority, client, say)
    while rate > LOWEST_RATE:
        if (result := run_at(rate, setting, may_end=True)) is not None:
            return result
        say(f"this machine does not carry {rate:g} requests a second: retry with {rate / 2:g}")
        rate /= 2
    result = run_at(rate, setting, may_end=False)
    assert result is not None
    return result


def run_at(rate: float, setting: Setting, *, may_end: bool) -> Result | None:
    """All changes under load at a rate; None if the load was too much for the machine."""
    platform, say = setting.platform, setting.say
    platform.upgrade(*UNCHANGED)
    platform.cluster.settle()
    watched: list[Watched] = []
    rotated: list[str] = []
    changes: dict[str, Callable[[], None]] = {
        **{name: partial(change, platform) for name, change in CHANGES.items()},
        "autoscaler": lambda: watched.append(autoscale(platform)),
        "scale in": lambda: scale_in(platform),
        "certificate rotation": lambda: rotated.append(rotate(setting)),
    }
    options = ("--rate", str(rate), "--slow-every", str(SLOW_EVERY))
    with traffic(platform, setting.authority, "load", *options) as running:
        for name, change in changes.items():
            with running.phase(name):
                change()
                time.sleep(REST_SECONDS)
            phase = running.phases[-1]
            say(f"{name}: {phase.until - phase.since:.0f} s")
            if may_end and running.overloaded():
                return None
        recording = running.finish()
    summaries = {summary.phase: summary for summary in summarise(recording, running.phases)}
    say(table(summaries.values()))
    late = max(summary.latest for summary in summaries.values())
    say(f"the generator used {recording.cpu:.0f} s of CPU and was {late:.0f} ms late at most")
    for failure in failures(recording, running.phases)[:20]:
        say(str(failure))
    return Result(running.run, rate, recording, running.phases, summaries, rotated[0], watched[0])


def test_no_request_fails(result: Result) -> None:
    """Neither in a phase nor between two."""
    assert [str(failure) for failure in failures(result.recording, result.phases)] == []


@pytest.mark.parametrize("phase", PHASES)
def test_there_is_load_of_every_kind_during(result: Result, phase: str) -> None:
    """Without enough load a phase without failures says nothing."""
    summary = result.summaries[phase]
    # Requests that are open when a phase ends count for the next one.
    assert summary.requests >= 0.5 * result.rate * summary.seconds
    assert summary.fresh == pytest.approx(summary.requests / 2, rel=0.1)
    assert summary.slow >= 1


def test_the_new_certificate_replaces_the_old_one(result: Result) -> None:
    """Connections get only the old one before the rotation, and only the new one at its end."""
    rotation = result.phases[-1]
    before = serials(result.recording, result.phases[0].since, rotation.since)
    after = serials(result.recording, rotation.until - REST_SECONDS, rotation.until)
    assert result.new_serial not in before
    assert set(after) == {result.new_serial}


def test_the_autoscaler_drops_no_pod(result: Result, say: Say) -> None:
    seen = result.watched
    say(f"pods: {min(seen.wanted)} wanted and {min(seen.ready)} ready at least")
    assert min(seen.wanted) == min(seen.ready) == 3


def test_every_accepted_event_is_stored_once(result: Result, platform: Platform, say: Say) -> None:
    verdict = compare(platform.cluster, result.recording, result.run)
    say(verdict.describe())
    assert verdict.findings == (), verdict.describe()
    assert verdict.counts.accepted == len(result.recording.posts)
