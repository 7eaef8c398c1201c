"""The flags of `inv deploy`, `rollback`, `undeploy` and `verify` reach what they are for."""

from typing import Any

import pytest

from delivery import prompt
from delivery.deploy import deploying, removal, reverting
from delivery.deploy.selection import DeployRequest
from delivery.deploy.target import Options
from delivery.errors import DeclarationError
from delivery.platform import bringing_up
from delivery.platform.bringing_up import Running
from delivery.project import files
from delivery.project.declaration import Declaration
from delivery.tasks import deploy


@pytest.fixture(autouse=True)
def called(monkeypatch: pytest.MonkeyPatch, declaration: Declaration) -> list[tuple[object, ...]]:
    """What the tasks called, without the declaration."""
    made: list[tuple[object, ...]] = []

    def note(name: str) -> Any:  # noqa: ANN401
        return lambda _declaration, *arguments, **named: made.append(
            (name, *arguments, *named.values())
        )

    def bring_up(_declaration: Declaration, request: DeployRequest) -> Running:
        made.append(("docker", request))
        return Running.__new__(Running)

    monkeypatch.setattr(files, "load_declaration", lambda: declaration)
    monkeypatch.setattr(prompt, "is_interactive", lambda: False)
    monkeypatch.setattr(deploying, "deploy", note("deploy"))
    monkeypatch.setattr(reverting, "roll_back", note("roll back"))
    monkeypatch.setattr(reverting, "verify", note("verify"))
    monkeypatch.setattr(removal, "remove", note("remove"))
    monkeypatch.setattr(bringing_up, "deploy", bring_up)
    monkeypatch.setattr(Running, "say", lambda _self: None)
    return made


def run(task: Any, **arguments: Any) -> None:  # noqa: ANN401  # an invoke task and its flags
    task.body.__wrapped__(None, **arguments)


TIMES = {"timeout": "90s", "lock_timeout": "1m"}
WHERE = {"environment": "staging", "context": "there", "yes": True}


def test_deploy(called: list[tuple[object, ...]]) -> None:
    run(deploy.deploy)
    run(deploy.deploy, **WHERE, **TIMES, version="1.0.0", signed=True, rollback=False)
    run(deploy.deploy, release="release.json")
    run(deploy.deploy, plan="plan.json")
    assert called == [
        ("deploy", DeployRequest(), Options(600, 1800)),
        (
            "deploy",
            DeployRequest("staging", "1.0.0", context="there", signed=True, yes=True),
            Options(90, 60, rollback=False),
        ),
        ("deploy", DeployRequest(file="release.json"), Options()),
        ("deploy", DeployRequest(plan="plan.json"), Options()),
    ]


def test_deploy_to_docker(called: list[tuple[object, ...]]) -> None:
    run(deploy.deploy, platform="docker", version="1.0.0")
    assert called == [("docker", DeployRequest(version="1.0.0"))]


@pytest.mark.parametrize(
    ("flags", "said"),
    [({"platform": "vm"}, "--platform vm"), ({"timeout": "soon"}, "read --timeout")],
)
def test_flags_that_make_no_sense_are_refused(
    called: list[tuple[object, ...]], flags: dict[str, str], said: str
) -> None:
    with pytest.raises(DeclarationError, match=said):
        run(deploy.deploy, **flags)
    assert called == []


def test_rollback_undeploy_and_verify(called: list[tuple[object, ...]]) -> None:
    run(deploy.rollback, **WHERE, **TIMES, revision=2)
    run(deploy.undeploy, **WHERE, **TIMES, data=True)
    run(deploy.verify, environment="staging", context="there", timeout="2m", rollback=False)
    request = DeployRequest("staging", context="there", yes=True)
    assert called == [
        ("roll back", request, 2, Options(90, 60)),
        ("remove", request, Options(90, 60), True),
        ("verify", "staging", "there", Options(120, 600, rollback=False)),
    ]
