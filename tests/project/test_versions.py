"""Which version everything gets, given what git says."""

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


def decided(found: Facts) -> dict[str, Version]:
    return dict(decide(PROJECT, found).versions)


def published(found: Facts) -> list[str]:
    return [one.published for one in decided(found).values()]


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
def test_how_much_a_message_asks_for(message: str, how: str) -> None:
    assert bump_of(message) == how


FIX, FEAT, BREAKING = (commit(1, f"{what}: x", CHART) for what in ("fix", "feat", "feat!"))
CHORE = commit(2, "chore: x", "delivery.toml")
CHART_1_1 = "platform-chart-v1.1.0"
UNMERGED = f"{CHART_1_1} is not merged here"
SAME = "it has not changed since platform-chart-v1.0.0"


def says(number: str, *commits: Commit) -> Facts:
    """The chart's files say this."""
    found = facts(commits)
    return replace(found, file_versions={**found.file_versions, "platform-chart": number})


@pytest.mark.parametrize(
    ("found", "published", "bump", "because"),
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
        # Before the first tag the files say it.
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
        # A higher version in the files is wanted, and another one makes other bytes.
        (facts([FIX], written="2.0.0"), "2.0.0-dev.1", "major", "its files say 2.0.0; fix: x"),
        (says("1.0.1", FIX), "1.0.1-dev.1", "patch", "fix: x"),
        (says("1.1.0"), "1.1.0-dev.1", "minor", "its files say 1.1.0"),
        (says("0.9.0"), "1.0.1-dev.1", "patch", "its files say 0.9.0"),
        # A fix on develop comes after a hotfix that is not merged; a hotfix after what it has.
        (
            facts([FIX], lacking={"platform-chart-v1.0.1": [FIX]}),
            "1.0.2-dev.1",
            "patch",
            "fix: x",
        ),
        (
            facts([FIX], "hotfix/x", lacking={"platform-chart-v2.0.0": [FIX]}),
            "1.0.1-rc.1",
            "patch",
            "fix: x",
        ),
        # What a release has already is called as before it; what it lacks is above it.
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
def test_what_the_chart_is_published_as_and_why(
    found: Facts, published: str, bump: str, because: str
) -> None:
    chart = decided(found)["platform-chart"]
    assert (chart.published, chart.bump, chart.because) == (published, bump, because)


def test_a_version_tells_its_commits_and_its_last_version() -> None:
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
def test_a_new_version_makes_a_patch_of_what_is_made_from_it(
    path: str, expected: list[str]
) -> None:
    found = facts([commit(1, "feat!: x", path)])
    assert published(found) == expected
    if path == BASE:
        reasons = [one.because for one in decided(found).values()]
        assert reasons == ["feat!: x", "base-image 2.0.0", "base-image 2.0.0, apps 1.0.1"]


def tagged(found: Facts, name: str, lacks: Sequence[Commit]) -> Facts:
    """The same, with 1.0.1 of a subproject tagged, which lacks these commits."""
    tag = Tag(f"{name}-v1.0.1", name, "1.0.1", merged=True, commit="c1")
    return replace(
        found,
        tags=(*found.tags, tag),
        commits_since={**found.commits_since, tag.name: frozenset(one.sha for one in lacks)},
        file_versions={**found.file_versions, name: "1.0.1"},
    )


def test_a_base_that_was_released_by_itself_still_gives_the_apps_a_patch() -> None:
    apps = decided(tagged(facts([commit(1, "fix: x", BASE)]), "base-image", []))["apps"]
    assert (apps.because, apps.published) == ("base-image 1.0.1", "1.0.1-dev.1")


def test_without_a_tag_that_head_has_it_goes_above_those_that_head_lacks() -> None:
    base = decided(facts([CHORE], last="", lacking={"base-image-v1.1.0": [CHORE]}))["base-image"]
    assert (base.last, base.published) == ("", "1.1.1-dev.1")
    assert base.because == "base-image-v1.1.0 is not merged here"


def test_what_only_stands_on_something_above_a_release_is_a_patch_above_it() -> None:
    commits = [commit(2, "feat: x", BASE), commit(1, "feat: x", APPS)]
    apps = decided(facts(commits, lacking={"apps-v1.1.0": commits[:1]}))["apps"]
    assert (apps.published, apps.because) == ("1.1.1-dev.1", "base-image 1.1.0")


def test_what_the_declaration_builds_otherwise_makes_a_patch_and_is_why() -> None:
    found = facts([CHORE], build_changes={"base-image": "how", "apps": "why"})
    assert published(found) == ["1.0.1-dev.1"] * 3
    assert [one.because for one in decided(found).values()][:2] == ["how", "base-image 1.0.1"]
    assert decided(replace(found, build_changes={"apps": "why"}))["apps"].because == "why"


def test_a_number_counts_what_changes_it_and_what_it_is_made_from() -> None:
    commits = [
        commit(6, "merge", merged_paths=(APPS,)),
        commit(5, "fix: x", BASE, APPS),
        commit(4, "chore: version", "base-image/VERSION"),
        commit(3, "chore: declared", "delivery.toml"),
        commit(2, "docs: x", DOCS),
        commit(1, "fix: x", CHART),
    ]
    assert published(facts(commits)) == ["1.0.1-dev.3", "1.0.1-dev.4", "1.0.1-dev.5"]


def test_a_number_goes_on_when_a_lower_version_is_tagged() -> None:
    commits = [commit(3, "feat: c", CHART), commit(2, "fix: b", CHART), commit(1, "fix: a", CHART)]
    before = facts(commits)
    after = tagged(before, "platform-chart", commits[:1])
    assert (published(before)[2], published(after)[2]) == ("1.1.0-dev.3", "1.1.0-dev.3")


def test_versions_are_compared_as_numbers() -> None:
    tags = [
        Tag(f"apps-v{one}", "apps", one, merged=one != "1.11.0")
        for one in ("1.9.0", "1.10.0", "1.11.0", "1.2.0")
    ]
    newest_reached, highest = newest_tag(tags, "apps"), newest_tag(tags, "apps", merged=False)
    assert (newest_reached and newest_reached.version, highest and highest.version) == (
        "1.10.0",
        "1.11.0",
    )
    assert [tag.version for tag in newer_tags(tags, "apps")] == ["1.11.0"]


@pytest.mark.parametrize(
    ("how", "first"), [("major", "1.9.1"), ("minor", "1.10.2"), ("patch", "1.10.3"), ("", "1.10.3")]
)
def test_where_a_number_is_counted_from(how: str, first: str) -> None:
    tags = [Tag(one, "apps", one, merged=True) for one in ("1.10.3", "1.10.2", "1.9.1", "0.1.0")]
    tags.append(Tag("1.0.0", "base-image", "1.0.0", merged=True))
    assert counting_start(tags, tags[0], how).version == first


MESSAGES = st.sampled_from(["fix: a", "feat: b", "feat!: c", "docs: d", "whatever"])
PATHS = st.lists(
    st.sampled_from([BASE, APPS, CHART, DOCS, "delivery.toml", "base-image/VERSION"]),
    unique=True,
    max_size=3,
)
COMMITS = st.lists(st.tuples(MESSAGES, PATHS), max_size=12).map(
    lambda told: [commit(number, message, *paths) for number, (message, paths) in enumerate(told)]
)
LASTS = st.sampled_from(["0.1.0", "0.9.9", "1.0.0", "3.2.1"])


@given(COMMITS, LASTS)
def test_versions_never_go_down_as_a_branch_grows(commits: list[Commit], last: str) -> None:
    before = [Number.parse(last)] * 3
    for count in range(len(commits) + 1):
        now = [
            Number.parse(one)
            for one in published(facts(commits[len(commits) - count :], last=last))
        ]
        assert all(new >= old for new, old in zip(now, before, strict=True))
        before = [max(new, Number.parse(last)) for new in now]


@given(COMMITS, LASTS)
def test_what_changes_a_user_s_bytes_changes_the_version_and_nothing_else_does(
    commits: list[Commit], last: str
) -> None:
    paths = {path for one in commits for path in one.paths}
    changed = [BASE in paths, bool({BASE, APPS} & paths), bool({BASE, APPS, CHART} & paths)]
    versions = decided(facts(commits, last=last))
    assert [one.changed for one in versions.values()] == changed
    assert all((one.next == last) is not one.changed for one in versions.values())
