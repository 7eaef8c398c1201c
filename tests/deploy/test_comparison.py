"""A comparison for people and for programs."""

import json

from delivery.deploy.comparison import Commits, Comparison, group
from delivery.deploy.object_diffs import ObjectDiff
from delivery.project.facts import OneSided
from delivery.records.deployment import Contents

FOLDERS = {"api-rest": ("api-rest", "ledger"), "worker": ("worker/", "ledger"), "chart": ("chart",)}
OLD = Contents(versions={"api-rest": "1.0.0", "worker": "1.0.0", "gone": "1"}, digests={})
NEW = Contents(versions={"api-rest": "1.1.0", "worker": "1.0.0", "more": "2"}, digests={})
OBJECT = ObjectDiff("Service/web", "changed", ("--- Service/web", "-a", "+b"))


def commit(sha: str, *paths: str, is_added: bool = True) -> OneSided:
    return OneSided(sha * 40, "Ann", "2026-11-30T00:00:00Z", f"fix: {sha}", paths, is_added)


def comparison(*objects: ObjectDiff, commits: Commits | None = None) -> Comparison:
    return Comparison(
        "staging, revision 7", "release 1.1.0", (OLD, NEW), commits or Commits({}), objects
    )


def test_commits_are_grouped_by_the_folders_that_they_change() -> None:
    a, b, c = commit("a", "ledger/x"), commit("b", "chart/y", "README.md"), commit("c", "api-rest2")
    grouped = group([a, b, c, commit("d")], FOLDERS)
    assert grouped == Commits({"api-rest": [a], "worker": [a], "chart": [b]}, others=2)
    assert group([c], {"all": (".",)}).by_component == {"all": [c]}


def test_people_read_versions_commits_and_objects() -> None:
    commits = Commits({"api-rest": [commit("a"), commit("b", is_added=False)]}, others=1)
    assert comparison(OBJECT, commits=commits).lines() == [
        "from staging, revision 7",
        "to   release 1.1.0",
        "",
        "versions",
        "  api-rest: 1.0.0 → 1.1.0",
        "  worker: 1.0.0",
        "  more: none → 2",
        "  gone: 1 → none",
        "",
        "commits",
        "  api-rest",
        "+   aaaaaaaaaa fix: a (Ann)",
        "-   bbbbbbbbbb fix: b (Ann)",
        "  1 commit to none of them",
        "",
        "objects",
        "  Service/web: changed",
        "--- Service/web",
        "-a",
        "+b",
    ]


def test_nothing_and_what_is_not_known_are_said() -> None:
    lines = comparison().lines()
    assert (lines[lines.index("commits") + 1], lines[-1]) == ("  none", "  none differs")
    noted = comparison(commits=Commits({}, note="not known: shallow")).lines()
    assert noted[noted.index("commits") + 1] == "  not known: shallow"


def test_other_names_of_the_same_bytes_are_said() -> None:
    digests = {"api-rest": "sha256:a"}
    contents = [Contents(versions={"api-rest": each}, digests=digests) for each in ("rc.1", "1.0")]
    renamed = Comparison("staging", "1.0", (contents[0], contents[1]), Commits({}), ())
    assert "  api-rest: rc.1 → 1.0 (the same bytes)" in renamed.lines()
    assert not renamed.is_changed


def test_a_new_revision_of_equal_objects_is_a_change() -> None:
    new = Comparison("a", "b", (OLD, NEW), Commits({}), (), makes_revision=True)
    assert new.is_changed
    assert new.lines()[-1] == "  none differs; a deploy makes a new revision of the same"
    assert not comparison().is_changed
    assert comparison(OBJECT).is_changed


def test_programs_read_json() -> None:
    commits = Commits({"api-rest": [commit("a", "api-rest/x")]}, others=2, note="n")
    data = json.loads(comparison(OBJECT, commits=commits).text(as_json=True))
    assert (data["changed"], data["from"], data["to"]) == (
        True,
        "staging, revision 7",
        "release 1.1.0",
    )
    assert data["versions"][0] == {"component": "api-rest", "from": "1.0.0", "to": "1.1.0"}
    (first,) = data["commits"]["by_component"]["api-rest"]
    assert (first["author"], first["subject"], first["paths"]) == ("Ann", "fix: a", ["api-rest/x"])
    assert (data["commits"]["others"], data["commits"]["note"]) == (2, "n")
    assert data["objects"] == [
        {"name": "Service/web", "change": "changed", "diff": "--- Service/web\n-a\n+b"}
    ]
