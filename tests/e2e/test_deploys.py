"""The platform deployed again, unchanged and broken: what serves goes on serving.

What a deploy does when it is cut off, or beside another one, tests/integration proves with a small
chart.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Say
from tests.e2e.platform import API, DEPLOY, Authority, Platform, done
from tests.e2e.traffic import traffic
from tests.load.recording import failures, summarise, table

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


@pytest.fixture
def broken(platform: Platform) -> Iterator[Path]:
    """The API's image as a developer breaks it; whole again afterwards for whoever deploys next."""
    file = platform.checkout.folder / "api-rest" / "Dockerfile"
    before = file.read_text(encoding="utf-8")
    assert before.count(ENTRYPOINT) == 1
    file.write_text(before.replace(ENTRYPOINT, BROKEN), encoding="utf-8")
    yield file
    file.write_text(before, encoding="utf-8")


def test_the_same_release_again_changes_nothing(platform: Platform, say: Say) -> None:
    cluster = platform.cluster
    pods, revisions = cluster.uids(), cluster.revisions()
    since = time.monotonic()
    told = done(platform.checkout.inv(*DEPLOY))
    say(f"the same release again: {time.monotonic() - since:.1f} s")
    assert UNCHANGED in told
    assert cluster.revisions() == revisions
    assert cluster.uids() == pods


def test_a_broken_image_is_told_by_its_own_last_words_while_the_old_version_serves(
    platform: Platform, authority: Authority, broken: Path, say: Say
) -> None:
    image = platform.image(API)
    (node,) = platform.cluster.nodes()
    options = ["--name", platform.host, "--run", f"broken-{uuid.uuid4().hex[:8]}", "--rate", "20"]
    with traffic(
        platform.cluster, "broken", image, node, authority.certificate, options
    ) as running:
        since = time.monotonic()
        with running.phase("deploy of a broken image"):
            task = platform.checkout.inv(*DEPLOY)
        say(f"the deploy of a broken image: {time.monotonic() - since:.0f} s")
        recording = running.finish()
    say(task.stdout)
    say(table(summarise(recording, running.phases)))
    assert task.returncode == EXIT_CODE, f"{broken} is to break it"
    shown, rolled_back = task.stdout.find(LAST_WORDS), task.stdout.find("✓ roll back to revision")
    assert 0 < shown < rolled_back
    assert "died 3 times" in task.stdout
    assert "serves on" in task.stdout
    assert [str(one) for one in failures(recording, running.phases)] == []
    assert platform.image(API) == image
    assert platform.cluster.revisions()[-1]["status"] == "deployed"
