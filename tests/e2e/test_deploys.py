"""The platform deployed again, unchanged and broken: the current version stays available.

tests/integration covers interrupted and concurrent deploys, with a sample chart.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Say
from tests.e2e.platform import API, DEPLOY, Authority, Platform, output_of
from tests.e2e.traffic import traffic
from tests.load.recording import failures, summarise, table

pytestmark = [pytest.mark.engine, pytest.mark.cluster]

# An app that logs an error and ends: the deploy's output must have that line.
ERROR = "cannot start: the flux capacitor is missing"
ENTRYPOINT = 'ENTRYPOINT ["/usr/bin/python3", "-m", "api_rest"]'
PROGRAM = f"import sys; print('{ERROR}', flush=True); sys.exit(3)"
BROKEN = f'ENTRYPOINT ["/usr/bin/python3", "-c", "{PROGRAM}"]'
EXIT_CODE = 8
UNCHANGED = "compare: nothing to do"


@pytest.fixture(autouse=True)
def _settled(platform: Platform) -> None:
    platform.cluster.settle()


@pytest.fixture
def broken(platform: Platform) -> Iterator[Path]:
    """The API's Dockerfile, broken while the test runs."""
    file = platform.checkout.folder / "api-rest" / "Dockerfile"
    before = file.read_text(encoding="utf-8")
    assert before.count(ENTRYPOINT) == 1
    file.write_text(before.replace(ENTRYPOINT, BROKEN), encoding="utf-8")
    yield file
    file.write_text(before, encoding="utf-8")


def test_the_same_release_again_changes_nothing(platform: Platform) -> None:
    cluster = platform.cluster
    pods, revisions = cluster.uids(), cluster.revisions()
    assert UNCHANGED in output_of(platform.checkout.inv(*DEPLOY))
    assert cluster.revisions() == revisions
    assert cluster.uids() == pods


def test_a_broken_image_is_reported_by_its_log_while_the_old_version_serves(
    platform: Platform, authority: Authority, broken: Path, say: Say
) -> None:
    image = platform.image(API)
    with traffic(platform, authority, "broken", "--rate", "20") as running:
        with running.phase("deploy of a broken image"):
            task = platform.checkout.inv(*DEPLOY)
        recording = running.finish()
    output = task.stdout
    say(output)
    say(table(summarise(recording, running.phases)))
    assert task.returncode == EXIT_CODE, f"{broken} must break it"
    assert 0 < output.find(ERROR) < output.find("✓ roll back to revision")
    assert max(map(int, re.findall(r"restarted (\d+) times", output))) >= 3
    assert "is deployed again" in output
    assert [str(failure) for failure in failures(recording, running.phases)] == []
    assert platform.image(API) == image
    assert platform.cluster.revisions()[-1]["status"] == "deployed"
