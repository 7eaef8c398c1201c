"""`inv images.sbom` and `signing`: what our images are made of, and who says that they are ours."""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path

from invoke.context import Context

from delivery import console
from delivery.errors import DeclarationError, did_you_mean
from delivery.platform import lifecycle
from delivery.project import files
from delivery.registry.client import Registry
from delivery.release import attached_sboms, catalog, cosign, signing
from delivery.release.released import Release
from delivery.release.sbom import parse, table_rows
from delivery.tasks.decorator import task

__all__ = ["keys", "sbom", "sign", "verify"]


_VERSION = "of this release; without it, of the one that was published from this clone last"


@task(
    help={
        "image": "one of ours, as delivery.toml names it",
        "version": _VERSION,
        "json": "print the CycloneDX document itself",
    }
)
def sbom(
    _context: Context,
    image: str,
    version: str = "",
    json_: bool = False,
) -> None:
    """Show every package that one of our images has in it.

    It is the bill of materials that is attached to the image in the registry; where there is none, one is made now.
    """
    known = _release("show a bill of materials", _registry(), version).images
    if image not in known:
        raise DeclarationError(
            f"show a bill of materials: {image} is no image of ours",
            hint=did_you_mean(image, known, f"one of {', '.join(known)}"),
        )
    text, made = attached_sboms.read_or_make(image, known[image])
    if json_:
        console.data(text)
        return
    title = f"{known[image].pinned}{' (made now: none is attached)' if made else ''}"
    console.table(title, ("kind", "name", "version", "licences"), table_rows(parse(text)))


@task(help={"to": "the folder that the two files go to"})
def keys(_context: Context, to: str) -> None:
    """Make a key pair to sign with.

    The private half is locked by the password in COSIGN_PASSWORD, else it is asked for.
    """
    signing.key_pair(Path(to), _password())


@task(help={"version": _VERSION})
def sign(_context: Context, version: str = "") -> None:
    """Sign a release, so far as it is not signed yet: its images, its chart, and itself.

    Nothing is built, and provenance is not checked: `inv push` checks it.
    """
    if not cosign.signing_key():
        raise DeclarationError(
            f"sign: {cosign.KEY} is not set",
            hint="set it to the private key, a file or its text; `./run inv signing.keys --to DIR` makes one",
        )
    signing.sign(files.load_declaration(), _parts("sign", version))


@task(help={"version": _VERSION})
def verify(_context: Context, version: str = "", json_: bool = False) -> None:
    """Check that a release is signed for the key in delivery.toml."""
    parts = _parts("check signatures", version)
    signing.verify(files.load_declaration(), parts)
    if json_:
        console.data({"signed": parts})


def _registry() -> Registry:
    return Registry(files.load_declaration().registry.address)


def _release(doing: str, registry: Registry, version: str) -> Release:
    release = catalog.find(registry, version) if version else lifecycle.released()
    if release is None:
        where = (
            f"{registry.address} holds no release {version}"
            if version
            else "nothing is released from this clone yet"
        )
        raise DeclarationError(f"{doing}: {where}", hint="`./run inv push` publishes one")
    return release


def _parts(doing: str, version: str) -> list[str]:
    """What is signed of a release; what a clone made for itself is images alone."""
    registry = _registry()
    release = _release(doing, registry, version)
    return (
        catalog.references(registry, release)
        if release.version
        else [one.pinned for one in release.images.values()]
    )


def _password() -> str:
    if cosign.PASSWORD in os.environ:
        return os.environ[cosign.PASSWORD]
    if not sys.stdin.isatty():
        raise DeclarationError(
            "make a key pair: nobody is here to be asked for a password",
            hint=f"set {cosign.PASSWORD}",
        )
    told = getpass.getpass("Password for the private key: ")
    if told != getpass.getpass("The same once more: "):
        raise DeclarationError("make a key pair: the passwords differ", hint="run it again")
    return told
