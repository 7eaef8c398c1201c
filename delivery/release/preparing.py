"""Prepare a release: what is decided is written and committed, all of it or nothing."""

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
from delivery.project.notices import shorten
from delivery.project.preparation import Preparation

__all__ = ["plan", "write"]


def plan(declaration: Declaration, told: Sequence[str] = (), root: Path = ROOT) -> Preparation:
    """What is to be written for the next release; told are versions set by hand, NAME=X.Y.Z.

    Raises DeclarationError on a branch that releases are not prepared on, with changes that are not
    committed, and for versions that do not go up.
    """
    wanted = preparation.parse_versions(declaration, told)
    # What is checked out counts, whatever a CI server says: that is where the commit goes.
    current = git.load_clone(root).branch
    ref = Ref("branch" if current else "", current)
    preparation.check_branch(declaration, gitflow.decide(ref, declaration))
    checkout = gather.load_checkout(declaration, root, current)
    facts = checkout.facts
    if facts.uncommitted:
        raise DeclarationError(
            f"cannot prepare a release: {len(facts.uncommitted)} files are not committed ({shorten(facts.uncommitted)})",
            hint="commit or stash them first, so that its commit is the release's alone",
        )
    preparation.check_versions(checkout.versions, wanted)
    # A version set by hand is like one written by hand: the next one is never below it.
    facts = replace(facts, file_versions={**facts.file_versions, **wanted})
    day = f"{datetime.now(UTC):%Y-%m-%d}"
    checkout = versions.decide(declaration, facts)
    return preparation.prepare(checkout, _texts(declaration, root), day)


def write(prepared: Preparation, root: Path = ROOT) -> None:
    """Write the files and commit them; when that fails, or is interrupted, they are as before."""
    before = {path: (root / path).read_bytes() for path in prepared.texts}
    with console.step("prepare") as step:
        try:
            for path, text in prepared.texts.items():
                (root / path).write_bytes(text.encode())
            sha = git.commit(root, prepared.subject, sorted(prepared.texts))
        except BaseException:
            for path, content in before.items():
                (root / path).write_bytes(content)
            raise
        step.done(f"{sha[:12]} {prepared.subject}")


def _texts(declaration: Declaration, root: Path) -> dict[str, str]:
    """The files that may say a version, by path, with the line ends that they have."""
    found: dict[str, str] = {}
    for path in preparation.version_files(declaration):
        with suppress(FileNotFoundError):
            found[path] = (root / path).read_bytes().decode("utf-8")
    return found
