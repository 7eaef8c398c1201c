"""Each cluster of the kubeconfig is asked what is deployed, if it answers."""

from datetime import UTC, datetime
from typing import Any

import pytest

from delivery.deploy import environments, helm, kubectl
from delivery.deploy.helm import Helm
from delivery.deploy.history import History, Revision
from delivery.deploy.kubectl import Kubernetes
from delivery.deploy.target import reachable
from delivery.errors import DeclarationError, DeployError
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
        image = {"repository": "r/api-rest", "digest": "sha256:a"}
        revision = Revision(
            3,
            "deployed",
            AT,
            "platform-0.1.0",
            "api-rest 0.2.0, platform-chart 0.2.0",
            values={"components": {"api-rest": {"image": image}}},
        )
        return History((revision,) if self.kubernetes.context == "develop" else ())

    def all_of(_self: Kubernetes, _kind: str, _selector: str) -> list[dict[str, Any]]:
        return [READY]

    monkeypatch.setattr(Kubernetes, "reach", reach)
    monkeypatch.setattr(Kubernetes, "all", all_of)
    monkeypatch.setattr(Helm, "history", history)
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


def test_one_environment_is_shown_with_its_pods(
    declaration: Declaration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "ensure", lambda name: name)
    monkeypatch.setattr(Kubernetes, "reach", lambda _self: '{"gitVersion": "v1.34.4"}')
    monkeypatch.setattr(Kubernetes, "table", lambda *_: "NAME READY")
    develop = environments.load(declaration, "develop", "develop")
    assert (develop.revision, develop.table) == (3, "NAME READY")
    with pytest.raises(DeployError, match="all of develop: platform-api-rest is not ready"):
        develop.check()
    workload = develop.to_json()["workloads"]
    assert "'ready': 1" in str(workload)
    assert "table" not in develop.to_json()
    with pytest.raises(DeployError, match="all of staging: nothing is deployed") as error:
        environments.load(declaration, "staging", "staging").check()
    assert error.value.hint == "run `./run inv deploy --environment staging`"
    monkeypatch.setitem(READY, "spec", {"replicas": 1})
    environments.load(declaration, "develop", "develop").check()


@pytest.fixture
def followed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """The logs that are asked for; each has one line, and then Ctrl-C is pressed."""
    asked: list[tuple[object, ...]] = []

    def logs(_self: Kubernetes, selector: str, on_line: Any, **options: object) -> None:
        asked.append((selector, options))
        on_line("[pod/platform-api-rest-1/api-rest] GET / 200\n")
        raise KeyboardInterrupt

    pod = {"metadata": {"labels": {"app.kubernetes.io/name": "api-rest"}}}
    monkeypatch.setattr(Kubernetes, "logs", logs)
    monkeypatch.setattr(Kubernetes, "all", lambda *_: [pod])
    return asked


def test_logs_of_all_pods_or_of_a_component(
    declaration: Declaration,
    followed: list[tuple[object, ...]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    (target,) = reachable(declaration, ["develop"], "helm", "kubectl")["develop"]
    environments.print_logs(target, "", follow=True, tail=5)
    environments.print_logs(target, "api-rest", follow=False, tail=50)
    assert followed == [
        (helm.SELECTOR, {"follow": True, "tail": 5}),
        (f"{helm.SELECTOR},app.kubernetes.io/name=api-rest", {"follow": False, "tail": 50}),
    ]
    assert capsys.readouterr().out.splitlines()[0] == "platform-api-rest-1/api-rest GET / 200"
    with pytest.raises(DeclarationError, match="has no pod of api-res") as error:
        environments.print_logs(target, "api-res", follow=False, tail=50)
    assert "did you mean api-rest?" in error.value.hint
