"""Check the certification authorities in ca-certificates/ and write the bundle of the image.

``check`` reports all problems at once, one a line: file, reason, what to do. ``bundle`` does the
same, and writes the bundle only if there are none.
"""

import argparse
import base64
import binascii
import re
import ssl
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

__all__ = ["Problem", "bundle", "check", "check_file", "main"]

SUFFIX = ".crt"
MINIMUM_RSA_BITS = 2048

PEM_LABEL = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")
PEM_CERTIFICATE = re.compile(
    rb"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL
)
# The END line alone is enough: half a private key is a leak too.
PEM_PRIVATE_KEY = re.compile(rb"-----(?:BEGIN|END) [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----")

COPY_AGAIN = "copy the certificate again"
ASK_AUTHORITY = "ask the authority for a valid certificate"

ExtensionT = TypeVar("ExtensionT", bound=x509.ExtensionType)


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem of one file, and what its owner can do."""

    file: str
    reason: str
    advice: str

    def __str__(self) -> str:
        """Return the line that the command prints."""
        return f"{self.file}: {self.reason}; {self.advice}"


def check(files: Mapping[str, bytes], now: datetime) -> list[Problem]:
    """Return every problem of these files (name to content), of each file and between them."""
    problems = [
        problem
        for name, content in sorted(files.items())
        for problem in check_file(name, content, now)
    ]
    return [*problems, *_duplicates(files)]


def check_file(name: str, content: bytes, now: datetime) -> list[Problem]:
    """Return every problem of one file."""
    if PEM_PRIVATE_KEY.search(content):
        # The key has to be removed first, whatever else is wrong.
        advice = "remove it, and replace the key: it has been in a build context"
        return [Problem(name, "contains a private key", advice)]
    if not name.endswith(SUFFIX):
        advice = f"rename it to {Path(name).stem}{SUFFIX} if it is a PEM certificate, or remove it"
        return [Problem(name, f"is not a *{SUFFIX} file, so would not be installed", advice)]
    try:
        certificate = _parse(content)
    except _UnreadableError as error:
        return [Problem(name, *error.args)]
    try:
        problems = [*_date_problems(certificate, now), *_authority_problems(certificate)]
    except ValueError as error:
        problems = [(f"has extensions that cannot be read ({error})", ASK_AUTHORITY)]
    return [Problem(name, reason, advice) for reason, advice in problems]


def bundle(debian: Iterable[bytes], private: Iterable[bytes]) -> str:
    """Return the PEM certificates in the given order, each once and without comments."""
    ders = dict.fromkeys(ssl.PEM_cert_to_DER_cert(_pem_block(pem)) for pem in (*debian, *private))
    return "".join(ssl.DER_cert_to_PEM_cert(der) for der in ders)


class _UnreadableError(Exception):
    """The file has not exactly one readable certificate; its arguments are reason and advice."""


def _parse(content: bytes) -> x509.Certificate:
    """Return the only PEM certificate of a file."""
    if not content.strip():
        raise _UnreadableError("is empty", COPY_AGAIN)
    blocks = PEM_CERTIFICATE.findall(content)
    if not blocks:
        raise _no_certificate(content)
    if len(blocks) > 1:
        raise _UnreadableError(
            f"contains {len(blocks)} certificates", "split it into several files"
        )
    try:
        der = base64.b64decode(b"".join(blocks[0].split()), validate=True)
    except binascii.Error as error:
        raise _UnreadableError(f"has damaged base64 ({error})", COPY_AGAIN) from error
    try:
        return x509.load_der_x509_certificate(der)
    except ValueError as error:
        raise _UnreadableError("is PEM, but not an X.509 certificate", COPY_AGAIN) from error


def _no_certificate(content: bytes) -> _UnreadableError:
    """Return the error of a file without a PEM certificate."""
    labels = sorted({label.decode() for label in PEM_LABEL.findall(content)})
    if "CERTIFICATE" in labels:
        reason = "is cut off: a BEGIN CERTIFICATE line and no END"
        return _UnreadableError(reason, COPY_AGAIN)
    if labels:
        reason = f"contains {', '.join(labels)}, not a CERTIFICATE"
        return _UnreadableError(reason, "replace it by the authority's certificate")
    try:
        x509.load_der_x509_certificate(content)
    except ValueError:
        return _UnreadableError("is not PEM", "replace it by the authority's certificate as PEM")
    advice = "convert it: openssl x509 -inform der -in FILE -out FILE"
    return _UnreadableError("is DER, not PEM", advice)


def _date_problems(certificate: x509.Certificate, now: datetime) -> Iterator[tuple[str, str]]:
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if end < now:
        yield f"expired on {end:%Y-%m-%d}", "replace it by the renewed certificate, or remove it"
    if now < start:
        yield f"is not valid before {start:%Y-%m-%d}", "wait, or check this machine's clock"


def _authority_problems(certificate: x509.Certificate) -> Iterator[tuple[str, str]]:
    """Yield what Python 3.13's ssl would reject: it requires all that RFC 5280 does."""
    constraints = _extension(certificate, x509.BasicConstraints)
    if constraints is None or not constraints.value.ca:
        advice = "replace it by the authority's certificate, not a server's"
        yield "is not a certification authority's certificate", advice
        return
    usage = _extension(certificate, x509.KeyUsage)
    key = certificate.public_key()
    identifier = _extension(certificate, x509.SubjectKeyIdentifier)
    faults = {
        "its basicConstraints are not critical": not constraints.critical,
        "its keyUsage has no keyCertSign": usage is None or not usage.value.key_cert_sign,
        "it has no subjectKeyIdentifier": identifier is None,
        f"its RSA key is shorter than {MINIMUM_RSA_BITS} bits": (
            isinstance(key, RSAPublicKey) and key.key_size < MINIMUM_RSA_BITS
        ),
    }
    for fault, present in faults.items():
        if present:
            yield f"would not be trusted by Python's ssl: {fault}", ASK_AUTHORITY


def _extension(
    certificate: x509.Certificate, kind: type[ExtensionT]
) -> x509.Extension[ExtensionT] | None:
    try:
        return certificate.extensions.get_extension_for_class(kind)
    except x509.ExtensionNotFound:
        return None


def _duplicates(files: Mapping[str, bytes]) -> Iterator[Problem]:
    names: dict[bytes, str] = {}
    for name, content in sorted(files.items()):
        if not name.endswith(SUFFIX):
            continue
        for block in PEM_CERTIFICATE.findall(content):
            first = names.setdefault(b"".join(block.split()), name)
            if first != name:
                yield Problem(name, f"is the same certificate as {first}", "remove one of them")


def _pem_block(pem: bytes) -> str:
    match = PEM_CERTIFICATE.search(pem)
    if match is None:
        raise ValueError("no PEM certificate")
    return match.group().decode("ascii")


def _read(directory: Path) -> tuple[dict[str, bytes], list[Problem]]:
    """Return the content of every file, also in folders, and the files that cannot be read."""
    files: dict[str, bytes] = {}
    problems: list[Problem] = []
    for path in sorted(directory.rglob("*")):
        if path.is_dir():
            continue
        name = path.as_posix()
        try:
            files[name] = path.read_bytes()
        except OSError as error:
            reason = f"cannot be read ({error.strerror})"
            problems.append(Problem(name, reason, "replace it by the file itself"))
    return files, problems


def _description(name: str, pem: bytes) -> str:
    certificate = _parse(pem)
    subject = certificate.subject.rfc4514_string()
    fingerprint = sha256(ssl.PEM_cert_to_DER_cert(_pem_block(pem))).hexdigest().upper()
    end = certificate.not_valid_after_utc
    return f"{name}: {subject}, valid until {end:%Y-%m-%d}, SHA-256 {fingerprint}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check", help="report every problem")
    bundle_command = commands.add_parser("bundle", help="check, then write the bundle")
    for command in commands.choices.values():
        command.add_argument("directory", type=Path, help="folder of *.crt files")
    bundle_command.add_argument("debian", type=Path, help="folder of Debian's authorities")
    bundle_command.add_argument("output", type=Path, help="bundle to write")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    options = _parser().parse_args(arguments)
    if not options.directory.is_dir():
        print(
            f"error: cannot check {options.directory}: it is not a folder\n"
            "hint: name the folder of *.crt files",
            file=sys.stderr,
        )
        return 2
    private, unreadable = _read(options.directory)
    problems = [*unreadable, *check(private, datetime.now(UTC))]
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        return 1
    for name, pem in private.items():
        print(_description(name, pem))
    if options.command == "bundle":
        debian, _ = _read(options.debian)
        text = bundle(debian.values(), private.values())
        options.output.write_text(text, encoding="ascii")
    return 0


if __name__ == "__main__":
    sys.exit(main())
