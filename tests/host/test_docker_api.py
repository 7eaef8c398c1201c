"""Finding an engine, and reading its streams."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import docker
import pytest
from docker.models.containers import Container

from delivery.errors import EngineError, ForeignError, RegistryError
from delivery.host import docker_api, dockerd
from tests.engines import fake_engine


def connect(**info: object) -> docker_api.Engine:
    """Connect to an engine with this information."""
    answer = {"ServerVersion": "26.1.5+dfsg1", **info}
    client = SimpleNamespace(info=lambda: answer)
    return docker_api.connect(cast("docker.DockerClient", client), "unix:///x", {})


def test_docker_host_without_an_answer_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(
        EngineError, match=r"DOCKER_HOST=unix:///nowhere/docker\.sock: it does not answer"
    ):
        docker_api.find()


def test_an_old_engine_is_an_error() -> None:
    with pytest.raises(EngineError, match=r"it is 20\.10\.24"):
        connect(ServerVersion="20.10.24")


@pytest.mark.parametrize(
    ("status", "layouts"),
    [
        ([["driver-type", "io.containerd.snapshotter.v1"]], True),
        ([["Backing Filesystem", "ext4"]], False),
    ],
)
def test_an_engine_with_the_containerd_store_writes_layouts(
    status: list[list[str]], *, layouts: bool
) -> None:
    engine = connect(DriverStatus=status)
    assert engine.oci_layouts is layouts
    assert engine.version == "26.1.5+dfsg1"


@pytest.mark.parametrize(
    ("state", "is_healthy"),
    [
        ({"Status": "running", "Health": {"Status": "healthy"}}, True),
        ({"Status": "running", "Health": {"Status": "starting"}}, False),
        ({"Status": "running"}, True),  # it has no health check
        ({"Status": "exited"}, False),
    ],
)
def test_a_container_without_a_health_check_is_healthy_while_it_runs(
    state: dict[str, object], *, is_healthy: bool
) -> None:
    container = Container(attrs={"State": state})
    engine = with_client(containers=SimpleNamespace(get=lambda _name: container))
    assert engine.is_healthy("app") is is_healthy


@pytest.mark.parametrize(
    ("error", "retriable"),
    [
        ("denied: requested access is denied", False),
        ("received unexpected HTTP status: 503 Service Unavailable", True),
    ],
)
def test_an_error_in_a_stream_is_raised_and_a_servers_is_retriable(
    error: str, *, retriable: bool
) -> None:
    with pytest.raises(RegistryError, match=f"push app: {error}") as caught:
        list(docker_api._messages(iter([{"status": "Preparing"}, {"error": error}]), "push app"))
    assert caught.value.retriable is retriable


def test_docker_host_may_name_a_stopped_private_engine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DOCKER_HOST", dockerd.address())
    assert docker_api.find() is None


def test_a_context_that_does_not_exist_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text('{"currentContext": "gone"}')
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with pytest.raises(EngineError, match="the Docker config names an unknown context"):
        docker_api.find()


def with_client(**parts: object) -> docker_api.Engine:
    return fake_engine(SimpleNamespace(**parts))


@pytest.mark.parametrize(
    ("login", "expected"),
    [
        (("me", "secret"), {"username": "me", "password": "secret"}),
        (("<token>", "identity"), {"identitytoken": "identity"}),
        (None, None),
    ],
)
def test_a_login_becomes_the_engines_auth_config(
    login: tuple[str, str] | None, expected: dict[str, str] | None
) -> None:
    logins: list[object] = []

    def pull(_reference: str, *, auth_config: object, **_: object) -> Iterator[dict[str, Any]]:
        logins.append(auth_config)
        return iter(())

    api = SimpleNamespace(pull=pull)
    with_client(api=api).pull("registry.test/app", lambda _line: None, login=login)
    assert logins == [expected]


def test_only_a_container_of_this_project_is_stopped() -> None:
    stopped: list[str] = []
    labels: dict[str, str] = {}
    container = SimpleNamespace(labels=labels, stop=lambda: stopped.append("registry"))
    engine = with_client(containers=SimpleNamespace(get=lambda _name: container))
    with pytest.raises(ForeignError, match="stop the container registry: it is not this project's"):
        engine.stop("registry")
    labels[docker_api.MANAGED] = "true"
    assert stopped == []
    engine.stop("registry")
    assert stopped == ["registry"]


def test_a_container_that_is_removed_during_a_list_is_left_out() -> None:
    """docker-py asks for each container by itself."""

    def list_containers(*, ignore_removed: bool = False, **_: object) -> list[object]:
        if not ignore_removed:
            raise docker.errors.NotFound("No such container: c81cf91")
        ports = {"8000/tcp": [{"HostPort": "8100"}]}
        return [SimpleNamespace(name="ledger", ports=ports, attrs={"Image": "sha256:1"})]

    engine = with_client(
        containers=SimpleNamespace(list=list_containers), images=SimpleNamespace(list=list)
    )
    assert engine.publishers() == {8100: ("ledger", 8000)}
    assert engine.unused_images([]) == []


def test_an_image_that_was_removed_under_its_container_is_in_use() -> None:
    def image(number: int) -> SimpleNamespace:
        attrs = {"RepoDigests": [f"localhost:5001/app@sha256:{number}"]}
        return SimpleNamespace(id=f"sha256:{number}", tags=[], attrs=attrs)

    containers = [SimpleNamespace(attrs={"Image": f"sha256:{number}"}) for number in (0, 1)]
    engine = with_client(
        containers=SimpleNamespace(list=lambda **_: containers),
        images=SimpleNamespace(list=lambda: [image(1), image(2)]),
    )
    assert engine.unused_images(["localhost:5001/app"]) == ["sha256:2"]


def test_new_lines_of_a_log_are_those_after_a_time() -> None:
    asked: list[object] = []

    def logs(**options: object) -> Iterator[bytes]:
        asked.append(options["since"])
        yield b"2026-01-01T00:00:01.000000001Z old\n2026-01-01T00:00:01.0000"
        yield "00002Z né w\n".encode()

    container = SimpleNamespace(logs=logs)
    engine = with_client(containers=SimpleNamespace(get=lambda _name: container))
    lines = list(engine.new_lines("app", "2026-01-01T00:00:01.000000001Z"))
    assert lines == [("2026-01-01T00:00:01.000000002Z", "né w")]
    assert asked == [1767225601]
