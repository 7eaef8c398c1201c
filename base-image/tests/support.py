"""Paths, and certificates that are valid or invalid in one way."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

SUBPROJECT = Path(__file__).resolve().parent.parent

# Options of a build with labels and a fixed date.
DESCRIPTION = (
    "--build-arg=VERSION=1.2.3",
    "--build-arg=REVISION=abc",
    "--build-arg=SOURCE=https://example.org/base",
    "--build-arg=SOURCE_DATE_EPOCH=1700000000",
    "--provenance=false",
)

measured_sizes = pytest.StashKey[str]()

Key: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
Extensions: TypeAlias = list[tuple[x509.ExtensionType, bool]]
"""Each extension, and whether it is critical."""

BEGINS = datetime(2020, 1, 1, tzinfo=UTC)
ENDS = datetime(2040, 1, 1, tzinfo=UTC)
CERTIFICATE_SIGN = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def key_identifier(key: Key) -> x509.SubjectKeyIdentifier:
    return x509.SubjectKeyIdentifier.from_public_key(key.public_key())


def authority_extensions(key: Key) -> Extensions:
    """Return what RFC 5280 requires of an authority's certificate."""
    constraints = x509.BasicConstraints(ca=True, path_length=None)
    return [(constraints, True), (CERTIFICATE_SIGN, True), (key_identifier(key), False)]


def certificate(
    key: Key, extensions: Extensions, begins: datetime = BEGINS, ends: datetime = ENDS
) -> bytes:
    """Return a self-signed certificate, as PEM."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test authority")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def authority(begins: datetime = BEGINS, ends: datetime = ENDS) -> bytes:
    """Return an authority's certificate with nothing wrong but perhaps its dates."""
    key = new_key()
    return certificate(key, authority_extensions(key), begins, ends)
