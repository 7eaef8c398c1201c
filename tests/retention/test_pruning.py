"""All of a registry, and all uses of it, are read before anything is removed."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import pytest

from delivery.deploy import previews, target
from delivery.deploy.history import History, Revision
from delivery.deploy.manifests import Manifest
from delivery.errors import CommandError, DeclarationError, DeployError, RegistryError
from delivery.host import programs
from delivery.host.docker_api import Engine
from delivery.project.declaration import Declaration, Environment, Prune
from delivery.registry import oci_layout
from delivery.registry.client import Artifact, Blob, Registry
from delivery.release import catalog
from delivery.release.released import Release, ReleasedPart
from delivery.retention import pruning
from delivery.retention.policy import PrunePlan
from tests.registries import (
    INDEX,
    MANIFEST,
    FakeRegistry,
    no_line,
    no_pause,
    serving,
    sha256,
    write_index,
)

TODAY = date(2026, 11, 21)


@dataclass
class PrunedRegistry:
    """A registry with releases in it, and the requests that it gets."""

    registry: FakeRegistry
    client: Registry
    declaration: Declaration
    root: Path
    seen: list[str]

    def repository(self, name: str) -> str:
        return f"{self.client.address}/{name}"

    def image(self, name: str, content: str, *tags: str) -> str:
        """Push a manifest with these tags; return its digest."""
        artifact = Artifact("x/y", [Blob("x/y", content.encode())])
        for tag in tags:
            self.client.push_artifact(self.repository(name), artifact, tag=tag)
        return self.registry.tags[name, tags[0]]

    def attach(self, name: str, subject: str, content: str) -> str:
        artifact = Artifact("sbom", [Blob("x/y", content.encode())], subject=subject)
        return self.client.push_artifact(self.repository(name), artifact)

    def release(self, version: str, app: str = "") -> Release:
        """Publish a release; its app has an SBOM."""
        app = app or version

        def part(name: str, content: str, *tags: str) -> ReleasedPart:
            digest = self.image(name, content, *tags)
            return ReleasedPart(self.repository(name), tags[0], digest, version)

        images = {
            "api-rest": part("api-rest", f"app {app}", f"key-{app}", version),
            "base-image": part("base-image", "base", "base"),
        }
        self.attach("api-rest", images["api-rest"].digest, f"sbom of {app}")
        chart = part("platform-chart", f"chart {version}", f"key-{version}", version)
        release = Release(images, version, chart)
        catalog.push(self.client, release)
        return release

    def old_and_new(self) -> tuple[Release, Release]:
        """Publish two releases, of which the old one is removed."""
        return self.release("1.0.0-dev.1"), self.release("1.0.0-dev.2")

    def plan(
        self, days: int = 0, without: Sequence[str] | None = None, in_use: Sequence[str] = ()
    ) -> PrunePlan:
        """The plan so many days later, by default without asking any environment."""
        names = self.declaration.environments if without is None else without
        uses = pruning.find_uses(self.declaration, list(names), in_use, self.root)
        return pruning.plan(self.declaration, self.client, uses, TODAY + timedelta(days=days))

    def prune(self, plan: PrunePlan) -> int:
        self.seen.clear()
        return pruning.prune(self.client, plan)

    def tags(self, repository: str) -> set[str]:
        return {tag for known, tag in self.registry.tags if known == repository}


@pytest.fixture(params=[False, True], ids=["without-referrers-api", "with-referrers-api"])
def sample(
    request: pytest.FixtureRequest, declaration: Declaration, tmp_path: Path
) -> Iterator[PrunedRegistry]:
    registry = FakeRegistry(referrers=request.param)
    prune = {"prune": Prune(develop=1, candidate=1, days=7)}
    with serving(registry) as (address, seen):
        declared = declaration.with_registry(address).model_copy(update=prune)
        yield PrunedRegistry(registry, Registry(address, pause=no_pause), declared, tmp_path, seen)


def test_only_what_an_old_release_alone_needs_is_removed(sample: PrunedRegistry) -> None:
    old, new = sample.old_and_new()
    sample.seen.clear()
    plan = sample.plan()
    assert {line.split()[0] for line in sample.seen} == {"GET"}  # a plan changes nothing
    assert sample.prune(plan) == len(plan.removed)
    again = sample.plan()
    assert (again.removed, again.first_seen) == ((), {})
    assert sample.tags("release") == {"1.0.0-dev.2"}
    assert catalog.find(sample.client, "1.0.0-dev.2") == new
    assert sample.tags("platform-chart") == {"1.0.0-dev.2", "key-1.0.0-dev.2"}
    assert sample.tags("base-image") == {"base"}
    digests = {digest for name, digest in sample.registry.manifests if name == "api-rest"}
    image = new.images["api-rest"].digest
    (sbom,) = sample.client.referrers(sample.repository("api-rest"), image)
    assert {image, sbom} <= digests
    assert old.images["api-rest"].digest not in digests
    assert len(digests) == (2 if sample.registry.referrers else 3)  # the list of attachments


def test_releases_are_removed_first_then_charts_then_images(sample: PrunedRegistry) -> None:
    sample.old_and_new()
    sample.prune(sample.plan())
    order = [line.split("/")[2] for line in sample.seen if line.startswith("DELETE")]
    assert order == sorted(order, key=["release", "platform-chart", "api-rest", "base-image"].index)
    assert len(set(order)) == 3


def test_an_interrupted_run_leaves_whole_releases_and_the_next_run_ends_it(
    sample: PrunedRegistry,
) -> None:
    _, kept = sample.old_and_new()
    plan = sample.plan()
    for manifest in plan.removed[:3]:
        sample.client.delete(manifest.repository, manifest.digest)
    assert sample.tags("release") == {"1.0.0-dev.2"}
    sample.prune(sample.plan())
    later = sample.plan(days=8)
    sample.prune(later)
    assert sample.tags("api-rest") >= {"1.0.0-dev.2"}
    assert "1.0.0-dev.1" not in sample.tags("api-rest")
    assert sample.client.digest(sample.repository("api-rest"), kept.images["api-rest"].digest)


def test_a_release_published_meanwhile_is_kept(sample: PrunedRegistry) -> None:
    sample.release("1.0.0-dev.1", app="same")
    sample.release("1.0.0-dev.2")
    plan = sample.plan()
    late = sample.release("1.0.0", app="same")
    assert sample.prune(plan) < len(plan.removed)
    assert sample.client.digest(sample.repository("api-rest"), late.images["api-rest"].digest)


def test_a_push_that_has_not_ended_is_kept_for_some_days(sample: PrunedRegistry) -> None:
    pushed = sample.image("api-rest", "pushed", "key-pushed")
    sample.attach("api-rest", pushed, "sbom")
    first = sample.plan()
    assert first.removed == ()
    sample.prune(first)
    assert sample.tags("release") == {"prune-state"}
    assert sample.plan(days=6).removed == ()
    sample.prune(sample.plan(days=7))
    assert sample.tags("api-rest") == set()


@pytest.mark.parametrize("immutable", [False, True])
def test_the_state_is_one_manifest(sample: PrunedRegistry, *, immutable: bool) -> None:
    sample.registry.immutable = immutable
    for number in range(3):
        sample.image("api-rest", f"pushed {number}", f"key-{number}")
        sample.prune(sample.plan(days=number))
    assert [name for name, _ in sample.registry.manifests].count("release") == 1
    assert len(sample.plan().contents.first_seen) == 3


def test_an_unchanged_state_is_not_written_again(sample: PrunedRegistry) -> None:
    sample.image("api-rest", "pushed", "key")
    sample.prune(sample.plan())
    sample.prune(sample.plan())
    assert {line.split()[0] for line in sample.seen} == {"GET"}


def test_parts_of_an_index_are_removed_with_it(sample: PrunedRegistry) -> None:
    sample.release("1.0.0")
    part = json.dumps({"schemaVersion": 2, "layers": []}).encode()
    index = json.dumps({"schemaVersion": 2, "manifests": [{"digest": sha256(part)}]}).encode()
    for content, media_type in ((part, MANIFEST), (index, INDEX)):
        sample.registry.manifests["api-rest", sha256(content)] = (media_type, content)
    sample.registry.tags["api-rest", "many-platforms"] = sha256(index)
    assert sample.plan().removed == ()
    sample.prune(sample.plan())
    removed = sample.plan(days=7).removed
    assert [manifest.digest for manifest in removed] == [sha256(index), sha256(part)]


def test_the_images_of_an_index_live_as_long_as_a_release_that_names_it(
    sample: PrunedRegistry, tmp_path: Path
) -> None:
    kept, old = sample.release("1.0.0"), sample.release("1.0.0-dev.1")
    sample.release("1.0.0-dev.2")
    members: dict[str, list[str]] = {}
    for release in (kept, old):
        layout, repository = tmp_path / release.version, sample.repository("api-rest")
        platforms = {name: f"{name} {release.version}".encode() for name in ("linux/a", "linux/b")}
        write_index(layout, platforms)
        index = sample.client.push_layout(layout, repository, release.version + "-key", no_line)
        parts = [*oci_layout.read(layout).platforms.values()]
        # As `inv push` does: each has the key that `inv up` asks for, and an SBOM.
        for number, part in enumerate(parts):
            sample.client.put_tag(repository, f"{release.version}-key-{number}", part)
        sboms = [sample.attach("api-rest", part, f"SBOM of {part}") for part in parts]
        members[release.version] = [index, *parts, *sboms]
        image = replace(release.images["api-rest"], digest=index)
        changed = replace(release, images={**release.images, "api-rest": image})
        sample.registry.tags.pop(("release", release.version))
        catalog.push(sample.client, changed)
    sample.prune(sample.plan(days=7))
    left = {digest for name, digest in sample.registry.manifests if name == "api-rest"}
    assert {*members["1.0.0"]} <= left
    assert not {*members["1.0.0-dev.1"]} & left


def test_an_attachment_of_an_attachment_is_removed_too(sample: PrunedRegistry) -> None:
    old = sample.old_and_new()[0].images["api-rest"].digest
    (sbom,) = sample.client.referrers(sample.repository("api-rest"), old)
    signature = sample.attach("api-rest", sbom, "signature of the SBOM")
    assert signature in {manifest.digest for manifest in sample.plan().removed}


def test_an_attachment_that_no_list_has_is_known_by_its_subject(sample: PrunedRegistry) -> None:
    old = sample.old_and_new()[0].images["api-rest"].digest
    layers, repository = [Blob("x/y", b"z")], sample.repository("api-rest")
    lone = sample.client.push_artifact(repository, Artifact("x/y", layers, subject=old), tag="lone")
    sample.registry.tags.pop(("api-rest", old.replace(":", "-")), None)
    assert lone in {manifest.digest for manifest in sample.plan().removed}


def test_a_tag_of_cosign_is_kept_with_its_image(sample: PrunedRegistry) -> None:
    image = sample.release("1.0.0").images["api-rest"].digest
    sample.image("api-rest", "signature", f"{image.replace(':', '-')}.sig")
    assert sample.plan(days=99).removed == ()


@pytest.mark.parametrize(
    ("tag", "message"),
    [
        ("1.0.0", r"release:1\.0\.0: it is not a release"),
        ("latest", "not a version: latest"),
        ("prune-state", "not the state of an earlier run"),
    ],
)
def test_an_unknown_artifact_among_the_releases_is_an_error(
    sample: PrunedRegistry, tag: str, message: str
) -> None:
    sample.image("release", "something else", tag)
    with pytest.raises((DeclarationError, RegistryError), match=message):
        sample.plan()


@pytest.mark.parametrize("name", [".delivery/release.json", "used.json"])
def test_a_release_of_this_clone_or_of_another_file_is_kept(
    sample: PrunedRegistry, name: str
) -> None:
    old, _ = sample.old_and_new()
    file = sample.root / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(old.to_json())
    plan = sample.plan(in_use=[str(file)] if name == "used.json" else [])
    assert plan.removed == ()
    assert plan.uses[0].user == name


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file or directory"),
        (b"{}", "it is not a release"),
        (b"\xff", "it is not text in UTF-8"),
    ],
)
def test_an_invalid_file_in_use_is_an_error(
    sample: PrunedRegistry, tmp_path: Path, content: bytes | None, reason: str
) -> None:
    file = tmp_path / "used.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DeclarationError, match=rf"read .*used\.json: {reason}"):
        sample.plan(in_use=[str(file)])


class FakeTarget:
    """A kube context of staging with revisions: the chart, the manifest, the values."""

    name = "staging"

    def __init__(
        self, context: str, *revisions: tuple[str, str, dict[str, Any]], answers: bool = True
    ) -> None:
        self.kubernetes = self.helm = self
        self.context = context
        self.revisions = revisions
        self.answers = answers

    def reach(self) -> None:
        if not self.answers:
            raise CommandError("it does not answer", argv=[], returncode=1, tail="refused")

    def history(self) -> History:
        now = datetime.now(UTC)
        return History(
            tuple(
                Revision(number, "superseded", now, chart, "", Manifest(objects, ""), values)
                for number, (chart, objects, values) in enumerate(self.revisions, start=1)
            )
        )


@pytest.fixture
def staging(sample: PrunedRegistry, monkeypatch: pytest.MonkeyPatch) -> list[FakeTarget]:
    """The kube contexts of staging that the kubeconfig has."""
    targets: list[FakeTarget] = []
    environments = {
        "staging": Environment(contexts=("staging", "other"), namespace="n", values="v")
    }
    sample.declaration = sample.declaration.model_copy(update={"environments": environments})
    monkeypatch.setattr(programs, "ensure", lambda name: name)
    monkeypatch.setattr(target, "reachable", lambda *_: {"staging": targets})
    return targets


def values_of(release: Release) -> dict[str, Any]:
    return {"components": {"api-rest": {"image": {"digest": release.images["api-rest"].digest}}}}


def test_each_revision_in_each_context_of_an_environment_is_kept(
    sample: PrunedRegistry, staging: list[FakeTarget]
) -> None:
    old, older, oldest, _new = (sample.release(f"1.0.0-dev.{number}") for number in (3, 2, 1, 4))
    manifest = f"kind: Pod\nspec:\n  image: {old.images['api-rest'].pinned}\n"
    chart = "platform-chart-0.1.0"
    staging += [
        FakeTarget("staging", (chart, "", values_of(older)), (chart, manifest, {})),
        FakeTarget("other", (chart, "", values_of(oldest))),
    ]
    plan = sample.plan(without=())
    assert plan.removed == ()
    assert [use.user for use in plan.uses] == [
        "staging (staging), revision 1",
        "staging (staging), revision 2",
        "staging (other), revision 1",
    ]


def test_what_previews_run_is_kept(
    sample: PrunedRegistry, staging: list[FakeTarget], monkeypatch: pytest.MonkeyPatch
) -> None:
    old = sample.release("1.0.0-dev.1")
    sample.release("1.0.0-dev.2")
    gitflow = sample.declaration.gitflow.model_copy(update={"deploys": {"preview": "staging"}})
    sample.declaration = sample.declaration.model_copy(update={"gitflow": gitflow})
    staging.append(FakeTarget("staging"))
    made = [FakeTarget("staging-a-123456", ("platform-chart-0.1.0", "", values_of(old)))]
    monkeypatch.setattr(previews, "targets", lambda _declaration, _base: made)
    plan = sample.plan(without=())
    assert plan.removed == ()
    assert [use.user for use in plan.uses] == ["staging (staging-a-123456), revision 1"]

    def fail(*_: object) -> None:
        raise CommandError("cannot list", argv=[], returncode=1, tail="forbidden")

    monkeypatch.setattr(previews, "targets", fail)
    with pytest.raises(DeployError, match="cannot ask previews what they run") as caught:
        sample.plan(without=())
    assert "--without staging" in caught.value.hint


def test_the_chart_of_a_revision_selects_its_release(
    sample: PrunedRegistry, staging: list[FakeTarget]
) -> None:
    first, *_ = [sample.release(f"1.0.0-dev.{number}", app="same") for number in (1, 2, 3)]
    staging.append(FakeTarget("staging", ("platform-chart-1.0.0-dev.1", "", values_of(first))))
    plan = sample.plan(without=())
    assert [use.version for use in plan.uses] == ["1.0.0-dev.1"]
    assert plan.removed[0].tags == ("1.0.0-dev.2",)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (
            [FakeTarget("staging", answers=False)],
            r"cannot ask staging \(staging\) what it runs: it does not answer",
        ),
        ([], r"kubeconfig has none of its contexts \(staging, other\)"),
    ],
)
def test_an_environment_that_cannot_be_asked_is_an_error(
    sample: PrunedRegistry, staging: list[FakeTarget], targets: list[FakeTarget], message: str
) -> None:
    staging += targets
    with pytest.raises(DeployError, match=message) as caught:
        sample.plan(without=())
    assert "--without staging" in caught.value.hint
    assert sample.plan(without=("staging",)).removed == ()


def test_all_environments_that_cannot_be_asked_are_named_at_once(
    sample: PrunedRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = FakeTarget("staging", answers=False)
    by_name = {"develop": [], "staging": [silent], "production": [FakeTarget("production")]}
    monkeypatch.setattr(programs, "ensure", lambda name: name)
    monkeypatch.setattr(target, "reachable", lambda *_: by_name)
    with pytest.raises(DeployError, match=r"cannot ask develop, staging what they run") as caught:
        sample.plan(without=())
    assert caught.value.details.splitlines() == [
        "develop: the kubeconfig has none of its contexts (develop)",
        "staging: it does not answer",
    ]
    assert "pass --without develop --without staging:" in caught.value.hint


def test_an_undeclared_environment_is_an_error(sample: PrunedRegistry) -> None:
    with pytest.raises(DeclarationError, match="cannot find the environment stagign") as caught:
        sample.plan(without=("stagign",))
    assert "did you mean staging? --without takes one of" in caught.value.hint


def test_without_environments_no_program_is_installed(
    sample: PrunedRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str) -> str:
        raise AssertionError(name)

    monkeypatch.setattr(programs, "ensure", refuse)
    sample.plan()


class Runner:
    """An engine with a registry that this project started."""

    def __init__(self, publisher: str, fails: str = "") -> None:
        self.publishing = publisher
        self.port = 0
        self.fails = fails
        self.done: list[str] = []

    def publishers(self) -> dict[int, tuple[str, int]]:
        return {self.port: (self.publishing, 5000)}

    def stop(self, name: str) -> None:
        self.done.append(f"stop {name}")

    def run_once(
        self, image: str, argv: Sequence[str], *, volumes: dict[str, str], **_: object
    ) -> str:
        self.done.append(f"{image} {' '.join(argv)} {volumes}")
        if self.fails:
            raise RegistryError(self.fails)
        return "\n5 blobs marked, 3 blobs and 0 manifests eligible for deletion\n"

    def start(self, name: str) -> None:
        self.done.append(f"start {name}")


def collected(sample: PrunedRegistry, runner: Runner) -> str:
    runner.port = urlsplit(f"//{sample.declaration.registry.address}").port or 80
    return pruning.collect_garbage(cast("Engine", runner), sample.declaration)


def test_the_local_registry_is_stopped_while_garbage_is_collected(sample: PrunedRegistry) -> None:
    runner = Runner("sample-registry")
    assert "3 blobs" in collected(sample, runner)
    config, volumes = "/etc/docker/registry/config.yml", {"sample-registry": "/var/lib/registry"}
    assert runner.done == [
        "stop sample-registry",
        f"registry:2.8.3 registry garbage-collect {config} {volumes}",
        "start sample-registry",
    ]


def test_the_local_registry_is_started_again_after_an_error(sample: PrunedRegistry) -> None:
    runner = Runner("sample-registry", fails="no space left")
    with pytest.raises(RegistryError, match="no space left"):
        collected(sample, runner)
    assert runner.done[-1] == "start sample-registry"


@pytest.mark.parametrize(
    ("address", "publisher"), [("registry.example.com/team", "sample-registry"), ("", "another")]
)
def test_another_registry_is_not_stopped(
    sample: PrunedRegistry, address: str, publisher: str
) -> None:
    runner = Runner(publisher)
    if address:
        sample = replace(sample, declaration=sample.declaration.with_registry(address))
    with pytest.raises(DeclarationError, match="this project has not started that registry"):
        collected(sample, runner)
    assert runner.done == []
