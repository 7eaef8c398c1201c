"""What names stand for, and what can be reached in a history."""

import pytest

from delivery.project.facts import Commit, Ref, ancestry, parse_ref, requested_ref

#      e
#     / \
#    c   d
#     \ /
#    b
#    |
#    a
PARENTS = {"e": ("c", "d"), "d": ("b",), "c": ("b",), "b": ("a",), "a": ()}


@pytest.mark.parametrize(
    ("name", "ref"),
    [
        ("develop", Ref("branch", "develop")),
        ("origin/develop", Ref("branch", "develop")),
        ("refs/heads/feature/x", Ref("branch", "feature/x")),
        ("refs/remotes/origin/release/1", Ref("branch", "release/1")),
        ("refs/tags/apps-v1.2.0", Ref("tag", "apps-v1.2.0")),
        ("refs/pull/12/merge", Ref("pull-request", "12")),
        ("refs/merge-requests/12/head", Ref("pull-request", "12")),
        ("refs/pull/x/merge", Ref("branch", "refs/pull/x/merge")),
        ("original/x", Ref("branch", "original/x")),
    ],
)
def test_what_a_name_stands_for(name: str, ref: Ref) -> None:
    assert parse_ref(name) == ref


def test_nobody_says_anything() -> None:
    assert requested_ref({"BRANCH_NAME": "", "HOME": "/root"}) is None


def test_what_is_told_is_taken_without_its_blanks() -> None:
    assert requested_ref({}, " main\n") == Ref("branch", "main")


def test_a_commit_reaches_itself_and_all_before_it() -> None:
    assert ancestry(PARENTS, ["c"]) == {"c", "b", "a"}


def test_what_another_one_has_is_left_out() -> None:
    assert ancestry(PARENTS, ["e"], ancestry(PARENTS, ["d"])) == {"e", "c"}


def test_what_is_not_in_the_history_is_not_reached() -> None:
    assert ancestry({"b": ("cut",)}, ["b", "unknown"]) == {"b"}


def test_a_subject_is_the_first_line() -> None:
    assert Commit("c1", "\nfix: x \n\nbody", ()).subject == "fix: x"
