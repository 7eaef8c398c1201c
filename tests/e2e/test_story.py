"""What the ledger says of one story: deploy, deploy, rollback, crash, the same again, undeploy.

The images are real, and so are helm's history and the ledger: the same image has one name in all of
it. tests/tasks/test_story.py is the same with a helm that is none.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from delivery.platform import lifecycle
from delivery.project import files
from tests.e2e.cluster import wait_for
from tests.e2e.conftest import Say
from tests.e2e.platform import API, Platform
from tests.e2e.shop import ENVIRONMENTS, Shop, base_of, docker, stand_on
from tests.integration import small

pytestmark = [pytest.mark.engine, pytest.mark.cluster]

CONTEXT = "kind-delivery-e2e"
LOCAL = "local"  # the only one that takes what is no release
NAME = re.compile(r"0\.1\.0-dev\.[0-9]+\+[0-9a-f]{7}")
API_REST, WORKER, CHART = COMPONENTS = ("api-rest", "async-worker", "platform-chart")
DOCKERFILE = "FROM base-image\nCOPY file /api-rest\n"
# Python that does not find itself ends at once.
CRASHING = f"{DOCKERFILE}ENV PYTHONHOME=/nowhere\n"
# What leads to this machine's engine, and to the cluster.
_OWN = (
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DELIVERY_BUILD_CA",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
    "XDG_CACHE_HOME",
)


class Story:
    """The small project, and what the ledger has been told of its deploys since it began."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        # A ledger that an earlier run left knows of another story.
        self._seen = {event["id"] for event in self._stored()}
        self._before = self._figures()

    def write(self, file: str, dockerfile: str = DOCKERFILE) -> None:
        """Change the sources of api-rest, and commit nothing."""
        folder = self.shop.project.folder / API_REST
        (folder / "file").write_text(file)
        (folder / "Dockerfile").write_text(dockerfile)

    def inv(self, *arguments: str, code: int = 0) -> str:
        """Run a task that ends with this code; what it printed."""
        ended, printed = self.shop.project.inv(*arguments, environment=self.shop.environment)
        self.shop.say(printed)
        assert ended == code, printed
        return printed

    def deploy(self, *, code: int = 0) -> str:
        """Deploy the sources as they are."""
        return self.inv("deploy", "--version=current", "--timeout=120s", code=code)

    def told(self, count: int) -> list[tuple[str, str, str]]:
        """The component, status and version of the events since the last time, once so many are stored."""
        wait_for(f"{count} more events", lambda: len(self._new()) >= count, seconds=60)
        found = self._new()
        self._seen |= {event["id"] for event in found}
        # Each component's are in order; which component's are stored first is nobody's to say.
        found.sort(key=lambda event: COMPONENTS.index(event["component"]))
        return [(event["component"], event["status"], event["version"]) for event in found]

    def runs(self) -> dict[str, str]:
        """What the ledger says runs."""
        return self.shop.runs(LOCAL)

    def figures(self) -> dict[str, tuple[int, int]]:
        """The deployments and the failures of each component since the story began."""
        none, now = (0, 0), self._figures()
        before = {name: self._before.get(name, none) for name in now}
        return {
            name: (deployments - before[name][0], failures - before[name][1])
            for name, (deployments, failures) in now.items()
            if name in COMPONENTS  # the chart's own test records an event, too
        }

    def _figures(self) -> dict[str, tuple[int, int]]:
        printed = self.inv("records", "--json", f"--environment={LOCAL}")
        told, _ = json.JSONDecoder().raw_decode(printed[printed.index("{") :])
        return {one["component"]: (one["deployments"], one["failures"]) for one in told["dora"]}

    def _stored(self) -> list[dict[str, Any]]:
        return self.shop.stored(environment=LOCAL)

    def _new(self) -> list[dict[str, Any]]:
        return [event for event in self._stored() if event["id"] not in self._seen]


@pytest.fixture
def story(
    platform: Platform, tmp_path_factory: pytest.TempPathFactory, say: Say
) -> Iterator[Story]:
    """The project with nothing deployed yet; its namespace is gone again afterwards."""
    released = lifecycle.released()
    assert released, "`./run inv images.ensure` comes first"
    kept = platform.checkout.environment
    folder = tmp_path_factory.mktemp("story")
    run = uuid.uuid4().hex[:8]
    namespace = f"story-{run}"
    registry = f"{files.load_declaration().registry.address}/{namespace}"
    (folder / "project").mkdir()
    places = dict.fromkeys((LOCAL, *ENVIRONMENTS), (CONTEXT, namespace))
    project = small.make(folder / "project", registry, places)
    stand_on(project.folder, base_of(released, docker(kept)))
    project.commit("build: stand on an image with Python")
    with platform.cluster.forwarded(f"deployment/{platform.name(API)}", 8000) as port:
        environment = {
            "DELIVERY_LEDGER": f"http://localhost:{port}",
            "DELIVERY_OUTBOX": str(folder / "outbox"),
            "KUBECONFIG": str(platform.checkout.kubeconfig),
            **{name: kept[name] for name in _OWN if name in kept},
        }
        try:
            yield Story(Shop(project, platform.cluster, folder, environment, {}, say))
        finally:
            platform.cluster.kubectl(
                "delete", "namespace", namespace, "--ignore-not-found", "--wait=false"
            )


def test_the_ledger_tells_the_truth_about_a_story(story: Story) -> None:
    story.write("a")
    story.deploy()
    told = story.told(6)
    assert [(name, status) for name, status, _ in told] == [
        (name, status) for name in COMPONENTS for status in ("started", "succeeded")
    ]
    first = {name: version for name, _, version in told}
    assert all(NAME.fullmatch(version) for version in first.values()), first
    a, worker, chart = (first[name] for name in COMPONENTS)
    unchanged = [(WORKER, "succeeded", worker), (CHART, "succeeded", chart)]
    assert story.runs() == first
    assert story.figures() == dict.fromkeys(COMPONENTS, (1, 0))

    story.write("b")
    printed = story.deploy()
    told = story.told(4)
    b = told[0][2]
    assert NAME.fullmatch(b)
    assert b != a
    assert told == [(API_REST, "started", b), (API_REST, "succeeded", b), *unchanged]
    assert f": {API_REST} {a} → {b}, Deployment/platform-{API_REST}" in printed
    assert story.runs() == {**first, API_REST: b}
    assert story.figures() == {API_REST: (2, 0), WORKER: (1, 0), CHART: (1, 0)}

    printed = story.inv("rollback", "--environment", "local")
    told = story.told(5)
    # Both are of one moment, so that either may come first.
    assert sorted(told[:3]) == sorted(
        [(API_REST, "started", a), (API_REST, "rolled-back", b), (API_REST, "succeeded", a)]
    )
    assert told[3:] == unchanged
    assert f": {API_REST} {a}, {WORKER} {worker}, {CHART} {chart}" in printed
    assert story.runs() == first
    assert story.figures() == {API_REST: (1, 1), WORKER: (1, 0), CHART: (1, 0)}

    story.write("c", CRASHING)
    story.deploy(code=8)
    told = story.told(3)
    c = told[0][2]
    assert NAME.fullmatch(c)
    assert told[0] == (API_REST, "started", c)
    assert sorted(told[1:]) == [(API_REST, "failed", c), (API_REST, "rolled-back", c)]
    assert story.runs() == first
    assert story.figures() == {API_REST: (1, 2), WORKER: (1, 0), CHART: (1, 0)}

    story.write("b")  # the same bytes have the same name
    story.deploy()
    assert story.told(4) == [(API_REST, "started", b), (API_REST, "succeeded", b), *unchanged]
    assert story.runs() == {**first, API_REST: b}
    assert story.figures() == {API_REST: (2, 2), WORKER: (1, 0), CHART: (1, 0)}

    story.inv("undeploy", "--environment", "local")
    assert story.told(3) == [
        (API_REST, "removed", b),
        (WORKER, "removed", worker),
        (CHART, "removed", chart),
    ]
    assert story.runs() == {}
    assert story.figures() == {API_REST: (2, 2), WORKER: (1, 0), CHART: (1, 0)}
