"""Attach the provenance of each image, signed by our key, and refuse what has none.

The key that signed a statement says who built the image, whatever the statement claims.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from delivery import console
from delivery.errors import SignatureError
from delivery.project.declaration import Declaration
from delivery.project.files import ROOT
from delivery.registry.client import Registry
from delivery.release import provenance, signing
from delivery.release.cosign import Cosign, Verdict
from delivery.release.provenance import Builder, Provenance
from delivery.release.released import ReleasedPart
from delivery.release.signing import OwnKey

__all__ = ["attest", "missing", "renew", "verify"]

_HINT = "run `./run inv push` at a commit of it, with the signing key: it builds the image again"
_TEXTS = {
    Verdict.UNSIGNED: "has no provenance",
    Verdict.OTHER_KEY: "has provenance that another key has signed",
    Verdict.OTHER_CONTENT: "has the provenance of other content",
}


def missing(declaration: Declaration, images: Mapping[str, str], root: Path = ROOT) -> list[str]:
    """The images without provenance of our key that names their content key; none without a key.

    images: the content key of each, by reference (REPOSITORY@sha256:…).
    """
    if not signing.has_key() or not images:
        return []
    with signing.own_key(declaration, root, only_checks=True) as key:
        return _missing(key, images)


def attest(
    declaration: Declaration,
    images: Mapping[str, str],
    predicate: Callable[[str, Builder], str],
    root: Path = ROOT,
) -> None:
    """Attach provenance to the images that have none of our key; skipped without a key.

    images: the content key of each, by reference. predicate: of a reference and our builder.
    """
    if not signing.has_key() or not images:
        return
    with console.step("provenance") as step:
        with signing.own_key(declaration, root) as key:
            unattested = _missing(key, images)
            for reference in unattested:
                step.line(reference)
                text = predicate(reference, key.builder)
                key.program.attest(key.private, reference, provenance.TYPE, text)
        step.done(f"{len(unattested)} attached, {len(images) - len(unattested)} attached before")


def verify(
    declaration: Declaration,
    images: Collection[ReleasedPart],
    root: Path = ROOT,
    *,
    builders: Collection[Builder] = tuple(Builder),
) -> None:
    """Raise SignatureError for images without good provenance of one of these builders."""
    keys = {
        builder: file
        for builder, file in signing.public_keys(declaration, root).items()
        if builder in builders
    }
    program = signing.installed()
    with console.step("provenance") as step:
        bad, runs = [], set[str]()
        for image in images:
            reasons = []
            for builder, file in keys.items():
                found = _check(program, file, builder, image.pinned, image.key)
                if not isinstance(found, str):
                    runs.add(f"{builder} ({found.run})")
                    break
                reasons.append(found)
            else:
                other_key = _TEXTS[Verdict.OTHER_KEY]
                reason = next((each for each in reasons if each != other_key), other_key)
                bad.append(f"{image.pinned} {reason}")
        if bad:
            raise SignatureError(
                f"cannot accept the provenance: {len(bad)} of {len(images)} must not be deployed",
                details="\n".join(bad),
                hint=_HINT,
            )
        step.done(f"{len(images)} built by {', '.join(sorted(runs))}")


def renew(declaration: Declaration, images: Iterable[ReleasedPart], root: Path = ROOT) -> None:
    """Sign the attached provenance of images again, by another key; as `inv signing.sign` does.

    Whoever signed it before is not checked.
    """
    keys = {image.pinned: image.key for image in images}
    attached = {reference: text for reference in keys if (text := _attached(reference))}
    keys = {reference: key for reference, key in keys.items() if reference in attached}
    attest(declaration, keys, lambda name, _: provenance.predicate_of(attached[name]), root)


def _missing(key: OwnKey, images: Mapping[str, str]) -> list[str]:
    return [
        reference
        for reference, source in images.items()
        if isinstance(_check(key.program, key.public, key.builder, reference, source), str)
    ]


def _check(
    program: Cosign, public: Path, builder: Builder, reference: str, key: str
) -> Provenance | str:
    """The good provenance of an image by a builder's key, or the reason why there is none."""
    verdict, statements = program.statements(public, reference, provenance.TYPE)
    if verdict is not Verdict.GOOD:
        return _TEXTS[verdict]
    reason = _TEXTS[Verdict.UNSIGNED]
    for said in filter(None, map(provenance.parse, statements)):
        if said.digest != reference.partition("@")[2]:
            reason = _TEXTS[Verdict.OTHER_CONTENT]
        elif said.key != key:
            reason = f"has the provenance of the content key {said.key}, not {key}"
        elif said.builder != builder:
            reason = f"has provenance that names {said.builder} and has the key of {builder}"
        else:
            return said
    return reason


def _attached(reference: str) -> str:
    """The last provenance that is attached to an image under a tag, unchecked, or ""."""
    repository, _, digest = reference.partition("@")
    registry = Registry(repository)
    manifest = registry.fetch(repository, f"{digest.replace(':', '-')}.att")
    layers = manifest.manifest.get("layers", ()) if manifest else ()
    envelopes = [
        json.loads(registry.blob(repository, layer["digest"]))
        for layer in layers
        if layer.get("annotations", {}).get("predicateType") == provenance.TYPE
    ]
    texts = [base64.b64decode(envelope["payload"]).decode() for envelope in envelopes]
    parsed = {said.digest: text for text in texts if (said := provenance.parse(text))}
    return parsed.get(digest, "")
