"""Releases on a real engine and in a real registry: complete, published once, reproducible."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from delivery.host import programs
from delivery.registry.client import Registry
from tests.commands import output
from tests.integration import small
from tests.integration.small import Small
from tests.registries import forward_to, serving

pytestmark = pytest.mark.engine

NO_ENGINE = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}
PARTS = (*small.IMAGES, "platform-chart", "release")
NOTHING: dict[str, list[str]] = {name: [] for name in PARTS}
FIRST = {name: ["0.1.0-dev.1"] for name in PARTS}


@pytest.fixture
def clone(address: str, tmp_path: Path) -> Small:
    """The small project, with its own repositories."""
    name = tmp_path.name.replace("_", "-").strip("-").lower()
    return small.make(tmp_path / "clone", f"{address}/{name}")


@pytest.fixture(scope="module")
def pushed(address: str, tmp_path_factory: pytest.TempPathFactory) -> Small:
    """The small project, published, for tests that publish nothing more in it."""
    made = small.make(tmp_path_factory.mktemp("pushed") / "clone", f"{address}/pushed")
    made.succeed("build", "push")
    return made


def published(clone: Small) -> dict[str, list[str]]:
    """The version tags of each repository."""
    registry = Registry(clone.registry)
    tags = {name: registry.tags(f"{clone.registry}/{name}") for name in PARTS}
    return {name: sorted(tag for tag in found if "." in tag) for name, found in tags.items()}


def digests(clone: Small) -> dict[str, str]:
    release = clone.released()
    parts = {**release["images"], "chart": release["chart"]}
    return {name: part["digest"] for name, part in parts.items()}


def test_everything_is_published_under_its_version(pushed: Small) -> None:
    assert published(pushed) == FIRST
    registry, release = Registry(pushed.registry), pushed.released()
    for name, digest in digests(pushed).items():
        repository = release["images"].get(name, release["chart"])["repository"]
        assert registry.digest(repository, "0.1.0-dev.1") == digest
    assert (release["line"], release["branch"], release["commit"]) == (
        "develop",
        "develop",
        pushed.git("rev-parse", "HEAD"),
    )


def test_a_fresh_clone_needs_no_engine_for_a_published_release(
    pushed: Small, tmp_path: Path
) -> None:
    other = pushed.clone(tmp_path / "elsewhere")
    printed = other.succeed("build", "push", environment=NO_ENGINE)
    assert "build: nothing to do: the registry holds all 3 images" in printed
    assert "release 0.1.0-dev.1 is published already, and the same" in printed
    assert other.released() == pushed.released()


def test_a_change_builds_only_what_is_built_on_it(clone: Small) -> None:
    clone.succeed("push")
    before = digests(clone)
    clone.commit("fix(apps): better", {"api-rest/file": "better"})
    printed = clone.succeed("build", "push")
    assert "build api-rest: in one graph" in printed
    after = digests(clone)
    assert {name for name in after if after[name] != before[name]} == {"api-rest", "chart"}
    assert clone.released()["images"]["base-image"]["version"] == "0.1.0-dev.1"
    # The apps have one version.
    assert published(clone)["async-worker"] == ["0.1.0-dev.1", "0.1.0-dev.2"]


def test_a_feature_branch_is_built_and_not_pushed(clone: Small) -> None:
    clone.git("switch", "--quiet", "--create", "feature/Ünïcode")
    printed = clone.succeed("build", "push", "scan.vulnerabilities")
    assert "build base-image, api-rest, async-worker: in one graph" in printed
    assert "nothing is pushed" in printed
    assert "not scanned for vulnerabilities: delivery.toml has no table" in printed
    assert published(clone) == NOTHING
    # What was built is pushed once it is on a line that publishes.
    clone.git("switch", "--quiet", "develop")
    clone.git("merge", "--quiet", "feature/Ünïcode")
    again = "build: nothing to do: base-image, api-rest, async-worker built before"
    assert again in clone.succeed("push")


def test_a_plan_is_followed_or_an_error(clone: Small) -> None:
    file = clone.folder / ".delivery" / "plan.json"
    clone.succeed("plan", "--file", str(file))
    clone.succeed("build", "push", "--plan", str(file))
    clone.commit("fix(apps): other", {"api-rest/file": "other"})
    code, printed = clone.inv("push", "--plan", str(file))
    assert code == 2
    assert "commit planned as" in printed
    assert "/api-rest: content key " in printed
    assert published(clone) == FIRST


def test_a_candidate_becomes_the_release_without_an_upload(clone: Small, address: str) -> None:
    with serving(forward_to(f"http://{address}")) as (proxy, seen):
        through = clone.at(clone.registry.replace(address, proxy))
        through.succeed("push")
        through.git("switch", "--quiet", "--create", "release/0.1")
        assert "not scanned for vulnerabilities" in through.succeed("push")
        candidate = digests(through)
        through.git("switch", "--quiet", "--create", "main")
        seen.clear()
        through.succeed("push", environment=NO_ENGINE)
        sent = [line for line in seen if line.split()[0] in {"POST", "PUT", "PATCH"}]
    assert digests(through) == candidate
    assert through.released()["version"] == "0.1.0"
    # The release itself is new; its parts are only tagged.
    assert [line for line in sent if "/uploads/" in line and "/release/" not in line] == []
    assert published(clone)["api-rest"] == ["0.1.0", "0.1.0-dev.1", "0.1.0-rc.1"]


def obey(clone: Small, printed: str) -> None:
    """Run the commands of a hint as they are written, without those for another case."""
    (hint,) = re.findall(r"^hint: (.*)$", printed, re.MULTILINE)
    commands = re.findall(r"`(.+?)`", hint)
    for command in (command for command in commands if "--subproject" not in command):
        for words in (shlex.split(part) for part in command.split(" && ")):
            if words[0] == "git":
                clone.git(*words[1:])
                continue
            variables, arguments = words[: words.index("./run")], words[words.index("inv") + 1 :]
            yes = ["--yes"] if arguments[0].startswith("release.") else []
            environment = dict(word.split("=", 1) for word in variables)
            assert "--no-ff  " not in clone.succeed(*arguments, *yes, environment=environment)


def test_the_hints_give_a_commit_before_the_tag_of_a_release_a_version(
    clone: Small, tmp_path: Path
) -> None:
    clone.git("init", "--quiet", "--bare", str(tmp_path / "server"))
    clone.git("remote", "add", "origin", str(tmp_path / "server"))
    chart = (clone.folder / "platform-chart" / "Chart.yaml").read_text()
    clone.commit("fix: it", {"platform-chart/Chart.yaml": f"{chart}appVersion: 0.1.0\n"})
    clone.succeed("release.prepare", "--yes")
    clone.git("switch", "--quiet", "--create", "main")
    first = clone.git("rev-parse", "HEAD")
    clone.succeed("push")
    # As if the push had been interrupted before the release, which is last.
    registry, repository = Registry(clone.registry), f"{clone.registry}/release"
    registry.delete(repository, registry.digest(repository, "0.1.0"))
    clone.commit("fix(apps): other", {"api-rest/file": "other"})
    code, printed = clone.inv("push")
    assert (code, "a version is never overwritten" in printed) == (4, True), printed
    obey(clone, printed.replace("COMMIT", first))
    assert published(clone)["release"] == ["0.1.0"]
    clone.git("switch", "--quiet", "main")
    code, printed = clone.inv("push")
    assert (code, "is published with other content" in printed) == (2, True), printed
    obey(clone, printed)
    clone.git("switch", "--quiet", "main")
    clone.git("merge", "--quiet", "--no-ff", "--no-edit", "hotfix/0.1.1")
    clone.succeed("push")
    assert published(clone)["release"] == ["0.1.0", "0.1.1"]


def test_the_same_commit_gives_the_same_digests_in_another_folder_and_later(
    pushed: Small, tmp_path: Path
) -> None:
    other = pushed.clone(tmp_path / "a much longer path").at(f"{pushed.registry}-again")
    assert "build base-image, api-rest, async-worker" in other.succeed("push")
    first, second = digests(pushed), digests(other)
    assert {name for name in first if first[name] != second[name]} == {"chart"}


def test_helm_installs_the_published_chart_with_the_images_by_digest(pushed: Small) -> None:
    release = pushed.released()
    chart = f"oci://{pushed.registry}/platform-chart"
    options = ("--version", release["version"], "--plain-http")
    rendered = output([programs.ensure("helm"), "template", "sample", chart, *options])
    for name in ("api-rest", "async-worker"):
        image = release["images"][name]
        assert f"image: {image['repository']}@{image['digest']}" in rendered
