"""What is to be done follows from the history, the cluster and the arguments alone."""

from datetime import UTC, datetime

import pytest

from delivery.deploy import deployment
from delivery.deploy.deployment import Deployment, Manifest, Revision, read_deployment
from delivery.errors import DeclarationError
from delivery.project.declaration import Declaration
from delivery.release.catalog import by_version
from delivery.release.contents import Contents, bytes_of
from delivery.release.released import Release, ReleasedImage

CONTEXTS = ("kind-house", "minikube")


def history(*states: str) -> list[Revision]:
    """Revisions from 1 on; "deployed:Rollback to 2" has a description."""
    when = datetime(2026, 11, 21, tzinfo=UTC)
    return [
        Revision(number, state.partition(":")[0], when, "platform-0.1.0", state.partition(":")[2])
        for number, state in enumerate(states, start=1)
    ]


def test_what_serves_is_the_last_that_went_well() -> None:
    found = deployment.deployed(history("superseded", "deployed", "failed"))
    assert found is not None
    assert found.number == 2
    assert deployment.deployed(history("failed")) is None


@pytest.mark.parametrize(
    ("states", "number"),
    [
        (("deployed", "pending-upgrade"), 2),
        (("pending-install",), 1),
        (("superseded", "deployed", "pending-rollback"), 3),
        (("pending-upgrade", "deployed"), None),
        ((), None),
    ],
)
def test_only_the_last_revision_can_be_stuck(states: tuple[str, ...], number: int | None) -> None:
    found = deployment.pending(history(*states))
    assert (found.number if found else None) == number


@pytest.mark.parametrize(
    ("states", "number"),
    [
        (("superseded", "deployed"), 1),
        (("superseded", "failed", "deployed"), 1),
        (("superseded", "superseded", "superseded", "deployed:Rollback to 2"), 1),
        (("superseded", "superseded", "superseded:Rollback to 1", "deployed"), 3),
        (("superseded", "deployed", "failed"), 1),
        (("superseded", "failed"), 1),
    ],
)
def test_goes_back_to_the_last_good_one_before(states: tuple[str, ...], number: int) -> None:
    assert deployment.rollback_target(history(*states)).number == number


def test_goes_back_to_the_one_that_is_told_if_it_went_well() -> None:
    revisions = history("superseded", "failed", "superseded", "deployed")
    assert deployment.rollback_target(revisions, 1).number == 1
    with pytest.raises(DeclarationError, match="revision 2: there is none that went well") as caught:
        deployment.rollback_target(revisions, 2)
    assert "1 (platform-0.1.0" in caught.value.hint
    assert "3 (platform-0.1.0" in caught.value.hint


@pytest.mark.parametrize("states", [("deployed",), ("failed", "deployed"), ()])
def test_there_may_be_nothing_to_go_back_to(states: tuple[str, ...]) -> None:
    with pytest.raises(DeclarationError, match="no earlier revision"):
        deployment.rollback_target(history(*states))


def told(number: int, description: str, status: str = "superseded") -> Revision:
    when = datetime(2026, 11, 21, tzinfo=UTC)
    return Revision(number, status, when, "platform-0.1.0", description)


def test_a_revision_says_what_it_or_the_one_that_it_repeats_is_made_of() -> None:
    versions = {"api-rest": "0.1.0-dev.26+cd38d5a", "platform-chart": "0.1.0"}
    revisions = [
        told(1, deployment.describe(versions)),
        told(2, "Upgrade complete"),
        told(3, "Rollback to 1"),
        told(4, "Rollback to 3"),
        told(5, "Rollback to 9"),
        told(6, 'Upgrade "platform" failed: context deadline exceeded'),
        told(7, ""),
    ]
    found = [deployment.versions_of(one, revisions) for one in revisions]
    assert found == [versions, {}, versions, versions, {}, {}, {}]


def test_where_one_can_go_back_to_is_said_by_what_it_is_made_of() -> None:
    revisions = [told(1, "api-rest 0.2.0, platform-chart 0.2.0"), told(2, "Rollback to 1"), told(3, "", "deployed")]
    with pytest.raises(DeclarationError) as caught:
        deployment.rollback_target(revisions, 9)
    made_of = "api-rest 0.2.0, platform-chart 0.2.0, 2026-11-21 00:00:00"
    assert caught.value.hint == f"those that did: 1 ({made_of}); 2 ({made_of})"


def test_what_is_no_release_is_named_by_the_version_to_come_and_its_bytes() -> None:
    name = deployment.name_unreleased("0.1.0-dev.26", "cd38d5a" + "0" * 25)
    assert name == "0.1.0-dev.26+cd38d5a"
    assert deployment.name_unreleased("", "cd38d5a" + "0" * 25) == "cd38d5a"
    assert [bytes_of(one) for one in (name, "cd38d5a", "0.1.0", "")] == ["cd38d5a", "cd38d5a", "0.1.0", ""]


@pytest.mark.parametrize(
    ("version", "digest", "is_same"),
    [
        ("1.0.0", "sha256:a", True),
        ("1.0.0-rc.2", "sha256:a", True),
        ("1.0.0", "sha256:b", False),
        ("1.0.0", "", True),
        ("1.1.0", "", False),
    ],
)
def test_the_same_bytes_are_the_same_whatever_they_are_called(version: str, digest: str, *, is_same: bool) -> None:
    one = Contents({"api-rest": "1.0.0", "other": "1"}, {"api-rest": "sha256:a"})
    other = Contents({"api-rest": version}, {"api-rest": digest} if digest else {})
    assert one.same(other) == ({"api-rest"} if is_same else set())


def test_a_change_is_told_by_versions_and_a_few_objects() -> None:
    def manifest(greeting: str, *names: str, hooks: str = "") -> Manifest:
        texts = [f"kind: ConfigMap\nmetadata:\n  name: {name}\ndata: {{greeting: {greeting}}}" for name in names]
        return Manifest("\n---\n".join(texts), hooks)

    was = {"api-rest": "0.2.0", "async-worker": "0.2.0"}
    hook = "---\nkind: Pod\nmetadata:\n  name: test\n"
    before, after = manifest("hello", "a", "gone"), manifest("bye", "a", "new", hooks=hook)
    told = deployment.changes(before, after, was, {**was, "api-rest": "0.2.1", "platform-chart": "0.2.0"})
    assert told == "api-rest 0.2.0 → 0.2.1, ConfigMap/a, ConfigMap/new (new), Pod/test (new), ConfigMap/gone (gone)"
    many = deployment.changes(manifest("hello", *"abcdefgh"), manifest("bye", *"abcdefgh"), {}, was)
    assert many == "ConfigMap/a, ConfigMap/b, ConfigMap/c, ConfigMap/d, ConfigMap/e, 3 more objects"
    assert deployment.changes(before, before, was, was) == ""


def test_a_context_of_the_environment_that_exists_is_fine() -> None:
    deployment.check_context("local", CONTEXTS, "minikube", ["minikube", "work"])


@pytest.mark.parametrize(
    ("context", "known", "said", "hint"),
    [
        ("", [], "no context is told", "takes one of kind-house, minikube"),
        (
            "work",
            ["work", "minikube"],
            r"the context work is not one of .*\(kind-house, minikube\)",
            "--context minikube",
        ),
        ("work", ["work"], "the context work is not one of", "./run inv cluster.up"),
        ("kind-house", ["work"], "the kubeconfig has no context kind-house", "./run inv cluster.up"),
    ],
)
def test_another_context_is_refused(context: str, known: list[str], said: str, hint: str) -> None:
    with pytest.raises(DeclarationError, match=said) as caught:
        deployment.check_context("local", CONTEXTS, context, known)
    assert hint in caught.value.hint


def test_values_name_every_image_by_digest_and_nothing_else() -> None:
    release = Release({name: ReleasedImage(f"localhost:5001/{name}", "k", "sha256:a") for name in ("api-rest", "base")})
    values = deployment.chart_values(release, ["api-rest"], {"kafka": ("localhost:5001/kafka", "sha256:b")})
    assert values == {
        "components": {"api-rest": {"image": {"repository": "localhost:5001/api-rest", "digest": "sha256:a"}}},
        "kafka": {"image": {"repository": "localhost:5001/kafka", "digest": "sha256:b"}},
    }
    assert deployment.deployed_images(values) == {"api-rest": ("localhost:5001/api-rest", "sha256:a")}


@pytest.mark.parametrize(
    "components",
    [None, [], {"greeter": None}, {"greeter": {"image": {"tag": "1", "repository": "r", "digest": ""}}}],
)
def test_values_may_name_no_image_by_digest(components: object) -> None:
    assert deployment.deployed_images({"components": components}) == {}


def test_versions_are_told_newest_first() -> None:
    tags = ["1.2.0", "1.10.0-rc.9", "1.10.0-rc.10", "latest", "1.10.0", "0a1b", "1.10", "01.1.1"]
    assert by_version(tags) == ["1.10.0", "1.10.0-rc.10", "1.10.0-rc.9", "1.2.0"]


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
    declaration: Declaration, environment: str, version: str, *, taken: bool
) -> None:
    release = Release({}, version=version, line="candidate")
    if taken:
        deployment.check_line(environment, release, declaration)
    else:
        with pytest.raises(DeclarationError, match="it comes from the candidate line, and production takes releases"):
            deployment.check_line(environment, release, declaration)


def config_map(name: str, data: str, **metadata: object) -> dict[str, object]:
    return {"kind": "ConfigMap", "metadata": {"name": name, **metadata}, "data": {"key": data}}


def test_what_somebody_changed_or_deleted_has_drifted() -> None:
    wanted = [config_map("same", "1", uid="a", generation=2), config_map("changed", "1"), config_map("gone", "1")]
    live = [config_map("same", "1", uid="b", resourceVersion="9"), config_map("changed", "2")]
    assert deployment.adrift(wanted, live) == ["ConfigMap/changed", "ConfigMap/gone"]


def test_what_the_cluster_reports_has_not_drifted() -> None:
    wanted, live = config_map("same", "1"), {**config_map("same", "1"), "status": {"ready": 1}}
    assert deployment.adrift([wanted], [live]) == []
    assert deployment.adrift([config_map("same", "1", labels={"a": "1"})], [live]) == ["ConfigMap/same"]


def test_reads_kinds_and_names_of_a_manifest() -> None:
    manifest = """---
# Source: platform/templates/a.yaml
apiVersion: v1
kind: ConfigMap
metadata:
  labels:
    name: not-this
  name: "config"
data:
  kind: none
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  template:
    metadata:
      name: nor-this
"""
    assert deployment.objects(manifest) == [("ConfigMap", "config"), ("Deployment", "web")]
    assert deployment.objects("") == []


@pytest.mark.parametrize(("text", "length"), [("90", 90), ("90s", 90), ("10m", 600), ("1h", 3600)])
def test_reads_durations(text: str, length: int) -> None:
    assert deployment.seconds(text, "--timeout") == length


@pytest.mark.parametrize("text", ["soon", "", "-5", "0", "1.5m", "10 m"])
def test_what_is_no_duration_is_an_error(text: str) -> None:
    with pytest.raises(DeclarationError, match=r"read --timeout: .* is no duration"):
        deployment.seconds(text, "--timeout")


def test_a_deployment_is_read_as_it_was_written() -> None:
    made = Deployment("develop", "kind-house", "platform", 3, 2)
    assert read_deployment(made.to_json(), file="deployment.json") == made
    assert (made.changed, Deployment("develop", "kind-house", "platform", 3, 3).changed) == (True, False)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"environment": "develop", "else": 1}'])
def test_what_is_no_deployment_is_an_error(text: str) -> None:
    with pytest.raises(DeclarationError, match=r"read deployment\.json: it is no deployment"):
        read_deployment(text, file="deployment.json")
