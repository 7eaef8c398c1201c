"""A version that answers 5 % of its requests with 500 is taken back; a healthy one is not."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.commands import running
from tests.e2e.cluster import wait_for
from tests.e2e.conftest import Say
from tests.e2e.platform import API, DEPLOY, Authority, Platform, output_of
from tests.e2e.traffic import traffic

pytestmark = [pytest.mark.engine, pytest.mark.cluster, pytest.mark.soak]

RESPOND = "            response = respond(arguments)\n"
# Of the load; the chart's tests ask for /health.
FLAKY = f"""{RESPOND}\
            if request.path != "/health" and not next(COUNT) % 20:
                response = HTTPResponse(status=500)
"""
COUNT = "\nimport itertools\n\nCOUNT = itertools.count(1)\n"
SOAK_SECONDS = 110

Change = Callable[[str], None]


@pytest.fixture
def change(platform: Platform) -> Iterator[Change]:
    """Change how the API answers, until the test ends; it gives a new version."""
    file = platform.checkout.folder / "api-rest" / "src" / "api_rest" / "answers.py"
    before = file.read_text(encoding="utf-8")
    assert before.count(RESPOND) == 1

    def write(respond: str) -> None:
        file.write_text(f"{before.replace(RESPOND, respond)}{COUNT}", encoding="utf-8")

    yield write
    file.write_text(before, encoding="utf-8")


def test_a_version_with_five_percent_of_errors_is_taken_back_within_two_minutes(
    platform: Platform, authority: Authority, change: Change, say: Say
) -> None:
    image, last = platform.image(API), platform.cluster.revisions()[-1]["revision"]
    change(FLAKY)
    with traffic(platform, authority, "soak", "--rate", "20"):
        task = platform.checkout.inv(*DEPLOY, "--soak", f"{SOAK_SECONDS}s")
    say(task.stdout)
    assert task.returncode == 8, task.stdout
    assert re.search(r"✓ helm test: \d passed", task.stdout)
    fired = r"api-rest answers ([\d.]+) % of \d+ requests with a server error"
    found = re.search(fired, task.stdout)
    assert found, task.stdout
    assert 2 < float(found[1]) < 10
    soak = re.search(rf"✗ soak for {SOAK_SECONDS} s \(([\d.]+) s\)", task.stdout)
    assert soak, task.stdout
    assert float(soak[1]) < SOAK_SECONDS
    assert "is deployed again" in task.stdout
    assert platform.image(API) == image
    assert platform.cluster.revisions()[-1]["revision"] == last + 2


def test_a_healthy_version_stays_under_the_same_load(
    platform: Platform, authority: Authority, change: Change, say: Say
) -> None:
    image = platform.image(API)
    change(RESPOND)
    with traffic(platform, authority, "soak", "--rate", "20"):
        output = output_of(platform.checkout.inv(*DEPLOY, "--soak", f"{SOAK_SECONDS}s"))
    say(output)
    done = re.search(rf"✓ soak for {SOAK_SECONDS} s: (\d+) requests, (\d+) server", output)
    assert done, output
    assert int(done[1]) > 1000
    assert platform.image(API) != image


def test_an_interrupted_soak_leaves_the_version_and_frees_the_lease(
    platform: Platform, change: Change, tmp_path: Path
) -> None:
    image = platform.image(API)
    change(f"{RESPOND}            # another version\n")
    log = tmp_path / "log"
    argv = [sys.executable, "-m", "delivery", *DEPLOY, "--soak", "10m"]
    checkout = platform.checkout
    with running(argv, checkout.folder, checkout.environment, log) as deploy:
        wait_for("the soak", lambda: "… soak for 600 s" in log.read_text(), seconds=300)
        lease = platform.cluster.get_one("lease", "platform-deploy")["spec"]
        assert f"pid {deploy.pid}" in lease["holderIdentity"]
        deploy.send_signal(signal.SIGINT)
        assert deploy.wait(60) == 130
    printed = log.read_text()
    assert "stays deployed on local" in printed
    assert "`./run inv rollback --environment local` goes back" in printed
    assert platform.image(API) != image
    assert not platform.cluster.get_one("lease", "platform-deploy")["spec"].get("holderIdentity")
    assert "nothing to do" in output_of(checkout.inv(*DEPLOY))
