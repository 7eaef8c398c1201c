"""How long it takes to deploy what is deployed already, beside Helm's own ways to see or do that.

`./run nox -s e2e -- -m figure -k unchanged`; HELM_DIFF: a binary of helm-diff, if any.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable

import pytest

from tests.e2e.conftest import Say
from tests.e2e.platform import DEPLOY, Platform, output_of

pytestmark = [pytest.mark.engine, pytest.mark.cluster, pytest.mark.figure]

ROUNDS = 7
DRY_RUN = "--dry-run=server"


def seconds(run: Callable[[], object]) -> list[float]:
    """How long each of some runs takes."""
    taken = []
    for _ in range(ROUNDS):
        since = time.monotonic()
        run()
        taken.append(time.monotonic() - since)
    return taken


def test_a_deploy_that_changes_nothing_beside_helm(platform: Platform, say: Say) -> None:
    cluster = platform.cluster
    cluster.settle()
    output_of(platform.checkout.inv(*DEPLOY))
    deploys = seconds(lambda: output_of(platform.checkout.inv(*DEPLOY)))
    assert "compare: nothing to do" in output_of(platform.checkout.inv(*DEPLOY))

    chart = str(platform.checkout.folder / "platform-chart")
    upgrade = ("upgrade", cluster.release, chart, "--reuse-values")
    rows = [("inv deploy", deploys)]
    if plugin := os.environ.get("HELM_DIFF"):
        environment = {
            **platform.checkout.environment,
            "HELM_BIN": cluster.programs["helm"],
            "HELM_NAMESPACE": cluster.namespace,
        }
        argv = [plugin, *upgrade, "--three-way-merge"]
        rows.append(
            (
                "helm diff upgrade --three-way-merge",
                seconds(lambda: subprocess.run(argv, env=environment, check=True)),
            )
        )
    rows += [
        ("helm upgrade --dry-run=server", seconds(lambda: cluster.helm(*upgrade, DRY_RUN))),
        ("helm upgrade --wait", seconds(lambda: cluster.helm(*upgrade, "--wait"))),
    ]
    for name, taken in rows:
        each = f"{min(taken):.2f} | {statistics.median(taken):.2f} | {max(taken):.2f}"
        say(f"| {name} | {each} |")
