"""What is deployed is what was asked for, fit for where it goes; what is not said is asked for or refused."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from delivery import prompt
from delivery.build import planning
from delivery.build.plan import Images, Plan, make_images, make_plan
from delivery.deploy import deploying, inventory, lock
from delivery.deploy.selection import DOCKER, DeployRequest, choose_platform, environment_to_verify
from delivery.deploy.target import Options, Target
from delivery.errors import DeclarationError, DeployError, SignatureError
from delivery.host import engines
from delivery.project.declaration import Declaration
from delivery.project.gitflow import Line
from delivery.records import outbox
from delivery.records.deployment import Deployment, Outcome
from delivery.registry import mirroring
from delivery.release import catalog, chart_package, releasing, signing
from delivery.release.released import Release, ReleasedPart
from tests.deploy.cluster import OLD, Cluster, failed, packed, target
from tests.project.examples import checkout, decision, version

A, B, C, D = (f"sha256:{letter * 64}" for letter in "abcd")
SOURCES = Release({"api-rest": ReleasedPart("localhost:5001/api-rest", "cd38d5ab", B)})
PUBLISHED = Release(
    {"api-rest": ReleasedPart("localhost:5001/api-rest", "k", C, "2.0.0")},
    "1.0.0",
    ReleasedPart("localhost:5001/platform-chart", "k", D, "1.0.0"),
    "release",
)


class Deploys:
    """Deploys to the cluster of the tests, from a registry that holds every version."""

    def __init__(self, cluster: Cluster, declaration: Declaration, root: Path) -> None:
        self.cluster, self.declaration, self.root = cluster, declaration, root
        self.verified: list[list[str]] = []
        self.terminal = False
        self.answers: Iterator[str] = iter(())

    def __call__(
        self,
        environment: str = "",
        options: Options | None = None,
        **request: Any,  # noqa: ANN401
    ) -> Deployment:
        asked = DeployRequest(environment, **request)
        return deploying.deploy(self.declaration, asked, options or Options(), self.root)

    def at_terminal(self, *answers: str) -> None:
        self.terminal, self.answers = True, iter(answers)

    @property
    def digest(self) -> str:
        """The digest of api-rest that was deployed last."""
        return str(self.cluster.images["api-rest"]["image"]["digest"])

    def answer(self, _prompt: str) -> str:
        try:
            return next(self.answers)
        except StopIteration:
            raise EOFError from None


@pytest.fixture
def deploy(
    cluster: Cluster, declaration: Declaration, root: Path, monkeypatch: pytest.MonkeyPatch
) -> Deploys:
    made = Deploys(cluster, declaration, root)
    chart = packed(root, "values-local.yaml")

    def connect(_declaration: Declaration, name: str, _context: str) -> Target:
        return target(cluster, name, confirm=name == "production", signed=name == "develop")

    monkeypatch.setattr(deploying, "connect", connect)
    monkeypatch.setattr(engines, "ensure", lambda: "the engine")
    monkeypatch.setattr(releasing, "ensure_images", lambda _engine, _declaration: SOURCES)
    monkeypatch.setattr(mirroring, "mirror", lambda *_: {})
    monkeypatch.setattr(
        catalog,
        "require",
        lambda _declaration, _registry, version: replace(PUBLISHED, version=version),
    )
    monkeypatch.setattr(
        catalog, "check_file", lambda _declaration, _registry, release, _file: release
    )
    monkeypatch.setattr(catalog, "references", lambda _registry, release: [release.version])
    monkeypatch.setattr(catalog, "newest", lambda _declaration: ["1.0.0", "0.9.0"])
    monkeypatch.setattr(signing, "verify", lambda _declaration, pins: made.verified.append(pins))
    monkeypatch.setattr(chart_package, "fetch", lambda *_: chart)
    monkeypatch.setattr(inventory, "_coming", lambda _declaration: {"api-rest": "2.1.0-dev.3"})
    monkeypatch.setattr(prompt, "is_interactive", lambda: made.terminal)
    monkeypatch.setattr("builtins.input", made.answer)
    return made


def recorded(*names: str) -> list[tuple[Any, ...]]:
    """What was told to the ledger, by these fields of it."""
    return [
        tuple(one.event.get(name, one.event["details"].get(name)) for name in names)
        for one in outbox.waiting()
    ]


def test_without_a_terminal_the_sources_go_to_the_local_cluster(deploy: Deploys) -> None:
    done = deploy()
    assert (done.environment, done.outcome, deploy.digest) == ("local", Outcome.SUCCEEDED, B)
    assert done.contents.versions["api-rest"] == "2.1.0-dev.3+cd38d5a"
    assert deploy.cluster.chart == deploy.root / "platform-chart"


def test_a_release_brings_its_own_chart(deploy: Deploys) -> None:
    assert deploy("staging", version="1.0.0").contents.versions == {
        "api-rest": "2.0.0",
        "platform-chart": "1.0.0",
    }
    assert (deploy.digest, deploy.cluster.values_text) == (C, "of: the package\n")


def test_what_serves_can_be_deployed_again(deploy: Deploys) -> None:
    done = deploy(version="deployed")
    assert deploy.digest == "sha256:a"
    assert done.contents.versions["api-rest"] == "sha256:a"
    deploy.cluster.revisions = []
    with pytest.raises(DeclarationError, match="nothing is"):
        deploy(version="deployed")


def test_what_serves_cannot_be_deployed_again_without_a_component_that_was_added(
    deploy: Deploys,
) -> None:
    images = {**deploy.declaration.images, "greeter": deploy.declaration.images["api-rest"]}
    deploy.declaration = deploy.declaration.model_copy(update={"images": images})
    with pytest.raises(DeclarationError, match="it has no greeter") as error:
        deploy(version="deployed")
    assert "--version current" in error.value.hint
    assert deploy.cluster.done == []


def test_elsewhere_a_version_has_to_be_given(deploy: Deploys) -> None:
    with pytest.raises(DeclarationError, match="deploy to staging: no version is told"):
        deploy("staging")
    assert deploy.cluster.done == []


@pytest.mark.parametrize(
    ("answers", "digest"), [(("",), B), (("2",), "sha256:a"), (("9", "x", "3"), C), (("1.0.0",), C)]
)
def test_on_a_terminal_the_version_is_asked_for(
    deploy: Deploys, answers: tuple[str, ...], digest: str, capsys: pytest.CaptureFixture[str]
) -> None:
    deploy.at_terminal(*answers)
    deploy()
    assert deploy.digest == digest
    printed = capsys.readouterr().out
    assert "1) current: this clone's sources as they are (Enter)" in printed
    assert "2) deployed: what runs now: revision 1, api-rest sha256:a" in printed
    assert "4) 0.9.0" in printed


def test_nobody_is_asked_what_is_given_or_with_yes(deploy: Deploys) -> None:
    deploy.at_terminal()
    for how in ({"version": "current"}, {"yes": True}):
        deploy(**how)
        assert deploy.digest == B


def test_a_terminal_that_closes_is_an_error(deploy: Deploys) -> None:
    deploy.at_terminal()
    with pytest.raises(DeclarationError, match="the input has ended"):
        deploy()


def test_docker_is_chosen_by_flag_or_on_a_terminal(deploy: Deploys) -> None:
    assert choose_platform(DeployRequest(), DOCKER) == DOCKER
    assert choose_platform(DeployRequest(), "") == "kubernetes"
    deploy.at_terminal("docker", "")
    assert choose_platform(DeployRequest(), "") == DOCKER
    assert choose_platform(DeployRequest(), "") == "kubernetes"
    assert choose_platform(DeployRequest("staging"), "") == "kubernetes"  # not asked


@pytest.mark.parametrize(
    ("request_", "platform", "said"),
    [
        (DeployRequest(), "vm", "--platform vm is not known"),
        (DeployRequest("staging"), DOCKER, "docker is for local only"),
        (DeployRequest(context="kind-sample"), DOCKER, "--context names a cluster"),
    ],
)
def test_a_platform_that_makes_no_sense_is_refused(
    request_: DeployRequest, platform: str, said: str
) -> None:
    with pytest.raises(DeclarationError, match=said):
        choose_platform(request_, platform)


def test_production_takes_a_confirmation(deploy: Deploys) -> None:
    with pytest.raises(DeclarationError, match="no terminal to confirm it"):
        deploy("production", version="1.0.0")
    deploy.at_terminal("y")
    with pytest.raises(DeclarationError, match="not confirmed"):
        deploy("production", version="1.0.0")
    assert (deploy.cluster.done, outbox.waiting()) == ([], [])
    deploy.at_terminal("production")
    assert deploy("production", version="1.0.0").outcome is Outcome.SUCCEEDED
    deploy.terminal = False
    assert deploy("production", version="1.0.0", yes=True).environment == "production"


@pytest.mark.parametrize("environment", ["develop", "staging", "production"])
@pytest.mark.parametrize("version", ["current", "deployed"])
def test_only_local_takes_what_is_no_release(
    deploy: Deploys, environment: str, version: str
) -> None:
    with pytest.raises(
        DeclarationError, match=f"deploy {version} to {environment}: that is no release"
    ):
        deploy(environment, version=version, yes=True)
    assert deploy.cluster.done == []


def test_what_is_no_release_has_no_signatures_to_ask_for(deploy: Deploys) -> None:
    with pytest.raises(DeclarationError, match="asks for signatures"):
        deploy(version="current", signed=True)


@pytest.mark.parametrize(
    ("environment", "version", "taken"),
    [
        ("production", "1.2.0", True),
        ("production", "1.2.0-rc.1", False),
        ("production", "1.2.0-dev.7", False),
        ("staging", "1.2.0-rc.1", True),
        ("staging", "1.2.0-dev.7", True),
        ("develop", "1.2.0", True),
    ],
)
def test_production_takes_releases_alone(
    deploy: Deploys, environment: str, version: str, *, taken: bool
) -> None:
    if taken:
        assert deploy(environment, version=version, yes=True).environment == environment
    else:
        with pytest.raises(DeclarationError, match="and production takes releases"):
            deploy(environment, version=version, yes=True)


def test_signatures_are_asked_for_where_the_environment_or_the_user_wants_them(
    deploy: Deploys,
) -> None:
    deploy("staging", version="1.0.0")
    assert deploy.verified == []
    deploy("develop", version="1.1.0")
    deploy("staging", version="1.2.0", signed=True)
    assert deploy.verified == [["1.1.0"], ["1.2.0"]]


def test_what_is_not_signed_is_not_deployed(
    deploy: Deploys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_declaration: object, _pins: object) -> None:
        raise SignatureError("verify: unsigned")

    monkeypatch.setattr(signing, "verify", refuse)
    with pytest.raises(SignatureError):
        deploy("develop", version="1.1.0")
    assert deploy.cluster.done == []


def test_a_release_file_says_what_is_deployed(deploy: Deploys, tmp_path: Path) -> None:
    file = tmp_path / "release.json"
    file.write_text(PUBLISHED.to_json())
    assert deploy("staging", file=str(file)).contents.versions["api-rest"] == "2.0.0"
    for text in ("{}", None):
        (file.write_text(text) if text else file.unlink())
        with pytest.raises(DeclarationError, match="read "):
            deploy("staging", file=str(file))


def test_one_thing_says_what_is_deployed(deploy: Deploys) -> None:
    with pytest.raises(DeclarationError, match="each say what is deployed"):
        deploy(version="1.0.0", file="release.json")


def planned(declaration: Declaration, line: Line, environment: str, key: str = "k") -> Plan:
    decided = decision(line, "b", environment)
    versions = {
        name: version(name, "1.0.0", last="0.9.0", bump="minor")
        for name in ("base-image", "apps", "platform-chart")
    }
    found = checkout(declaration, decided, versions)
    images = make_images(declaration, {"base-image": "b", "api-rest": key}, {}, found)
    images = Images(tuple(image for image in images.all if image.name == "api-rest"))
    return make_plan(found, images, ("k", ""))


def test_a_plan_says_where_and_what(
    deploy: Deploys, declaration: Declaration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(declaration, Line.CANDIDATE, "staging")
    monkeypatch.setattr(planning, "plan_checkout", lambda *_: plan)
    file = tmp_path / "plan.json"
    file.write_text(plan.to_json())
    deploy(plan=str(file))
    deploy(plan=str(file), environment="staging")
    assert deploy.digest == C
    with pytest.raises(DeclarationError, match="to develop: the plan says staging"):
        deploy(plan=str(file), environment="develop")


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ((Line.DEVELOP, "develop", "k"), "it does not hold any more"),
        ((Line.CANDIDATE, "staging", "other"), "it does not hold any more"),
        (None, "is deployed nowhere"),
    ],
)
def test_a_plan_that_does_not_hold_deploys_nothing(
    deploy: Deploys,
    declaration: Declaration,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    now: tuple[Line, str, str] | None,
    said: str,
) -> None:
    told = planned(declaration, Line.CANDIDATE if now else Line.FEATURE, "staging" if now else "")
    monkeypatch.setattr(
        planning, "plan_checkout", lambda *_: planned(declaration, *now) if now else told
    )
    file = tmp_path / "plan.json"
    file.write_text(told.to_json())
    with pytest.raises(DeclarationError, match=said):
        deploy(plan=str(file))
    assert deploy.cluster.done == []


def test_a_plan_whose_release_has_other_images_is_refused(
    deploy: Deploys, declaration: Declaration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(declaration, Line.CANDIDATE, "staging", "other")
    monkeypatch.setattr(planning, "plan_checkout", lambda *_: plan)
    file = tmp_path / "plan.json"
    file.write_text(plan.to_json())
    with pytest.raises(DeclarationError, match="has other images"):
        deploy(plan=str(file))
    assert deploy.cluster.done == []


@pytest.mark.parametrize(
    ("line", "planned_for", "environment", "said"),
    [
        (Line.FEATURE, "", "", "it is deployed nowhere"),
        (Line.DEVELOP, "develop", "production", "the plan"),
        (None, "", "", "no environment is told"),
    ],
)
def test_an_environment_to_verify_is_given_or_planned(
    declaration: Declaration,
    tmp_path: Path,
    line: Line | None,
    planned_for: str,
    environment: str,
    said: str,
) -> None:
    file = tmp_path / "plan.json"
    if line:
        file.write_text(planned(declaration, line, planned_for).to_json())
    with pytest.raises(DeclarationError, match=said):
        environment_to_verify(environment, str(file) if line else "")
    file.write_text(planned(declaration, Line.CANDIDATE, "staging").to_json())
    assert environment_to_verify("", str(file)) == environment_to_verify("staging", "") == "staging"
    for text in ("{}", None):
        (file.write_text(text) if text else file.unlink())
        with pytest.raises(DeclarationError):
            environment_to_verify("", str(file))


def test_a_deploy_is_recorded_with_the_releases_versions(deploy: Deploys) -> None:
    deploy("staging", version="1.0.0")
    assert recorded("component", "version", "environment", "stage", "status", "changed") == [
        ("api-rest", "2.0.0", "staging", "deploy", "started", None),
        ("platform-chart", "1.0.0", "staging", "deploy", "started", None),
        ("api-rest", "2.0.0", "staging", "deploy", "succeeded", True),
        ("platform-chart", "1.0.0", "staging", "deploy", "succeeded", True),
    ]
    assert set(recorded("line", "step")) == {("", "deploy")}
    assert recorded("component", "digest")[2:] == [("api-rest", C), ("platform-chart", D)]
    assert deploy.cluster.revisions[-1].description == "api-rest 2.0.0, platform-chart 1.0.0"


def test_nothing_to_do_is_no_change(deploy: Deploys) -> None:
    deploy.cluster.rendered = OLD
    assert deploy(version="1.0.0").outcome is Outcome.UNCHANGED
    assert recorded("status", "changed")[2:] == [("succeeded", False)] * 2


def test_a_deploy_that_fails_is_recorded_and_fails(deploy: Deploys) -> None:
    deploy.cluster.fails["upgrade"] = failed()
    with pytest.raises(DeployError):
        deploy("staging", version="1.0.0")
    assert [status for (status,) in recorded("status")] == ["started"] * 2 + ["failed"] * 2 + [
        "rolled-back"
    ] * 2


def test_what_cannot_be_named_is_deployed_all_the_same(
    deploy: Deploys, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(inventory, "contents_of_release", broken)
    assert deploy(version="1.0.0").outcome is Outcome.SUCCEEDED
    assert (deploy.cluster.revisions[-1].description, outbox.waiting()) == ("", [])
    assert "records: not recorded: ZeroDivisionError" in capsys.readouterr().err


def test_a_component_that_is_no_longer_declared_does_not_stand_in_the_way(deploy: Deploys) -> None:
    deploy.cluster.images_now["gone"] = {
        "image": {"repository": "localhost:5001/gone", "digest": "sha256:b"}
    }
    deploy.at_terminal("")
    assert deploy().outcome is Outcome.SUCCEEDED


def test_what_is_recorded_is_what_served_when_its_turn_came(
    deploy: Deploys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another deploy brought the same release while this one waited for it to end."""
    hold = lock.hold

    def another(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        deploy.cluster.add("deployed", OLD, description="api-rest 2.0.0, platform-chart 1.0.0")
        deploy.cluster.images_now["api-rest"]["image"]["digest"] = C
        return hold(*arguments, **options)

    monkeypatch.setattr(lock, "hold", another)
    deploy.cluster.rendered = OLD
    done = deploy("staging", version="1.0.0")
    assert (done.outcome, done.unchanged) == (Outcome.UNCHANGED, {"api-rest", "platform-chart"})
    assert recorded("component", "status", "changed") == [
        ("platform-chart", "started", None),
        ("api-rest", "succeeded", False),
        ("platform-chart", "succeeded", False),
    ]
