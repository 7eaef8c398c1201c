"""Look at the clone: what git and the files say, and what is decided from that."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from delivery import console
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
    """What is checked out, and what is decided for it; branch is what the user says it is.

    On a line that pushes the remote is asked for its version tags, unless `ask` is False, and the
    missing ones are fetched. A shallow clone is deepened when its history does not reach the tags
    that versions are counted from. Both are printed. Raises DeclarationError when this is no clone,
    has no commit, its tags or history cannot be fetched, a tag is of another commit than the
    remote's, or its files do not say their versions.
    """
    clone = git.load_clone(root)
    ref = _ref(clone, branch)
    if ask and gitflow.decide(ref, declaration).pushes:
        clone = remote_tags.fetch_missing(declaration, clone)
    checkout = versions.decide(declaration, _facts(declaration, clone, ref))
    if cut := _cut_off(clone, checkout):
        clone = _deepen(clone, cut)
        checkout = versions.decide(declaration, _facts(declaration, clone, ref))
        if cut := _cut_off(clone, checkout):
            raise _too_short(cut, "nor does the remote's")
    return checkout


def load_decision(declaration: Declaration, root: Path = ROOT, branch: str = "") -> Decision:
    """What gitflow says of a branch, or of what is checked out; asks only for HEAD."""
    return gitflow.decide(_ref(git.load_clone(root), branch), declaration)


def _ref(clone: Clone, branch: str) -> Ref:
    """What a decision is made for: what the user says, else the CI server, else git."""
    return facts.requested_ref(os.environ, branch) or Ref(
        "branch" if clone.branch else "", clone.branch
    )


@dataclass(frozen=True)
class _History:
    """The history of HEAD, of the version tags, and of the develop and release lines."""

    clone: Clone
    parents: Mapping[str, tuple[str, ...]]  # of each commit, newest first

    def apart(self, *commits: str) -> frozenset[str]:
        """HEAD's commits that these do not have in their history."""
        return frozenset(self.lacked(commits, [self.clone.commit]))

    def lacked(self, by: Iterable[str], commits: Iterable[str]) -> set[str]:
        """What is in the history of some commits and in that of no other ones."""
        return ancestry(self.parents, commits, ancestry(self.parents, by))

    def commits(self, shas: Collection[str]) -> dict[str, Commit]:
        """These commits, newest first."""
        return git.commits(self.clone, self.parents, [sha for sha in self.parents if sha in shas])

    def own(self, shas: Collection[str]) -> dict[str, Commit]:
        """Those of these commits that are more than a merge without a change of its own."""
        commits = self.commits(shas).items()
        return {sha: one for sha, one in commits if one.paths or len(self.parents[sha]) <= 1}


def _facts(declaration: Declaration, clone: Clone, ref: Ref) -> Facts:
    """What git and the files say of a clone."""
    tagged = {tag: sha for tag, sha in clone.tags.items() if parse_version_tag(tag, declaration)}
    ends = [_ends(declaration, clone, line) for line in (Line.DEVELOP, Line.RELEASE)]
    starts = sorted({*tagged.values(), *(sha for shas in ends for sha in shas)})
    history = _History(clone, git.history(clone, starts))
    tags = _tags(history, tagged)
    anchors = _anchors(declaration, tags)
    apart = {sha: history.apart(sha) for sha in {tag.commit for tag in anchors}}
    has_first = any(newest_tag(tags, name) is None for name in declaration.subprojects)
    whole = history.apart() if has_first else frozenset[str]()
    commits = history.commits(whole.union(*apart.values()))
    paths = {path for one in commits.values() for path in (*one.paths, *one.merged_paths)}
    return Facts(
        ref=ref,
        commit=clone.commit,
        checked_out=clone.branch,
        tags=tags,
        commits_since={tag.name: apart[tag.commit] for tag in anchors},
        commits=tuple(commits.values()),
        file_versions=sources.file_versions(declaration, clone.root),
        published_paths=sources.published_paths(declaration, clone.root, paths),
        build_changes=sources.build_changes(declaration, clone, tags),
        changelogs=sources.changelogs(declaration, clone.root),
        unmerged=_unmerged(declaration, history, ref),
        uncommitted=tuple(git.changes(clone.root)),
    )


def _ends(declaration: Declaration, clone: Clone, line: Line) -> list[str]:
    """The commits of a line's branches, here and at the remote."""
    branches = (*clone.branches.items(), *clone.remote_branches.items())
    return [sha for name, sha in branches if line_of(name, declaration)[0] is line]


def _tags(history: _History, tagged: Mapping[str, str]) -> tuple[Tag, ...]:
    """The version tags, each with whether HEAD has it: all that it is but merges of nothing new."""
    head = [history.clone.commit]
    lacked = {name: history.lacked(head, [sha]) for name, sha in tagged.items()}
    own = history.own(frozenset().union(*lacked.values()))
    found = list[Tag]()
    for name, sha in tagged.items():
        subproject, _, version = name.rpartition("-v")
        reached = lacked[name].isdisjoint(own)
        found.append(Tag(name, subproject, version, merged=reached, commit=sha))
    return tuple(found)


def _anchors(declaration: Declaration, tags: tuple[Tag, ...]) -> list[Tag]:
    """The tags that versions and their numbers may be counted from."""
    bases = [
        tag
        for name in declaration.subprojects
        for tag in (newest_tag(tags, name), *newer_tags(tags, name))
        if tag
    ]
    return [counting_start(tags, base, how) for base in bases for how in BUMPS]


def _unmerged(declaration: Declaration, history: _History, ref: Ref) -> tuple[str, ...]:
    """What the release line has, and develop, or what a release is prepared on, lacks.

    A branch counts wherever it is, here or at the remote: what any release branch has is looked for
    in all that develop has.
    """
    clone, rules = history.clone, gitflow.decide(ref, declaration).rules
    if (
        ref.kind != "branch" or clone.shallow_boundary
    ):  # what is missing may be in the part that is not here
        return ()
    if rules.releases:
        ahead, behind = [clone.commit], _ends(declaration, clone, Line.DEVELOP)
    elif rules.prepares:
        ahead, behind = _ends(declaration, clone, Line.RELEASE), [clone.commit]
    else:
        return ()
    own = history.own(history.lacked(behind, ahead)) if behind else {}
    return tuple(f"{sha} {commit.subject}" for sha, commit in own.items())


def _cut_off(clone: Clone, checkout: Checkout) -> list[str]:
    """The subprojects whose version cannot be told for sure from a shallow clone's history."""
    return [
        name
        for name in checkout.versions
        if clone.shallow_boundary and _is_cut_off(clone, checkout, name)
    ]


def _is_cut_off(clone: Clone, checkout: Checkout, name: str) -> bool:
    tags, bump = checkout.facts.tags, checkout.versions[name].bump
    last = newest_tag(tags, name)
    # A tag that HEAD does not seem to have may be in the part that is not here.
    if not last or last != newest_tag(tags, name, merged=False):
        return True
    first = counting_start(tags, last, bump)
    # A series begins with a zero; where that tag is not here, it may be in that part, too.
    begins = {"major": ".0.0", "minor": ".0"}.get(bump, "")
    return not first.version.endswith(begins) or bool(
        clone.shallow_boundary & checkout.facts.commits_since[first.name]
    )


def _deepen(clone: Clone, subprojects: list[str]) -> Clone:
    """Fetch what a shallow clone lacks, say so, and return the clone as it is then."""
    console.say(
        "… this clone is shallow, and its history does not reach the last version of"
        f" {', '.join(subprojects)}: {_DEEPEN}"
    )
    try:
        git.deepen(clone.root)
    except CommandError as error:
        raise _too_short(subprojects, "and the rest cannot be fetched", error.tail) from error
    return git.load_clone(clone.root)


def _too_short(subprojects: list[str], why: str, details: str = "") -> DeclarationError:
    return DeclarationError(
        f"cannot find the last version of {', '.join(subprojects)}: the history of this shallow"
        f" clone does not reach it, {why}",
        hint=f"{_DEEPEN}, or clone with the whole history and its tags (fetch-depth: 0, GIT_DEPTH: 0)",
        details=details,
    )
