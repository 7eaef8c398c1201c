"""The clone, by git: it only looks, and fetches tags or older history when it is told to."""

from __future__ import annotations

import ast
import os
import re
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from delivery import process
from delivery.errors import CommandError, DeclarationError
from delivery.project.facts import Commit

__all__ = [
    "DEEPEN",
    "FETCH_TAGS",
    "Clone",
    "changes",
    "commits",
    "deepen",
    "fetch_tags",
    "has_remote",
    "history",
    "is_without_tags",
    "look",
    "remote_tags",
    "text_at",
]

DEEPEN = ("git", "fetch", "--unshallow", "--tags")
FETCH_TAGS = ("git", "fetch", "--tags", "origin")
_SECONDS = 60
_ASK_SECONDS = 20  # a remote that takes longer to list its tags is away
_FETCH_SECONDS = 900
# What a user has set up for git changes nothing that is read here: neither old grafts nor replacements, no language but git's
# own, no fsmonitor; and looking takes no locks from who works there.
_ENVIRONMENT = {"LC_ALL": "C", "GIT_GRAFT_FILE": os.devnull, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
_OPTIONS = ("--no-pager", "--no-replace-objects", "-c", "core.quotePath=true", "-c", "core.fsmonitor=false")
_REFS = ("refs/tags", "refs/heads", "refs/remotes/origin")
_REF = "%(refname) %(objecttype) %(objectname) %(*objecttype) %(*objectname)"


@dataclass(frozen=True)
class Clone:
    """What is checked out, and where everything else is: HEAD's commit, its branch ("" when detached), and the refs' commits.

    prefix is the folder of the project inside the clone ("" where it is the clone's own), ends are the commits where a shallow
    clone's history ends although there is more of it. refs are by their whole names (refs/heads/develop), each with its commit,
    tags with the one that they stand for.
    """

    root: Path
    commit: str
    branch: str
    prefix: str
    ends: frozenset[str]
    refs: Mapping[str, str]


def look(root: Path) -> Clone:
    """What is checked out at this folder; raise DeclarationError when it is no clone, has no commit, or git cannot be asked."""
    asked = (
        "--is-shallow-repository",
        "--git-path",
        "shallow",
        "--show-prefix",
        "HEAD^{commit}",
        "--symbolic-full-name",
        "HEAD",
    )
    try:
        printed = _git(root, "rev-parse", *asked, doing="read the clone")
    except CommandError as error:
        raise _no_clone(root, error) from error
    shallow, boundary, prefix, commit, name = _rows(printed)
    ends = _lines(root / boundary) if shallow == "true" else ()
    branch = name.removeprefix("refs/heads/") if name.startswith("refs/heads/") else ""
    return Clone(root, commit, branch, prefix, frozenset(ends), _refs(root))


def history(clone: Clone, starts: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The whole history of HEAD and of these commits: each commit with its parents, newest first."""
    told = "\n".join((clone.commit, *starts)) + "\n"
    printed = _git(clone.root, "rev-list", "--topo-order", "--parents", "--stdin", doing="read the history", text=told)
    lines = (line.split() for line in printed.splitlines())
    return {sha: tuple(parents) for sha, *parents in lines}


def commits(clone: Clone, parents: Mapping[str, Collection[str]], shas: Iterable[str]) -> dict[str, Commit]:
    """These commits with their messages and the paths that they changed, relative to the project, in this order.

    A merge has changed what differs from each of its parents. A renamed file counts under both names.
    """
    told = "".join(f"{' '.join((sha, *parents[sha]))}\n" for sha in shas)
    if not told:
        return {}
    # Messages and names may have any bytes, so they are read from a file.
    with tempfile.TemporaryDirectory(prefix="delivery-") as folder:
        file = Path(folder) / "commits"
        shape = ("--root", "-r", "-m", "--always", "--name-only", "--no-renames", "-z", "--encoding=UTF-8")
        argv = ("diff-tree", "--stdin", *shape, "--format=%x00%H%x00%B%x00", f"--output={file}")
        _git(clone.root, *argv, doing="read the commits", text=told)
        return _commits(file.read_bytes().decode("utf-8", errors="replace"), clone.prefix, parents)


def changes(root: Path) -> list[str]:
    """The paths that differ from the last commit, new ones too."""
    argv = ("status", "--porcelain", "--untracked-files=all", "--no-renames", "--ignored=no", "--", ".")
    printed = _git(root, *argv, doing="look for changes that are not committed")
    return [_unquoted(line[3:]) for line in printed.splitlines()]


def text_at(clone: Clone, commit: str, path: str) -> str | None:
    """The text of a file of the project as a commit has it; None when it has none."""
    try:
        return _git(
            clone.root, "cat-file", "blob", f"{commit}:{clone.prefix}{path}", doing=f"read {path} as of {commit[:12]}"
        )
    except CommandError:
        return None


def deepen(root: Path) -> None:
    """Fetch the history that a shallow clone lacks, with all tags; raise CommandError when that fails."""
    _git(root, *DEEPEN[1:], doing="fetch the history that this shallow clone lacks", timeout=_FETCH_SECONDS)


def has_remote(root: Path) -> bool:
    """Whether the clone has a remote `origin`."""
    return bool(_configured(root, "remote.origin.url"))


def is_without_tags(root: Path) -> bool:
    """Whether the clone was made without tags (`git clone --no-tags`)."""
    return _configured(root, "remote.origin.tagOpt") == "--no-tags"


def remote_tags(root: Path) -> dict[str, str]:
    """The remote's tags by name, each with the object that it stands for, which mostly is a commit.

    Raises CommandError when the remote does not answer.
    """
    argv = ("ls-remote", "--tags", "origin")
    printed = _git(root, *argv, doing="ask the remote for its tags", timeout=_ASK_SECONDS)
    # What an annotated tag stands for is in a line of its own, NAME^{}, after the tag itself.
    lines = (line.split("\trefs/tags/", 1) for line in _rows(printed))
    return {name.removesuffix("^{}"): sha for sha, name in lines}


def fetch_tags(root: Path) -> None:
    """Fetch the remote's tags; raise CommandError when one of them cannot be fetched."""
    _git(root, *FETCH_TAGS[1:], doing="fetch the remote's tags", timeout=_FETCH_SECONDS)


def _git(root: Path, *arguments: str, doing: str, text: str | None = None, timeout: float = _SECONDS) -> str:
    argv = ["git", "-C", str(root), *_OPTIONS, *arguments]
    return process.capture(argv, doing=doing, env=_ENVIRONMENT, text=text, timeout=timeout)


def _configured(root: Path, key: str) -> str:
    """What the clone's configuration says for a key; "" where it says nothing."""
    try:
        return _git(root, "config", "--get", key, doing=f"read {key}").strip()
    except CommandError:
        return ""


def _refs(root: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    printed = _git(root, "for-each-ref", f"--format={_REF}", *_REFS, doing="read the branches and tags")
    for line in _rows(printed):
        name, kind, sha, *peeled = line.split(" ")
        if kind == "tag":
            kind, sha = peeled
        if kind == "tag":  # a tag of a tag
            kind, sha = "commit", _peeled(root, name)
        if kind == "commit" and sha:
            found[name] = sha
    return found


def _peeled(root: Path, name: str) -> str:
    try:
        return _git(root, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", doing=f"read {name}").strip()
    except CommandError:
        return ""


def _commits(text: str, prefix: str, parents: Mapping[str, Collection[str]]) -> dict[str, Commit]:
    """Read diff-tree's records: an empty part, a SHA, a message, an empty part, and names.

    A merge has one for each parent that it differs from.
    """
    messages: dict[str, str] = {}
    changed: dict[str, list[tuple[str, ...]]] = {}
    parts = text.split("\0")
    at = 0
    while at + 4 < len(parts):
        sha, message = parts[at + 1 : at + 3]
        end = parts.index("", at + 4)
        names = "\0".join(parts[at + 4 : end]).removeprefix("\n").split("\0")
        messages[sha] = message.removesuffix("\n")
        changed.setdefault(sha, []).append(
            tuple(name.removeprefix(prefix) for name in names if name and name.startswith(prefix))
        )
        at = end
    return {sha: _commit(sha, messages[sha], paths, len(parents[sha])) for sha, paths in changed.items()}


def _commit(sha: str, message: str, changed: Sequence[tuple[str, ...]], parents: int) -> Commit:
    """A commit, from the paths that differ from each parent that it differs from."""
    if parents <= 1:
        return Commit(sha, message, changed[0])
    everywhere = set(changed[0]).intersection(*changed) if len(changed) == parents else set()
    brought = dict.fromkeys(path for paths in changed for path in paths)
    return Commit(sha, message, tuple(path for path in brought if path in everywhere), tuple(brought))


def _unquoted(name: str) -> str:
    """A path as it is, from how git prints one with unusual characters: in quotes, its bytes escaped as C does."""
    if not name.startswith('"'):
        return name
    return bytes(ast.literal_eval(f"b{name}")).decode("utf-8", errors="replace")


def _rows(text: str) -> list[str]:
    """Lines by their newlines alone: splitlines() takes more for an end, which names may have."""
    return text.split("\n")[:-1]


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="ascii").split()
    except OSError:
        return []


def _no_clone(root: Path, error: CommandError) -> DeclarationError:
    told = error.tail
    doing = f"read the clone {root}"
    if error.returncode == 127:  # noqa: PLR2004 - a shell's code for a program that is not there
        return DeclarationError(
            f"{doing}: there is no program git", hint="install git: versions come from tags and commits"
        )
    if "dubious ownership" in told:
        hint = f"`git config --global --add safe.directory {root.resolve()}` if you trust it"
        return DeclarationError(f"{doing}: it belongs to another user, and git refuses to read it", hint=hint)
    if "not a git repository" in told:
        hint = (
            "run this from a clone (`git clone`), not from an archive of the files: versions come from tags and commits"
        )
        return DeclarationError(f"{doing}: it is no git clone", hint=hint)
    if re.search(r"unknown revision|ambiguous argument|Needed a single revision", told):
        hint = "commit something first: versions come from tags and commits"
        return DeclarationError(f"{doing}: there is no commit yet", hint=hint)
    return DeclarationError(f"{doing}: git cannot", hint="mend what git says above", details=told)
