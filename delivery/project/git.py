"""The only module that runs git.

First come the functions that read the clone, then those that fetch, then those that change it.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from delivery import process
from delivery.errors import CommandError, DeclarationError
from delivery.project.facts import Commit, Described, OneSided

__all__ = [
    "DEEPEN",
    "FETCH_TAGS",
    "Clone",
    "changes",
    "commit",
    "commits",
    "copy_history",
    "deepen",
    "describe",
    "fetch_tags",
    "filter_history",
    "history",
    "is_without_tags",
    "load_clone",
    "one_sided",
    "push_tags",
    "remote_address",
    "remote_branches",
    "remote_tags",
    "remotes",
    "remove_tags",
    "tag",
    "text_at",
]

DEEPEN = ("git", "fetch", "--unshallow", "--tags")
FETCH_TAGS = ("git", "fetch", "--tags", "origin")
_SECONDS = 60
_ASK_SECONDS = 20  # for a remote to list its tags
_LONG_SECONDS = 900  # to fetch, push or copy a history
_NO_PROGRAM = 127  # a shell's exit code for a missing program
# The user's settings do not change the results: neither grafts, replacements, a language nor
# fsmonitor. Reading takes no lock that another git command may need.
_ENVIRONMENT = {
    "LC_ALL": "C",
    "GIT_GRAFT_FILE": os.devnull,
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
}
_OPTIONS = ("--no-pager", "--no-replace-objects", "-c", "core.fsmonitor=false")
_TAGS, _BRANCHES, _REMOTE = "refs/tags/", "refs/heads/", "refs/remotes/origin/"
# By a pattern of git's message: why a clone cannot be read, and what to do.
_UNREADABLE = {
    "dubious ownership": (
        "it belongs to another user, and git refuses to read it",
        "if you trust it, run `git config --global --add safe.directory {root}`",
    ),
    "not a git repository": (
        "it is no git clone",
        "clone it with git: versions come from tags and commits, which an archive lacks",
    ),
    "unknown revision|ambiguous argument|Needed a single revision": (
        "there is no commit yet",
        "commit something first: versions come from tags and commits",
    ),
}


@dataclass(frozen=True)
class Clone:
    """The commit that is checked out, and the commits of all tags and branches."""

    root: Path
    commit: str  # HEAD's
    branch: str  # "" when HEAD is detached
    prefix: str  # the project's folder in the clone, with a slash; "" for the clone's root
    shallow_boundary: frozenset[str]  # the commits at which a shallow clone's history is cut
    # The commits of each, by short name.
    tags: Mapping[str, str]
    branches: Mapping[str, str]
    remote_branches: Mapping[str, str]

    def branch_refs(self) -> dict[str, str]:
        """The ref of each branch: the local branch's, else origin's."""
        remote = {name: f"{_REMOTE}{name}" for name in self.remote_branches if name != "HEAD"}
        return remote | {name: f"{_BRANCHES}{name}" for name in self.branches}

    def ref_commits(self) -> set[str]:
        """The commits of all tags and branches."""
        kinds = (self.tags, self.branches, self.remote_branches)
        return {sha for refs in kinds for sha in refs.values()}


def load_clone(root: Path) -> Clone:
    """The clone that a folder is in.

    Raises DeclarationError if it is no clone, has no commit, or git cannot read it.
    """
    fields = ("--is-shallow-repository", "--git-path", "shallow", "--show-prefix", "HEAD^{commit}")
    try:
        printed = _read(root, "rev-parse", *fields, "--symbolic-full-name", "HEAD")
    except CommandError as error:
        raise _no_clone(root, error) from error
    shallow, boundary, prefix, sha, name = _rows(printed)
    ends = (root / boundary).read_text(encoding="ascii").split() if shallow == "true" else ()
    refs = _refs(root)
    return Clone(
        root=root,
        commit=sha,
        branch=name.removeprefix(_BRANCHES) if name.startswith(_BRANCHES) else "",
        prefix=prefix,
        shallow_boundary=frozenset(ends),
        tags=_below(refs, _TAGS),
        branches=_below(refs, _BRANCHES),
        remote_branches=_below(refs, _REMOTE),
    )


def history(clone: Clone, starts: Iterable[str] = ()) -> dict[str, tuple[str, ...]]:
    """The parents of each commit in the history of HEAD and of `starts`, newest first."""
    text = "".join(f"{sha}\n" for sha in (clone.commit, *starts))
    printed = _read(clone.root, "rev-list", "--topo-order", "--parents", "--stdin", text=text)
    lines = (line.split() for line in printed.splitlines())
    return {sha: tuple(parents) for sha, *parents in lines}


def commits(
    clone: Clone, parents: Mapping[str, Collection[str]], shas: Iterable[str]
) -> dict[str, Commit]:
    """These commits with their messages and the paths that they changed, in this order.

    Paths are relative to the project. A renamed file counts under both names.
    """
    request = "".join(f"{' '.join((sha, *parents[sha]))}\n" for sha in shas)
    if not request:
        return {}
    shape = ("--root", "-r", "-m", "--always", "--name-only", "--no-renames", "-z")
    # A path may contain a carriage return, which `process.capture` would replace.
    with tempfile.TemporaryDirectory(prefix="delivery-") as folder:
        file = Path(folder) / "commits"
        form = ("--encoding=UTF-8", "--format=%x00%H%x00%B%x00", f"--output={file}")
        _read(clone.root, "diff-tree", "--stdin", *shape, *form, text=request)
        text = file.read_bytes().decode("utf-8", errors="replace")
    return _commits(text, clone.prefix, parents)


def changes(root: Path) -> list[str]:
    """The paths that differ from the last commit, with new files."""
    shape = ("--porcelain", "-z", "--untracked-files=all", "--no-renames", "--ignored=no")
    doing = "look for changes that are not committed"
    printed = _read(root, "status", *shape, "--", ".", doing=doing)
    return [entry[3:] for entry in printed.split("\0") if entry]


def text_at(clone: Clone, commit: str, path: str) -> str | None:
    """The text of a file of the project in a commit, or None without such a file."""
    try:
        return _read(clone.root, "cat-file", "blob", f"{commit}:{clone.prefix}{path}")
    except CommandError:
        return None


def describe(root: Path, commit: str = "HEAD") -> Described | None:
    """A commit of the clone at this folder; None without such a commit, a clone, or git."""
    if commit.startswith("-"):
        return None
    shape = ("-1", "--no-show-signature", "--no-color", "--encoding=UTF-8")
    try:
        printed = _read(root, "log", *shape, "--format=%H%x00%aN%x00%cI%x00%s", commit, "--")
        return Described(*printed.removesuffix("\n").split("\0"))
    except (CommandError, OSError, TypeError):  # TypeError: git printed other fields
        return None


def one_sided(root: Path, first: str, second: str) -> list[OneSided]:
    """The commits of either history that the other lacks, newest first.

    Raises CommandError if the clone lacks one of both commits.
    """
    shape = ("--left-right", "--name-only", "-c", "--no-renames", "--relative", "-z")
    form = (f"-O{os.devnull}", "--no-show-signature", "--no-color", "--encoding=UTF-8")
    fields = "%m%x1f%H%x1f%aN%x1f%cI%x1f%s"
    arguments = (*shape, *form, f"--format=%x1e{fields}", f"{first}...{second}", "--")
    printed = _read(root, "log", *arguments)
    found = []
    # A subject may have any of these characters, but hardly with a commit after it.
    for record in re.split("\x1e(?=[<>]\x1f[0-9a-f]{40})", printed)[1:]:
        text, *paths = record.split("\0")
        side, sha, author, committed_at, subject = text.split("\x1f", 4)
        names = tuple(path.removeprefix("\n") for path in paths if path)
        found.append(OneSided(sha, author, committed_at, subject, names, is_added=side == ">"))
    return found


def is_without_tags(root: Path) -> bool:
    """Whether the clone was made without tags (`git clone --no-tags`)."""
    try:
        return _read(root, "config", "--get", "remote.origin.tagOpt").strip() == "--no-tags"
    except CommandError:  # it is not set
        return False


def files(root: Path) -> list[str]:
    """The files that git tracks or would add: all but the ignored ones."""
    arguments = ("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    listed = _read(root, *arguments, doing="list the files that git tracks")
    return [name for name in listed.split("\0") if name]


def remotes(root: Path) -> list[str]:
    """The names of the clone's remotes."""
    return _read(root, "remote").split()


def remote_address(root: Path, remote: str) -> str:
    """The address that a push to a remote uses, without a login."""
    address = _read(root, "remote", "get-url", "--push", "--", remote).strip()
    return re.sub(r"^([A-Za-z][A-Za-z0-9+.-]*://)[^/@]*@", r"\1", address)


def remote_branches(root: Path) -> set[str]:
    """The branches of the remote; raises CommandError if it does not answer."""
    printed = _read(root, "ls-remote", "--heads", "origin", timeout=_ASK_SECONDS)
    return {line.split(f"\t{_BRANCHES}", 1)[1] for line in _rows(printed)}


def remote_tags(root: Path) -> dict[str, str]:
    """The object, mostly a commit, of each tag of the remote, by name.

    Raises CommandError if the remote does not answer.
    """
    printed = _read(root, "ls-remote", "--tags", "origin", timeout=_ASK_SECONDS)
    # The commit of an annotated tag is in a line of its own, NAME^{}, after the tag's.
    lines = (line.split(f"\t{_TAGS}", 1) for line in _rows(printed))
    return {name.removesuffix("^{}"): sha for sha, name in lines}


def fetch_tags(root: Path) -> None:
    """Fetch the remote's tags; raises CommandError if git cannot fetch all of them."""
    _read(root, *FETCH_TAGS[1:], doing="fetch the remote's tags", timeout=_LONG_SECONDS)


def deepen(root: Path) -> None:
    """Fetch the history that a shallow clone lacks, with all tags; raises CommandError."""
    doing = "fetch the history that this shallow clone lacks"
    _read(root, *DEEPEN[1:], doing=doing, timeout=_LONG_SECONDS)


def commit(root: Path, message: str, paths: Sequence[str]) -> str:
    """Commit these files and nothing else that is staged; the commit's SHA."""
    argv = ("commit", "--quiet", "--file=-", "--only", "--", *paths)
    _git(root, *argv, doing="commit the release", text=message)
    return _read(root, "rev-parse", "--verify", "HEAD^{commit}").strip()


def tag(root: Path, name: str, message: str) -> None:
    """Create an annotated tag of HEAD; git signs it if tag.gpgSign is set.

    The message keeps lines that begin with #, which git removes as comments by default.
    """
    argv = ("tag", "--annotate", "--cleanup=whitespace", "--file=-", "--", name)
    _git(root, *argv, doing=f"tag {name}", text=message)


def remove_tags(root: Path, names: Sequence[str]) -> None:
    """Remove tags of this clone."""
    if names:
        _git(root, "tag", "--delete", "--", *names, doing="remove tags")


def push_tags(root: Path, remote: str, names: Sequence[str]) -> None:
    """Push tags, all of them or none, without a prompt for a password."""
    argv = ("push", "--atomic", "--porcelain", "--", remote, *(f"{_TAGS}{name}" for name in names))
    _git(root, *argv, doing=f"push the tags to {remote}")


def copy_history(
    source: Path, to: Path, *, checked_out: str, branches: Mapping[str, str], tags: str
) -> None:
    """Create a repository with these branches (each from a ref of the source) and matching tags.

    checked_out is its HEAD's branch. It has no remote and shares no file with its source.
    """
    doing = f"copy the history to {to.name}"
    to.mkdir(parents=True, exist_ok=True)
    # The user's template (hooks) and default branch do not get into it.
    _git(to, "init", "--quiet", "--template=", f"--initial-branch={checked_out}", doing=doing)
    # A fetch copies the objects; a clone of a path would link them.
    shape = ("--quiet", "--no-tags", "--update-head-ok", "--no-write-fetch-head")
    refs = [f"+{ref}:{_BRANCHES}{name}" for name, ref in branches.items()]
    refs.append(f"+{_TAGS}{tags}:{_TAGS}{tags}")
    _git(to, "fetch", *shape, "--", str(source), *refs, doing=doing)
    _git(to, "reset", "--quiet", "--hard", doing=doing)


def filter_history(
    repository: Path, *, renames: Mapping[str, str], on_line: Callable[[str], None]
) -> None:
    """Rewrite a repository's whole history to these paths, each under its new name.

    A path that ends with a slash is a folder; the new name "" is the root. The same history gives
    the same commits.
    """
    argv = [sys.executable, "-m", "git_filter_repo", "--force", "--quiet"]
    for old, new in renames.items():
        argv += ["--path", old]
        argv += [] if old == new else ["--path-rename", f"{old}:{new}"]
    doing = f"filter the history of {repository.name}"
    process.stream(argv, doing=doing, on_line=on_line, options=process.Options(repository))


def _read(
    root: Path, *arguments: str, doing: str = "", text: str | None = None, timeout: float = _SECONDS
) -> str:
    """The output of git, independent of the user's settings."""
    argv = ["git", "-C", str(root), *_OPTIONS, *arguments]
    doing = doing or f"run git {arguments[0]}"
    options = process.Options(env=_ENVIRONMENT, text=text)
    return process.capture(argv, doing=doing, options=options, timeout=timeout)


def _git(root: Path, *arguments: str, doing: str, text: str | None = None) -> str:
    """Run git with the user's settings."""
    argv = ["git", "-C", str(root), *arguments]
    options = process.Options(env={"GIT_TERMINAL_PROMPT": "0"}, text=text)
    return process.capture(argv, doing=doing, options=options, timeout=_LONG_SECONDS)


def _refs(root: Path) -> dict[str, str]:
    """The commits of all tags and branches, by their full names."""
    patterns = (_TAGS, _BRANCHES, _REMOTE)
    names = _rows(_read(root, "for-each-ref", "--format=%(refname)", *patterns))
    request = "".join(f"{name}^{{commit}}\n" for name in names)
    shas = _rows(_read(root, "cat-file", "--batch-check=%(objectname)", text=request))
    # git prints "missing" for a ref without a commit, such as a tag of a tree.
    pairs = zip(names, shas, strict=True)
    return {name: sha for name, sha in pairs if not sha.endswith(" missing")}


def _below(refs: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {name.removeprefix(prefix): sha for name, sha in refs.items() if name.startswith(prefix)}


def _commits(text: str, prefix: str, parents: Mapping[str, Collection[str]]) -> dict[str, Commit]:
    """Parse diff-tree's records: an empty part, a SHA, a message, an empty part, and paths.

    A merge has a record for each parent that it differs from.
    """
    messages: dict[str, str] = {}
    changed: dict[str, list[tuple[str, ...]]] = {}
    parts = text.split("\0")
    at = 0
    while at + 4 < len(parts):
        sha, message = parts[at + 1 : at + 3]
        end = parts.index("", at + 4)
        names = "\0".join(parts[at + 4 : end]).removeprefix("\n").split("\0")
        paths = (name.removeprefix(prefix) for name in names if name.startswith(prefix))
        messages[sha] = message.removesuffix("\n")
        changed.setdefault(sha, []).append(tuple(filter(None, paths)))
        at = end
    return {
        sha: _commit(sha, messages[sha], by_parent, len(parents[sha]))
        for sha, by_parent in changed.items()
    }


def _commit(sha: str, message: str, changed: Sequence[tuple[str, ...]], parents: int) -> Commit:
    """A commit, from the paths that differ from each parent; equal parents are left out."""
    if parents <= 1:
        return Commit(sha, message, changed[0])
    own = set(changed[0]).intersection(*changed) if len(changed) == parents else set()
    merged = tuple(dict.fromkeys(path for paths in changed for path in paths))
    return Commit(sha, message, tuple(path for path in merged if path in own), merged)


def _rows(text: str) -> list[str]:
    """The lines of a text; splitlines() would also split at other characters of a path."""
    return text.split("\n")[:-1]


def _no_clone(root: Path, error: CommandError) -> DeclarationError:
    problem = f"cannot read the clone {root}"
    if error.returncode == _NO_PROGRAM:
        hint = "install git: versions come from tags and commits"
        return DeclarationError(f"{problem}: the program git is missing", hint=hint)
    for pattern, (why, hint) in _UNREADABLE.items():
        if re.search(pattern, error.tail):
            return DeclarationError(f"{problem}: {why}", hint=hint.format(root=root.resolve()))
    return DeclarationError(
        f"{problem}: git fails", hint="correct what git reports above", details=error.tail
    )
