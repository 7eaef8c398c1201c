"""What keeps an environment as it is to be: a freeze, and the job that reports drift."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace

import pytest
import requests

from tests.e2e.cluster import wait_for
from tests.e2e.platform import API, DEPLOY, Checkout, Platform, output_of

pytestmark = [pytest.mark.engine, pytest.mark.cluster]

ENVIRONMENT = ["--environment", "local"]
FROZEN = 11
DRIFTED = "differs from what was deployed"


@pytest.fixture
def informed(platform: Platform) -> Iterator[Checkout]:
    """The checkout, with the cluster's own ledger as its ledger."""
    platform.cluster.settle()
    with platform.cluster.forwarded(f"deployment/{platform.name(API)}", 8000) as port:
        variables = {
            "DELIVERY_LEDGER": f"http://localhost:{port}",
            "DELIVERY_LEDGER_TOKEN": platform.token,
        }
        yield replace(platform.checkout, environment={**platform.checkout.environment, **variables})


@pytest.fixture
def _deployed(platform: Platform) -> None:
    """What inv deploy deploys, so that the next one restarts no pod."""
    output_of(platform.checkout.inv(*DEPLOY))


@pytest.mark.usefixtures("_deployed")
def test_a_frozen_environment_is_deployed_to_only_with_a_reason(
    platform: Platform, informed: Checkout
) -> None:
    revisions = platform.cluster.revisions()
    until = ("--until", "2999-12-26T08:00", "--reason", "a busy week")
    output_of(informed.inv("freeze", *ENVIRONMENT, *until))
    try:
        frozen = informed.inv(*DEPLOY)
        assert frozen.returncode == FROZEN, frozen.stdout
        assert "it is frozen until 2999-12-26 08:00" in frozen.stdout
        assert "a busy week" in frozen.stdout
        assert platform.cluster.revisions() == revisions
        deployed = output_of(informed.inv(*DEPLOY, "--override", "payments fail"))
        assert "deployed nevertheless: payments fail" in deployed
    finally:
        output_of(informed.inv("unfreeze", *ENVIRONMENT))
    assert "nothing is frozen" in output_of(informed.inv("freezes"))
    output_of(informed.inv(*DEPLOY))


@pytest.fixture
def _job(platform: Platform) -> Iterator[None]:
    """The chart's job that reports drift, which runs only when a test starts it."""
    platform.upgrade("drift.enabled=true", "drift.schedule=0 0 1 1 *")
    platform.cluster.settle()
    yield
    platform.upgrade("drift.enabled=false")
    platform.cluster.settle()


def report(platform: Platform) -> None:
    """Run the job once."""
    cluster, job = platform.cluster, f"e2e-drift-{uuid.uuid4().hex[:8]}"
    cluster.kubectl("create", "job", job, f"--from=cronjob/{platform.name('drift')}")
    cluster.kubectl("wait", f"job/{job}", "--for=condition=Complete", "--timeout=90s")
    cluster.kubectl("delete", f"job/{job}")


@pytest.mark.usefixtures("_job")
def test_the_job_reports_a_change_by_hand_to_the_ledger_until_it_is_mended(
    platform: Platform, informed: Checkout
) -> None:
    address = informed.environment["DELIVERY_LEDGER"]

    def shows(path: str, text: str) -> bool:
        return text in requests.get(f"{address}{path}", timeout=10).text

    assert not shows("/", DRIFTED)
    with platform.changed_by_hand("app.kubernetes.io/part-of"):
        report(platform)
        wait_for("the page to show drift", lambda: shows("/", DRIFTED))
        assert shows("/", f"Service/{platform.name(API)}")
        assert shows("/", "kubectl-label")
        metric = 'api_rest_drifted_fields{environment="local"} 1'
        wait_for("the metric of drift", lambda: shows("/metrics", metric))
    report(platform)
    wait_for("the page to show none", lambda: not shows("/", DRIFTED))
