"""A deploy selects what is requested, deploys it, and records the outcome."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from delivery.deploy import deploying, freezing, inventory, previews
from delivery.deploy.locked_target import lock_target
from delivery.deploy.selection import DeployRequest
from delivery.deploy.soaking import Soak
from delivery.deploy.target import Options, Target
from delivery.errors import (
    DeclarationError,
    DeployError,
    FrozenError,
    LeaseLostError,
    TerminatedError,
)
from delivery.host import docker_api, engines
from delivery.project.declaration import Build, Declaration
from delivery.records import outbox
from delivery.records.deployment import Deployment, Outcome
from delivery.registry import local_registry, mirroring
from delivery.release import attesting, catalog, chart_package, releasing, signing
from delivery.release.released import Release, ReleasedPart
from tests.deploy.cluster import OLD, Cluster, Terminal, failed, lease, packed, target
from tests.recorded import recorded

A, B, C, D = (f"sha256:{letter * 64}" for letter in "abcd")
SOURCES = Release({"api-rest": ReleasedPart("localhost:5001/api-rest", "cd38d5ab", B)})
PUBLISHED = Release(
    {"api-rest": ReleasedPart("localhost:5001/api-rest", "k", C, "2.0.0")},
    "1.0.0",
    ReleasedPart("localhost:5001/platform-chart", "k", D, "1.0.0"),
    "release",
)


class Deploys:
    """Deploys to the cluster in memory, from a registry that has every version."""

    def __init__(
        self, cluster: Cluster, declaration: Declaration, root: Path, terminal: Terminal
    ) -> None:
        self.cluster, self.declaration, self.root = cluster, declaration, root
        self.terminal = terminal
        self.verified: list[list[str]] = []
        self.platforms: list[Sequence[str]] = []

    def push_images(
        self, _declaration: Declaration, _registry: object, platforms: Sequence[str]
    ) -> Release:
        """The sources' images, as the registry has them."""
        self.platforms.append(platforms)
        return SOURCES

    def __call__(
        self,
        environment: str = "",
        options: Options | None = None,
        **request: Any,
    ) -> Deployment:
        requested = DeployRequest(environment, **request)
        return deploying.deploy(self.declaration, requested, options or Options(), self.root)

    @property
    def digest(self) -> str:
        """The digest of api-rest that was deployed last."""
        return str(self.cluster.images["api-rest"]["image"]["digest"])


@pytest.fixture
def deploy(
    cluster: Cluster,
    declaration: Declaration,
    root: Path,
    terminal: Terminal,
    monkeypatch: pytest.MonkeyPatch,
) -> Deploys:
    made = Deploys(cluster, declaration, root, terminal)
    chart = packed(root, "values-local.yaml")

    def connect(_declaration: Declaration, name: str, _context: str) -> Target:
        return target(cluster, name, confirm=name == "production", signed=name == "develop")

    monkeypatch.setattr(deploying, "connect", connect)
    monkeypatch.setattr(engines, "ensure", lambda: pytest.fail("nothing has to be built"))
    monkeypatch.setattr(docker_api, "find", lambda: "the engine")
    monkeypatch.setattr(local_registry, "connect", lambda _: "the registry")
    monkeypatch.setattr(releasing, "push_images", made.push_images)
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
    monkeypatch.setattr(
        signing, "verify", lambda _declaration, pins, **_: made.verified.append(pins)
    )
    monkeypatch.setattr(attesting, "verify", lambda *_, **__: None)
    monkeypatch.setattr(chart_package, "fetch", lambda *_: chart)
    monkeypatch.setattr(
        inventory, "_next_versions", lambda _declaration: {"api-rest": "2.1.0-dev.3"}
    )
    return made


def test_without_a_terminal_the_sources_are_deployed_to_local(deploy: Deploys) -> None:
    done = deploy()
    assert (done.environment, done.outcome, deploy.digest) == ("local", Outcome.SUCCEEDED, B)
    assert deploy.platforms == [()]
    assert done.contents.versions["api-rest"] == "2.1.0-dev.3+cd38d5a"
    assert deploy.cluster.chart == deploy.root / "platform-chart"


def test_a_preview_is_of_images_by_key_with_the_charts_sources(
    deploy: Deploys, with_previews: Declaration, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are for every declared platform, as `inv push` makes them."""
    done: list[str] = []
    both = Build(epoch=0, platforms=("linux/amd64", "linux/arm64"))
    deploy.declaration = with_previews.model_copy(update={"build": both})
    monkeypatch.setattr(previews, "mark", lambda _, made: done.append(made.name))
    name = "preview-feature-x-123456"
    deployed = deploy(name)
    assert (done, deployed.environment, deploy.digest) == ([name], name, B)
    assert deployed.contents.versions["api-rest"] == "2.1.0-dev.3+cd38d5a"
    assert deploy.platforms == [both.platforms]
    assert set(recorded("environment")) == {(name,)}


def test_a_release_brings_its_own_chart(deploy: Deploys) -> None:
    assert deploy("staging", version="1.0.0").contents.versions == {
        "api-rest": "2.0.0",
        "platform-chart": "1.0.0",
    }
    assert (deploy.digest, deploy.cluster.values_text) == (C, "of: the package\n")


def test_the_deployed_images_can_be_deployed_again(deploy: Deploys) -> None:
    done = deploy(version="deployed")
    assert deploy.digest == "sha256:a"
    assert done.contents.versions["api-rest"] == "sha256:a"
    deploy.cluster.revisions = []
    with pytest.raises(DeclarationError, match="nothing is deployed"):
        deploy(version="deployed")


def test_the_deployed_images_need_every_declared_component(
    deploy: Deploys,
) -> None:
    images = {**deploy.declaration.images, "greeter": deploy.declaration.images["api-rest"]}
    deploy.declaration = deploy.declaration.model_copy(update={"images": images})
    with pytest.raises(
        DeclarationError, match="also declares greeter, which is not deployed"
    ) as error:
        deploy(version="deployed")
    assert "--version current" in error.value.hint
    assert deploy.cluster.done == []


def test_another_environment_needs_a_version(deploy: Deploys) -> None:
    with pytest.raises(DeclarationError, match="cannot deploy to staging: no version given"):
        deploy("staging")
    assert deploy.cluster.done == []


@pytest.mark.parametrize(
    ("answers", "digest"), [(("",), B), (("2",), "sha256:a"), (("9", "x", "3"), C), (("1.0.0",), C)]
)
def test_on_a_terminal_the_user_chooses_the_version(
    deploy: Deploys, answers: tuple[str, ...], digest: str, capsys: pytest.CaptureFixture[str]
) -> None:
    deploy.terminal.answer(*answers)
    deploy()
    assert deploy.digest == digest
    printed = capsys.readouterr().out
    assert "1) current: this clone's sources (Enter)" in printed
    assert "2) deployed: the deployed images: revision 1, api-rest sha256:a" in printed
    assert "4) 0.9.0" in printed


def test_signatures_are_verified_where_the_environment_or_the_user_requires_them(
    deploy: Deploys,
) -> None:
    deploy("staging", version="1.0.0")
    assert deploy.verified == []
    deploy("develop", version="1.1.0")
    deploy("staging", version="1.2.0", signed=True)
    assert deploy.verified == [["1.1.0"], ["1.2.0"]]


def test_production_is_confirmed(deploy: Deploys) -> None:
    with pytest.raises(DeclarationError, match="no terminal to confirm it"):
        deploy("production", version="1.0.0")
    deploy.terminal.answer("y")
    with pytest.raises(DeclarationError, match="not confirmed"):
        deploy("production", version="1.0.0")
    assert (deploy.cluster.done, outbox.waiting()) == ([], [])
    deploy.terminal.answer("production")
    assert deploy("production", version="1.0.0").outcome is Outcome.SUCCEEDED
    deploy.terminal.is_open = False
    assert deploy("production", version="1.0.0", yes=True).environment == "production"


def test_a_deploy_is_recorded_with_the_versions_of_the_release(deploy: Deploys) -> None:
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


def test_an_unchanged_deploy_is_recorded_as_no_change(deploy: Deploys) -> None:
    deploy.cluster.rendered = OLD
    assert deploy(version="1.0.0").outcome is Outcome.UNCHANGED
    assert recorded("status", "changed")[2:] == [("succeeded", False)] * 2
    written = json.loads((deploy.root / ".delivery" / "deployment.json").read_text())
    assert (written["outcome"], written["revision"], written["previous"]) == ("unchanged", 1, 1)


def test_a_failed_deploy_is_recorded(deploy: Deploys) -> None:
    deploy.cluster.fails["upgrade"] = failed()
    with pytest.raises(DeployError):
        deploy("staging", version="1.0.0")
    assert [status for (status,) in recorded("status")] == ["started"] * 2 + ["failed"] * 2 + [
        "rolled-back"
    ] * 2


@pytest.mark.parametrize(
    ("found", "statuses", "error"),
    [
        (
            DeployError("A fires; revision 1 is deployed again", hint="", rolled_back=True),
            ["failed", "rolled-back"],
            "A fires; revision 1 is deployed again",
        ),
        (
            DeployError("A fires; nothing is rolled back", hint=""),
            ["failed"],
            "A fires; nothing is rolled back",
        ),
        # It serves on.
        (KeyboardInterrupt(), ["succeeded"], None),
        (TerminatedError("SIGTERM"), ["succeeded"], None),
        (LeaseLostError("another has it", hint=""), ["succeeded"], None),
    ],
)
def test_a_soak_that_finds_trouble_is_recorded_with_the_reason(
    deploy: Deploys,
    monkeypatch: pytest.MonkeyPatch,
    found: BaseException,
    statuses: list[str],
    error: str | None,
) -> None:
    def watch(_soak: Soak, deployment: Deployment) -> None:
        assert deployment.outcome is Outcome.SUCCEEDED
        raise found

    monkeypatch.setattr(Soak, "watch", watch)
    with pytest.raises(type(found)):
        deploy("staging", version="1.0.0")
    expected = [(status, error) for status in statuses for _ in range(2)]
    assert recorded("status", "error")[2:] == expected


def test_a_failure_to_name_the_contents_does_not_stop_a_deploy(
    deploy: Deploys, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(inventory, "contents_of_release", broken)
    assert deploy(version="1.0.0").outcome is Outcome.SUCCEEDED
    assert (deploy.cluster.revisions[-1].description, outbox.waiting()) == ("", [])
    assert "records: not recorded: ZeroDivisionError" in capsys.readouterr().err


def test_a_deployed_component_may_no_longer_be_declared(deploy: Deploys) -> None:
    deploy.cluster.deployed_images["gone"] = {
        "image": {"repository": "localhost:5001/gone", "digest": "sha256:b"}
    }
    deploy.terminal.answer("")
    assert deploy().outcome is Outcome.SUCCEEDED


def test_the_previous_version_is_read_under_the_lock(
    deploy: Deploys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another deploy deployed the same release while this one waited for the lock."""

    def another(*arguments: Any, **options: Any) -> Any:
        deploy.cluster.add("deployed", OLD, description="api-rest 2.0.0, platform-chart 1.0.0")
        deploy.cluster.deployed_images["api-rest"]["image"]["digest"] = C
        return lock_target(*arguments, **options)

    monkeypatch.setattr(deploying, "lock_target", another)
    deploy.cluster.rendered, deploy.cluster.lease = OLD, lease("another")
    done = deploy("staging", version="1.0.0")
    assert (done.outcome, done.unchanged) == (Outcome.UNCHANGED, {"api-rest", "platform-chart"})
    assert recorded("component", "status", "changed") == [
        ("platform-chart", "started", None),
        ("api-rest", "succeeded", False),
        ("platform-chart", "succeeded", False),
    ]


def test_a_frozen_environment_is_not_touched(
    deploy: Deploys, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def check(_declaration: Declaration, name: str, override: str, _target: Target) -> str:
        asked.append(override)
        if name == "staging" and not override:
            raise FrozenError("cannot deploy to staging: it is frozen", hint="wait")
        return override

    monkeypatch.setattr(freezing, "check", check)
    with pytest.raises(FrozenError):
        deploy("staging", version="1.0.0")
    assert deploy.cluster.done == []
    deploy("staging", version="1.0.0", override="an outage")
    assert set(recorded("environment", "override")) == {("staging", "an outage")}
    assert asked == ["", "an outage"]
    again = deploy("staging", version="1.0.0", override="an outage")
    assert again.outcome is Outcome.UNCHANGED
    assert recorded("environment", "override")[-1] == ("staging", "an outage")
    assert asked.pop() == "an outage"  # without the lock
    deploy.cluster.rendered = OLD
    deploy()
    assert asked[2:] == ["", ""]  # before anything, and with the lock
    assert recorded("environment", "override")[-1] == ("local", None)
