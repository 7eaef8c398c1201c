"""What a branch, a pull request or a tag means: every row of the architecture's table, and the awkward ones."""

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
    rules,
)
from delivery.retention import policy
from tests.pages import hold, table
from tests.project.examples import APPS, PROJECT, commit, facts

PAGE = ROOT / "docs" / "gitflow.md"
LONG = "feature/" + "x" * 300


@dataclass(frozen=True)
class Case:
    """What somebody says, and what is to happen."""

    why: str
    line: str
    tags: str = "none"
    environment: str = "nowhere"
    gates: str = "checks"
    branch: str = ""
    says: dict[str, str] = field(default_factory=dict)
    checked_out: str = ""

    @property
    def ref(self) -> Ref:
        here = Ref("branch", self.checked_out) if self.checked_out else Ref("", "")
        return requested_ref(self.says, self.branch) or here

    @property
    def is_tag(self) -> bool:
        return (self.line, self.environment) == ("release", "nowhere")

    def shown(self) -> str:
        parts = [f"on `{self.checked_out}`"] if self.checked_out else []
        parts += [f"`{name}={value}`" for name, value in self.says.items()]
        parts += [f"`--branch {self.branch}`"] if self.branch else []
        return ", ".join(parts).replace("x" * 300, "xxx…") or "none"


def at(
    branch: str,
    why: str,
    line: str,
    tags: str = "none",
    environment: str = "nowhere",
    gates: str = "checks",
) -> Case:
    return Case(why, line, tags, environment, gates, checked_out=branch)


# What each line does: (pushes, version tags, deployed to, gate). Tests below walk every Line.
LINES = {
    Line.FEATURE: ("no", "none", "nowhere", "no"),
    Line.DEVELOP: ("yes", "X.Y.Z-dev.N", "develop", "no"),
    Line.CANDIDATE: ("yes", "X.Y.Z-rc.N", "staging", "no"),
    Line.RELEASE: ("yes", "X.Y.Z", "production", "approval"),
}
DEVELOP = ("develop", "X.Y.Z-dev.N", "develop")
CANDIDATE = ("candidate", "X.Y.Z-rc.N", "staging")
RELEASE = ("release", "X.Y.Z", "production", "checks, approval")
TAGGED = ("release", "X.Y.Z", "nowhere", "checks")
CASES = [
    at("feature/search", "a feature", "feature"),
    at("bugfix/crash", "a bugfix", "feature"),
    at("whatever", "anything else", "feature"),
    at("develop", "the develop line", *DEVELOP),
    at("desenvolvimento", "its other name", *DEVELOP),
    at("release/1.2", "a release branch", *CANDIDATE),
    at("hotfix/1.2.1", "a hotfix", *CANDIDATE),
    at("main", "the release line", *RELEASE),
    at("master", "its other name", *RELEASE),
    Case("a version of a subproject", *TAGGED, says={"TAG_NAME": "apps-v1.2.0"}),
    Case("Jenkins builds a branch", *DEVELOP, says={"BRANCH_NAME": "develop"}),
    Case(
        "Jenkins builds a pull request", "feature", says={"CHANGE_ID": "7", "BRANCH_NAME": "PR-7"}
    ),
    Case(
        "a pull request from a branch called main",
        "feature",
        says={"CHANGE_ID": "7", "BRANCH_NAME": "main"},
    ),
    Case(
        "a pull request from main, tagged",
        "feature",
        says={"CHANGE_ID": "7", "TAG_NAME": "apps-v1.2.0"},
    ),
    Case(
        "Jenkins builds a tag",
        *TAGGED,
        says={"TAG_NAME": "apps-v1.2.0", "BRANCH_NAME": "apps-v1.2.0"},
    ),
    Case("nobody says anything", "feature"),
    Case(
        "the CI server knows better than git",
        *RELEASE,
        says={"BRANCH_NAME": "main"},
        checked_out="develop",
    ),
    Case("the user knows best", *DEVELOP, says={"BRANCH_NAME": "main"}, branch="develop"),
    Case("also over a pull request", *DEVELOP, says={"CHANGE_ID": "7"}, branch="develop"),
    Case(
        "empty is not said",
        *DEVELOP,
        says={"CHANGE_ID": "", "TAG_NAME": " "},
        checked_out="develop",
    ),
    Case("as git has it at the remote", *DEVELOP, says={"BRANCH_NAME": "origin/develop"}),
    Case("by its whole name", *CANDIDATE, branch="refs/heads/release/1.2"),
    Case("at the remote, by its whole name", *RELEASE, branch="refs/remotes/origin/main"),
    Case("a tag, by its whole name", *TAGGED, branch="refs/tags/base-image-v0.10.0"),
    Case("GitHub builds a branch", *RELEASE, says={"GITHUB_REF": "refs/heads/main"}),
    Case("GitHub builds a pull request", "feature", says={"GITHUB_REF": "refs/pull/7/merge"}),
    Case("GitHub builds a tag", *TAGGED, says={"GITHUB_REF": "refs/tags/platform-chart-v1.0.0"}),
    Case("GitLab builds a branch", *DEVELOP, says={"CI_COMMIT_BRANCH": "develop"}),
    Case(
        "GitLab builds a merge request",
        "feature",
        says={"CI_MERGE_REQUEST_IID": "7", "CI_COMMIT_BRANCH": "main"},
    ),
    Case("GitLab builds a tag", *TAGGED, says={"CI_COMMIT_TAG": "apps-v1.2.0"}),
    at("release/", "no name behind the slash", "feature"),
    at("release", "no slash", "feature"),
    at("release/1.2/x", "deeper", *CANDIDATE),
    at("releases/1.2", "nearly", "feature"),
    at("Main", "capitals", "feature"),
    at("main2", "nearly", "feature"),
    at("feature/main", "a feature that is called so", "feature"),
    at("feature/Ünïcode", "no letters of a Docker tag", "feature"),
    at("feature/a_b", "no letters of a Kubernetes name", "feature"),
    at(LONG, "longer than a Docker tag may be", "feature"),
    at("release/Ünïcode_" + "x" * 300, "on a line that pushes", *CANDIDATE),
    at("-", "a dash", "feature"),
    Case("of no subproject", "feature", says={"TAG_NAME": "v1.2.0"}),
    Case("no whole version", "feature", says={"TAG_NAME": "apps-v1.2"}),
    Case("a candidate's tag", "feature", says={"TAG_NAME": "apps-v1.2.0-rc.1"}),
    Case("leading zeros", "feature", says={"TAG_NAME": "apps-v1.02.0"}),
    Case("of an unknown subproject", "feature", says={"TAG_NAME": "unknown-v1.0.0"}),
    Case("a tag that is called like a branch", "feature", says={"TAG_NAME": "main"}),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.why}: {case.shown()}")
def test_what_is_to_happen(case: Case) -> None:
    decision = decide(case.ref, PROJECT)
    assert (decision.line, tags(decision)) == (case.line, case.tags)
    assert (decision.environment or "nowhere", ", ".join(decision.gates)) == (
        case.environment,
        case.gates,
    )
    assert decision.pushes is (case.tags != "none")


def tags(decision: Decision) -> str:
    if not decision.pushes:
        return "none"
    return f"X.Y.Z-{decision.suffix}.N" if decision.suffix else "X.Y.Z"


def test_the_page_shows_these_cases() -> None:
    rows = [
        (case.shown(), case.why, "tag of a version" if case.is_tag else case.line) for case in CASES
    ]
    columns = ("branch and variables", "what it is", "line")
    hold(PAGE, "cases", table(columns, rows).replace("x" * 300, "xxx…"))


def does(ref: Ref) -> tuple[str, str, str, str]:
    """What is decided for a ref, as LINES has it."""
    decision = decide(ref, PROJECT)
    gate = "approval" if "approval" in decision.gates else "no"
    pushes = "yes" if decision.pushes else "no"
    return pushes, tags(decision), decision.environment or "nowhere", gate


@pytest.mark.parametrize("line", Line)
def test_every_line_is_listed_with_what_it_does(line: Line) -> None:
    name = (*branch_patterns(line, PROJECT.gitflow), "whatever")[0]
    ref = Ref("branch", name.replace("*", "x"))
    assert decide(ref, PROJECT).line is line
    assert does(ref) == LINES[line]


def test_what_publishes_is_prepared_but_on_develop() -> None:
    unprepared = {line for line in Line if not rules(line).prepared}
    assert unprepared == {Line.FEATURE, Line.DEVELOP}


def test_what_has_to_know_every_line_does() -> None:
    """A new line fails here with the name of each place that lacks it."""
    declared = {line for line in Line if branch_patterns(line, PROJECT.gitflow)}
    numbered = {line for line in Line if rules(line).pushes and rules(line).suffix}
    known: dict[str, set[str]] = {
        "gitflow of delivery.toml": set(type(PROJECT.gitflow).model_fields) - {"deploys"},
        "gitflow.deploys": {str(line) for line in PROJECT.gitflow.deploys},
        "these cases": {case.line for case in CASES} - {"feature"},
        "prune of delivery.toml": set(Prune.model_fields) - {"days"},
        "retention": set(policy._LINES.values()),
    }
    kept = ("prune of delivery.toml", "retention")
    differing = {
        place: sorted(lines ^ (numbered if place in kept else declared))
        for place, lines in known.items()
    }
    assert {place: lines for place, lines in differing.items() if lines} == {}
    assert {rules(line).suffix: line for line in numbered} == policy._LINES


def refs(cell: str) -> list[Ref]:
    """The refs that a row of a table is about."""
    found = []
    for name in cell.split(", "):
        match name.split():
            case ["tag", *_]:
                found.append(Ref("tag", "apps-v1.2.0"))
            case ["foreign", "tags"]:
                found.append(Ref("tag", "v1"))
            case ["pull", "requests"]:
                found.append(Ref("pull-request", "7"))
            case ["anything", "else"] | ["any", "other", "branch"]:
                found.append(Ref("branch", "whatever"))
            case [branch]:
                found.append(Ref("branch", branch.replace("*", "x")))
            case _:
                raise AssertionError(name)
    return found


def rows_of(page: str, heading: str) -> list[list[str]]:
    """The rows of a table of a page, by how its first line begins."""
    lines = (ROOT / "docs" / page).read_text().split("\n")
    first = next(at for at, line in enumerate(lines) if line.startswith(heading)) + 2
    last = next(at for at in range(first, len(lines)) if not lines[at].startswith("|"))
    rows = [line.replace("\N{EN DASH}", "no").strip("|").split("|") for line in lines[first:last]]
    return [[cell.strip() for cell in row] for row in rows]


def test_the_summary_table_has_every_line_and_says_what_is_decided() -> None:
    rows = rows_of("gitflow.md", "| branch (aliases) | line |")
    assert {line for _, line, *_ in rows} == set(Line)
    for names, line, checks, _builds, pushes, version, environment, gate in rows:
        for ref in refs(names):
            said = (line, "yes", pushes, re.split(r"[ ,]", version)[0], environment, gate)
            assert said == (decide(ref, PROJECT).line, checks, *does(ref)), ref


def test_the_pipelines_table_has_every_line_and_says_what_is_decided() -> None:
    rows = rows_of("pipeline.md", "| line | checks, plan, build, scan |")
    named = [(line, names) for line, _, names in (row[0].partition(": ") for row in rows)]
    assert {line for line, _ in named if line != "tag of a version"} == set(Line)
    for (line, names), row in zip(named, rows, strict=True):
        _, checks, pushes, approval, environment, records = row
        where = "nowhere" if environment == "no" else environment
        gate = "approval" if approval == "yes" else approval
        for ref in refs(names or line):
            expected_pushes, _, expected_where, expected_gate = does(ref)
            assert (checks, pushes) == ("yes", expected_pushes), ref
            assert (where, gate, records) == (expected_where, expected_gate, "yes"), ref


def test_a_line_without_an_environment_goes_nowhere(declaration: Declaration) -> None:
    nowhere = declaration.gitflow.model_copy(update={"deploys": {}})
    decision = decide(Ref("branch", "main"), declaration.model_copy(update={"gitflow": nowhere}))
    assert (decision.pushes, decision.environment, decision.gates) == (True, "", ("checks",))


@pytest.mark.parametrize(
    ("branch", "line"),
    [
        ("a/b/c", Line.RELEASE),
        ("a/b", Line.CANDIDATE),
        ("a/c", Line.DEVELOP),
        ("a/exact", Line.DEVELOP),
        ("same", Line.DEVELOP),
    ],
)
def test_a_name_goes_before_a_pattern_and_a_longer_pattern_before_a_shorter(
    declaration: Declaration, branch: str, line: Line
) -> None:
    patterns = {
        "develop": ("a/*", "a/exact", "same*"),
        "candidate": ("a/b", "a/exac*", "same*"),
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
def test_says_why(ref: Ref, sentence: str) -> None:
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
def test_what_is_no_version(version: str) -> None:
    assert not is_version(version)
    assert parse_version_tag(f"apps-v{version}", PROJECT) is None


@given(
    name=st.text(max_size=300),
    kind=st.sampled_from(["branch", "tag", "pull-request", ""]),
    patterned=st.sampled_from(["", "release/", "hotfix/"]),
)
def test_nothing_of_a_name_reaches_a_registry_or_a_cluster(
    name: str, kind: str, patterned: str
) -> None:
    decision = decide(Ref(kind, patterned + name), PROJECT)
    found = facts([commit(1, "fix: x", APPS)], ref=decision.ref)
    published = [version.published for version in versions.decide(PROJECT, found).versions.values()]
    assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", one) for one in published)
    assert all(
        re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+(-(dev|rc)\.[0-9]+)?", one) for one in published
    )
    assert decision.environment in {"", *PROJECT.environments}


@given(st.text(max_size=40))
def test_any_branch_that_is_not_declared_pushes_nothing(name: str) -> None:
    declared = name in {"develop", "desenvolvimento", "main", "master"} or re.match(
        r"(release|hotfix)/.", name, re.DOTALL
    )
    assert decide(Ref("branch", name), PROJECT).pushes is bool(declared)
