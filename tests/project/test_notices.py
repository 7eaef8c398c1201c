"""What git and the files say against publishing a commit, and what is noted of it."""

from dataclasses import replace

import pytest

from delivery.errors import Problem
from delivery.project.facts import Facts, Ref
from delivery.project.notices import git_problems, notes
from delivery.project.versions import decide
from tests.project.examples import APPS, BASE, CHART, NAMES, PROJECT, commit, facts

PREPARE = "`./run inv release.prepare` writes and commits it"
ON_MAIN = "`git switch -c hotfix/1.0.1 main && ./run inv release.prepare` writes and commits it: merge that into main"


def found_by(found: Facts) -> list[Problem]:
    return git_problems(decide(PROJECT, found))


def stopped(found: Facts) -> list[tuple[str, str]]:
    return [(one.message, one.hint) for one in found_by(found)]


def changelog(*versions: str) -> str:
    return "# Changelog\n\n## [Unreleased]\n" + "".join(
        f"\n## [{one}] - 2026-01-01\n\n- x\n" for one in versions
    )


def test_a_feature_is_never_stopped() -> None:
    assert stopped(facts([commit(1, "fix: x", APPS)], "feature/x", uncommitted=("a",))) == []


def test_what_is_not_committed_is_not_pushed() -> None:
    assert stopped(facts(uncommitted=("a", "b", "c", "d"))) == [
        (
            "4 files not in the commit (a, b, c, …): what is pushed has to be in git",
            "`git stash --include-untracked` puts them aside; or commit or ignore them",
        )
    ]


@pytest.mark.parametrize(
    ("branch", "hint"), [("release/1.0", PREPARE), ("hotfix/x", PREPARE), ("main", ON_MAIN)]
)
def test_what_is_not_prepared_is_not_released(branch: str, hint: str) -> None:
    assert stopped(facts([commit(1, "fix: x", CHART)], branch)) == [
        ("platform-chart is to be 1.0.1, and its files say 1.0.0", hint)
    ]


def test_all_that_is_not_prepared_is_told_at_once() -> None:
    found = stopped(facts([commit(1, "fix: x", BASE)], "main", uncommitted=("a",)))
    assert [message.partition(" is to be")[0] for message, _ in found[1:]] == list(NAMES)


def test_develop_need_not_be_prepared() -> None:
    assert stopped(facts([commit(1, "fix: x", CHART)])) == []


def test_what_is_prepared_is_released_and_its_changelog_has_to_say_so() -> None:
    found = facts([commit(1, "fix: x", CHART)], "main")
    written = replace(found, file_versions={**found.file_versions, "platform-chart": "1.0.1"})
    assert stopped(written) == [("the changelog of platform-chart has no section [1.0.1]", ON_MAIN)]
    assert (
        stopped(replace(written, changelogs={"platform-chart": changelog("1.0.1", "1.0.0")})) == []
    )


@pytest.mark.parametrize("branch", ["release/0.1", "main"])
def test_a_first_release_has_to_be_prepared_too(branch: str) -> None:
    found = facts([commit(1, "feat: x", BASE)], branch, last="", written="0.1.0")
    assert [message for message, _ in stopped(found)] == [
        f"the changelog of {name} has no section [0.1.0]" for name in NAMES
    ]
    assert stopped(replace(found, changelogs=dict.fromkeys(NAMES, changelog("0.1.0")))) == []


def test_a_version_that_is_tagged_elsewhere_is_not_given_again() -> None:
    commits = [commit(1, "fix: x", CHART)]
    found = facts(commits, "hotfix/x", lacking={"platform-chart-v1.0.1": commits})
    assert stopped(found) == [
        (
            "platform-chart-v1.0.1 is a tag already, on a commit that HEAD does not have",
            "`git merge platform-chart-v1.0.1`",
        )
    ]


def tagged(name: str = "apps-v1.0.0", **more: object) -> Facts:
    return facts(**{"ref": Ref("tag", name), "commit": "c0", **more})  # type: ignore[arg-type]


def test_a_tag_of_what_is_checked_out_is_published() -> None:
    assert stopped(tagged()) == []


def test_a_tag_asks_nothing_of_what_is_made_from_it() -> None:
    assert stopped(tagged(commits=[commit(1, "fix: x", CHART)])) == []


def test_a_tag_asks_that_what_it_is_made_from_is_prepared() -> None:
    ((message, hint), *_) = stopped(tagged(commits=[commit(1, "fix: x", BASE)]))
    assert "base-image is to be 1.0.1" in message
    assert hint.startswith("`git switch -c hotfix/1.0.1 apps-v1.0.0 && ")
    assert hint.endswith("merge that into main")


@pytest.mark.parametrize(
    ("found", "message", "hint"),
    [
        (tagged("apps-v3.0.0"), "this clone has no tag apps-v3.0.0", "`git fetch --tags` gets it"),
        (
            tagged(commit="c7"),
            "tag apps-v1.0.0 is on c0, and HEAD is c7",
            "`git checkout apps-v1.0.0`",
        ),
        (
            tagged(written="1.1.0"),
            "tag apps-v1.0.0 says 1.0.0, and the files of apps say 1.1.0",
            "`git tag --delete apps-v1.0.0`, then `./run inv release.finish` on the release line makes it",
        ),
    ],
)
def test_a_tag_that_is_not_what_it_says_is_refused(found: Facts, message: str, hint: str) -> None:
    assert stopped(found)[0] == (message, hint)


# --- notes ---

FIX = commit(1, "fix: x", CHART)
DETACHED = "HEAD is detached, and nothing says for which branch: `--branch NAME` or BRANCH_NAME, as Jenkins sets it, does"
UNTAGGED = (
    "there is no version's tag of base-image: where the server has one, `git fetch --tags` gets it"
)
LACKS = "{} lacks 1 commit of {} (0123abcde fix: x): merge {} into {}"


def noted(found: Facts) -> list[str]:
    return notes(decide(PROJECT, found))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (facts(checked_out="develop"), ""),
        *(
            (
                facts(branch=branch, unmerged=("0123abcdef0 fix: x",)),
                LACKS.format(behind, ahead, ahead, behind),
            )
            for branch, behind, ahead in (
                ("develop", "develop", "main"),
                ("release/x", "release/x", "main"),
                ("main", "develop", "main"),
                ("master", "develop", "master"),
            )
        ),
        (
            facts(lacking={"apps-v1.0.1": []}),
            "apps-v1.0.1 is not in HEAD's history: what it has may be missing here",
        ),
        (facts(lacking={"apps-v0.9.0": []}), ""),
        (
            facts(ref=Ref("", "")),
            DETACHED,
        ),
        (
            facts(checked_out="main"),
            "git has main checked out, and this is decided as for develop",
        ),
        (
            facts(
                last="", lacking={"apps-v1.0.0": [], "platform-chart-v1.1.0": []}, unmerged=("0 x",)
            ),
            "there is no version's tag of base-image: where the server has one, `git fetch --tags` gets it",
        ),
    ],
)
def test_what_is_noted(found: Facts, expected: str) -> None:
    assert noted(found)[-1:] == [expected][: bool(expected)]


@pytest.mark.parametrize("name", ["1.0.1", "1.0", "v1.0.1", "1.x", "summer"])
@pytest.mark.parametrize("kind", ["release", "hotfix"])
def test_a_branch_that_is_called_after_its_version_is_not_noted(kind: str, name: str) -> None:
    assert noted(facts([FIX], f"{kind}/{name}")) == []


@pytest.mark.parametrize("branch", ["release/1.1", "hotfix/1.0.2", "release/2.x", "release/1.0.10"])
def test_a_branch_that_is_called_after_another_version_is_noted(branch: str) -> None:
    chart = "platform-chart, which the release goes by, is to be 1.0.1"
    assert noted(facts([FIX], branch)) == [f"the branch is called {branch}, and {chart}"]
