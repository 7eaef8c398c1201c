"""Gitflow from the first feature to a hotfix, on a real repository: which version everything has at every step."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from delivery.errors import Problem
from delivery.project import gather, ignores
from delivery.project.files import ROOT
from delivery.project.notices import git_problems, notes
from delivery.project.versions import Checkout
from tests.conftest import DECLARATION, FOREIGN
from tests.pages import hold, table
from tests.project.examples import PROJECT
from tests.repositories import Repository

PAGE = ROOT / "docs" / "gitflow.md"
COLUMNS = ("step", "branch", "base-image", "apps", "platform-chart", "deployed to")


@dataclass(frozen=True)
class Row:
    """What is decided at a step."""

    step: str
    checkout: Checkout
    content: dict[str, str]

    @property
    def problems(self) -> list[Problem]:
        return git_problems(self.checkout)

    @property
    def published(self) -> dict[str, str]:
        return {name: one.published for name, one in self.checkout.versions.items()}

    def cells(self) -> list[str]:
        decision, versions = self.checkout.decision, self.checkout.versions.values()
        where = decision.environment or ("nowhere" if decision.pushes else "not pushed")
        where = "refused" if self.problems else where
        shown = [f"**{one.published}**" if one.changed else one.published for one in versions]
        return [self.step, f"`{decision.ref.name}`", *shown, where]


class Story:
    """A repository that a team works in; every step is looked at as a CI server would."""

    def __init__(self, root: Path) -> None:
        self.repository = Repository(root)
        self.rows: list[Row] = []

    def look(self, step: str, branch: str = "") -> Row:
        checkout = gather.load_checkout(PROJECT, self.repository.root, branch)
        self.rows.append(Row(step, checkout, self.content()))
        return self.rows[-1]

    def content(self) -> dict[str, str]:
        """What each subproject's users get: its files as git has them, those of what it is made from, and its VERSION."""
        tree = [
            line.split("\t", 1) for line in self.repository.git("ls-tree", "-r", "HEAD").split("\n")
        ]
        found: dict[str, str] = {}
        below = ""
        for name, folder in (
            ("base-image", "base-image"),
            ("apps", "api-rest"),
            ("platform-chart", "platform-chart"),
        ):
            rules = ignores.for_chart if name == "platform-chart" else ignores.for_image
            ignored = rules(self.repository.root / folder)
            own = [
                (path.removeprefix(f"{folder}/"), blob)
                for blob, path in tree
                if path.startswith(f"{folder}/")
            ]
            kept = [one for one in own if one[0] == "VERSION" or not ignored(one[0])]
            below = found[name] = f"{kept}{below}"
        return found

    def prepare(self) -> None:
        """What release.prepare writes: the next versions, into the files."""
        versions = gather.load_checkout(PROJECT, self.repository.root).versions
        self.write({name: one.next for name, one in versions.items() if one.changed})
        self.repository.commit("chore(release): prepare")

    def write(self, wanted: dict[str, str]) -> None:
        paths = {
            "base-image": ("base-image/VERSION", "{}\n"),
            "apps": ("api-rest/pyproject.toml", '[project]\nname = "api-rest"\nversion = "{}"\n'),
            "platform-chart": (
                "platform-chart/Chart.yaml",
                "apiVersion: v2\nname: platform\nversion: {}\n",
            ),
        }
        for name, version in wanted.items():
            path, text = paths[name]
            self.repository.write(path, text.format(version))
            log = self.repository.root / PROJECT.subprojects[name].changelog
            before = log.read_text() if log.exists() else ""
            self.repository.write(
                str(log.relative_to(self.repository.root)), f"## [{version}]\n\n- It.\n\n{before}"
            )

    def finish(self) -> None:
        """What release.finish does: a tag for everything that has a new version."""
        self.repository.tag(
            *(
                f"{name}-v{one.next}"
                for name, one in self.rows[-1].checkout.versions.items()
                if one.changed
            )
        )


def begun(story: Story) -> None:
    repository = story.repository
    story.write({"base-image": "1.0.0", "apps": "1.0.0", "platform-chart": "1.0.0"})
    repository.write("delivery.toml", DECLARATION)
    repository.write("base-image/.dockerignore", "*\n!rootfs\n")
    repository.write("api-rest/.dockerignore", "*\n!pyproject.toml\n!src\n")
    repository.write("platform-chart/.helmignore", "/tests/\n/CHANGELOG.md\n")
    repository.commit(
        "feat: begin",
        "base-image/rootfs/etc",
        "api-rest/src/app.py",
        "platform-chart/values.yaml",
        "README.md",
    )


def told(story: Story) -> list[Row]:  # noqa: PLR0915 - a story is told in one go
    """The whole story."""
    repository, look = story.repository, story.look
    begun(story)
    look("the first commit")
    story.finish()
    look("its versions are tagged")

    repository.branch("develop")
    repository.branch("feature/search")
    repository.commit("feat(api-rest): search", "api-rest/src/search.py")
    look("an apps feature")
    repository.commit("test(api-rest): search", "api-rest/tests/test_search.py")
    look("tests for it")
    repository.switch("develop")
    repository.merge("feature/search")
    look("the feature is merged")
    repository.commit("docs: how to search", "README.md")
    look("a page of documentation")
    repository.commit("feat(platform-chart): a probe", "platform-chart/values.yaml")
    look("a feature of the chart")

    repository.branch("release/1.1")
    look("a release branch")
    story.prepare()
    look("`release.prepare`")
    repository.commit("fix(api-rest): search for nothing", "api-rest/src/search.py")
    look("a fix on it")
    repository.switch("develop")
    repository.commit("feat(base-image): time zones", "base-image/rootfs/zones")
    look("a base-image feature")

    repository.switch("main")
    repository.merge("release/1.1")
    look("the release is merged")
    story.finish()
    look("`release.finish` tags it")
    repository.switch("apps-v1.1.0")
    look("the tag is built", "refs/tags/apps-v1.1.0")
    repository.switch("develop")
    look("develop before merge")
    repository.merge("main")
    look("main is merged back")

    repository.branch("hotfix/1.1.1", "main")
    repository.commit("fix(api-rest): an answer that leaks", "api-rest/src/app.py")
    look("a hotfix")
    story.prepare()
    look("it is prepared")
    repository.switch("main")
    repository.merge("hotfix/1.1.1")
    look("it is merged")
    story.finish()
    look("it is tagged")
    repository.switch("develop")
    look("develop lacks it")
    repository.commit("fix(api-rest): a typo", "api-rest/src/text.py")
    look("a fix on develop")
    repository.merge("main")
    look("hotfix merged back")

    repository.branch("release/2.0")
    repository.commit("feat(api-rest)!: no more XML", "api-rest/src/xml.py")
    story.prepare()
    look("a breaking change")
    repository.switch("main")
    repository.merge("release/2.0")
    look("the breaking release is merged")
    story.finish()
    repository.switch("develop")
    repository.merge("release/2.0")
    look("the release branch, not main, is merged back")
    return story.rows


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    with pytest.MonkeyPatch.context() as patch:
        alone(patch)
        return told(Story(tmp_path_factory.mktemp("story") / "sample"))


def test_the_page_tells_this_story(rows: list[Row]) -> None:
    hold(PAGE, "story", table(COLUMNS, [row.cells() for row in rows]))


def test_a_version_that_is_published_never_gets_other_content(rows: list[Row]) -> None:
    contents: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        if row.checkout.decision.pushes and not row.problems:
            for name, version in row.published.items():
                contents.setdefault((name, version), set()).add(row.content[name])
    assert len(contents) > 30
    assert {one: len(found) for one, found in contents.items() if len(found) > 1} == {}


def test_only_what_is_not_prepared_is_refused(rows: list[Row]) -> None:
    assert [row.step for row in rows if row.problems] == ["a release branch", "a hotfix"]


def test_what_main_has_and_develop_lacks_is_told_until_it_is_merged(rows: list[Row]) -> None:
    told_at = [
        row.step for row in rows if any("develop lacks" in note for note in notes(row.checkout))
    ]
    assert told_at == [
        "the release is merged",
        "`release.finish` tags it",
        "develop before merge",
        "it is merged",
        "it is tagged",
        "develop lacks it",
        "a fix on develop",
        "the breaking release is merged",
    ]


def test_a_number_goes_on_when_a_release_is_cut_and_a_feature_lands_before_its_tag(
    tmp_path: Path,
) -> None:
    story = Story(tmp_path / "sample")
    begun(story)
    story.look("begun")
    story.finish()
    repository = story.repository
    repository.branch("develop")
    repository.commit("fix(platform-chart): a", "platform-chart/a")
    repository.commit("fix(platform-chart): b", "platform-chart/b")
    repository.branch("release/1.0.1")
    repository.switch("develop")
    repository.commit("feat(platform-chart): c", "platform-chart/c")
    found = [story.look("a feature lands").published["platform-chart"]]
    repository.switch("release/1.0.1")
    story.prepare()
    repository.switch("main")
    repository.merge("release/1.0.1")
    story.look("released")
    story.finish()
    repository.switch("develop")
    found.append(story.look("the release is tagged").published["platform-chart"])
    repository.merge("main")
    found.append(story.look("and merged back").published["platform-chart"])
    assert found == ["1.1.0-dev.3", "1.1.0-dev.3", "1.1.0-dev.6"]


def alone(patch: pytest.MonkeyPatch) -> None:
    """What a CI server says of these tests is not about their repositories."""
    for name in FOREIGN:
        patch.delenv(name, raising=False)
