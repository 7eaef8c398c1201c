"""Deploys that are cut off, broken, repeated, or two at once: what serves goes on serving, and the next deploy needs no hand."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.cluster import wait_for
from tests.e2e.conftest import Say
from tests.e2e.load import traffic
from tests.e2e.platform import API, DEPLOY, Authority, Platform, done
from tests.e2e.traffic import failures, summarise, table

pytestmark = [pytest.mark.engine, pytest.mark.cluster]

# An app that says why it cannot run, and ends: what its log says is to be in the deploy's output.
LAST_WORDS = "cannot start: the flux capacitor is missing"
ENTRYPOINT = 'ENTRYPOINT ["/usr/bin/python3", "-m", "api_rest"]'
BROKEN = f"""ENTRYPOINT ["/usr/bin/python3", "-c", "import sys; print('{LAST_WORDS}', flush=True); sys.exit(3)"]"""
EXIT_CODE = 8
UNCHANGED = "compare: nothing to do"


@pytest.fixture(autouse=True)
def _settled(platform: Platform) -> None:
    platform.cluster.settle()


@pytest.fixture(scope="module")
def values(platform: Platform) -> Path:
    """The environment's values, where each test says something else; deploying is what takes the time, so none is taken back."""
    return platform.house.folder / "platform-chart" / "values-local.yaml"


@pytest.fixture
def broken(platform: Platform) -> Iterator[Path]:
    """The API's image as a developer breaks it; whole again afterwards for whoever deploys next."""
    file = platform.house.folder / "api-rest" / "Dockerfile"
    before = file.read_text(encoding="utf-8")
    assert before.count(ENTRYPOINT) == 1
    file.write_text(before.replace(ENTRYPOINT, BROKEN), encoding="utf-8")
    yield file
    file.write_text(before, encoding="utf-8")


def test_of_two_deploys_at_once_the_second_waits(platform: Platform, values: Path) -> None:
    change(values, "two-at-once")
    before = platform.cluster.revisions()[-1]["revision"]
    both = [platform.house.start(*DEPLOY) for _ in range(2)]
    outputs = [one.communicate(timeout=600)[0] for one in both]
    assert [one.returncode for one in both] == [0, 0], "\n\n".join(outputs)
    assert sum(UNCHANGED in told for told in outputs) == 1
    last = platform.cluster.revisions()[-1]
    assert (last["revision"], last["status"]) == (before + 1, "deployed")


def test_the_same_release_again_changes_nothing(platform: Platform, say: Say) -> None:
    cluster = platform.cluster
    pods, revisions = cluster.uids(), cluster.revisions()
    since = time.monotonic()
    told = done(platform.house.inv(*DEPLOY))
    say(f"the same release again: {time.monotonic() - since:.1f} s")
    assert UNCHANGED in told
    assert cluster.revisions() == revisions
    assert cluster.uids() == pods


def test_a_deploy_that_was_killed_is_finished_by_the_next_one(platform: Platform, values: Path, say: Say) -> None:
    change(values, "killed")
    task = platform.house.start(*DEPLOY)
    wait_for("helm to be at work", lambda: platform.cluster.revisions()[-1]["status"] == "pending-upgrade", every=0.2)
    helm = children(task.pid, "helm")
    assert helm, "helm is no child of the deploy"
    for pid in helm:
        os.kill(pid, signal.SIGKILL)
    os.killpg(task.pid, signal.SIGKILL)
    task.communicate()
    assert platform.cluster.revisions()[-1]["status"] == "pending-upgrade"
    since = time.monotonic()
    told = done(platform.house.inv(*DEPLOY))
    say(f"the deploy after a helm that was killed: {time.monotonic() - since:.0f} s")
    assert platform.cluster.revisions()[-1]["status"] == "deployed", told
    assert environment(platform) == "killed"


def test_a_broken_image_is_told_by_its_own_last_words_while_the_old_version_serves(
    platform: Platform, authority: Authority, broken: Path, say: Say
) -> None:
    image = platform.image(API)
    (node,) = platform.cluster.nodes()
    options = ["--name", platform.host, "--run", f"broken-{uuid.uuid4().hex[:8]}", "--rate", "20"]
    with traffic(platform.cluster, "broken", image, node, authority.certificate, options) as running:
        since = time.monotonic()
        with running.phase("deploy of a broken image"):
            task = platform.house.inv(*DEPLOY)
        say(f"the deploy of a broken image: {time.monotonic() - since:.0f} s")
        recording = running.finish()
    say(task.stdout)
    say(table(summarise(recording, running.phases)))
    assert task.returncode == EXIT_CODE, f"{broken} is to break it"
    assert LAST_WORDS in task.stdout
    assert "serves on" in task.stdout
    assert [str(one) for one in failures(recording, running.phases)] == []
    assert platform.image(API) == image
    assert platform.cluster.revisions()[-1]["status"] == "deployed"


def test_a_rollback_brings_the_version_before_back(platform: Platform, values: Path) -> None:
    before = environment(platform)
    change(values, "rolled-forward")
    done(platform.house.inv(*DEPLOY))
    assert environment(platform) == "rolled-forward"
    done(platform.house.inv("rollback", "--environment", "local"))
    assert environment(platform) == before


def change(values: Path, environment: str) -> None:
    """Another value, which makes another revision and restarts the apps."""
    text = values.read_text(encoding="utf-8")
    changed = re.sub(r"(?m)^environment: .*$", f"environment: {environment}", text)
    assert changed != text
    values.write_text(changed, encoding="utf-8")


def environment(platform: Platform) -> str:
    """What the running pods of the API were told."""
    platform.cluster.settle()
    found = {
        entry["value"]
        for pod in platform.cluster.pods(API)
        for one in pod.manifest["spec"]["containers"]
        for entry in one.get("env", ())
        if entry["name"] == "ENVIRONMENT"
    }
    (only,) = found
    return str(only)


def children(pid: int, program: str) -> list[int]:
    """The processes below one that run a program."""
    found = processes()
    below = {pid}
    while more := {one for one, (parent, _name) in found.items() if parent in below} - below:
        below |= more
    return [one for one in below if found.get(one, (0, ""))[1].startswith(program)]


def processes() -> dict[int, tuple[int, str]]:
    """Every process of this machine, with its parent and its program's name."""
    if not Path("/proc/self/stat").exists():  # macOS
        listed = subprocess.run(["ps", "-ax", "-o", "pid=,ppid=,comm="], capture_output=True, text=True, check=True)
        lines = [line.split(None, 2) for line in listed.stdout.splitlines()]
        return {int(pid): (int(parent), Path(name).name) for pid, parent, name in lines}
    found = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            pid, _, rest = file.read_text(encoding="utf-8").partition(" (")
            name, _, more = rest.rpartition(") ")
            found[int(pid)] = (int(more.split()[1]), name)
    return found


def test_the_processes_below_this_one_are_found() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            wait_for("sleep to run", lambda: children(os.getpid(), "sleep") == [process.pid], seconds=10, every=0.1)
            assert children(process.pid, "no-such-program") == []
        finally:
            process.kill()
