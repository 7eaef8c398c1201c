"""Ports are checked before a start; the released images run; `down` respects clusters."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from delivery.cluster import local_cluster
from delivery.errors import PlatformError, PortTakenError
from delivery.host.docker_api import Engine
from delivery.platform import lifecycle
from delivery.platform.compose import Compose, Service
from delivery.project import saved_settings
from delivery.project.declaration import Declaration
from delivery.release.released import Release, ReleasedPart

PINNED = "sha256:" + "a" * 64


def check(*ports: tuple[str, int], running: bool = False, published_by: str = "") -> None:
    """Check these ports of services, which run already, or which this container publishes."""
    services = [Service(name, "c1", "running", "", "", (port,)) for name, port in ports]
    publishers = {port: (published_by, 80) for _, port in ports if published_by}
    project = SimpleNamespace(
        engine=SimpleNamespace(publishers=lambda: publishers),
        ports=lambda: list(ports),
        services=lambda: services if running else [],
    )
    lifecycle.check_ports(cast("Compose", project))


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another program listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield int(listening.getsockname()[1])


def test_a_free_port_and_one_of_a_running_service_are_accepted(taken: int) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    check(("api-rest", free))
    check(("api-rest", taken), running=True)


@pytest.mark.parametrize(
    ("service", "published_by", "holder", "variable"),
    [
        ("api-rest", "", "another program", "API_PORT"),
        ("api-rest", "web", "the container web", "API_PORT"),
        ("kafka", "", "another program", "KAFKA_PORT"),
        ("database", "", "another program", "DATABASE_PORT"),
        ("prometheus", "", "another program", "PROMETHEUS_PORT"),
    ],
)
def test_the_error_of_a_taken_port_names_the_program_and_another_port(
    taken: int, service: str, published_by: str, holder: str, variable: str
) -> None:
    with pytest.raises(
        PortTakenError, match=f"port {taken} of {service} is taken by {holder}"
    ) as caught:
        check((service, taken), published_by=published_by)
    assert f"{variable}={taken + 1} ./run inv up" in caught.value.hint


def test_two_services_cannot_publish_one_port() -> None:
    with pytest.raises(PortTakenError, match="api-rest and kafka both publish port 8000") as caught:
        check(("api-rest", 8000), ("kafka", 8000))
    assert "KAFKA_PORT=8001" in caught.value.hint


def test_the_project_has_its_name_images_saved_ports_and_profiles(
    declaration: Declaration, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def compose(*, monitoring: bool = False) -> Compose:
        return lifecycle.compose(
            cast("Engine", None), declaration, release, tmp_path, monitoring=monitoring
        )

    release = Release({"api-rest": ReleasedPart("localhost:5001/api-rest", "k", PINNED)})
    saved_settings.save(tmp_path, {"API_PORT": "8100"}, is_local=True)
    project = compose()
    assert project.variables["API_REST_IMAGE"] == f"localhost:5001/api-rest@{PINNED}"
    assert project.variables["REGISTRY_IMAGE"] == "registry:2.8.3"
    assert project.variables["API_PORT"] == "8100"
    assert (project.name, project.profiles) == ("sample", ())
    assert compose(monitoring=True).profiles == ("monitoring",)
    monkeypatch.setenv("COMPOSE_PROJECT_NAME", "other")
    assert compose().name == "other"


def test_the_last_release_is_read(tmp_path: Path) -> None:
    assert lifecycle.released(tmp_path) is None
    release: Any = Release({"api-rest": ReleasedPart("localhost:5001/api-rest", "k", PINNED)})
    (tmp_path / ".delivery").mkdir(exist_ok=True)
    (tmp_path / ".delivery" / "release.json").write_text(release.to_json())
    assert lifecycle.released(tmp_path) == release


class FakeProject:
    """A compose project and its engine, with the calls and the remaining users."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.users: list[str] = []
        self.engine = self

    def down(self, _on_line: object, *, volumes: bool) -> None:
        self.calls.append(f"down {volumes}")

    def remove(self, name: str) -> bool:
        self.calls.append(f"remove {name}")
        return True

    def remove_volume(self, name: str) -> bool:
        self.calls.append(f"remove the volume {name}")
        return True


@pytest.fixture
def pulling(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The clusters that pull from the local registry."""
    clusters: list[str] = []
    known = {"sample-registry": clusters}
    monkeypatch.setattr(local_cluster, "clusters_pulling_from", lambda _engine, name: known[name])
    return clusters


def take_down(declaration: Declaration, *, volumes: bool, registry: bool = False) -> FakeProject:
    """Stop the platform; return the calls and the remaining users."""
    project = FakeProject()
    compose = cast("Compose", project)
    project.users = lifecycle.down(compose, declaration, volumes=volumes, registry=registry)
    return project


@pytest.mark.parametrize("volumes", [False, True])
@pytest.mark.parametrize(("users", "registry"), [([], False), (["sample"], True)])
def test_down_stops_the_registry_without_users_or_with_the_flag(
    pulling: list[str], declaration: Declaration, users: list[str], *, registry: bool, volumes: bool
) -> None:
    pulling += users
    project = take_down(declaration, volumes=volumes, registry=registry)
    data = ["remove the volume sample-registry"] if volumes else []
    assert (project.users, project.calls) == (
        [],
        [f"down {volumes}", "remove sample-registry", *data],
    )


def test_down_leaves_a_registry_that_clusters_pull_from(
    pulling: list[str], declaration: Declaration, capsys: pytest.CaptureFixture[str]
) -> None:
    pulling += ["sample", "other"]
    project = take_down(declaration, volumes=False)
    assert (project.users, project.calls) == (["sample", "other"], ["down False"])
    assert "registry: still runs: the clusters sample, other pull" in capsys.readouterr().out


def test_down_does_not_remove_images_that_clusters_pull(
    pulling: list[str], declaration: Declaration
) -> None:
    pulling += ["sample", "other"]
    project = FakeProject()
    with pytest.raises(PlatformError, match="the clusters sample, other pull from it") as caught:
        lifecycle.down(cast("Compose", project), declaration, volumes=True, registry=False)
    assert project.calls == []
    assert caught.value.hint.startswith(
        "first run `./run inv cluster.down` and `kind delete cluster --name other`; or"
    )
    assert "`./run inv down --volumes --registry`" in caught.value.hint


def test_logs_without_containers_print_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    project = SimpleNamespace(declared=lambda: ["kafka"], services=list, logs=lambda *_, **__: None)
    lifecycle.logs(cast("Compose", project), ["kafka"], follow=False, tail=5)
    assert "nothing is up" in capsys.readouterr().out
