"""Signatures beside images in the registry, by `cosign` with keys of our own: no certificates, no log, no other network.

A signature is kept in the image's repository under the tag sha256-<hex>.sig, which every registry can do.
"""

from __future__ import annotations

import base64
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from docker import auth

from delivery import process
from delivery.errors import CommandError, DeclarationError, DeliveryError, RegistryError, SignatureError
from delivery.registry.client import login
from delivery.registry.http import certificate_folders
from delivery.retry import patiently

__all__ = [
    "KEY",
    "PASSWORD",
    "Cosign",
    "Verdict",
    "generate_arguments",
    "sign_arguments",
    "signing_key",
    "verify_arguments",
]

KEY = "DELIVERY_SIGNING_KEY"
PASSWORD = "COSIGN_PASSWORD"  # noqa: S105  # the name of the variable; cosign reads it by itself
_SECONDS = 300
_UNSIGNED, _UNFIT = 10, 12  # cosign's own exit codes: https://docs.sigstore.dev/cosign/system_config/exit_codes/
_WITHOUT_LOG = "--private-infrastructure=true"  # asks no transparency log, nor for the keys of the public one


class Verdict(Enum):
    """What a look at the signatures of one reference came to."""

    GOOD = "is signed"
    UNSIGNED = "is not signed"
    OTHER_KEY = "is signed, but not with the key that it has to be signed with"
    OTHER_CONTENT = "carries a signature that was made for other content"


def signing_key() -> str:
    """The private key that DELIVERY_SIGNING_KEY holds or names, as cosign takes it; "" where nothing is said.

    A key that is there as text goes to cosign by the same variable, so that it is in no file and on no command line.
    """
    told = os.environ.get(KEY, "")
    if not told.strip():
        return ""
    if told.lstrip().startswith("-----BEGIN"):
        return f"env://{KEY}"
    try:
        is_file = Path(told).is_file()
    except OSError:  # what is no key is no file name either
        is_file = False
    if not is_file:
        # Not said what it holds: it may be half a key.
        raise DeclarationError(
            f"read {KEY}: it is neither a private key in PEM nor a file that is there",
            hint="give the file's path, or its text from -----BEGIN to END-----; `./run inv signing.keys` makes one",
        )
    return told


def sign_arguments(key: str, references: Sequence[str], annotations: Mapping[str, str] | None = None) -> list[str]:
    """What makes cosign sign these references, all in one call: opening the key takes longest.

    Each signature carries all of the annotations.
    """
    return ["sign", "--yes", "--tlog-upload=false", "--key", key, *_annotated(annotations), *references]


def verify_arguments(
    public_key: Path, references: Sequence[str], annotations: Mapping[str, str] | None = None
) -> list[str]:
    """What makes cosign check these references; it ends at the first bad one, without naming it.

    A signature that lacks one of the annotations does not count.
    """
    return [
        *("verify", _WITHOUT_LOG, "--output", "text", "--key", str(public_key)),
        *_annotated(annotations),
        *references,
    ]


def generate_arguments(prefix: Path) -> list[str]:
    """What makes cosign write a key pair, to PREFIX.key and PREFIX.pub."""
    return ["generate-key-pair", "--output-key-prefix", str(prefix)]


@dataclass(frozen=True)
class Cosign:
    """The program cosign; pause waits before a registry that did not answer is tried again."""

    program: str
    pause: Callable[[float], None] = time.sleep

    def sign(self, key: str, references: Sequence[str], annotations: Mapping[str, str] | None = None) -> None:
        """Sign these references with a private key, as `signing_key` names it."""
        self._registry(sign_arguments(key, references, annotations), references, f"sign {_count(references)}")

    def verdicts(
        self, public_key: Path, references: Sequence[str], annotations: Mapping[str, str] | None = None
    ) -> dict[str, Verdict]:
        """What the signatures of each reference are worth, for a public key and annotations."""
        arguments = verify_arguments(public_key, references, annotations)
        try:
            self._registry(arguments, references, f"check {_count(references)}")
        except CommandError as error:
            if error.returncode not in {_UNSIGNED, _UNFIT}:
                raise
            if len(references) > 1:
                alone = [self.verdicts(public_key, [reference], annotations) for reference in references]
                return {reference: verdict for one in alone for reference, verdict in one.items()}
            return {references[0]: _verdict(error)}
        return dict.fromkeys(references, Verdict.GOOD)

    def public_half(self, key: str) -> str:
        """The public key of a private one, in PEM."""
        return self._run(["public-key", "--key", key], f"open the key of {KEY}", _password())

    def generate(self, prefix: Path, password: str) -> None:
        """Write a key pair to PREFIX.key, locked by the password, and PREFIX.pub."""
        self._run(generate_arguments(prefix), "make a key pair", {PASSWORD: password})

    def _registry(self, arguments: Sequence[str], references: Sequence[str], doing: str) -> None:
        hosts = {reference.partition("/")[0] for reference in references}
        with tempfile.TemporaryDirectory(prefix="delivery-cosign-") as folder:  # 0700
            environment = {**_password(), **_trust(hosts, Path(folder)), **_login(hosts, Path(folder))}
            patiently(lambda: self._run(arguments, doing, environment), pause=self.pause)

    def _run(self, arguments: Sequence[str], doing: str, environment: Mapping[str, str]) -> str:
        try:
            return process.capture([self.program, *arguments], doing=doing, env=environment, timeout=_SECONDS)
        except CommandError as error:
            meant = _meant(error, doing)
            if meant is None:
                raise
            raise meant from error


def _annotated(annotations: Mapping[str, str] | None) -> list[str]:
    return [word for name, value in (annotations or {}).items() for word in ("--annotations", f"{name}={value}")]


def _count(references: Sequence[str]) -> str:
    return references[0] if len(references) == 1 else f"{len(references)} references"


def _password() -> dict[str, str]:
    """The password of the key; where there is none an empty one, because cosign would ask the terminal for it."""
    return {PASSWORD: os.environ.get(PASSWORD, "")}


def _trust(hosts: Iterable[str], folder: Path) -> dict[str, str]:
    """Let cosign trust what our own requests trust, beside what it trusts anyway: Go reads all of SSL_CERT_DIR's folders."""
    kept = [place for host in sorted(hosts) for place in certificate_folders(host)]
    found = [file for place in kept for file in sorted(place.glob("*.crt"))]
    folders = [one for one in os.environ.get("SSL_CERT_DIR", "").split(":") if one]
    bundle = os.environ.get("REQUESTS_CA_BUNDLE", "")
    if Path(bundle).is_file():
        found.append(Path(bundle))
    elif bundle:
        folders.append(bundle)
    if found:
        # Copies, since what Docker calls HOST:PORT cannot be said in a list that is parted by colons.
        (folder / "trusted").mkdir()
        folders.append(str(folder / "trusted"))
    for number, file in enumerate(found):
        (folder / "trusted" / f"{number}.crt").write_bytes(file.read_bytes())
    return {"SSL_CERT_DIR": ":".join(folders)} if folders else {}


def _login(hosts: Iterable[str], folder: Path) -> dict[str, str]:
    """Let cosign log in as we do: a login out of the environment becomes a Docker config; other configs it reads by itself."""
    if not os.environ.get("DELIVERY_REGISTRY_USERNAME"):
        return {}
    auths = {}
    for host in hosts:
        user, password = login(host) or ("", "")
        told = base64.b64encode(f"{user}:{password}".encode()).decode()
        auths[auth.INDEX_URL if host == auth.INDEX_NAME else host] = {"auth": told}
    (folder / "config.json").write_text(json.dumps({"auths": auths}), encoding="utf-8")
    return {"DOCKER_CONFIG": str(folder)}


def _verdict(error: CommandError) -> Verdict:
    if error.returncode == _UNSIGNED:
        return Verdict.UNSIGNED
    return Verdict.OTHER_CONTENT if "digest in claim" in error.tail else Verdict.OTHER_KEY


@dataclass(frozen=True)
class _Meaning:
    """What cosign's last words come to: how to know them, what is wrong, what to do."""

    words: str
    kind: type[RegistryError | SignatureError]
    wrong: str
    hint: str


_MEANINGS = (
    _Meaning(
        r"decryption failed",
        SignatureError,
        f"the password does not open the key of {KEY}",
        f"correct {PASSWORD}, or the key that it is for",
    ),
    _Meaning(
        r"(unsupported|invalid) pem|decrypt: ",
        SignatureError,
        f"{KEY} holds no private key as cosign makes it",
        "`./run inv signing.keys --to DIR` makes one; `cosign import-key-pair` locks another tool's",
    ),
    _Meaning(
        r"loading public key",
        SignatureError,
        "signing.public_key is no public key in PEM",
        "commit the public half of the pair: `cosign public-key --key` prints it anew from the private one",
    ),
    _Meaning(
        r"signing-config",
        SignatureError,
        "this cosign stores signatures in another way",
        "install cosign 2, or name one in COSIGN",
    ),
    _Meaning(
        r"UNAUTHORIZED|DENIED|status code 40[13]",
        RegistryError,
        "the registry does not let us",
        "`docker login` to it, or set DELIVERY_REGISTRY_USERNAME and DELIVERY_REGISTRY_PASSWORD",
    ),
    _Meaning(
        r"x509: ",
        RegistryError,
        "the registry's certificate is not trusted",
        "put its CA in /etc/docker/certs.d/HOST/ca.crt, as for Docker, or name the bundle that trusts it in REQUESTS_CA_BUNDLE",
    ),
    _Meaning(
        r"status code (429|5\d\d)|connection re(fused|set)|i/o timeout|unexpected EOF|TOOMANYREQUESTS",
        RegistryError,
        "the registry does not answer as it should",
        "check that it runs, and that this machine reaches it; then run the same command again",
    ),
)


def _meant(error: CommandError, doing: str) -> DeliveryError | None:
    """What cosign's last words mean to who reads them; None where they have to do, or where they are a verdict."""
    said = error.tail.partition("\n")[0].removeprefix("Error: ")
    meaning = next((one for one in _MEANINGS if re.search(one.words, said, re.IGNORECASE)), None)
    if meaning is None or error.returncode in {_UNSIGNED, _UNFIT}:
        return None
    message = f"{doing}: {meaning.wrong}: {said}"
    if meaning.kind is RegistryError:
        return RegistryError(message, hint=meaning.hint, retriable=meaning is _MEANINGS[-1])
    return SignatureError(message, hint=meaning.hint)
