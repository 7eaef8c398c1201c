"""Which version everything gets, given what git says."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from semver import Version as Number

from delivery.project.facts import Commit, Facts, Ref, Tag
from delivery.project.notices import notes
from delivery.project.versions import Version, anchor, decide, later, level, newest
from tests.project.examples import APPS, BASE, CHART, HOUSE, commit, facts

DOCS = "README.md"


def decided(found: Facts) -> dict[str, Version]:
    return dict(decide(HOUSE, found).versions)


def published(found: Facts) -> list[str]:
    return [one.published for one in decided(found).values()]


def noted(found: Facts) -> list[str]:
    return notes(decide(HOUSE, found))


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
    assert level(message) == how


@pytest.mark.parametrize(
    ("last", "message", "following", "bump"),
    [
        ("1.2.3", "fix: x", "1.2.4", "patch"),
        ("1.2.3", "feat: x", "1.3.0", "minor"),
        ("1.2.3", "feat!: x", "2.0.0", "major"),
        ("0.2.3", "fix: x", "0.2.4", "patch"),
        ("0.2.3", "feat: x", "0.3.0", "minor"),
        ("0.2.3", "feat!: x", "0.3.0", "minor"),
        ("1.9.9", "feat: x", "1.10.0", "minor"),
    ],
)
def test_the_next_version(last: str, message: str, following: str, bump: str) -> None:
    chart = decided(facts([commit(1, message, CHART)], last=last))["platform-chart"]
    assert (chart.last, chart.next, chart.bump) == (last, following, bump)


def test_the_commit_that_asks_for_most_decides() -> None:
    apps = decided(facts([commit(3, "fix: a", APPS), commit(2, "feat: b", APPS), commit(1, "docs: c", APPS)]))["apps"]
    assert (apps.next, apps.because) == ("1.1.0", "feat: b (and 2 more)")
    assert apps.commits == ("fix: a", "feat: b", "docs: c")


def test_what_no_user_gets_changes_no_version() -> None:
    versions = decided(facts([commit(1, "feat: x", DOCS, "api-rest/tests/x")]))
    assert [(one.published, one.bump, one.changed) for one in versions.values()] == [("1.0.0", "", False)] * 3
    assert versions["apps"].because == "nothing of it has changed since apps-v1.0.0"


def test_a_base_gives_the_apps_a_patch_and_the_apps_the_chart() -> None:
    versions = decided(facts([commit(1, "feat!: x", BASE)]))
    assert [one.next for one in versions.values()] == ["2.0.0", "1.0.1", "1.0.1"]
    assert [one.because for one in versions.values()] == [
        "feat!: x",
        "base-image 2.0.0",
        "base-image 2.0.0, apps 1.0.1",
    ]


def test_an_app_leaves_the_base_alone() -> None:
    assert published(facts([commit(1, "feat: x", APPS)])) == ["1.0.0", "1.1.0-dev.1", "1.0.1-dev.1"]


def test_a_chart_leaves_all_others_alone() -> None:
    assert published(facts([commit(1, "feat: x", CHART)])) == ["1.0.0", "1.0.0", "1.1.0-dev.1"]


def test_a_base_that_was_released_by_itself_still_gives_the_apps_a_patch() -> None:
    found = facts([commit(1, "fix: x", BASE)])
    tag = Tag("base-image-v1.0.1", "base-image", "1.0.1", reached=True, commit="c1")
    found = replace(
        found,
        tags=(*found.tags, tag),
        since={**found.since, "base-image": ()},
        apart={**found.apart, tag.name: frozenset()},
        written={**found.written, "base-image": "1.0.1"},
    )
    apps = decided(found)["apps"]
    assert (apps.next, apps.because, apps.published) == ("1.0.1", "base-image 1.0.1", "1.0.1-dev.1")


def test_what_the_declaration_builds_otherwise_makes_a_patch_and_is_why() -> None:
    found = facts([commit(1, "chore: upstream", "delivery.toml")], declared_anew={"base-image": "how", "apps": "why"})
    versions = decided(found)
    assert [one.published for one in versions.values()] == ["1.0.1-dev.1"] * 3
    assert [one.because for one in versions.values()][:2] == ["how", "base-image 1.0.1"]
    assert decided(replace(found, declared_anew={"apps": "why"}))["apps"].because == "why"


def test_before_the_first_tag_the_files_say_the_version() -> None:
    versions = decided(facts([commit(1, "feat: x", BASE)], last="", written="0.1.0"))
    assert {(one.last, one.next, one.bump) for one in versions.values()} == {("", "0.1.0", "first")}


def test_why_a_version_is_the_first_one_of_these_commits() -> None:
    assert decided(facts(last=""))["apps"].because == "no version of it is tagged yet"
    older = facts(last="", lacking={"apps-v1.0.0": []})
    assert decided(older)["apps"].because == "apps-v1.0.0 is not in HEAD's history"


def test_a_higher_version_in_the_files_is_wanted() -> None:
    apps = decided(facts([commit(1, "fix: x", APPS)], written="2.0.0"))["apps"]
    assert (apps.next, apps.bump, apps.because) == ("2.0.0", "major", "its files say 2.0.0; fix: x")


def test_a_higher_version_in_the_files_is_enough_for_a_new_one() -> None:
    base = decided(facts(written="1.1.0"))["base-image"]
    assert (base.next, base.bump, base.because) == ("1.1.0", "minor", "its files say 1.1.0")


def test_a_lower_version_in_the_files_is_other_bytes_and_so_a_patch() -> None:
    base = decided(facts(written="0.9.0"))["base-image"]
    assert (base.next, base.bump) == ("1.0.1", "patch")


@pytest.mark.parametrize(
    ("branch", "name"),
    [("develop", "1.0.1-dev.2"), ("release/1.0", "1.0.1-rc.2"), ("main", "1.0.1"), ("feature/x", "1.0.1-dev.2")],
)
def test_what_a_line_publishes(branch: str, name: str) -> None:
    commits = [commit(2, "fix: b", CHART), commit(1, "fix: a", CHART)]
    assert decided(facts(commits, branch))["platform-chart"].published == name


def test_a_number_counts_what_changes_it_and_what_it_is_made_from() -> None:
    commits = [
        commit(6, "merge", brought=(APPS,)),
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
    tag = Tag("platform-chart-v1.0.1", "platform-chart", "1.0.1", reached=True, commit="c2")
    after = replace(
        before,
        tags=(*before.tags, tag),
        since={**before.since, "platform-chart": tuple(commits[:1])},
        apart={**before.apart, tag.name: frozenset({"c3"})},
    )
    assert (published(before)[2], published(after)[2]) == ("1.1.0-dev.3", "1.1.0-dev.3")


def test_a_fix_on_develop_comes_after_a_hotfix_that_is_not_merged() -> None:
    commits = [commit(1, "fix: x", CHART)]
    assert published(facts(commits, lacking={"platform-chart-v1.0.1": commits}))[2] == "1.0.2-dev.1"


def test_a_hotfix_comes_after_what_it_has() -> None:
    commits = [commit(1, "fix: x", CHART)]
    found = facts(commits, "hotfix/x", lacking={"platform-chart-v2.0.0": commits})
    assert published(found)[2] == "1.0.1-rc.1"


def test_what_a_release_has_already_is_called_as_before_it() -> None:
    found = facts([commit(1, "feat: x", CHART)], lacking={"platform-chart-v1.1.0": []})
    assert published(found)[2] == "1.1.0-dev.1"


def test_what_a_release_has_already_asks_for_nothing_above_it() -> None:
    commits = [commit(2, "fix: x", CHART), commit(1, "feat: x", CHART)]
    assert published(facts(commits, lacking={"platform-chart-v1.1.0": commits[:1]}))[2] == "1.1.1-dev.1"


def test_what_differs_from_its_last_version_and_from_a_release_is_above_that_release() -> None:
    commits = [commit(2, "chore: x", "delivery.toml"), commit(1, "feat: x", CHART)]
    chart = decided(facts(commits, lacking={"platform-chart-v1.1.0": commits[:1]}))["platform-chart"]
    assert (chart.published, chart.because) == ("1.1.1-dev.1", "platform-chart-v1.1.0 is not merged here")


def test_what_only_stands_on_something_above_a_release_is_a_patch_above_it() -> None:
    commits = [commit(2, "feat: x", BASE), commit(1, "feat: x", APPS)]
    apps = decided(facts(commits, lacking={"apps-v1.1.0": commits[:1]}))["apps"]
    assert (apps.published, apps.because) == ("1.1.1-dev.1", "base-image 1.1.0")


def test_what_has_changed_nothing_keeps_its_version_whatever_is_released_elsewhere() -> None:
    assert published(facts(lacking={"platform-chart-v1.1.0": []}))[2] == "1.0.0"


def test_without_a_tag_that_is_reached_it_goes_above_those_that_are_not() -> None:
    commits = [commit(1, "docs: x", DOCS), commit(2, "chore: x", "delivery.toml")]
    chart = decided(facts(commits, last="", lacking={"platform-chart-v1.1.0": commits}))["platform-chart"]
    assert (chart.last, chart.published) == ("", "1.1.1-dev.1")


def test_versions_are_compared_as_numbers() -> None:
    tags = [Tag(f"apps-v{one}", "apps", one, reached=one != "1.11.0") for one in ("1.9.0", "1.10.0", "1.11.0", "1.2.0")]
    newest_reached, highest = newest(tags, "apps"), newest(tags, "apps", reached=False)
    assert (newest_reached and newest_reached.version, highest and highest.version) == ("1.10.0", "1.11.0")
    assert [tag.version for tag in later(tags, "apps")] == ["1.11.0"]


@pytest.mark.parametrize(
    ("how", "first"), [("major", "1.9.1"), ("minor", "1.10.2"), ("patch", "1.10.3"), ("", "1.10.3")]
)
def test_where_a_number_is_counted_from(how: str, first: str) -> None:
    tags = [Tag(one, "apps", one, reached=True) for one in ("1.10.3", "1.10.2", "1.9.1", "0.1.0")]
    tags.append(Tag("1.0.0", "base-image", "1.0.0", reached=True))
    assert anchor(tags, tags[0], how).version == first


def test_nothing_is_noted_where_all_is_well() -> None:
    assert noted(facts(checked_out="develop")) == []


@pytest.mark.parametrize(
    ("branch", "sentence"),
    [
        ("develop", "develop lacks 1 commit of main (0123abcde fix: x): merge main into develop"),
        ("release/1", "release/1 lacks 1 commit of main (0123abcde fix: x): merge main into release/1"),
        ("main", "develop lacks 1 commit of main (0123abcde fix: x): merge main into develop"),
        ("master", "develop lacks 1 commit of master (0123abcde fix: x): merge master into develop"),
    ],
)
def test_unmerged_hotfixes_are_noted(branch: str, sentence: str) -> None:
    assert noted(facts(branch=branch, unmerged=("0123abcdef0 fix: x",))) == [sentence]


def test_a_tag_that_head_lacks_is_noted() -> None:
    assert noted(facts(lacking={"apps-v1.0.1": []})) == [
        "apps-v1.0.1 is not in HEAD's history: what it has may be missing here"
    ]


def test_an_old_tag_that_head_lacks_is_not() -> None:
    assert noted(facts(lacking={"apps-v0.9.0": []})) == []


def test_a_detached_head_is_noted() -> None:
    assert noted(facts(ref=Ref("", ""))) == [
        "HEAD is detached, and nothing says for which branch: `--branch NAME` or BRANCH_NAME, as Jenkins sets it, does"
    ]


def test_another_branch_than_the_one_checked_out_is_noted() -> None:
    assert noted(facts(checked_out="main")) == ["git has main checked out, and this is decided as for develop"]


def test_a_subproject_without_any_tag_is_noted() -> None:
    assert noted(facts(last="", lacking={"apps-v1.0.0": [], "platform-chart-v1.0.0": []}, unmerged=("0 x",)))[-1] == (
        "there is no version's tag of base-image: where the server has one, `git fetch --tags` gets it"
    )


@pytest.mark.parametrize(
    ("branch", "wrong"),
    [
        ("release/1.0.1", False),
        ("release/1.0", False),
        ("release/v1.0.1", False),
        ("release/1.x", False),
        ("release/summer", False),
        ("release/1.1", True),
        ("hotfix/1.0.2", True),
        ("release/2.x", True),
        ("release/1.0.10", True),
    ],
)
def test_a_branch_that_is_called_after_another_version_is_noted(branch: str, wrong: bool) -> None:  # noqa: FBT001
    found = noted(facts([commit(1, "fix: x", CHART)], branch))
    sentence = f"the branch is called {branch}, and platform-chart, which the release goes by, is to be 1.0.1"
    assert found == ([sentence] if wrong else [])


MESSAGES = st.sampled_from(["fix: a", "feat: b", "feat!: c", "docs: d", "whatever"])
PATHS = st.lists(
    st.sampled_from([BASE, APPS, CHART, DOCS, "delivery.toml", "base-image/VERSION"]), unique=True, max_size=3
)
COMMITS = st.lists(st.tuples(MESSAGES, PATHS), max_size=12).map(
    lambda told: [commit(number, message, *paths) for number, (message, paths) in enumerate(told)]
)
LASTS = st.sampled_from(["0.1.0", "0.9.9", "1.0.0", "3.2.1"])


@given(COMMITS, LASTS)
def test_versions_never_go_down_as_a_branch_grows(commits: list[Commit], last: str) -> None:
    before = [Number.parse(last)] * 3
    for count in range(len(commits) + 1):
        now = [Number.parse(one) for one in published(facts(commits[len(commits) - count :], last=last))]
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
