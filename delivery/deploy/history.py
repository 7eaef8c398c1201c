"""The history of a release in an environment, as helm keeps it: what serves, and what to go back to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from delivery.errors import DeclarationError

__all__ = ["History", "Revision", "describe"]

_ROLLED_BACK = re.compile(r"Rollback to (\d+)")
# Helm's own description of a revision that was deployed without one.
_HELMS_OWN = frozenset(("Install complete", "Upgrade complete"))


@dataclass(frozen=True)
class Revision:
    """One revision of a release, as helm's history has it."""

    number: int
    status: str
    updated: datetime
    chart: str
    description: str


@dataclass(frozen=True)
class History:
    """The revisions of a release, the oldest first."""

    revisions: tuple[Revision, ...] = ()

    @property
    def serving(self) -> Revision | None:
        """The revision that serves: the last one that was deployed successfully."""
        return next((one for one in reversed(self.revisions) if one.status == "deployed"), None)

    @property
    def pending(self) -> Revision | None:
        """The last revision, if its helm has not finished; helm refuses another one until then."""
        last = self.revisions[-1] if self.revisions else None
        return last if last and last.status.startswith("pending-") else None

    def find(self, number: int) -> Revision | None:
        """The revision of this number."""
        return next((one for one in self.revisions if one.number == number), None)

    def rollback_target(self, requested: int = 0) -> Revision:
        """The revision to go back to: the requested one, or the last good one before the serving one.

        Going back twice goes back two: a revision that is a rollback counts as the one that it
        repeats. Raises DeclarationError when there is none.
        """
        good = [one for one in self.revisions if one.status in {"superseded", "deployed"}]
        known = "; ".join(self._summary(one) for one in good if one is not self.serving)
        if requested:
            for revision in good:
                if revision.number == requested:
                    return revision
            raise DeclarationError(
                f"roll back to revision {requested}: there is none that went well",
                hint=f"those that did: {known or 'none'}",
            )
        last = self.revisions[-1].number + 1 if self.revisions else 0
        limit = self._origin(self.serving) if self.serving else last
        for revision in reversed(good):
            if revision.number < limit:
                return revision
        raise DeclarationError(
            "roll back: there is no earlier revision that went well",
            hint=f"--revision takes one of: {known}"
            if known
            else "`./run inv deploy` deploys another version",
        )

    def versions(self, revision: Revision) -> dict[str, str]:
        """The versions that a revision, or the one that it repeats, was described with; empty without."""
        source = self.find(self._origin(revision)) or revision
        parts = [part.partition(" ") for part in source.description.split(", ")]
        if source.description in _HELMS_OWN or any(
            not version or " " in version for _, _, version in parts
        ):
            return {}
        return {name: version for name, _, version in parts}

    def _summary(self, revision: Revision) -> str:
        versions = describe(self.versions(revision)) or revision.chart
        return f"{revision.number} ({versions}, {revision.updated:%Y-%m-%d %H:%M:%S})"

    def _origin(self, revision: Revision) -> int:
        """The number of the revision that this one is, or repeats."""
        number = revision.number
        while (found := self.find(number)) and (rollback := _ROLLED_BACK.match(found.description)):
            number = int(rollback[1])
        return number


def describe(versions: Mapping[str, str]) -> str:
    """The description that helm is given for a revision; `History.versions` reads it."""
    return ", ".join(f"{name} {version}" for name, version in versions.items())
