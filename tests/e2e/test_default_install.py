"""The load that the default install carries: two pods of the API at 250 millicores, values-local.

`./run nox -s e2e -- -m figure --load 100` takes five minutes after the install.
"""

from __future__ import annotations

import time

import pytest

from delivery.project.files import ROOT
from tests.e2e.conftest import Say
from tests.e2e.ledger import compare
from tests.e2e.platform import Authority, Platform
from tests.e2e.traffic import traffic
from tests.load.recording import failures, summarise, table

pytestmark = [pytest.mark.engine, pytest.mark.cluster, pytest.mark.figure]

SECONDS = 300


def test_no_request_fails_and_every_event_is_stored_once(
    platform: Platform, authority: Authority, rate: float, say: Say
) -> None:
    platform.upgrade(files=[ROOT / "platform-chart" / "values-local.yaml"])
    platform.cluster.settle()
    options = ("--rate", str(rate), "--slow-every", "0")
    with traffic(platform, authority, "default-load", *options) as running:
        with running.phase("default install"):
            time.sleep(SECONDS)
        recording = running.finish()
    say(table(summarise(recording, running.phases)))
    assert [str(failure) for failure in failures(recording, running.phases)] == []
    verdict = compare(platform.cluster, recording, running.run)
    assert verdict.findings == (), verdict.describe()
