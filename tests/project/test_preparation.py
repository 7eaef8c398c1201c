"""The files of each changed subproject get its next version, and nothing else changes."""

from dataclasses import replace

import pytest

from delivery.errors import DeclarationError
from delivery.project import gitflow
from delivery.project.facts import Ref, Tag
from delivery.project.preparation import (
    Preparation,
    check_branch,
    check_versions,
    parse_versions,
    prepare,
    unprepared,
    version_files,
)
from delivery.project.versions import Checkout, Version
from tests.project.examples import NAMES, PROJECT, commit, facts, version

CHANGELOG = "# Changelog\n\n## [Unreleased]\n\n## [1.0.0] - 2026-01-01\n\n### Added\n\n- All.\n"
PYPROJECT = """\
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
CHART = """\
apiVersion: v2
name: platform
version: 1.0.0
appVersion: 1.0.0
# A comment.
kubeVersion: '>=1.29'
"""
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
    "api-rest/pyproject.toml": PYPROJECT,
    "api-rest/CHANGELOG.md": CHANGELOG,
    "platform-chart/Chart.yaml": CHART,
    "platform-chart/values.yaml": VALUES,
    "platform-chart/CHANGELOG.md": CHANGELOG,
}
DAY = "2026-02-01"


def checkout(*versions: Version, message: str = "", **more: object) -> Checkout:
    """A checkout with these versions; the others are tagged as 1.0.0. A commit has this message."""
    given = replace(facts([commit(1, message)]), **more)  # type: ignore[arg-type]
    decided = {name: version(name) for name in NAMES} | {made.subproject: made for made in versions}
    return Checkout(PROJECT, given, gitflow.decide(given.ref, PROJECT), decided)


def patch(name: str, following: str, because: str, *commits: str) -> Version:
    return version(name, next=following, bump="patch", because=because, commits=commits)


ZONES = "feat: time zones"
CASCADE = (
    patch("base-image", "1.1.0", ZONES, ZONES),
    patch("apps", "1.0.1", "base-image 1.1.0"),
    patch("platform-chart", "1.0.1", "apps 1.0.1"),
)
VERSIONS = checkout(*CASCADE).versions
SAME = checkout().versions


@pytest.fixture
def prepared() -> Preparation:
    return prepare(checkout(*CASCADE, message=ZONES), TEXTS, DAY)


def base_log(*versions: Version, text: str = CHANGELOG, **more: object) -> str:
    """The base image's changelog after these versions are prepared."""
    texts = {**TEXTS, "base-image/CHANGELOG.md": text}
    made = prepare(checkout(*versions, **more), texts, DAY)  # type: ignore[arg-type]
    return made.texts["base-image/CHANGELOG.md"]


def test_the_files_that_may_contain_a_version() -> None:
    assert set(version_files(PROJECT)) == {*TEXTS, "api-rest/VERSION"}


def test_a_new_base_changes_the_apps_and_the_chart(prepared: Preparation) -> None:
    assert prepared.texts == {
        "base-image/VERSION": "1.1.0\n",
        "base-image/CHANGELOG.md": dated("1.1.0", "### Added\n\n- Time zones."),
        "api-rest/pyproject.toml": PYPROJECT.replace("'1.0.0'", "'1.0.1'"),
        "api-rest/CHANGELOG.md": dated("1.0.1", "### Changed\n\n- Built on base-image 1.1.0."),
        "platform-chart/Chart.yaml": CHART.replace(": 1.0.0", ": 1.0.1"),
        "platform-chart/values.yaml": VALUES.replace("tag: 1.0.0", "tag: 1.0.1"),
        "platform-chart/CHANGELOG.md": dated("1.0.1", "### Changed\n\n- Runs apps 1.0.1."),
    }
    assert prepared.subject == (
        "chore(release): base-image 1.1.0, apps 1.0.1, platform-chart 1.0.1"
    )
    files = "base-image/CHANGELOG.md base-image/VERSION"
    assert prepared.rows()[0] == ("base-image", "1.0.0", "1.1.0", ZONES, files)


def dated(number: str, body: str) -> str:
    """The changelog with a section of a version."""
    return CHANGELOG.replace("## [1.0.0]", f"## [{number}] - {DAY}\n\n{body}\n\n## [1.0.0]")


def test_unchanged_subprojects_are_not_written() -> None:
    probe = "fix: a probe"
    chart = checkout(patch("platform-chart", "1.0.1", probe, probe), message=probe)
    prepared = prepare(chart, TEXTS, DAY)
    assert sorted(prepared.texts) == ["platform-chart/CHANGELOG.md", "platform-chart/Chart.yaml"]
    assert "appVersion: 1.0.0\n" in prepared.texts["platform-chart/Chart.yaml"]
    assert prepared.subject == "chore(release): platform-chart 1.0.1"
    assert "Runs" not in prepared.texts["platform-chart/CHANGELOG.md"]


def test_a_second_run_writes_nothing(prepared: Preparation) -> None:
    again = prepare(checkout(*CASCADE, message=ZONES), {**TEXTS, **prepared.texts}, "2026-03-03")
    assert again.texts == {}


def test_without_an_entry_the_reason_is_written() -> None:
    log = base_log(patch("base-image", "1.0.1", "delivery.toml has changed"))
    assert log == dated("1.0.1", "### Changed\n\n- Delivery.toml has changed.")


def test_only_commits_that_change_the_subproject_are_written() -> None:
    commits = (commit(1, "test: it"), commit(1, "fix: a bug"))
    log = base_log(patch("base-image", "1.0.1", "x", "fix: a bug"), commits=commits)
    assert log == dated("1.0.1", "### Fixed\n\n- A bug.")


PREPARED_BEFORE = CHANGELOG.replace(
    "## [1.0.0]", "## [1.0.1] - 2026-01-20\n\n### Fixed\n\n- A bug.\n\n## [1.0.0]"
)
NEXT = patch("base-image", "1.1.0", "feat: x", "feat: x")


def test_a_prepared_version_without_a_tag_is_superseded() -> None:
    older = "\n## [0.9.0] - 2025-01-01\n\n- Old.\n"
    log = base_log(NEXT, text=f"{PREPARED_BEFORE}{older}")
    assert log == dated("1.1.0", "### Fixed\n\n- A bug.") + older


def test_the_section_of_an_unmerged_hotfix_is_kept() -> None:
    hotfix = Tag("base-image-v1.0.1", "base-image", "1.0.1", merged=False)
    log = base_log(NEXT, text=PREPARED_BEFORE, tags=(*facts().tags, hotfix), message="feat: x")
    assert "## [1.0.1] - 2026-01-20\n\n### Fixed\n\n- A bug.\n" in log


def test_before_the_first_release_every_section_is_superseded() -> None:
    log = base_log(replace(patch("base-image", "2.0.0", "first"), last=""), tags=())
    assert "## [2.0.0] - 2026-02-01\n\n### Added\n\n- All.\n" in log
    assert "[1.0.0]" not in log


@pytest.mark.parametrize(
    ("path", "text", "problem"),
    [
        ("base-image/CHANGELOG.md", None, "there is no base-image/CHANGELOG.md"),
        ("platform-chart/values.yaml", None, "there is no platform-chart/values.yaml"),
        ("api-rest/pyproject.toml", None, "neither VERSION nor pyproject.toml"),
        (
            "api-rest/pyproject.toml",
            '[project]\nname = "x"\n[tool]\nversion = "1.0.0"\n',
            "it has no project.version",
        ),
        ("api-rest/pyproject.toml", '[tool]\nversion = "1"\n', "it has no project.version"),
    ],
)
def test_a_missing_file_or_version_is_an_error(path: str, text: str | None, problem: str) -> None:
    changed = {**TEXTS, path: text}
    texts = {name: content for name, content in changed.items() if content is not None}
    with pytest.raises(DeclarationError, match=problem):
        prepare(checkout(*CASCADE), texts, DAY)


@pytest.mark.parametrize(
    ("ref", "problem"),
    [
        (Ref("branch", "develop"), ""),
        (Ref("branch", "hotfix/1.0.1"), ""),
        (Ref("branch", "main"), "main is no branch for that"),
        (Ref("branch", "feature/x"), "feature/x is no branch for that"),
        (Ref("", ""), "no branch is checked out"),
        (Ref("tag", "apps-v1.0.0"), "apps-v1.0.0 is no branch for that"),
    ],
)
def test_releases_are_prepared_on_develop_and_on_candidates(ref: Ref, problem: str) -> None:
    decision = gitflow.decide(ref, PROJECT)
    if not problem:
        check_branch(PROJECT, decision, ["main", "develop"])
        return
    with pytest.raises(DeclarationError, match=problem) as caught:
        check_branch(PROJECT, decision, ["main", "develop"])
    assert caught.value.hint.startswith("run `git switch -c release/X.Y develop`")


def test_a_clone_without_develop_is_told_how_to_make_it() -> None:
    decision = gitflow.decide(Ref("branch", "master"), PROJECT)
    with pytest.raises(DeclarationError) as caught:
        check_branch(PROJECT, decision, ["master"])
    make = "git switch -c develop master && git push -u origin develop"
    assert caught.value.hint.startswith(f"there is no develop branch: run `{make}`, then ")
    assert "`git switch -c hotfix/X.Y.Z master`" in caught.value.hint


def test_versions_are_requested_by_name() -> None:
    arguments = ["apps=2.0.0", "platform-chart=1.0.0", "apps=2.0.0"]
    assert parse_versions(PROJECT, arguments) == {"apps": "2.0.0", "platform-chart": "1.0.0"}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["chart=1.0.0"], "'chart' is no subproject"),
        (["apps"], "'' is no version"),
        (["apps=1.0.0-rc.1"], "'1.0.0-rc.1' is no version"),
        (["apps=1.0.0", "apps=2.0.0"], "apps=1.0.0 is given too"),
    ],
)
def test_an_invalid_request_is_refused(arguments: list[str], problem: str) -> None:
    with pytest.raises(DeclarationError, match=problem):
        parse_versions(PROJECT, arguments)


def test_a_requested_version_may_be_the_next_one_or_higher() -> None:
    check_versions(VERSIONS, {"base-image": "1.1.0", "apps": "1.10.0"})
    check_versions(SAME, {"apps": "1.0.1"})


@pytest.mark.parametrize(
    ("versions", "name", "low", "problem"),
    [
        (VERSIONS, "base-image", "1.0.9", "the commits ask for 1.1.0"),
        (VERSIONS, "apps", "1.0.0", "the commits ask for 1.0.1"),
        (SAME, "apps", "1.0.0", "1.0.0 is released"),
        (SAME, "apps", "0.9.0", "1.0.0 is released"),
    ],
)
def test_a_requested_version_never_goes_down(
    versions: dict[str, Version], name: str, low: str, problem: str
) -> None:
    with pytest.raises(DeclarationError, match=f"{problem}, and versions only go up"):
        check_versions(versions, {name: low})


def test_a_prepared_version_is_in_the_files_and_the_changelog() -> None:
    log, apps = dated("1.0.1", "- x"), VERSIONS["apps"]
    written = {"apps": replace(apps, written="1.0.1")}
    assert unprepared(written, {"apps": log}) == []
    assert unprepared(written, {}) == ["the changelog of apps has no section [1.0.1]"]
    assert unprepared({"apps": apps}, {"apps": log}) == [
        "apps needs 1.0.1, and its files say 1.0.0"
    ]
    assert unprepared(SAME, {}) == []
