"""`inv up` brings Prometheus up only where it is asked for, and says where it is."""

from __future__ import annotations

from typing import Any, cast

import pytest

from delivery.core.declaration import Declaration
from delivery.core.release import Release
from delivery.steps import engine as engines
from delivery.steps import platform as platforms
from delivery.steps import upstream as upstreams
from delivery.steps.platform import Proof
from delivery.tasks import platform
from delivery.tools.compose import Compose, Service
from delivery.tools.engine import Engine

ADDRESS = "http://localhost:8000"


class Asked:
    """What the steps were asked for, in their order."""

    def __init__(self) -> None:
        self.calls: list[Any] = []


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    found = Asked()

    def ensure(_engine: Engine, _declaration: Declaration, name: str) -> str:
        found.calls.append(("ensure", name))
        return "pulled"

    def up(project: Compose, _release: Release) -> list[Service]:
        found.calls.append(("up", project.profiles))
        ports = {"api-rest": 8000, "kafka": 9092, "database": 3306}
        ports |= {"prometheus": 9090} if project.profiles else {}
        return [Service(name, name, "running", "healthy", name, (port,)) for name, port in ports.items()]

    monkeypatch.setattr(engines, "ensure", lambda: Engine(cast("Any", None), "unix:///x", "26", True, {}))  # noqa: FBT003
    monkeypatch.setattr(platforms, "check_ports", lambda project: found.calls.append(("ports", project.profiles)))
    monkeypatch.setattr(platforms, "released", lambda: None)
    monkeypatch.setattr(platforms, "up", up)
    monkeypatch.setattr(platforms, "prove", lambda address, _release: Proof("e1", address, 0.1))
    monkeypatch.setattr(upstreams, "ensure", ensure)
    return found


def test_prometheus_is_had_and_brought_up_when_it_is_asked_for(
    asked: Asked, declaration: Declaration, capsys: pytest.CaptureFixture[str]
) -> None:
    platform.bring_up(declaration, lambda _engine: Release({}), monitoring=True)
    assert asked.calls == [("ports", ("monitoring",)), ("ensure", "prometheus"), ("up", ("monitoring",))]
    assert "Prometheus     http://localhost:9090/" in capsys.readouterr().out


def test_prometheus_is_left_alone_otherwise(
    asked: Asked, declaration: Declaration, capsys: pytest.CaptureFixture[str]
) -> None:
    platform.bring_up(declaration, lambda _engine: Release({}))
    assert asked.calls == [("ports", ()), ("up", ())]
    assert "Prometheus" not in capsys.readouterr().out
