"""Sign what was published, and refuse what is not signed.

Anyone may have pushed the content of a registry: `inv push` signs what it made here from its
sources, and keeps content whose signature, by the same key, names the sources.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
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

_HINTS = {
    Verdict.UNSIGNED: "run `./run inv push` at its commit, which builds it again and signs it, "
    f"with the private key in {cosign.KEY}; `./run inv signing.sign` signs it without a check of "
    "its origin",
    Verdict.OTHER_KEY: "sign it again with the current key, or see docs/supply-chain.md on "
    "rotation: it was signed with another key",
    Verdict.OTHER_CONTENT: "find out who may push to this repository, then build and push again: "
    "it has another image's signature",
}


def has_key() -> bool:
    """Whether a signing key is set."""
    return bool(cosign.signing_key())


def key_problem(
    declaration: Declaration, environment: str, root: Path = ROOT
) -> tuple[Problem | None, str]:
    """The problem of the signing key, and what could not be checked; installs nothing.

    environment: where the line deploys to, which may take only signed releases.
    """
    try:
        key = cosign.signing_key()
        if not key:
            if not _requires_key(declaration, environment):
                return None, ""
            if pipeline():
                return None, f"the signing key: a pipeline gives {cosign.KEY} only to `push`"
            raise _no_key(environment)
        if declaration.signing:
            _public_key(declaration, root)
        program = programs.find("cosign")
        if program is None and programs.can_install("cosign"):
            return None, "the signing key: cosign, which opens it, is not installed yet"
        _check_key(declaration, Cosign(program or programs.require("cosign")), key, root)
    except DeliveryError as error:
        return Problem.from_error(error), ""
    return None, ""


def check_key(declaration: Declaration, environment: str, root: Path = ROOT) -> None:
    """Raise the problem of the key as an error, in a pipeline too; installs cosign if needed."""
    key = cosign.signing_key()
    if key:
        _check_key(declaration, _cosign(), key, root)
    elif _requires_key(declaration, environment):
        raise _no_key(environment)


def missing_signatures(
    declaration: Declaration, sources: Mapping[str, str], root: Path = ROOT
) -> list[str]:
    """The references without a signature of our key that names their source; none without a key.

    sources: for each reference (REPOSITORY@sha256:…) the content key or image that its signature
    has to name, or "" if any signature of our key will do.
    """
    key = cosign.signing_key()
    if not key or not sources:
        return []
    program = _cosign()
    if declaration.signing:
        return _unsigned(program, _public_key(declaration, root), sources)
    with _public_half(program, key) as public:
        return _unsigned(program, public, sources)


def check_equal(parts: Mapping[str, tuple[str, str]]) -> None:
    """Raise SignatureError, with both digests, if the registry holds other content than was made.

    parts: by reference, the digest in the registry and the digest of what was made here.
    """
    lines = [
        f"{reference}: the registry holds {actual}, the same sources give {expected} here"
        for reference, (actual, expected) in parts.items()
        if actual != expected
    ]
    if lines:
        verb = "is" if len(lines) == 1 else "are"
        raise SignatureError(
            f"cannot sign content of the registry: {len(lines)} of {len(parts)} {verb} not what is "
            "made here",
            details="\n".join(lines),
            hint='see docs/supply-chain.md, "What the key signs"; nothing was signed',
        )


def sign(
    declaration: Declaration,
    pinned: Sequence[str],
    root: Path = ROOT,
    *,
    sources: Mapping[str, str] | None = None,
    existing: Collection[str] = (),
) -> None:
    """Sign every reference (REPOSITORY@sha256:…) without a good signature; skipped without a key.

    sources: by reference, what its signature names as its source; a signature without it does not
    count. existing: references that were not made here, and are an error unless they are signed.
    """
    key = cosign.signing_key()
    if not key or not pinned:
        return
    program = _cosign()
    _check_existence(pinned)
    made = {reference: (sources or {}).get(reference, "") for reference in pinned}
    with console.step("sign") as step, _public_half(program, key) as public:
        _check_pair(declaration, public, root)
        unsigned = _unsigned(program, public, made)
        if lost := [reference for reference in unsigned if reference in existing]:
            raise SignatureError(
                f"cannot sign {', '.join(lost)}: it was not made here, and has lost its signature",
                hint="find out who deletes signatures, then run the same command again",
            )
        if unsigned:
            named = [reference for reference in unsigned if made[reference]]
            annotations = {_digest(reference): made[reference] for reference in named}
            program.sign(key, unsigned, annotations)
        step.done(f"{len(unsigned)} signed, {len(pinned) - len(unsigned)} signed before")


def verify(declaration: Declaration, pinned: Sequence[str], root: Path = ROOT) -> None:
    """Raise SignatureError for references without a good signature for signing.public_key."""
    public = _public_key(declaration, root)
    if not pinned:
        return
    program = _cosign()
    with console.step("signatures") as step:
        _check_existence(pinned)
        verdicts = program.verdicts(public, pinned)
        bad = {
            reference: verdict
            for reference, verdict in verdicts.items()
            if verdict is not Verdict.GOOD
        }
        if bad:
            raise _refusal(bad, len(pinned))
        step.done(f"{len(pinned)} good")


def key_pair(folder: Path, password: str) -> None:
    """Make a key pair: cosign.key, locked by the password, and cosign.pub; overwrites nothing."""
    prefix = folder / "cosign"
    files = (prefix.with_suffix(".key"), prefix.with_suffix(".pub"))
    if existing := [str(file) for file in files if file.exists()]:
        verb = "exists" if len(existing) == 1 else "exist"
        raise DeclarationError(
            f"cannot make a key pair: {' and '.join(existing)} {verb}",
            hint="name another folder; what a lost key signed has to be signed again",
        )
    program = _cosign()
    folder.mkdir(parents=True, exist_ok=True)
    with console.step("key pair") as step:
        program.generate(prefix, password)
        step.done(str(folder))
    console.say(
        f"{prefix}.key  private: store it in the CI server's secrets as {cosign.KEY}, and its "
        f"password as {cosign.PASSWORD}; then delete it here, and never commit it\n"
        f"{prefix}.pub  public: commit it, and name it as public_key under [signing] in "
        "delivery.toml"
    )


def _check_key(declaration: Declaration, program: Cosign, key: str, root: Path) -> None:
    with _public_half(program, key) as public:
        _check_pair(declaration, public, root)


def _requires_key(declaration: Declaration, environment: str) -> bool:
    return bool(environment) and declaration.environments[environment].signed


def _no_key(environment: str) -> SignatureError:
    return SignatureError(
        f"cannot sign for {environment}, which takes only signed releases: {cosign.KEY} is not set",
        hint=f"run `{cosign.KEY}=FILE ./run inv push`; `./run inv signing.keys --to DIR` makes a "
        "key pair",
    )


@contextmanager
def _public_half(program: Cosign, key: str) -> Iterator[Path]:
    """A file with the public half of our signing key."""
    with tempfile.TemporaryDirectory(prefix="delivery-sign-") as folder:
        public = Path(folder) / "own.pub"
        public.write_text(program.public_half(key), encoding="utf-8")
        yield public


def _unsigned(program: Cosign, public: Path, sources: Mapping[str, str]) -> list[str]:
    """The references without a good signature that names their source, if any.

    All signatures of one call name the sources of all, each by the digest that it belongs to.
    """
    unsigned = []
    for reference, source in sources.items():
        annotations = {_digest(reference): source} if source else None
        verdicts = program.verdicts(public, [reference], annotations)
        if verdicts[reference] is not Verdict.GOOD:
            unsigned.append(reference)
    return unsigned


def _digest(reference: str) -> str:
    return reference.partition("@")[2]


def _cosign() -> Cosign:
    """cosign, installed if needed, and without a line of output otherwise."""
    return Cosign(programs.find("cosign") or programs.ensure("cosign"))


def _check_existence(pinned: Sequence[str]) -> None:
    """Raise RegistryError for a missing manifest: cosign signs and accepts missing ones too."""
    registries: dict[str, Registry] = {}
    for reference in pinned:
        repository, _, digest = reference.partition("@")
        host = repository.partition("/")[0]
        if registries.setdefault(host, Registry(host)).fetch(repository, digest) is None:
            raise RegistryError(
                f"cannot find {reference}: the registry does not hold it",
                hint="build and push it again; it has been deleted",
            )


def _check_pair(declaration: Declaration, public: Path, root: Path) -> None:
    """Raise SignatureError unless this public key is that of the declaration, if it has any."""
    if declaration.signing is None:
        return
    declared = _public_key(declaration, root)
    if declared.read_text(encoding="utf-8").split() != public.read_text(encoding="utf-8").split():
        raise SignatureError(
            f"cannot sign: {cosign.KEY} is not the private half of "
            f"{declaration.signing.public_key}, which deploys check signatures with",
            hint=f"set {cosign.KEY} to the key of that pair, or change signing.public_key in "
            "delivery.toml",
        )


def _public_key(declaration: Declaration, root: Path) -> Path:
    if declaration.signing is None:
        raise DeclarationError(
            "cannot check signatures: delivery.toml names no public key",
            hint='add a table [signing] with public_key = "FILE"; '
            "`./run inv signing.keys --to DIR` makes a key pair",
        )
    file = root / declaration.signing.public_key
    if not file.is_file() or not os.access(file, os.R_OK):
        raise DeclarationError(
            f"cannot check signatures: signing.public_key: {file} is not a readable file",
            hint="commit the public half of the pair under that name",
        )
    return file


def _refusal(bad: Mapping[str, Verdict], count: int) -> SignatureError:
    verdicts = [verdict for verdict in _HINTS if verdict in bad.values()]
    hints = [f"{verdict.value}: {_HINTS[verdict]}" for verdict in verdicts]
    return SignatureError(
        f"cannot accept the signatures: {len(bad)} of {count} must not be deployed",
        details="\n".join(f"{reference} {verdict.value}" for reference, verdict in bad.items()),
        hint="; ".join(hints) if len(verdicts) > 1 else _HINTS[verdicts[0]],
    )
