"""The flags of `inv deploy`, `diff`, `rollback`, `undeploy`, `verify` reach their functions."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from invoke.exceptions import Exit

from delivery import console, prompt
from delivery.deploy import comparing, deploying, drifting, removal, reverting
from delivery.deploy.comparison import Commits, Comparison
from delivery.deploy.drift import Drift
from delivery.deploy.manifests import Manifest
from delivery.deploy.selection import DeployRequest
from delivery.deploy.target import Options
from delivery.errors import DeclarationError
from delivery.platform import startup
from delivery.platform.startup import Running
from delivery.project.declaration import Declaration
from delivery.records.deployment import Contents
from delivery.tasks import deploy
from tests.tasks.running import run


@pytest.fixture(autouse=True)
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """The calls of the tasks, without the declaration."""
    calls: list[tuple[object, ...]] = []

    def recorder(name: str) -> Any:
        return lambda _declaration, *arguments, **named: calls.append(
            (name, *arguments, *named.values())
        )

    def bring_up(_declaration: Declaration, request: DeployRequest) -> Running:
        calls.append(("docker", request))
        return Running.__new__(Running)

    monkeypatch.setattr(prompt, "is_interactive", lambda: False)
    monkeypatch.setattr(deploying, "deploy", recorder("deploy"))
    monkeypatch.setattr(reverting, "roll_back", recorder("roll back"))
    monkeypatch.setattr(reverting, "verify", recorder("verify"))
    monkeypatch.setattr(removal, "remove", recorder("remove"))
    monkeypatch.setattr(startup, "deploy", bring_up)
    monkeypatch.setattr(Running, "say", lambda _self: None)
    return calls


TIMES = {"timeout": "90s", "lock_timeout": "1m"}
TARGET = {"environment": "staging", "context": "context", "yes": True}


def test_deploy(calls: list[tuple[object, ...]]) -> None:
    run(deploy.deploy)
    run(deploy.deploy, **TARGET, **TIMES, version="1.0.0", signed=True, rollback=False)
    run(deploy.deploy, release="release.json")
    run(deploy.deploy, plan="plan.json")
    assert calls == [
        ("deploy", DeployRequest(), Options(600, 1800)),
        (
            "deploy",
            DeployRequest("staging", "1.0.0", context="context", signed=True, yes=True),
            Options(90, 60, rollback=False),
        ),
        ("deploy", DeployRequest(file="release.json"), Options()),
        ("deploy", DeployRequest(plan="plan.json"), Options()),
    ]


def test_deploy_to_docker(calls: list[tuple[object, ...]]) -> None:
    run(deploy.deploy, platform="docker", version="1.0.0")
    assert calls == [("docker", DeployRequest(version="1.0.0"))]


@pytest.mark.parametrize(
    ("flags", "message"),
    [({"platform": "vm"}, "--platform vm"), ({"timeout": "soon"}, "read --timeout")],
)
def test_bad_flags_are_errors(
    calls: list[tuple[object, ...]], flags: dict[str, str], message: str
) -> None:
    with pytest.raises(DeclarationError, match=message):
        run(deploy.deploy, **flags)
    assert calls == []


def test_rollback_undeploy_and_verify(calls: list[tuple[object, ...]]) -> None:
    run(deploy.rollback, **TARGET, **TIMES, revision=2)
    run(deploy.undeploy, **TARGET, **TIMES, data=True)
    run(deploy.verify, environment="staging", context="context", timeout="2m", rollback=False)
    request = DeployRequest("staging", context="context", yes=True)
    assert calls == [
        ("roll back", request, 2, Options(90, 60)),
        ("remove", request, Options(90, 60), True),
        ("verify", "staging", "context", Options(120, 600, rollback=False)),
    ]


CHANGED = 3


@pytest.fixture
def comparisons(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """The requested comparisons; that with version 2 finds a difference."""
    requested: list[tuple[object, ...]] = []

    def compare(_declaration: object, request: DeployRequest, *to: str) -> Comparison:
        requested.append((request, *to))
        is_new = request.version == "2"
        contents = (Contents(), Contents())
        return Comparison("staging", "it", contents, Commits({}), (), makes_revision=is_new)

    monkeypatch.setattr(comparing, "compare", compare)
    monkeypatch.setattr(comparing, "compare_environments", compare)
    return requested


def test_a_comparison_exits_with_3_if_something_differs(
    calls: list[tuple[object, ...]],
    comparisons: list[tuple[object, ...]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(deploy.diff, environment="staging", version="1", signed=True, context="c")
    assert capsys.readouterr().out.startswith("from staging\nto   it\n")
    for task in (deploy.diff, deploy.deploy):
        flags = {} if task is deploy.diff else {"dry_run": True}
        with pytest.raises(Exit) as ended:
            run(task, environment="staging", version="2", **flags)
        assert ended.value.code == CHANGED
    run(deploy.diff, environment="staging", to="production")
    file = tmp_path / "diff.json"
    run(deploy.diff, file=str(file), json_=True)
    assert json.loads(file.read_text())["changed"] is False
    assert comparisons == [
        (DeployRequest("staging", "1", context="c", signed=True),),
        (DeployRequest("staging", "2"),),
        (DeployRequest("staging", "2"),),
        (DeployRequest("staging"), "production"),
        (DeployRequest(),),
    ]
    assert calls == []


def test_a_dry_run_is_of_a_cluster(comparisons: list[tuple[object, ...]]) -> None:
    with pytest.raises(DeclarationError, match="only a cluster can say"):
        run(deploy.deploy, dry_run=True, platform="docker")
    with pytest.raises(DeclarationError, match="cannot write the comparison /nowhere/diff"):
        run(deploy.diff, file="/nowhere/diff")
    assert len(comparisons) == 1


def test_manifests_alone_go_to_stdout(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def render(*_: object) -> SimpleNamespace:
        console.say("working")
        return SimpleNamespace(manifest=Manifest("kind: Service", "---\nkind: Pod"))

    monkeypatch.setattr(comparing, "render", render)
    run(deploy.render, environment="staging", version="1")
    assert capsys.readouterr().out == "kind: Service\n---\nkind: Pod\n"


def test_drift_is_printed_and_ends_with_3(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [Drift("web", "Service/web", "spec.type", "changed", "A", "B", "kubectl-edit", "then")]
    monkeypatch.setattr(drifting, "find_drift", lambda _declaration, _request: found)
    with pytest.raises(Exit) as ended:
        run(deploy.drift, environment="staging")
    assert ended.value.code == 3
    assert "kubectl-edit" in capsys.readouterr().out
    with pytest.raises(Exit):
        run(deploy.drift, environment="staging", json_=True)
    assert json.loads(capsys.readouterr().out)[0]["field"] == "spec.type"
    found.clear()
    run(deploy.drift, environment="staging")
