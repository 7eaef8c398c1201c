"""The facts of a clone, on real repositories."""

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
    return [version.published for version in gather.load_checkout(PROJECT, clone).versions.values()]


def subjects(given: Facts, name: str = "apps") -> list[str]:
    return [commit.subject for commit in commits_since_tag(given, name)]


def test_the_ref_is_the_users_else_the_ci_servers_else_gits(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.branch("feature/x")
    given = look(repository.root)
    assert (given.ref, given.checked_out) == (Ref("branch", "feature/x"), "feature/x")
    assert given.commit == repository.git("rev-parse", "HEAD")
    repository.switch("apps-v1.0.0")
    assert look(repository.root).ref == Ref("", "")
    monkeypatch.setenv("BRANCH_NAME", "develop")
    assert look(repository.root).ref == Ref("branch", "develop")
    assert look(repository.root, "main").ref == Ref("branch", "main")
    assert gather.load_decision(PROJECT, repository.root, "main").line == "release"


def test_commits_are_counted_from_a_subprojects_own_tag(repository: Repository) -> None:
    repository.commit("fix: one", "api-rest/src/a")
    repository.tag("apps-v1.0.1")
    repository.commit("fix: two", "api-rest/src/a")
    given = look(repository.root)
    assert subjects(given) == ["fix: two"]
    assert subjects(given, "platform-chart") == ["fix: two", "fix: one"]


def test_tags_that_are_no_versions_are_ignored(repository: Repository) -> None:
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


def test_a_tag_that_head_lacks_is_not_merged(repository: Repository) -> None:
    repository.branch("hotfix/x")
    sha = repository.commit("fix: x", "api-rest/src/a")
    repository.tag("apps-v1.0.1")
    repository.switch("main")
    tags = {tag.name: tag for tag in look(repository.root).tags}
    assert (tags["apps-v1.0.0"].merged, tags["apps-v1.0.1"].merged) == (True, False)
    assert tags["apps-v1.0.1"].commit == sha


def test_a_tag_on_a_merge_without_changes_of_its_own_is_merged(repository: Repository) -> None:
    merged(repository)
    given = look(repository.root)
    assert all(tag.merged for tag in given.tags)
    assert subjects(given) == []


def test_a_tag_on_a_merge_with_changes_of_its_own_is_not_merged(repository: Repository) -> None:
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
def test_commits_of_main_that_develop_or_a_release_branch_lacks_are_unmerged(
    repository: Repository, branch: str
) -> None:
    sha = hotfix(repository)
    repository.git("checkout", "--quiet", "-B", branch, "main" if branch == "main" else "develop")
    expected = [] if branch == "feature/x" else [sha]
    assert [commit.sha for commit in look(repository.root).unmerged] == expected
    repository.switch("develop")
    repository.merge("hotfix/1.0.1")
    assert look(repository.root).unmerged == ()


def test_branches_of_the_remote_count_too(
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
        assert [commit.sha for commit in look(clone).unmerged] == [sha]


def test_without_develop_nothing_is_unmerged(repository: Repository) -> None:
    repository.commit("fix: x", "a")
    repository.write("new", "x")
    given = look(repository.root)
    assert (given.unmerged, given.uncommitted) == ((), ("new",))


# --- incomplete clones ---


def cloned(repository: Repository, to: Path, *how: str) -> Path:
    repository.git("clone", "--quiet", *how, repository.root.as_uri(), str(to))
    return to


def point(repository: Repository, clone: Path, url: str = "file:///nowhere") -> None:
    """Give a clone another remote."""
    repository.git("-C", str(clone), "remote", "set-url", "origin", url)


def jenkins(repository: Repository, to: Path, *, tags: bool) -> Path:
    """A checkout as Jenkins' git plugin makes it."""
    to.mkdir()
    options = "--tags" if tags else "--no-tags"
    for argv in checkout(repository.root, repository.git("rev-parse", "HEAD"), options):
        subprocess.run(["sh", "-c", argv], cwd=to, check=True)
    return to


def test_a_shallow_clone_is_deepened_and_that_is_printed(
    repository: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hotfix(repository)
    repository.switch("develop")
    clone = cloned(repository, tmp_path / "clone", "--depth=1", "--no-single-branch")
    assert look(clone) == look(repository.root)
    assert "`git fetch --unshallow --tags`" in capsys.readouterr().out.replace("\n", " ")


def test_a_shallow_clone_that_cannot_be_deepened_is_an_error(
    repository: Repository, tmp_path: Path
) -> None:
    repository.commit("fix: x", "api-rest/src/a")
    between, clone = (
        cloned(repository, tmp_path / name, "--depth=1") for name in ("between", "clone")
    )
    point(repository, clone)
    with pytest.raises(DeclarationError, match="this clone is shallow") as caught:
        look(clone, "feature/x")
    assert caught.value.hint.startswith("run `git fetch --unshallow --tags`")
    assert "/nowhere" in caught.value.details
    point(repository, clone, between.as_uri())
    with pytest.raises(DeclarationError, match="the remote's history is shallow too"):
        look(clone)


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
    "without tags": lambda repository, to: cloned(repository, to, "--no-tags"),
    "shallow": lambda repository, to: cloned(repository, to, "--depth=1"),
    "shallow, no tags": lambda repository, to: cloned(repository, to, "--depth=1", "--no-tags"),
    "one branch": lambda repository, to: cloned(repository, to, "--single-branch", "--no-tags"),
    "Jenkins'": lambda repository, to: jenkins(repository, to, tags=True),
    "Jenkins' without tags": lambda repository, to: jenkins(repository, to, tags=False),
}


@pytest.mark.parametrize("kind", CLONES)
def test_versions_are_the_same_in_every_kind_of_clone(
    released: Repository, tmp_path: Path, kind: str
) -> None:
    assert published(released.root) == EXPECTED
    assert published(CLONES[kind](released, tmp_path / "a clone")) == EXPECTED


def test_missing_tags_are_fetched_and_that_is_printed(
    released: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clone = jenkins(released, tmp_path / "clone", tags=False)
    look(clone)
    printed = capsys.readouterr().out
    assert "lacks 4 version tags of the remote" in printed
    assert "`git fetch --tags origin`" in printed
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


@pytest.mark.parametrize("annotation", [("-a", "-m", "moved"), ()])
def test_a_tag_of_another_commit_than_the_remotes_is_an_error(
    released: Repository, tmp_path: Path, annotation: tuple[str, ...]
) -> None:
    clone = cloned(released, tmp_path / "clone")

    def retag(commit: str, *options: str) -> None:
        name = "base-image-v1.0.0"
        released.git("-C", str(clone), "tag", "--force", *options, name, commit)

    retag("base-image-v1.0.0^{commit}", "-a", "-m", "x")
    assert published(clone) == EXPECTED  # another tag object of the same commit
    retag("HEAD", *annotation)
    differs = r"cannot decide on versions: 1 version tag differs .*\(base-image-v1.0.0\)"
    with pytest.raises(DeclarationError, match=differs) as caught:
        look(clone)
    here, there = (
        released.git("rev-parse", name)[:12] for name in ("HEAD", "base-image-v1.0.0^{commit}")
    )
    assert caught.value.details == f"base-image-v1.0.0: {here} here, {there} at the remote"
    assert "git fetch --tags --force origin" in caught.value.hint


def without_remote(
    released: Repository, clone: Path, *options: str, keeps_option: bool = False
) -> Path:
    """A clone whose remote does not answer, with or without the memory of --no-tags."""
    cloned(released, clone, *options)
    point(released, clone)
    if options and not keeps_option:
        released.git("-C", str(clone), "config", "--unset-all", "remote.origin.tagOpt")
    return clone


@pytest.mark.parametrize("variable", ["BUILD_URL", "CI_PIPELINE_URL", "CI_JOB_URL", ""])
def test_a_silent_remote_is_an_error_if_the_clone_may_lack_tags(
    released: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    clone = without_remote(released, tmp_path / "x", "--no-tags", keeps_option=not variable)
    reason = "made without tags"
    if variable:
        reason = "this clone of a pipeline has none"
        monkeypatch.setenv(variable, "https://ci.example.com/7/")
    with pytest.raises(DeclarationError, match=f"cannot decide on versions: .*{reason}") as caught:
        look(clone)
    assert "/nowhere" in caught.value.details
    for hint in ("noTags false", "credentials", "`git fetch --tags origin`"):
        assert hint in caught.value.hint


def test_a_silent_remote_is_no_error_for_a_clone_with_tags_or_outside_of_a_pipeline(
    released: Repository,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert look(without_remote(released, tmp_path / "untagged", "--no-tags")).tags == ()
    capsys.readouterr()
    monkeypatch.setenv("BUILD_URL", "https://ci.example.com/7/")
    assert published(without_remote(released, tmp_path / "tagged")) == EXPECTED
    printed = capsys.readouterr().out.replace("\n", " ")
    assert "the remote's version tags cannot be read" in printed
    assert "/nowhere" in printed


@pytest.mark.parametrize(
    ("branch", "ask", "asked"),
    [("feature/x", True, 0), ("develop", True, 1), ("main", True, 1), ("main", False, 0)],
)
def test_the_remote_is_asked_once_on_a_line_that_pushes(
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


def test_three_thousand_commits_take_less_than_a_second_of_processor_time(
    repository: Repository,
) -> None:
    stream = [f"reset refs/heads/main\nfrom {repository.git('rev-parse', 'HEAD')}\n"]
    stream += [
        f"commit refs/heads/main\ncommitter a <a@b> {1767300000 + number} +0000\n"
        f"data 7\nfix: x\n\nM 100644 inline api-rest/src/x\ndata 4\n{number:04}\n"
        for number in range(3000)
    ]
    repository.git("fast-import", "--quiet", text="".join(stream))
    repository.git("reset", "--quiet", "--hard")
    before = os.times()
    given = look(repository.root)
    after = os.times()
    assert len(commits_since_tag(given, "apps")) == 3000
    assert sum(after[:4]) - sum(before[:4]) < 1  # of this process and of git
