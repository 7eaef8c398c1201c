"""Prepare a release: write and commit its versions and changelogs, completely or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from delivery import console
from delivery.errors import DeclarationError
from delivery.project import gather, git, gitflow, preparation, versions
from delivery.project.declaration import Declaration
from delivery.project.facts import Ref
from delivery.project.files import ROOT
from delivery.project.preparation import Preparation
from delivery.words import plural, shorten

__all__ = ["plan", "write"]


def plan(declaration: Declaration, arguments: Sequence[str] = (), root: Path = ROOT) -> Preparation:
    """The preparation of the next release; arguments set versions by hand, as NAME=X.Y.Z.

    Raises DeclarationError on a branch that prepares no releases, with uncommitted changes, and for
    versions that do not go up.
    """
    by_hand = preparation.parse_versions(declaration, arguments)
    # The branch that is checked out, whatever a CI server says: it gets the commit.
    clone = git.load_clone(root)
    current = clone.branch
    decision = gitflow.decide(Ref("branch" if current else "", current), declaration)
    preparation.check_branch(declaration, decision, clone.branch_refs())
    checkout = gather.load_checkout(declaration, root, current)
    facts = checkout.facts
    if facts.uncommitted:
        raise DeclarationError(
            f"cannot prepare a release: {plural(len(facts.uncommitted), 'file')} not committed "
            f"({shorten(facts.uncommitted)})",
            hint="commit or stash them first: the commit of the release has no other changes",
        )
    preparation.check_versions(checkout.versions, by_hand)
    # As if the files had the versions set by hand: the next version is never lower.
    facts = replace(facts, file_versions={**facts.file_versions, **by_hand})
    day = f"{datetime.now(UTC):%Y-%m-%d}"
    checkout = versions.decide(declaration, facts)
    return preparation.prepare(checkout, _texts(declaration, root), day)


def write(prepared: Preparation, root: Path = ROOT) -> None:
    """Write the files and commit them; a failure or an interrupt restores them."""
    previous = {path: (root / path).read_bytes() for path in prepared.texts}
    with console.step("prepare") as step:
        try:
            for path, text in prepared.texts.items():
                (root / path).write_bytes(text.encode())
            sha = git.commit(root, prepared.subject, sorted(prepared.texts))
        except BaseException:
            for path, content in previous.items():
                (root / path).write_bytes(content)
            raise
        step.done(f"{sha[:12]} {prepared.subject}")


def _texts(declaration: Declaration, root: Path) -> dict[str, str]:
    """The texts of the files that may have a version, by path, with their own line ends."""
    texts: dict[str, str] = {}
    for path in preparation.version_files(declaration):
        with suppress(FileNotFoundError):
            texts[path] = (root / path).read_bytes().decode("utf-8")
    return texts
