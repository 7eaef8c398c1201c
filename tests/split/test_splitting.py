"""Real repositories are split into one for each subproject."""

from pathlib import Path

import pytest

from delivery.errors import DeclarationError
from delivery.project import git
from delivery.project.declaration import Declaration
from delivery.split import splitting
from tests import repositories
from tests.repositories import Repository, environment


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Three subprojects with a history of each, and tags."""
    made = Repository(tmp_path_factory.mktemp("template"))
    made.commit(
        "feat: begin",
        "LICENSE",
        ".gitignore",
        "base-image/rootfs/etc",
        "base-image/rootfs/ä b\tc",
        "api-rest/src/app.py",
        "delivery/x.py",
    )
    made.commit("feat: chart", "platform-chart/Chart.yaml")
    made.tag("base-image-v1.0.0", "apps-v1.0.0")
    made.branch("develop")
    made.commit("fix(base-image): develop's", "base-image/rootfs/etc")
    made.switch("main")
    made.branch("feature/x")
    made.commit("fix(api-rest): x", "api-rest/src/app.py")
    made.switch("main")
    made.merge("feature/x")
    made.commit("docs: how", "README.md")
    made.tag("base-image-v1.1.0", "v1.0.0")
    return made


@pytest.fixture
def source(template: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """A copy of that repository, and no git settings but the tests' own."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    return template.copy(tmp_path / "source")


def subjects(repository: Path, revision: str = "HEAD") -> list[str]:
    return [line.split(" ", 2)[2] for line in repositories.log(repository, revision)]


def test_each_repository_has_its_commits_tags_and_branches_and_the_source_is_unchanged(
    declaration: Declaration, source: Repository, tmp_path: Path
) -> None:
    def state() -> list[str]:
        return [
            source.git(*call)
            for call in (("for-each-ref",), ("status", "--porcelain"), ("count-objects", "-v"))
        ]

    before = state()
    base, apps, chart = splitting.split(declaration, tmp_path / "split", root=source.root)
    assert subjects(base) == ["feat: begin"]
    assert subjects(base, "develop") == ["fix(base-image): develop's", "feat: begin"]
    assert subjects(apps) == ["fix(api-rest): x", "feat: begin"]
    assert subjects(chart) == ["feat: chart", "feat: begin"]
    assert repositories.tags(base) == ["base-image-v1.0.0", "base-image-v1.1.0"]
    assert repositories.tags(apps) == ["apps-v1.0.0"]
    assert git.load_clone(base).branch == "main"
    assert sorted(git.load_clone(base).branch_refs()) == ["develop", "main"]
    files = [".gitignore", "LICENSE", "rootfs/etc", "rootfs/ä b\tc"]
    assert sorted(repositories.tree(base)) == files
    assert state() == before


def test_a_later_split_continues_an_earlier_one(
    declaration: Declaration, source: Repository, tmp_path: Path
) -> None:
    first = splitting.split(declaration, tmp_path / "first", "apps", source.root)[0]
    assert [path.name for path in (tmp_path / "first").iterdir()] == ["apps"]
    repositories.clone(source.root, tmp_path / "elsewhere")
    again = splitting.split(declaration, tmp_path / "again", "apps", tmp_path / "elsewhere")[0]
    assert git.load_clone(again).commit == git.load_clone(first).commit
    source.commit("feat(api-rest): later", "api-rest/src/app.py")
    later = splitting.split(declaration, tmp_path / "later", "apps", source.root)[0]
    assert subjects(later) == ["feat(api-rest): later", *subjects(first)]
    assert (
        source.git("-C", str(later), "rev-parse", "HEAD~").strip() == git.load_clone(first).commit
    )


@pytest.mark.parametrize(
    ("to", "only", "message"),
    [
        ("full", "", "is not empty"),
        ("full/file", "", "is a file"),
        ("full/file/x", "", "cannot split the repository: .*/full/file/x: Not a directory"),
        ("source/split", "", "is inside this clone"),
        ("split", "chart", "--only chart is no subproject"),
    ],
)
def test_a_wrong_argument_is_refused(
    declaration: Declaration, source: Repository, tmp_path: Path, to: str, only: str, message: str
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("kept")
    with pytest.raises(DeclarationError, match=message):
        splitting.split(declaration, tmp_path / to, only, source.root)
    assert (tmp_path / "full" / "file").read_text() == "kept"


def test_a_shallow_clone_is_refused(
    declaration: Declaration, source: Repository, tmp_path: Path
) -> None:
    source.git("clone", "--quiet", "--depth=1", f"file://{source.root}", str(tmp_path / "shallow"))
    with pytest.raises(DeclarationError, match="this clone is shallow"):
        splitting.split(declaration, tmp_path / "split", root=tmp_path / "shallow")


def test_an_interrupted_split_leaves_nothing(
    declaration: Declaration, source: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(git, "filter_history", interrupted)
    with pytest.raises(KeyboardInterrupt):
        splitting.split(declaration, tmp_path / "split", root=source.root)
    assert list((tmp_path / "split").iterdir()) == []


@pytest.mark.parametrize(
    ("folders", "paths"),
    [
        (("api-rest",), {"api-rest/": ""}),
        (
            ("api-rest", "async-worker"),
            {
                "docker-compose.yaml": "docker-compose.yaml",
                "api-rest/": "api-rest/",
                "async-worker/": "async-worker/",
                "ops/docker-compose.apps.yaml": "docker-compose.apps.yaml",
                "ops/repos/apps/": "",
            },
        ),
    ],
)
def test_one_folder_becomes_the_root_and_several_keep_their_names(
    declaration: Declaration, folders: tuple[str, ...], paths: dict[str, str]
) -> None:
    apps = declaration.subprojects["apps"].model_copy(update={"folders": folders})
    changed = declaration.model_copy(
        update={"subprojects": {**declaration.subprojects, "apps": apps}}
    )
    common = {path: path for path in (".gitignore", "LICENSE")}
    assert splitting.renames(changed, "apps") == {**common, **paths}


BRANCHES = dict.fromkeys(("main", "develop", "feature/x"), "commit")


@pytest.mark.parametrize(
    ("current", "branches", "remote", "expected"),
    [
        ("main", BRANCHES, {}, ("main", {"main": "HEAD", "develop": "refs/heads/develop"})),
        ("develop", BRANCHES, {}, ("develop", {"main": "refs/heads/main", "develop": "HEAD"})),
        ("", {}, {"master": "commit"}, ("master", {"master": "HEAD"})),
        ("", {}, {}, ("main", {"main": "HEAD"})),
        ("feature/x", {"feature/x": "commit"}, {}, ("feature/x", {"feature/x": "HEAD"})),
    ],
)
def test_a_repository_has_the_current_the_develop_and_the_release_branches(
    declaration: Declaration,
    current: str,
    branches: dict[str, str],
    remote: dict[str, str],
    expected: tuple[str, dict[str, str]],
) -> None:
    clone = git.Clone(Path(), "commit", current, "", frozenset(), {}, branches, remote)
    assert splitting.history_refs(declaration, clone) == expected
