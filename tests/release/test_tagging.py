"""Tags are made for what is prepared and was published, and for nothing else."""

from dataclasses import replace

import pytest

from delivery.errors import DeclarationError
from delivery.project import gitflow
from delivery.project.declaration import Declaration
from delivery.project.facts import Facts, Ref, Tag
from delivery.project.versions import Version
from delivery.release.released import Release, ReleasedChart, ReleasedImage
from delivery.release.tagging import NewTag, chart_version, differences, new_tags

NAMES = ("base-image", "apps", "platform-chart")
CHANGELOG = (
    "## [Unreleased]\n\n## [1.1.0] - 2026-02-01\n\n### Added\n\n- A page.\n\n## [1.0.0] - 2026-01-01\n\n- All.\n"
)
CHANGELOGS = dict.fromkeys(NAMES, CHANGELOG)
VERSIONS = {
    "base-image": Version("base-image", "1.0.0", "1.0.0", "1.0.0", "1.0.0", "", "", ()),
    "apps": Version("apps", "1.0.0", "1.1.0", "1.1.0", "1.1.0", "minor", "feat: a page", ()),
    "platform-chart": Version("platform-chart", "1.0.0", "1.1.0", "1.1.0", "1.1.0", "patch", "apps 1.1.0", ()),
}


def facts(*tags: Tag, ref: Ref = Ref("branch", "main"), uncommitted: tuple[str, ...] = ()) -> Facts:  # noqa: B008  # frozen
    return Facts(ref, "0" * 40, tags, {}, {}, {}, {}, (), uncommitted)


def tags_of(declaration: Declaration, seen: Facts, versions: dict[str, Version] | None = None) -> list[NewTag]:
    decision = gitflow.decide(seen.ref, declaration)
    return new_tags(declaration, seen, decision, versions or VERSIONS, CHANGELOGS)


def test_a_tag_for_each_new_version_says_what_its_changelog_says(declaration: Declaration) -> None:
    made = tags_of(declaration, facts())
    assert made == [
        NewTag("apps-v1.1.0", "apps", "1.1.0", "apps 1.1.0\n\n### Added\n\n- A page.\n"),
        NewTag("platform-chart-v1.1.0", "platform-chart", "1.1.0", "platform-chart 1.1.0\n\n### Added\n\n- A page.\n"),
    ]


@pytest.mark.parametrize(
    "ref", [Ref("branch", "develop"), Ref("branch", "release/1.1"), Ref("", ""), Ref("tag", "apps-v1.1.0")]
)
def test_anywhere_but_on_the_release_line_it_is_refused(declaration: Declaration, ref: Ref) -> None:
    with pytest.raises(DeclarationError, match="is not the release line"):
        tags_of(declaration, facts(ref=ref))


def test_changes_that_are_not_committed_are_refused(declaration: Declaration) -> None:
    with pytest.raises(DeclarationError, match=r"1 files are not committed \(a\)"):
        tags_of(declaration, facts(uncommitted=("a",)))


def test_what_is_not_prepared_is_refused(declaration: Declaration) -> None:
    versions = {**VERSIONS, "apps": replace(VERSIONS["apps"], written="1.0.0")}
    with pytest.raises(DeclarationError) as caught:
        tags_of(declaration, facts(), versions)
    assert "apps is to be 1.1.0, and its files say 1.0.0" in caught.value.details


def test_a_tag_of_another_commit_is_refused(declaration: Declaration) -> None:
    with pytest.raises(DeclarationError, match=r"apps-v1\.1\.0 is the tag of another commit"):
        tags_of(declaration, facts(Tag("apps-v1.1.0", "apps", "1.1.0", reached=False)))


def test_a_tag_of_another_version_or_subproject_is_in_nobodys_way(declaration: Declaration) -> None:
    there = (
        Tag("apps-v1.0.0", "apps", "1.0.0", reached=True),
        Tag("base-image-v1.1.0", "base-image", "1.1.0", reached=False),
    )
    assert len(tags_of(declaration, facts(*there))) == 2


def test_the_release_goes_by_the_charts_version(declaration: Declaration) -> None:
    assert chart_version(declaration, {**VERSIONS, "apps": replace(VERSIONS["apps"], next="7.0.0")}) == "1.1.0"


PLANNED = {"api-rest": ("1.1.0", "a" * 32), "chart": ("1.1.0", "c" * 32)}
RELEASE = Release(
    {"api-rest": ReleasedImage("api-rest", "a" * 32, "sha256:" + "d" * 64, "1.1.0")},
    version="1.1.0",
    chart=ReleasedChart("platform-chart", "c" * 32, "sha256:" + "e" * 64, "1.1.0"),
)


def test_a_release_of_these_sources_differs_in_nothing() -> None:
    assert differences(RELEASE, PLANNED) == []


@pytest.mark.parametrize("name", ["api-rest", "chart"])
def test_a_release_of_other_sources_is_named_by_its_keys(name: str) -> None:
    version, key = PLANNED[name]
    found = differences(RELEASE, {**PLANNED, name: (version, "f" * 32)})
    assert found == [f"its {name} was made from {key}, and the sources here are {'f' * 32}"]


def test_a_release_with_another_version_or_without_a_part_is_another_one() -> None:
    assert differences(RELEASE, {**PLANNED, "chart": ("1.2.0", "c" * 32)}) == [
        "its chart is 1.1.0, and 1.2.0 is to be tagged"
    ]
    assert differences(Release({}), PLANNED) == ["it has no api-rest", "it has no chart"]
