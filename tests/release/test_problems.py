"""Problems that keep a plan from being published, and their hints."""

import dataclasses

import pytest

from delivery.build.plan import Plan
from delivery.errors import Problem, RegistryError, SignatureError
from delivery.project import gitflow
from delivery.project.declaration import Declaration
from delivery.project.facts import Ref
from delivery.release.problems import (
    conflicting_release,
    differences,
    expected_content,
    hint_for_taken_version,
    refusal,
)
from delivery.release.released import Release, make_release
from tests.build.examples import KEYS, plan_of
from tests.project.examples import checkout, versions

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def plan(
    declaration: Declaration, branch: str = "develop", digests: dict[str, str] | None = None
) -> Plan:
    """A plan of 0.1.0-dev.1, or 0.1.0 on main, with the digests of images in the registry."""
    number = "0.1.0" if branch == "main" else "0.1.0-dev.1"
    decision = gitflow.decide(Ref("branch", branch), declaration)
    first = versions("0.1.0", last="", published=number, bump="first")
    return plan_of(checkout(declaration, decision, first), digests)


def release(of: Plan, **keys: str) -> Release:
    """The release of a plan: all digests are A, some keys differ."""
    made = make_release(of, dict.fromkeys(KEYS, A), A, "me")
    images = {
        name: dataclasses.replace(part, digest=A, key=keys.get(name, part.key))
        for name, part in made.images.items()
    }
    return dataclasses.replace(made, images=images, commit="c0ffee")


@pytest.mark.parametrize("by_sources", [True, False])
@pytest.mark.parametrize("digests", [{}, {"api-rest": A}])
def test_a_release_of_the_same_sources_is_no_problem(
    declaration: Declaration, digests: dict[str, str], *, by_sources: bool
) -> None:
    planned = plan(declaration, digests=digests)
    content = expected_content(planned, by_sources=by_sources)
    assert conflicting_release(planned, release(planned), content) is None


@pytest.mark.parametrize(
    ("digests", "keys", "line"),
    [
        ({"api-rest": B}, {}, f"{A} from content key k2, is 0.1.0-dev.1, {B}"),
        ({}, {"api-rest": "k9"}, f"{A} from content key k9, is 0.1.0-dev.1, not built yet"),
    ],
)
def test_a_release_of_other_content_is_a_problem(
    declaration: Declaration, digests: dict[str, str], keys: dict[str, str], line: str
) -> None:
    planned = plan(declaration, digests=digests)
    content = expected_content(planned, by_sources=False)
    problem = conflicting_release(planned, release(planned, **keys), content)
    assert problem
    assert problem.message == (
        "release 0.1.0-dev.1 is published with other content (api-rest), from commit c0ffee by me"
    )
    published = f"api-rest: published as 0.1.0-dev.1, {line} from content key k2 now"
    assert problem.details == published


NEW = "published as nothing, is 0.1.0-dev.1, not built yet"


def test_missing_and_additional_parts_are_differences(declaration: Declaration) -> None:
    planned = plan(declaration, digests={"base-image": B})
    published = release(planned)
    other = {
        "base-image": published.images["base-image"],
        "new": dataclasses.replace(published.images["api-rest"], version=""),
    }
    lines = differences(
        dataclasses.replace(published, images=other, chart=None),
        expected_content(planned, by_sources=True),
    )
    assert lines == {
        "new": f"new: published as no version, {A} from content key k2, is nothing now",
        "api-rest": f"api-rest: {NEW} from content key k2 now",
        "chart": f"chart: {NEW} from content key k3 now",
    }


PREPARE = "./run inv release.prepare --subproject base-image=0.1.1"


@pytest.mark.parametrize(("branch", "kind"), [("main", "tag"), ("develop", "branch")])
def test_a_taken_version_needs_a_new_commit(
    declaration: Declaration, branch: str, kind: str
) -> None:
    plain = plan(declaration, branch)
    decision = dataclasses.replace(plain.decision, ref=Ref(kind, branch))
    hint = hint_for_taken_version(dataclasses.replace(plain, decision=decision))
    assert hint.startswith("make a new commit, which gets a new version")
    assert (f"`{PREPARE}" in hint) is (kind == "branch")


def test_on_the_release_line_the_last_release_is_tagged_or_finished_first(
    declaration: Declaration,
) -> None:
    planned = plan(declaration, "main")
    published = Release({}, version="0.1.0", commit="c0ffee")
    tag, finish = (hint_for_taken_version(planned, release) for release in (published, None))
    at_commit = "git switch --detach {} && BRANCH_NAME=main ./run inv"
    assert f"tag 0.1.0 by `{at_commit.format('c0ffee')} release.finish --push origin`" in tag
    assert f"interrupted release 0.1.0 by `{at_commit.format('COMMIT')} push`" in finish
    for hint in (tag, finish):
        assert f"`git switch -c hotfix/0.1.1 main && {PREPARE}" in hint


def test_one_problem_is_the_error_with_its_hint(declaration: Declaration) -> None:
    assert refusal(plan(declaration), "publish") is None
    planned = dataclasses.replace(
        plan(declaration), problems=(Problem("a thing", "`do`", "seen", "signature"),)
    )
    error = refusal(planned, "publish")
    assert isinstance(error, SignatureError)
    assert error.message == "cannot publish 0.1.0-dev.1: a thing"
    assert (error.hint, error.details) == ("`do`", "seen")


def test_several_problems_are_one_error_with_the_exit_code_of_the_first(
    declaration: Declaration,
) -> None:
    problems = (Problem("first", "`do`", "seen", "registry"), Problem("second", "`undo`"))
    planned = dataclasses.replace(plan(declaration), problems=problems)
    error = refusal(planned, "build")
    assert isinstance(error, RegistryError)
    assert error.message == "cannot build 0.1.0-dev.1: 2 problems"
    assert error.details == "first\n  seen\n  hint: `do`\nsecond\n  hint: `undo`"
    shown = refusal(planned, "build", shown=True)
    assert shown
    assert (shown.details, shown.exit_code) == ("", 4)
