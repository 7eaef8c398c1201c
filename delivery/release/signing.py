"""Sign what was published, and refuse what is not signed.

Anyone may have pushed the content of a registry: `inv push` signs what it made here from its
sources, and keeps content whose signature, by the same key, names the sources.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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
from delivery.release.provenance import Builder

__all__ = [
    "OwnKey",
    "builders_for",
    "check_equal",
    "check_key",
    "has_key",
    "installed",
    "key_pair",
    "key_problem",
    "missing_signatures",
    "own_key",
    "public_keys",
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
    Verdict.LAPTOP: "run the pipeline for its commit: only what the CI server signed is deployed "
    "there",
}


@dataclass(frozen=True)
class OwnKey:
    """The signing key of this machine."""

    program: Cosign
    private: str
    """As `cosign.signing_key` returns it."""
    public: Path
    builder: Builder
    """Whose key it is."""


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
            public_keys(declaration, root)
        program = programs.find("cosign")
        if program is None and programs.can_install("cosign"):
            return None, "the signing key: cosign, which opens it, is not installed yet"
        with own_key(declaration, root, Cosign(program or programs.require("cosign"))):
            pass
    except DeliveryError as error:
        return Problem.from_error(error), ""
    return None, ""


def check_key(declaration: Declaration, environment: str, root: Path = ROOT) -> None:
    """Raise the problem of the key as an error, in a pipeline too; installs cosign if needed."""
    if has_key():
        with own_key(declaration, root):
            pass
    elif _requires_key(declaration, environment):
        raise _no_key(environment)


def missing_signatures(
    declaration: Declaration, sources: Mapping[str, str], root: Path = ROOT
) -> list[str]:
    """The references without a signature of our key that names their source; none without a key.

    sources: for each reference (REPOSITORY@sha256:…) the content key or image that its signature
    has to name, or "" if any signature of our key will do.
    """
    if not has_key() or not sources:
        return []
    with own_key(declaration, root, only_checks=True) as key:
        return _unsigned(key, sources)


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
    if not has_key() or not pinned:
        return
    _check_existence(pinned)
    made = {reference: (sources or {}).get(reference, "") for reference in pinned}
    with console.step("sign") as step, own_key(declaration, root) as key:
        unsigned = _unsigned(key, made)
        if lost := [reference for reference in unsigned if reference in existing]:
            raise SignatureError(
                f"cannot sign {', '.join(lost)}: it was not made here, and has lost its signature",
                hint="find out who deletes signatures, then run the same command again",
            )
        if unsigned:
            named = [reference for reference in unsigned if made[reference]]
            annotations = {_digest(reference): made[reference] for reference in named}
            key.program.sign(key.private, unsigned, annotations)
        step.done(f"{len(unsigned)} signed, {len(pinned) - len(unsigned)} signed before")


def verify(
    declaration: Declaration,
    pinned: Sequence[str],
    root: Path = ROOT,
    *,
    builders: Collection[Builder] = tuple(Builder),
) -> None:
    """Raise SignatureError for references without a good signature of one of these builders."""
    keys = public_keys(declaration, root)
    if not pinned:
        return
    program = installed()
    with console.step("signatures") as step:
        _check_existence(pinned)
        verdicts = program.verdicts(keys[Builder.CI], pinned)
        others = [name for name, verdict in verdicts.items() if verdict is not Verdict.GOOD]
        if others and Builder.LAPTOP in keys:
            accepted = Verdict.GOOD if Builder.LAPTOP in builders else Verdict.LAPTOP
            by_laptop = program.verdicts(keys[Builder.LAPTOP], others)
            good = [name for name, verdict in by_laptop.items() if verdict is Verdict.GOOD]
            verdicts |= dict.fromkeys(good, accepted)
        if bad := {name: each for name, each in verdicts.items() if each is not Verdict.GOOD}:
            raise _refusal(bad, len(pinned))
        step.done(f"{len(pinned)} good")


def builders_for(declaration: Declaration, environment: str) -> tuple[Builder, ...]:
    """Whose builds an environment takes: that of the release line only those of the CI server."""
    is_release = environment == declaration.gitflow.deploys.get("release")
    return (Builder.CI,) if is_release else tuple(Builder)


@contextmanager
def own_key(
    declaration: Declaration,
    root: Path = ROOT,
    program: Cosign | None = None,
    *,
    only_checks: bool = False,
) -> Iterator[OwnKey]:
    """Our signing key; SignatureError unless its public half is declared, if any is.

    only_checks: nothing is signed, so that a single declared key is taken for ours, unopened.
    """
    program, private = program or installed(), cosign.signing_key()
    if only_checks and declaration.signing:
        (builder, declared), *others = public_keys(declaration, root).items()
        if not others:
            yield OwnKey(program, private, declared, builder)
            return
    with tempfile.TemporaryDirectory(prefix="delivery-sign-") as folder:
        public = Path(folder) / "own.pub"
        public.write_text(program.public_half(private), encoding="utf-8")
        yield OwnKey(program, private, public, _builder_of(declaration, public, root))


def public_keys(declaration: Declaration, root: Path = ROOT) -> dict[Builder, Path]:
    """The files of the declared public keys, by the builder that has the private half."""
    declared = declaration.signing
    if declared is None:
        raise DeclarationError(
            "cannot check signatures: delivery.toml names no public key",
            hint='add a table [signing] with public_key = "FILE"; '
            "`./run inv signing.keys --to DIR` makes a key pair",
        )
    named = {Builder.CI: declared.public_key, Builder.LAPTOP: declared.laptop_public_key}
    keys = {builder: root / name for builder, name in named.items() if name}
    for builder, file in keys.items():
        if not file.is_file() or not os.access(file, os.R_OK):
            key = "public_key" if builder is Builder.CI else "laptop_public_key"
            raise DeclarationError(
                f"cannot check signatures: signing.{key}: {file} is not a readable file",
                hint="commit the public half of the pair under that name",
            )
    return keys


def installed() -> Cosign:
    """cosign, installed if needed, and without a line of output otherwise."""
    return Cosign(programs.find("cosign") or programs.ensure("cosign"))


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
    program = installed()
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


def _requires_key(declaration: Declaration, environment: str) -> bool:
    declared = declaration.environment(environment)
    return declared is not None and declared.signed


def _no_key(environment: str) -> SignatureError:
    return SignatureError(
        f"cannot sign for {environment}, which takes only signed releases: {cosign.KEY} is not set",
        hint=f"run `{cosign.KEY}=FILE ./run inv push`; `./run inv signing.keys --to DIR` makes a "
        "key pair",
    )


def _unsigned(key: OwnKey, sources: Mapping[str, str]) -> list[str]:
    """The references without a good signature that names their source, if any.

    All signatures of one call name the sources of all, each by the digest that it belongs to.
    """
    unsigned = []
    for reference, source in sources.items():
        annotations = {_digest(reference): source} if source else None
        verdicts = key.program.verdicts(key.public, [reference], annotations)
        if verdicts[reference] is not Verdict.GOOD:
            unsigned.append(reference)
    return unsigned


def _digest(reference: str) -> str:
    return reference.partition("@")[2]


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


def _builder_of(declaration: Declaration, public: Path, root: Path) -> Builder:
    """Whose key this public key is; without a declared key there is only the CI server's."""
    if declaration.signing is None:
        return Builder.CI
    own = public.read_text(encoding="utf-8").split()
    for builder, file in public_keys(declaration, root).items():
        if file.read_text(encoding="utf-8").split() == own:
            return builder
    raise SignatureError(
        f"cannot sign: {cosign.KEY} is not the private half of "
        f"{declaration.signing.public_key}, which deploys check signatures with",
        hint=f"set {cosign.KEY} to the key of that pair, or change signing.public_key in "
        "delivery.toml",
    )


def _refusal(bad: Mapping[str, Verdict], count: int) -> SignatureError:
    verdicts = [verdict for verdict in _HINTS if verdict in bad.values()]
    hints = [f"{verdict.value}: {_HINTS[verdict]}" for verdict in verdicts]
    return SignatureError(
        f"cannot accept the signatures: {len(bad)} of {count} must not be deployed",
        details="\n".join(f"{reference} {verdict.value}" for reference, verdict in bad.items()),
        hint="; ".join(hints) if len(verdicts) > 1 else _HINTS[verdicts[0]],
    )
