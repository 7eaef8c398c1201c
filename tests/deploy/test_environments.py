"""Each cluster of the kubeconfig is asked what is deployed, if it answers."""

from datetime import UTC, datetime
from typing import Any

import pytest

from delivery.deploy import environments, helm, kubectl
from delivery.deploy.helm import Helm
from delivery.deploy.history import History, Revision
from delivery.deploy.kubectl import Kubernetes
from delivery.errors import DeployError
from delivery.host import programs
from delivery.project.declaration import Declaration

AT = datetime(2026, 11, 28, 12, 0, 0, tzinfo=UTC)
READY = {
    "kind": "Deployment",
    "metadata": {"name": "platform-api-rest", "generation": 1},
    "spec": {"replicas": 2},
    "status": {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 1},
}


@pytest.fixture(autouse=True)
def cluster(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Contexts of a cluster with a release, without a release, and without an answer."""
    known = ["develop", "staging", "production", "elsewhere"]
    monkeypatch.setattr(programs, "find", lambda name: name)
    monkeypatch.setattr(helm, "probe", lambda _program: (4, 0))
    monkeypatch.setattr(kubectl, "contexts", lambda _kubectl: (known, ""))

    def reach(self: Kubernetes) -> str:
        if self.context == "production":
            raise DeployError("cannot reach the cluster of the context production")
        return "{}"

    def history(self: Helm) -> History:
        revision = Revision(
            3, "deployed", AT, "platform-0.1.0", "api-rest 0.2.0, platform-chart 0.2.0"
        )
        return History((revision,) if self.context == "develop" else ())

    def all_of(_self: Kubernetes, _kind: str, _selector: str) -> list[dict[str, Any]]:
        return [READY]

    monkeypatch.setattr(Kubernetes, "reach", reach)
    monkeypatch.setattr(Kubernetes, "all", all_of)
    monkeypatch.setattr(Helm, "history", history)
    image = {"repository": "r/api-rest", "digest": "sha256:a"}
    monkeypatch.setattr(Helm, "values", lambda *_: {"components": {"api-rest": {"image": image}}})
    return known


def test_each_environment_has_its_revision_versions_and_pods(declaration: Declaration) -> None:
    develop, staging, production = environments.status(declaration)
    assert develop.row() == (
        "develop",
        "develop",
        "3",
        "api-rest 0.2.0, platform-chart 0.2.0",
        "platform-api-rest: 1 of 2 pods ready",
        "2026-11-28 12:00:00",
    )
    assert staging.row()[2:] == ("-", "nothing is deployed", "-", "-")
    assert production.note.startswith("not known: cannot reach the cluster of the context")


def test_only_contexts_of_the_kubeconfig_are_asked(
    declaration: Declaration, cluster: list[str]
) -> None:
    cluster[:] = ["elsewhere"]
    assert environments.status(declaration) == ()


@pytest.mark.parametrize("missing", ["helm", "kubectl"])
def test_without_helm_or_kubectl_nothing_is_asked_or_installed(
    declaration: Declaration, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setattr(programs, "find", lambda name: None if name == missing else name)
    assert environments.status(declaration) == ()
