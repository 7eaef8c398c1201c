"""Real repositories are split, and what is wrong with one is found."""

from pathlib import Path

import pytest

from delivery.errors import DeclarationError
from delivery.host import docker_api, programs
from delivery.project import git
from delivery.project.declaration import Declaration
from delivery.split import poetry, splitting
from tests.repositories import Repository, environment

TESTED = "## Test\n\n```sh\ntest -e {file}\n```\n"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Three subprojects with a history of each, and tags."""
    made = Repository(tmp_path_factory.mktemp("template"))
    made.write("base-image/README.md", f"# base\n\n{TESTED.format(file='rootfs/etc')}")
    made.write("api-rest/README.md", f"# api\n\n[base](../README.md)\n\n{TESTED.format(file='src/app.py')}")
    made.commit("feat: begin", "LICENSE", ".gitignore", "base-image/rootfs/etc", "api-rest/src/app.py", "delivery/x.py")
    made.write("platform-chart/README.md", "# chart\n")
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
def house(template: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """A copy of that repository, and no git settings but the tests' own."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    return template.copy(tmp_path / "house")


def subjects(repository: Path, revision: str = "HEAD") -> list[str]:
    return [line.split(" ", 2)[2] for line in git.log(repository, revision)]


def test_each_has_the_commits_that_touch_it_its_tags_and_the_lines(
    declaration: Declaration, house: Repository, tmp_path: Path
) -> None:
    base, apps, chart = splitting.split(declaration, tmp_path / "split", root=house.root)
    assert subjects(base) == ["feat: begin"]
    assert subjects(base, "develop") == ["fix(base-image): develop's", "feat: begin"]
    assert subjects(apps) == ["fix(api-rest): x", "feat: begin"]
    assert subjects(chart) == ["feat: chart", "feat: begin"]
    assert git.tags(base) == ["base-image-v1.0.0", "base-image-v1.1.0"]
    assert git.tags(apps) == ["apps-v1.0.0"]
    assert git.look(base).branch == "main"
    assert sorted(git.look(base).branch_refs()) == ["develop", "main"]


def test_the_files_are_at_the_root_with_the_licence(
    declaration: Declaration, house: Repository, tmp_path: Path
) -> None:
    base = splitting.split(declaration, tmp_path / "split", "base-image", house.root)[0]
    assert sorted(git.tree(base, "HEAD")) == [".gitignore", "LICENSE", "README.md", "rootfs/etc"]
    assert [path.name for path in (tmp_path / "split").iterdir()] == ["base-image"]


def test_the_same_history_gives_the_same_commits(declaration: Declaration, house: Repository, tmp_path: Path) -> None:
    first = [git.look(one).commit for one in splitting.split(declaration, tmp_path / "first", root=house.root)]
    git.copy(house.root, tmp_path / "elsewhere")
    again = [
        git.look(one).commit for one in splitting.split(declaration, tmp_path / "again", root=tmp_path / "elsewhere")
    ]
    assert first == again


def test_a_later_split_goes_on_where_the_first_one_ended(
    declaration: Declaration, house: Repository, tmp_path: Path
) -> None:
    first = splitting.split(declaration, tmp_path / "first", "apps", house.root)[0]
    house.commit("feat(api-rest): later", "api-rest/src/app.py")
    later = splitting.split(declaration, tmp_path / "later", "apps", house.root)[0]
    assert git.look(first).commit in house.git("-C", str(later), "rev-list", "HEAD").split()


def test_the_clone_that_is_split_is_not_touched(declaration: Declaration, house: Repository, tmp_path: Path) -> None:
    def state() -> tuple[str, ...]:
        return tuple(
            house.git(*told) for told in (("for-each-ref",), ("status", "--porcelain"), ("count-objects", "-v"))
        )

    before = state()
    splitting.split(declaration, tmp_path / "split", root=house.root)
    assert state() == before


def test_a_folder_with_something_in_it_is_left_alone(
    declaration: Declaration, house: Repository, tmp_path: Path
) -> None:
    (tmp_path / "split").mkdir()
    (tmp_path / "split" / "mine").write_text("1")
    with pytest.raises(DeclarationError, match="is there and not empty"):
        splitting.split(declaration, tmp_path / "split", root=house.root)
    assert [path.name for path in (tmp_path / "split").iterdir()] == ["mine"]


def test_a_folder_inside_of_the_clone_is_refused(declaration: Declaration, house: Repository) -> None:
    with pytest.raises(DeclarationError, match="is inside of this clone"):
        splitting.split(declaration, house.root / "split", root=house.root)


def test_a_shallow_clone_is_refused(declaration: Declaration, house: Repository, tmp_path: Path) -> None:
    house.git("clone", "--quiet", "--depth=1", f"file://{house.root}", str(tmp_path / "shallow"))
    with pytest.raises(DeclarationError, match="lacks a part of its history"):
        splitting.split(declaration, tmp_path / "split", root=tmp_path / "shallow")


def test_an_interrupted_split_leaves_nothing(
    declaration: Declaration, house: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(git, "filter_history", interrupted)
    with pytest.raises(KeyboardInterrupt):
        splitting.split(declaration, tmp_path / "split", root=house.root)
    assert list((tmp_path / "split").iterdir()) == []


@pytest.fixture
def _no_programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The programs that the READMEs here do not need."""
    monkeypatch.setattr(poetry, "ensure", lambda _line: tmp_path)
    monkeypatch.setattr(programs, "ensure", lambda _name: str(tmp_path / "helm"))
    monkeypatch.setattr(docker_api, "find", lambda: None)


def found(declaration: Declaration, house: Repository, only: str) -> dict[str, bool]:
    return {one.what: one.good for one in splitting.check(declaration, only=only, root=house.root)}


@pytest.mark.usefixtures("_no_programs")
def test_a_subproject_that_stands_alone_passes(declaration: Declaration, house: Repository) -> None:
    assert found(declaration, house, "base-image") == dict.fromkeys(
        ["clone", "history", "files", "tags", "links", "images", "tests"], True
    )


@pytest.mark.usefixtures("_no_programs")
def test_a_link_to_the_folder_above_and_commands_that_fail_are_found(
    declaration: Declaration, house: Repository
) -> None:
    house.write("base-image/README.md", f"# base\n\n[up](../README.md)\n\n{TESTED.format(file='../delivery/x.py')}")
    house.commit("docs: up")
    bad = [what for what, good in found(declaration, house, "base-image").items() if not good]
    assert bad == ["links", "tests"]


@pytest.mark.usefixtures("_no_programs")
@pytest.mark.parametrize(
    ("broken", "what"),
    [
        (("commit", "--quiet", "--allow-empty", "--message=more"), "history"),
        (("rm", "--quiet", "LICENSE"), "files"),
        (("tag", "other"), "tags"),
        (("tag", "--delete", "base-image-v1.0.0"), "tags"),
        (("tag", "--force", "base-image-v1.0.0", "develop"), "tags"),
        (("remote", "add", "origin", "elsewhere"), "clone"),
    ],
)
def test_a_split_that_went_wrong_is_found(
    declaration: Declaration,
    house: Repository,
    monkeypatch: pytest.MonkeyPatch,
    broken: tuple[str, ...],
    what: str,
) -> None:
    split = git.filter_history

    def wrong(repository: Path, **options: object) -> None:
        split(repository, **options)  # type: ignore[arg-type]
        house.git("-C", str(repository), *broken)
        if broken[0] == "rm":
            house.git("-C", str(repository), "commit", "--quiet", "--amend", "--no-edit", "--reset-author")

    monkeypatch.setattr(git, "filter_history", wrong)
    assert not found(declaration, house, "base-image")[what]


@pytest.mark.usefixtures("_no_programs")
def test_a_folder_that_is_told_stays_to_be_looked_at(
    declaration: Declaration, house: Repository, tmp_path: Path
) -> None:
    splitting.check(declaration, tmp_path / "kept", "base-image", root=house.root)
    assert (tmp_path / "kept" / "clones" / "base-image" / "README.md").exists()
