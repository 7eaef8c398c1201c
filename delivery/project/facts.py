"""The facts about a clone that decisions are made from, read once from git and the CI server."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

__all__ = [
    "Commit",
    "Described",
    "Facts",
    "OneSided",
    "Ref",
    "Tag",
    "ancestry",
    "parse_ref",
    "requested_ref",
]


@dataclass(frozen=True)
class Ref:
    """The branch, tag or pull request that a decision is made for."""

    kind: str  # "branch", "pull-request", "tag", or "" for a detached HEAD without a known branch
    name: str  # of a pull request its number


@dataclass(frozen=True)
class Commit:
    """A commit, with its whole message."""

    sha: str
    message: str
    paths: tuple[str, ...]  # the changed paths; of a merge those that differ from every parent
    merged_paths: tuple[str, ...] = ()  # of a merge: the paths that differ from any parent

    @property
    def subject(self) -> str:
        """The first line of its message."""
        return self.message.strip().partition("\n")[0].rstrip()


@dataclass(frozen=True)
class Described:
    """A commit as people read it."""

    sha: str
    author: str
    committed_at: str  # RFC 3339
    subject: str


@dataclass(frozen=True)
class OneSided(Described):
    """A commit that only one of two histories has."""

    paths: tuple[str, ...]  # the changed paths; of a merge those that differ from every parent
    is_added: bool  # whether the second history has it


@dataclass(frozen=True)
class Tag:
    """A version tag NAME-vX.Y.Z."""

    name: str
    subproject: str
    version: str
    # Whether HEAD contains its changes. Merge commits without changes of their own do not count:
    # develop has all of a release after the release branch is merged, without main's merge commit.
    merged: bool
    commit: str = ""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The facts of a clone."""

    ref: Ref
    commit: str  # HEAD's SHA
    checked_out: str = ""  # the branch that git has checked out, "" when HEAD is detached
    tags: tuple[Tag, ...] = ()  # every version tag of the subprojects
    # By tag that commits may be counted from: the SHAs of HEAD's commits that the tag lacks.
    commits_since: Mapping[str, frozenset[str]] = field(default_factory=dict)
    # All commits of `commits_since`, newest first; all of HEAD's if a subproject has no merged tag.
    commits: tuple[Commit, ...] = ()
    file_versions: Mapping[str, str] = field(default_factory=dict)  # by subproject
    # By subproject: the paths of `commits` whose content is published.
    published_paths: Mapping[str, frozenset[str]] = field(default_factory=dict)
    # By subproject: how delivery.toml builds it differently since its last tag, as a clause.
    build_changes: Mapping[str, str] = field(default_factory=dict)
    changelogs: Mapping[str, str] = field(default_factory=dict)  # by subproject, "" without a file
    # The release line's commits that develop, or HEAD on the candidate line, lacks.
    unmerged: tuple[Commit, ...] = ()
    uncommitted: tuple[str, ...] = ()  # the paths that differ from the commit


def parse_ref(name: str) -> Ref:
    """The ref of a name: origin/develop, refs/heads/develop, refs/tags/x, refs/pull/7/merge."""
    if request := re.fullmatch(r"refs/(?:pull|merge-requests)/([0-9]+)/(?:merge|head)", name):
        return Ref("pull-request", request[1])
    if name.startswith("refs/tags/"):
        return Ref("tag", name.removeprefix("refs/tags/"))
    for prefix in ("refs/heads/", "refs/remotes/", "origin/"):
        name = name.removeprefix(prefix)
    return Ref("branch", name)


def requested_ref(environment: Mapping[str, str], branch: str = "") -> Ref | None:
    """The ref that --branch or the CI server names, or None.

    A pull request and a tag come before a branch: CI servers set a branch's name for them too, and
    a pull request may come from a branch called main.
    """

    def value(*names: str) -> str:
        values = (environment.get(name, "").strip() for name in names)
        return next(filter(None, values), "")

    if branch.strip():
        return parse_ref(branch.strip())
    if request := value("CHANGE_ID", "CI_MERGE_REQUEST_IID"):
        return Ref("pull-request", request)
    if tag := value("TAG_NAME", "CI_COMMIT_TAG"):
        return Ref("tag", tag.removeprefix("refs/tags/"))
    name = value("BRANCH_NAME", "CI_COMMIT_BRANCH", "GITHUB_REF")
    return parse_ref(name) if name else None


def ancestry(
    parents: Mapping[str, Iterable[str]], commits: Iterable[str], without: Collection[str] = ()
) -> set[str]:
    """These commits and their ancestors, except for `without`.

    parents maps each commit of the history to its parents. `without` contains the ancestors of its
    members.
    """
    reachable: set[str] = set()
    queue = [sha for sha in commits if sha in parents]
    while queue:
        sha = queue.pop()
        if sha not in reachable and sha not in without:
            reachable.add(sha)
            queue += [parent for parent in parents[sha] if parent in parents]
    return reachable
