"""Previews are made, listed, and removed under their lock; nothing else is."""

import dataclasses
import itertools
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from delivery.deploy import follow, preview_labels, previews, removal, target
from delivery.deploy.helm import Helm
from delivery.deploy.kubectl import Kubernetes
from delivery.deploy.target import Options, Target
from delivery.errors import CommandError, DeclarationError, DeployError
from delivery.project import gather, git, gitflow
from delivery.project.declaration import Declaration
from delivery.project.facts import Ref
from tests.deploy.cluster import OLD, Cluster
from tests.recorded import recorded

OPTIONS = Options()


def changed(verb: str) -> CommandError:
    tail = "Error from server (Conflict): the object has been modified"
    return CommandError(f"cannot {verb} it: changed", argv=[], returncode=1, tail=tail)


class Namespaces(Cluster):
    """A cluster with namespaces, of which each is empty."""

    def __init__(self) -> None:
        super().__init__()
        self.namespaces = {"kube-system": {"metadata": {"name": "kube-system", "labels": {}}}}
        self.deletes: list[str] = []
        self.bindings: list[dict[str, Any]] = []
        self.lags = 0  # how often new rights are not known yet
        self.versions = itertools.count(1)

    def all(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        if kind == "namespaces":
            assert selector == preview_labels.selector("sample")
            return [*self.namespaces.values()]  # as if the selector matched too much
        return []

    def create(self, resource: dict[str, Any]) -> None:
        if resource["kind"] == "RoleBinding":
            self.bindings.append(resource)
            return
        if resource["metadata"]["name"] in self.namespaces:
            raise changed("create")
        self._put(resource)

    def replace(self, resource: dict[str, Any]) -> None:
        metadata = resource["metadata"]
        current = self.namespaces[metadata["name"]]["metadata"]
        if current["resourceVersion"] != metadata["resourceVersion"]:
            raise changed("replace")
        self._put(resource)

    def _put(self, resource: dict[str, Any]) -> None:
        metadata = resource["metadata"] | {"resourceVersion": str(next(self.versions))}
        self.namespaces[metadata["name"]] = {**resource, "metadata": metadata}

    def delete_namespace(self, namespace: dict[str, Any]) -> None:
        name = namespace["metadata"]["name"]
        if self.namespaces[name] != namespace:
            raise changed("delete")
        self.deletes.append(name)

    def delete(self, kind: str, names: list[str]) -> None:
        super().delete(kind, names)
        self.bindings = [each for each in self.bindings if each["metadata"]["name"] not in names]

    def find(self, kind: str, name: str) -> dict[str, Any] | None:
        if kind == "rolebinding":
            return self.bindings[-1] if self.bindings else None
        if kind == "Lease" and self.lags:
            self.lags -= 1
            raise CommandError("cannot find it", argv=[], returncode=1, tail="Forbidden")
        return self.namespaces.get(name) if kind == "namespace" else None


class Clone:
    """The clone's branch, and those of its remote."""

    def __init__(self) -> None:
        self.branch = "feature/a"
        self.remote: set[str] | CommandError = {"feature/a", "feature/b", "main"}

    def remote_branches(self, _root: Path) -> set[str]:
        if isinstance(self.remote, CommandError):
            raise self.remote
        return self.remote


@pytest.fixture
def clone(monkeypatch: pytest.MonkeyPatch) -> Clone:
    made = Clone()
    commit = dataclasses.make_dataclass("Loaded", ["commit"])("c0ffee" * 6 + "beef")
    monkeypatch.setattr(git, "load_clone", lambda _root: commit)
    monkeypatch.setattr(git, "remote_branches", made.remote_branches)

    def decision(declaration: Declaration, _root: Path, branch: str = "") -> gitflow.Decision:
        return gitflow.decide(Ref("branch", branch or made.branch), declaration)

    monkeypatch.setattr(gather, "load_decision", decision)
    return made


@pytest.fixture
def namespaces(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Namespaces:
    made = Namespaces()
    made.add("deployed", OLD)
    made.lock = cluster.lock

    def reach(declaration: Declaration, name: str, _context: str) -> Target:
        environment = declaration.environment(name)
        assert environment is not None
        made.namespace = environment.namespace
        return Target(name, environment, cast("Helm", made))

    def of(base: Target, preview: preview_labels.Preview) -> Target:
        made.namespace = preview.namespace
        return dataclasses.replace(base, name=preview.environment)

    monkeypatch.setattr(target, "reach", reach)
    monkeypatch.setattr(previews, "reach", reach)
    monkeypatch.setattr(previews, "_target", of)
    monkeypatch.setattr(follow, "workloads", lambda _kubernetes: [])
    return made


def mark(declaration: Declaration) -> str:
    """Deploy the branch that is checked out; the name of its namespace."""
    made = target.connect(declaration, "preview")
    previews.mark(declaration, made)
    return made.kubernetes.namespace


def with_role(declaration: Declaration, role: str = "deployer") -> Declaration:
    """The project with a role for its previews."""
    environment = declaration.environments["preview"].model_copy(update={"role": role})
    return declaration.model_copy(
        update={"environments": {**declaration.environments, "preview": environment}}
    )


def test_the_environment_of_previews_is_that_of_the_branch(
    with_previews: Declaration, clone: Clone, namespaces: Namespaces
) -> None:
    first = mark(with_previews)
    clone.branch = "feature/b"
    second = mark(with_previews)
    assert first.startswith("platform-preview-feature-a-")
    assert second.startswith("platform-preview-feature-b-")
    labels = namespaces.namespaces[first]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    shown = [each.row() for each in previews.listed(with_previews, "")]
    assert [(row[0], row[1], row[2]) for row in shown] == [
        (first.removeprefix("platform-"), "feature/a", "c0ffeec0ffee"),
        (second.removeprefix("platform-"), "feature/b", "c0ffeec0ffee"),
    ]
    preview = preview_labels.read_preview(namespaces.namespaces[first], "sample")
    assert preview is not None
    assert timedelta(days=2, hours=23) < preview.expires - datetime.now(UTC) < timedelta(days=3)


@pytest.mark.usefixtures("clone")
def test_the_declared_role_is_bound_once_to_the_accounts_of_the_declared_namespace(
    with_previews: Declaration, namespaces: Namespaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark(with_previews)
    assert namespaces.bindings == [], "no role is declared"
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    declared = with_role(with_previews)
    namespaces.lags = 2
    mark(declared)
    mark(declared)
    (binding,) = namespaces.bindings
    assert binding["roleRef"]["name"] == "deployer"
    assert binding["subjects"][0]["name"] == "system:serviceaccounts:platform-preview"
    assert (waits, namespaces.lags) == ([1, 1], 0)


@pytest.mark.usefixtures("clone")
def test_another_role_takes_the_place_of_the_one_that_is_bound(
    with_previews: Declaration, namespaces: Namespaces
) -> None:
    for role in ("deployer", "less"):
        mark(with_role(with_previews, role))
    assert [each["roleRef"]["name"] for each in namespaces.bindings] == ["less"]


def test_the_role_is_bound_before_a_preview_without_it_is_reaped(
    with_previews: Declaration, clone: Clone, namespaces: Namespaces
) -> None:
    name = mark(with_previews)  # as a deploy leaves it that was ended before it bound the role
    clone.remote = {"main"}
    previews.reap(with_role(with_previews), "", OPTIONS)
    assert [each["roleRef"]["name"] for each in namespaces.bindings] == ["deployer"]
    assert namespaces.deletes == [name]


@pytest.mark.usefixtures("namespaces")
def test_a_branch_of_another_line_has_no_preview(with_previews: Declaration, clone: Clone) -> None:
    clone.branch = "main"
    with pytest.raises(DeclarationError, match="cannot find a preview: branch main is on the"):
        mark(with_previews)


@pytest.mark.usefixtures("clone")
def test_another_branchs_preview_is_not_deployed_to(
    with_previews: Declaration, namespaces: Namespaces
) -> None:
    name = target.preview_of(with_previews, "feature/b")
    with pytest.raises(DeclarationError, match="it is not the preview of this branch, feature/a"):
        previews.mark(with_previews, target.connect(with_previews, name))
    assert [*namespaces.namespaces] == ["kube-system"]


@pytest.mark.usefixtures("clone")
def test_a_namespace_that_is_no_preview_is_not_taken(
    with_previews: Declaration, namespaces: Namespaces
) -> None:
    name = f"platform-{target.preview_of(with_previews)}"
    namespaces.namespaces[name] = {"metadata": {"name": name}}
    with pytest.raises(DeployError, match=f"cannot use the namespace {name}"):
        mark(with_previews)


def test_only_a_branch_that_is_gone_is_reaped(
    with_previews: Declaration,
    clone: Clone,
    namespaces: Namespaces,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mark(with_previews)
    clone.branch = "feature/b"
    second = mark(with_previews)
    clone.remote = {"feature/a", "main"}
    reaped = previews.reap(with_previews, "", OPTIONS)
    assert [preview.branch for preview in reaped] == ["feature/b"]
    assert namespaces.deletes == [second]
    printed = capsys.readouterr().out
    assert "of feature/b: the remote has no such branch" in printed
    assert "1 of 2 previews stay" in printed
    assert recorded("environment", "status") == [
        (second.removeprefix("platform-"), "removed"),
        (second.removeprefix("platform-"), "removed"),
    ]


@pytest.mark.parametrize(
    "remote",
    [CommandError("cannot run git ls-remote", argv=[], returncode=128, tail="no route"), set()],
)
def test_a_remote_that_does_not_answer_removes_nothing(
    with_previews: Declaration, clone: Clone, namespaces: Namespaces, remote: Any
) -> None:
    name = mark(with_previews)
    labels = namespaces.namespaces[name]["metadata"]["labels"]
    labels["delivery-platform.expires"] = "20200101T000000Z"
    clone.remote = remote
    if remote:
        with pytest.raises(DeclarationError, match="nothing is removed"):
            previews.reap(with_previews, "", OPTIONS)
    else:
        previews.reap(with_previews, "", OPTIONS)
    assert namespaces.deletes == []
    clone.remote = {"feature/a"}
    previews.reap(with_previews, "", OPTIONS)
    assert namespaces.deletes == [name]


def test_a_preview_that_was_deployed_to_meanwhile_stays(
    with_previews: Declaration,
    clone: Clone,
    namespaces: Namespaces,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = mark(with_previews)
    clone.remote = {"main"}
    older = namespaces.namespaces[name]
    later = older["metadata"]["labels"] | {"delivery-platform.commit": "later"}
    newer = {"metadata": {**older["metadata"], "labels": later}}
    monkeypatch.setattr(namespaces, "find", lambda _kind, _name: newer)
    previews.reap(with_previews, "", OPTIONS)
    assert namespaces.deletes == []
    assert "it was deployed to again, and stays" in capsys.readouterr().out
    assert recorded("status") == []


def test_a_deploy_while_its_preview_is_removed_keeps_it(
    with_previews: Declaration,
    clone: Clone,
    namespaces: Namespaces,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = mark(with_previews)
    clone.remote = {"main"}
    start = removal.start

    def deployed_to_again(*arguments: Any) -> Any:
        mark(with_previews)  # waits for no lock, and the labels were read already
        return start(*arguments)

    monkeypatch.setattr(removal, "start", deployed_to_again)
    with pytest.raises(DeployError, match="it has changed meanwhile, and stays") as caught:
        previews.reap(with_previews, "", OPTIONS)
    assert "run it again" in caught.value.hint
    assert namespaces.deletes == []
    assert preview_labels.read_preview(namespaces.namespaces[name], "sample")


@pytest.mark.usefixtures("clone")
def test_two_deploys_of_a_branch_at_once_mark_its_preview(
    with_previews: Declaration, namespaces: Namespaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, find = mark(with_previews), namespaces.find
    made = namespaces.namespaces[name]
    stale: list[dict[str, Any] | None] = [None]

    def find_late(kind: str, sought: str) -> dict[str, Any] | None:
        return stale.pop() if stale else find(kind, sought)

    monkeypatch.setattr(namespaces, "find", find_late)
    mark(with_previews)  # the other one has created it meanwhile
    stale[:] = [made]
    mark(with_previews)  # the other one has labelled it meanwhile
    assert namespaces.namespaces[name]["metadata"]["resourceVersion"] == "3"
    monkeypatch.setattr(namespaces, "find", lambda _kind, _name: made)
    with pytest.raises(CommandError, match="cannot replace it"):
        mark(with_previews)


def test_a_preview_that_cannot_be_removed_holds_up_no_other(
    with_previews: Declaration,
    clone: Clone,
    namespaces: Namespaces,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = mark(with_previews)
    clone.branch = "feature/b"
    second = mark(with_previews)
    clone.remote = {"main"}
    delete = namespaces.delete_namespace

    def refuse_first(namespace: dict[str, Any]) -> None:
        if first == namespace["metadata"]["name"]:
            raise CommandError("cannot delete it: forbidden", argv=[], returncode=1, tail="")
        delete(namespace)

    monkeypatch.setattr(namespaces, "delete_namespace", refuse_first)
    name = first.removeprefix("platform-")
    with pytest.raises(DeployError, match=f"cannot remove {name}: forbidden"):
        previews.reap(with_previews, "", OPTIONS)
    assert namespaces.deletes == [second]


@pytest.mark.usefixtures("clone")
def test_a_preview_that_is_removed_meanwhile_is_not_made_anew(
    with_previews: Declaration,
    namespaces: Namespaces,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mark(with_previews)
    listed = [*namespaces.namespaces.values()]
    monkeypatch.setattr(namespaces, "all", lambda _kind, _selector: listed)
    namespaces.namespaces.clear()
    previews.remove(with_previews, "feature/a", "", OPTIONS)
    assert (namespaces.namespaces, namespaces.deletes) == ({}, [])
    assert "it is being removed already" in capsys.readouterr().out


@pytest.mark.usefixtures("clone")
def test_a_preview_is_removed_by_its_branch(
    with_previews: Declaration, namespaces: Namespaces, capsys: pytest.CaptureFixture[str]
) -> None:
    name = mark(with_previews)
    previews.remove(with_previews, "feature/gone", "", OPTIONS)
    assert namespaces.deletes == []
    assert "there is no such preview" in capsys.readouterr().out
    previews.remove(with_previews, "feature/a", "", OPTIONS)
    assert namespaces.deletes == [name]


def test_without_a_declaration_there_are_no_previews(declaration: Declaration) -> None:
    with pytest.raises(DeclarationError, match=r"declares no gitflow\.deploys\.preview"):
        previews.listed(declaration, "")


def test_the_targets_of_previews(with_previews: Declaration) -> None:
    helm = Helm("helm", (4, 0), Kubernetes("kubectl", "kind-sample", "platform-preview"))
    base = Target("preview", with_previews.environments["preview"], helm)
    preview = preview_labels.Preview("preview-a", "platform-preview-a", "a", "", datetime.now(UTC))
    made = previews._target(base, preview)
    assert made.name == "preview-a"
    assert made.environment.namespace == made.kubernetes.namespace == "platform-preview-a"
    assert made.helm.kubernetes is made.kubernetes
