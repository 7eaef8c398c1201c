"""The declared registry is used; only a local one is started."""

from typing import cast

import pytest

from delivery.errors import EngineError, PortTakenError, RegistryError
from delivery.host.docker_api import Engine
from delivery.project.declaration import Declaration
from delivery.registry import client, local_registry
from delivery.registry.client import Registry
from tests.registries import FakeRegistry, serving


class Runner:
    """An engine that starts containers, or refuses."""

    def __init__(self, refusal: str = "") -> None:
        self.refusal = refusal
        self.removed: list[str] = []
        self.running: dict[int, tuple[str, int]] = {}

    def publishers(self) -> dict[int, tuple[str, int]]:
        return self.running

    def remove(self, name: str) -> bool:
        self.removed.append(name)
        return False

    def run(self, _image: str, name: str, **_: object) -> None:
        if self.refusal:
            raise EngineError(f"start {name}: the Docker engine answered: {self.refusal}")


def ensure(engine: Runner | None, declaration: Declaration, address: str) -> Registry:
    return local_registry.ensure(cast("Engine", engine), declaration.with_registry(address))


def test_a_reachable_registry_is_used(declaration: Declaration) -> None:
    with serving(FakeRegistry()) as (address, _):
        assert ensure(None, declaration, address).address == address


def test_a_registry_of_another_host_is_never_started(declaration: Declaration) -> None:
    message = r"cannot reach the registry registry\.invalid/team: it does not answer"
    with pytest.raises(RegistryError, match=message):
        ensure(None, declaration, "registry.invalid/team")


def test_a_registry_that_asks_for_an_unknown_login_refuses(
    declaration: Declaration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", "/nowhere")
    with serving(lambda *_: (401, {}, b"")) as (address, _):
        error = local_registry.refusal(declaration.with_registry(address))
    assert error
    assert "asks for a login" in error.message
    assert local_registry.refusal(declaration.with_registry("localhost:1")) is None


@pytest.mark.parametrize(
    "refusal",
    [
        "Bind for 127.0.0.1:1 failed: port is already allocated",
        "listen tcp4 127.0.0.1:1: bind: address already in use",
    ],
)
def test_a_taken_port_is_an_error_with_another_port_as_hint(
    declaration: Declaration, refusal: str
) -> None:
    engine = Runner(refusal)
    message = "cannot start a registry at localhost:1: port 1 is taken"
    with pytest.raises(PortTakenError, match=message) as caught:
        ensure(engine, declaration, "localhost:1")
    assert "DELIVERY_REGISTRY=localhost:2" in caught.value.hint
    # The stopped one, and the one that did not start.
    assert engine.removed == ["sample-registry"] * 2


def test_another_error_of_the_engine_stays(declaration: Declaration) -> None:
    with pytest.raises(EngineError, match="no such image"):
        ensure(Runner("no such image"), declaration, "localhost:1")


def test_each_compose_project_has_its_own_registry(
    declaration: Declaration, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert local_registry.container_name(declaration) == "sample-registry"
    monkeypatch.setenv("COMPOSE_PROJECT_NAME", "other")
    assert local_registry.container_name(declaration) == "other-registry"


def test_a_registry_that_runs_at_another_port_is_kept(declaration: Declaration) -> None:
    runner = Runner()
    runner.running = {5001: ("sample-registry", 5000)}
    message = "this project's registry runs at localhost:5001"
    with pytest.raises(RegistryError, match=message) as caught:
        ensure(runner, declaration, "localhost:1")
    assert "DELIVERY_REGISTRY=localhost:5001" in caught.value.hint
    assert runner.removed == []


def test_a_registry_that_the_engine_has_just_started_is_waited_for(
    declaration: Declaration, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = Runner()
    runner.running = {1: ("sample-registry", 5000)}
    answers = iter([False, True])  # before its container is looked for, and after
    monkeypatch.setattr(client, "is_reachable", lambda _address: next(answers))
    assert ensure(runner, declaration, "localhost:1").address == "localhost:1"
    assert runner.removed == []
