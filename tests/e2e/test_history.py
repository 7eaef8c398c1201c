"""The ledger's records of two deploys, a rollback and a removal; test_pipeline.py has a failure's.

Images, helm and the ledger are real: an image has the same version in all records.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from delivery.project import files
from tests.e2e.cluster import wait_for
from tests.e2e.conftest import Say
from tests.e2e.pipelines import ENVIRONMENTS, Pipelines, machine_variables, upstream_base, use_base
from tests.e2e.platform import API, CONTEXT, Platform
from tests.integration import small

pytestmark = [pytest.mark.engine, pytest.mark.cluster]

LOCAL = "local"  # the only environment that takes unreleased sources
VERSION = re.compile(r"0\.1\.0-dev\.[0-9]+\+[0-9a-f]{7}")
API_REST, WORKER, CHART = COMPONENTS = ("api-rest", "async-worker", "platform-chart")


class History:
    """The sample project, and the ledger's records of its deploys."""

    def __init__(self, pipelines: Pipelines) -> None:
        self.pipelines = pipelines
        # A kept ledger has records of earlier runs.
        self._known = {event["id"] for event in self._events()}
        self._earlier = self._counts()

    def inv(self, *arguments: str) -> str:
        """Run a task; return its output."""
        environment = self.pipelines.environment
        code, output = self.pipelines.project.inv(*arguments, environment=environment)
        self.pipelines.say(output)
        assert code == 0, output
        return output

    def deploy(self, file: str) -> str:
        """Change the sources of api-rest, without a commit, and deploy them."""
        (self.pipelines.project.folder / API_REST / "file").write_text(file)
        return self.inv("deploy", "--version=current", "--timeout=120s")

    def new_records(self, count: int) -> list[tuple[str, str, str]]:
        """Component, status and version of the records since the last call, at least COUNT."""
        wait_for(f"{count} more events", lambda: len(self._new()) >= count, seconds=60)
        new = self._new()
        self._known |= {event["id"] for event in new}
        # Those of a component are in order; the order of the components may vary.
        new.sort(key=lambda event: COMPONENTS.index(event["component"]))
        return [(event["component"], event["status"], event["version"]) for event in new]

    def versions(self) -> dict[str, str]:
        """The deployed versions, as the ledger reports them."""
        return self.pipelines.versions(LOCAL)

    def counts(self) -> dict[str, tuple[int, int]]:
        """The deployments and failures of each component since the test began."""
        counts = {}
        for name, (deployments, failures) in self._counts().items():
            if name in COMPONENTS:  # the chart's test records an event, too
                before = self._earlier.get(name, (0, 0))
                counts[name] = (deployments - before[0], failures - before[1])
        return counts

    def _counts(self) -> dict[str, tuple[int, int]]:
        output = self.inv("records", "--json", f"--environment={LOCAL}")
        report, _ = json.JSONDecoder().raw_decode(output[output.index("{") :])
        return {row["component"]: (row["deployments"], row["failures"]) for row in report["dora"]}

    def _events(self) -> list[dict[str, Any]]:
        return self.pipelines.events(environment=LOCAL)

    def _new(self) -> list[dict[str, Any]]:
        return [event for event in self._events() if event["id"] not in self._known]


@pytest.fixture
def history(
    platform: Platform, tmp_path_factory: pytest.TempPathFactory, say: Say
) -> Iterator[History]:
    """The project, not deployed yet; its namespace is deleted after the test."""
    variables = platform.checkout.environment
    folder = tmp_path_factory.mktemp("history")
    run = uuid.uuid4().hex[:8]
    namespace = f"history-{run}"
    registry = f"{files.load_declaration().registry.address}/{namespace}"
    (folder / "project").mkdir()
    targets = dict.fromkeys((LOCAL, *ENVIRONMENTS), (CONTEXT, namespace))
    project = small.make(folder / "project", registry, targets)
    use_base(project.folder, upstream_base(variables))
    project.commit("build: use a base with Python")
    with platform.cluster.forwarded(f"deployment/{platform.name(API)}", 8000) as port:
        environment = {
            "DELIVERY_LEDGER": f"http://localhost:{port}",
            "DELIVERY_LEDGER_TOKEN": platform.token,
            "DELIVERY_OUTBOX": str(folder / "outbox"),
            "KUBECONFIG": str(platform.checkout.kubeconfig),
            **machine_variables(variables),
        }
        try:
            yield History(Pipelines(project, platform.cluster, folder, environment, {}, say))
        finally:
            platform.cluster.kubectl(
                "delete", "namespace", namespace, "--ignore-not-found", "--wait=false"
            )


def test_the_ledger_records_what_happened(history: History) -> None:
    history.deploy("a")
    records = history.new_records(6)
    assert [(name, status) for name, status, _ in records] == [
        (name, status) for name in COMPONENTS for status in ("started", "succeeded")
    ]
    first = {name: version for name, _, version in records}
    assert all(VERSION.fullmatch(version) for version in first.values()), first
    a, worker, chart = (first[name] for name in COMPONENTS)
    unchanged = [(WORKER, "succeeded", worker), (CHART, "succeeded", chart)]
    assert history.versions() == first
    assert history.counts() == dict.fromkeys(COMPONENTS, (1, 0))

    output = history.deploy("b")
    records = history.new_records(4)
    b = records[0][2]
    assert VERSION.fullmatch(b)
    assert b != a
    assert records == [(API_REST, "started", b), (API_REST, "succeeded", b), *unchanged]
    assert f": {API_REST} {a} → {b}, Deployment/platform-{API_REST}" in output
    assert history.versions() == {**first, API_REST: b}
    assert history.counts() == {API_REST: (2, 0), WORKER: (1, 0), CHART: (1, 0)}

    output = history.inv("rollback", "--environment", "local")
    records = history.new_records(5)
    # Both have the same time: either may come first.
    assert sorted(records[:3]) == sorted(
        [(API_REST, "started", a), (API_REST, "rolled-back", b), (API_REST, "succeeded", a)]
    )
    assert records[3:] == unchanged
    assert f": {API_REST} {a}, {WORKER} {worker}, {CHART} {chart}" in output
    assert history.versions() == first
    assert history.counts() == {API_REST: (1, 1), WORKER: (1, 0), CHART: (1, 0)}

    history.inv("undeploy", "--environment", "local")
    assert history.new_records(3) == [
        (API_REST, "removed", a),
        (WORKER, "removed", worker),
        (CHART, "removed", chart),
    ]
    assert history.versions() == {}
    assert history.counts() == {API_REST: (1, 1), WORKER: (1, 0), CHART: (1, 0)}
