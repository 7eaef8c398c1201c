"""The status of engine, images, platform and environments."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from delivery.build import planning
from delivery.deploy import environments
from delivery.errors import PlatformError
from delivery.host import docker_api
from delivery.platform import lifecycle, overview
from delivery.platform.compose import Service
from delivery.project.declaration import Declaration
from tests.registries import FakeRegistry, serving, sha256


@pytest.fixture
def offline(declaration: Declaration) -> Declaration:
    """A project whose registry does not answer."""
    return declaration.with_registry("localhost:1")


@pytest.fixture(autouse=True)
def _no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_api, "find", lambda: None)
    monkeypatch.setattr(environments, "status", lambda _declaration: ())


def test_without_engine_and_registry(offline: Declaration, sample: Path) -> None:
    status = overview.load_status(offline, sample)
    assert status.engine.startswith("none answers")
    assert {image.registry for image in status.images} == {"the registry does not answer"}
    assert status.services == ()


def test_the_digests_in_the_registry_are_shown(declaration: Declaration, sample: Path) -> None:
    registry = FakeRegistry()
    registry.add(
        "base-image", planning.content_keys(declaration, sample)["base-image"], b"manifest"
    )
    with serving(registry) as (address, _):
        status = overview.load_status(declaration.with_registry(address), sample)
    assert [image.registry for image in status.images] == [sha256(b"manifest"), "not built yet"]


def test_tables_show_short_references() -> None:
    pinned = f"localhost:5001/api-rest@{sha256(b'manifest')}"
    status = overview.Status(
        "an engine", (), (), (Service("api-rest", "c1", "running", "", pinned, (8000,)),)
    )
    (*_, (_, _, rows)) = status.tables()
    assert rows == [("api-rest", "running", "-", "8000", f"api-rest@{sha256(b'manifest')[:19]}")]


def service(
    name: str, state: str = "running", health: str = "healthy", ports: tuple[int, ...] = ()
) -> Service:
    return Service(name, "c1", state, health, name, ports)


def status_of(*services: Service, reasons: tuple[str, ...] = ()) -> overview.Status:
    return overview.Status(
        "an engine", (), (), services, "degraded" if reasons else "ready", reasons
    )


@pytest.mark.parametrize("services", [(), (service("kafka"), service("prometheus", health=""))])
def test_healthy_services_are_no_problem(services: tuple[Service, ...]) -> None:
    status = status_of(*services)
    status.check()
    assert status.to_json()["problems"] == []


@pytest.mark.parametrize(
    ("status", "problems", "hint"),
    [
        (
            status_of(service("kafka"), service("async-worker", "exited", "")),
            "async-worker is exited",
            "async-worker",
        ),
        (status_of(service("kafka", health="unhealthy")), "kafka is unhealthy", "kafka"),
        (status_of(service("api-rest", health="starting")), "api-rest is starting", "api-rest"),
        (status_of(service("kafka", "restarting", "")), "kafka is restarting", "kafka"),
        (status_of(service("kafka"), reasons=("7 events wait",)), "7 events wait", "async-worker"),
        (
            status_of(service("async-worker", "exited", ""), reasons=("7 events wait",)),
            "async-worker is exited; 7 events wait",
            "async-worker",
        ),
    ],
)
def test_a_service_that_is_down_or_behind_is_an_error(
    status: overview.Status, problems: str, hint: str
) -> None:
    with pytest.raises(PlatformError) as caught:
        status.check()
    assert caught.value.message == f"cannot use all of the platform: {problems}"
    assert f"--service {hint}`" in caught.value.hint
    assert status.to_json()["problems"] == problems.split("; ")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> list[Service]:
    """The platform's containers in a fake engine; empty at first."""
    services: list[Service] = []
    engine = SimpleNamespace(describe=lambda: "an engine", image_labels=lambda _: None)
    monkeypatch.setattr(docker_api, "find", lambda: engine)
    monkeypatch.setattr(
        lifecycle,
        "compose",
        lambda *_: SimpleNamespace(services=lambda: services, other_folders=list),
    )
    return services


def test_the_readiness_of_a_running_ledger_is_shown(
    run: list[Service], offline: Declaration, sample: Path
) -> None:
    readiness = {"status": "degraded", "reasons": ["7 events wait"]}
    with serving(lambda *_: (200, {}, json.dumps(readiness).encode())) as (address, seen):
        run.append(service("api-rest", ports=(int(address.rpartition(":")[2]),)))
        status = overview.load_status(offline, sample)
    assert (status.ledger, status.reasons) == ("degraded", ("7 events wait",))
    assert seen == ["GET /ready"]


def test_a_running_ledger_that_does_not_answer_is_a_problem(
    run: list[Service], offline: Declaration, sample: Path
) -> None:
    run.append(service("api-rest", ports=(1,)))
    assert overview.load_status(offline, sample).problems == ["api-rest does not answer"]


def test_a_stopped_ledger_is_not_asked(
    run: list[Service], offline: Declaration, sample: Path
) -> None:
    run.append(service("api-rest", "exited", ""))
    status = overview.load_status(offline, sample)
    assert (status.ledger, status.problems) == ("", ["api-rest is exited"])


def test_environments_on_kubernetes_get_a_table(
    offline: Declaration, sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    develop = environments.EnvironmentStatus(
        "develop", "develop", 3, (("api-rest", "0.2.0"),), "all pods are ready", "now"
    )
    tables = overview.load_status(offline, sample).tables()
    assert tables[-1][0] == "the platform"
    monkeypatch.setattr(environments, "status", lambda _declaration: (develop,))
    (*_, (title, _, rows)) = overview.load_status(offline, sample).tables()
    assert (title, rows) == ("on Kubernetes", [develop.row()])
