"""What is seen of a clone, on real repositories."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from delivery.errors import DeclarationError
from delivery.project import gather
from delivery.project.facts import Facts, Ref
from delivery.project.versions import commits_since_tag
from tests.conftest import DECLARATION
from tests.jenkins.harness import checkout
from tests.project.examples import NAMES, PROJECT
from tests.repositories import Repository

TAGS = tuple(f"{name}-v1.0.0" for name in NAMES)
PATCHES = tuple(f"{name}-v1.0.1" for name in NAMES)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """A clone with everything at 1.0.0, tagged."""
    made = Repository(tmp_path / "sample")
    made.write("base-image/VERSION", "1.0.0\n")
    made.write("base-image/.dockerignore", "*\n!rootfs\n")
    made.write("api-rest/.dockerignore", "*\n!pyproject.toml\n!src\n!VERSION\n")
    made.write("api-rest/pyproject.toml", '[project]\nname = "api-rest"\nversion = "1.0.0"\n')
    made.write("platform-chart/Chart.yaml", "apiVersion: v2\nname: platform\nversion: 1.0.0\n")
    made.write("platform-chart/.helmignore", "/tests/\n.helmignore\n")
    made.write("delivery.toml", DECLARATION)
    made.commit("feat: begin")
    made.tag(*TAGS)
    return made


def look(root: Path, branch: str = "") -> Facts:
    return gather.load_checkout(PROJECT, root, branch).facts


def published(clone: Path) -> list[str]:
    """The versions that a clone is published as."""
    return [one.published for one in gather.load_checkout(PROJECT, clone).versions.values()]


def subjects(found: Facts, name: str = "apps") -> list[str]:
    return [commit.subject for commit in commits_since_tag(found, name)]


def test_what_is_decided_for(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    repository.branch("feature/x")
    found = look(repository.root)
    assert (found.ref, found.checked_out) == (Ref("branch", "feature/x"), "feature/x")
    assert found.commit == repository.git("rev-parse", "HEAD")
    repository.switch("apps-v1.0.0")
    assert look(repository.root).ref == Ref("", "")
    monkeypatch.setenv("BRANCH_NAME", "develop")
    assert look(repository.root).ref == Ref("branch", "develop")
    assert look(repository.root, "main").ref == Ref("branch", "main")
    assert gather.load_decision(PROJECT, repository.root, "main").line == "release"


def test_commits_are_those_since_a_subproject_s_own_tag(repository: Repository) -> None:
    repository.commit("fix: one", "api-rest/src/a")
    repository.tag("apps-v1.0.1")
    repository.commit("fix: two", "api-rest/src/a")
    found = look(repository.root)
    assert subjects(found) == ["fix: two"]
    assert subjects(found, "platform-chart") == ["fix: two", "fix: one"]


def test_tags_that_are_no_versions_are_not_seen(repository: Repository) -> None:
    repository.tag("v2.0.0", "apps-v1.2", "apps-v2.0.0-rc.1", "other-v2.0.0")
    repository.branch("apps-v3.0.0")
    assert sorted(tag.name for tag in look(repository.root).tags) == sorted(TAGS)


def merged(repository: Repository, *changed: str) -> None:
    """A fix on a release branch, merged into main and tagged there; the release branch is HEAD."""
    repository.branch("release/1.0.1")
    repository.commit("fix: x", "api-rest/src/a")
    repository.switch("main")
    repository.git("merge", "--quiet", "--no-commit", "--no-ff", "release/1.0.1")
    repository.commit("merged", *changed)
    repository.tag("apps-v1.0.1")
    repository.switch("release/1.0.1")


def test_a_tag_that_head_lacks_is_not_reached(repository: Repository) -> None:
    repository.branch("hotfix/x")
    sha = repository.commit("fix: x", "api-rest/src/a")
    repository.tag("apps-v1.0.1")
    repository.switch("main")
    tags = {tag.name: tag for tag in look(repository.root).tags}
    assert (tags["apps-v1.0.0"].merged, tags["apps-v1.0.1"].merged) == (True, False)
    assert tags["apps-v1.0.1"].commit == sha


def test_a_tag_on_a_merge_of_what_head_has_is_reached(repository: Repository) -> None:
    merged(repository)
    found = look(repository.root)
    assert all(tag.merged for tag in found.tags)
    assert subjects(found) == []


def test_a_tag_on_a_merge_that_changed_something_itself_is_not(repository: Repository) -> None:
    merged(repository, "api-rest/src/evil")
    assert [tag.name for tag in look(repository.root).tags if not tag.merged] == ["apps-v1.0.1"]


def hotfix(repository: Repository) -> str:
    repository.branch("develop")
    repository.branch("hotfix/1.0.1", "main")
    sha = repository.commit("fix: urgent", "api-rest/src/a")
    repository.switch("main")
    repository.merge("hotfix/1.0.1")
    return sha


@pytest.mark.parametrize("branch", ["develop", "main", "release/1.1", "feature/x"])
def test_what_main_has_and_develop_or_a_release_branch_lacks_is_unmerged(
    repository: Repository, branch: str
) -> None:
    sha = hotfix(repository)
    repository.git("checkout", "--quiet", "-B", branch, "main" if branch == "main" else "develop")
    expected = () if branch == "feature/x" else (f"{sha} fix: urgent",)
    assert look(repository.root).unmerged == expected
    repository.switch("develop")
    repository.merge("hotfix/1.0.1")
    assert look(repository.root).unmerged == ()


def test_branches_of_the_remote_serve_where_there_are_no_local_ones(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha = hotfix(repository)
    repository.git("branch", "-m", "main", "master")
    repository.git("branch", "-m", "develop", "desenvolvimento")
    clone = cloned(repository, tmp_path / "clone")
    for branch in ("desenvolvimento", "master"):
        repository.git("-C", str(clone), "checkout", "--quiet", "--detach", f"origin/{branch}")
        if branch == "desenvolvimento":
            repository.git("-C", str(clone), "branch", "--quiet", "-D", "master")
        monkeypatch.setenv("BRANCH_NAME", branch)
        assert look(clone).unmerged == (f"{sha} fix: urgent",)


def test_main_without_any_develop_lacks_nothing(repository: Repository) -> None:
    repository.commit("fix: x", "a")
    repository.write("new", "x")
    found = look(repository.root)
    assert (found.unmerged, found.uncommitted) == ((), ("new",))


# --- clones that lack something --------------------------------------------------------------------


def cloned(repository: Repository, to: Path, *how: str) -> Path:
    repository.git("clone", "--quiet", *how, repository.root.as_uri(), str(to))
    return to


def point(repository: Repository, clone: Path, url: str = "file:///nowhere") -> None:
    """Give a clone another remote."""
    repository.git("-C", str(clone), "remote", "set-url", "origin", url)


def jenkins(repository: Repository, to: Path, *, tags: bool) -> Path:
    """A checkout as Jenkins' git plugin makes it."""
    to.mkdir()
    for argv in checkout(repository.root, repository.git("rev-parse", "HEAD"), tags=tags):
        subprocess.run(["sh", "-c", argv], cwd=to, check=True)
    return to


def test_a_shallow_clone_that_reaches_its_tags_needs_no_network(
    repository: Repository, tmp_path: Path
) -> None:
    repository.commit("fix: x", "api-rest/src/a")
    repository.tag(*PATCHES)
    repository.commit("fix: y", "api-rest/src/a")
    clone = cloned(repository, tmp_path / "clone", "--depth=2")
    point(repository, clone)
    found = look(clone)
    assert [subjects(found, name) for name in NAMES] == [["fix: y"]] * 3


@pytest.mark.parametrize("more", [(), ("--no-tags",)])
def test_a_shallow_clone_that_does_not_is_deepened_and_that_is_said(
    repository: Repository,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: tuple[str, ...],
) -> None:
    for number in range(3):
        repository.commit(f"fix: {number}", "api-rest/src/a")
    clone = cloned(repository, tmp_path / "clone", "--depth=1", *more)
    assert subjects(look(clone)) == ["fix: 2", "fix: 1", "fix: 0"]
    assert "`git fetch --unshallow --tags`" in capsys.readouterr().out.replace("\n", " ")


def test_a_shallow_clone_that_cannot_be_deepened_is_an_error_that_says_what_to_run(
    repository: Repository, tmp_path: Path
) -> None:
    repository.commit("fix: x", "api-rest/src/a")
    between, clone = (
        cloned(repository, tmp_path / name, "--depth=1") for name in ("between", "clone")
    )
    point(repository, clone)
    lacks = "last version of base-image, apps, platform-chart"
    with pytest.raises(DeclarationError, match=lacks) as caught:
        look(clone, "feature/x")
    assert caught.value.hint.startswith("run `git fetch --unshallow --tags`")
    assert "/nowhere" in caught.value.details
    point(repository, clone, between.as_uri())
    with pytest.raises(DeclarationError, match="nor does the remote's"):
        look(clone)


def test_a_number_that_goes_back_further_than_a_shallow_clone_has_it_deepened(
    repository: Repository, tmp_path: Path
) -> None:
    repository.commit("fix: x", "api-rest/src/a")
    repository.tag(*PATCHES)
    repository.commit("feat: y", "api-rest/src/a")
    repository.branch("feature/x")  # for which the remote is not asked
    assert published(cloned(repository, tmp_path / "clone", "--depth=2"))[1] == "1.1.0-dev.2"


def test_a_side_that_a_shallow_clone_cuts_off_has_it_deepened(
    repository: Repository, tmp_path: Path
) -> None:
    repository.branch("side")
    for number in range(3):
        repository.commit(f"fix: {number}", f"api-rest/src/{number}")
    repository.switch("main")
    repository.commit("fix: x", "api-rest/src/x")
    repository.tag(*PATCHES)
    repository.merge("side")
    found = look(cloned(repository, tmp_path / "clone", "--depth=2"))
    assert subjects(found)[1:] == ["fix: 2", "fix: 1", "fix: 0"]


def test_a_newer_tag_that_a_shallow_clone_does_not_seem_to_have_has_it_deepened(
    repository: Repository, tmp_path: Path
) -> None:
    repository.branch("hotfix/x")
    repository.commit("fix: x", "api-rest/src/x")
    repository.tag("apps-v1.0.2")
    repository.switch("main")
    repository.commit("fix: y", "api-rest/src/y")
    repository.tag(*PATCHES)
    clone = cloned(repository, tmp_path / "clone", "--depth=1", "--no-single-branch")
    look(clone)
    assert repository.git("-C", str(clone), "rev-parse", "--is-shallow-repository") == "false"


def test_a_branch_that_a_shallow_clone_cannot_compare_is_not_called_unmerged(
    repository: Repository, tmp_path: Path
) -> None:
    hotfix(repository)
    repository.switch("develop")
    repository.merge("main")
    repository.commit("fix: x", "api-rest/src/x")
    repository.tag(*PATCHES)
    repository.commit("fix: y", "api-rest/src/x")
    found = look(cloned(repository, tmp_path / "clone", "--depth=2", "--no-single-branch"))
    assert (found.unmerged, found.ref) == ((), Ref("branch", "develop"))


@pytest.fixture
def released(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """1.0.0 is tagged; develop has a feature and two fixes, and lacks a hotfix that is tagged."""
    repository.branch("develop")
    repository.commit("feat: x", "api-rest/src/x")
    repository.switch("main")
    repository.commit("fix: y", "platform-chart/y")
    repository.tag("platform-chart-v1.0.1")
    repository.switch("develop")
    repository.commit("fix: z", "platform-chart/z")
    monkeypatch.setenv("BRANCH_NAME", "develop")
    return repository


EXPECTED = ["1.0.0", "1.1.0-dev.1", "1.0.2-dev.2"]
CLONES: dict[str, Callable[[Repository, Path], Path]] = {
    "whole": cloned,
    "without tags": lambda repository, to: cloned(repository, to, "--no-tags"),
    "shallow": lambda repository, to: cloned(repository, to, "--depth=1"),
    "shallow, no tags": lambda repository, to: cloned(repository, to, "--depth=1", "--no-tags"),
    "one branch": lambda repository, to: cloned(repository, to, "--single-branch", "--no-tags"),
    "Jenkins'": lambda repository, to: jenkins(repository, to, tags=True),
    "Jenkins' without a clone option": lambda repository, to: jenkins(repository, to, tags=False),
}


@pytest.mark.parametrize("how", CLONES)
def test_versions_are_the_same_in_every_kind_of_clone(
    released: Repository, tmp_path: Path, how: str
) -> None:
    assert published(released.root) == EXPECTED
    assert published(CLONES[how](released, tmp_path / "a clone")) == EXPECTED


def test_tags_that_the_remote_has_are_fetched_and_that_is_said(
    released: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clone = jenkins(released, tmp_path / "clone", tags=False)
    look(clone)
    said = capsys.readouterr().out
    assert "lacks 4 version tags of the remote" in said
    assert "`git fetch --tags origin`" in said
    look(clone)
    assert capsys.readouterr().out == ""
    released.tag("apps-v2.0.0", "not-a-version")
    assert "apps-v2.0.0" in {tag.name for tag in look(clone).tags}


def test_tags_that_cannot_be_fetched_are_an_error(released: Repository, tmp_path: Path) -> None:
    clone = jenkins(released, tmp_path / "clone", tags=False)
    lock = clone / ".git" / "refs" / "tags" / "apps-v1.0.0.lock"
    lock.parent.mkdir(exist_ok=True)
    lock.touch()
    lacks = r"lacks 1 version tag of the remote \(apps-v1.0.0\)"
    with pytest.raises(DeclarationError, match=lacks) as caught:
        look(clone)
    assert "`git fetch --tags origin`" in caught.value.hint
    assert "apps-v1.0.0" in caught.value.details


def retag(released: Repository, clone: Path, commit: str, *how: str) -> None:
    released.git("-C", str(clone), "tag", "--force", *how, "base-image-v1.0.0", commit)


@pytest.mark.parametrize("annotation", [("-a", "-m", "moved"), ()])
def test_a_tag_that_differs_from_the_remotes_is_an_error_that_names_it(
    released: Repository, tmp_path: Path, annotation: tuple[str, ...]
) -> None:
    clone = cloned(released, tmp_path / "clone")
    retag(released, clone, "base-image-v1.0.0^{commit}", "-a", "-m", "x")
    assert published(clone) == EXPECTED  # another tag of the same commit does not differ
    retag(released, clone, "HEAD", *annotation)
    differs = r"cannot decide on versions: 1 version tag differs .*\(base-image-v1.0.0\)"
    with pytest.raises(DeclarationError, match=differs) as caught:
        look(clone)
    here, there = (
        released.git("rev-parse", name)[:12] for name in ("HEAD", "base-image-v1.0.0^{commit}")
    )
    assert caught.value.details == f"base-image-v1.0.0: {here} here, {there} at the remote"
    assert "git fetch --tags --force origin" in caught.value.hint


@pytest.mark.parametrize("variable", ["BUILD_URL", "CI_PIPELINE_URL", "CI_JOB_URL", ""])
def test_a_remote_that_cannot_be_asked_is_an_error_where_its_tags_may_be_missing(
    released: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    clone = cloned(released, tmp_path / "clone", "--no-tags")
    reason = "made without tags"
    if variable:
        reason = "this clone of a pipeline has none"
        released.git("-C", str(clone), "config", "--unset-all", "remote.origin.tagOpt")
        monkeypatch.setenv(variable, "https://ci.example.com/7/")
    point(released, clone)
    with pytest.raises(DeclarationError, match=f"cannot decide on versions: .*{reason}") as caught:
        look(clone)
    assert "/nowhere" in caught.value.details
    for hint in ("noTags false", "credentials", "`git fetch --tags origin`"):
        assert hint in caught.value.hint


def test_by_hand_a_clone_without_a_version_tag_counts(released: Repository, tmp_path: Path) -> None:
    clone = cloned(released, tmp_path / "clone", "--no-tags")
    released.git("-C", str(clone), "config", "--unset-all", "remote.origin.tagOpt")
    point(released, clone)
    assert look(clone).tags == ()


@pytest.mark.parametrize("variable", ["BUILD_URL", "HOME_URL"])
def test_a_remote_that_does_not_answer_is_said_where_the_clone_has_tags(
    released: Repository,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
) -> None:
    monkeypatch.setenv(variable, "https://ci.example.com/7/")
    clone = cloned(released, tmp_path / "clone")
    point(released, clone)
    assert published(clone) == EXPECTED
    said = capsys.readouterr().out.replace("\n", " ")
    assert "the remote's version tags cannot be read" in said
    assert "/nowhere" in said


@pytest.mark.parametrize(
    ("branch", "ask", "asked"),
    [
        ("feature/x", True, 0),
        ("develop", True, 1),
        ("release/1", True, 1),
        ("main", True, 1),
        ("main", False, 0),
    ],
)
def test_the_remote_is_asked_once_where_something_is_pushed(
    released: Repository,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    branch: str,
    *,
    ask: bool,
    asked: int,
) -> None:
    clone = cloned(released, tmp_path / "clone", "--no-tags")
    trace = tmp_path / "trace"
    monkeypatch.setenv("GIT_TRACE", str(trace))
    gather.load_checkout(PROJECT, clone, branch, ask=ask)
    assert len(re.findall(r"built-in: git .*ls-remote", trace.read_text())) == asked


def test_ten_thousand_commits_take_well_under_a_second_of_processor_time(
    repository: Repository,
) -> None:
    stream = []
    for number in range(10_000):
        after = f"from {repository.git('rev-parse', 'HEAD')}\n" if number == 0 else ""
        stream.append(
            f"commit refs/heads/main\ncommitter a <a@b> {1767300000 + number} +0000\ndata 7\nfix: x\n\n{after}"
            f"M 100644 inline api-rest/src/x\ndata {len(str(number))}\n{number}\n"
        )
    repository.git("fast-import", "--quiet", text="".join(stream))
    repository.git("reset", "--quiet", "--hard")
    before = os.times()
    found = look(repository.root)
    after_ = os.times()
    assert len(commits_since_tag(found, "apps")) == 10_000
    spent = sum(after_[:4]) - sum(
        before[:4]
    )  # ours and git's: what others do on this machine does not count
    assert spent < 2
