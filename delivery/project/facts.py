"""The facts of a clone that decisions are made from: what git says, read once and never asked again."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

__all__ = ["Commit", "Facts", "Ref", "Tag", "ancestry", "named", "told"]


@dataclass(frozen=True)
class Ref:
    """What a decision is made for: a branch, a pull request (its number), or a tag, by its name as git or the CI server has it.

    kind is "branch", "pull-request", "tag", or "" where nothing says what is checked out (a detached HEAD).
    """

    kind: str
    name: str


@dataclass(frozen=True)
class Commit:
    """A commit: its whole message, and the paths that it changed (a merge: those that differ from all of its parents).

    brought are the paths that a merge has from one side or the other: those that differ from any of its parents.
    """

    sha: str
    message: str
    paths: tuple[str, ...]
    brought: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        """The first line of its message."""
        return self.message.strip().partition("\n")[0].rstrip()


@dataclass(frozen=True)
class Tag:
    """A version's tag NAME-vX.Y.Z: its subproject, its version, whether HEAD has it in its history, and its commit's SHA.

    HEAD has it also when all that it lacks are merges that changed nothing themselves: a release branch that is merged into main
    and into develop leaves develop without main's merge, which the tag is on, and with everything that the release is.
    """

    name: str
    subproject: str
    version: str
    reached: bool
    commit: str = ""


@dataclass(frozen=True)
class Facts:
    """What git says of a clone.

    ref is what to decide for; commit is HEAD's SHA. tags has every version tag of our subprojects. since has, by subproject,
    the commits of HEAD's history that are not in its newest reached tag's, newest first (all of them where there is no tag).
    written has, by subproject, the version that its files say. covered has, by subproject, which of the paths in `since` change
    what its users get: files that the key covers. declared_anew has, by subproject, a clause for people on how the declaration
    has changed since that tag what builds its images, or those of what it is made from; none where it has not. changelogs has
    the text of each CHANGELOG, "" without one. unmerged are the release line's commits that develop (on the
    candidate line: HEAD) lacks, as "SHA subject". uncommitted are the paths that differ from the commit. checked_out is the
    branch that git has checked out, "" when HEAD is detached. apart has, by tag, the SHAs of HEAD's commits that are not in the
    tag's history, for the tags that numbers may be counted from; commits are those, and all of `since`, newest first.
    """

    ref: Ref
    commit: str
    tags: tuple[Tag, ...]
    since: Mapping[str, tuple[Commit, ...]]
    written: Mapping[str, str]
    covered: Mapping[str, frozenset[str]]
    declared_anew: Mapping[str, str]
    unmerged: tuple[str, ...]
    uncommitted: tuple[str, ...]
    checked_out: str = ""
    apart: Mapping[str, frozenset[str]] = field(default_factory=dict)
    commits: tuple[Commit, ...] = ()
    changelogs: Mapping[str, str] = field(default_factory=dict)


def named(name: str) -> Ref:
    """What a name stands for, as people, git and CI servers write it: origin/develop, refs/heads/develop, refs/pull/7/merge."""
    if request := re.fullmatch(r"refs/(?:pull|merge-requests)/([0-9]+)/(?:merge|head)", name):
        return Ref("pull-request", request[1])
    if name.startswith("refs/tags/"):
        return Ref("tag", name.removeprefix("refs/tags/"))
    for prefix in ("refs/heads/", "refs/remotes/", "origin/"):
        name = name.removeprefix(prefix)
    return Ref("branch", name)


def told(environment: Mapping[str, str], branch: str = "") -> Ref | None:
    """What --branch or a CI server's variables say that this is for; None when nobody says anything.

    A pull request and a tag have a branch's name, too, so they come first: a request from a branch that is called main is a pull
    request.
    """

    def value(name: str) -> str:
        return environment.get(name, "").strip()

    if branch.strip():
        return named(branch.strip())
    for request in ("CHANGE_ID", "CI_MERGE_REQUEST_IID"):
        if value(request):
            return Ref("pull-request", value(request))
    for tag in ("TAG_NAME", "CI_COMMIT_TAG"):
        if value(tag):
            return Ref("tag", value(tag).removeprefix("refs/tags/"))
    for variable in ("BRANCH_NAME", "CI_COMMIT_BRANCH", "GITHUB_REF"):
        if value(variable):
            return named(value(variable))
    return None


def ancestry(parents: Mapping[str, Iterable[str]], start: Iterable[str], without: Collection[str] = ()) -> set[str]:
    """The commits that can be reached from these, themselves too, and that are not among `without`.

    parents is the history, each commit with its parents; `without` has to be whole: with a commit, all of its ancestors.
    """
    found: set[str] = set()
    waiting = [sha for sha in start if sha in parents]
    while waiting:
        sha = waiting.pop()
        if sha not in found and sha not in without:
            found.add(sha)
            waiting += [parent for parent in parents[sha] if parent in parents]
    return found
