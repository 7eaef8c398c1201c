"""What is seen of a clone, on real repositories."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from delivery.errors import DeclarationError
from delivery.project import gather, gitflow, versions
from delivery.project.declaration import Declaration
from delivery.project.facts import Facts, Ref
from tests.conftest import DECLARATION
from tests.jenkins.harness import checkout
from tests.repositories import Repository, environment

TAGS = ("base-image-v1.0.0", "apps-v1.0.0", "platform-chart-v1.0.0")
SAID = (
    "CHANGE_ID",
    "TAG_NAME",
    "BRANCH_NAME",
    "GITHUB_REF",
    "CI_COMMIT_TAG",
    "CI_COMMIT_BRANCH",
    "CI_MERGE_REQUEST_IID",
)


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*(name for name in os.environ if name.startswith("GIT_")), *SAID]:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment().items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """A clone with everything at 1.0.0, tagged."""
    made = Repository(tmp_path / "house")
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


def subjects(found: Facts, name: str = "apps") -> list[str]:
    return [commit.subject for commit in found.since[name]]


def test_what_is_checked_out_is_decided_for(declaration: Declaration, repository: Repository) -> None:
    repository.branch("feature/x")
    found = gather.look(declaration, repository.root)
    assert (found.ref, found.checked_out) == (Ref("branch", "feature/x"), "feature/x")
    assert found.commit == repository.git("rev-parse", "HEAD")


def test_nothing_says_what_a_detached_head_is(declaration: Declaration, repository: Repository) -> None:
    repository.switch("apps-v1.0.0")
    assert gather.look(declaration, repository.root).ref == Ref("", "")


def test_a_ci_server_says_it(declaration: Declaration, repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRANCH_NAME", "develop")
    assert gather.look(declaration, repository.root).ref == Ref("branch", "develop")
    assert gather.look(declaration, repository.root, "main").ref == Ref("branch", "main")


def test_commits_are_those_since_a_subproject_s_own_tag(declaration: Declaration, repository: Repository) -> None:
    repository.commit("fix: one", "api-rest/src/a")
    repository.tag("apps-v1.0.1")
    repository.commit("fix: two", "api-rest/src/a")
    found = gather.look(declaration, repository.root)
    assert subjects(found) == ["fix: two"]
    assert subjects(found, "platform-chart") == ["fix: two", "fix: one"]


def test_tags_that_are_no_versions_are_not_seen(declaration: Declaration, repository: Repository) -> None:
    for name in ("v2.0.0", "apps-v1.2", "apps-v2.0.0-rc.1", "other-v2.0.0"):
        repository.tag(name)
    repository.branch("apps-v3.0.0")
    assert sorted(tag.name for tag in gather.look(declaration, repository.root).tags) == sorted(TAGS)


def test_a_tag_that_head_lacks_is_not_reached(declaration: Declaration, repository: Repository) -> None:
    repository.branch("hotfix/x")
    sha = repository.commit("fix: x", "api-rest/src/a")
    repository.tag("apps-v1.0.1")
    repository.switch("main")
    tags = {tag.name: tag for tag in gather.look(declaration, repository.root).tags}
    assert (tags["apps-v1.0.0"].reached, tags["apps-v1.0.1"].reached) == (True, False)
    assert tags["apps-v1.0.1"].commit == sha


def test_a_tag_on_a_merge_of_what_head_has_is_reached(declaration: Declaration, repository: Repository) -> None:
    repository.branch("release/1.0.1")
    repository.commit("fix: x", "api-rest/src/a")
    repository.switch("main")
    repository.merge("release/1.0.1")
    repository.tag("apps-v1.0.1")
    repository.switch("release/1.0.1")
    found = gather.look(declaration, repository.root)
    assert all(tag.reached for tag in found.tags)
    assert subjects(found) == []


def test_a_tag_on_a_merge_that_changed_something_itself_is_not(
    declaration: Declaration, repository: Repository
) -> None:
    repository.branch("release/1.0.1")
    repository.commit("fix: x", "api-rest/src/a")
    repository.switch("main")
    repository.git("merge", "--quiet", "--no-commit", "--no-ff", "release/1.0.1")
    repository.commit("merged, and more", "api-rest/src/evil")
    repository.tag("apps-v1.0.1")
    repository.switch("release/1.0.1")
    assert [tag.name for tag in gather.look(declaration, repository.root).tags if not tag.reached] == ["apps-v1.0.1"]


def test_only_what_is_published_is_covered(declaration: Declaration, repository: Repository) -> None:
    paths = {
        "base-image": ["base-image/rootfs/etc/x", "base-image/.dockerignore"],
        "apps": ["api-rest/src/deep/a.py", "api-rest/pyproject.toml", "api-rest/Dockerfile"],
        "platform-chart": ["platform-chart/Chart.yaml", "platform-chart/templates/a", "platform-chart/.helmignore"],
    }
    more = [
        "README.md",
        "base-image/VERSION",
        "base-image/README.md",
        "api-rest/tests/x",
        "platform-chart/tests/x",
        "api-rest-2/src/x",
    ]
    for path in [*(one for found in paths.values() for one in found), *more]:
        file = repository.root / path
        repository.write(path, f"{file.read_text() if file.exists() else ''}\n")
    repository.commit("chore: everything")
    assert gather.look(declaration, repository.root).covered == {
        name: frozenset(found) for name, found in paths.items()
    }


def test_a_version_s_file_is_no_content_even_where_the_build_sees_it(
    declaration: Declaration, repository: Repository
) -> None:
    repository.commit("chore: x", **{"api-rest/VERSION": "1.0.0\n"})
    assert gather.look(declaration, repository.root).covered["apps"] == frozenset()


def test_a_file_that_is_gone_is_covered(declaration: Declaration, repository: Repository) -> None:
    repository.commit("feat: x", "api-rest/src/a")
    repository.git("rm", "--quiet", "api-rest/src/a")
    repository.commit("fix: no x")
    assert gather.look(declaration, repository.root).covered["apps"] == {"api-rest/src/a"}


def test_a_folder_that_is_no_image_counts_whole(declaration: Declaration, repository: Repository) -> None:
    apps = declaration.subprojects["apps"].model_copy(update={"folders": ("api-rest", "notes")})
    wider = declaration.model_copy(update={"subprojects": {**declaration.subprojects, "apps": apps}})
    repository.write("notes/VERSION", "1.0.0\n")
    repository.commit("docs: x", "notes/a")
    assert gather.look(wider, repository.root).covered["apps"] == {"notes/a", "notes/VERSION"}


def test_versions_are_read_from_the_files(declaration: Declaration, repository: Repository) -> None:
    repository.write("base-image/VERSION", "1.1.0\n")
    repository.write("api-rest/pyproject.toml", '[project]\nversion = "1.2.0"\n')
    repository.write("platform-chart/Chart.yaml", 'version: "1.3.0" # new\n')
    assert gather.look(declaration, repository.root).written == {
        "base-image": "1.1.0",
        "apps": "1.2.0",
        "platform-chart": "1.3.0",
    }


@pytest.mark.parametrize(
    ("path", "text", "what"),
    [
        ("base-image/VERSION", "next\n", "'next' is no version"),
        ("api-rest/pyproject.toml", '[project]\nversion = "1.2.0.dev1"\n', "'1.2.0.dev1' is no version"),
        ("platform-chart/Chart.yaml", "name: x\n", "Chart.yaml does not say it"),
        ("platform-chart/Chart.yaml", "- : [", "Chart.yaml does not say it"),
        ("platform-chart/Chart.yaml", "version: 1.2\n", "'1.2' is no version"),
    ],
)
def test_files_that_say_no_version_are_an_error(
    declaration: Declaration, repository: Repository, path: str, text: str, what: str
) -> None:
    repository.write(path, text)
    with pytest.raises(DeclarationError, match=what):
        gather.look(declaration, repository.root)


def test_folders_of_a_subproject_that_do_not_agree_are_an_error(
    declaration: Declaration, repository: Repository
) -> None:
    repository.write("worker/VERSION", "1.1.0\n")
    apps = declaration.subprojects["apps"].model_copy(update={"folders": ("api-rest", "worker")})
    wider = declaration.model_copy(update={"subprojects": {**declaration.subprojects, "apps": apps}})
    with pytest.raises(DeclarationError, match=r"api-rest says 1\.0\.0, worker says 1\.1\.0"):
        gather.look(wider, repository.root)


@pytest.mark.parametrize(
    ("then", "anew"),
    [
        (DECLARATION, set()),
        (DECLARATION.replace("spot = {", "other = {"), set()),
        (DECLARATION.replace("epoch = 1767225600", "epoch = 1"), {"base-image", "apps", "platform-chart"}),
        (DECLARATION.replace("debian:trixie-slim", "debian:old"), {"base-image", "apps", "platform-chart"}),
        (DECLARATION.replace('builder = "debian"', ""), {"apps", "platform-chart"}),
        (DECLARATION.replace("registry:2.8.3", "registry:2"), set()),
        (DECLARATION.replace('recipe = "upstream/debian"', 'recipe = "elsewhere"\nolder = "key"'), set()),
        (DECLARATION.replace("[cluster]", "[unknown]"), set()),
        ("not TOML", {"base-image", "apps", "platform-chart"}),
        ("[build]\nepoch = 1767225600\n", {"base-image", "apps", "platform-chart"}),
    ],
)
def test_other_build_arguments_are_seen_against_an_older_declaration(
    declaration: Declaration, repository: Repository, then: str, anew: set[str]
) -> None:
    repository.commit("chore: as it was", **{"delivery.toml": then})
    repository.tag("base-image-v1.0.1", "apps-v1.0.1", "platform-chart-v1.0.1")
    repository.commit("chore: as it is", **{"delivery.toml": DECLARATION})
    assert set(gather.look(declaration, repository.root).declared_anew) == anew


def test_a_tag_from_before_there_was_a_declaration_is_different(
    declaration: Declaration, repository: Repository
) -> None:
    repository.git("rm", "--quiet", "delivery.toml")
    repository.commit("chore: none")
    repository.tag("base-image-v1.0.1")
    repository.commit("chore: one", **{"delivery.toml": DECLARATION})
    found = gather.look(declaration, repository.root)
    assert found.declared_anew == {"base-image": "there was no delivery.toml at base-image-v1.0.1"}


@pytest.mark.parametrize(
    ("then", "because"),
    [
        ("debian:old", "delivery.toml has changed the build arguments of base-image, api-rest"),
        ("", "delivery.toml does not say at apps-v1.0.1 how the images were built"),
    ],
)
def test_what_the_declaration_has_changed_is_said(
    declaration: Declaration, repository: Repository, then: str, because: str
) -> None:
    older = DECLARATION.replace("debian:trixie-slim", then) if then else "[build]\nepoch = 1\n"
    repository.commit("chore: as it was", **{"delivery.toml": older})
    repository.tag("apps-v1.0.1")
    repository.commit("chore: as it is", **{"delivery.toml": DECLARATION})
    assert gather.look(declaration, repository.root).declared_anew["apps"] == because


def test_a_new_image_is_not_said_to_have_other_build_arguments(
    declaration: Declaration, repository: Repository
) -> None:
    table = '[images.api-rest]\ncontext = "api-rest"\nbase = "base-image"\nbuilder = "debian"\n'
    assert table in DECLARATION
    repository.commit("chore: without it", **{"delivery.toml": DECLARATION.replace(table, "")})
    repository.tag("base-image-v1.0.1", "apps-v1.0.1", "platform-chart-v1.0.1")
    repository.commit("feat: with it", **{"delivery.toml": DECLARATION})
    found = gather.look(declaration, repository.root)
    new = "api-rest is new in delivery.toml since {}-v1.0.1"
    assert found.declared_anew == {name: new.format(name) for name in ("apps", "platform-chart")}


def test_changelogs_are_read_as_they_are(declaration: Declaration, repository: Repository) -> None:
    repository.write("api-rest/CHANGELOG.md", "# It\n")
    found = gather.look(declaration, repository.root)
    assert found.changelogs == {"base-image": "", "apps": "# It\n", "platform-chart": ""}


def hotfix(repository: Repository) -> str:
    repository.branch("develop")
    repository.branch("hotfix/1.0.1", "main")
    sha = repository.commit("fix: urgent", "api-rest/src/a")
    repository.switch("main")
    repository.merge("hotfix/1.0.1")
    return sha


@pytest.mark.parametrize("branch", ["develop", "main"])
def test_what_main_has_and_develop_lacks_is_unmerged(
    declaration: Declaration, repository: Repository, branch: str
) -> None:
    sha = hotfix(repository)
    repository.switch(branch)
    assert gather.look(declaration, repository.root).unmerged == (f"{sha} fix: urgent",)


def test_a_release_branch_is_told_what_it_lacks(declaration: Declaration, repository: Repository) -> None:
    sha = hotfix(repository)
    repository.branch("release/1.1", "develop")
    assert gather.look(declaration, repository.root).unmerged == (f"{sha} fix: urgent",)


def test_a_feature_is_not(declaration: Declaration, repository: Repository) -> None:
    hotfix(repository)
    repository.branch("feature/x", "develop")
    assert gather.look(declaration, repository.root).unmerged == ()


def test_what_is_merged_back_is_not_unmerged(declaration: Declaration, repository: Repository) -> None:
    hotfix(repository)
    repository.switch("develop")
    repository.merge("hotfix/1.0.1")
    assert gather.look(declaration, repository.root).unmerged == ()


def test_branches_of_the_remote_serve_where_there_are_no_local_ones(
    declaration: Declaration, repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha = hotfix(repository)
    repository.git("branch", "-m", "main", "master")
    repository.git("branch", "-m", "develop", "desenvolvimento")
    repository.git("clone", "--quiet", f"file://{repository.root}", str(tmp_path / "clone"))
    clone = tmp_path / "clone"
    repository.git("-C", str(clone), "checkout", "--quiet", "--detach", "origin/desenvolvimento")
    repository.git("-C", str(clone), "branch", "--quiet", "-D", "master")
    monkeypatch.setenv("BRANCH_NAME", "desenvolvimento")
    assert gather.look(declaration, clone).unmerged == (f"{sha} fix: urgent",)
    repository.git("-C", str(clone), "checkout", "--quiet", "--detach", "origin/master")
    monkeypatch.setenv("BRANCH_NAME", "master")
    assert gather.look(declaration, clone).unmerged == (f"{sha} fix: urgent",)


def test_main_without_any_develop_lacks_nothing(declaration: Declaration, repository: Repository) -> None:
    repository.commit("fix: x", "a")
    assert gather.look(declaration, repository.root).unmerged == ()


def test_what_is_not_committed_is_seen(declaration: Declaration, repository: Repository) -> None:
    repository.write("new", "x")
    assert gather.look(declaration, repository.root).uncommitted == ("new",)


def shallow(repository: Repository, depth: int, to: Path, *more: str) -> Path:
    repository.git("clone", "--quiet", "--depth", str(depth), *more, f"file://{repository.root}", str(to))
    return to


def test_a_shallow_clone_that_reaches_its_tags_needs_no_network(
    declaration: Declaration, repository: Repository, tmp_path: Path
) -> None:
    repository.commit("fix: x", "api-rest/src/a")
    repository.tag("base-image-v1.0.1", "apps-v1.0.1", "platform-chart-v1.0.1")
    repository.commit("fix: y", "api-rest/src/a")
    clone = shallow(repository, 2, tmp_path / "clone")
    repository.git("-C", str(clone), "remote", "set-url", "origin", "file:///nowhere")
    found = gather.look(declaration, clone)
    assert [subjects(found, name) for name in found.since] == [["fix: y"]] * 3


@pytest.mark.parametrize("more", [(), ("--no-tags",)])
def test_a_shallow_clone_that_does_not_is_deepened_and_that_is_said(
    declaration: Declaration,
    repository: Repository,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: tuple[str, ...],
) -> None:
    for number in range(3):
        repository.commit(f"fix: {number}", "api-rest/src/a")
    clone = shallow(repository, 1, tmp_path / "clone", *more)
    assert subjects(gather.look(declaration, clone)) == ["fix: 2", "fix: 1", "fix: 0"]
    assert "`git fetch --unshallow --tags`" in capsys.readouterr().out.replace("\n", " ")


def test_a_shallow_clone_whose_remote_is_away_is_an_error_that_says_what_to_run(
    declaration: Declaration, repository: Repository, tmp_path: Path
) -> None:
    repository.commit("fix: x", "api-rest/src/a")
    clone = shallow(repository, 1, tmp_path / "clone")
    repository.git("-C", str(clone), "remote", "set-url", "origin", "file:///nowhere")
    with pytest.raises(DeclarationError, match="last version of base-image, apps, platform-chart") as caught:
        gather.look(declaration, clone, "feature/x")
    assert caught.value.hint.startswith("`git fetch --unshallow --tags`")
    assert "/nowhere" in caught.value.details


def test_a_shallow_clone_of_a_shallow_clone_is_an_error(
    declaration: Declaration, repository: Repository, tmp_path: Path
) -> None:
    repository.commit("fix: x", "api-rest/src/a")
    between = shallow(repository, 1, tmp_path / "between")
    clone = shallow(repository, 1, tmp_path / "clone")
    repository.git("-C", str(clone), "remote", "set-url", "origin", f"file://{between}")
    with pytest.raises(DeclarationError, match="nor does the remote's"):
        gather.look(declaration, clone)


def test_a_number_that_goes_back_further_than_a_shallow_clone_has_it_deepened(
    declaration: Declaration, repository: Repository, tmp_path: Path
) -> None:
    repository.commit("fix: x", "api-rest/src/a")
    repository.tag("base-image-v1.0.1", "apps-v1.0.1", "platform-chart-v1.0.1")
    repository.commit("feat: y", "api-rest/src/a")
    repository.branch("develop")
    clone = shallow(repository, 2, tmp_path / "clone")
    found = gather.look(declaration, clone)
    decided = versions.decide(declaration, found, gitflow.decide(found.ref, declaration))
    assert decided["apps"].published == "1.1.0-dev.2"


def test_a_side_that_a_shallow_clone_cuts_off_has_it_deepened(
    declaration: Declaration, repository: Repository, tmp_path: Path
) -> None:
    repository.branch("side")
    for number in range(3):
        repository.commit(f"fix: {number}", f"api-rest/src/{number}")
    repository.switch("main")
    repository.commit("fix: x", "api-rest/src/x")
    repository.tag("base-image-v1.0.1", "apps-v1.0.1", "platform-chart-v1.0.1")
    repository.merge("side")
    found = gather.look(declaration, shallow(repository, 2, tmp_path / "clone"))
    assert subjects(found)[1:] == ["fix: 2", "fix: 1", "fix: 0"]


def test_a_newer_tag_that_a_shallow_clone_does_not_seem_to_have_has_it_deepened(
    declaration: Declaration, repository: Repository, tmp_path: Path
) -> None:
    repository.branch("hotfix/x")
    repository.commit("fix: x", "api-rest/src/x")
    repository.tag("apps-v1.0.2")
    repository.switch("main")
    repository.commit("fix: y", "api-rest/src/y")
    repository.tag("base-image-v1.0.1", "apps-v1.0.1", "platform-chart-v1.0.1")
    clone = shallow(repository, 1, tmp_path / "clone", "--no-single-branch")
    gather.look(declaration, clone)
    assert repository.git("-C", str(clone), "rev-parse", "--is-shallow-repository") == "false"


def test_a_branch_that_a_shallow_clone_cannot_compare_is_not_called_unmerged(
    declaration: Declaration, repository: Repository, tmp_path: Path
) -> None:
    hotfix(repository)
    repository.switch("develop")
    repository.merge("main")
    repository.commit("fix: x", "api-rest/src/x")
    repository.tag("base-image-v1.0.1", "apps-v1.0.1", "platform-chart-v1.0.1")
    repository.commit("fix: y", "api-rest/src/x")
    clone = shallow(repository, 2, tmp_path / "clone", "--no-single-branch")
    found = gather.look(declaration, clone)
    assert (found.unmerged, found.ref) == ((), Ref("branch", "develop"))


def cloned(repository: Repository, to: Path, *how: str) -> Path:
    repository.git("clone", "--quiet", *how, repository.root.as_uri(), str(to))
    return to


def jenkins(repository: Repository, to: Path, *, tags: bool) -> Path:
    """A checkout as Jenkins' git plugin makes it."""
    to.mkdir()
    for argv in checkout(repository.root, repository.git("rev-parse", "HEAD"), tags=tags):
        subprocess.run(["sh", "-c", argv], cwd=to, check=True)
    return to


def published(declaration: Declaration, clone: Path) -> list[str]:
    """The versions that a clone is published as."""
    found = gather.look(declaration, clone)
    decided = versions.decide(declaration, found, gitflow.decide(found.ref, declaration))
    return [one.published for one in decided.values()]


@pytest.fixture
def released(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """1.0.0 is tagged, and develop has a feature and a hotfix' tag that it lacks."""
    repository.branch("develop")
    repository.commit("feat: x", "api-rest/src/x")
    repository.switch("main")
    repository.commit("fix: y", "platform-chart/y")
    repository.tag("platform-chart-v1.0.1")
    repository.switch("develop")
    repository.commit("fix: z", "platform-chart/z")
    monkeypatch.setenv("BRANCH_NAME", "develop")
    return repository


CLONES: dict[str, Callable[[Repository, Path], Path]] = {
    "whole": cloned,
    "without tags": lambda repository, to: cloned(repository, to, "--no-tags"),
    "shallow": lambda repository, to: cloned(repository, to, "--depth=1"),
    "shallow, without tags": lambda repository, to: cloned(repository, to, "--depth=1", "--no-tags"),
    "of one branch": lambda repository, to: cloned(repository, to, "--single-branch", "--no-tags"),
    "Jenkins'": lambda repository, to: jenkins(repository, to, tags=True),
    "Jenkins' without a clone option": lambda repository, to: jenkins(repository, to, tags=False),
}


@pytest.mark.parametrize("how", CLONES)
def test_versions_are_the_same_in_every_kind_of_clone(
    declaration: Declaration, released: Repository, tmp_path: Path, how: str
) -> None:
    expected = ["1.0.0", "1.1.0-dev.1", "1.0.2-dev.2"]
    assert published(declaration, released.root) == expected
    assert published(declaration, CLONES[how](released, tmp_path / "a clone")) == expected


def test_tags_that_the_remote_has_are_fetched_and_that_is_said(
    declaration: Declaration, released: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clone = jenkins(released, tmp_path / "clone", tags=False)
    gather.look(declaration, clone)
    said = capsys.readouterr().out
    assert "lacks 4 version tags of the remote" in said
    assert "`git fetch --tags origin`" in said
    gather.look(declaration, clone)
    assert capsys.readouterr().out == ""


def test_a_newer_tag_alone_is_missed(declaration: Declaration, released: Repository, tmp_path: Path) -> None:
    clone = cloned(released, tmp_path / "clone")
    released.tag("apps-v2.0.0", "not-a-version")
    assert "apps-v2.0.0" in {tag.name for tag in gather.look(declaration, clone).tags}


def test_tags_that_cannot_be_fetched_are_an_error(
    declaration: Declaration, released: Repository, tmp_path: Path
) -> None:
    clone = jenkins(released, tmp_path / "clone", tags=False)
    lock = clone / ".git" / "refs" / "tags" / "apps-v1.0.0.lock"
    lock.parent.mkdir(exist_ok=True)
    lock.touch()
    with pytest.raises(DeclarationError, match=r"lacks 1 version tag of the remote \(apps-v1.0.0\)") as caught:
        gather.look(declaration, clone)
    assert "`git fetch --tags origin`" in caught.value.hint
    assert "apps-v1.0.0" in caught.value.details


@pytest.mark.parametrize("how", ["annotated", "lightweight"])
def test_a_tag_that_differs_from_the_remotes_is_an_error_that_names_it(
    declaration: Declaration, released: Repository, tmp_path: Path, how: str
) -> None:
    clone = cloned(released, tmp_path / "clone")
    annotation = ("-a", "-m", "moved") if how == "annotated" else ()
    released.git("-C", str(clone), "tag", "--force", *annotation, "base-image-v1.0.0", "HEAD")
    with pytest.raises(DeclarationError, match=r"cannot decide on versions: .*\(base-image-v1.0.0\)") as caught:
        gather.look(declaration, clone)
    here, there = (released.git("rev-parse", name)[:12] for name in ("HEAD", "base-image-v1.0.0^{commit}"))
    assert caught.value.details == f"base-image-v1.0.0: {here} here, {there} at the remote"
    assert "git fetch --tags --force origin" in caught.value.hint


def test_a_tag_of_the_same_commit_does_not_differ(
    declaration: Declaration, released: Repository, tmp_path: Path
) -> None:
    clone = cloned(released, tmp_path / "clone")
    released.git("-C", str(clone), "tag", "--force", "-a", "-m", "x", "base-image-v1.0.0", "base-image-v1.0.0^{commit}")
    assert published(declaration, clone)[1] == "1.1.0-dev.1"


@pytest.mark.parametrize(
    ("how", "variable", "reason"),
    [
        (("--no-tags",), "BUILD_URL", "without a version tag"),
        (("--no-tags",), "CI_PIPELINE_URL", "without a version tag"),
        (("--no-tags",), "CI_JOB_URL", "without a version tag"),
        (("--no-tags",), "", "made without tags"),
    ],
)
def test_a_remote_that_cannot_be_asked_is_an_error_where_its_tags_may_be_missing(
    declaration: Declaration,
    released: Repository,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: tuple[str, ...],
    variable: str,
    reason: str,
) -> None:
    clone = cloned(released, tmp_path / "clone", *how)
    if "version tag" in reason:
        released.git("-C", str(clone), "config", "--unset-all", "remote.origin.tagOpt")
    released.git("-C", str(clone), "remote", "set-url", "origin", "file:///nowhere")
    if variable:
        monkeypatch.setenv(variable, "https://ci.example.com/7/")
    with pytest.raises(DeclarationError, match=f"cannot decide on versions: .*{reason}") as caught:
        gather.look(declaration, clone)
    assert "/nowhere" in caught.value.details
    assert "noTags false" in caught.value.hint
    assert "credentials" in caught.value.hint
    assert "`git fetch --tags origin`" in caught.value.hint


@pytest.mark.parametrize("variable", ["BUILD_URL", ""])
def test_a_remote_that_does_not_answer_is_said_where_the_clone_has_tags(
    declaration: Declaration,
    released: Repository,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
) -> None:
    if variable:
        monkeypatch.setenv(variable, "https://ci.example.com/7/")
    clone = cloned(released, tmp_path / "clone")
    released.git("-C", str(clone), "remote", "set-url", "origin", "file:///nowhere")
    assert published(declaration, clone)[1] == "1.1.0-dev.1"
    said = capsys.readouterr().out.replace("\n", " ")
    assert "the remote cannot be asked for version tags" in said
    assert "/nowhere" in said


@pytest.mark.parametrize(("branch", "asked"), [("feature/x", 0), ("develop", 1), ("release/1", 1), ("main", 1)])
def test_the_remote_is_asked_once_where_something_is_pushed(
    declaration: Declaration,
    released: Repository,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    branch: str,
    asked: int,
) -> None:
    clone = cloned(released, tmp_path / "clone", "--no-tags")
    trace = tmp_path / "trace"
    monkeypatch.setenv("GIT_TRACE", str(trace))
    gather.look(declaration, clone, branch)
    assert len(re.findall(r"built-in: git .*ls-remote", trace.read_text())) == asked


def test_ten_thousand_commits_take_well_under_a_second_of_processor_time(
    declaration: Declaration, repository: Repository
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
    found = gather.look(declaration, repository.root)
    after_ = os.times()
    assert len(found.since["apps"]) == 10_000
    spent = sum(after_[:4]) - sum(before[:4])  # ours and git's: what others do on this machine does not count
    assert spent < 2
