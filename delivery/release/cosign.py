"""Sign and check references with `cosign` and a key pair: no certificates, no transparency log.

A signature is in the repository of its image, under the tag sha256-<hex>.sig.
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
PASSWORD = "COSIGN_PASSWORD"  # noqa: S105  # the name of a variable, which cosign reads
_SECONDS = 300
# https://docs.sigstore.dev/cosign/system_config/exit_codes/
_NO_SIGNATURE, _NO_MATCH = 10, 12
# Asks no transparency log, nor for the keys of the public log.
_WITHOUT_LOG = "--private-infrastructure=true"
# Reads signatures that are attached as OCI 1.1 says; if there is none, those under a tag.
_REFERRERS = "--experimental-oci11=true"
# The roots that bundles are checked with: none, only the key counts.
_NO_ROOTS = '{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}'


class Verdict(Enum):
    """The result of a check of the signatures of a reference."""

    GOOD = "is signed"
    UNSIGNED = "is not signed"
    OTHER_KEY = "is signed, but with another key"
    OTHER_CONTENT = "has a signature of other content"
    LAPTOP = "is signed by a laptop, where only the CI server's builds are deployed"


def signing_key() -> str:
    """The private key of DELIVERY_SIGNING_KEY, as an argument of cosign; "" if it is not set.

    cosign reads a key in PEM from the same variable: it is in no file and on no command line.
    """
    value = os.environ.get(KEY, "")
    if not value.strip():
        return ""
    if value.lstrip().startswith("-----BEGIN"):
        return f"env://{KEY}"
    try:
        is_file = Path(value).is_file()
    except OSError:  # such as a name that is too long
        is_file = False
    if not is_file:
        # The value may be a part of a key, so no message has it.
        raise DeclarationError(
            f"cannot read {KEY}: it is neither a private key in PEM nor an existing file",
            hint="set it to the file's path, or to its text from -----BEGIN to END-----; "
            "`./run inv signing.keys` makes a key pair",
        )
    return value


@dataclass(frozen=True)
class Cosign:
    """The program cosign; pause waits before a retry."""

    program: str
    pause: Callable[[float], None] = time.sleep

    def sign(
        self, key: str, references: Sequence[str], annotations: Mapping[str, str] | None = None
    ) -> None:
        """Sign references with a private key, as `signing_key` returns it.

        A single call, since to open the key takes longest; each signature has all annotations.
        """
        argv = ["sign", "--yes", "--tlog-upload=false", "--key", key, *_annotated(annotations)]
        self._registry(argv, references, "sign")

    def verdicts(
        self,
        public_key: Path,
        references: Sequence[str],
        annotations: Mapping[str, str] | None = None,
    ) -> dict[str, Verdict]:
        """The verdict on the signatures of each reference, for a public key.

        A signature has to have all annotations. cosign ends at the first bad
        reference without naming it, so then each is checked alone.
        """
        argv = ["verify", _WITHOUT_LOG, _REFERRERS, "--output", "text", "--key", str(public_key)]
        try:
            self._registry([*argv, *_annotated(annotations)], references, "check")
        except CommandError as error:
            if error.returncode not in {_NO_SIGNATURE, _NO_MATCH}:
                raise
            if len(references) > 1:
                return {
                    reference: self.verdicts(public_key, [reference], annotations)[reference]
                    for reference in references
                }
            return {references[0]: _verdict(error)}
        return dict.fromkeys(references, Verdict.GOOD)

    def attest(self, key: str, reference: str, kind: str, predicate: str) -> None:
        """Sign a statement about a reference: a predicate of this kind."""
        with tempfile.TemporaryDirectory(prefix="delivery-attest-") as folder:
            file = Path(folder) / "predicate.json"
            file.write_text(predicate, encoding="utf-8")
            argv = ["attest", "--yes", "--tlog-upload=false", "--key", key, "--type", kind]
            self._registry([*argv, "--predicate", str(file)], [reference], "attest")

    def statements(self, public_key: Path, reference: str, kind: str) -> tuple[Verdict, list[str]]:
        """The verdict on the statements of a kind about a reference, and the good ones.

        cosign attaches them under a tag, or as bundles as OCI 1.1 says; both are read.
        """
        argv = ["verify-attestation", _WITHOUT_LOG, "--type", kind, "--key", str(public_key)]
        with tempfile.TemporaryDirectory(prefix="delivery-roots-") as folder:
            roots = Path(folder) / "roots.json"
            roots.write_text(_NO_ROOTS, encoding="utf-8")
            bundles = ["--new-bundle-format", "--trusted-root", str(roots)]
            under_tag = self._statements(argv, reference)
            if under_tag[0] is Verdict.GOOD:
                return under_tag
            attached = self._statements([*argv, *bundles], reference)
        return under_tag if attached[0] is Verdict.UNSIGNED else attached

    def _statements(self, argv: Sequence[str], reference: str) -> tuple[Verdict, list[str]]:
        try:
            output = self._registry(argv, [reference], "check the provenance of")
        except CommandError as error:
            if (verdict := _verdict_on_statements(error)) is None:
                raise
            return verdict, []
        envelopes = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
        return Verdict.GOOD, [base64.b64decode(each["payload"]).decode() for each in envelopes]

    def public_half(self, key: str) -> str:
        """The public key of a private key, in PEM."""
        return self._run(["public-key", "--key", key], f"open the key of {KEY}", _password())

    def generate(self, prefix: Path, password: str) -> None:
        """Write a key pair to PREFIX.key, locked by the password, and PREFIX.pub."""
        argv = ["generate-key-pair", "--output-key-prefix", str(prefix)]
        self._run(argv, "make a key pair", {PASSWORD: password})

    def _registry(self, argv: Sequence[str], references: Sequence[str], verb: str) -> str:
        """The output of a command on references, with logins of their registries; with retries."""
        count = len(references)
        doing = f"{verb} {references[0] if count == 1 else f'{count} references'}"
        hosts = {reference.partition("/")[0] for reference in references}
        with tempfile.TemporaryDirectory(prefix="delivery-cosign-") as folder:  # 0700
            environment = {
                **_password(),
                **_trust(hosts, Path(folder)),
                **_login(hosts, Path(folder)),
            }
            return with_retries(
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
            known = _known_error(error, doing)
            if known is None:
                raise
            raise known from error


def _annotated(annotations: Mapping[str, str] | None) -> list[str]:
    return [
        word
        for name, value in (annotations or {}).items()
        for word in ("--annotations", f"{name}={value}")
    ]


def _password() -> dict[str, str]:
    """The password of the key: empty if it is not set, else cosign would prompt for it."""
    return {PASSWORD: os.environ.get(PASSWORD, "")}


def _trust(hosts: Iterable[str], folder: Path) -> dict[str, str]:
    """Make cosign trust what our own requests trust too: Go reads all folders of SSL_CERT_DIR."""
    docker = [path for host in sorted(hosts) for path in certificate_folders(host)]
    files = [file for path in docker for file in sorted(path.glob("*.crt"))]
    folders = [path for path in os.environ.get("SSL_CERT_DIR", "").split(":") if path]
    bundle = os.environ.get("REQUESTS_CA_BUNDLE", "")
    if Path(bundle).is_file():
        files.append(Path(bundle))
    elif bundle:
        folders.append(bundle)
    if files:
        # Copies, since Docker's folders HOST:PORT cannot be in a list that colons separate.
        (folder / "trusted").mkdir()
        folders.append(str(folder / "trusted"))
    for number, file in enumerate(files):
        (folder / "trusted" / f"{number}.crt").write_bytes(file.read_bytes())
    return {"SSL_CERT_DIR": ":".join(folders)} if folders else {}


def _login(hosts: Iterable[str], folder: Path) -> dict[str, str]:
    """A Docker config with the login of the environment; cosign reads other configs itself."""
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
    if error.returncode == _NO_SIGNATURE:
        return Verdict.UNSIGNED
    return Verdict.OTHER_CONTENT if "digest in claim" in error.tail else Verdict.OTHER_KEY


def _error_line(error: CommandError) -> str:
    """The line that says what is wrong; some commands print others before it."""
    lines = error.tail.splitlines() or [""]
    wrong = next((line for line in lines if line.startswith("Error: ")), lines[0])
    return wrong.removeprefix("Error: ")


def _verdict_on_statements(error: CommandError) -> Verdict | None:
    """The verdict that an error means; None for any other error."""
    line = _error_line(error).strip()
    if line in {"no matching attestations:", "no valid bundles exist in registry"}:
        return Verdict.UNSIGNED
    if not line.startswith("no matching attestations: "):
        return None
    is_moved = re.search("(subject|artifact) digest", line)
    return Verdict.OTHER_CONTENT if is_moved else Verdict.OTHER_KEY


_TEMPORARY = (
    r"status code (429|5\d\d)|connection re(fused|set)|i/o timeout|unexpected EOF|TOOMANYREQUESTS"
)
# The meaning of cosign's errors: a pattern of the first line, the kind, the reason, and a hint.
_MEANINGS: tuple[tuple[str, type[RegistryError | SignatureError], str, str], ...] = (
    (
        r"decryption failed",
        SignatureError,
        "the password is wrong",
        f"correct {PASSWORD}, or {KEY}",
    ),
    (
        r"(unsupported|invalid) pem|decrypt: ",
        SignatureError,
        "the key is not a private key of cosign",
        "make a key by `./run inv signing.keys --to DIR`; `cosign import-key-pair` converts others",
    ),
    (
        r"loading public key",
        SignatureError,
        "signing.public_key is not a public key in PEM",
        "commit the public half of the pair: `cosign public-key --key` prints it",
    ),
    (
        r"signing-config",
        SignatureError,
        "this version of cosign stores signatures in another way",
        "install cosign 2, or set COSIGN to its path",
    ),
    (
        r"UNAUTHORIZED|DENIED|status code 40[13]",
        RegistryError,
        "the registry refuses the login",
        "run `docker login`, or set DELIVERY_REGISTRY_USERNAME and DELIVERY_REGISTRY_PASSWORD",
    ),
    (
        r"x509: ",
        RegistryError,
        "the registry's certificate is not trusted",
        "put its CA in /etc/docker/certs.d/HOST/ca.crt, or a bundle in REQUESTS_CA_BUNDLE",
    ),
    (
        _TEMPORARY,
        RegistryError,
        "the registry does not answer, or by an error",
        "check that it runs, and that this machine reaches it; then run the same command again",
    ),
)


def _known_error(error: CommandError, doing: str) -> DeliveryError | None:
    """The error that cosign's output means; None if it is unknown, or a verdict."""
    if error.returncode in {_NO_SIGNATURE, _NO_MATCH}:
        return None
    line = _error_line(error)
    for pattern, kind, reason, hint in _MEANINGS:
        if re.search(pattern, line, re.IGNORECASE):
            message = f"cannot {doing}: {reason}: {line}"
            if kind is SignatureError:
                return SignatureError(message, hint=hint)
            return RegistryError(message, hint=hint, retriable=pattern == _TEMPORARY)
    return None
