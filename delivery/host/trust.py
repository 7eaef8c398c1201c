"""What this machine trusts: the CA bundle that builds get as a secret, for proxies that intercept TLS."""

from __future__ import annotations

import os
from pathlib import Path

from delivery.errors import DeclarationError

__all__ = ["secrets"]

_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)


def secrets() -> dict[str, Path]:
    """The build secrets, by id. build-ca is the machine's own bundle, or the one that DELIVERY_BUILD_CA names.

    A secret never reaches a layer, nor a key: a build behind a proxy makes the same image as one without.
    """
    told = os.environ.get("DELIVERY_BUILD_CA")
    if told:
        if not Path(told).is_file():
            raise DeclarationError(
                f"read DELIVERY_BUILD_CA: there is no file {told}",
                hint="name a PEM bundle, or unset it",
            )
        return {"build-ca": Path(told)}
    return next(({"build-ca": Path(bundle)} for bundle in _BUNDLES if Path(bundle).is_file()), {})
