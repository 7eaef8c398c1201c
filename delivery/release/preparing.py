"""Prepare a release: what is decided is written into the files and committed, all of it or nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from delivery import console
from delivery.errors import DeclarationError
from delivery.project import gather, git_write, gitflow, preparation, versions
from delivery.project.declaration import Declaration
from delivery.project.facts import Facts, Ref
from delivery.project.files import ROOT
from delivery.project.preparation import Preparation

__all__ = ["look", "texts", "write"]


def look(declaration: Declaration, told: Sequence[str] = (), root: Path = ROOT) -> Preparation:
    """What is to be written for the next release; told are the versions set by hand, each NAME=X.Y.Z.

    Raises DeclarationError on a branch that releases are not prepared on, with changes that are not committed, and for versions
    that do not go up.
    """
    wanted = preparation.told(declaration, told)
    # What is checked out counts, whatever a CI server says: that is where the commit goes.
    current, _ = git_write.branches(root)
    decision = gitflow.decide(Ref("branch" if current else "", current), declaration)
    preparation.refuse_branch(declaration, decision)
    facts = gather.look(declaration, root, current)
    _refuse_changes(facts)
    preparation.raised(versions.decide(declaration, facts, decision), wanted)
    # Set by hand is the same as written by hand: the next version is never below what the files say.
    facts = replace(facts, written={**facts.written, **wanted})
    decided = versions.decide(declaration, facts, decision)
    day = f"{datetime.now(UTC):%Y-%m-%d}"
    return preparation.prepare(declaration, facts, decided, texts(declaration, root), day)


def texts(declaration: Declaration, root: Path = ROOT) -> dict[str, str]:
    """The files that may say a version, and the changelogs, by path, with the line ends that they have."""
    found: dict[str, str] = {}
    for path in preparation.sources(declaration):
        with suppress(FileNotFoundError):
            found[path] = (root / path).read_bytes().decode("utf-8")
    return found


def write(prepared: Preparation, root: Path = ROOT) -> None:
    """Write the files and commit them; when that fails half way, or is interrupted, they are as they were."""
    before = {path: (root / path).read_bytes() for path in prepared.texts}
    with console.step("prepare") as step:
        try:
            for path, text in prepared.texts.items():
                (root / path).write_bytes(text.encode())
            sha = git_write.commit(root, prepared.subject, sorted(prepared.texts))
        except BaseException:
            _put_back(before, root)
            raise
        step.done(f"{sha[:12]} {prepared.subject}")


def _put_back(before: Mapping[str, bytes], root: Path) -> None:
    for path, content in before.items():
        (root / path).write_bytes(content)


def _refuse_changes(facts: Facts) -> None:
    if facts.uncommitted:
        shown = f"{', '.join(facts.uncommitted[:3])}{', …' if len(facts.uncommitted) > 3 else ''}"  # noqa: PLR2004
        raise DeclarationError(
            f"prepare a release: {len(facts.uncommitted)} files are not committed ({shown})",
            hint="commit or stash them first, so that the release's commit is the release's alone",
        )
