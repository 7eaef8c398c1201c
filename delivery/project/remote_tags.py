"""The remote's version tags: a clone that is published has all of them, and the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from delivery import console
from delivery.errors import CommandError, DeclarationError
from delivery.machine import pipeline
from delivery.project import git
from delivery.project.declaration import Declaration
from delivery.project.git import Clone
from delivery.project.gitflow import parse_version_tag
from delivery.project.notices import plural, shorten

__all__ = ["fetch_missing"]

_FETCH = f"`{' '.join(git.FETCH_TAGS)}`"


def fetch_missing(declaration: Declaration, clone: Clone) -> Clone:
    """Fetch the version tags that the remote has and a clone lacks, and return the clone as it is then.

    Raises DeclarationError when a tag differs or cannot be fetched, or when the remote cannot be
    asked. By hand, in a clone that has tags, the last is only printed.
    """
    if "origin" not in git.remotes(clone.root):
        return clone
    try:
        tags = git.remote_tags(clone.root)
    except CommandError as error:
        _require_tags(declaration, clone, error)
        reason = (error.tail or error.message).partition("\n")[0]
        console.say(
            f"… the remote cannot be asked for version tags, and those of this clone count: {reason}"
        )
        return clone
    tags = {name: sha for name, sha in tags.items() if parse_version_tag(name, declaration)}
    _refuse_moved(clone, tags)
    if not (missing := _missing(clone, tags)):
        return clone
    console.say(f"… this clone {_lacks(missing)}: {_FETCH}")
    details = ""
    try:
        git.fetch_tags(clone.root)
    except CommandError as error:  # one tag that is another here is enough for it
        details = error.tail
    clone = git.load_clone(clone.root)
    if missing := _missing(clone, tags):
        raise DeclarationError(
            f"cannot decide on versions: this clone {_lacks(missing)}",
            hint=f"{_FETCH}, or clone with tags (Jenkins: cloneOption, noTags false)",
            details=details,
        )
    return clone


def _require_tags(declaration: Declaration, clone: Clone, error: CommandError) -> None:
    """Raise DeclarationError when the clone may lack tags of the remote, which cannot be asked."""
    has_tags = any(parse_version_tag(name, declaration) for name in clone.tags)
    if git.is_without_tags(clone.root):
        reason = "this clone was made without tags"
    elif pipeline() and not has_tags:
        reason = "in a pipeline a clone without a version tag does not count"
    else:
        return
    raise DeclarationError(
        f"cannot decide on versions: the remote cannot be asked for version tags, and {reason}",
        hint="give this stage credentials for git, and clone with tags"
        f" (Jenkins: cloneOption, noTags false); by hand: {_FETCH}, and"
        " `git config --unset remote.origin.tagOpt` in a clone that was made without tags",
        details=error.tail or error.message,
    ) from error


def _refuse_moved(clone: Clone, tags: Mapping[str, str]) -> None:
    """Raise DeclarationError when a version tag is of another commit here than at the remote."""
    moved = sorted(name for name, sha in tags.items() if clone.tags.get(name, sha) != sha)
    if not moved:
        return
    differ = "differs" if len(moved) == 1 else "differ"
    raise DeclarationError(
        f"cannot decide on versions: {plural(moved, 'version tag')} {differ} from the remote's ({shorten(moved)})",
        hint="`git fetch --tags --force origin` takes the remote's tags, if those are right; "
        "a version tag is never moved, so find out who moved it",
        details="\n".join(
            f"{name}: {clone.tags[name][:12]} here, {tags[name][:12]} at the remote"
            for name in moved
        ),
    )


def _missing(clone: Clone, tags: Mapping[str, str]) -> list[str]:
    return sorted(set(tags) - set(clone.tags))


def _lacks(missing: Sequence[str]) -> str:
    return f"lacks {plural(missing, 'version tag')} of the remote ({shorten(missing)})"
