"""The remote's version tags: versions are decided only with all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from delivery import console
from delivery.errors import CommandError, DeclarationError
from delivery.machine import pipeline
from delivery.project import git
from delivery.project.declaration import Declaration
from delivery.project.git import Clone
from delivery.project.gitflow import parse_version_tag
from delivery.words import plural, shorten

__all__ = ["fetch_missing"]

_FETCH = f"`{' '.join(git.FETCH_TAGS)}`"


def fetch_missing(declaration: Declaration, clone: Clone) -> Clone:
    """Fetch the version tags that only the remote has, and return the clone with them.

    Raises DeclarationError if a tag differs from the remote's or cannot be fetched, or if the
    remote does not answer and the clone may lack tags.
    """
    if "origin" not in git.remotes(clone.root):
        return clone
    try:
        tags = git.remote_tags(clone.root)
    except CommandError as error:
        _require_tags(declaration, clone, error)
        reason = (error.tail or error.message).partition("\n")[0]
        console.say(f"… the remote's version tags cannot be read, the clone's are used: {reason}")
        return clone
    tags = {name: sha for name, sha in tags.items() if parse_version_tag(name, declaration)}
    _refuse_moved(clone, tags)
    if not (missing := _missing(clone, tags)):
        return clone
    console.say(f"… this clone {_lacks(missing)}: {_FETCH}")
    details = ""
    try:
        git.fetch_tags(clone.root)
    except CommandError as error:  # git also fails for other tags that differ
        details = error.tail
    clone = git.load_clone(clone.root)
    if missing := _missing(clone, tags):
        raise DeclarationError(
            f"cannot decide on versions: this clone {_lacks(missing)}",
            hint=f"run {_FETCH}, or clone with tags (Jenkins: cloneOption, noTags false)",
            details=details,
        )
    return clone


def _require_tags(declaration: Declaration, clone: Clone, error: CommandError) -> None:
    """Raise DeclarationError if the clone may lack tags of a remote that does not answer."""
    has_tags = any(parse_version_tag(name, declaration) for name in clone.tags)
    if git.is_without_tags(clone.root):
        reason = "this clone was made without tags"
    elif pipeline() and not has_tags:
        reason = "this clone of a pipeline has none"
    else:
        return
    raise DeclarationError(
        f"cannot decide on versions: the remote's version tags cannot be read, and {reason}",
        hint="give this stage credentials for git, and clone with tags"
        f" (Jenkins: cloneOption, noTags false); by hand: {_FETCH}, and"
        " `git config --unset remote.origin.tagOpt` in a clone that was made without tags",
        details=error.tail or error.message,
    ) from error


def _refuse_moved(clone: Clone, tags: Mapping[str, str]) -> None:
    """Raise DeclarationError if a version tag names another commit than the remote's."""
    moved = sorted(name for name, sha in tags.items() if clone.tags.get(name, sha) != sha)
    if not moved:
        return
    differ = "differs" if len(moved) == 1 else "differ"
    raise DeclarationError(
        f"cannot decide on versions: {plural(len(moved), 'version tag')} {differ} from the remote's"
        f" ({shorten(moved)})",
        hint="find out who moved it: a version tag never moves. If the remote is right, run"
        " `git fetch --tags --force origin`",
        details="\n".join(
            f"{name}: {clone.tags[name][:12]} here, {tags[name][:12]} at the remote"
            for name in moved
        ),
    )


def _missing(clone: Clone, tags: Mapping[str, str]) -> list[str]:
    return sorted(set(tags) - set(clone.tags))


def _lacks(missing: Sequence[str]) -> str:
    return f"lacks {plural(len(missing), 'version tag')} of the remote ({shorten(missing)})"
