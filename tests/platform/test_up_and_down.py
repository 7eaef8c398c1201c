"""`inv up` and `inv down` start and stop the platform, and record it."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from delivery import prompt
from delivery.deploy import freezing, inventory
from delivery.deploy.selection import DeployRequest
from delivery.errors import (
    DeclarationError,
    DeliveryError,
    FrozenError,
    PlatformError,
    SignatureError,
)
from delivery.host import engines, upstreams
from delivery.host.docker_api import Engine
from delivery.platform import lifecycle, overview, startup
from delivery.platform.compose import Compose, Service
from delivery.project import saved_settings
from delivery.project.declaration import Declaration, Upstream
from delivery.records import outbox, recorder
from delivery.records.ledger import Ledger
from delivery.registry import client, local_registry
from delivery.release import catalog, releasing, signing
from delivery.release.released import Release, ReleasedPart
from delivery.tasks import platform
from tests.engines import fake_engine
from tests.recorded import recorded
from tests.tasks.running import run

IMAGE = ReleasedPart("localhost:5001/api-rest", "k111111111", "sha256:" + "a" * 64)
K1 = "0.1.0-dev.3+k111111"
FIELDS = ("component", "version", "stage", "status")
RELEASE = Release({"base-image": replace(IMAGE, key="k0"), "api-rest": IMAGE})


@dataclass
class Calls:
    """The calls of the steps in their order, and the state of the fake platform."""

    steps: list[Any] = field(default_factory=list)
    running: list[Service] = field(default_factory=list)
    fails: str = ""
    known: dict[str, str] = field(default_factory=dict)
    port: int = 1  # without a listener
    at_up: list[tuple[Any, ...]] = field(default_factory=list)
    other_folders: list[str] = field(default_factory=list)
    saved: list[bool] = field(default_factory=list)
    registry_answers: bool = True
    checked: list[str] = field(default_factory=list)


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Calls:
    calls = Calls()

    def ensure(_engine: Engine, _declaration: Declaration, names: list[str]) -> str:
        calls.steps.append(("ensure", *names))
        return "pulled"

    def up(project: Compose, _release: Release) -> list[Service]:
        calls.steps.append(("up", project.profiles))
        calls.at_up = recorded(*FIELDS)
        if calls.fails == "up":
            raise PlatformError("cannot start the platform: api-rest did not become healthy")
        ports = {"api-rest": calls.port, "kafka": 9092, "database": 3306}
        ports |= {"prometheus": 9090} if project.profiles else {}
        return [
            Service(name, name, "running", "healthy", name, (port,)) for name, port in ports.items()
        ]

    monkeypatch.setattr(engines, "ensure", fake_engine)
    monkeypatch.setattr(
        lifecycle, "check_ports", lambda project: calls.steps.append(("ports", project.profiles))
    )
    monkeypatch.setattr(lifecycle, "released", lambda: None)
    monkeypatch.setattr(lifecycle, "up", up)

    def check(_address: str, version: str) -> str:
        calls.checked.append(version)
        if calls.fails == "check":
            raise PlatformError("cannot read event e1: it is not stored")
        return "e1"

    def save(*_: object, is_local: bool) -> dict[str, str]:
        calls.saved.append(is_local)
        return {"API_PORT": "8100", "KAFKA_PORT": "9192"}

    def running(_ledger: Ledger, _environment: str) -> dict[str, str]:
        if not calls.known:
            raise PlatformError("cannot read: no answer")
        return calls.known

    monkeypatch.setenv("DELIVERY_OUTBOX", str(tmp_path / "outbox"))
    monkeypatch.setattr(recorder, "_printed", set())
    monkeypatch.setattr(
        inventory, "_next_versions", lambda _declaration: {"api-rest": "0.1.0-dev.3"}
    )
    monkeypatch.setattr(releasing, "ensure_images", lambda *_: RELEASE)
    monkeypatch.setattr(lifecycle, "check", check)
    monkeypatch.setattr(Compose, "services", lambda _self: calls.running)
    monkeypatch.setattr(Compose, "other_folders", lambda _self: calls.other_folders)
    monkeypatch.setattr(saved_settings, "save", save)
    monkeypatch.setattr(client, "is_reachable", lambda _address: calls.registry_answers)
    monkeypatch.setattr(Compose, "ports", lambda _self: [("api-rest", calls.port)])
    monkeypatch.setattr(
        Compose, "declared", lambda _self: ["api-rest", "async-worker", "database", "kafka"]
    )
    monkeypatch.setattr(Ledger, "running", running)
    monkeypatch.setattr(upstreams, "ensure", ensure)
    return calls


def container(
    name: str, image: ReleasedPart, *, state: str = "running", health: str = "healthy"
) -> Service:
    return Service(name, "c1", state, health, image.pinned, (1,))


def test_up_is_recorded_as_a_deployment_of_the_apps_to_local(
    calls: Calls, declaration: Declaration
) -> None:
    startup.up(declaration).say()
    assert calls.at_up == [("api-rest", K1, "deploy", "started")]
    assert recorded("version", "status") == [(K1, "started"), (K1, "succeeded")]
    assert recorded("environment", "step") == [("local", "up")] * 2
    assert recorded("changed") == [(None,), (True,)]
    assert recorded("digest") == [(IMAGE.digest,)] * 2
    assert calls.checked == [K1]


def test_up_is_recorded_in_the_platforms_own_ledger(
    calls: Calls, declaration: Declaration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DELIVERY_LEDGER", "https://ledger.example.com")
    calls.port = 2
    startup.up(declaration).say()
    assert {waiting.ledger for waiting in outbox.waiting()} == {"http://localhost:2"}


@pytest.mark.parametrize("fails", ["up", "check"])
def test_a_failed_up_is_recorded(calls: Calls, declaration: Declaration, fails: str) -> None:
    calls.fails = fails
    with pytest.raises(PlatformError):
        startup.up(declaration).say()
    assert recorded("status") == [("started",), ("failed",)]


def test_up_names_the_settings_that_it_keeps_for_the_clone(
    calls: Calls, declaration: Declaration, capsys: pytest.CaptureFixture[str]
) -> None:
    startup.up(declaration)
    assert calls.saved == [True]
    assert (
        "later commands in this clone use API_PORT=8100, KAFKA_PORT=9192 too "
        "(saved in .delivery/ports.json)\n" in capsys.readouterr().out
    )


STARTED, CHANGED, UNCHANGED = ("started", None), ("succeeded", True), ("succeeded", False)


@pytest.mark.parametrize(
    ("service", "known", "events"),
    [
        (container("api-rest", IMAGE), {"api-rest": "0.1.0-dev.2+k111111", "another": "1.0.0"}, []),
        (
            container("api-rest", replace(IMAGE, digest="sha256:" + "b" * 64)),
            {"api-rest": K1},
            [STARTED, CHANGED],
        ),
        (
            container("api-rest", IMAGE, state="exited", health=""),
            {"api-rest": K1},
            [STARTED, CHANGED],
        ),
        (container("api-rest", IMAGE, health="unhealthy"), {"api-rest": K1}, [STARTED, CHANGED]),
        # An app that the ledger does not know to run is recorded.
        (container("api-rest", IMAGE), {}, [STARTED, UNCHANGED]),
        (container("api-rest", IMAGE), {"another": K1}, [STARTED, UNCHANGED]),
        (container("api-rest", IMAGE), {"api-rest": "0.1.0-dev.3+k000000"}, [STARTED, UNCHANGED]),
    ],
    ids=[
        "same",
        "other image",
        "exited",
        "unhealthy",
        "silent ledger",
        "not in the ledger",
        "other key",
    ],
)
def test_only_changes_are_recorded(
    calls: Calls,
    declaration: Declaration,
    service: Service,
    known: dict[str, str],
    events: list[tuple[Any, ...]],
) -> None:
    calls.running, calls.known = [service], known
    startup.up(declaration).say()
    assert recorded("status", "changed") == events


def test_waiting_events_are_delivered_before_the_ledger_is_read(
    calls: Calls, declaration: Declaration, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls.running = [container("api-rest", IMAGE)]
    delivered = []

    def deliver(**_: object) -> None:
        delivered.append(1)
        calls.known = {"api-rest": K1}

    monkeypatch.setattr("delivery.records.sending.deliver", deliver)
    startup.up(declaration).say()
    assert (delivered, recorded()) == ([1], [])


def test_an_app_that_already_ran_is_recorded_as_unchanged(
    calls: Calls, declaration: Declaration, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = replace(
        IMAGE,
        repository="localhost:5001/async-worker",
        key="k22222222",
        digest="sha256:" + "c" * 64,
    )
    monkeypatch.setattr(Declaration, "components", lambda _self: ["api-rest", "async-worker"])
    calls.running = [container("api-rest", IMAGE), container("async-worker", IMAGE)]
    release = replace(RELEASE, images={**RELEASE.images, "async-worker": worker})
    monkeypatch.setattr(releasing, "ensure_images", lambda *_: release)
    startup.up(declaration).say()
    assert recorded("component", "version", "status", "changed") == [
        ("async-worker", "k222222", "started", None),
        ("api-rest", K1, "succeeded", False),
        ("async-worker", "k222222", "succeeded", True),
    ]


@pytest.mark.parametrize("monitoring", [True, False])
def test_monitoring_starts_prometheus(
    calls: Calls, declaration: Declaration, capsys: pytest.CaptureFixture[str], *, monitoring: bool
) -> None:
    prometheus = Upstream(image="prom/prometheus:v1", recipe="prometheus", optional=True)
    upstream = {**declaration.upstream, "prometheus": prometheus}
    startup.up(declaration.model_copy(update={"upstream": upstream}), monitoring=monitoring).say()
    profiles = ("monitoring",) if monitoring else ()
    ensured = [("ensure", "prometheus")] if monitoring else []
    assert calls.steps == [("ports", profiles), *ensured, ("up", profiles)]
    assert ("Prometheus     http://localhost:9090/" in capsys.readouterr().out) is monitoring


@pytest.mark.parametrize("answers", [True, False])
def test_a_failed_build_deploys_nothing_and_saves_settings_only_if_the_registry_answers(
    calls: Calls, declaration: Declaration, monkeypatch: pytest.MonkeyPatch, *, answers: bool
) -> None:
    # In a pipeline a deploy that fails early is recorded, too.
    monkeypatch.setenv("BUILD_URL", "https://ci.example.com/7/")

    def make(*_: object) -> Release:
        raise PlatformError("cannot build: no")

    calls.registry_answers = answers
    monkeypatch.setattr(releasing, "ensure_images", make)
    with pytest.raises(PlatformError):
        startup.up(declaration)
    assert calls.saved == [True] * answers
    assert recorded() == []
    assert ("up", ()) not in calls.steps


@pytest.mark.usefixtures("calls")
def test_a_component_outside_the_compose_files_is_not_recorded(
    declaration: Declaration, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Declaration, "components", lambda _self: ["api-rest", "greeter"])
    greeter = replace(IMAGE, repository="localhost:5001/greeter", key="k2")
    release = replace(RELEASE, images={**RELEASE.images, "greeter": greeter})
    monkeypatch.setattr(releasing, "ensure_images", lambda *_: release)
    startup.up(declaration).say()
    assert {component for (component,) in recorded("component")} == {"api-rest"}
    assert "not started    greeter" in capsys.readouterr().out


def test_up_prints_a_note_about_another_clone_with_the_same_platform(
    calls: Calls, declaration: Declaration, capsys: pytest.CaptureFixture[str]
) -> None:
    calls.other_folders = ["/elsewhere/clone"]
    startup.up(declaration).say()
    assert "note: sample is also the platform of the clone" in capsys.readouterr().out


@pytest.fixture
def removals(calls: Calls, declaration: Declaration, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each `down`, whether it removed the data."""
    calls.running = []
    removed: list[bool] = []

    def down(*_: object, volumes: bool, registry: bool) -> list[str]:
        assert not registry
        removed.append(volumes)
        return []

    monkeypatch.setattr(engines, "require", fake_engine)
    monkeypatch.setattr("delivery.project.files.load_declaration", lambda: declaration)
    monkeypatch.setattr(
        lifecycle, "data_volumes", lambda *_: ["sample_database", "sample-registry"]
    )
    monkeypatch.setattr(lifecycle, "down", down)
    return removed


def test_down_is_recorded_before_the_ledger_stops(
    calls: Calls, removals: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    at_down: list[list[tuple[Any, ...]]] = []

    def down(*_: object, volumes: bool, **_flags: object) -> None:
        at_down.append([(volumes,), *recorded(*FIELDS)])

    monkeypatch.setattr(lifecycle, "down", down)
    calls.running = [
        container("api-rest", IMAGE),
        container("kafka", IMAGE),
        container("async-worker", IMAGE, state="exited"),
    ]
    calls.known = {"api-rest": K1, "async-worker": K1, "platform-chart": "0.1.0"}
    run(platform.down)
    assert at_down == [[(False,), ("api-rest", K1, "deploy", "removed")]]
    assert recorded("environment", "step") == [("local", "down")]
    assert removals == []


@pytest.mark.parametrize("case", ["data removed", "not running", "no answer"])
def test_down_records_nothing_without_a_ledger(
    calls: Calls, removals: list[bool], case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    calls.running = [] if case == "not running" else [container("api-rest", IMAGE)]
    calls.known = {} if case == "no answer" else {"api-rest": K1}
    run(platform.down, volumes=case == "data removed", yes=True)
    assert removals[0] is (case == "data removed")
    assert recorded() == []
    assert capsys.readouterr().err == ""


def test_data_is_removed_only_after_a_confirmation(
    removals: list[bool], capsys: pytest.CaptureFixture[str]
) -> None:
    run(platform.down)
    assert removals == [False]
    with pytest.raises(DeclarationError) as refused:
        run(platform.down, volumes=True)
    assert removals == [False]
    assert "the volumes sample_database, sample-registry" in capsys.readouterr().out
    assert "--yes" in refused.value.hint
    run(platform.down, volumes=True, yes=True)
    assert removals == [False, True]


@pytest.mark.parametrize(("typed", "removed"), [("sample", [True]), ("y", [])])
def test_the_projects_name_confirms_the_removal_at_a_terminal(
    removals: list[bool], monkeypatch: pytest.MonkeyPatch, typed: str, removed: list[bool]
) -> None:
    monkeypatch.setattr(prompt, "is_interactive", lambda: True)
    monkeypatch.setattr("builtins.input", lambda _prompt: typed)
    with suppress(DeclarationError):
        run(platform.down, volumes=True)
    assert removals == removed


@pytest.mark.parametrize("json_", [False, True])
def test_status_prints_everything_and_fails_for_a_stopped_service(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, json_: bool
) -> None:
    down = overview.Status(
        "an engine", (), (), (container("async-worker", IMAGE, state="exited", health=""),)
    )
    monkeypatch.setattr(overview, "load_status", lambda _declaration: down)
    with pytest.raises(PlatformError, match="async-worker is exited"):
        run(platform.status, json_=json_)
    printed = capsys.readouterr().out
    if json_:
        assert json.loads(printed)["problems"] == ["async-worker is exited"]
    else:
        assert "engine: an engine" in printed
        assert "async-worker" in printed


@pytest.mark.usefixtures("removals")
@pytest.mark.parametrize("users", [[], ["sample"]])
def test_down_names_the_clusters_that_use_the_registry(
    users: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options: list[dict[str, bool]] = []

    def down(*_: object, **flags: bool) -> list[str]:
        options.append(flags)
        return users

    monkeypatch.setattr(lifecycle, "down", down)
    run(platform.down, registry=True)
    assert options == [{"volumes": False, "registry": True}]
    printed = " ".join(capsys.readouterr().out.split())
    note = "for sample: to stop it, `./run inv cluster.down`, then `./run inv down`; or at once"
    assert (f"{note} `./run inv down --registry`" in printed) is bool(users)


@pytest.mark.usefixtures("removals")
def test_down_says_that_the_private_engine_is_shared(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lifecycle, "down", lambda *_, **_flags: [])
    monkeypatch.setattr(Engine, "is_private", True)
    run(platform.down)
    printed = capsys.readouterr().out
    assert "the private engine still runs, with the containers of all clones" in printed


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (DeployRequest(version="1.0.0", signed=True), "no signature"),
        (DeployRequest(version="current", signed=True), "signatures are required"),
        (DeployRequest(version="deployed"), "only a cluster has it"),
        (DeployRequest("staging", "1.0.0"), "it is for local only"),
    ],
)
def test_deploy_by_docker_follows_the_rules_of_local(
    calls: Calls,
    declaration: Declaration,
    monkeypatch: pytest.MonkeyPatch,
    request_: DeployRequest,
    message: str,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise SignatureError("cannot verify: no signature")

    monkeypatch.setattr(local_registry, "ensure", lambda *_: None)
    monkeypatch.setattr(catalog, "require", lambda *_: replace(RELEASE, version="1.0.0"))
    monkeypatch.setattr(catalog, "references", lambda *_: [])
    monkeypatch.setattr(signing, "verify", refuse)
    with pytest.raises(DeliveryError, match=message):
        startup.deploy(declaration, request_)
    assert ("up", ()) not in calls.steps


def test_deploy_by_docker_obeys_a_freeze(
    calls: Calls, declaration: Declaration, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(_declaration: Declaration, name: str, override: str) -> str:
        raise FrozenError(f"cannot deploy to {name}: {override}", hint="wait")

    monkeypatch.setattr(freezing, "check", check)
    with pytest.raises(FrozenError, match="cannot deploy to local: why"):
        startup.deploy(declaration, DeployRequest(version="current", override="why"))
    assert ("up", ()) not in calls.steps


def test_an_error_in_recording_does_not_stop_up(
    calls: Calls,
    declaration: Declaration,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(inventory, "contents_of_clone", broken)
    startup.up(declaration)
    assert ("up", ()) in calls.steps
    assert "records: not recorded: ZeroDivisionError: oops" in capsys.readouterr().err
