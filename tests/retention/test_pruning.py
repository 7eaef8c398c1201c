"""All of a registry is looked at, and all that is in use, before anything is removed."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import pytest

from delivery.deploy import helm, kubectl, target
from delivery.deploy.history import History, Revision
from delivery.deploy.manifests import Manifest
from delivery.errors import CommandError, DeclarationError, DeployError, RegistryError
from delivery.host import programs
from delivery.host.docker_api import Engine
from delivery.project.declaration import Declaration, Environment, Prune
from delivery.registry.client import Artifact, Blob, Registry
from delivery.release import catalog
from delivery.release.released import Release, ReleasedPart
from delivery.retention import pruning
from tests.registries import FakeRegistry, serving, sha256

TODAY = date(2026, 11, 21)


def no_pause(_seconds: float) -> None:
    pass


@dataclass
class House:
    """A registry with releases in it, and what is asked of it."""

    registry: FakeRegistry
    client: Registry
    declaration: Declaration
    root: Path
    seen: list[str]

    def image(self, repository: str, content: str, *tags: str) -> str:
        """Push something to a repository; its digest."""
        layers = [Blob("x/y", content.encode())]
        for tag in tags:
            self.client.push_artifact(
                f"{self.client.address}/{repository}", Artifact("x/y", layers), tag=tag
            )
        return self.registry.tags[repository, tags[0]]

    def attach(self, repository: str, subject: str, content: str) -> str:
        return self.client.push_artifact(
            f"{self.client.address}/{repository}",
            Artifact("sbom", [Blob("x/y", content.encode())], subject=subject),
        )

    def release(self, version: str, app: str = "") -> Release:
        """Publish a release of an app, a base image and a chart, the app with something attached to it."""
        app = app or version
        image = self.image("api-rest", f"app {app}", f"key-{app}", version)
        self.attach("api-rest", image, f"sbom of {app}")
        made = Release(
            {
                "api-rest": ReleasedPart(
                    f"{self.client.address}/api-rest", f"key-{app}", image, version
                ),
                "base-image": ReleasedPart(
                    f"{self.client.address}/base-image",
                    "base",
                    self.image("base-image", "base", "base"),
                    "1.0.0",
                ),
            },
            version,
            ReleasedPart(
                f"{self.client.address}/platform-chart",
                f"key-{version}",
                self.image("platform-chart", f"chart {version}", f"key-{version}", version),
                version,
            ),
        )
        catalog.push(self.client, made)
        return made

    def look(
        self, today: date = TODAY, without: Sequence[str] | None = None, in_use: Sequence[str] = ()
    ) -> pruning.Found:
        left_out = self.declaration.environments if without is None else without
        uses = pruning.in_use(self.declaration, list(left_out), in_use, self.root)
        return pruning.look(self.declaration, self.client, uses, today)

    def act(self, found: pruning.Found) -> int:
        self.seen.clear()
        return pruning.act(self.declaration, self.client, found)

    def tags(self, repository: str) -> set[str]:
        return {tag for known, tag in self.registry.tags if known == repository}


@pytest.fixture(params=[False, True], ids=["without-referrers-api", "with-referrers-api"])
def sample(
    request: pytest.FixtureRequest, declaration: Declaration, tmp_path: Path
) -> Iterator[House]:
    registry = FakeRegistry(referrers=request.param)
    with serving(registry) as (address, seen):
        declared = declaration.with_registry(address).model_copy(
            update={"prune": Prune(develop=1, candidate=1, days=7)}
        )
        yield House(registry, Registry(address, pause=no_pause), declared, tmp_path, seen)


def test_what_an_old_release_alone_needs_is_removed_whole_and_nothing_else(sample: House) -> None:
    old, new = sample.release("1.0.0-dev.1"), sample.release("1.0.0-dev.2")
    sample.seen.clear()
    found = sample.look()
    assert {line.split()[0] for line in sample.seen} == {"GET"}  # looking changes nothing
    assert sample.act(found) == len(found.outcome.going)
    again = sample.look().outcome
    assert (again.going, again.seen) == ((), {})
    assert sample.tags("release") == {"1.0.0-dev.2"}
    assert catalog.find(sample.client, "1.0.0-dev.2") == new
    assert sample.tags("platform-chart") == {"1.0.0-dev.2", "key-1.0.0-dev.2"}
    assert sample.tags("base-image") == {"base"}
    left = {digest for repository, digest in sample.registry.manifests if repository == "api-rest"}
    image = new.images["api-rest"].digest
    sbom = sample.client.referrers(f"{sample.client.address}/api-rest", image)[0].digest
    assert {image, sbom} <= left
    assert old.images["api-rest"].digest not in left
    assert len(left) == (2 if sample.registry.referrers else 3)  # the list of what is attached


def test_releases_are_removed_first_then_charts_then_images(sample: House) -> None:
    sample.release("1.0.0-dev.1")
    sample.release("1.0.0-dev.2")
    sample.act(sample.look())
    order = [line.split("/")[2] for line in sample.seen if line.startswith("DELETE")]
    assert order == sorted(order, key=["release", "platform-chart", "api-rest", "base-image"].index)
    assert len(set(order)) == 3


def test_a_clean_up_that_is_cut_off_leaves_whole_releases_and_is_finished_by_the_next(
    sample: House,
) -> None:
    sample.release("1.0.0-dev.1")
    kept = sample.release("1.0.0-dev.2")
    found = sample.look()
    for held in found.outcome.going[:3]:
        sample.client.delete(held.repository, held.digest)
    assert sample.tags("release") == {"1.0.0-dev.2"}
    sample.act(sample.look())
    later = sample.look(today=TODAY + timedelta(days=8))
    sample.act(later)
    assert sample.tags("api-rest") >= {"1.0.0-dev.2"}
    assert "1.0.0-dev.1" not in sample.tags("api-rest")
    assert sample.client.digest(f"{sample.client.address}/api-rest", kept.images["api-rest"].digest)


def test_what_is_released_while_it_cleans_up_stays(sample: House) -> None:
    sample.release("1.0.0-dev.1", app="same")
    sample.release("1.0.0-dev.2")
    found = sample.look()
    late = sample.release("1.0.0", app="same")
    assert sample.act(found) < len(found.outcome.going)
    assert sample.client.digest(f"{sample.client.address}/api-rest", late.images["api-rest"].digest)


def test_a_push_under_way_is_left_alone_for_some_days_that_are_counted_in_the_registry(
    sample: House,
) -> None:
    pushed = sample.image("api-rest", "pushed", "key-pushed")
    sample.attach("api-rest", pushed, "sbom")
    first = sample.look()
    assert first.outcome.going == ()
    sample.act(first)
    assert sample.tags("release") == {"prune-state"}
    assert sample.look(today=TODAY + timedelta(days=6)).outcome.going == ()
    sample.act(sample.look(today=TODAY + timedelta(days=7)))
    assert sample.tags("api-rest") == set()


@pytest.mark.parametrize("immutable", [False, True])
def test_its_memory_is_one_manifest_whatever_changes(sample: House, *, immutable: bool) -> None:
    sample.registry.immutable = immutable
    for number in range(3):
        sample.image("api-rest", f"pushed {number}", f"key-{number}")
        sample.act(sample.look(today=TODAY + timedelta(days=number)))
    assert (
        len([digest for repository, digest in sample.registry.manifests if repository == "release"])
        == 1
    )
    assert len(sample.look().registered.seen) == 3


def test_what_has_not_changed_is_not_written_again(sample: House) -> None:
    sample.image("api-rest", "pushed", "key")
    sample.act(sample.look())
    sample.act(sample.look())
    assert {line.split()[0] for line in sample.seen} == {"GET"}


def test_a_registry_that_deletes_nothing_is_an_error(sample: House) -> None:
    sample.release("1.0.0-dev.1")
    sample.release("1.0.0-dev.2")
    sample.registry.deletes = False
    with pytest.raises(RegistryError, match="answered 405") as caught:
        sample.act(sample.look())
    assert "REGISTRY_STORAGE_DELETE_ENABLED" in caught.value.hint


def test_parts_of_an_index_stay_and_go_with_it(sample: House) -> None:
    sample.release("1.0.0")
    part = json.dumps({"schemaVersion": 2, "layers": []}).encode()
    index = json.dumps({"schemaVersion": 2, "manifests": [{"digest": sha256(part)}]}).encode()
    for content, kind in ((part, "manifest"), (index, "index")):
        sample.registry.manifests["api-rest", sha256(content)] = (
            f"application/vnd.oci.image.{kind}.v1+json",
            content,
        )
    sample.registry.tags["api-rest", "many-platforms"] = sha256(index)
    assert sample.look().outcome.going == ()
    sample.act(sample.look())
    outcome = sample.look(today=TODAY + timedelta(days=7)).outcome
    assert [held.digest for held in outcome.going] == [sha256(part), sha256(index)]


def test_what_is_attached_to_something_attached_goes_with_it(sample: House) -> None:
    old = sample.release("1.0.0-dev.1").images["api-rest"].digest
    sample.release("1.0.0-dev.2")
    bill = sample.client.referrers(f"{sample.client.address}/api-rest", old)[0].digest
    signature = sample.attach("api-rest", bill, "signature of the bill")
    assert signature in {held.digest for held in sample.look().outcome.going}


def test_what_says_itself_what_it_is_attached_to_is_believed_where_no_list_has_it(
    sample: House,
) -> None:
    old = sample.release("1.0.0-dev.1").images["api-rest"].digest
    sample.release("1.0.0-dev.2")
    layers, repository = [Blob("x/y", b"z")], f"{sample.client.address}/api-rest"
    lone = sample.client.push_artifact(repository, Artifact("x/y", layers, subject=old), tag="lone")
    sample.registry.tags.pop(("api-rest", old.replace(":", "-")), None)
    assert lone in {held.digest for held in sample.look().outcome.going}


def test_cosigns_tags_stay_with_what_they_sign(sample: House) -> None:
    image = sample.release("1.0.0").images["api-rest"].digest
    sample.image("api-rest", "signature", f"{image.replace(':', '-')}.sig")
    assert sample.look(today=TODAY + timedelta(days=99)).outcome.going == ()


@pytest.mark.parametrize(
    ("tag", "message"),
    [
        ("1.0.0", r"release:1\.0\.0: it is none of ours"),
        ("latest", "latest is no version"),
        ("prune-state", "not what a clean-up wrote"),
    ],
)
def test_what_cannot_be_read_beside_the_releases_stops_it(
    sample: House, tag: str, message: str
) -> None:
    sample.image("release", "something else", tag)
    with pytest.raises((DeclarationError, RegistryError), match=message):
        sample.look()


def test_the_release_of_this_clone_stays(sample: House) -> None:
    old = sample.release("1.0.0-dev.1")
    sample.release("1.0.0-dev.2")
    file = sample.root / ".delivery" / "release.json"
    file.parent.mkdir()
    file.write_text(old.to_json())
    found = sample.look()
    assert found.outcome.going == ()
    assert found.uses[0].who == ".delivery/release.json"


def test_releases_that_are_said_to_be_in_use_stay(sample: House, tmp_path: Path) -> None:
    old = sample.release("1.0.0-dev.1")
    sample.release("1.0.0-dev.2")
    (tmp_path / "told.json").write_text(old.to_json())
    assert sample.look(in_use=[str(tmp_path / "told.json")]).outcome.going == ()


@pytest.mark.parametrize("content", [None, "{}", b"\xff"])
def test_a_file_in_use_that_is_no_release_stops_it(
    sample: House, tmp_path: Path, content: str | bytes | None
) -> None:
    file = tmp_path / "told.json"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DeclarationError, match=r"read .*told\.json"):
        sample.look(in_use=[str(file)])


class Cluster:
    """What helm and kubectl say of the environments: revisions by context."""

    def __init__(self) -> None:
        self.contexts = ["staging"]
        self.revisions: dict[str, list[tuple[str, Manifest, dict[str, object]]]] = {"staging": []}
        self.down: set[str] = set()

    def add(
        self,
        context: str,
        chart: str,
        *,
        manifest: str = "",
        values: dict[str, object] | None = None,
    ) -> None:
        self.revisions.setdefault(context, []).append((chart, Manifest(manifest, ""), values or {}))


class FakeHelm:
    cluster: Cluster

    def __init__(
        self, _program: str, _version: tuple[int, int], context: str, _namespace: str
    ) -> None:
        self.context = context

    def history(self) -> History:
        now = datetime.now(UTC)
        revisions = (
            Revision(number, "superseded", now, chart, "")
            for number, (chart, _, _) in enumerate(
                self.cluster.revisions.get(self.context, []), start=1
            )
        )
        return History(tuple(revisions))

    def manifest(self, number: int) -> Manifest:
        return self.cluster.revisions[self.context][number - 1][1]

    def values(self, number: int) -> dict[str, object]:
        return self.cluster.revisions[self.context][number - 1][2]


class FakeKubernetes:
    cluster: Cluster

    def __init__(self, _kubectl: str, context: str, _namespace: str) -> None:
        self.context = context

    def reach(self) -> str:
        if self.context in self.cluster.down:
            raise CommandError("it does not answer", argv=[], returncode=1, tail="refused")
        return "{}"


@pytest.fixture
def cluster(sample: House, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = FakeHelm.cluster = FakeKubernetes.cluster = Cluster()
    environments = {
        "staging": Environment(contexts=("staging", "other"), namespace="n", values="v")
    }
    sample.declaration = sample.declaration.model_copy(update={"environments": environments})
    monkeypatch.setattr(programs, "ensure", lambda name: name)
    monkeypatch.setattr(helm, "probe", lambda _program: (4, 0))
    monkeypatch.setattr(kubectl, "contexts", lambda _kubectl: made.contexts)
    monkeypatch.setattr(target, "Helm", FakeHelm)
    monkeypatch.setattr(target, "Kubernetes", FakeKubernetes)
    return made


def as_values(release: Release) -> dict[str, object]:
    return {"components": {"api-rest": {"image": {"digest": release.images["api-rest"].digest}}}}


def as_manifest(release: Release) -> str:
    return f"kind: Pod\nspec:\n  image: {release.images['api-rest'].pinned}\n"


@pytest.mark.parametrize("told_by", ["values", "manifest"])
def test_what_an_environment_may_roll_back_to_stays(
    sample: House, cluster: Cluster, told_by: str
) -> None:
    old, older, _new = (sample.release(f"1.0.0-dev.{number}") for number in (2, 1, 3))
    for one in (older, old):
        told: dict[str, Any] = (
            {"values": as_values(one)} if told_by == "values" else {"manifest": as_manifest(one)}
        )
        cluster.add("staging", "platform-chart-0.1.0", **told)
    found = sample.look(without=())
    assert found.outcome.going == ()
    assert [use.who for use in found.uses] == [
        "staging (staging), revision 1",
        "staging (staging), revision 2",
    ]


def test_a_revisions_chart_tells_which_release_it_is(sample: House, cluster: Cluster) -> None:
    releases = [sample.release(f"1.0.0-dev.{number}", app="same") for number in (1, 2, 3)]
    cluster.add("staging", "platform-chart-1.0.0-dev.1", values=as_values(releases[0]))
    found = sample.look(without=())
    assert [use.version for use in found.uses] == ["1.0.0-dev.1"]
    assert [held.tags for held in found.outcome.going if held.repository.endswith("/release")] == [
        ("1.0.0-dev.2",)
    ]


def test_every_context_of_an_environment_is_asked(sample: House, cluster: Cluster) -> None:
    old = sample.release("1.0.0-dev.1")
    sample.release("1.0.0-dev.2")
    cluster.contexts = ["staging", "other", "else"]
    cluster.add("other", "platform-chart-0.1.0", values=as_values(old))
    assert sample.look(without=()).outcome.going == ()


def test_an_environment_that_does_not_answer_stops_it(sample: House, cluster: Cluster) -> None:
    cluster.down = {"staging"}
    with pytest.raises(
        DeployError, match=r"ask staging \(staging\) what it runs: it does not answer"
    ) as caught:
        sample.look(without=())
    assert "--without staging" in caught.value.hint
    assert sample.look(without=("staging",)).outcome.going == ()


def test_an_environment_that_is_not_known_here_stops_it(sample: House, cluster: Cluster) -> None:
    cluster.contexts = ["else"]
    with pytest.raises(
        DeployError, match=r"kubeconfig has none of its contexts \(staging, other\)"
    ) as caught:
        sample.look(without=())
    assert "--without staging" in caught.value.hint


def test_an_environment_that_is_not_declared_cannot_be_left_out(sample: House) -> None:
    with pytest.raises(DeclarationError, match="look for the environment stagign"):
        sample.look(without=("stagign",))


def test_programs_are_not_fetched_for_nothing(
    sample: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str) -> str:
        raise AssertionError(name)

    monkeypatch.setattr(programs, "ensure", refuse)
    sample.look()


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


def collected(sample: House, runner: Runner) -> str:
    runner.port = urlsplit(f"//{sample.declaration.registry.address}").port or 80
    return pruning.collect(cast("Engine", runner), sample.declaration)


def test_the_local_registry_is_stopped_collected_and_started_again(sample: House) -> None:
    runner = Runner("sample-registry")
    assert "3 blobs" in collected(sample, runner)
    assert runner.done == [
        "stop sample-registry",
        "registry:2.8.3 registry garbage-collect /etc/docker/registry/config.yml {'sample-registry': '/var/lib/registry'}",
        "start sample-registry",
    ]


def test_it_is_started_again_whatever_happens(sample: House) -> None:
    runner = Runner("sample-registry", fails="no space left")
    with pytest.raises(RegistryError, match="no space left"):
        collected(sample, runner)
    assert runner.done[-1] == "start sample-registry"


@pytest.mark.parametrize(
    ("address", "publisher"), [("registry.example.com/team", "sample-registry"), ("", "another")]
)
def test_somebody_elses_registry_is_not_stopped(
    sample: House, address: str, publisher: str
) -> None:
    runner = Runner(publisher)
    if address:
        sample = replace(sample, declaration=sample.declaration.with_registry(address))
    with pytest.raises(DeclarationError, match="no registry that this project started"):
        collected(sample, runner)
    assert runner.done == []
