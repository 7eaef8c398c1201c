"""What keeps a plan from being published, and what is told to solve it."""

import dataclasses

import pytest

from delivery.build.plan import Plan, make_images, make_plan
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
from delivery.release.released import Release, ReleasedPart
from tests.project.examples import NAMES, checkout, version

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def plan(
    declaration: Declaration, branch: str = "develop", held: dict[str, str] | None = None
) -> Plan:
    """Everything is to be 0.1.0-dev.1, or 0.1.0 on main; held has digests by image."""
    number = "0.1.0" if branch == "main" else "0.1.0-dev.1"
    decision = gitflow.decide(Ref("branch", branch), declaration)
    versions = {
        name: version(name, last="", written="0.1.0", next="0.1.0", published=number, bump="first")
        for name in NAMES
    }
    found = checkout(declaration, decision, versions)
    images = make_images(declaration, {"base-image": "k1", "api-rest": "k2"}, held or {}, found)
    return make_plan(found, images, ("k3", ""))


def release(of: Plan, **keys: str) -> Release:
    """What was published of a plan, all of it as A, with other keys where told."""
    images = {
        one.name: ReleasedPart(one.repository, keys.get(one.name, one.key), A, one.version)
        for one in of.images.all
    }
    chart = ReleasedPart(of.chart.repository, of.chart.key, A, of.chart.version)
    return Release(images, of.version, chart, commit="c0ffee", builder="me")


@pytest.mark.parametrize("by_sources", [True, False])
@pytest.mark.parametrize("held", [{}, {"api-rest": A}])
def test_a_release_of_the_same_sources_is_no_problem(
    declaration: Declaration, held: dict[str, str], *, by_sources: bool
) -> None:
    told = plan(declaration, held=held)
    assert (
        conflicting_release(told, release(told), expected_content(told, by_sources=by_sources))
        is None
    )


@pytest.mark.parametrize(
    ("held", "keys", "line"),
    [
        ({"api-rest": B}, {}, f"{A} by the key k2, it is 0.1.0-dev.1, {B} by the key k2"),
        (
            {},
            {"api-rest": "k9"},
            f"{A} by the key k9, it is 0.1.0-dev.1, not built yet by the key k2",
        ),
    ],
)
def test_a_release_of_other_content_is_one(
    declaration: Declaration, held: dict[str, str], keys: dict[str, str], line: str
) -> None:
    told = plan(declaration, held=held)
    problem = conflicting_release(
        told, release(told, **keys), expected_content(told, by_sources=False)
    )
    assert problem
    assert problem.message == (
        "release 0.1.0-dev.1 is published with other content (api-rest), from commit c0ffee by me"
    )
    assert problem.details == f"api-rest: published is 0.1.0-dev.1, {line} now"


def test_what_a_release_lacks_or_calls_otherwise_is_told(declaration: Declaration) -> None:
    told = plan(declaration, held={"base-image": B})
    held = release(told)
    other = {
        "base-image": held.images["base-image"],
        "new": dataclasses.replace(held.images["api-rest"], version=""),
    }
    found = differences(
        dataclasses.replace(held, images=other, chart=None), expected_content(told, by_sources=True)
    )
    assert found == {
        "new": f"new: published is of no version, {A} by the key k2, it is not there now",
        "api-rest": "api-rest: published is not there, it is 0.1.0-dev.1, not built yet by the key k2 now",
        "chart": "chart: published is not there, it is 0.1.0-dev.1, not built yet by the key k3 now",
    }


@pytest.mark.parametrize(
    ("branch", "kind", "bump", "hint", "by_hand"),
    [
        (
            "main",
            "branch",
            "patch",
            "0.1.0 is not tagged: `git switch --detach c0ffee && ",
            "git switch -c hotfix/0.1.1 main && ",
        ),
        ("main", "branch", "", "a published version is never changed", None),
        ("main", "tag", "patch", "a published version is never changed", None),
        ("develop", "branch", "patch", "a published version is never changed", ""),
    ],
)
def test_what_to_run_is_said_where_a_version_has_other_content(
    declaration: Declaration, branch: str, kind: str, bump: str, hint: str, by_hand: str | None
) -> None:
    held = Release({}, version="0.1.0", commit="c0ffee")
    plain = plan(declaration, branch)
    told = dataclasses.replace(
        plain,
        decision=dataclasses.replace(plain.decision, ref=Ref(kind, branch)),
        versions=tuple(dataclasses.replace(one, bump=bump) for one in plain.versions),
    )
    assert hint_for_taken_version(told, held).startswith(hint)
    command = f"`{by_hand or ''}./run inv release.prepare --subproject base-image=0.1.1"
    for said in (hint_for_taken_version(told, held), hint_for_taken_version(told)):
        assert (command in said) is (by_hand is not None)
    cut_off = "was cut off: `git switch --detach COMMIT && BRANCH_NAME=main ./run inv push`"
    assert (cut_off in hint_for_taken_version(told)) is ("not tagged" in hint)


def test_one_problem_is_the_error_with_its_hint(declaration: Declaration) -> None:
    assert refusal(plan(declaration), "publish") is None
    told = dataclasses.replace(
        plan(declaration), problems=(Problem("a thing", "`do`", "seen", "signature"),)
    )
    error = refusal(told, "publish")
    assert isinstance(error, SignatureError)
    assert (error.message, error.hint, error.details) == (
        "cannot publish 0.1.0-dev.1: a thing",
        "`do`",
        "seen",
    )


def test_several_are_told_at_once_and_the_first_decides_on_the_exit_code(
    declaration: Declaration,
) -> None:
    problems = (Problem("one", "`do`", "seen", "registry"), Problem("two", "`undo`"))
    error = refusal(dataclasses.replace(plan(declaration), problems=problems), "build")
    assert isinstance(error, RegistryError)
    assert error.message == "cannot build 0.1.0-dev.1: 2 things are in the way"
    assert error.details.splitlines() == [
        "one",
        "  seen",
        "  hint: `do`",
        "two",
        "  hint: `undo`",
    ]
    shown = refusal(dataclasses.replace(plan(declaration), problems=problems), "build", shown=True)
    assert shown
    assert (shown.details, shown.exit_code) == ("", 4)
