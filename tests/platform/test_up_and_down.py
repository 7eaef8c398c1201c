"""`inv up` brings up what is asked for, says where it is, and is a deployment to `local`."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest
from invoke.context import Context
from invoke.exceptions import Exit

from delivery import prompt
from delivery.deploy import inventory
from delivery.deploy.selection import DeployRequest
from delivery.errors import DeliveryError, PlatformError, SignatureError
from delivery.host import engines, upstreams
from delivery.host.docker_api import Engine
from delivery.platform import bringing_up, lifecycle, overview
from delivery.platform.compose import Compose, Service
from delivery.platform.lifecycle import Proof
from delivery.project import saved_settings
from delivery.project.declaration import Declaration, Upstream
from delivery.records import outbox, recorder
from delivery.records.ledger import Ledger
from delivery.registry import local_registry
from delivery.release import catalog, releasing, signing
from delivery.release.released import Release, ReleasedPart
from delivery.tasks import platform

IMAGE = ReleasedPart("localhost:5001/api-rest", "k111111111", "sha256:" + "a" * 64)
K1 = "0.1.0-dev.3+k111111"
RELEASE = Release({"base-image": replace(IMAGE, key="k0"), "api-rest": IMAGE})


@dataclass
class Asked:
    """What the steps were asked for, in their order, and what runs."""

    calls: list[Any] = field(default_factory=list)
    running: list[Service] = field(default_factory=list)
    fails: str = ""
    known: dict[str, str] = field(default_factory=dict)
    port: int = 1  # where nobody is
    at_up: list[tuple[Any, ...]] = field(default_factory=list)
    other_folders: list[str] = field(default_factory=list)
    kept: list[bool] = field(default_factory=list)
    proved: list[str] = field(default_factory=list)


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asked:
    found = Asked()

    def ensure(_engine: Engine, _declaration: Declaration, name: str) -> str:
        found.calls.append(("ensure", name))
        return "pulled"

    def up(project: Compose, _release: Release) -> list[Service]:
        found.calls.append(("up", project.profiles))
        found.at_up = recorded()
        if found.fails == "up":
            raise PlatformError("bring the platform up: api-rest did not become healthy")
        ports = {"api-rest": found.port, "kafka": 9092, "database": 3306}
        ports |= {"prometheus": 9090} if project.profiles else {}
        return [
            Service(name, name, "running", "healthy", name, (port,)) for name, port in ports.items()
        ]

    monkeypatch.setattr(
        engines,
        "ensure",
        lambda: Engine(cast("Any", None), "unix:///x", "26", True, {}),  # noqa: FBT003
    )
    monkeypatch.setattr(
        lifecycle, "check_ports", lambda project: found.calls.append(("ports", project.profiles))
    )
    monkeypatch.setattr(lifecycle, "released", lambda: None)
    monkeypatch.setattr(lifecycle, "up", up)

    def prove(address: str, version: str) -> Proof:
        found.proved.append(version)
        if found.fails == "prove":
            raise PlatformError("read event e1 back from the ledger: it has not come")
        return Proof("e1", address, 0.1)

    def running(_ledger: Ledger, _environment: str) -> dict[str, str]:
        if not found.known:
            raise PlatformError("ask: it does not answer")
        return found.known

    monkeypatch.setenv("DELIVERY_OUTBOX", str(tmp_path / "outbox"))
    monkeypatch.setattr(recorder, "_printed", set())
    monkeypatch.setattr(
        inventory, "_next_versions", lambda _declaration: {"api-rest": "0.1.0-dev.3"}
    )
    monkeypatch.setattr(releasing, "ensure_images", lambda *_: RELEASE)
    monkeypatch.setattr(lifecycle, "prove", prove)
    monkeypatch.setattr(Compose, "services", lambda _self: found.running)
    monkeypatch.setattr(Compose, "other_folders", lambda _self: found.other_folders)
    monkeypatch.setattr(saved_settings, "save", lambda *_, is_local: found.kept.append(is_local))
    monkeypatch.setattr(Compose, "ports", lambda _self: [("api-rest", found.port)])
    monkeypatch.setattr(
        Compose, "declared", lambda _self: ["api-rest", "async-worker", "database", "kafka"]
    )
    monkeypatch.setattr(Ledger, "running", running)
    monkeypatch.setattr(upstreams, "ensure", ensure)
    return found


def recorded(*names: str) -> list[tuple[Any, ...]]:
    """The events in the outbox, by these fields of them."""
    chosen = names or ("component", "version", "stage", "status")
    events = [{**one.event["details"], **one.event} for one in outbox.waiting()]
    return [tuple(event.get(name) for name in chosen) for event in events]


def runs(
    name: str, image: ReleasedPart, *, state: str = "running", health: str = "healthy"
) -> Service:
    return Service(name, "c1", state, health, image.pinned, (1,))


def test_up_is_a_deployment_of_the_apps_to_local(asked: Asked, declaration: Declaration) -> None:
    bringing_up.up(declaration).say()
    assert asked.at_up == [("api-rest", K1, "deploy", "started")]
    assert recorded("version", "status") == [(K1, "started"), (K1, "succeeded")]
    assert recorded("environment", "step") == [("local", "up")] * 2
    assert recorded("changed") == [(None,), (True,)]
    assert recorded("digest") == [(IMAGE.digest,)] * 2
    assert asked.proved == [K1]


def test_up_is_recorded_in_the_ledger_that_it_brings_up(
    asked: Asked, declaration: Declaration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DELIVERY_LEDGER", "https://ledger.example.com")
    asked.port = 2
    bringing_up.up(declaration).say()
    assert {one.ledger for one in outbox.waiting()} == {"http://localhost:2"}


@pytest.mark.parametrize("fails", ["up", "prove"])
def test_an_up_that_fails_is_recorded_so(
    asked: Asked, declaration: Declaration, fails: str
) -> None:
    asked.fails = fails
    with pytest.raises(PlatformError):
        bringing_up.up(declaration).say()
    assert recorded("status") == [("started",), ("failed",)]


def test_a_build_that_fails_deploys_nothing(
    asked: Asked, declaration: Declaration, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In a pipeline a deploy that fails early is recorded, too.
    monkeypatch.setenv("BUILD_URL", "https://ci.example.com/7/")

    def make(*_: object) -> Release:
        raise PlatformError("build: no")

    monkeypatch.setattr(releasing, "ensure_images", make)
    with pytest.raises(PlatformError):
        bringing_up.up(declaration)
    assert recorded() == []
    assert ("up", ()) not in asked.calls


STARTED, CHANGED, UNCHANGED = ("started", None), ("succeeded", True), ("succeeded", False)


@pytest.mark.parametrize(
    ("service", "known", "said"),
    [
        (runs("api-rest", IMAGE), {"api-rest": "0.1.0-dev.2+k111111", "another": "1.0.0"}, []),
        (
            runs("api-rest", replace(IMAGE, digest="sha256:" + "b" * 64)),
            {"api-rest": K1},
            [STARTED, CHANGED],
        ),
        (runs("api-rest", IMAGE, state="exited", health=""), {"api-rest": K1}, [STARTED, CHANGED]),
        (runs("api-rest", IMAGE, health="unhealthy"), {"api-rest": K1}, [STARTED, CHANGED]),
        # What runs without the ledger knowing is recorded all the same.
        (runs("api-rest", IMAGE), {}, [STARTED, UNCHANGED]),
        (runs("api-rest", IMAGE), {"another": K1}, [STARTED, UNCHANGED]),
        (runs("api-rest", IMAGE), {"api-rest": "0.1.0-dev.3+k000000"}, [STARTED, UNCHANGED]),
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
def test_what_is_recorded_is_what_changes(
    asked: Asked,
    declaration: Declaration,
    service: Service,
    known: dict[str, str],
    said: list[tuple[Any, ...]],
) -> None:
    asked.running, asked.known = [service], known
    bringing_up.up(declaration).say()
    assert recorded("status", "changed") == said


def test_what_waits_for_the_ledger_is_delivered_before_it_is_asked(
    asked: Asked, declaration: Declaration, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked.running = [runs("api-rest", IMAGE)]
    delivered = []

    def deliver(**_: object) -> None:
        delivered.append(1)
        asked.known = {"api-rest": K1}

    monkeypatch.setattr("delivery.records.sending.deliver", deliver)
    bringing_up.up(declaration).say()
    assert (delivered, recorded()) == ([1], [])


def test_of_two_apps_the_one_that_ran_before_is_unchanged(
    asked: Asked, declaration: Declaration, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = replace(
        IMAGE,
        repository="localhost:5001/async-worker",
        key="k22222222",
        digest="sha256:" + "c" * 64,
    )
    monkeypatch.setattr(Declaration, "components", lambda _self: ["api-rest", "async-worker"])
    asked.running = [runs("api-rest", IMAGE), runs("async-worker", IMAGE)]
    release = replace(RELEASE, images={**RELEASE.images, "async-worker": worker})
    monkeypatch.setattr(releasing, "ensure_images", lambda *_: release)
    bringing_up.up(declaration).say()
    assert recorded("component", "version", "status", "changed") == [
        ("async-worker", "k222222", "started", None),
        ("api-rest", K1, "succeeded", False),
        ("async-worker", "k222222", "succeeded", True),
    ]


@pytest.mark.parametrize("monitoring", [True, False])
def test_prometheus_is_had_and_brought_up_when_it_is_asked_for(
    asked: Asked, declaration: Declaration, capsys: pytest.CaptureFixture[str], *, monitoring: bool
) -> None:
    prometheus = Upstream(image="prom/prometheus:v1", recipe="prometheus", optional=True)
    upstream = {**declaration.upstream, "prometheus": prometheus}
    bringing_up.up(
        declaration.model_copy(update={"upstream": upstream}), monitoring=monitoring
    ).say()
    profiles = ("monitoring",) if monitoring else ()
    ensured = [("ensure", "prometheus")] if monitoring else []
    assert asked.calls == [("ports", profiles), *ensured, ("up", profiles)]
    assert ("Prometheus     http://localhost:9090/" in capsys.readouterr().out) is monitoring


def test_the_ports_are_kept_before_anything_is_made(
    asked: Asked, declaration: Declaration, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(*_: object) -> Release:
        assert asked.kept == [True]
        return RELEASE

    monkeypatch.setattr(releasing, "ensure_images", make)
    bringing_up.up(declaration)


@pytest.mark.usefixtures("asked")
def test_what_compose_does_not_start_is_built_and_not_recorded(
    declaration: Declaration, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Declaration, "components", lambda _self: ["api-rest", "greeter"])
    greeter = replace(IMAGE, repository="localhost:5001/greeter", key="k2")
    release = replace(RELEASE, images={**RELEASE.images, "greeter": greeter})
    monkeypatch.setattr(releasing, "ensure_images", lambda *_: release)
    bringing_up.up(declaration).say()
    assert {component for (component,) in recorded("component")} == {"api-rest"}
    assert "not started    greeter" in capsys.readouterr().out


def test_who_shares_a_platform_with_another_clone_is_told(
    asked: Asked, declaration: Declaration, capsys: pytest.CaptureFixture[str]
) -> None:
    asked.other_folders = ["/elsewhere/clone"]
    bringing_up.up(declaration).say()
    assert (
        "note: sample is also the platform of the clone in /elsewhere/clone"
        in capsys.readouterr().out
    )


@pytest.fixture
def taken_down(
    asked: Asked, declaration: Declaration, monkeypatch: pytest.MonkeyPatch
) -> list[bool]:
    """Whether each `down` removed the data."""
    asked.running = []
    found: list[bool] = []

    def down(*_: object, volumes: bool, registry: bool) -> list[str]:
        assert not registry
        found.append(volumes)
        return []

    engine = Engine(cast("Any", None), "unix:///x", "26", False, {})  # noqa: FBT003
    monkeypatch.setattr(engines, "require", lambda: engine)
    monkeypatch.setattr("delivery.project.files.load_declaration", lambda: declaration)
    monkeypatch.setattr(lifecycle, "data", lambda *_: ["sample_database", "sample-registry"])
    monkeypatch.setattr(lifecycle, "down", down)
    return found


def test_down_tells_the_platforms_own_ledger_before_it_is_gone(
    asked: Asked, taken_down: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    at_down: list[list[tuple[Any, ...]]] = []
    monkeypatch.setattr(
        lifecycle, "down", lambda *_, volumes, **_flags: at_down.append([(volumes,), *recorded()])
    )
    asked.running = [
        runs("api-rest", IMAGE),
        runs("kafka", IMAGE),
        runs("async-worker", IMAGE, state="exited"),
    ]
    asked.known = {"api-rest": K1, "async-worker": K1, "platform-chart": "0.1.0"}
    platform.down(cast("Any", Context()))
    assert at_down == [[(False,), ("api-rest", K1, "deploy", "removed")]]
    assert recorded("environment", "step") == [("local", "down")]
    assert taken_down == []


@pytest.mark.parametrize("what", ["its data goes", "it does not run", "it does not answer"])
def test_a_ledger_that_cannot_be_told_is_not(
    asked: Asked, taken_down: list[bool], what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked.running = [] if what == "it does not run" else [runs("api-rest", IMAGE)]
    asked.known = {} if what == "it does not answer" else {"api-rest": K1}
    platform.down(cast("Any", Context()), volumes=what == "its data goes", yes=True)
    assert taken_down[0] is (what == "its data goes")
    assert recorded() == []
    assert capsys.readouterr().err == ""


def test_nobody_removes_data_without_a_word(
    taken_down: list[bool], capsys: pytest.CaptureFixture[str]
) -> None:
    platform.down(cast("Any", Context()))
    assert taken_down == [False]
    with pytest.raises(Exit) as ended:
        platform.down(cast("Any", Context()), volumes=True)
    assert (ended.value.code, taken_down) == (2, [False])
    printed = capsys.readouterr()
    assert "the volumes sample_database, sample-registry" in printed.out
    assert "--yes" in printed.err
    platform.down(cast("Any", Context()), volumes=True, yes=True)
    assert taken_down == [False, True]


@pytest.mark.parametrize(("typed", "removed"), [("sample", [True]), ("y", [])])
def test_at_a_terminal_the_projects_name_is_typed(
    taken_down: list[bool], monkeypatch: pytest.MonkeyPatch, typed: str, removed: list[bool]
) -> None:
    monkeypatch.setattr(prompt, "is_interactive", lambda: True)
    monkeypatch.setattr("builtins.input", lambda _prompt: typed)
    with suppress(Exit):
        platform.down(cast("Any", Context()), volumes=True)
    assert taken_down == removed


@pytest.mark.parametrize("json_", [False, True])
def test_status_says_all_that_there_is_and_fails_for_what_is_down(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, json_: bool
) -> None:
    down = overview.Status(
        "an engine", (), (), (runs("async-worker", IMAGE, state="exited", health=""),)
    )
    monkeypatch.setattr(overview, "look", lambda _declaration: down)
    with pytest.raises(Exit) as caught:
        platform.status(Context(), json_=json_)
    assert caught.value.code == 7
    told = capsys.readouterr()
    if json_:
        assert json.loads(told.out)["problems"] == ["async-worker is exited"]
    else:
        assert "engine: an engine" in told.out
        assert "async-worker" in told.out
    assert "cannot use all of the platform: async-worker is exited" in told.err


@pytest.mark.usefixtures("taken_down")
@pytest.mark.parametrize("users", [[], ["sample"]])
def test_down_says_for_whom_the_registry_is_left_and_how_it_is_stopped(
    users: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options: list[dict[str, bool]] = []

    def down(*_: object, **flags: bool) -> list[str]:
        options.append(flags)
        return users

    monkeypatch.setattr(lifecycle, "down", down)
    platform.down(Context(), registry=True)
    assert options == [{"volumes": False, "registry": True}]
    said = " ".join(capsys.readouterr().out.split())
    told = "for sample: to stop it, `./run inv cluster.down`, then `./run inv down`; or at once"
    assert (f"{told} `./run inv down --registry`" in said) is bool(users)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (DeployRequest(version="1.0.0", signed=True), "no signature"),
        (DeployRequest(version="current", signed=True), "signatures are required"),
        (DeployRequest(version="deployed"), "no cluster is asked"),
        (DeployRequest("staging", "1.0.0"), "docker is for local only"),
    ],
)
def test_docker_takes_what_local_takes(
    asked: Asked,
    declaration: Declaration,
    monkeypatch: pytest.MonkeyPatch,
    request_: DeployRequest,
    said: str,
) -> None:
    def refuse(*_: object) -> None:
        raise SignatureError("verify: no signature")

    monkeypatch.setattr(local_registry, "ensure", lambda *_: None)
    monkeypatch.setattr(catalog, "require", lambda *_: replace(RELEASE, version="1.0.0"))
    monkeypatch.setattr(catalog, "references", lambda *_: [])
    monkeypatch.setattr(signing, "verify", refuse)
    with pytest.raises(DeliveryError, match=said):
        bringing_up.deploy(declaration, request_)
    assert ("up", ()) not in asked.calls


def test_what_cannot_be_recorded_is_printed_and_the_platform_comes_up(
    asked: Asked,
    declaration: Declaration,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(inventory, "contents_of_clone", broken)
    bringing_up.up(declaration)
    assert ("up", ()) in asked.calls
    assert "records: not recorded: ZeroDivisionError: oops" in capsys.readouterr().err
