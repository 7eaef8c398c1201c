"""The CA bundle that builds get as a secret, for proxies that intercept TLS."""

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
    """The build secrets by id: build-ca is the bundle of DELIVERY_BUILD_CA, else this machine's.

    A secret is part of no layer and of no content key: the image is the same without a proxy.
    """
    bundle = os.environ.get("DELIVERY_BUILD_CA")
    if bundle:
        if not Path(bundle).is_file():
            raise DeclarationError(
                f"cannot read DELIVERY_BUILD_CA: there is no file {bundle}",
                hint="set it to the path of a PEM bundle, or unset it",
            )
        return {"build-ca": Path(bundle)}
    return next(({"build-ca": Path(path)} for path in _BUNDLES if Path(path).is_file()), {})
