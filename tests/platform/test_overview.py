"""Looking changes nothing, and says what does not answer."""

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


@pytest.fixture(autouse=True)
def _no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_api, "find", lambda: None)
    monkeypatch.setattr(environments, "status", lambda _declaration: ())


def test_without_engine_and_registry_says_so(declaration: Declaration, sample: Path) -> None:
    found = overview.look(declaration.with_registry("localhost:1"), sample)
    assert found.engine.startswith("none answers")
    assert {image.registry for image in found.images} == {"the registry does not answer"}
    assert found.services == ()


def test_says_what_the_registry_holds(declaration: Declaration, sample: Path) -> None:
    registry = FakeRegistry()
    registry.add(
        "base-image", planning.content_keys(declaration, sample)["base-image"], b"manifest"
    )
    with serving(registry) as (address, _):
        found = overview.look(declaration.with_registry(address), sample)
    assert [image.registry for image in found.images] == [sha256(b"manifest"), "not built yet"]


def test_tables_name_images_as_people_compare_them() -> None:
    pinned = f"localhost:5001/api-rest@{sha256(b'manifest')}"
    found = overview.Status(
        "an engine", (), (), (Service("api-rest", "c1", "running", "", pinned, (8000,)),)
    )
    (*_, (_, _, rows)) = found.tables()
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
def test_what_was_taken_down_or_is_well_is_no_problem(services: tuple[Service, ...]) -> None:
    found = status_of(*services)
    found.check()
    assert found.as_json()["problems"] == []


@pytest.mark.parametrize(
    ("found", "said", "hint"),
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
def test_what_is_down_or_behind_is_an_error_that_names_it(
    found: overview.Status, said: str, hint: str
) -> None:
    with pytest.raises(PlatformError) as caught:
        found.check()
    assert caught.value.message == f"cannot use all of the platform: {said}"
    assert f"--service {hint}`" in caught.value.hint
    assert found.as_json()["problems"] == said.split("; ")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> list[Service]:
    """The containers that an engine has of the platform; a test adds them."""
    services: list[Service] = []
    asked = SimpleNamespace(describe=lambda: "an engine", image_labels=lambda _: None)
    monkeypatch.setattr(docker_api, "find", lambda: asked)
    monkeypatch.delenv("COMPOSE_PROJECT_NAME", raising=False)
    monkeypatch.setattr(
        lifecycle,
        "compose",
        lambda *_: SimpleNamespace(services=lambda: services, other_folders=list),
    )
    return services


def test_a_running_ledger_is_asked_how_it_is(
    run: list[Service], declaration: Declaration, sample: Path
) -> None:
    told = {"status": "degraded", "reasons": ["7 events wait"]}
    with serving(lambda *_: (200, {}, json.dumps(told).encode())) as (address, seen):
        run.append(service("api-rest", ports=(int(address.rpartition(":")[2]),)))
        found = overview.look(declaration.with_registry("localhost:1"), sample)
    assert (found.ledger, found.reasons) == ("degraded", ("7 events wait",))
    assert seen == ["GET /ready"]


def test_a_running_ledger_that_does_not_answer_is_a_problem(
    run: list[Service], declaration: Declaration, sample: Path
) -> None:
    run.append(service("api-rest", ports=(1,)))
    assert overview.look(declaration.with_registry("localhost:1"), sample).problems == [
        "api-rest does not answer"
    ]


def test_a_ledger_that_does_not_run_is_not_asked(
    run: list[Service], declaration: Declaration, sample: Path
) -> None:
    run.append(service("api-rest", "exited", ""))
    found = overview.look(declaration.with_registry("localhost:1"), sample)
    assert (found.ledger, found.problems) == ("", ["api-rest is exited"])


def test_environments_on_kubernetes_are_a_table_of_their_own_where_there_are_any(
    declaration: Declaration, sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = environments.EnvironmentStatus(
        "develop", "develop", 3, (("api-rest", "0.2.0"),), "all pods are ready", "now"
    )
    assert [
        title
        for title, _, _ in overview.look(declaration.with_registry("localhost:1"), sample).tables()
    ][-1] == "the platform"
    monkeypatch.setattr(environments, "status", lambda _declaration: (one,))
    (*_, (title, _, rows)) = overview.look(
        declaration.with_registry("localhost:1"), sample
    ).tables()
    assert (title, rows) == ("on Kubernetes", [one.row()])
