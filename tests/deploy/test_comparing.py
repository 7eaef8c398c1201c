"""What a deploy would change is found without changing anything."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from delivery.build import planning
from delivery.build.plan import Images, PlannedImage
from delivery.deploy import comparing, inventory
from delivery.deploy.comparison import Comparison
from delivery.deploy.manifests import Manifest
from delivery.deploy.selection import DeployRequest
from delivery.deploy.target import Target
from delivery.errors import DeclarationError, DeployError
from delivery.host import engines
from delivery.project.declaration import Declaration
from delivery.registry import mirroring
from delivery.release import catalog, chart_package
from delivery.release.released import Release, ReleasedPart
from tests.deploy.cluster import OLD, Cluster, failed, packed, target
from tests.repositories import Repository

KEY = "0" * 64
A, B = (f"sha256:{letter * 64}" for letter in "ab")
PART = ReleasedPart("localhost:5001/api-rest", "k", B, "1.1.0")
CHART = ReleasedPart("localhost:5001/platform-chart", "k", A, "1.1.0")
SERVICE = "kind: Service\nmetadata: {name: web}\nspec: {port: 80}\n"
HOOK = "kind: Pod\nmetadata: {name: test}\nspec: {image: %s}\n"


def service(**spec: object) -> dict[str, Any]:
    return {"kind": "Service", "metadata": {"name": "web"}, "spec": spec}


@pytest.fixture(autouse=True)
def _connected(cluster: Cluster, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(_declaration: Declaration, name: str, _context: str) -> Target:
        return target(cluster, name, confirm=True)

    def no_engine() -> None:
        raise AssertionError("a comparison needs no engine")

    chart = packed(root, "values-local.yaml")
    monkeypatch.setattr(comparing, "connect", connect)
    monkeypatch.setattr(comparing, "connect_beside", lambda *_: target(cluster, "production"))
    monkeypatch.setattr(engines, "ensure", no_engine)
    monkeypatch.setattr(mirroring, "mirrored", lambda *_: {})
    monkeypatch.setattr(chart_package, "fetch", lambda *_: chart)
    monkeypatch.setattr(catalog, "find", lambda *_: None)
    release = Release({"api-rest": PART}, "1.1.0", CHART, "release")
    monkeypatch.setattr(catalog, "require", lambda *_: release)
    cluster.manifests[1] = Manifest(SERVICE, HOOK % "old")
    cluster.rendered = cluster.manifests[1]
    cluster.live_objects = [service(port=80)]
    cluster.applied = [service(port=80)]


def compare(declaration: Declaration, root: Path, **request: Any) -> Comparison:
    request = {"environment": "staging", "version": "1.1.0", **request}
    return comparing.compare(declaration, DeployRequest(**request), root)


def test_what_runs_already_is_nothing(
    cluster: Cluster, declaration: Declaration, root: Path
) -> None:
    found = compare(declaration, root)
    assert not found.is_changed
    assert (found.previous, found.requested) == (
        "staging (kind-sample, namespace platform), revision 1",
        "release 1.1.0",
    )
    assert (cluster.done, cluster.managers) == ([], ["helm"])
    assert not (root / ".delivery").exists()


def test_objects_and_hooks_that_would_change_are_found(
    cluster: Cluster, declaration: Declaration, root: Path
) -> None:
    cluster.rendered = Manifest(SERVICE, HOOK % "new")
    cluster.live_objects = [service(port=80, by_hand=True)]
    found = compare(declaration, root)
    assert [(each.name, each.change) for each in found.objects] == [
        ("Service/web", "changed"),
        ("Pod/test", "changed"),
    ]
    assert "-  by_hand: true" in found.objects[0].lines


def test_a_first_deploy_is_all_new(cluster: Cluster, declaration: Declaration, root: Path) -> None:
    cluster.revisions = []
    found = compare(declaration, root)
    assert [(each.name, each.change) for each in found.objects] == [
        ("Pod/test", "new"),
        ("Service/web", "new"),
    ]
    assert cluster.managers == []  # the namespace may not exist yet
    assert found.previous.endswith("not deployed")


def test_what_the_cluster_refuses_is_an_error(
    cluster: Cluster, declaration: Declaration, root: Path
) -> None:
    cluster.fails["dry run"] = failed("Forbidden: updates to statefulset spec")
    with pytest.raises(DeployError, match="the cluster refuses what a deploy would apply") as error:
        compare(declaration, root)
    assert "statefulset" in error.value.details


def test_objects_are_not_known_until_the_next_deploy_repairs_a_killed_one(
    cluster: Cluster, declaration: Declaration, root: Path
) -> None:
    cluster.add("pending-upgrade", OLD)
    cluster.fails["preview"] = failed("another operation is in progress")
    found = compare(declaration, root)
    assert found.is_changed  # else a pipeline would not deploy, and nothing repair it
    assert "not known: revision 2 is pending-upgrade since" in "\n".join(found.lines())
    request = DeployRequest(environment="staging", version="1.1.0")
    with pytest.raises(DeployError, match=r"cannot render .* revision 2 is pending-up"):
        comparing.render(declaration, request, root)


def test_a_killed_deploy_is_compared_with_what_was_deployed_before_it(
    cluster: Cluster, declaration: Declaration, root: Path
) -> None:
    before = compare(declaration, root)
    cluster.add("pending-upgrade", OLD)
    found = compare(declaration, root)
    assert found.previous.endswith(", revision 1")
    assert (found.versions, found.contents) == (before.versions, before.contents)
    assert found.lines()[-1].endswith("; the next deploy repairs it")
    cluster.revisions = []
    cluster.add("pending-install", OLD)
    found = compare(declaration, root)
    assert found.is_changed
    assert found.previous.endswith("not deployed")
    assert "revision 1 is pending-install" in found.unknown


def test_images_of_this_clone_have_to_be_built(
    declaration: Declaration, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = PlannedImage("api-rest", "localhost:5001/api-rest", KEY, "base-image", B)
    declaration = declaration.model_copy(
        update={"environments": {"local": declaration.environments["staging"]}}
    )
    monkeypatch.setattr(inventory, "_next_versions", lambda _declaration: {})
    monkeypatch.setattr(planning, "plan_images", lambda *_, **__: Images((image,)))
    found = compare(declaration, root, environment="local", version="current")
    assert found.contents[1].digests["api-rest"] == B
    missing = Images((replace(image, digest=""),))
    monkeypatch.setattr(planning, "plan_images", lambda *_, **__: missing)
    with pytest.raises(DeclarationError, match="not built yet: api-rest") as error:
        compare(declaration, root, environment="local", version="current")
    assert "images.ensure" in error.value.hint


def test_the_hint_for_a_preview_builds_its_images_for_every_declared_platform(
    with_previews: Declaration, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = PlannedImage("api-rest", "localhost:5001/api-rest", KEY, "base-image", "")
    monkeypatch.setattr(planning, "plan_images", lambda *_, **__: Images((image,)))
    with pytest.raises(DeclarationError, match="not built yet: api-rest") as error:
        compare(with_previews, root, environment="preview-feature-x-1a2b3c", version="current")
    assert error.value.hint == "build and push them by `./run inv push`"


@pytest.fixture
def releases(root: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """A clone with the commits of the deployed release 1.0.0 and of 1.1.0."""
    repository = Repository(root)
    first = repository.commit("feat: first", "api-rest/x")
    second = repository.commit("feat: second", "api-rest/x")
    release = Release({"api-rest": PART}, "1.1.0", CHART, commit=second)
    deployed = replace(release, version="1.0.0", commit=first)
    monkeypatch.setattr(catalog, "require", lambda *_: release)
    by_version = {"1.0.0": deployed, "1.1.0": release}
    monkeypatch.setattr(catalog, "find", lambda _registry, version: by_version.get(version))
    description = "api-rest 1.0.0, platform-chart 1.0.0"
    cluster.revisions = [replace(cluster.revisions[0], description=description)]
    return repository


def test_the_commits_of_both_releases_are_compared(
    releases: Repository, declaration: Declaration, root: Path
) -> None:
    found = compare(declaration, root)
    assert ("api-rest", "1.0.0", "1.1.0") in found.versions
    (commit,) = found.commits.by_component["api-rest"]
    assert (commit.subject, commit.is_added, found.commits.note) == ("feat: second", True, "")
    releases.git("checkout", "--quiet", "--orphan", "other")
    releases.git("commit", "--quiet", "--message", "other")
    releases.git("branch", "--delete", "--force", "main")
    releases.git("reflog", "expire", "--expire=now", "--all")
    releases.git("gc", "--quiet", "--prune=now")
    lacking = compare(declaration, root).commits
    assert lacking.by_component == {}
    assert lacking.note.startswith("not known: this clone lacks ")


def test_two_environments_are_compared_by_what_each_was_deployed_with(
    cluster: Cluster, declaration: Declaration
) -> None:
    found = comparing.compare_environments(declaration, DeployRequest("staging"), "production")
    assert not found.is_changed
    assert found.requested == "production (kind-sample, namespace platform), revision 1"
    assert cluster.managers == []
    with pytest.raises(DeclarationError, match="--to names an environment"):
        comparing.compare_environments(
            declaration, DeployRequest("staging", version="1.0.0"), "production"
        )
    with pytest.raises(DeclarationError, match="cannot compare: no environment given"):
        comparing.compare_environments(declaration, DeployRequest(), "production")
