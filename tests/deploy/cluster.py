"""A cluster with helm, in memory, for the tests of a deploy."""

import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self, cast

import pytest

from delivery.deploy import follow, leases
from delivery.deploy.helm import ChartFiles, Helm, Watcher
from delivery.deploy.history import History, Revision
from delivery.deploy.lock import Lock
from delivery.deploy.manifests import Manifest, objects
from delivery.deploy.target import Target
from delivery.errors import CommandError
from delivery.project.declaration import Environment
from delivery.project.keys import File
from delivery.release import chart_package

OLD = Manifest("kind: Old\nmetadata:\n  name: old\n", "")
NEW = Manifest("kind: New\nmetadata:\n  name: new\n", "")
CHART = Path("platform-chart")
LONG_AGO = datetime.now(UTC) - timedelta(hours=1)
NOW = datetime.now(UTC).replace(microsecond=0)


class Cluster:
    """Helm, a namespace and a lock in one."""

    def __init__(self) -> None:
        self.done: list[str] = []  # every change, in order
        self.revisions: list[Revision] = []
        self.manifests: dict[int, Manifest] = {}
        self.rendered = NEW
        self.fails: dict[str, CommandError | follow.RolloutError] = {}  # once, by command
        self.live_objects: list[dict[str, Any]] = []
        self.applied: list[dict[str, Any]] = []  # what a dry run returns; else a Service
        self.previews: list[bool] = []  # whether each was for an upgrade
        self.managers: list[str] = []  # the field managers of the dry runs
        self.field_manager = "helm"
        self.created: dict[tuple[str, str], dict[str, Any]] = {}
        self.left: dict[str, list[str]] = {}  # by kind, what an uninstall leaves
        self.namespaces: dict[str, dict[str, Any]] = {
            "platform": labelled("pod-security.kubernetes.io/enforce")
        }
        self.lease: dict[str, Any] | None = None
        self.claims: list[dict[str, Any]] = []
        self.dead_holder: leases.Holder | None = None
        self.lock = Lock("platform-deploy", None)
        self.namespace = "platform"
        self.context = "kind-sample"
        self.chart = Path()
        self.values_text = ""
        self.images: dict[str, Any] = {}
        image = {"repository": "localhost:5001/api-rest", "digest": "sha256:a"}
        self.deployed_images: dict[str, Any] = {"api-rest": {"image": image}}

    def add(
        self, status: str, manifest: Manifest, updated: datetime = LONG_AGO, description: str = ""
    ) -> None:
        number = len(self.revisions) + 1
        self.revisions.append(Revision(number, status, updated, "platform-0.1.0", description))
        self.manifests[number] = manifest

    @property
    def kubernetes(self) -> Self:
        return self

    # Helm
    def history(self) -> History:
        return History(tuple(map(self._stored, self.revisions)))

    def _stored(self, revision: Revision) -> Revision:
        values = {"components": {**self.deployed_images, "other": {}}}
        return replace(revision, manifest=self.manifests[revision.number], values=values)

    def preview(self, _files: ChartFiles, *, is_upgrade: bool) -> Manifest:
        self.previews.append(is_upgrade)
        self._may_fail("preview")
        return self.rendered

    def upgrade(
        self, files: ChartFiles, *, description: str, seconds: int, watcher: Watcher
    ) -> None:
        assert seconds
        environment, images = files.values
        self.chart, self.values_text = files.chart, environment.read_text()
        self.images = json.loads(images.read_text()).get("components", {})
        self.done.append("upgrade")
        error = self.fails.get("upgrade")
        killed = isinstance(error, CommandError) and error.returncode < 0
        status = "pending-upgrade" if killed else "failed" if error else "deployed"
        self.add(status, self.rendered, datetime.now(UTC), description)
        watcher.tick()
        self._may_fail("upgrade")

    def rollback(self, revision: int, *, seconds: int, watcher: Watcher) -> None:
        assert seconds
        watcher.tick()
        self.done.append(f"rollback {revision}")
        self._may_fail("rollback")
        self.add("deployed", self.manifests[revision], datetime.now(UTC), f"Rollback to {revision}")

    def uninstall(self, *, seconds: int, watcher: Watcher) -> None:
        assert seconds
        watcher.tick()
        self._may_fail("uninstall")
        self.done.append("uninstall")

    def test(self, *, seconds: int, watcher: Watcher) -> None:
        assert seconds
        self.done.append("test")
        watcher.on_line("Phase: Succeeded\n")
        self._may_fail("test")

    def notes(self) -> str:
        return "Say hello."

    def values(self, _revision: int) -> dict[str, Any]:
        return {}

    # Kubernetes
    def within(self, _seconds: float) -> "Cluster":
        return self

    def find(self, kind: str, name: str) -> dict[str, Any] | None:
        if kind == "Lease":
            return self.lease
        if name == "platform-token":
            return None
        if kind == "secret":  # of helm's last revision
            assert name == f"sh.helm.release.v1.platform.v{self.revisions[-1].number}"
            return {"metadata": {"creationTimestamp": self.revisions[-1].updated.isoformat()}}
        return self.namespaces.get(name)

    def create_objects(self, manifest: str) -> None:
        """Put a manifest's objects into the cluster."""
        for kind, name in objects(manifest):
            metadata = {"name": name, "creationTimestamp": NOW.isoformat()}
            self.created[kind, name] = {"kind": kind, "metadata": metadata}

    def create(self, resource: dict[str, Any]) -> None:
        metadata = resource["metadata"]
        self.done.append(f"create {metadata['name']} {metadata['labels']}")

    def delete(self, kind: str, names: list[str]) -> None:
        if names:
            self.done.append(f"delete {kind} {' '.join(names)}")
        if kind == "secret":
            assert names == [f"sh.helm.release.v1.platform.v{self.revisions[-1].number}"]
            self.revisions.pop()

    def dry_run(
        self, _manifest: str, manager: str, *, validate: bool = True
    ) -> list[dict[str, Any]]:
        del validate
        self._may_fail("dry run")
        self.managers.append(manager)
        if self.applied:
            return self.applied
        metadata = {"name": "web", "creationTimestamp": LONG_AGO.isoformat()}
        return [{"kind": "Service", "metadata": metadata}]

    def live(self, manifest: str, *, managed: bool = False) -> list[dict[str, Any]]:
        del managed
        created = [self.created[key] for key in objects(manifest) if key in self.created]
        return [*self.live_objects, *created]

    def all(self, kind: str, _selector: str = "") -> list[dict[str, Any]]:
        if kind == "persistentvolumeclaims" and self.claims:
            return self.claims
        return [{"metadata": {"name": name}} for name in self.left.get(kind, [])]

    def patch(self, kind: str, name: str, change: dict[str, Any]) -> None:
        self.done.append(f"patch {kind} {name} {json.dumps(change)}")
        self._may_fail("patch")

    def _may_fail(self, command: str) -> None:
        if error := self.fails.pop(command, None):
            raise error


class Terminal:
    """A user at a terminal who gives these answers, and then closes it; at first there is none."""

    def __init__(self) -> None:
        self.is_open = False
        self.left: list[str] = []

    def answer(self, *texts: str) -> None:
        self.is_open, self.left = True, list(texts)

    def read(self, _prompt: str) -> str:
        if not self.left:
            raise EOFError
        return self.left.pop(0)


def with_small_claim(cluster: Cluster) -> Cluster:
    """The cluster, with a StatefulSet that is rendered with a larger size than its claim has."""
    metadata = "{name: platform-kafka, annotations: {platform/claim-data: 10Gi}}"
    cluster.rendered = Manifest(f"kind: StatefulSet\nmetadata: {metadata}\n", "")
    requests = {"storage": "8Gi"}
    claim = {"metadata": {"name": "data-platform-kafka-0"}, "spec": {}}
    cluster.claims = [{**claim, "spec": {"resources": {"requests": requests}}}]
    return cluster


def labelled(*labels: str) -> dict[str, Any]:
    return {"metadata": {"labels": dict.fromkeys(labels, "restricted")}}


def lease(holder: str) -> dict[str, Any]:
    """The Lease of the lock, with this holder."""
    metadata = {"name": "platform-deploy", "resourceVersion": "1"}
    return {"kind": "Lease", "metadata": metadata, "spec": {"holderIdentity": holder}}


def failed(tail: str = "Error: UPGRADE FAILED: oh no", returncode: int = 1) -> CommandError:
    return CommandError("cannot deploy platform", argv=["helm"], returncode=returncode, tail=tail)


def target(cluster: Cluster, name: str = "local", **declared: object) -> Target:
    """The target that this cluster is; declared are further keys of its environment."""
    values = {"values": "platform-chart/values-local.yaml", **declared}
    environment = Environment.model_validate(
        {"contexts": ["kind-sample"], "namespace": "platform", **values}
    )
    return Target(name, environment, cast("Helm", cluster))


def lose_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let so much time pass without a renewal that the lease is lost."""
    now = time.monotonic() + leases.RENEW_DEADLINE_SECONDS
    monkeypatch.setattr(time, "monotonic", lambda: now)


def packed(root: Path, *names: str) -> bytes:
    """A packaged chart whose files say that they come from the package."""
    folder = root / "package"
    folder.mkdir()
    (folder / "Chart.yaml").write_text("name: platform\nversion: 1.0.0\n")
    for name in names:
        (folder / name).write_text("of: the package\n")
    return chart_package.package(
        folder, [File(name, "644", "") for name in ("Chart.yaml", *names)], {}, epoch=0
    )
