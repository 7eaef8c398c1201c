"""The version of each subproject, from the facts of a clone."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from semver import Version as Number

from delivery.project.facts import Commit, Facts, Tag
from delivery.project.versions import (
    Version,
    bump_of,
    counting_start,
    decide,
    newer_tags,
    newest_tag,
)
from tests.project.examples import APPS, BASE, CHART, PROJECT, commit, facts

DOCS = "README.md"


def decided(given: Facts) -> dict[str, Version]:
    return dict(decide(PROJECT, given).versions)


def published(given: Facts) -> list[str]:
    return [version.published for version in decided(given).values()]


@pytest.mark.parametrize(
    ("message", "how"),
    [
        ("feat: x", "minor"),
        ("feat(api-rest): x", "minor"),
        ("Feat: x", "minor"),
        ("feat!: x", "major"),
        ("refactor(api-rest)!: x", "major"),
        ("fix: x\n\nBREAKING CHANGE: y", "major"),
        ("fix: x\n\nwords\n\nRefs: 1\nBREAKING-CHANGE: y", "major"),
        ("fix: x\n\nBREAKING CHANGE #7", "major"),
        ("fix: x\n\nbreaking change: y", "patch"),
        ("fix: x\n\nno BREAKING CHANGE: y", "patch"),
        ("fix: x\n\nBREAKING CHANGES: y", "patch"),
        ("fix: x", "patch"),
        ("docs: x", "patch"),
        ("feature: x", "patch"),
        ("feat x", "patch"),
        ("feat:x", "patch"),
        ("a feat: x", "patch"),
        ("", "patch"),
        ("Merge branch 'feat: x'", "patch"),
        ('Revert "feat: x"', "patch"),
    ],
)
def test_a_message_raises_the_version(message: str, how: str) -> None:
    assert bump_of(message) == how


FIX, FEAT, BREAKING = (commit(1, f"{what}: x", CHART) for what in ("fix", "feat", "feat!"))
CHORE = commit(2, "chore: x", "delivery.toml")
CHART_1_1 = "platform-chart-v1.1.0"
UNMERGED = f"{CHART_1_1} is not merged here"
SAME = "it has not changed since platform-chart-v1.0.0"


def with_chart_version(number: str, *commits: Commit) -> Facts:
    """Facts with this version in the chart's files."""
    given = facts(commits)
    return replace(given, file_versions={**given.file_versions, "platform-chart": number})


@pytest.mark.parametrize(
    ("given", "published", "bump", "because"),
    [
        (facts([FIX], last="1.2.3"), "1.2.4-dev.1", "patch", "fix: x"),
        (facts([FEAT], last="1.9.9"), "1.10.0-dev.1", "minor", "feat: x"),
        (facts([BREAKING], last="1.2.3"), "2.0.0-dev.1", "major", "feat!: x"),
        (facts([FEAT], last="0.2.3"), "0.3.0-dev.1", "minor", "feat: x"),
        (
            facts([BREAKING], last="0.2.3"),
            "0.3.0-dev.1",
            "minor",
            "feat!: x: breaking, below 1.0.0",
        ),
        (facts([FIX, commit(2, "docs: c", CHART)]), "1.0.1-dev.2", "patch", "fix: x (and 1 more)"),
        (facts([FIX, FEAT]), "1.1.0-dev.2", "minor", "feat: x (and 1 more)"),
        (facts([commit(1, "feat: x", DOCS, "api-rest/tests/x")]), "1.0.0", "", SAME),
        # Before the first tag the version in the files is used.
        (
            facts([FEAT], last="", written="0.1.0"),
            "0.1.0-dev.1",
            "first",
            "it has no version tag yet",
        ),
        (
            facts(last="", lacking={"platform-chart-v1.0.0": []}),
            "0.1.0-dev.1",
            "first",
            "platform-chart-v1.0.0 is not in HEAD's history",
        ),
        # A higher version in the files is used, and any other one changes the bytes.
        (facts([FIX], written="2.0.0"), "2.0.0-dev.1", "major", "its files say 2.0.0; fix: x"),
        (with_chart_version("1.0.1", FIX), "1.0.1-dev.1", "patch", "fix: x"),
        (with_chart_version("1.1.0"), "1.1.0-dev.1", "minor", "its files say 1.1.0"),
        (with_chart_version("0.9.0"), "1.0.1-dev.1", "patch", "its files say 0.9.0"),
        # A fix on develop is above a hotfix that is not merged; a hotfix is above its own tags.
        (facts([FIX], lacking={"platform-chart-v1.0.1": [FIX]}), "1.0.2-dev.1", "patch", "fix: x"),
        (
            facts([FIX], "hotfix/x", lacking={"platform-chart-v2.0.0": [FIX]}),
            "1.0.1-rc.1",
            "patch",
            "fix: x",
        ),
        # Commits of an unmerged release keep their version; the others are above it.
        (facts([FEAT], lacking={CHART_1_1: []}), "1.1.0-dev.1", "minor", "feat: x"),
        (
            facts([commit(2, "fix: y", CHART), FEAT], lacking={CHART_1_1: [commit(2, "", CHART)]}),
            "1.1.1-dev.1",
            "patch",
            "fix: y",
        ),
        (facts([CHORE, FEAT], lacking={CHART_1_1: [CHORE]}), "1.1.1-dev.1", "patch", UNMERGED),
        (facts(lacking={CHART_1_1: []}), "1.0.0", "", SAME),
        (
            facts([CHORE], last="", lacking={CHART_1_1: [CHORE]}),
            "1.1.1-dev.1",
            "patch",
            "base-image 0.1.0, apps 0.1.0",
        ),
        (facts([FIX], "release/1.0"), "1.0.1-rc.1", "patch", "fix: x"),
        (facts([FIX], "main"), "1.0.1", "patch", "fix: x"),
        (facts([FIX], "feature/x"), "1.0.1-dev.1", "patch", "fix: x"),
    ],
)
def test_the_charts_version_and_its_reason(
    given: Facts, published: str, bump: str, because: str
) -> None:
    chart = decided(given)["platform-chart"]
    assert (chart.published, chart.bump, chart.because) == (published, bump, because)


def test_a_version_has_its_commits_and_its_last_version() -> None:
    apps = decided(facts([commit(2, "fix: a", APPS), commit(1, "docs: c", APPS)]))["apps"]
    assert (apps.last, apps.written, apps.next) == ("1.0.0", "1.0.0", "1.0.1")
    assert apps.commits == ("fix: a", "docs: c")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (BASE, ["2.0.0-dev.1", "1.0.1-dev.1", "1.0.1-dev.1"]),
        (APPS, ["1.0.0", "2.0.0-dev.1", "1.0.1-dev.1"]),
        (CHART, ["1.0.0", "1.0.0", "2.0.0-dev.1"]),
    ],
)
def test_a_new_version_gives_a_patch_to_what_is_built_on_it(path: str, expected: list[str]) -> None:
    given = facts([commit(1, "feat!: x", path)])
    assert published(given) == expected
    if path == BASE:
        reasons = [version.because for version in decided(given).values()]
        assert reasons == ["feat!: x", "base-image 2.0.0", "base-image 2.0.0, apps 1.0.1"]


def tagged(given: Facts, name: str, lacks: Sequence[Commit]) -> Facts:
    """The facts with 1.0.1 of a subproject tagged; the tag lacks these commits."""
    tag = Tag(f"{name}-v1.0.1", name, "1.0.1", merged=True, commit="c1")
    return replace(
        given,
        tags=(*given.tags, tag),
        commits_since={**given.commits_since, tag.name: frozenset(commit.sha for commit in lacks)},
        file_versions={**given.file_versions, name: "1.0.1"},
    )


def test_a_base_that_is_tagged_alone_gives_the_apps_a_patch() -> None:
    apps = decided(tagged(facts([commit(1, "fix: x", BASE)]), "base-image", []))["apps"]
    assert (apps.because, apps.published) == ("base-image 1.0.1", "1.0.1-dev.1")


def test_without_a_merged_tag_the_version_is_above_the_unmerged_ones() -> None:
    base = decided(facts([CHORE], last="", lacking={"base-image-v1.1.0": [CHORE]}))["base-image"]
    assert (base.last, base.published) == ("", "1.1.1-dev.1")
    assert base.because == "base-image-v1.1.0 is not merged here"


def test_a_change_of_the_base_alone_is_a_patch_above_an_unmerged_release() -> None:
    commits = [commit(2, "feat: x", BASE), commit(1, "feat: x", APPS)]
    apps = decided(facts(commits, lacking={"apps-v1.1.0": commits[:1]}))["apps"]
    assert (apps.published, apps.because) == ("1.1.1-dev.1", "base-image 1.1.0")


def test_other_build_arguments_give_a_patch() -> None:
    given = facts([CHORE], build_changes={"base-image": "how", "apps": "why"})
    assert published(given) == ["1.0.1-dev.1"] * 3
    assert [version.because for version in decided(given).values()][:2] == [
        "how",
        "base-image 1.0.1",
    ]
    assert decided(replace(given, build_changes={"apps": "why"}))["apps"].because == "why"


def test_n_counts_the_commits_that_may_change_the_bytes() -> None:
    commits = [
        commit(6, "merge", merged_paths=(APPS,)),
        commit(5, "fix: x", BASE, APPS),
        commit(4, "chore: version", "base-image/VERSION"),
        commit(3, "chore: declared", "delivery.toml"),
        commit(2, "docs: x", DOCS),
        commit(1, "fix: x", CHART),
    ]
    assert published(facts(commits)) == ["1.0.1-dev.3", "1.0.1-dev.4", "1.0.1-dev.5"]


def test_n_does_not_start_again_at_a_lower_version() -> None:
    commits = [commit(3, "feat: c", CHART), commit(2, "fix: b", CHART), commit(1, "fix: a", CHART)]
    before = facts(commits)
    after = tagged(before, "platform-chart", commits[:1])
    assert (published(before)[2], published(after)[2]) == ("1.1.0-dev.3", "1.1.0-dev.3")


def test_versions_are_compared_as_numbers() -> None:
    tags = [
        Tag(f"apps-v{number}", "apps", number, merged=number != "1.11.0")
        for number in ("1.9.0", "1.10.0", "1.11.0", "1.2.0")
    ]
    newest = newest_tag(tags, "apps")
    assert newest
    assert newest.version == "1.10.0"
    assert [tag.version for tag in newer_tags(tags, "apps")] == ["1.11.0"]


@pytest.mark.parametrize(
    ("how", "first"), [("major", "1.9.1"), ("minor", "1.10.2"), ("patch", "1.10.3"), ("", "1.10.3")]
)
def test_n_is_counted_from_the_oldest_tag_of_the_series(how: str, first: str) -> None:
    tags = [Tag(name, "apps", name, merged=True) for name in ("1.10.3", "1.10.2", "1.9.1", "0.1.0")]
    tags.append(Tag("1.0.0", "base-image", "1.0.0", merged=True))
    assert counting_start(tags, tags[0], how).version == first


MESSAGES = st.sampled_from(["fix: a", "feat: b", "feat!: c", "docs: d", "whatever"])
PATHS = st.lists(
    st.sampled_from([BASE, APPS, CHART, DOCS, "delivery.toml", "base-image/VERSION"]),
    unique=True,
    max_size=3,
)
COMMITS = st.lists(st.tuples(MESSAGES, PATHS), max_size=12).map(
    lambda drawn: [commit(number, text, *paths) for number, (text, paths) in enumerate(drawn)]
)
LASTS = st.sampled_from(["0.1.0", "0.9.9", "1.0.0", "3.2.1"])


@given(COMMITS, LASTS)
def test_versions_never_go_down_as_a_branch_grows(commits: list[Commit], last: str) -> None:
    before = [Number.parse(last)] * 3
    for count in range(len(commits) + 1):
        current = [
            Number.parse(number)
            for number in published(facts(commits[len(commits) - count :], last=last))
        ]
        assert all(new >= old for new, old in zip(current, before, strict=True))
        before = [max(new, Number.parse(last)) for new in current]


@given(COMMITS, LASTS)
def test_the_version_changes_exactly_with_the_published_paths(
    commits: list[Commit], last: str
) -> None:
    paths = {path for commit in commits for path in commit.paths}
    changed = [BASE in paths, bool({BASE, APPS} & paths), bool({BASE, APPS, CHART} & paths)]
    versions = decided(facts(commits, last=last))
    assert [version.changed for version in versions.values()] == changed
    assert all((version.next == last) is not version.changed for version in versions.values())
