"""Where records come from: this clone, its versions, its commit, and the actor."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from delivery import machine
from delivery.project import files, gather, git, gitflow
from delivery.project.declaration import Declaration
from delivery.project.facts import Described
from delivery.project.files import ROOT
from delivery.records.deployment import Contents
from delivery.records.events import Origin
from delivery.release.released import Release, ReleasedPart, read_release

__all__ = ["Source", "load", "origin_of"]


@dataclass(frozen=True)
class Source:
    """What Git and the files of this clone say; its remote is not asked."""

    declaration: Declaration
    decision: gitflow.Decision
    versions: Mapping[str, str]  # by component, and by the project's own name
    origin: Origin
    subject: str  # the first line of the commit message

    def contents(self, names: list[str], root: Path) -> Contents:
        """The versions of these components, with the digests that this clone has published."""
        versions = {name: self.versions[name] for name in names}
        file = files.output("release.json", root=root)
        if not file.exists():
            return Contents(versions=versions)
        release = read_release(file.read_text(encoding="utf-8"), file=str(file))
        parts: dict[str, ReleasedPart] = dict(release.images)
        if release.chart:
            parts[self.declaration.chart.folder] = release.chart
        digests = {
            name: part.digest
            for name, part in parts.items()
            if name in versions and part.version == versions[name]
        }
        return Contents(versions=versions, digests=digests)


def load(root: Path = ROOT) -> Source:
    """The source of records of this clone."""
    declaration = files.load_declaration(root)
    # Each stage of a pipeline records: asking the remote each time would be slow.
    checkout = gather.load_checkout(declaration, root, ask=False)
    decision, commit = checkout.decision, checkout.facts.commit
    versions = checkout.published
    versions[declaration.name] = versions[declaration.chart.folder]
    described = git.describe(root, commit)
    origin = _origin(described, commit, checkout.facts.ref.name, decision.line.value)
    return Source(declaration, decision, versions, origin, described.subject if described else "")


def origin_of(release: Release | None, root: Path = ROOT) -> Origin:
    """The origin of a deployment: the release's commit, else this clone's."""
    if release and release.commit:
        described = git.describe(root, release.commit)
        return _origin(described, release.commit, release.branch, release.line)
    described = git.describe(root, "HEAD")
    return _origin(described, described.sha if described else "")


def _origin(described: Described | None, commit: str, branch: str = "", line: str = "") -> Origin:
    return Origin(
        actor=_actor(described.author if described else ""),
        pipeline=machine.pipeline(),
        commit=commit,
        branch=branch,
        line=line,
        committed_at=described.committed_at if described else "",
    )


def _actor(author: str) -> str:
    """DELIVERY_RESPONSIBLE, else in a pipeline the author of the change, else the user."""
    if not os.environ.get("DELIVERY_RESPONSIBLE") and machine.pipeline():
        return os.environ.get("CHANGE_AUTHOR") or author or machine.actor()
    return machine.actor()
