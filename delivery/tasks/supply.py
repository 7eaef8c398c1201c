"""`inv images.sbom` and `inv signing.*`: SBOMs and signatures."""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from delivery import console
from delivery.errors import DeclarationError, check_known
from delivery.tasks.decorator import load_declaration, task

if TYPE_CHECKING:
    from delivery.registry.client import Registry
    from delivery.release.released import Release
    from delivery.release.sbom import Image

__all__ = ["keys", "sbom", "sign", "verify"]


_VERSION = "of a release; default: the last release of this clone"


@task(
    help={
        "image": "its name in delivery.toml",
        "version": _VERSION,
        "platform": "of an image for several, such as linux/arm64; default: this machine's",
        "json": "print the CycloneDX document",
    }
)
def sbom(
    image: str,
    version: str = "",
    platform: str = "",
    json_: bool = False,
) -> None:
    """Show every package in an image.

    They come from the SBOM that the registry has for the image; else it is made.
    """
    from delivery.registry.client import Registry
    from delivery.release import attached_sboms
    from delivery.release.sbom import parse, table_rows

    images = attached_sboms.images_of(_release("show an SBOM", version))
    known = {each.name: each for each in images}
    check_known(image, known, f"cannot show an SBOM: {image} is no image of this project")
    whole = known[image]
    shown = _of_platform(attached_sboms.by_platform(Registry(whole.repository), whole), platform)
    text, made = attached_sboms.read_or_make(shown)
    if json_:
        console.data(text)
        return
    title = f"{shown.repository}@{shown.digest}"
    title += " (new: the registry has none)" if made else ""
    console.table(title, ("kind", "name", "version", "licences"), table_rows(parse(text)))


def _of_platform(images: Mapping[str, Image], platform: str) -> Image:
    """The image of a platform, by default of this machine's, else of the first."""
    from delivery import machine

    first = next(iter(images.values()))
    if platform and "" in images:
        raise DeclarationError(
            f"cannot show an SBOM for {platform}: {first.name} is no image for several platforms",
            hint="omit --platform",
        )
    if platform and platform not in images:
        raise DeclarationError(
            f"cannot show an SBOM: there is no {first.name} for {platform}",
            hint=f"there is one for {', '.join(images)}",
        )
    return images.get(platform or machine.platform(), first)


@task(help={"to": "the folder for the two files"})
def keys(to: str) -> None:
    """Make a key pair for signatures.

    The password of the private key is COSIGN_PASSWORD, else it is asked for.
    """
    from delivery.release import signing

    signing.key_pair(Path(to), _password())


@task(help={"version": _VERSION})
def sign(version: str = "") -> None:
    """Sign a release: its images with their provenance, its chart and its release.json.

    Does not check who built it, which `inv push` does.
    """
    from delivery.release import attesting, cosign, signing

    if not cosign.signing_key():
        raise DeclarationError(
            f"cannot sign: {cosign.KEY} is not set",
            hint="set it to a private key or its file; see `./run inv signing.keys`",
        )
    declaration, release = load_declaration(), _release("sign", version)
    signing.sign(declaration, _references(release))
    attesting.renew(declaration, release.images.values())


@task(help={"version": _VERSION})
def verify(version: str = "", json_: bool = False) -> None:
    """Check the signatures and the provenance of a release with the keys in delivery.toml."""
    from delivery.release import attesting, signing

    release = _release("verify signatures", version)
    declaration, references = load_declaration(), _references(release)
    signing.verify(declaration, references)
    attesting.verify(declaration, release.images.values())
    if json_:
        console.data({"signed": references})


def _registry() -> Registry:
    from delivery.registry.client import Registry

    return Registry(load_declaration().registry.address)


def _release(doing: str, version: str) -> Release:
    from delivery.platform import lifecycle
    from delivery.release import catalog

    registry = _registry()
    release = catalog.find(registry, version) if version else lifecycle.released()
    if release is None:
        reason, hint = "this clone has no release yet", "publish it by `./run inv push`"
        if version:
            reason = f"{registry.address} has no release {version}"
            hint = catalog.choices(registry)
        raise DeclarationError(f"cannot {doing}: {reason}", hint=hint)
    return release


def _references(release: Release) -> list[str]:
    """The signed references of a release; of a local release its images."""
    from delivery.release import catalog

    return (
        catalog.references(_registry(), release)
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
