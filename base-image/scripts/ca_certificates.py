"""Check the certification authorities in ca-certificates/ and write the bundle that the image's clients trust.

``check`` reports all that is wrong at once, a line each: file, reason, what to do. ``bundle`` does the same first,
and so never writes a bundle from a bad file.
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
SMALLEST_RSA_KEY = 2048

PEM_LABEL = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")
PEM_CERTIFICATE = re.compile(
    rb"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL
)
# The END line counts too: half a key is a key that was somewhere it should not be.
PEM_PRIVATE_KEY = re.compile(rb"-----(?:BEGIN|END) [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----")

ExtensionT = TypeVar("ExtensionT", bound=x509.ExtensionType)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one file, and what its owner can do about it."""

    file: str
    reason: str
    advice: str

    def __str__(self) -> str:
        """Put it in the one line that people see."""
        return f"{self.file}: {self.reason}; {self.advice}"


def check(files: Mapping[str, bytes], now: datetime) -> list[Problem]:
    """Tell everything that is wrong with these files (name to content), each alone and then side by side."""
    alone = [
        problem
        for name, content in sorted(files.items())
        for problem in check_file(name, content, now)
    ]
    return [*alone, *_duplicates(files)]


def check_file(name: str, content: bytes, now: datetime) -> list[Problem]:
    """Tell everything that is wrong with one file."""
    if PEM_PRIVATE_KEY.search(content):
        # Nothing else matters about such a file until the key is out of it.
        return [
            Problem(
                name,
                "holds a private key",
                "take it out, and replace the key: it has been in a build context",
            )
        ]
    if not name.endswith(SUFFIX):
        advice = (
            f"call it {Path(name).stem}{SUFFIX} if it is a PEM certificate, or else take it away"
        )
        return [Problem(name, f"is not a *{SUFFIX} file, so would not be installed", advice)]
    try:
        certificate = _parse(content)
    except _UnreadableError as error:
        return [Problem(name, error.reason, error.advice)]
    try:
        found = [*_wrong_dates(certificate, now), *_wrong_kind(certificate)]
    except ValueError as error:
        found = [
            (
                f"has extensions that cannot be read ({error})",
                "ask the authority for a sound certificate",
            )
        ]
    return [Problem(name, reason, advice) for reason, advice in found]


def bundle(debian: Iterable[bytes], own: Iterable[bytes]) -> str:
    """Join PEM certificates in the order given, each certificate once."""
    ders = dict.fromkeys(ssl.PEM_cert_to_DER_cert(_only_block(pem)) for pem in (*debian, *own))
    return "".join(ssl.DER_cert_to_PEM_cert(der) for der in ders)


class _UnreadableError(Exception):
    """The file does not hold one readable certificate."""

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.advice = advice


def _parse(content: bytes) -> x509.Certificate:
    """Read the one PEM certificate of a file."""
    if not content.strip():
        raise _UnreadableError("is empty", "copy the certificate again")
    blocks = PEM_CERTIFICATE.findall(content)
    if not blocks:
        raise _no_certificate(content)
    if len(blocks) > 1:
        raise _UnreadableError(f"holds {len(blocks)} certificates", "split it into a file for each")
    try:
        der = base64.b64decode(b"".join(blocks[0].split()), validate=True)
    except binascii.Error as error:
        raise _UnreadableError(
            f"has damaged base64 ({error})", "copy the certificate again"
        ) from error
    try:
        return x509.load_der_x509_certificate(der)
    except ValueError as error:
        raise _UnreadableError(
            "is PEM, but no X.509 certificate is in it", "copy the certificate again"
        ) from error


def _no_certificate(content: bytes) -> _UnreadableError:
    """Say as exactly as can be what the file is instead of a PEM certificate."""
    labels = sorted({label.decode() for label in PEM_LABEL.findall(content)})
    if "CERTIFICATE" in labels:
        return _UnreadableError(
            "is cut off: a BEGIN CERTIFICATE line and no END", "copy the certificate again"
        )
    if labels:
        return _UnreadableError(
            f"holds {', '.join(labels)}, not a CERTIFICATE", "put the authority's certificate here"
        )
    try:
        x509.load_der_x509_certificate(content)
    except ValueError:
        return _UnreadableError("is not PEM", "put the authority's certificate here, as PEM")
    return _UnreadableError(
        "is DER, not PEM", "convert it: openssl x509 -inform der -in FILE -out FILE"
    )


def _wrong_dates(certificate: x509.Certificate, now: datetime) -> Iterator[tuple[str, str]]:
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if ends < now:
        yield (
            f"expired on {ends:%Y-%m-%d}",
            "put the renewed certificate here, or take the file away",
        )
    if now < begins:
        yield (
            f"is not valid before {begins:%Y-%m-%d}",
            "wait until then, or check this machine's clock",
        )


def _wrong_kind(certificate: x509.Certificate) -> Iterator[tuple[str, str]]:
    """Tell what would make the bundle's readers refuse it: Python 3.13's ssl asks for all that RFC 5280 does."""
    constraints = _extension(certificate, x509.BasicConstraints)
    if constraints is None or not constraints.value.ca:
        yield (
            "is not a certification authority's certificate",
            "put the authority's here, not a server's",
        )
        return
    usage = _extension(certificate, x509.KeyUsage)
    key = certificate.public_key()
    faults = {
        "its basicConstraints are not critical": not constraints.critical,
        "its keyUsage has no keyCertSign": usage is None or not usage.value.key_cert_sign,
        "it has no subjectKeyIdentifier": _extension(certificate, x509.SubjectKeyIdentifier)
        is None,
        f"its RSA key is shorter than {SMALLEST_RSA_KEY} bits": (
            isinstance(key, RSAPublicKey) and key.key_size < SMALLEST_RSA_KEY
        ),
    }
    for fault, present in faults.items():
        if present:
            yield (
                f"would not be trusted by Python's ssl: {fault}",
                "ask the authority to issue a sound one",
            )


def _extension(
    certificate: x509.Certificate, kind: type[ExtensionT]
) -> x509.Extension[ExtensionT] | None:
    try:
        return certificate.extensions.get_extension_for_class(kind)
    except x509.ExtensionNotFound:
        return None


def _duplicates(files: Mapping[str, bytes]) -> Iterator[Problem]:
    first: dict[bytes, str] = {}
    for name, content in sorted(files.items()):
        if not name.endswith(SUFFIX):
            continue
        for block in PEM_CERTIFICATE.findall(content):
            other = first.setdefault(b"".join(block.split()), name)
            if other != name:
                yield Problem(name, f"is the same certificate as {other}", "take one of them away")


def _only_block(pem: bytes) -> str:
    match = PEM_CERTIFICATE.search(pem)
    if match is None:
        raise ValueError("no PEM certificate")
    return match.group().decode("ascii")


def _read(directory: Path) -> tuple[dict[str, bytes], list[Problem]]:
    """Read every file, at any depth: one in a folder is a mistake to report, not to overlook."""
    files: dict[str, bytes] = {}
    problems: list[Problem] = []
    for path in sorted(directory.rglob("*")):
        if path.is_dir():
            continue
        try:
            files[path.as_posix()] = path.read_bytes()
        except OSError as error:
            problems.append(
                Problem(
                    path.as_posix(),
                    f"cannot be read ({error.strerror})",
                    "put the file itself here",
                )
            )
    return files, problems


def _describe(name: str, pem: bytes) -> str:
    certificate = _parse(pem)
    subject = certificate.subject.rfc4514_string()
    fingerprint = sha256(ssl.PEM_cert_to_DER_cert(_only_block(pem))).hexdigest().upper()
    return f"{name}: {subject}, valid until {certificate.not_valid_after_utc:%Y-%m-%d}, SHA-256 {fingerprint}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    check_command = commands.add_parser("check", help="report every problem and install nothing")
    check_command.add_argument("directory", type=Path, help="folder of *.crt files")
    bundle_command = commands.add_parser("bundle", help="check, then write the bundle")
    bundle_command.add_argument("directory", type=Path, help="folder of *.crt files")
    bundle_command.add_argument(
        "debian", type=Path, help="folder of the public authorities that Debian trusts"
    )
    bundle_command.add_argument("output", type=Path, help="bundle to write")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    options = _parser().parse_args(arguments)
    if not options.directory.is_dir():
        print(
            f"checking certificates: {options.directory} is not a folder; name the one with the *.crt files",
            file=sys.stderr,
        )
        return 2
    own, unreadable = _read(options.directory)
    problems = [*unreadable, *check(own, datetime.now(UTC))]
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        return 1
    for name, pem in own.items():
        print(_describe(name, pem))
    if options.command == "bundle":
        debian, _ = _read(options.debian)
        options.output.write_text(bundle(debian.values(), own.values()), encoding="ascii")
    return 0


if __name__ == "__main__":
    sys.exit(main())
