"""`inv engine.*` prints how to use the engine."""

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import docker
import pytest

from delivery.host import docker_api, dockerd, engines, trust
from delivery.host.docker_api import Engine
from delivery.tasks import engine
from tests.tasks.running import run

ENGINE = Engine(
    cast("docker.DockerClient", None),
    "unix:///x",
    "26",
    oci_layouts=True,
    environment={"DOCKER_HOST": "unix:///x"},
)


@pytest.mark.parametrize(
    "task", [engine.up, engine.env, engine.status], ids=["up", "env", "status"]
)
def test_the_export_line_is_quoted(
    task: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    address = "unix:///home/a user's/docker.sock"
    running = replace(ENGINE, address=address, environment={"DOCKER_HOST": address})
    monkeypatch.setattr(dockerd, "address", lambda: address)
    for module, name in ((engines, "ensure"), (engines, "require"), (docker_api, "find")):
        monkeypatch.setattr(module, name, lambda: running)
    run(task)
    (line,) = (text for text in capsys.readouterr().out.splitlines() if text.startswith("export"))
    assert shlex.split(line) == ["export", f"DOCKER_HOST={address}"]


@pytest.mark.parametrize("answers", [True, False])
def test_status_as_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, answers: bool
) -> None:
    monkeypatch.setattr(docker_api, "find", lambda: ENGINE if answers else None)
    run(engine.status, json_=True)
    known = {"address": "unix:///x", "version": "26", "private": False} if answers else {}
    assert json.loads(capsys.readouterr().out) == {"answers": answers, **known}


@pytest.mark.parametrize("bundle", ["/etc/ca.pem", ""])
def test_env_as_json_has_docker_host_and_build_ca(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], bundle: str
) -> None:
    monkeypatch.setattr(engines, "require", lambda: ENGINE)
    monkeypatch.setattr(trust, "secrets", lambda: {"build-ca": Path(bundle)} if bundle else {})
    run(engine.env, json_=True)
    expected = {"DOCKER_HOST": "unix:///x", **({"BUILD_CA": bundle} if bundle else {})}
    assert json.loads(capsys.readouterr().out) == expected
