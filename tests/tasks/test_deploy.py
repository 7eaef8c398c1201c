"""What is not said is asked for on a terminal, and has a default or is an error elsewhere."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from delivery import prompt
from delivery.build import planning
from delivery.build.plan import Images, Plan, make_images, make_plan
from delivery.deploy import serving, upgrade
from delivery.deploy.upgrade import Options, Target
from delivery.errors import DeclarationError, DeployError, SignatureError
from delivery.host import engines
from delivery.project import files
from delivery.project.declaration import Declaration, Environment
from delivery.project.gitflow import Line
from delivery.records import outbox, recorder
from delivery.records.recorder import Deploy
from delivery.registry import local_registry, mirroring
from delivery.release import catalog, chart_package, releasing, signing
from delivery.release.contents import Contents
from delivery.release.released import Release, ReleasedChart, ReleasedImage
from delivery.tasks import deploy, platform
from tests.project.examples import decision, version

C = "sha256:" + "c" * 64
NOW = Release({"api-rest": ReleasedImage("localhost:5001/api-rest", "revision 3", "sha256:" + "a" * 64)})
SOURCES = Release({"api-rest": ReleasedImage("localhost:5001/api-rest", "cd38d5ab", "sha256:" + "b" * 64)})
PUBLISHED = Release(
    {"api-rest": ReleasedImage("localhost:5001/api-rest", "k", C, "2.0.0")},
    "1.0.0",
    ReleasedChart("localhost:5001/platform-chart", "k", "sha256:" + "d" * 64, "1.0.0"),
    "release",
)


class Done:
    """What the tasks asked for."""

    def __init__(self) -> None:
        self.deployed: list[tuple[str, str, Options]] = []
        self.charts: list[bytes | None] = []
        self.verified: list[list[str]] = []
        self.docker: list[Release] = []
        self.removed: list[tuple[bool, bool]] = []
        self.rolled_back: list[int] = []
        self.answers: Iterator[str] = iter(())
        self.terminal = False
        self.now: Release | None = NOW
        self.fails: Exception | None = None
        self.changes = True
        self.serving = Contents({"api-rest": "2.0.0"}, {"api-rest": C})
        self.described: list[Mapping[str, str]] = []
        self.unchanged: set[str] = set()


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch, declaration: Declaration, tmp_path: Path) -> Done:
    """Every step below the tasks, noting what it is asked for."""
    made = Done()
    environments = {
        name: Environment(
            contexts=("kind-house",),
            namespace="platform",
            values="v",
            confirm=name == "production",
            signed=name == "develop",
        )
        for name in ("local", "develop", "staging", "production")
    }

    def target(_declaration: Declaration, name: str, _context: str) -> Target:
        return Target(name, environments[name], cast("Any", None), cast("Any", Namespace()))

    def deploy(  # as the step takes them
        place: Target,
        values: dict[str, Any],
        options: Options,
        chart: Path,
        packed: bytes | None,
        *,
        versions: Mapping[str, str],
    ) -> bool:
        assert chart == Path("platform-chart")
        made.described.append(versions)
        made.charts.append(packed)
        made.deployed.append((place.name, values["components"]["api-rest"]["image"]["digest"][7], options))
        if made.fails:
            raise made.fails
        return made.changes

    def remove(_place: Target, _options: Options, *, data: bool, may_delete: Callable[[list[str]], bool]) -> None:
        made.removed.append((data, may_delete(["persistentvolumeclaims/data"]) if data else False))
        if made.fails:
            raise made.fails

    def bring_up(_declaration: Declaration, make: Callable[[Any], Release], deploy: Deploy) -> None:
        made.docker.append(make(None))
        deploy.begin("local", Contents({"api-rest": "1.0.0"}))

    def answer(_prompt: str) -> str:
        try:
            return next(made.answers)
        except StopIteration:
            raise EOFError from None

    declared = declaration.model_copy(update={"environments": environments})
    monkeypatch.setattr(files, "load_declaration", lambda: declared)
    monkeypatch.setattr(upgrade, "target", target)
    monkeypatch.setattr(upgrade, "running", lambda _place: made.now)
    monkeypatch.setattr(upgrade, "deploy", deploy)
    monkeypatch.setattr(upgrade, "roll_back", lambda _place, told, _options: made.rolled_back.append(told))
    monkeypatch.setattr(upgrade, "remove", remove)
    monkeypatch.setattr(engines, "ensure", lambda: "the engine")
    monkeypatch.setattr(local_registry, "ensure", lambda *_: None)
    monkeypatch.setattr(releasing, "make", lambda _engine, _declaration: SOURCES)
    monkeypatch.setattr(mirroring, "mirror", lambda *_: {})
    monkeypatch.setattr(catalog, "held", lambda _declaration, _registry, version: replace(PUBLISHED, version=version))
    monkeypatch.setattr(catalog, "check", lambda _declaration, _registry, release, _file: release)
    monkeypatch.setattr(catalog, "pins", lambda _registry, release: [release.version])
    monkeypatch.setattr(signing, "verify", lambda _declaration, pinned: made.verified.append(pinned))
    monkeypatch.setattr(chart_package, "fetch", lambda _registry, _repository, digest: digest.encode())
    monkeypatch.setattr(catalog, "offered", lambda _declaration: ["1.0.0", "0.9.0"])
    monkeypatch.setattr(platform, "bring_up", bring_up)
    monkeypatch.setattr(prompt, "someone", lambda: made.terminal)
    monkeypatch.setattr("builtins.input", answer)
    monkeypatch.setenv("DELIVERY_OUTBOX", str(tmp_path / "outbox"))
    monkeypatch.setenv("DELIVERY_LEDGER", "http://localhost:1")
    monkeypatch.setattr(recorder, "decided", lambda _declaration: {"api-rest": "2.1.0-dev.3"})
    monkeypatch.setattr(
        serving, "to_deploy", lambda _declaration, _place, _now, new: (serving.contents(declared, new), made.unchanged)
    )
    back = Contents({"api-rest": "1.0.0"}, {"api-rest": "sha256:" + "a" * 64})
    monkeypatch.setattr(serving, "going_back", lambda *_: (back, made.serving))
    monkeypatch.setattr(serving, "current", lambda *_: made.serving)
    return made


class Namespace:
    """What a target is printed with."""

    context = "kind-house"
    namespace = "platform"


def run(task: Any, **arguments: Any) -> None:  # noqa: ANN401  # an invoke task and its flags
    task.body.__wrapped__(None, **arguments)


def at_terminal(done: Done, *answers: str) -> None:
    done.terminal = True
    done.answers = iter(answers)


def test_without_a_terminal_the_sources_go_to_the_local_cluster(done: Done) -> None:
    run(deploy.deploy)
    assert done.deployed == [("local", "b", Options(600, 1800, rollback=True))]


def test_every_flag_is_passed_on(done: Done) -> None:
    run(deploy.deploy, version="1.0.0", timeout="90s", lock_timeout="1m", rollback=False)
    assert done.deployed == [("local", "c", Options(90, 60, rollback=False))]


def test_what_is_deployed_can_be_deployed_again(done: Done) -> None:
    run(deploy.deploy, version="deployed")
    assert done.deployed[0][:2] == ("local", "a")
    done.now = None
    with pytest.raises(DeclarationError, match="nothing is"):
        run(deploy.deploy, version="deployed")


def test_what_is_deployed_cannot_be_deployed_again_without_a_component_that_was_added(
    done: Done, declaration: Declaration, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = {**declaration.images, "greeter": declaration.images["api-rest"]}
    declared = files.load_declaration().model_copy(update={"images": images})
    monkeypatch.setattr(files, "load_declaration", lambda: declared)
    with pytest.raises(DeclarationError, match="it has no greeter") as error:
        run(deploy.deploy, version="deployed")
    assert "--version current" in error.value.hint
    assert done.deployed == []


def test_elsewhere_a_version_has_to_be_said(done: Done) -> None:
    with pytest.raises(DeclarationError, match="deploy to staging: no version is told"):
        run(deploy.deploy, environment="staging")
    assert done.deployed == []


@pytest.mark.parametrize(
    ("answers", "digest"),
    [
        (("", ""), "b"),
        (("1", "2"), "a"),
        (("kubernetes", "deployed"), "a"),
        (("1", "9", "x", "3"), "c"),
        (("", "1.0.0"), "c"),
    ],
)
def test_on_a_terminal_platform_and_version_are_asked(
    done: Done, answers: tuple[str, ...], digest: str, capsys: pytest.CaptureFixture[str]
) -> None:
    at_terminal(done, *answers)
    run(deploy.deploy)
    assert done.deployed[0][:2] == ("local", digest)
    printed = capsys.readouterr().out
    assert "1) current: this clone's sources as they are (Enter)" in printed
    assert "2) deployed: what runs now: revision 3, api-rest aaaaaaaaaaaa" in printed
    assert "4) 0.9.0" in printed


def test_nobody_is_asked_what_is_said_or_with_yes(done: Done) -> None:
    at_terminal(done)
    run(deploy.deploy, platform="kubernetes", version="current")
    run(deploy.deploy, yes=True)
    assert [digest for _, digest, _ in done.deployed] == ["b", "b"]


def test_a_terminal_that_closes_is_an_error(done: Done) -> None:
    at_terminal(done, "1")
    with pytest.raises(DeclarationError, match="nobody answers"):
        run(deploy.deploy)


def test_docker_is_asked_for_a_version_too_and_touches_no_cluster(done: Done) -> None:
    at_terminal(done, "docker", "current")
    run(deploy.deploy)
    run(deploy.deploy, platform="docker", version="1.0.0", yes=True)
    assert done.docker == [SOURCES, PUBLISHED]
    assert done.deployed == []


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"platform": "vm"}, "--platform vm is not known"),
        ({"platform": "docker", "environment": "staging"}, "docker is for local only"),
        ({"platform": "docker", "context": "kind-house"}, "--context names a cluster"),
        ({"environment": "nowhere"}, "the environment nowhere"),
        ({"timeout": "soon"}, "read --timeout"),
        ({"lock_timeout": "soon"}, "read --lock-timeout"),
    ],
)
def test_flags_that_make_no_sense_are_refused(done: Done, flags: dict[str, str], said: str) -> None:
    with pytest.raises(DeclarationError, match=said):
        run(deploy.deploy, **flags)
    assert done.deployed == []


def test_production_takes_a_confirmation(done: Done) -> None:
    production = {"environment": "production", "version": "1.0.0"}
    with pytest.raises(DeclarationError, match="nobody is here to confirm it"):
        run(deploy.deploy, **production)
    at_terminal(done, "y")
    with pytest.raises(DeclarationError, match="not confirmed"):
        run(deploy.deploy, **production)
    assert done.deployed == []
    at_terminal(done, "production")
    run(deploy.deploy, **production)
    done.terminal = False
    run(deploy.deploy, **production, yes=True)
    assert [name for name, _, _ in done.deployed] == ["production", "production"]


@pytest.mark.parametrize("environment", ["develop", "staging", "production"])
@pytest.mark.parametrize("version", ["current", "deployed"])
def test_only_local_takes_what_is_no_release(done: Done, environment: str, version: str) -> None:
    with pytest.raises(DeclarationError, match=f"deploy {version} to {environment}: that is no release"):
        run(deploy.deploy, environment=environment, version=version, yes=True)
    assert done.deployed == []


def test_what_is_no_release_has_no_signatures_to_ask_for(done: Done) -> None:
    with pytest.raises(DeclarationError, match="asks for signatures"):
        run(deploy.deploy, version="current", signed=True)
    assert done.deployed == []


def test_a_release_brings_its_own_chart_and_a_clone_its_folder(done: Done) -> None:
    run(deploy.deploy, environment="staging", version="1.0.0")
    run(deploy.deploy, version="current")
    assert done.charts == [b"sha256:" + b"d" * 64, None]


def test_production_takes_no_candidate(done: Done) -> None:
    with pytest.raises(DeclarationError, match="production takes releases"):
        run(deploy.deploy, environment="production", version="1.0.0-rc.1", yes=True)
    run(deploy.deploy, environment="staging", version="1.0.0-rc.1")
    assert [name for name, _, _ in done.deployed] == ["staging"]


def test_signatures_are_asked_for_where_the_environment_or_the_user_wants_them(done: Done) -> None:
    run(deploy.deploy, environment="staging", version="1.0.0")
    assert done.verified == []
    run(deploy.deploy, environment="develop", version="1.1.0")
    run(deploy.deploy, environment="staging", version="1.2.0", signed=True)
    assert done.verified == [["1.1.0"], ["1.2.0"]]


def test_what_is_not_signed_is_not_deployed(done: Done, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_declaration: object, _pinned: object) -> None:
        raise SignatureError("verify: unsigned")

    monkeypatch.setattr(signing, "verify", refuse)
    with pytest.raises(SignatureError):
        run(deploy.deploy, environment="develop", version="1.1.0")
    assert done.deployed == []


def test_a_release_file_says_what_is_deployed(done: Done, tmp_path: Path) -> None:
    file = tmp_path / "release.json"
    file.write_text(PUBLISHED.to_json())
    run(deploy.deploy, environment="staging", release=str(file))
    assert done.deployed[0][:2] == ("staging", "c")
    for text in ("{}", None):
        (file.write_text(text) if text else file.unlink())
        with pytest.raises(DeclarationError, match="read "):
            run(deploy.deploy, environment="staging", release=str(file))


def test_one_thing_says_what_is_deployed(done: Done) -> None:
    with pytest.raises(DeclarationError, match="each say what is deployed"):
        run(deploy.deploy, version="1.0.0", release="release.json")
    assert done.deployed == []


def planned(declaration: Declaration, line: Line, environment: str, key: str = "k") -> Plan:
    decided = decision(line, "b", environment)
    versions = {
        name: version(name, "1.0.0", last="0.9.0", bump="minor") for name in ("base-image", "apps", "platform-chart")
    }
    images = make_images(declaration, {"base-image": "b", "api-rest": key}, {}, versions, decided)
    images = Images(tuple(image for image in images.all if image.name == "api-rest"))
    return make_plan(declaration, "c", decided, versions, images, ("k", ""))


def test_a_plan_says_where_and_what(
    done: Done, declaration: Declaration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(declaration, Line.CANDIDATE, "staging")
    monkeypatch.setattr(planning, "look", lambda *_: plan)
    file = tmp_path / "plan.json"
    file.write_text(plan.to_json())
    run(deploy.deploy, plan=str(file))
    run(deploy.deploy, plan=str(file), environment="staging")
    assert [one[:2] for one in done.deployed] == [("staging", "c"), ("staging", "c")]
    with pytest.raises(DeclarationError, match="to develop: the plan says staging"):
        run(deploy.deploy, plan=str(file), environment="develop")


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ((Line.DEVELOP, "develop", "k"), "it does not hold any more"),
        ((Line.CANDIDATE, "staging", "other"), "it does not hold any more"),
        (None, "is deployed nowhere"),
    ],
)
def test_a_plan_that_does_not_hold_deploys_nothing(
    done: Done,
    declaration: Declaration,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    now: tuple[Line, str, str] | None,
    said: str,
) -> None:
    told = planned(declaration, Line.CANDIDATE if now else Line.FEATURE, "staging" if now else "")
    monkeypatch.setattr(planning, "look", lambda *_: planned(declaration, *now) if now else told)
    file = tmp_path / "plan.json"
    file.write_text(told.to_json())
    with pytest.raises(DeclarationError, match=said):
        run(deploy.deploy, plan=str(file))
    assert done.deployed == []


def test_a_plan_whose_release_has_other_images_is_refused(
    done: Done, declaration: Declaration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(declaration, Line.CANDIDATE, "staging", "other")
    monkeypatch.setattr(planning, "look", lambda *_: plan)
    file = tmp_path / "plan.json"
    file.write_text(plan.to_json())
    with pytest.raises(DeclarationError, match="has other images"):
        run(deploy.deploy, plan=str(file))
    assert done.deployed == []


def test_going_back_and_removing_are_confirmed_too(done: Done) -> None:
    for task in (deploy.rollback, deploy.undeploy):
        with pytest.raises(DeclarationError, match="nobody is here to confirm it"):
            run(task, environment="production")
        run(task, environment="production", yes=True)
    run(deploy.rollback, revision=2)
    assert done.rolled_back == [0, 2]
    assert done.removed == [(False, False)]


def test_data_is_removed_by_who_says_so(done: Done) -> None:
    with pytest.raises(DeclarationError, match="nobody is here to be asked"):
        run(deploy.undeploy, data=True)
    run(deploy.undeploy, data=True, yes=True)
    at_terminal(done, "yes")
    run(deploy.undeploy, data=True)
    at_terminal(done, "local")
    run(deploy.undeploy, data=True)
    assert done.removed == [(True, True), (True, False), (True, True)]


def recorded(*names: str) -> list[tuple[Any, ...]]:
    """What was told to the ledger, by these fields of it."""
    return [tuple(one.event.get(name, one.event["details"].get(name)) for name in names) for one in outbox.waiting()]


def test_a_deploy_is_recorded_with_the_releases_versions(done: Done) -> None:
    run(deploy.deploy, environment="staging", version="1.0.0")
    told = recorded("component", "version", "environment", "stage", "status", "changed")
    assert told == [
        ("api-rest", "2.0.0", "staging", "deploy", "started", None),
        ("platform-chart", "1.0.0", "staging", "deploy", "started", None),
        ("api-rest", "2.0.0", "staging", "deploy", "succeeded", True),
        ("platform-chart", "1.0.0", "staging", "deploy", "succeeded", True),
    ]
    assert set(recorded("line", "step")) == {("", "deploy")}
    assert recorded("component", "digest")[2:] == [("api-rest", C), ("platform-chart", "sha256:" + "d" * 64)]
    assert done.described == [{"api-rest": "2.0.0", "platform-chart": "1.0.0"}]


def test_what_is_no_release_is_recorded_by_the_version_to_come_and_its_bytes(done: Done) -> None:
    run(deploy.deploy, version="current")
    run(deploy.deploy, version="deployed")
    assert recorded("component", "version")[0] == ("api-rest", "2.1.0-dev.3+cd38d5a")
    assert recorded("component", "version")[4] == ("api-rest", "sha256:aaaaaaaaaaaa")
    assert [name for name, _ in recorded("component", "version")] == ["api-rest", "platform-chart"] * 4
    assert len(done.deployed) == 2


def test_nothing_to_do_is_no_change(done: Done) -> None:
    done.changes = False
    run(deploy.deploy, version="1.0.0")
    assert recorded("status", "changed")[2:] == [("succeeded", False)] * 2


def test_a_deploy_that_fails_is_recorded_and_fails(done: Done) -> None:
    done.fails = DeployError("upgrade: not ready", rolled_back=True)
    with pytest.raises(DeployError):
        run(deploy.deploy, environment="staging", version="1.0.0")
    assert [status for (status,) in recorded("status")] == ["started"] * 2 + ["failed"] * 2 + ["rolled-back"] * 2


def test_what_did_not_change_has_not_failed(done: Done) -> None:
    done.fails, done.unchanged = DeployError("upgrade: not ready", rolled_back=True), {"platform-chart"}
    with pytest.raises(DeployError):
        run(deploy.deploy, environment="staging", version="1.0.0")
    assert recorded("component", "status") == [
        ("api-rest", "started"),
        ("api-rest", "failed"),
        ("api-rest", "rolled-back"),
    ]


def test_what_is_refused_or_not_confirmed_is_no_deploy(done: Done) -> None:
    at_terminal(done, "no")
    for how in ({"environment": "production", "version": "1.0.0"}, {"platform": "vm"}):
        with pytest.raises(DeclarationError):
            run(deploy.deploy, **how)
    assert outbox.waiting() == []


def test_what_cannot_be_named_is_deployed_all_the_same(
    done: Done, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(serving, "contents", broken)
    run(deploy.deploy, version="1.0.0")
    assert (len(done.deployed), done.described) == (1, [{}])
    assert outbox.waiting() == []
    assert "records: not recorded: ZeroDivisionError" in capsys.readouterr().err


def test_docker_is_recorded_by_what_brings_the_platform_up(done: Done) -> None:
    run(deploy.deploy, platform="docker", version="1.0.0", yes=True)
    assert recorded("component", "environment", "status") == [
        ("api-rest", "local", "started"),
        ("api-rest", "local", "succeeded"),
    ]
    assert len(done.docker) == 1


def test_going_back_is_recorded(done: Done) -> None:
    run(deploy.rollback, revision=2)
    assert done.rolled_back == [2]
    assert recorded("version", "status", "restored", "step") == [
        ("1.0.0", "started", None, "rollback"),
        ("2.0.0", "rolled-back", None, "rollback"),
        ("1.0.0", "succeeded", True, "rollback"),
    ]
    assert [digest[7] for (digest,) in recorded("digest")] == ["a", "c", "a"]


def test_a_removal_is_recorded(done: Done) -> None:
    run(deploy.undeploy)
    assert done.removed == [(False, False)]
    assert recorded("version", "digest", "environment", "stage", "step", "status") == [
        ("2.0.0", C, "local", "deploy", "undeploy", "removed"),
    ]


def test_a_removal_that_fails_is_recorded_and_is_no_failed_deploy(done: Done) -> None:
    done.fails = DeployError("remove platform: it is stuck")
    with pytest.raises(DeployError):
        run(deploy.undeploy)
    assert recorded("stage", "status", "error") == [("record", "failed", "remove platform: it is stuck")]


def test_where_nothing_serves_no_removal_is_recorded(done: Done) -> None:
    done.serving = Contents({})
    run(deploy.undeploy)
    assert done.removed == [(False, False)]
    assert outbox.waiting() == []
