"""Gitflow from the first commit to a breaking release, on a real repository: every version."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from delivery.errors import Problem
from delivery.project import gather, ignores
from delivery.project.files import ROOT
from delivery.project.notices import git_problems, notes
from delivery.project.versions import Checkout
from tests.conftest import DECLARATION, FOREIGN
from tests.pages import check_page, table
from tests.project.examples import NAMES, PROJECT
from tests.repositories import Repository

PAGE = ROOT / "docs" / "gitflow.md"
COLUMNS = ("step", "branch", *NAMES, "deployed to")
FOLDERS = dict(zip(NAMES, ("base-image", "api-rest", "platform-chart"), strict=True))
# By subproject: the file with its version, and its text.
VERSION_FILES = {
    "base-image": ("base-image/VERSION", "{}\n"),
    "apps": ("api-rest/pyproject.toml", '[project]\nname = "api-rest"\nversion = "{}"\n'),
    "platform-chart": (
        "platform-chart/Chart.yaml",
        "apiVersion: v2\nname: platform\nversion: {}\n",
    ),
}


@dataclass(frozen=True)
class Row:
    """The decisions at a step."""

    step: str
    checkout: Checkout
    content: dict[str, str]  # what each subproject publishes

    @property
    def problems(self) -> list[Problem]:
        return git_problems(self.checkout)

    @property
    def published(self) -> dict[str, str]:
        return {name: version.published for name, version in self.checkout.versions.items()}

    def cells(self) -> list[str]:
        decision, versions = self.checkout.decision, self.checkout.versions.values()
        where = decision.environment or ("nowhere" if decision.pushes else "not pushed")
        where = "refused" if self.problems else where
        shown = [
            f"**{version.published}**" if version.changed else version.published
            for version in versions
        ]
        return [self.step, f"`{decision.ref.name}`", *shown, where]


class Scenario(Repository):
    """A team's repository; `look` records what a CI server decides at a step."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.rows: list[Row] = []
        self._write_versions(dict.fromkeys(NAMES, "1.0.0"))
        self.write("delivery.toml", DECLARATION)
        self.write("base-image/.dockerignore", "*\n!rootfs\n")
        self.write("api-rest/.dockerignore", "*\n!pyproject.toml\n!src\n")
        self.write("platform-chart/.helmignore", "/tests/\n/CHANGELOG.md\n")
        paths = ("base-image/rootfs/etc", "api-rest/src/app.py", "platform-chart/values.yaml")
        self.commit("feat: begin", *paths, "README.md")

    def look(self, step: str, branch: str = "") -> Row:
        checkout = gather.load_checkout(PROJECT, self.root, branch)
        self.rows.append(Row(step, checkout, self._content()))
        return self.rows[-1]

    def prepare(self) -> None:
        """Write what release.prepare writes: the next versions."""
        versions = gather.load_checkout(PROJECT, self.root).versions
        self._write_versions(
            {name: version.next for name, version in versions.items() if version.changed}
        )
        self.commit("chore(release): prepare")

    def finish(self) -> None:
        """Tag what release.finish tags: each new version."""
        versions = self.rows[-1].checkout.versions.items()
        self.tag(*(f"{name}-v{version.next}" for name, version in versions if version.changed))

    def _write_versions(self, versions: dict[str, str]) -> None:
        for name, version in versions.items():
            path, text = VERSION_FILES[name]
            self.write(path, text.format(version))
            changelog = PROJECT.subprojects[name].changelog
            file = self.root / changelog
            older = file.read_text() if file.exists() else ""
            self.write(changelog, f"## [{version}]\n\n- It.\n\n{older}")

    def _content(self) -> dict[str, str]:
        """What each subproject publishes: its files and VERSION, and what it is built on."""
        blobs = [line.split("\t", 1) for line in self.git("ls-tree", "-r", "HEAD").split("\n")]
        contents: dict[str, str] = {}
        below = ""
        for name, folder in FOLDERS.items():
            rules = ignores.for_chart if name == "platform-chart" else ignores.for_image
            is_ignored = rules(self.root / folder)
            own = [
                (inside, blob)
                for blob, path in blobs
                if path.startswith(f"{folder}/")
                and (
                    (inside := path.removeprefix(f"{folder}/")) == "VERSION"
                    or not is_ignored(inside)
                )
            ]
            below = contents[name] = f"{own}{below}"
        return contents


# Each step is a method of Scenario with its arguments.
STEPS: list[tuple[str, ...]] = [
    ("look", "the first commit"),
    ("finish",),
    ("look", "its versions are tagged"),
    ("branch", "develop"),
    ("branch", "feature/search"),
    ("commit", "feat(api-rest): search", "api-rest/src/search.py"),
    ("look", "an apps feature"),
    ("commit", "test(api-rest): search", "api-rest/tests/test_search.py"),
    ("look", "tests for it"),
    ("switch", "develop"),
    ("merge", "feature/search"),
    ("look", "the feature is merged"),
    ("commit", "docs: how to search", "README.md"),
    ("look", "a page of documentation"),
    ("commit", "feat(platform-chart): a probe", "platform-chart/values.yaml"),
    ("look", "a feature of the chart"),
    ("branch", "release/1.1"),
    ("look", "a release branch"),
    ("prepare",),
    ("look", "`release.prepare`"),
    ("commit", "fix(api-rest): search for nothing", "api-rest/src/search.py"),
    ("look", "a fix on it"),
    ("switch", "develop"),
    ("commit", "feat(base-image): time zones", "base-image/rootfs/zones"),
    ("look", "a base-image feature"),
    ("switch", "main"),
    ("merge", "release/1.1"),
    ("look", "the release is merged"),
    ("finish",),
    ("look", "`release.finish` tags it"),
    ("switch", "apps-v1.1.0"),
    ("look", "the tag is built", "refs/tags/apps-v1.1.0"),
    ("switch", "develop"),
    ("look", "develop before merge"),
    ("merge", "main"),
    ("look", "main is merged back"),
    ("branch", "hotfix/1.1.1", "main"),
    ("commit", "fix(api-rest): an answer that leaks", "api-rest/src/app.py"),
    ("look", "a hotfix"),
    ("prepare",),
    ("look", "it is prepared"),
    ("switch", "main"),
    ("merge", "hotfix/1.1.1"),
    ("look", "it is merged"),
    ("finish",),
    ("look", "it is tagged"),
    ("switch", "develop"),
    ("look", "develop lacks it"),
    ("commit", "fix(api-rest): a typo", "api-rest/src/text.py"),
    ("look", "a fix on develop"),
    ("merge", "main"),
    ("look", "hotfix merged back"),
    ("branch", "release/2.0"),
    ("commit", "feat(api-rest)!: no more XML", "api-rest/src/xml.py"),
    ("prepare",),
    ("look", "a breaking change"),
    ("switch", "main"),
    ("merge", "release/2.0"),
    ("look", "the breaking release is merged"),
    ("finish",),
    ("switch", "develop"),
    ("merge", "release/2.0"),
    ("look", "the release branch, not main, is merged back"),
]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    with pytest.MonkeyPatch.context() as patch:
        for name in FOREIGN:  # a CI server's variables are not about this repository
            patch.delenv(name, raising=False)
        scenario = Scenario(tmp_path_factory.mktemp("scenario") / "sample")
        for action, *arguments in STEPS:
            getattr(scenario, action)(*arguments)
        return scenario.rows


def test_the_page_shows_this_scenario(rows: list[Row]) -> None:
    check_page(PAGE, "scenario", table(COLUMNS, [row.cells() for row in rows]))


def test_a_published_version_never_gets_other_content(rows: list[Row]) -> None:
    contents: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        if row.checkout.decision.pushes and not row.problems:
            for name, version in row.published.items():
                contents.setdefault((name, version), set()).add(row.content[name])
    assert len(contents) > 30
    assert {key: len(texts) for key, texts in contents.items() if len(texts) > 1} == {}


def test_only_unprepared_versions_are_refused(rows: list[Row]) -> None:
    assert [row.step for row in rows if row.problems] == ["a release branch", "a hotfix"]


def test_a_note_says_what_develop_lacks_of_main(rows: list[Row]) -> None:
    lacking = [
        row.step for row in rows if any("develop lacks" in note for note in notes(row.checkout))
    ]
    assert lacking == [
        "the release is merged",
        "`release.finish` tags it",
        "develop before merge",
        "it is merged",
        "it is tagged",
        "develop lacks it",
        "a fix on develop",
        "the breaking release is merged",
    ]
