"""Finding an engine, and reading what it streams."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import docker
import pytest

from delivery.errors import EngineError, NotOursError, RegistryError
from delivery.host import docker_api, dockerd


class Client:
    """As much of docker-py's client as looking at an engine needs."""

    def __init__(self, **info: object) -> None:
        self._info = {"ServerVersion": "26.1.5+dfsg1", **info}

    def info(self) -> dict[str, Any]:
        return self._info


def test_an_engine_that_was_named_and_does_not_answer_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(EngineError, match=r"DOCKER_HOST=unix:///nowhere/docker\.sock: it does not answer"):
        docker_api.find()


def test_an_engine_that_is_too_old_is_an_error() -> None:
    with pytest.raises(EngineError, match=r"it is 20\.10\.24"):
        docker_api.connect(Client(ServerVersion="20.10.24"), "unix:///x", {})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "layouts"),
    [([["driver-type", "io.containerd.snapshotter.v1"]], True), ([["Backing Filesystem", "ext4"]], False)],
)
def test_knows_which_store_the_engine_has(status: list[list[str]], *, layouts: bool) -> None:
    found = docker_api.connect(Client(DriverStatus=status), "unix:///x", {})  # type: ignore[arg-type]
    assert found.oci_layouts is layouts
    assert found.version == "26.1.5+dfsg1"


def test_a_refusal_in_the_stream_is_an_error() -> None:
    stream: Iterator[dict[str, Any]] = iter([{"status": "Preparing"}, {"error": "denied: requested access is denied"}])
    with pytest.raises(RegistryError, match="push app: denied") as caught:
        list(docker_api._messages(stream, "push app"))
    assert not caught.value.retriable


def test_a_server_error_in_the_stream_may_pass() -> None:
    with pytest.raises(RegistryError) as caught:
        list(
            docker_api._messages(
                iter([{"error": "received unexpected HTTP status: 503 Service Unavailable"}]), "push app"
            )
        )
    assert caught.value.retriable


def test_the_private_engines_own_address_may_have_been_exported_before_it_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DOCKER_HOST", dockerd.address())
    assert docker_api.find() is None


def test_a_context_that_does_not_exist_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"currentContext": "gone"}')
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with pytest.raises(EngineError, match="names one that does not exist"):
        docker_api.find()


class Api:
    """What docker-py is told when something is pulled or pushed."""

    def __init__(self) -> None:
        self.logins: list[dict[str, str] | None] = []

    def pull(self, _reference: str, *, auth_config: dict[str, str] | None, **_: object) -> Iterator[dict[str, Any]]:
        self.logins.append(auth_config)
        return iter(())


class Stopping:
    """A container that can be stopped, with these labels."""

    def __init__(self, labels: dict[str, str]) -> None:
        self.labels = labels
        self.stopped = False

    def get(self, _name: str) -> Stopping:
        return self

    def stop(self) -> None:
        self.stopped = True


def with_client(**parts: object) -> docker_api.Engine:
    return docker_api.Engine(cast("docker.DockerClient", SimpleNamespace(**parts)), "unix:///x", "26.1", True, {})  # noqa: FBT003


@pytest.mark.parametrize(
    ("login", "told"),
    [
        (("me", "secret"), {"username": "me", "password": "secret"}),
        (("<token>", "identity"), {"identitytoken": "identity"}),
        (None, None),
    ],
)
def test_an_engine_gets_a_login_as_it_takes_it(login: tuple[str, str] | None, told: dict[str, str] | None) -> None:
    api = Api()
    with_client(api=api).pull("registry.test/app", lambda _line: None, login=login)
    assert api.logins == [told]


def test_a_container_of_ours_is_stopped() -> None:
    ours = Stopping({docker_api.MANAGED: "true"})
    with_client(containers=ours).stop("registry")
    assert ours.stopped


def test_somebody_elses_container_is_not_stopped() -> None:
    theirs = Stopping({})
    with pytest.raises(NotOursError, match="stop the container registry: it is not this project's"):
        with_client(containers=theirs).stop("registry")
    assert not theirs.stopped
