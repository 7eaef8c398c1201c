"""The facts of a clone that decisions are made from: what git says, read once."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

__all__ = ["Commit", "Facts", "Ref", "Tag", "ancestry", "parse_ref", "requested_ref"]


@dataclass(frozen=True)
class Ref:
    """What a decision is made for."""

    kind: str  # "branch", "pull-request", "tag", or "" where nothing says it (a detached HEAD)
    name: str  # of a pull request its number


@dataclass(frozen=True)
class Commit:
    """A commit, with its whole message."""

    sha: str
    message: str
    paths: tuple[str, ...]  # that it changed; of a merge those that differ from all of its parents
    merged_paths: tuple[str, ...] = ()  # of a merge: the paths that differ from any of its parents

    @property
    def subject(self) -> str:
        """The first line of its message."""
        return self.message.strip().partition("\n")[0].rstrip()


@dataclass(frozen=True)
class Tag:
    """A version's tag NAME-vX.Y.Z."""

    name: str
    subproject: str
    version: str
    # Whether HEAD has it in its history. HEAD has it also where it lacks only merges that changed
    # nothing themselves: develop, into which a release branch is merged, lacks main's merge of it.
    merged: bool
    commit: str = ""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What git and the files of a clone say."""

    ref: Ref  # what to decide for
    commit: str  # HEAD's SHA
    checked_out: str = ""  # the branch that git has checked out, "" when HEAD is detached
    tags: tuple[Tag, ...] = ()  # every version tag of our subprojects
    # By tag that numbers may be counted from: the SHAs of HEAD's commits that it lacks.
    commits_since: Mapping[str, frozenset[str]] = field(default_factory=dict)
    # All commits of `apart`, newest first; of HEAD where a subproject has no tag that HEAD has.
    commits: tuple[Commit, ...] = ()
    file_versions: Mapping[str, str] = field(
        default_factory=dict
    )  # by subproject: its files' version
    # By subproject: those paths of `commits` that are in what it publishes.
    published_paths: Mapping[str, frozenset[str]] = field(default_factory=dict)
    # By subproject: how delivery.toml builds it otherwise than at its last tag, as a clause.
    build_changes: Mapping[str, str] = field(default_factory=dict)
    changelogs: Mapping[str, str] = field(default_factory=dict)  # by subproject, "" without one
    # The release line's commits that develop (on the candidate line: HEAD) lacks: "SHA subject".
    unmerged: tuple[str, ...] = ()
    uncommitted: tuple[str, ...] = ()  # the paths that differ from the commit


def parse_ref(name: str) -> Ref:
    """What a name stands for: origin/develop, refs/heads/develop, refs/tags/x, refs/pull/7/merge."""
    if request := re.fullmatch(r"refs/(?:pull|merge-requests)/([0-9]+)/(?:merge|head)", name):
        return Ref("pull-request", request[1])
    if name.startswith("refs/tags/"):
        return Ref("tag", name.removeprefix("refs/tags/"))
    for prefix in ("refs/heads/", "refs/remotes/", "origin/"):
        name = name.removeprefix(prefix)
    return Ref("branch", name)


def requested_ref(environment: Mapping[str, str], branch: str = "") -> Ref | None:
    """What --branch or a CI server's variables say that this is for; None when nobody says it.

    A pull request and a tag come first, since they have a branch's name, too: a request from a
    branch that is called main is a pull request.
    """

    def value(*names: str) -> str:
        values = (environment.get(name, "").strip() for name in names)
        return next((value for value in values if value), "")

    if branch.strip():
        return parse_ref(branch.strip())
    if request := value("CHANGE_ID", "CI_MERGE_REQUEST_IID"):
        return Ref("pull-request", request)
    if tag := value("TAG_NAME", "CI_COMMIT_TAG"):
        return Ref("tag", tag.removeprefix("refs/tags/"))
    name = value("BRANCH_NAME", "CI_COMMIT_BRANCH", "GITHUB_REF")
    return parse_ref(name) if name else None


def ancestry(
    parents: Mapping[str, Iterable[str]], start: Iterable[str], without: Collection[str] = ()
) -> set[str]:
    """These commits and their ancestors, but for `without`.

    parents is the history, each commit with its parents; `without` has all ancestors of its own.
    """
    found: set[str] = set()
    waiting = [sha for sha in start if sha in parents]
    while waiting:
        sha = waiting.pop()
        if sha not in found and sha not in without:
            found.add(sha)
            waiting += [parent for parent in parents[sha] if parent in parents]
    return found
