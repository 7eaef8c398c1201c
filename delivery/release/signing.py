"""Sign what was published, and refuse what is not signed.

The content of a registry has no provenance by itself: `inv push` signs what it made here from its
sources, and keeps what a signature of the same key says to be made from them.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from delivery import console
from delivery.errors import DeclarationError, DeliveryError, Problem, RegistryError, SignatureError
from delivery.host import programs
from delivery.machine import pipeline
from delivery.project.declaration import Declaration
from delivery.project.files import ROOT
from delivery.registry.client import Registry
from delivery.release import cosign
from delivery.release.cosign import Cosign, Verdict

__all__ = [
    "check_equal",
    "check_key",
    "has_key",
    "key_pair",
    "key_problem",
    "missing_signatures",
    "sign",
    "verify",
]

_TO_DO = {
    Verdict.UNSIGNED: "`./run inv push` at its commit makes it again and signs it, with the private key in "
    f"{cosign.KEY}; `./run inv signing.sign` signs it without a check of its provenance",
    Verdict.OTHER_KEY: "who signed it holds another key: sign it again with ours, or see docs/supply-chain.md on rotation",
    Verdict.OTHER_CONTENT: "somebody put another image's signature beside it: find out who may write there, build and push anew",
}


def has_key() -> bool:
    """Whether there is a key to sign with."""
    return bool(cosign.signing_key())


def key_problem(
    declaration: Declaration, environment: str, root: Path = ROOT
) -> tuple[Problem | None, str]:
    """What is wrong with the key to sign with, and what could not be looked at; installs nothing.

    environment is where the line deploys to: one that takes only what is signed wants a key.
    """
    try:
        key = cosign.signing_key()
        if not key:
            if not _wants_key(declaration, environment):
                return None, ""
            if pipeline():
                return None, f"the signing key: a pipeline gives {cosign.KEY} to `push` alone"
            raise _no_key(environment)
        if declaration.signing:
            _public_key(declaration, root)
        program = programs.find("cosign")
        if program is None and programs.can_install("cosign"):
            return None, "the signing key: cosign, which opens it, is not installed yet"
        _check(declaration, Cosign(program or programs.require("cosign")), key, root)
    except DeliveryError as error:
        return Problem.from_error(error), ""
    return None, ""


def check_key(declaration: Declaration, environment: str, root: Path = ROOT) -> None:
    """Raise what `key_problem` finds, before anything is built or pushed; cosign is installed if need be.

    In a pipeline too the key has to be there now.
    """
    key = cosign.signing_key()
    if key:
        _check(declaration, _cosign(), key, root)
    elif _wants_key(declaration, environment):
        raise _no_key(environment)


def _check(declaration: Declaration, program: Cosign, key: str, root: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="delivery-sign-") as folder:
        _same(declaration, _own(program, key, Path(folder)), root)


def _wants_key(declaration: Declaration, environment: str) -> bool:
    return bool(environment) and declaration.environments[environment].signed


def _no_key(environment: str) -> SignatureError:
    return SignatureError(
        f"{environment} takes only what is signed, and {cosign.KEY} is not set",
        hint=f"`{cosign.KEY}=FILE ./run inv push`; `./run inv signing.keys --to DIR` makes a pair",
    )


def missing_signatures(
    declaration: Declaration, sources: Mapping[str, str], root: Path = ROOT
) -> list[str]:
    """The references without a signature of our key that names their source; none without a key.

    sources has by reference (REPOSITORY@sha256:…) what its signature has to say that it was made
    from, or "" where any signature will do.
    """
    key = cosign.signing_key()
    if not key or not sources:
        return []
    program = _cosign()
    with tempfile.TemporaryDirectory(prefix="delivery-sign-") as folder:
        declared = declaration.signing is not None
        public = _public_key(declaration, root) if declared else _own(program, key, Path(folder))
        return [
            reference
            for reference, source in sources.items()
            if not _is_signed_by_us(program, public, reference, source)
        ]


def check_equal(parts: Mapping[str, tuple[str, str]]) -> None:
    """Raise SignatureError, naming both digests, where the registry holds other content than ours.

    parts has by reference the digest that the registry holds, and that of what was made here.
    """
    lines = [
        f"{reference}: the registry holds {actual}, the same sources give {expected} here"
        for reference, (actual, expected) in parts.items()
        if actual != expected
    ]
    if lines:
        verb = "is" if len(lines) == 1 else "are"
        raise SignatureError(
            f"cannot sign content of the registry: {len(lines)} of {len(parts)} {verb} not what is made here",
            details="\n".join(lines),
            hint='none of it is signed; docs/supply-chain.md, "What the key signs", says how to go on',
        )


def sign(
    declaration: Declaration,
    pinned: Sequence[str],
    root: Path = ROOT,
    *,
    sources: Mapping[str, str] | None = None,
    existing: Collection[str] = (),
) -> None:
    """Sign every reference (REPOSITORY@sha256:…) that has no good signature yet; without a key, only say so.

    sources has what references were made from; their signatures say so, and others do not count for
    them. What is existing was not made here and is never signed. Raises SignatureError for it unless
    it is signed, and where the key is not the half of signing.public_key; RegistryError where a
    reference is not there.
    """
    key = cosign.signing_key()
    if not key:
        console.say(f"sign: {cosign.KEY} is not set, so nothing is signed")
        return
    if not pinned:
        return
    program = _cosign()
    _look(pinned)
    with (
        console.step("sign") as step,
        tempfile.TemporaryDirectory(prefix="delivery-sign-") as folder,
    ):
        public = _own(program, key, Path(folder))
        _same(declaration, public, root)
        made = {reference: source for reference, source in (sources or {}).items() if source}
        plain = [reference for reference in pinned if reference not in made]
        good = {
            reference
            for reference in made
            if _is_signed_by_us(program, public, reference, made[reference])
        }
        if plain:
            verdicts = program.verdicts(public, plain)
            good |= {reference for reference in plain if verdicts[reference] == Verdict.GOOD}
        missing = [reference for reference in pinned if reference not in good]
        if lost := [reference for reference in missing if reference in existing]:
            raise SignatureError(
                f"cannot sign {', '.join(lost)}: it was not made here, and its signature is gone",
                hint="somebody deletes signatures: find out who may, then run the same command again",
            )
        if missing:
            annotations = {
                _digest(reference): made[reference] for reference in missing if reference in made
            }
            program.sign(key, missing, annotations)
        step.done(
            f"{len(missing)} signed, {len(pinned) - len(missing)} were"
            if missing
            else "all of it is"
        )


def verify(declaration: Declaration, pinned: Sequence[str], root: Path = ROOT) -> None:
    """Raise SignatureError, naming each, when references carry no good signature by the key of signing.public_key."""
    public = _public_key(declaration, root)
    if not pinned:
        return
    program = _cosign()
    with console.step("signatures") as step:
        _look(pinned)
        verdicts = program.verdicts(public, pinned)
        wrong = {
            reference: verdicts[reference]
            for reference in pinned
            if verdicts[reference] != Verdict.GOOD
        }
        if wrong:
            raise _refused(wrong, len(pinned))
        step.done(f"{len(pinned)} good")


def key_pair(folder: Path, password: str) -> None:
    """Make a key pair, cosign.key (locked by the password) and cosign.pub; what is there is never written over."""
    prefix = folder / "cosign"
    files = (prefix.with_suffix(".key"), prefix.with_suffix(".pub"))
    if existing := [str(file) for file in files if file.exists()]:
        raise DeclarationError(
            f"make a key pair: there is {' and '.join(existing)} already",
            hint="name another folder; what a lost key has signed can only be signed again",
        )
    program = _cosign()
    folder.mkdir(parents=True, exist_ok=True)
    with console.step("key pair") as step:
        program.generate(prefix, password)
        step.done(str(folder))
    console.say(
        f"{prefix}.key  the private half: into the CI server's secrets as {cosign.KEY}, its password as {cosign.PASSWORD};"
        f" then away from here, never into git\n"
        f"{prefix}.pub  the public half: into the repository, named by public_key under [signing] in delivery.toml"
    )


def _own(program: Cosign, key: str, folder: Path) -> Path:
    """The public half of our key, in a file."""
    public = folder / "own.pub"
    public.write_text(program.public_half(key), encoding="utf-8")
    return public


def _is_signed_by_us(program: Cosign, public: Path, reference: str, source: str) -> bool:
    """Whether a signature says that this digest was made from this source.

    All signatures of one call carry the sources of all, so each is noted by the digest that it is of.
    """
    annotations = {_digest(reference): source} if source else None
    return program.verdicts(public, [reference], annotations)[reference] is Verdict.GOOD


def _digest(reference: str) -> str:
    return reference.partition("@")[2]


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
        hint="; ".join(f"{kind.value}: {_TO_DO[kind]}" for kind in kinds)
        if len(kinds) > 1
        else _TO_DO[kinds[0]],
    )
