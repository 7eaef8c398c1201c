"""Live objects are compared with the manifest of the deployed revision."""

from typing import Any

import pytest

from delivery.deploy import drifting
from delivery.deploy.drifting import find_drift
from delivery.deploy.manifests import Manifest
from delivery.deploy.selection import DeployRequest
from delivery.deploy.target import Target
from delivery.errors import DeployError
from delivery.project.declaration import Declaration
from tests.deploy.cluster import Cluster, target


def test_the_deployed_revision_is_what_counts(
    declaration: Declaration,
    cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def connect(_declaration: Declaration, name: str, _context: str) -> Target:
        return target(cluster, name)

    monkeypatch.setattr(drifting, "connect", connect)
    manifest = "kind: Service\nmetadata:\n  name: web\nspec:\n  type: ClusterIP\n"
    cluster.add("deployed", Manifest(manifest, ""))
    cluster.add("failed", Manifest("kind: Other\nmetadata:\n  name: other\n", ""))
    live: dict[str, Any] = {"kind": "Service", "metadata": {"name": "web"}, "spec": {}}
    cluster.live_objects = [live]
    request = DeployRequest("staging")
    assert drifting.rows(find_drift(declaration, request)) == [
        ("Service/web", "spec.type", "deleted", "ClusterIP", "", "", "")
    ]
    assert "compare with revision 2: 1 difference" in capsys.readouterr().out
    live["spec"] = {"type": "ClusterIP"}
    assert find_drift(declaration, request) == []
    cluster.revisions = []
    with pytest.raises(DeployError, match="nothing is deployed"):
        find_drift(declaration, request)
