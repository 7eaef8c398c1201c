"""Each repository of `inv repos.split` works alone: it builds and tests as its READMEs say."""

import os
import posixpath
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from delivery.host import trust
from delivery.host.docker_api import Engine
from delivery.project import git
from delivery.project.declaration import Declaration, image_variable
from delivery.project.files import ROOT
from delivery.project.git import load_clone
from delivery.split import splitting
from tests import repositories
from tests.commands import output
from tests.repositories import environment

pytestmark = pytest.mark.engine

REPOSITORIES = ("base-image", "apps", "platform-chart")
LINK = re.compile(r"\]\((?!https?://|mailto:|#)([^)#\s]+)[^)]*\)")
EXAMPLE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
BUILD = re.compile(
    r"^docker build (?:-t|--tag) (\S+)((?: --build-context \S+)*) (\S+)$", re.MULTILINE
)
TEST = re.compile(r"^## Test\n(?:(?!^## ).*\n)*?```sh\n((?:(?!```).*\n)*)```$", re.MULTILINE)
# Variables of a virtual environment or of Git that must not reach the commands.
INHERITED = (
    "VIRTUAL_ENV",
    "PYTHONPATH",
    "PYTHONHOME",
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of this repository with its files committed as they are."""
    to = tmp_path_factory.mktemp("source") / "clone"

    def git(*arguments: str) -> str:
        return output(["git", *arguments], environment=environment())

    if load_clone(
        ROOT
    ).shallow_boundary:  # a shallow clone, as of CI servers: it has files and no history
        git("init", "--quiet", "--initial-branch=main", str(to))
    else:
        git("clone", "--quiet", "--no-local", str(ROOT), str(to))
        git("-C", str(to), "remote", "remove", "origin")
        git("-C", str(to), "rm", "--quiet", "-r", "--cached", ".")
    listed = git("-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for path in filter(None, listed.split("\0")):
        (to / path).unlink(missing_ok=True)
        if (ROOT / path).exists():
            (to / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / path, to / path, follow_symlinks=False)
    git("-C", str(to), "add", "--all")
    if git("-C", str(to), "status", "--porcelain"):  # an empty commit may be kept by the split
        git("-C", str(to), "commit", "--quiet", "--message", "chore: as it is")
    git("-C", str(to), "tag", "apps-v0.0.1")
    return to


@pytest.fixture(scope="module")
def clones(
    source: Path, project: Declaration, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """A clone of each repository that the split makes."""
    folder = tmp_path_factory.mktemp("clones")
    for repository in splitting.split(project, folder / "split", root=source):
        assert git.remotes(repository) == []
        repositories.clone(repository, folder / repository.name)
    return {name: folder / name for name in REPOSITORIES}


def readmes(clone: Path) -> dict[str, str]:
    paths = [path for path in repositories.tree(clone) if Path(path).name == "README.md"]
    return {path: (clone / path).read_text(encoding="utf-8") for path in paths}


@pytest.mark.parametrize("name", REPOSITORIES)
def test_each_has_its_history_files_and_tags(
    name: str, source: Path, clones: dict[str, Path], project: Declaration
) -> None:
    renames = splitting.renames(project, name)
    # Sorted: two commits of one second may come in any order.
    expected_log = repositories.log(source, "HEAD", *(path.rstrip("/") for path in renames))
    assert sorted(repositories.log(clones[name])) == sorted(expected_log)
    assert (
        repositories.tags(clones[name])
        == repositories.tags(source, f"{name}-v*")
        == (["apps-v0.0.1"] if name == "apps" else [])
    )
    expected = {}
    for path, entry in repositories.tree(source).items():
        for old, new in renames.items():
            if path == old or (old.endswith("/") and path.startswith(old)):
                expected[new + path.removeprefix(old)] = entry
    assert repositories.tree(clones[name]) == expected


@pytest.mark.parametrize("name", REPOSITORIES)
def test_each_link_stays_in_its_repository(name: str, clones: dict[str, Path]) -> None:
    paths = set(repositories.tree(clones[name]))
    known = paths | {str(parent) for path in paths for parent in Path(path).parents}
    for page in (path for path in paths if path.endswith(".md")):
        text = EXAMPLE.sub("", (clones[name] / page).read_text(encoding="utf-8"))
        targets = [
            posixpath.normpath(posixpath.join(posixpath.dirname(page), link))
            for link in LINK.findall(text)
        ]
        assert [f"{page}: {target}" for target in targets if target not in known] == []


@pytest.fixture(scope="module")
def prefix(engine: Engine, project: Declaration) -> Iterator[str]:
    """The prefix of the built images; they are removed after the tests."""
    prefix = f"repos-test-{secrets.token_hex(4)}"
    yield prefix
    engine.remove_images([f"{prefix}/{name}" for name in project.images])


def test_each_image_is_built_as_its_readme_says(
    clones: dict[str, Path], project: Declaration, prefix: str
) -> None:
    built = set()
    for name in REPOSITORIES:
        builds = {build for text in readmes(clones[name]).values() for build in BUILD.findall(text)}
        for tag, contexts, context in builds:
            argv = ["docker", "build", "--quiet", "--tag", f"{prefix}/{tag}", *contexts.split()]
            argv += [f"--secret=id={secret},src={path}" for secret, path in trust.secrets().items()]
            for below in filter(None, (project.images[tag].base, project.images[tag].builder)):
                image = (
                    project.upstream[below].image
                    if below in project.upstream
                    else f"{prefix}/{below}"
                )
                argv += ["--build-arg", f"{image_variable(below.removesuffix('-image'))}={image}"]
            subprocess.run([*argv, context], check=True, cwd=clones[name])
            built.add(tag)
    assert built == set(project.images)


def test_a_repository_is_tested_as_its_readme_says(clones: dict[str, Path]) -> None:
    """The tests are only collected, which imports them: other sessions run them.

    Only base-image: pip needs minutes for the environments of the others.
    """
    folder = clones["base-image"]
    commands = TEST.search(readmes(folder)["README.md"])
    assert commands
    variables = {key: value for key, value in os.environ.items() if key not in INHERITED}
    variables |= {"PYTEST_ADDOPTS": "--collect-only --quiet"}
    if bundle := trust.secrets().get("build-ca"):
        variables["BUILD_CA"] = str(bundle)
    argv = ["sh", "-euc", commands[1]]
    assert "collected" in output(argv, folder=folder, environment=variables)
