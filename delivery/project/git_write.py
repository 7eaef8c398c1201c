"""The clone, by git, where it changes: commits, tags, pushes, and repositories that are made from it."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from delivery import process
from delivery.errors import CommandError

__all__ = [
    "branches",
    "clone",
    "commit",
    "commits",
    "copy_history",
    "filter_history",
    "head",
    "push_tags",
    "remote_address",
    "remotes",
    "remove_tags",
    "shallow",
    "tag",
    "tags",
    "tags_here",
    "tree",
]

_SECONDS = 600


def commit(root: Path, message: str, paths: Sequence[str]) -> str:
    """Commit these files as they are, and nothing else that is staged; return the commit's SHA."""
    _git(root, "commit", "--quiet", "--file=-", "--only", "--", *paths, doing="commit the release", text=message)
    return head(root)


def head(root: Path) -> str:
    """The SHA of the commit that is checked out."""
    return _git(root, "rev-parse", "--verify", "HEAD^{commit}", doing="ask for the commit").strip()


def branches(root: Path) -> tuple[str, dict[str, str]]:
    """The branch that is checked out ("" when none is), and every branch with its ref: a local one, else origin's."""
    doing = "ask for the branches"
    try:
        current = _git(root, "symbolic-ref", "--quiet", "--short", "HEAD", doing=doing).strip()
    except CommandError:
        current = ""
    found: dict[str, str] = {}
    for place in ("refs/remotes/origin/", "refs/heads/"):
        told = _git(root, "for-each-ref", "--format=%(refname)", place, doing=doing)
        found |= {ref.removeprefix(place): ref for ref in told.splitlines() if ref != f"{place}HEAD"}
    return current, found


def shallow(root: Path) -> bool:
    """Whether the clone lacks a part of its history."""
    return _git(root, "rev-parse", "--is-shallow-repository", doing="ask for the history").strip() == "true"


def tag(root: Path, name: str, message: str) -> None:
    """Make an annotated tag of the commit that is checked out; git signs it where its settings say so (tag.gpgSign).

    The message keeps its lines that begin with #, which git takes for comments otherwise.
    """
    _git(root, "tag", "--annotate", "--cleanup=whitespace", "--file=-", "--", name, doing=f"tag {name}", text=message)


def remove_tags(root: Path, names: Sequence[str]) -> None:
    """Remove tags of this clone again."""
    if names:
        _git(root, "tag", "--delete", "--", *names, doing="remove tags")


def tags_here(root: Path) -> list[str]:
    """The tags of the commit that is checked out."""
    return _git(root, "tag", "--points-at", "HEAD", doing="ask for the commit's tags").split()


def remotes(root: Path) -> list[str]:
    """The names of the clone's remotes."""
    return _git(root, "remote", doing="ask for the remotes").split()


def remote_address(root: Path, remote: str) -> str:
    """Where a push to a remote goes, without a name and password that may be in it."""
    told = _git(root, "remote", "get-url", "--push", "--", remote, doing=f"ask where {remote} is").strip()
    return re.sub(r"^([A-Za-z][A-Za-z0-9+.-]*://)[^/@]*@", r"\1", told)


def push_tags(root: Path, remote: str, names: Sequence[str]) -> None:
    """Push tags, all of them or none; nobody is asked for a password."""
    refs = [f"refs/tags/{name}" for name in names]
    doing = f"push the tags to {remote}"
    _git(root, "push", "--atomic", "--porcelain", "--", remote, *refs, doing=doing, env={"GIT_TERMINAL_PROMPT": "0"})


def copy_history(source: Path, to: Path, *, checked_out: str, branches: Mapping[str, str], tags: str) -> None:
    """Make a repository of these branches (each with the source's ref) and of the tags of a pattern.

    checked_out is the branch that HEAD names. It has no remote, and shares no file with its source.
    """
    doing = f"copy the history to {to.name}"
    to.mkdir(parents=True, exist_ok=True)
    # Neither a user's template (hooks) nor their default branch gets into it.
    _git(to, "init", "--quiet", "--template=", f"--initial-branch={checked_out}", doing=doing)
    # A path is read by git's own protocol here: objects are copied, never linked.
    fetch = ["fetch", "--quiet", "--no-tags", "--update-head-ok", "--no-write-fetch-head", "--", str(source)]
    refs = [f"+{ref}:refs/heads/{name}" for name, ref in branches.items()]
    _git(to, *fetch, *refs, f"+refs/tags/{tags}:refs/tags/{tags}", doing=doing)
    _git(to, "reset", "--quiet", "--hard", doing=doing)


def clone(source: Path, to: Path) -> None:
    """Clone a repository as a user does, with its files checked out."""
    _git(source, "clone", "--quiet", "--no-local", "--", str(source), str(to), doing=f"clone {source.name}")


def tree(root: Path, revision: str) -> dict[str, str]:
    """The files of a commit: mode and object of each, by path."""
    told = _git(root, "ls-tree", "-r", "-z", "--full-tree", revision, doing=f"list the files of {revision}")
    lines = [line.partition("\t") for line in told.split("\0") if line]
    return {path: f"{entry.split()[0]} {entry.split()[2]}" for entry, _, path in lines}


def commits(root: Path, revision: str, paths: Sequence[str] = ()) -> list[str]:
    """The commits of a history but merges, newest first, as "author time subject"; of paths, those that touch them."""
    told = _git(
        root,
        "log",
        "-z",
        "--no-merges",
        "--full-history",
        "--format=%ae %at %s",
        revision,
        "--",
        *paths,
        doing="read the history",
    )
    return [line for line in told.split("\0") if line]


def tags(root: Path, pattern: str = "*") -> list[str]:
    """The names of the tags of a pattern."""
    return _git(root, "tag", "--list", pattern, doing="list the tags").split()


def filter_history(repository: Path, *, renames: Mapping[str, str], on_line: Callable[[str], None]) -> None:
    """Rewrite a repository's whole history to these paths alone, each under its new name; it is thrown into for good.

    A path that ends with a slash is a folder; a new name of "" is the root. The same history gives the same commits.
    """
    paths = [part for old, new in renames.items() for part in ("--path", old, *_renaming(old, new))]
    argv = [sys.executable, "-m", "git_filter_repo", "--force", "--quiet", *paths]
    process.stream(argv, doing=f"filter the history of {repository.name}", on_line=on_line, cwd=repository)


def _renaming(old: str, new: str) -> list[str]:
    return [] if old == new else ["--path-rename", f"{old}:{new}"]


def _git(root: Path, *arguments: str, doing: str, text: str | None = None, env: Mapping[str, str] | None = None) -> str:
    argv = ["git", "-C", str(root), *arguments]
    return process.capture(argv, doing=doing, text=text, env=env, timeout=_SECONDS)
