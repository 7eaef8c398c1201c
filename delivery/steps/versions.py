"""The versions that can be deployed: the sources of this clone, what is deployed now, and what the registry holds."""

from __future__ import annotations

import re
from pathlib import Path

from delivery.core.declaration import Declaration
from delivery.core.deployment import common_versions
from delivery.core.errors import CommandError, DeclarationError
from delivery.core.release import Release, ReleasedImage
from delivery.tools import git
from delivery.tools.files import ROOT
from delivery.tools.registry import Registry, answers

__all__ = ["CURRENT", "DEPLOYED", "components", "held", "known", "offered", "refuse_changes"]

CURRENT = "current"  # the sources of this clone as they are
DEPLOYED = "deployed"  # what the environment runs now
_SHOWN = 10
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


def components(declaration: Declaration) -> list[str]:
    """Our images that run: those that none other of ours stands on."""
    below = {image.base for image in declaration.images.values()}
    return [name for name in declaration.images if name not in below]


def known(declaration: Declaration, registry: Registry) -> list[str]:
    """The versions that the registry holds every component's image of, newest first."""
    names = components(declaration)
    return common_versions({name: registry.tags(_repository(declaration, name)) for name in names})


def offered(declaration: Declaration) -> list[str]:
    """The newest of them, for a question; none where the registry does not answer now."""
    address = declaration.registry.address
    return known(declaration, Registry(address))[:_SHOWN] if answers(address) else []


def held(declaration: Declaration, registry: Registry, version: str) -> Release:
    """The release that the registry holds under this tag; raise DeclarationError unless it does for every component."""
    if not _TAG.fullmatch(version):
        raise DeclarationError(
            f"deploy version {version!r}: that cannot be a tag",
            hint=f"--version X.Y.Z, or `{CURRENT}` for this clone's sources",
        )
    images = {
        name: ReleasedImage(
            _repository(declaration, name), version, registry.digest(_repository(declaration, name), version)
        )
        for name in components(declaration)
    }
    if missing := [name for name, image in images.items() if not image.digest]:
        there = known(declaration, registry)
        raise DeclarationError(
            f"deploy version {version}: {registry.address} holds no {', '.join(missing)} of it",
            hint=f"it holds every component of: {_listed(there)}; `{CURRENT}` is what this clone's sources make",
        )
    return Release(images)


def refuse_changes(environment: str, root: Path = ROOT) -> None:
    """Raise DeclarationError when the sources of this clone are not what a commit says they are."""
    doing = f"deploy this clone's sources to {environment}"
    hint = "commit them, or name a version that the registry holds: --version X.Y.Z"
    try:
        changed = git.changes(root)
    except CommandError as error:
        raise DeclarationError(
            f"{doing}: git does not know which commit they are", details=error.tail, hint=hint
        ) from error
    if changed:
        shown = f"{', '.join(changed[:3])}{', …' if len(changed) > 3 else ''}"  # noqa: PLR2004
        raise DeclarationError(f"{doing}: {len(changed)} files are not committed ({shown})", hint=hint)


def _repository(declaration: Declaration, name: str) -> str:
    return f"{declaration.registry.address}/{name}"


def _listed(versions: list[str]) -> str:
    return ", ".join(versions[:_SHOWN]) + (" …" if len(versions) > _SHOWN else "") if versions else "no version yet"
