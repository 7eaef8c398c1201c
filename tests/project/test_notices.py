"""The problems that keep a commit from being published, and the notes for users."""

from dataclasses import replace

import pytest

from delivery.project.facts import Commit, Facts, Ref
from delivery.project.notices import git_problems, notes
from delivery.project.versions import decide
from tests.project.examples import BASE, CHART, NAMES, PROJECT, commit, facts

PREPARE = "run `./run inv release.prepare`"
ON_MAIN = (
    "run `git switch -c hotfix/1.0.1 main && ./run inv release.prepare`,"
    " then merge that branch into main"
)
FINISH = "then `./run inv release.finish` on the release line"
FIX = commit(1, "fix: x", CHART)


def problems(given: Facts) -> list[tuple[str, str]]:
    return [(problem.message, problem.hint) for problem in git_problems(decide(PROJECT, given))]


def changelog(*versions: str) -> str:
    sections = (f"\n## [{version}] - 2026-01-01\n\n- x\n" for version in versions)
    return f"# Changelog\n\n## [Unreleased]\n{''.join(sections)}"


def test_a_feature_has_no_problems() -> None:
    assert problems(facts([FIX], "feature/x", uncommitted=("a",))) == []


@pytest.mark.parametrize(
    ("files", "message", "them"),
    [
        ("abcd", "4 files not committed (a, b, c, …)", "them"),
        ("a", "1 file not committed (a)", "it"),
    ],
)
def test_uncommitted_files_are_the_only_problem(files: str, message: str, them: str) -> None:
    hint = (
        f"commit or ignore {them}, or put {them} aside with `git stash --include-untracked`;"
        " `./run inv up` runs this clone as it is"
    )
    given = facts([FIX], "main", uncommitted=tuple(files))
    assert problems(given) == [(message, hint)]


@pytest.mark.parametrize(
    ("branch", "hint"), [("release/1.0", PREPARE), ("hotfix/x", PREPARE), ("main", ON_MAIN)]
)
def test_an_unprepared_version_is_a_problem(branch: str, hint: str) -> None:
    expected = [("platform-chart needs 1.0.1, and its files say 1.0.0", hint)]
    assert problems(facts([FIX], branch)) == expected


def test_all_problems_are_reported_at_once() -> None:
    reported = problems(facts([commit(1, "fix: x", BASE)], "main"))
    assert [message.partition(" needs ")[0] for message, _ in reported] == list(NAMES)


def test_develop_need_not_be_prepared() -> None:
    assert problems(facts([FIX])) == []


def test_a_prepared_version_needs_a_section_in_the_changelog() -> None:
    given = facts([FIX], "main")
    written = replace(given, file_versions={**given.file_versions, "platform-chart": "1.0.1"})
    expected = [("the changelog of platform-chart has no section [1.0.1]", ON_MAIN)]
    assert problems(written) == expected
    changelogs = {"platform-chart": changelog("1.0.1", "1.0.0")}
    assert problems(replace(written, changelogs=changelogs)) == []


def test_a_first_release_has_to_be_prepared_too() -> None:
    given = facts([commit(1, "feat: x", BASE)], "release/0.1", last="", written="0.1.0")
    assert [message for message, _ in problems(given)] == [
        f"the changelog of {name} has no section [0.1.0]" for name in NAMES
    ]
    assert problems(replace(given, changelogs=dict.fromkeys(NAMES, changelog("0.1.0")))) == []


def test_the_release_line_before_the_first_release_has_one_problem() -> None:
    given = facts([commit(1, "feat: x", BASE)], "main", last="", written="0.1.0")
    ((message, hint),) = problems(given)
    assert message == "nothing is released yet, and main publishes only a prepared release"
    assert "`git switch -c develop main && git push -u origin develop`" in hint
    assert problems(replace(given, changelogs=dict.fromkeys(NAMES, changelog("0.1.0")))) == []


def test_a_version_with_an_unmerged_tag_is_a_problem() -> None:
    given = facts([FIX], "hotfix/x", lacking={"platform-chart-v1.0.1": [FIX]})
    message = "tag platform-chart-v1.0.1 exists already, on a commit that HEAD lacks"
    assert problems(given) == [(message, "run `git merge platform-chart-v1.0.1`")]


def tagged(name: str = "apps-v1.0.0", **more: object) -> Facts:
    return facts(**{"ref": Ref("tag", name), "commit": "c0", **more})  # type: ignore[arg-type]


def test_a_tag_of_the_commit_has_no_problems() -> None:
    assert problems(tagged()) == []


def test_a_tag_needs_only_what_its_subproject_is_built_on_to_be_prepared() -> None:
    assert problems(tagged(commits=[FIX])) == []
    ((message, hint), *_) = problems(tagged(commits=[commit(1, "fix: x", BASE)]))
    assert "base-image needs 1.0.1" in message
    assert hint.startswith("run `git switch -c hotfix/1.0.1 apps-v1.0.0 && ")
    assert hint.endswith("merge that branch into main")


@pytest.mark.parametrize(
    ("given", "message", "hint"),
    [
        (tagged("apps-v3.0.0"), "this clone has no tag apps-v3.0.0", "run `git fetch --tags`"),
        (
            tagged(commit="c7"),
            "tag apps-v1.0.0 is on c0, and HEAD is c7",
            "run `git checkout apps-v1.0.0`",
        ),
        (
            tagged(written="1.1.0"),
            "tag apps-v1.0.0 is for 1.0.0, and the files of apps say 1.1.0",
            f"run `git tag --delete apps-v1.0.0`, {FINISH}",
        ),
    ],
)
def test_a_tag_that_does_not_fit_the_commit_is_a_problem(
    given: Facts, message: str, hint: str
) -> None:
    assert problems(given)[0] == (message, hint)


# --- notes ---

DETACHED = (
    "HEAD is detached, and no branch is given:"
    " pass `--branch NAME`, or set BRANCH_NAME as Jenkins does"
)
UNTAGGED = (
    "this clone has no version tag of base-image: if the server has it, run `git fetch --tags`"
)
MISSING = "apps-v1.0.1 is not in HEAD's history: its changes may be missing here"
UNMERGED_FIX = Commit("0123abcdef0", "fix: x", ())
LACKS = "{} lacks 1 commit of {} (0123abcde fix: x): merge {} into {}"
UNMERGED = [
    (
        facts(branch=branch, unmerged=(UNMERGED_FIX,)),
        LACKS.format(behind, ahead, ahead, behind),
    )
    for branch, behind, ahead in (
        ("develop", "develop", "main"),
        ("release/x", "release/x", "main"),
        ("main", "develop", "main"),
        ("master", "develop", "master"),
    )
]
FIRST: dict[str, list[Commit]] = {"apps-v1.0.0": [], "platform-chart-v1.1.0": []}


def noted(given: Facts) -> list[str]:
    return notes(decide(PROJECT, given))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (facts(checked_out="develop"), ""),
        *UNMERGED,
        (facts(lacking={"apps-v1.0.1": []}), MISSING),
        (facts(lacking={"apps-v0.9.0": []}), ""),
        (facts(ref=Ref("", "")), DETACHED),
        (facts(checked_out="main"), "git has main checked out, and this is decided for develop"),
        (facts(last="", lacking=FIRST, unmerged=(UNMERGED_FIX,)), UNTAGGED),
    ],
)
def test_a_note(given: Facts, expected: str) -> None:
    assert noted(given)[-1:] == [expected][: bool(expected)]


@pytest.mark.parametrize("name", ["1.0.1", "1.0", "v1.0.1", "1.x", "summer"])
def test_a_branch_with_the_name_of_its_version_has_no_note(name: str) -> None:
    assert noted(facts([FIX], f"release/{name}")) == []


@pytest.mark.parametrize("branch", ["release/1.1", "hotfix/1.0.2", "release/2.x", "release/1.0.10"])
def test_a_branch_with_the_name_of_another_version_has_a_note(branch: str) -> None:
    expected = f"the branch is called {branch}, but the release is platform-chart 1.0.1"
    assert noted(facts([FIX], branch)) == [expected]
