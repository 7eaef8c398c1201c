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
from delivery.errors import (
    CommandError,
    DeclarationError,
    DeliveryError,
    RegistryError,
    SignatureError,
)
from delivery.registry.client import login
from delivery.registry.http import certificate_folders
from delivery.retry import with_retries

__all__ = ["KEY", "PASSWORD", "Cosign", "Verdict", "signing_key"]

KEY = "DELIVERY_SIGNING_KEY"
PASSWORD = "COSIGN_PASSWORD"  # noqa: S105  # the name of the variable; cosign reads it by itself
_SECONDS = 300
_UNSIGNED, _UNFIT = (
    10,
    12,
)  # cosign's own exit codes: https://docs.sigstore.dev/cosign/system_config/exit_codes/
_WITHOUT_LOG = (
    "--private-infrastructure=true"  # asks no transparency log, nor for the keys of the public one
)


class Verdict(Enum):
    """What a look at the signatures of one reference came to."""

    GOOD = "is signed"
    UNSIGNED = "is not signed"
    OTHER_KEY = "is signed, but not with the key that it has to be signed with"
    OTHER_CONTENT = "carries a signature that was made for other content"


def signing_key() -> str:
    """The private key that DELIVERY_SIGNING_KEY holds or names, as cosign takes it; "" where it is not set.

    A key given as text goes to cosign by the same variable: it is in no file and on no command line.
    """
    value = os.environ.get(KEY, "")
    if not value.strip():
        return ""
    if value.lstrip().startswith("-----BEGIN"):
        return f"env://{KEY}"
    try:
        is_file = Path(value).is_file()
    except OSError:  # what is no key is no file name either
        is_file = False
    if not is_file:
        # The message leaves out the value: it may be half a key.
        raise DeclarationError(
            f"read {KEY}: it is neither a private key in PEM nor a file that is there",
            hint="give the file's path, or its text from -----BEGIN to END-----; `./run inv signing.keys` makes one",
        )
    return value


@dataclass(frozen=True)
class Cosign:
    """The program cosign; pause waits before a registry that did not answer is tried again."""

    program: str
    pause: Callable[[float], None] = time.sleep

    def sign(
        self, key: str, references: Sequence[str], annotations: Mapping[str, str] | None = None
    ) -> None:
        """Sign these references with a private key, as `signing_key` names it.

        All in one call, since opening the key takes longest; each signature carries all of the
        annotations.
        """
        argv = ["sign", "--yes", "--tlog-upload=false", "--key", key, *_annotated(annotations)]
        self._registry(argv, references, "sign")

    def verdicts(
        self,
        public_key: Path,
        references: Sequence[str],
        annotations: Mapping[str, str] | None = None,
    ) -> dict[str, Verdict]:
        """What the signatures of each reference are worth, for a public key.

        A signature that lacks one of the annotations does not count. cosign ends at the first bad
        reference without naming it, so each is then checked alone.
        """
        argv = ["verify", _WITHOUT_LOG, "--output", "text", "--key", str(public_key)]
        try:
            self._registry([*argv, *_annotated(annotations)], references, "check")
        except CommandError as error:
            if error.returncode not in {_UNSIGNED, _UNFIT}:
                raise
            if len(references) > 1:
                return {
                    reference: self.verdicts(public_key, [reference], annotations)[reference]
                    for reference in references
                }
            return {references[0]: _verdict(error)}
        return dict.fromkeys(references, Verdict.GOOD)

    def public_half(self, key: str) -> str:
        """The public key of a private one, in PEM."""
        return self._run(["public-key", "--key", key], f"open the key of {KEY}", _password())

    def generate(self, prefix: Path, password: str) -> None:
        """Write a key pair to PREFIX.key, locked by the password, and PREFIX.pub."""
        argv = ["generate-key-pair", "--output-key-prefix", str(prefix)]
        self._run(argv, "make a key pair", {PASSWORD: password})

    def _registry(self, argv: Sequence[str], references: Sequence[str], verb: str) -> None:
        """Run a command on references, with what their registries want; retry what may pass."""
        count = len(references)
        doing = f"{verb} {references[0] if count == 1 else f'{count} references'}"
        hosts = {reference.partition("/")[0] for reference in references}
        with tempfile.TemporaryDirectory(prefix="delivery-cosign-") as folder:  # 0700
            environment = {
                **_password(),
                **_trust(hosts, Path(folder)),
                **_login(hosts, Path(folder)),
            }
            with_retries(
                lambda: self._run([*argv, *references], doing, environment), pause=self.pause
            )

    def _run(self, arguments: Sequence[str], doing: str, environment: Mapping[str, str]) -> str:
        try:
            return process.capture(
                [self.program, *arguments],
                doing=doing,
                options=process.Options(env=environment),
                timeout=_SECONDS,
            )
        except CommandError as error:
            meant = _meant(error, doing)
            if meant is None:
                raise
            raise meant from error


def _annotated(annotations: Mapping[str, str] | None) -> list[str]:
    return [
        word
        for name, value in (annotations or {}).items()
        for word in ("--annotations", f"{name}={value}")
    ]


def _password() -> dict[str, str]:
    """The password of the key; where there is none an empty one, because cosign would ask the terminal for it."""
    return {PASSWORD: os.environ.get(PASSWORD, "")}


def _trust(hosts: Iterable[str], folder: Path) -> dict[str, str]:
    """Let cosign trust what our own requests trust, beside what it trusts anyway: Go reads all of SSL_CERT_DIR's folders."""
    kept = [path for host in sorted(hosts) for path in certificate_folders(host)]
    files = [file for path in kept for file in sorted(path.glob("*.crt"))]
    folders = [path for path in os.environ.get("SSL_CERT_DIR", "").split(":") if path]
    bundle = os.environ.get("REQUESTS_CA_BUNDLE", "")
    if Path(bundle).is_file():
        files.append(Path(bundle))
    elif bundle:
        folders.append(bundle)
    if files:
        # Copies, since what Docker calls HOST:PORT cannot be in a list that colons separate.
        (folder / "trusted").mkdir()
        folders.append(str(folder / "trusted"))
    for number, file in enumerate(files):
        (folder / "trusted" / f"{number}.crt").write_bytes(file.read_bytes())
    return {"SSL_CERT_DIR": ":".join(folders)} if folders else {}


def _login(hosts: Iterable[str], folder: Path) -> dict[str, str]:
    """Let cosign log in as we do: a login out of the environment becomes a Docker config; other configs it reads by itself."""
    if not os.environ.get("DELIVERY_REGISTRY_USERNAME"):
        return {}
    auths = {}
    for host in hosts:
        user, password = login(host) or ("", "")
        encoded = base64.b64encode(f"{user}:{password}".encode()).decode()
        auths[auth.INDEX_URL if host == auth.INDEX_NAME else host] = {"auth": encoded}
    (folder / "config.json").write_text(json.dumps({"auths": auths}), encoding="utf-8")
    return {"DOCKER_CONFIG": str(folder)}


def _verdict(error: CommandError) -> Verdict:
    if error.returncode == _UNSIGNED:
        return Verdict.UNSIGNED
    return Verdict.OTHER_CONTENT if "digest in claim" in error.tail else Verdict.OTHER_KEY


@dataclass(frozen=True)
class _Meaning:
    """What an error of cosign's means."""

    words: str
    """The pattern that its first line has."""
    kind: type[RegistryError | SignatureError]
    wrong: str
    """What is wrong, in our words."""
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
    """The error that cosign's words mean; None where they are unknown, or are a verdict."""
    if error.returncode in {_UNSIGNED, _UNFIT}:
        return None
    line = error.tail.partition("\n")[0].removeprefix("Error: ")
    known = (meaning for meaning in _MEANINGS if re.search(meaning.words, line, re.IGNORECASE))
    meaning = next(known, None)
    if meaning is None:
        return None
    message = f"{doing}: {meaning.wrong}: {line}"
    if meaning.kind is RegistryError:
        return RegistryError(message, hint=meaning.hint, retriable=meaning is _MEANINGS[-1])
    return SignatureError(message, hint=meaning.hint)
