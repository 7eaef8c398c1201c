"""`inv status`, `logs` and `open` reach the environment that is named."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from delivery.deploy import environments, opening, target
from delivery.deploy.environments import EnvironmentStatus
from delivery.errors import DeclarationError, DeployError
from delivery.tasks import platform
from tests.tasks.running import run

STAGING = EnvironmentStatus("staging", "kind", 3, (("api-rest", "1.0.0"),), table="NAME READY")


def test_status_shows_an_environment_and_fails_if_it_is_not_ready(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {"staging": STAGING, "develop": EnvironmentStatus("develop", "kind")}
    monkeypatch.setattr(environments, "load", lambda _declaration, name, _context: found[name])
    run(platform.status, environment="staging", context="kind")
    printed = capsys.readouterr().out
    assert "api-rest 1.0.0" in printed
    assert "NAME READY" in printed
    with pytest.raises(DeployError, match="nothing is deployed"):
        run(platform.status, environment="develop")
    capsys.readouterr()
    run(platform.status, environment="staging", json_=True)
    assert json.loads(capsys.readouterr().out)["revision"] == STAGING.revision


def test_logs_and_open_get_their_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []
    connected = SimpleNamespace()
    monkeypatch.setattr(target, "connect", lambda *_: connected)
    monkeypatch.setattr(
        environments, "print_logs", lambda *given, **named: calls.append((*given, named))
    )
    monkeypatch.setattr(opening, "open_component", lambda _, *given: calls.append(given))
    run(platform.logs, service=[], environment="staging", component="api-rest", follow=True)
    run(platform.open_, environment="staging", context="kind", port=8080)
    assert calls == [
        (connected, "api-rest", {"follow": True, "tail": 50}),
        ("staging", "kind", "api-rest", 8080),
    ]


def test_a_component_is_of_an_environment() -> None:
    with pytest.raises(DeclarationError, match="no environment is named") as caught:
        run(platform.logs, service=[], component="api-rest")
    assert "--service api-rest" in caught.value.hint
