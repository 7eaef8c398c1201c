"""Read the clone: its facts, and the versions that are decided from them."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from delivery import console, process
from delivery.errors import CommandError, DeclarationError
from delivery.project import facts, git, gitflow, remote_tags, sources, versions
from delivery.project.declaration import Declaration
from delivery.project.facts import Commit, Facts, Ref, Tag, ancestry
from delivery.project.files import ROOT
from delivery.project.git import Clone
from delivery.project.gitflow import Decision, Line, line_of, parse_version_tag
from delivery.project.versions import BUMPS, Checkout, counting_start, newer_tags, newest_tag

__all__ = ["load_checkout", "load_decision"]

_DEEPEN = f"`{' '.join(git.DEEPEN)}`"


def load_checkout(
    declaration: Declaration, root: Path = ROOT, branch: str = "", *, ask: bool = True
) -> Checkout:
    """The commit that is checked out, and its versions; `branch` overrides its branch.

    The rest of a shallow clone's history is fetched. So are the version tags that only the remote
    has, on a line that pushes and unless `ask` is False. Both are printed.

    Raises DeclarationError if the folder is no clone or has no commit, if its tags or its history
    cannot be fetched, if a tag differs from the remote's, or if its files have no valid version.
    """
    with process.side_by_side() as pool:
        changes = pool.submit(git.changes, root)  # reads every file, the rest only history
        clone = git.load_clone(root)
        if clone.shallow_boundary:
            clone = _deepen(clone)
        ref = _ref(clone, branch)
        if ask and gitflow.decide(ref, declaration).pushes:
            clone = remote_tags.fetch_missing(declaration, clone)
        return versions.decide(declaration, _facts(declaration, clone, ref, changes))


def load_decision(declaration: Declaration, root: Path = ROOT, branch: str = "") -> Decision:
    """The gitflow decision for a branch, or for the branch that is checked out."""
    return gitflow.decide(_ref(git.load_clone(root), branch), declaration)


def _ref(clone: Clone, branch: str) -> Ref:
    """The ref to decide for: the user's, else the CI server's, else git's."""
    ref = facts.requested_ref(os.environ, branch)
    return ref or Ref("branch" if clone.branch else "", clone.branch)


@dataclass(frozen=True)
class _History:
    """The history of HEAD, of the version tags, and of the develop and release lines."""

    clone: Clone
    parents: Mapping[str, tuple[str, ...]]  # of each commit, newest first

    def lacked(self, by: Iterable[str], commits: Iterable[str]) -> set[str]:
        """The commits in the history of `commits` that the history of `by` lacks."""
        return ancestry(self.parents, commits, ancestry(self.parents, by))

    def commits(self, shas: Collection[str]) -> dict[str, Commit]:
        """These commits, newest first."""
        return git.commits(self.clone, self.parents, [sha for sha in self.parents if sha in shas])

    def with_changes(self, shas: Collection[str]) -> dict[str, Commit]:
        """These commits, without merges that have no changes of their own."""
        commits = self.commits(shas).items()
        return {
            sha: commit for sha, commit in commits if commit.paths or len(self.parents[sha]) <= 1
        }


def _facts(declaration: Declaration, clone: Clone, ref: Ref, changes: Future[list[str]]) -> Facts:
    tagged = {tag: sha for tag, sha in clone.tags.items() if parse_version_tag(tag, declaration)}
    heads = [
        sha
        for line in (Line.DEVELOP, Line.RELEASE)
        for sha in _branch_heads(declaration, clone, line)
    ]
    history = _History(clone, git.history(clone, sorted({*tagged.values(), *heads})))
    tags = _tags(history, tagged)
    starts = _starts(declaration, tags)
    since = {
        sha: frozenset(history.lacked([sha], [clone.commit]))
        for sha in {tag.commit for tag in starts}
    }
    has_first = any(newest_tag(tags, name) is None for name in declaration.subprojects)
    everything = history.lacked([], [clone.commit]) if has_first else set[str]()
    commits = history.commits(everything.union(*since.values()))
    paths = {path for commit in commits.values() for path in (*commit.paths, *commit.merged_paths)}
    return Facts(
        ref=ref,
        commit=clone.commit,
        checked_out=clone.branch,
        tags=tags,
        commits_since={tag.name: since[tag.commit] for tag in starts},
        commits=tuple(commits.values()),
        file_versions=sources.file_versions(declaration, clone.root),
        published_paths=sources.published_paths(declaration, clone.root, paths),
        build_changes=sources.build_changes(declaration, clone, tags),
        changelogs=sources.changelogs(declaration, clone.root),
        unmerged=_unmerged(declaration, history, ref),
        uncommitted=tuple(changes.result()),
    )


def _branch_heads(declaration: Declaration, clone: Clone, line: Line) -> list[str]:
    """The commits of a line's branches, here and at the remote."""
    branches = (*clone.branches.items(), *clone.remote_branches.items())
    return [sha for name, sha in branches if line_of(name, declaration)[0] is line]


def _tags(history: _History, tagged: Mapping[str, str]) -> tuple[Tag, ...]:
    head = [history.clone.commit]
    lacked = {name: history.lacked(head, [sha]) for name, sha in tagged.items()}
    changes = history.with_changes(frozenset().union(*lacked.values()))
    tags = list[Tag]()
    for name, sha in tagged.items():
        subproject, _, version = name.rpartition("-v")
        is_merged = lacked[name].isdisjoint(changes)
        tags.append(Tag(name, subproject, version, merged=is_merged, commit=sha))
    return tuple(tags)


def _starts(declaration: Declaration, tags: tuple[Tag, ...]) -> list[Tag]:
    """The tags from which the N of a version may be counted."""
    bases = [
        tag
        for name in declaration.subprojects
        for tag in (newest_tag(tags, name), *newer_tags(tags, name))
        if tag
    ]
    return [counting_start(tags, base, bump) for base in bases for bump in BUMPS]


def _unmerged(declaration: Declaration, history: _History, ref: Ref) -> tuple[Commit, ...]:
    """The release line's commits that develop, or a branch for preparing a release, lacks.

    Local branches count as well as the remote's.
    """
    clone, rules = history.clone, gitflow.decide(ref, declaration).rules
    if ref.kind != "branch":
        return ()
    if rules.releases:
        ahead, behind = [clone.commit], _branch_heads(declaration, clone, Line.DEVELOP)
    elif rules.prepares:
        ahead, behind = _branch_heads(declaration, clone, Line.RELEASE), [clone.commit]
    else:
        return ()
    return tuple(history.with_changes(history.lacked(behind, ahead)).values()) if behind else ()


def _deepen(clone: Clone) -> Clone:
    """Fetch the rest of a shallow clone's history, and return the clone with it."""
    console.say(f"… this clone is shallow, and versions need its whole history: {_DEEPEN}")
    problem, details = "the remote's history is shallow too", ""
    try:
        git.deepen(clone.root)
    except CommandError as error:
        problem, details = "the rest of its history cannot be fetched", error.tail
    clone = git.load_clone(clone.root)
    if clone.shallow_boundary:
        raise DeclarationError(
            f"cannot decide on versions: this clone is shallow, and {problem}",
            hint=f"run {_DEEPEN}, or clone with the whole history and its tags"
            " (fetch-depth: 0, GIT_DEPTH: 0)",
            details=details,
        )
    return clone
