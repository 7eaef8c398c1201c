"""The decision for a branch, a pull request or a tag; docs/gitflow.md shows these cases."""

import re
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.project import versions
from delivery.project.declaration import Declaration, Prune
from delivery.project.facts import Ref, requested_ref
from delivery.project.files import ROOT
from delivery.project.gitflow import (
    Decision,
    Line,
    branch_patterns,
    decide,
    is_version,
    line_of,
    parse_version_tag,
    preview_name,
    rules,
)
from delivery.retention import policy
from tests.pages import check_page, table
from tests.project.examples import APPS, PROJECT, commit, facts

# This project opts in to no previews.
PREVIEWS = PROJECT.model_copy(
    update={
        "gitflow": PROJECT.gitflow.model_copy(
            update={
                "preview": ("feature/*",),
                "deploys": {**PROJECT.gitflow.deploys, "preview": "preview"},
            }
        ),
        "environments": {
            **PROJECT.environments,
            "preview": PROJECT.environments["develop"].model_copy(
                update={"namespace": "platform-preview", "confirm": False}
            ),
        },
    }
)
PAGE = ROOT / "docs" / "gitflow.md"
VERSION_TAG = "tag of a version"


@dataclass(frozen=True)
class Case:
    """What the user, the CI server and git say, and the line that it is on."""

    kind: str
    line: str
    checked_out: str = ""
    branch: str = ""
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def ref(self) -> Ref:
        from_git = Ref("branch" if self.checked_out else "", self.checked_out)
        return requested_ref(self.variables, self.branch) or from_git

    def shown(self) -> str:
        parts = [f"on `{self.checked_out}`"] if self.checked_out else []
        parts += [f"`{name}={value}`" for name, value in self.variables.items()]
        parts += [f"`--branch {self.branch}`"] if self.branch else []
        return ", ".join(parts).replace("x" * 300, "xxx…") or "none"


def on(branch: str, kind: str, line: str) -> Case:
    return Case(kind, line, checked_out=branch)


def under(kind: str, line: str, *, on: str = "", branch: str = "", **variables: str) -> Case:
    return Case(kind, line, on, branch, variables)


# What each line does: (pushes, version tags, deployed to, gate).
LINES = {
    "feature": ("no", "none", "nowhere", "no"),
    "preview": ("by key", "none", "preview-BRANCH", "no"),
    "develop": ("yes", "X.Y.Z-dev.N", "develop", "no"),
    "candidate": ("yes", "X.Y.Z-rc.N", "staging", "no"),
    "release": ("yes", "X.Y.Z", "production", "approval"),
    VERSION_TAG: ("yes", "X.Y.Z", "nowhere", "no"),
}
CASES = [
    on("feature/search", "a feature", "feature"),
    on("whatever", "any other name", "feature"),
    on("develop", "the develop line", "develop"),
    on("desenvolvimento", "its other name", "develop"),
    on("release/1.2", "a release branch", "candidate"),
    on("hotfix/1.2.1", "a hotfix", "candidate"),
    on("main", "the release line", "release"),
    on("master", "its other name", "release"),
    under("a detached HEAD", "feature"),
    under("a version of a subproject", VERSION_TAG, TAG_NAME="apps-v1.2.0"),
    under("Jenkins: a branch", "develop", BRANCH_NAME="develop"),
    under("Jenkins: a pull request", "feature", CHANGE_ID="7", BRANCH_NAME="PR-7"),
    under("a pull request from main", "feature", CHANGE_ID="7", BRANCH_NAME="main"),
    under("a pull request with a tag", "feature", CHANGE_ID="7", TAG_NAME="apps-v1.2.0"),
    under("Jenkins: a tag", VERSION_TAG, TAG_NAME="apps-v1.2.0", BRANCH_NAME="apps-v1.2.0"),
    under("the CI server before Git", "release", on="develop", BRANCH_NAME="main"),
    under("the user before both", "develop", branch="develop", BRANCH_NAME="main"),
    under("also for a pull request", "develop", branch="develop", CHANGE_ID="7"),
    under("empty variables", "develop", on="develop", CHANGE_ID="", TAG_NAME=" "),
    under("a branch of the remote", "develop", BRANCH_NAME="origin/develop"),
    under("a full name", "candidate", branch="refs/heads/release/1.2"),
    under("a full name of the remote", "release", branch="refs/remotes/origin/main"),
    under("a full name of a tag", VERSION_TAG, branch="refs/tags/base-image-v0.10.0"),
    under("GitHub: a branch", "release", GITHUB_REF="refs/heads/main"),
    under("GitHub: a pull request", "feature", GITHUB_REF="refs/pull/7/merge"),
    under("GitHub: a tag", VERSION_TAG, GITHUB_REF="refs/tags/platform-chart-v1.0.0"),
    under("GitLab: a branch", "develop", CI_COMMIT_BRANCH="develop"),
    under("GitLab: a merge request", "feature", CI_MERGE_REQUEST_IID="7", CI_COMMIT_BRANCH="main"),
    under("GitLab: a tag", VERSION_TAG, CI_COMMIT_TAG="apps-v1.2.0"),
    on("release/", "nothing after the slash", "feature"),
    on("release/1.2/x", "a second slash", "candidate"),
    on("releases/1.2", "another prefix", "feature"),
    on("Main", "a capital letter", "feature"),
    on("main2", "a longer name", "feature"),
    on("feature/Ünïcode", "not allowed in an image tag", "feature"),
    on("feature/" + "x" * 300, "too long for an image tag", "feature"),
    on("release/Ünïcode_" + "x" * 300, "the same on a line that pushes", "candidate"),
    under("a tag of no subproject", "feature", TAG_NAME="v1.2.0"),
    under("a tag without a whole version", "feature", TAG_NAME="apps-v1.2"),
    under("a candidate's tag", "feature", TAG_NAME="apps-v1.2.0-rc.1"),
    under("a tag of an unknown subproject", "feature", TAG_NAME="unknown-v1.0.0"),
    under("a tag with the name of a branch", "feature", TAG_NAME="main"),
]


def summary(decision: Decision) -> tuple[str, str, str, str]:
    """What is decided, as LINES has it."""
    tags = f"X.Y.Z-{decision.suffix}.N" if decision.suffix else "X.Y.Z"
    gate = "approval" if "approval" in decision.gates else "no"
    where = re.sub("^preview-.+", "preview-BRANCH", decision.environment) or "nowhere"
    if decision.pushes:
        return "yes", tags, where, gate
    return ("by key" if decision.pushes_images else "no"), "none", where, gate


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind}: {case.shown()}")
def test_a_ref_is_on_its_line(case: Case) -> None:
    decision = decide(case.ref, PROJECT)
    assert decision.line == ("release" if case.line == VERSION_TAG else case.line)
    assert summary(decision) == LINES[case.line]


def test_the_page_shows_these_cases() -> None:
    rows = [(case.shown(), case.kind, case.line) for case in CASES]
    check_page(PAGE, "cases", table(("branch and variables", "what it is", "line"), rows))


def test_only_features_previews_and_develop_need_no_preparation() -> None:
    unprepared = {line for line in Line if not rules(line).prepared}
    assert unprepared == {Line.FEATURE, Line.PREVIEW, Line.DEVELOP}


def test_a_new_line_has_to_be_added_everywhere() -> None:
    """A new line fails here with the name of each place that lacks it."""
    declared = {line for line in Line if branch_patterns(line, PREVIEWS.gitflow)}
    numbered = {line for line in Line if rules(line).pushes and rules(line).suffix}
    places: dict[str, tuple[set[str], set[Line]]] = {
        "LINES of this test": (set(LINES) - {VERSION_TAG}, set(Line)),
        "gitflow of delivery.toml": (
            set(type(PREVIEWS.gitflow).model_fields) - {"deploys"},
            declared,
        ),
        "gitflow.deploys": ({str(line) for line in PREVIEWS.gitflow.deploys}, declared),
        "prune of delivery.toml": (set(Prune.model_fields) - {"days"}, numbered),
        "retention": (set(policy._LINES.values()), numbered),
    }
    differing = {place: known ^ expected for place, (known, expected) in places.items()}
    assert {place: lines for place, lines in differing.items() if lines} == {}
    assert {rules(line).suffix: line for line in numbered} == policy._LINES


def rows_of(page: str, heading: str) -> list[list[str]]:
    """The rows of the table of a page that begins with this heading."""
    lines = (ROOT / "docs" / page).read_text().split("\n")
    first = next(at for at, line in enumerate(lines) if line.startswith(heading)) + 2
    last = next(at for at in range(first, len(lines)) if not lines[at].startswith("|"))
    rows = [line.replace("\N{EN DASH}", "no").strip("|").split("|") for line in lines[first:last]]
    return [[cell.strip() for cell in row] for row in rows]


def check_branches(names: str, line: str) -> None:
    """The branches in a cell are on this line; names of several words are no branches."""
    for name in names.split(", "):
        if name and " " not in name:
            assert line_of(name.replace("*", "x"), PROJECT)[0] == line


def test_the_summary_table_shows_what_each_line_does() -> None:
    rows = rows_of("gitflow.md", "| branch (aliases) | line |")
    assert {line for _, line, *_ in rows} == set(Line)
    for names, line, checks, _builds, pushes, version, environment, gate in rows:
        does = (pushes, re.split(r"[ ,]", version)[0], environment, gate)
        assert (checks, does) == ("yes", LINES[VERSION_TAG if "tag" in names else line])
        check_branches(names, line)


def test_the_pipelines_table_shows_what_each_line_does() -> None:
    rows = rows_of("pipeline.md", "| line | checks, plan, build, scan |")
    assert {row[0].partition(": ")[0] for row in rows} == set(LINES)
    for named, checks, pushes, approval, environment, records in rows:
        line, _, names = named.partition(": ")
        gate = "approval" if approval == "yes" else approval
        where = "nowhere" if environment == "no" else environment
        does = LINES[line]
        assert (checks, pushes, where, gate, records) == ("yes", does[0], *does[2:], "yes")
        check_branches(names, line)


@pytest.mark.parametrize(
    ("branch", "expected"),
    [
        ("feature/search", "preview-feature-search-"),
        ("feature/Ünïcode_" + "x" * 300, "preview-feature-n-code-xxxxxxxxx-"),
        ("feature/" + "-" * 40, "preview-feature-"),
        ("文", "preview-"),
    ],
)
def test_a_preview_has_a_name_for_a_namespace(branch: str, expected: str) -> None:
    name = preview_name("preview", branch)
    assert re.fullmatch(re.escape(expected) + "[0-9a-f]{6}", name)
    declared = PREVIEWS.environment(name)
    assert declared is not None
    assert declared.namespace == f"platform-{name}"
    assert PREVIEWS.is_preview(name)
    assert PREVIEWS.contexts(name) == PREVIEWS.contexts("preview")


def test_branches_with_the_same_words_have_different_previews() -> None:
    branches = ("feature/a-b", "feature/a/b", "feature/A-b", "feature/a_b")
    assert len({preview_name("preview", branch) for branch in branches}) == len(branches)


@pytest.mark.parametrize("name", ["preview", "develop", "preview-", "preview-A", "previews", "x-y"])
def test_other_names_are_no_previews(name: str) -> None:
    assert not PREVIEWS.is_preview(name)
    assert PREVIEWS.environment(name) == PREVIEWS.environments.get(name)
    assert PROJECT.environment("preview-feature-x-123456") is None


@given(st.text(max_size=300))
def test_every_preview_fits_a_namespace(name: str) -> None:
    decision = decide(Ref("branch", f"feature/{name}"), PREVIEWS)
    if decision.line is Line.PREVIEW:
        declared = PREVIEWS.environment(decision.environment)
        assert declared is not None
        assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", declared.namespace)


def test_a_feature_has_a_preview_and_a_pull_request_none() -> None:
    assert summary(decide(Ref("branch", "feature/x"), PREVIEWS)) == LINES["preview"]
    assert decide(Ref("pull-request", "7"), PREVIEWS).environment == ""


def test_a_line_without_an_environment_is_not_deployed(declaration: Declaration) -> None:
    gitflow = declaration.gitflow.model_copy(update={"deploys": {}})
    decision = decide(Ref("branch", "main"), declaration.model_copy(update={"gitflow": gitflow}))
    assert (decision.pushes, decision.environment, decision.gates) == (True, "", ("checks",))


@pytest.mark.parametrize(
    ("branch", "line"),
    [
        ("a/b/c", Line.RELEASE),
        ("a/b", Line.CANDIDATE),
        ("a/c", Line.DEVELOP),
        ("a/exact", Line.DEVELOP),
    ],
)
def test_a_name_wins_over_a_pattern_and_a_longer_pattern_over_a_shorter(
    declaration: Declaration, branch: str, line: Line
) -> None:
    patterns = {
        "develop": ("a/*", "a/exact"),
        "candidate": ("a/b", "a/exac*"),
        "release": ("a/b/*",),
    }
    mixed = declaration.model_copy(
        update={"gitflow": declaration.gitflow.model_copy(update=patterns)}
    )
    assert line_of(branch, mixed)[0] is line


@pytest.mark.parametrize(
    ("ref", "sentence"),
    [
        (Ref("branch", "main"), "branch main is on the release line"),
        (
            Ref("branch", "release/1.2"),
            "branch release/1.2, one of release/*, is on the candidate line",
        ),
        (
            Ref("branch", "x"),
            "branch x is on no line of gitflow: it is built and checked, and not pushed",
        ),
        (Ref("pull-request", "7"), "pull request 7 is built and checked, and not pushed"),
        (Ref("tag", "apps-v1.2.0"), "tag apps-v1.2.0 is version 1.2.0 of apps"),
        (
            Ref("tag", "v1"),
            "tag v1 is no version of a subproject: it is built and checked, and not pushed",
        ),
        (
            Ref("", ""),
            "HEAD is detached, and no branch is given: it is built and checked, and not pushed",
        ),
    ],
)
def test_a_decision_has_its_reason(ref: Ref, sentence: str) -> None:
    assert decide(ref, PROJECT).because == sentence


@pytest.mark.parametrize(
    "version",
    [
        "1.2",
        "1.2.3.4",
        "01.2.3",
        "1.2.3\n",
        " 1.2.3",
        "1.2.٣",
        "v1.2.3",
        "1.2.3-rc.1",
        "1.2.1234567890",
    ],
)
def test_an_invalid_version(version: str) -> None:
    assert not is_version(version)
    assert parse_version_tag(f"apps-v{version}", PROJECT) is None


@given(
    name=st.text(max_size=300),
    kind=st.sampled_from(["branch", "tag", "pull-request", ""]),
    patterned=st.sampled_from(["", "release/", "hotfix/"]),
)
def test_no_part_of_a_branch_name_reaches_a_registry_or_a_cluster(
    name: str, kind: str, patterned: str
) -> None:
    decision = decide(Ref(kind, patterned + name), PROJECT)
    given = facts([commit(1, "fix: x", APPS)], ref=decision.ref)
    published = [version.published for version in versions.decide(PROJECT, given).versions.values()]
    assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", number) for number in published)
    assert all(
        re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+(-(dev|rc)\.[0-9]+)?", number) for number in published
    )
    assert decision.environment in {"", *PROJECT.environments}


@given(st.text(max_size=40))
def test_only_declared_branches_push(name: str) -> None:
    declared = name in {"develop", "desenvolvimento", "main", "master"} or re.match(
        r"(release|hotfix)/.", name, re.DOTALL
    )
    assert decide(Ref("branch", name), PROJECT).pushes is bool(declared)
