"""`inv images.sbom` and `inv signing.*`: SBOMs and signatures."""

from __future__ import annotations

import getpass
import os
from pathlib import Path
from typing import TYPE_CHECKING

from invoke.context import Context

from delivery import console
from delivery.errors import DeclarationError, did_you_mean
from delivery.tasks.decorator import task

if TYPE_CHECKING:
    from delivery.registry.client import Registry
    from delivery.release.released import Release

__all__ = ["keys", "sbom", "sign", "verify"]


_VERSION = "of a release; default: the last release of this clone"


@task(
    help={
        "image": "its name in delivery.toml",
        "version": _VERSION,
        "json": "print the CycloneDX document",
    }
)
def sbom(
    _context: Context,
    image: str,
    version: str = "",
    json_: bool = False,
) -> None:
    """Show every package in an image.

    They come from the SBOM that the registry has for the image; else it is made.
    """
    from delivery.release import attached_sboms
    from delivery.release.sbom import parse, table_rows

    known = _release("show an SBOM", _registry(), version).images
    if image not in known:
        raise DeclarationError(
            f"cannot show an SBOM: {image} is no image of this project",
            hint=did_you_mean(image, known),
        )
    text, made = attached_sboms.read_or_make(image, known[image])
    if json_:
        console.data(text)
        return
    title = f"{known[image].pinned}{' (new: the registry has none)' if made else ''}"
    console.table(title, ("kind", "name", "version", "licences"), table_rows(parse(text)))


@task(help={"to": "the folder for the two files"})
def keys(_context: Context, to: str) -> None:
    """Make a key pair for signatures.

    The password of the private key is COSIGN_PASSWORD, else it is asked for.
    """
    from delivery.release import signing

    signing.key_pair(Path(to), _password())


@task(help={"version": _VERSION})
def sign(_context: Context, version: str = "") -> None:
    """Sign a release: its images, its chart and its release.json.

    Does not check provenance, which `inv push` does.
    """
    from delivery.project import files
    from delivery.release import cosign, signing

    if not cosign.signing_key():
        raise DeclarationError(
            f"cannot sign: {cosign.KEY} is not set",
            hint="set it to a private key or its file; see `./run inv signing.keys`",
        )
    signing.sign(files.load_declaration(), _references("sign", version))


@task(help={"version": _VERSION})
def verify(_context: Context, version: str = "", json_: bool = False) -> None:
    """Check the signatures of a release with the key in delivery.toml."""
    from delivery.project import files
    from delivery.release import signing

    references = _references("verify signatures", version)
    signing.verify(files.load_declaration(), references)
    if json_:
        console.data({"signed": references})


def _registry() -> Registry:
    from delivery.project import files
    from delivery.registry.client import Registry

    return Registry(files.load_declaration().registry.address)


def _release(doing: str, registry: Registry, version: str) -> Release:
    from delivery.platform import lifecycle
    from delivery.release import catalog

    release = catalog.find(registry, version) if version else lifecycle.released()
    if release is None:
        reason, hint = "this clone has no release yet", "publish it by `./run inv push`"
        if version:
            reason = f"{registry.address} has no release {version}"
            hint = catalog.choices(registry)
        raise DeclarationError(f"cannot {doing}: {reason}", hint=hint)
    return release


def _references(doing: str, version: str) -> list[str]:
    """The signed references of a release; of a local release its images."""
    from delivery.release import catalog

    registry = _registry()
    release = _release(doing, registry, version)
    return (
        catalog.references(registry, release)
        if release.version
        else [image.pinned for image in release.images.values()]
    )


def _password() -> str:
    from delivery import prompt
    from delivery.release import cosign

    if cosign.PASSWORD in os.environ:
        return os.environ[cosign.PASSWORD]
    if not prompt.is_interactive():
        raise DeclarationError(
            "cannot make a key pair: no terminal to ask for a password",
            hint=f"set {cosign.PASSWORD}",
        )
    password = getpass.getpass("Password for the private key: ")
    if password != getpass.getpass("Repeat it: "):
        raise DeclarationError("cannot make a key pair: the passwords differ", hint="run it again")
    return password
