"""Refs by their names, and reachability in a history."""

import pytest

from delivery.project.facts import Commit, Ref, ancestry, parse_ref, requested_ref

#      e
#     / \
#    c   d
#     \ /
#      b
#      |
#      a
PARENTS = {"e": ("c", "d"), "d": ("b",), "c": ("b",), "b": ("a",), "a": ()}


@pytest.mark.parametrize(
    ("name", "ref"),
    [
        ("refs/remotes/origin/release/1", Ref("branch", "release/1")),
        ("refs/tags/apps-v1.2.0", Ref("tag", "apps-v1.2.0")),
        ("refs/merge-requests/12/head", Ref("pull-request", "12")),
        ("refs/pull/x/merge", Ref("branch", "refs/pull/x/merge")),
        ("original/x", Ref("branch", "original/x")),
    ],
)
def test_a_name_is_parsed_as_a_ref(name: str, ref: Ref) -> None:
    assert parse_ref(name) == ref


def test_without_a_branch_or_a_variable_no_ref_is_requested() -> None:
    assert requested_ref({"BRANCH_NAME": "", "HOME": "/root"}) is None


def test_a_requested_branch_is_stripped() -> None:
    assert requested_ref({}, " main\n") == Ref("branch", "main")


def test_the_ancestry_contains_the_commit_itself() -> None:
    assert ancestry(PARENTS, ["c"]) == {"c", "b", "a"}


def test_the_ancestry_of_another_commit_can_be_left_out() -> None:
    assert ancestry(PARENTS, ["e"], ancestry(PARENTS, ["d"])) == {"e", "c"}


def test_commits_outside_of_the_history_are_left_out() -> None:
    assert ancestry({"b": ("cut",)}, ["b", "unknown"]) == {"b"}


def test_a_subject_is_the_first_line() -> None:
    assert Commit("c1", "\nfix: x \n\nbody", ()).subject == "fix: x"
