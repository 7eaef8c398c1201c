"""Each changed subproject's files say its next version, and nothing else in them changes."""

import tomllib
from dataclasses import replace

import pytest

from delivery.errors import DeclarationError
from delivery.project import gitflow
from delivery.project.declaration import Declaration
from delivery.project.facts import Commit, Facts, Ref, Tag
from delivery.project.preparation import Preparation, prepare, raised, refuse_branch, sources, told, unprepared
from delivery.project.versions import Version

CHANGELOG = "# Changelog\n\n## [Unreleased]\n\n## [1.0.0] - 2026-01-01\n\n### Added\n\n- All.\n"
PROJECT = """\
# The app.
[build-system]
version = "not this one"

[project]
name = "api-rest"  # its name
description = 'version = "0.0.0"'
version = '1.0.0'  # ours
dependencies = ["bottle>=0.13"]

[tool.other]
version = "1.0.0"
"""
CHART = "apiVersion: v2\nname: platform\nversion: 1.0.0\nappVersion: 1.0.0\n# A comment.\nkubeVersion: '>=1.29'\n"
VALUES = """\
components:
  api-rest:
    image: {repository: localhost:5001/api-rest, tag: 1.0.0, digest: ""}
proxy:
  image: {repository: haproxy, tag: "3.0", digest: ""}
"""
TEXTS = {
    "base-image/VERSION": "1.0.0\n",
    "base-image/pyproject.toml": "[dependency-groups]\ntest = []\n",
    "base-image/CHANGELOG.md": CHANGELOG,
    "api-rest/pyproject.toml": PROJECT,
    "api-rest/CHANGELOG.md": CHANGELOG,
    "platform-chart/Chart.yaml": CHART,
    "platform-chart/values.yaml": VALUES,
    "platform-chart/CHANGELOG.md": CHANGELOG,
}
DAY = "2026-02-01"


def version(name: str, following: str, because: str = "", *commits: str) -> Version:
    return Version(name, "1.0.0", "1.0.0", following, following, "patch" if because else "", because, commits)


def facts(**since: str) -> Facts:
    names = ("base-image", "apps", "platform-chart")
    tags = tuple(Tag(f"{name}-v1.0.0", name, "1.0.0", reached=True) for name in names)
    commits = {name: (Commit("0" * 40, since.get(name.replace("-", "_"), ""), ()),) for name in names}
    return Facts(Ref("branch", "develop"), "0" * 40, tags, commits, {}, {}, {}, (), ())


def versions(*changed: Version) -> dict[str, Version]:
    every = {name: version(name, "1.0.0") for name in ("base-image", "apps", "platform-chart")}
    return every | {one.subproject: one for one in changed}


CASCADE = versions(
    version("base-image", "1.1.0", "feat: time zones", "feat: time zones"),
    version("apps", "1.0.1", "base-image 1.1.0"),
    version("platform-chart", "1.0.1", "apps 1.0.1"),
)


@pytest.fixture
def prepared(declaration: Declaration) -> Preparation:
    return prepare(declaration, facts(base_image="feat: time zones"), CASCADE, TEXTS, DAY)


def test_the_sources_are_what_may_say_a_version(declaration: Declaration) -> None:
    assert set(sources(declaration)) == {*TEXTS, "api-rest/VERSION"}


def test_a_base_goes_through_to_the_chart(prepared: Preparation) -> None:
    assert prepared.texts["base-image/VERSION"] == "1.1.0\n"
    assert prepared.texts["platform-chart/Chart.yaml"] == CHART.replace(": 1.0.0", ": 1.0.1")
    assert "repository: localhost:5001/api-rest, tag: 1.0.1," in prepared.texts["platform-chart/values.yaml"]
    assert prepared.subject == "chore(release): base-image 1.1.0, apps 1.0.1, platform-chart 1.0.1"


def test_of_a_project_only_the_version_changes(prepared: Preparation) -> None:
    assert prepared.texts["api-rest/pyproject.toml"] == PROJECT.replace("'1.0.0'", "'1.0.1'")
    assert tomllib.loads(prepared.texts["api-rest/pyproject.toml"])["project"]["version"] == "1.0.1"


def test_each_changelog_says_why(prepared: Preparation) -> None:
    assert "## [1.1.0] - 2026-02-01\n\n### Added\n\n- Time zones.\n" in prepared.texts["base-image/CHANGELOG.md"]
    assert (
        "## [1.0.1] - 2026-02-01\n\n### Changed\n\n- Built on base-image 1.1.0.\n"
        in prepared.texts["api-rest/CHANGELOG.md"]
    )
    assert "- Runs apps 1.0.1.\n" in prepared.texts["platform-chart/CHANGELOG.md"]


def test_what_did_not_change_is_left_alone(declaration: Declaration) -> None:
    chart = versions(version("platform-chart", "1.0.1", "fix: a probe", "fix: a probe"))
    prepared = prepare(declaration, facts(platform_chart="fix: a probe"), chart, TEXTS, DAY)
    assert sorted(prepared.texts) == ["platform-chart/CHANGELOG.md", "platform-chart/Chart.yaml"]
    assert "appVersion: 1.0.0\n" in prepared.texts["platform-chart/Chart.yaml"]
    assert prepared.subject == "chore(release): platform-chart 1.0.1"


def test_a_second_time_there_is_nothing_to_write(declaration: Declaration, prepared: Preparation) -> None:
    again = prepare(
        declaration, facts(base_image="feat: time zones"), CASCADE, {**TEXTS, **prepared.texts}, "2026-03-03"
    )
    assert (again.texts, again.subject) == ({}, "")


def test_a_change_that_no_commit_tells_of_is_told_by_its_reason(declaration: Declaration) -> None:
    base = versions(version("base-image", "1.0.1", "delivery.toml has changed its build arguments"))
    prepared = prepare(declaration, facts(), base, TEXTS, DAY)
    assert (
        "### Changed\n\n- Delivery.toml has changed its build arguments.\n" in prepared.texts["base-image/CHANGELOG.md"]
    )


def test_only_commits_that_count_are_told(declaration: Declaration) -> None:
    seen = replace(
        facts(),
        since={"base-image": tuple(Commit("0" * 40, text, ()) for text in ("test: it", "fix: a bug")), "apps": ()},
    )
    prepared = prepare(declaration, seen, versions(version("base-image", "1.0.1", "x", "fix: a bug")), TEXTS, DAY)
    assert "- A bug." in prepared.texts["base-image/CHANGELOG.md"]
    assert "It." not in prepared.texts["base-image/CHANGELOG.md"]


def test_a_version_that_was_prepared_and_never_tagged_is_taken_over(declaration: Declaration) -> None:
    before = CHANGELOG.replace("## [1.0.0]", "## [1.0.1] - 2026-01-20\n\n### Fixed\n\n- A bug.\n\n## [1.0.0]")
    older = before + "\n## [0.9.0] - 2025-01-01\n\n- Old.\n"
    texts = {**TEXTS, "base-image/CHANGELOG.md": older}
    prepared = prepare(declaration, facts(), versions(version("base-image", "1.1.0", "feat: x")), texts, DAY)
    after = prepared.texts["base-image/CHANGELOG.md"]
    assert "## [1.1.0] - 2026-02-01\n\n### Fixed\n\n- A bug.\n" in after
    assert "[1.0.1]" not in after
    assert "## [0.9.0] - 2025-01-01" in after


def test_what_it_is_built_on_is_said_only_where_that_is_new(declaration: Declaration) -> None:
    apps = versions(version("apps", "1.0.1", "fix: a bug", "fix: a bug"))
    prepared = prepare(declaration, facts(apps="fix: a bug"), apps, TEXTS, DAY)
    assert "Built on" not in prepared.texts["api-rest/CHANGELOG.md"]


def test_a_section_of_a_hotfix_that_is_tagged_elsewhere_stays(declaration: Declaration) -> None:
    text = CHANGELOG.replace("## [1.0.0]", "## [1.0.1] - 2026-01-20\n\n### Fixed\n\n- A bug.\n\n## [1.0.0]")
    seen = facts(base_image="feat: x")
    seen = replace(seen, tags=(*seen.tags, Tag("base-image-v1.0.1", "base-image", "1.0.1", reached=False)))
    base = versions(version("base-image", "1.1.0", "feat: x", "feat: x"))
    prepared = prepare(declaration, seen, base, {**TEXTS, "base-image/CHANGELOG.md": text}, DAY)
    assert "## [1.0.1] - 2026-01-20\n\n### Fixed\n\n- A bug.\n" in prepared.texts["base-image/CHANGELOG.md"]


def test_before_the_first_release_every_section_is_of_what_was_never_released(declaration: Declaration) -> None:
    first = replace(version("base-image", "2.0.0", "no version of it is tagged yet"), last="")
    prepared = prepare(declaration, replace(facts(), tags=()), versions(first), TEXTS, DAY)
    assert "## [2.0.0] - 2026-02-01\n\n### Added\n\n- All.\n" in prepared.texts["base-image/CHANGELOG.md"]
    assert "[1.0.0]" not in prepared.texts["base-image/CHANGELOG.md"]


def test_the_rows_say_what_changes_and_why(prepared: Preparation) -> None:
    assert prepared.rows()[0] == (
        "base-image",
        "1.0.0",
        "1.1.0",
        "feat: time zones",
        "base-image/VERSION base-image/CHANGELOG.md",
    )


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("base-image/CHANGELOG.md", "there is no base-image/CHANGELOG.md"),
        ("platform-chart/values.yaml", "there is no platform-chart/values.yaml"),
        ("api-rest/pyproject.toml", "neither VERSION nor pyproject.toml"),
    ],
)
def test_a_file_that_is_not_there_is_an_error(declaration: Declaration, missing: str, said: str) -> None:
    texts = {path: text for path, text in TEXTS.items() if path != missing}
    with pytest.raises(DeclarationError, match=said):
        prepare(declaration, facts(), CASCADE, texts, DAY)


@pytest.mark.parametrize("text", ['[project]\nname = "x"\n[tool]\nversion = "1.0.0"\n', '[tool]\nversion = "1.0.0"\n'])
def test_a_project_without_a_version_is_an_error(declaration: Declaration, text: str) -> None:
    with pytest.raises(DeclarationError, match=r"project.version cannot be found"):
        prepare(declaration, facts(), CASCADE, {**TEXTS, "api-rest/pyproject.toml": text}, DAY)


@pytest.mark.parametrize("name", ["develop", "desenvolvimento", "release/1.1", "hotfix/1.0.1"])
def test_releases_are_prepared_on_develop_and_on_candidates(declaration: Declaration, name: str) -> None:
    refuse_branch(declaration, gitflow.decide(Ref("branch", name), declaration))


@pytest.mark.parametrize(
    "ref", [Ref("branch", "main"), Ref("branch", "feature/x"), Ref("", ""), Ref("tag", "apps-v1.0.0")]
)
def test_elsewhere_it_is_said_where(declaration: Declaration, ref: Ref) -> None:
    with pytest.raises(DeclarationError) as caught:
        refuse_branch(declaration, gitflow.decide(ref, declaration))
    assert "git switch -c release/X.Y" in caught.value.hint


def test_versions_are_told_by_name(declaration: Declaration) -> None:
    assert told(declaration, ["apps=2.0.0", "platform-chart=1.0.0", "apps=2.0.0"]) == {
        "apps": "2.0.0",
        "platform-chart": "1.0.0",
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["chart=1.0.0"], "'chart' is no subproject"),
        (["apps"], "'' is no version"),
        (["apps=1.0"], "'1.0' is no version"),
        (["apps=1.0.0-rc.1"], "'1.0.0-rc.1' is no version"),
        (["apps=01.0.0"], "'01.0.0' is no version"),
        (["apps=1.0.0", "apps=2.0.0"], "apps is told to be 1.0.0 too"),
    ],
)
def test_what_is_no_version_by_name_is_refused(declaration: Declaration, arguments: list[str], said: str) -> None:
    with pytest.raises(DeclarationError, match=said):
        told(declaration, arguments)


def test_a_version_by_hand_may_be_what_the_commits_ask_for_or_higher() -> None:
    raised(CASCADE, {"base-image": "1.1.0", "apps": "1.10.0"})
    raised(versions(), {"apps": "1.0.1"})


@pytest.mark.parametrize(("name", "low"), [("base-image", "1.0.9"), ("apps", "1.0.0"), ("apps", "0.9.0")])
def test_a_version_by_hand_never_goes_down(name: str, low: str) -> None:
    with pytest.raises(DeclarationError, match="versions only go up"):
        raised(CASCADE, {name: low})


def test_a_version_by_hand_is_not_the_last_one() -> None:
    with pytest.raises(DeclarationError, match=r"1\.0\.0 is released"):
        raised(versions(), {"apps": "1.0.0"})


def test_what_is_prepared_needs_both_the_version_and_the_changelog() -> None:
    written = CHANGELOG.replace("## [1.0.0]", "## [1.0.1] - 2026-02-01\n\n- x\n\n## [1.0.0]")
    apps = replace(CASCADE["apps"], written="1.0.1")
    assert unprepared({"apps": apps}, {"apps": written}) == []
    assert unprepared({"apps": apps}, {"apps": CHANGELOG}) == ["the changelog of apps has no section [1.0.1]"]
    assert unprepared({"apps": CASCADE["apps"]}, {"apps": written}) == ["apps is to be 1.0.1, and its files say 1.0.0"]
    assert unprepared(versions(), dict.fromkeys(versions(), CHANGELOG)) == []
