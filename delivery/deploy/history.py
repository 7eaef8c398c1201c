"""The helm history of a release in an environment: what is deployed, and what to roll back to."""

from __future__ import annotations

import base64
import gzip
import json
import math
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from delivery.deploy.manifests import Manifest, read_manifest
from delivery.errors import DeclarationError, DeployError

__all__ = ["History", "Revision", "describe", "parse_revision"]

_GZIP = b"\x1f\x8b"
_ROLLED_BACK = re.compile(r"Rollback to (\d+)")
# The descriptions that helm itself writes.
_HELMS_OWN = frozenset(("Install complete", "Upgrade complete"))


@dataclass(frozen=True)
class Revision:
    """One revision of a release."""

    number: int
    status: str
    updated: datetime
    chart: str
    description: str
    manifest: Manifest = field(default=Manifest("", ""), repr=False)
    values: Mapping[str, Any] = field(default_factory=dict, repr=False)  # without the chart's own


@dataclass(frozen=True)
class History:
    """The revisions of a release, the oldest first."""

    revisions: tuple[Revision, ...] = ()

    @property
    def deployed(self) -> Revision | None:
        """The last revision that was deployed successfully."""
        successful = (each for each in reversed(self.revisions) if each.status == "deployed")
        return next(successful, None)

    @property
    def pending(self) -> Revision | None:
        """The last revision, if its helm has not finished; until then, helm refuses another."""
        last = self.revisions[-1] if self.revisions else None
        return last if last and last.status.startswith("pending-") else None

    def find(self, number: int) -> Revision | None:
        """The revision of this number."""
        return next((each for each in self.revisions if each.number == number), None)

    def rollback_target(self, requested: int = 0) -> Revision:
        """The requested revision, or the last successful revision before what is deployed.

        A second rollback goes further back: a revision that is a rollback counts as the revision
        that it repeats. Raises DeclarationError for an unknown revision.
        """
        deployed = self.deployed
        successful = [each for each in self.revisions if each.status in {"superseded", "deployed"}]
        if requested:
            matches = [each for each in successful if each.number == requested]
        else:
            limit = self._origin(deployed) if deployed else math.inf
            matches = [each for each in successful if each.number < limit]
        if matches:
            return matches[-1]
        known = "; ".join(self._summary(each) for each in successful if each is not deployed)
        raise DeclarationError(
            f"cannot roll back to revision {requested}: no revision of that number succeeded"
            if requested
            else "cannot roll back: no earlier revision succeeded",
            hint=f"pass --revision with one of: {known}"
            if known
            else "deploy another version with `./run inv deploy`",
        )

    def versions(self, revision: Revision) -> dict[str, str]:
        """The versions in the description of a revision, or of the revision that it repeats.

        Empty where helm wrote the description.
        """
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
        """The number of this revision, or of the revision that it repeats."""
        number = revision.number
        while (source := self.find(number)) and (match := _ROLLED_BACK.match(source.description)):
            number = int(match[1])
        return number


def parse_revision(secret: Mapping[str, Any]) -> Revision:
    """The revision in a Secret of helm's, which encodes it before Kubernetes does.

    Raises DeployError for a Secret that has none.
    """
    try:
        packed = base64.b64decode(base64.b64decode(secret["data"]["release"]))
        # Early versions of helm did not pack it.
        release = json.loads(gzip.decompress(packed) if packed.startswith(_GZIP) else packed)
        info, chart = release["info"], release["chart"]["metadata"]
        return Revision(
            number=release["version"],
            status=info["status"],
            updated=datetime.fromisoformat(info["last_deployed"]),
            chart=f"{chart['name']}-{chart['version']}",
            description=info.get("description", ""),
            manifest=read_manifest(release),
            values=release.get("config") or {},
        )
    except (ValueError, LookupError, TypeError, OSError, EOFError, zlib.error) as error:
        name = secret["metadata"]["name"]
        raise DeployError(
            f"cannot read the revision in the Secret {name}: {error!r}",
            hint=f"helm skips it; delete it if it is damaged: kubectl delete secret {name}",
        ) from error


def describe(versions: Mapping[str, str]) -> str:
    """The description that helm keeps for a revision; `History.versions` reads it."""
    return ", ".join(f"{name} {version}" for name, version in versions.items())
