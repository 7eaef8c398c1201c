"""`inv engine.*` prints how to use the engine."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from delivery.host import docker_api, dockerd, engines, trust
from delivery.tasks import engine
from tests.engines import fake_engine
from tests.tasks.running import run


@pytest.mark.parametrize(
    "task", [engine.up, engine.env, engine.status], ids=["up", "env", "status"]
)
def test_the_export_line_is_quoted(
    task: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    address = "unix:///home/a user's/docker.sock"
    monkeypatch.setattr(dockerd, "address", lambda: address)
    for module, name in ((engines, "ensure"), (engines, "require"), (docker_api, "find")):
        monkeypatch.setattr(module, name, lambda: fake_engine(address=address))
    run(task)
    (line,) = (text for text in capsys.readouterr().out.splitlines() if text.startswith("export"))
    assert shlex.split(line) == ["export", f"DOCKER_HOST={address}"]


@pytest.mark.parametrize("answers", [True, False])
def test_status_as_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, answers: bool
) -> None:
    monkeypatch.setattr(docker_api, "find", lambda: fake_engine() if answers else None)
    run(engine.status, json_=True)
    known = {"address": "unix:///x", "version": "26", "private": False} if answers else {}
    assert json.loads(capsys.readouterr().out) == {"answers": answers, **known}


@pytest.mark.parametrize("bundle", ["/etc/ca.pem", ""])
def test_env_as_json_has_docker_host_and_build_ca(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], bundle: str
) -> None:
    monkeypatch.setattr(engines, "require", fake_engine)
    monkeypatch.setattr(trust, "secrets", lambda: {"build-ca": Path(bundle)} if bundle else {})
    run(engine.env, json_=True)
    expected = {"DOCKER_HOST": "unix:///x", **({"BUILD_CA": bundle} if bundle else {})}
    assert json.loads(capsys.readouterr().out) == expected
