"""The records of several deploys, and the DORA figures: an image keeps its name throughout.

tests/e2e/test_history.py does the same on a real cluster, and reads the ledger.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from delivery.deploy import deploying, follow, inventory, locked_target, removal, reverting
from delivery.deploy.helm import ChartFiles, Watcher
from delivery.deploy.lock import Lock
from delivery.deploy.manifests import Manifest
from delivery.deploy.target import Target
from delivery.dora import metrics
from delivery.errors import DeployError
from delivery.host import engines
from delivery.project import files
from delivery.project.declaration import Environment, parse
from delivery.records import outbox
from delivery.registry import mirroring
from delivery.release import releasing
from delivery.release.released import Release, ReleasedPart
from delivery.tasks import deploy
from tests.conftest import DECLARATION
from tests.deploy.cluster import Cluster, failed
from tests.tasks.running import run

APPS = ("api-rest", "async-worker")
TWO_APPS = DECLARATION.replace(
    "[chart]", '[images.async-worker]\ncontext = "async-worker"\nbase = "base-image"\n[chart]'
).replace('folders = ["api-rest"]', 'folders = ["api-rest", "async-worker"]')


class ScenarioCluster(Cluster):
    """A cluster whose releases are their values; it starts empty."""

    crashes = ""  # an image that does not run

    def preview(self, files: ChartFiles) -> Manifest:
        values = json.loads(files.values[-1].read_text())
        texts = [
            f"{{kind: Deployment, metadata: {{name: platform-{name}}}, image: {json.dumps(part)}}}"
            for name, part in values["components"].items()
        ]
        self.rendered = Manifest("\n---\n".join(texts), "")
        return self.rendered

    def upgrade(
        self, files: ChartFiles, *, description: str, seconds: int, watcher: Watcher
    ) -> None:
        text = files.values[-1].read_text()
        self.values_of[len(self.revisions) + 1] = json.loads(text)
        if self.crashes and self.crashes in text:
            self.fails["upgrade"] = failed("Error: UPGRADE FAILED: it crashes")
        self.preview(files)
        super().upgrade(files, description=description, seconds=seconds, watcher=watcher)

    def rollback(self, revision: int, *, seconds: int, watcher: Watcher) -> None:
        super().rollback(revision, seconds=seconds, watcher=watcher)
        self.values_of[len(self.revisions)] = self.values_of[revision]

    def uninstall(self, *, seconds: int, watcher: Watcher) -> None:
        super().uninstall(seconds=seconds, watcher=watcher)
        self.revisions.clear()


class Clone:
    """The tasks, in a clone with these sources."""

    def __init__(self) -> None:
        self.cluster = ScenarioCluster()
        self.sources: dict[str, str] = {}
        self.versions: dict[str, str] = {}
        self._seen = 0

    def deploy(self, number: int, **sources: str) -> None:
        """Deploy sources, each a letter, that the plan calls 0.1.0-dev.number."""
        self.sources = {name.replace("_", "-"): letter for name, letter in sources.items()}
        self.versions = dict.fromkeys((*APPS, "platform-chart"), f"0.1.0-dev.{number}")
        run(deploy.deploy, version="current")

    def made(self) -> Release:
        return Release(
            {
                name: ReleasedPart(f"localhost:5001/{name}", letter * 32, f"sha256:{letter * 64}")
                for name, letter in self.sources.items()
            }
        )

    def new_records(self) -> list[tuple[str, str, str]]:
        """The new records: component, status, version without its number."""
        events = [each.event for each in outbox.waiting()]
        new, self._seen = events[self._seen :], len(events)
        return [
            (each["component"], each["status"], each["version"].partition("0.1.0-dev.")[2])
            for each in new
        ]

    def figures(self) -> dict[str, tuple[int, int]]:
        """The deployments and the failures of each component."""
        now = datetime.now(UTC)
        events = [each.event for each in outbox.waiting()]
        figures = metrics.figures(events, now - timedelta(1), now)
        return {figure.component: (figure.deployments, figure.failures) for figure in figures}


@pytest.fixture
def clone(sample: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Clone:
    """A clone that has deployed nothing to local yet."""
    (sample / "async-worker").mkdir()
    (sample / "values.yaml").touch()
    declared = parse(TWO_APPS, is_folder=lambda _path: True, is_file=lambda _path: True)
    local = Environment(contexts=("kind-sample",), namespace="platform", values="values.yaml")
    declared = declared.model_copy(update={"environments": {"local": local}})
    made = Clone()
    there = Target("local", local, cast("Any", made.cluster), cast("Any", made.cluster))

    @contextmanager
    def acquire(*_: object, **__: object) -> Iterator[Lock]:
        yield Lock("platform-deploy", None)

    def decided(_declaration: object) -> Mapping[str, str]:
        return made.versions

    monkeypatch.setattr(files, "load_declaration", lambda: declared)
    for module in (deploying, reverting, removal):
        monkeypatch.setattr(module, "connect", lambda *_: there)
    monkeypatch.setattr(deploying, "deploy", functools.partial(deploying.deploy, root=sample))
    monkeypatch.setattr(locked_target, "acquire", acquire)
    monkeypatch.setattr(follow, "report", lambda *_: None)
    monkeypatch.setattr(follow.Watch, "check", lambda _self: True)
    monkeypatch.setattr(engines, "ensure", lambda: cast("Any", None))
    monkeypatch.setattr(releasing, "ensure_images", lambda *_: made.made())
    monkeypatch.setattr(mirroring, "mirror", lambda *_: {})
    monkeypatch.setattr(inventory, "ROOT", sample)
    monkeypatch.setattr(inventory, "_next_versions", decided)
    monkeypatch.setenv("DELIVERY_OUTBOX", str(tmp_path / "outbox"))
    monkeypatch.setenv("DELIVERY_LEDGER", "http://localhost:1")
    return made


def test_deploys_a_rollback_a_crash_and_a_removal_are_recorded_under_one_name_for_each_image(
    clone: Clone, sample: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clone.deploy(1, api_rest="a", async_worker="e")
    chart = clone.new_records()[2][2]
    a, b, worker = "1+aaaaaaa", "2+bbbbbbb", "1+eeeeeee"
    assert clone.figures() == dict.fromkeys((*APPS, "platform-chart"), (1, 0))

    clone.deploy(2, api_rest="b", async_worker="e")
    assert clone.new_records() == [
        ("api-rest", "started", b),
        ("api-rest", "succeeded", b),
        ("async-worker", "succeeded", worker),
        ("platform-chart", "succeeded", chart),
    ]
    assert (
        f"api-rest 0.1.0-dev.{a} → 0.1.0-dev.{b}, Deployment/platform-api-rest ("
        in capsys.readouterr().out
    )
    assert clone.figures() == {"api-rest": (2, 0), "async-worker": (1, 0), "platform-chart": (1, 0)}

    run(deploy.rollback, environment="local")
    assert clone.new_records() == [
        ("api-rest", "started", a),
        ("api-rest", "rolled-back", b),
        ("api-rest", "succeeded", a),
        ("async-worker", "succeeded", worker),
        ("platform-chart", "succeeded", chart),
    ]
    assert clone.figures() == {"api-rest": (1, 1), "async-worker": (1, 0), "platform-chart": (1, 0)}

    clone.cluster.crashes = "c" * 64
    with pytest.raises(DeployError):
        clone.deploy(3, api_rest="c", async_worker="e")
    assert clone.new_records() == [
        ("api-rest", "started", "3+ccccccc"),
        ("api-rest", "failed", "3+ccccccc"),
        ("api-rest", "rolled-back", "3+ccccccc"),
    ]
    assert clone.figures() == {"api-rest": (1, 2), "async-worker": (1, 0), "platform-chart": (1, 0)}

    (sample / "platform-chart" / "values.yaml").write_text("more: true\n")
    clone.deploy(4, api_rest="d", async_worker="e")
    (new_chart,) = {version for name, _, version in clone.new_records() if name == "platform-chart"}
    assert new_chart.startswith("4+")
    assert clone.figures() == {"api-rest": (2, 2), "async-worker": (1, 0), "platform-chart": (2, 0)}

    run(deploy.undeploy, environment="local")
    assert clone.new_records() == [
        ("api-rest", "removed", "4+ddddddd"),
        ("async-worker", "removed", worker),
        ("platform-chart", "removed", new_chart),
    ]
    assert clone.figures() == {"api-rest": (2, 2), "async-worker": (1, 0), "platform-chart": (2, 0)}
