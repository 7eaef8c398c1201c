"""The flags of `inv deploy`, `rollback`, `undeploy` and `verify` reach their functions."""

from typing import Any

import pytest

from delivery import prompt
from delivery.deploy import deploying, removal, reverting
from delivery.deploy.selection import DeployRequest
from delivery.deploy.target import Options
from delivery.errors import DeclarationError
from delivery.platform import startup
from delivery.platform.startup import Running
from delivery.project import files
from delivery.project.declaration import Declaration
from delivery.tasks import deploy
from tests.tasks.running import run


@pytest.fixture(autouse=True)
def calls(monkeypatch: pytest.MonkeyPatch, declaration: Declaration) -> list[tuple[object, ...]]:
    """The calls of the tasks, without the declaration."""
    calls: list[tuple[object, ...]] = []

    def recorder(name: str) -> Any:
        return lambda _declaration, *arguments, **named: calls.append(
            (name, *arguments, *named.values())
        )

    def bring_up(_declaration: Declaration, request: DeployRequest) -> Running:
        calls.append(("docker", request))
        return Running.__new__(Running)

    monkeypatch.setattr(files, "load_declaration", lambda: declaration)
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
