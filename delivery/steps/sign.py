"""Sign what was published, and refuse what is not signed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from delivery.core.declaration import Declaration
from delivery.core.errors import DeclarationError, RegistryError, SignatureError
from delivery.steps import programs
from delivery.tools import cosign, screen
from delivery.tools.cosign import Cosign, Verdict
from delivery.tools.files import ROOT
from delivery.tools.registry import Registry

__all__ = ["key_pair", "sign", "verify"]

_TO_DO = {
    Verdict.UNSIGNED: f"`./run inv signing.sign` signs it, with the private key in {cosign.KEY}",
    Verdict.OTHER_KEY: "who signed it holds another key: sign it again with ours, or see docs/supply-chain.md on rotation",
    Verdict.OTHER_CONTENT: "somebody put another image's signature beside it: find out who may write there, build and push anew",
}


def sign(declaration: Declaration, pinned: Sequence[str], root: Path = ROOT) -> None:
    """Sign every reference (REPOSITORY@sha256:…) that has no good signature yet; without a key, only say so.

    Raises SignatureError where the key is not the half of signing.public_key, RegistryError where a reference is not there.
    """
    key = cosign.signing_key()
    if not key:
        screen.say(f"sign: {cosign.KEY} is not set, so nothing is signed")
        return
    if not pinned:
        return
    program = _cosign()
    _look(pinned)
    with screen.step("sign") as step, tempfile.TemporaryDirectory(prefix="delivery-sign-") as folder:
        public = Path(folder, "own.pub")
        public.write_text(program.public_half(key), encoding="utf-8")
        _same(declaration, public, root)
        verdicts = program.verdicts(public, pinned)
        missing = [reference for reference in pinned if verdicts[reference] != Verdict.GOOD]
        if missing:
            program.sign(key, missing)
        step.done(f"{len(missing)} signed, {len(pinned) - len(missing)} were" if missing else "all of it is")


def verify(declaration: Declaration, pinned: Sequence[str], root: Path = ROOT) -> None:
    """Raise SignatureError, naming each, when references carry no good signature by the key of signing.public_key."""
    public = _public_key(declaration, root)
    if not pinned:
        return
    program = _cosign()
    with screen.step("signatures") as step:
        _look(pinned)
        wrong = {
            reference: verdict
            for reference, verdict in program.verdicts(public, pinned).items()
            if verdict != Verdict.GOOD
        }
        if wrong:
            raise _refused(wrong, len(pinned))
        step.done(f"{len(pinned)} good")


def key_pair(folder: Path, password: str) -> None:
    """Make a key pair, cosign.key (locked by the password) and cosign.pub; what is there is never written over."""
    prefix = folder / "cosign"
    there = [file for file in (prefix.with_suffix(".key"), prefix.with_suffix(".pub")) if file.exists()]
    if there:
        raise DeclarationError(
            f"make a key pair: there is {' and '.join(str(file) for file in there)} already",
            hint="name another folder; what a lost key has signed can only be signed again",
        )
    program = _cosign()
    folder.mkdir(parents=True, exist_ok=True)
    with screen.step("key pair") as step:
        program.generate(prefix, password)
        step.done(str(folder))
    screen.say(
        f"{prefix}.key  the private half: into the CI server's secrets as {cosign.KEY}, its password as {cosign.PASSWORD};"
        f" then away from here, never into git\n"
        f"{prefix}.pub  the public half: into the repository, named by public_key under [signing] in delivery.toml"
    )


def _cosign() -> Cosign:
    """The program, installed if need be; where it is there, that is not worth a line."""
    return Cosign(programs.find("cosign") or programs.ensure("cosign"))


def _look(pinned: Sequence[str]) -> None:
    """Read every manifest, its bytes held against its digest: cosign itself signs and accepts digests that nobody has."""
    registries: dict[str, Registry] = {}
    for reference in pinned:
        repository, _, digest = reference.partition("@")
        host = repository.partition("/")[0]
        if registries.setdefault(host, Registry(host)).fetch(repository, digest) is None:
            raise RegistryError(
                f"look for {reference}: the registry holds no such manifest",
                hint="build and push it anew; somebody has deleted it",
            )


def _same(declaration: Declaration, public: Path, root: Path) -> None:
    if declaration.signing is None:
        return
    declared = _public_key(declaration, root)
    if declared.read_text(encoding="utf-8").split() != public.read_text(encoding="utf-8").split():
        raise SignatureError(
            f"sign: {cosign.KEY} is not the private half of {declaration.signing.public_key}, which deploys hold against",
            hint=f"set {cosign.KEY} to the key of that pair, or change signing.public_key in delivery.toml",
        )


def _public_key(declaration: Declaration, root: Path) -> Path:
    if declaration.signing is None:
        raise DeclarationError(
            "check signatures: delivery.toml names no public key to hold them against",
            hint='add a table [signing] with public_key = "FILE"; `./run inv signing.keys --to DIR` makes a pair',
        )
    file = root / declaration.signing.public_key
    if not file.is_file() or not os.access(file, os.R_OK):
        raise DeclarationError(
            f"check signatures: signing.public_key: there is no file {file} that can be read",
            hint="commit the public half of the pair under that name",
        )
    return file


def _refused(wrong: Mapping[str, Verdict], of: int) -> SignatureError:
    kinds = [verdict for verdict in _TO_DO if verdict in wrong.values()]
    return SignatureError(
        f"check signatures: {len(wrong)} of {of} must not be deployed",
        details="\n".join(f"{reference} {verdict.value}" for reference, verdict in wrong.items()),
        hint="; ".join(f"{kind.value}: {_TO_DO[kind]}" for kind in kinds) if len(kinds) > 1 else _TO_DO[kinds[0]],
    )
