"""A MariaDB server with or without TLS, for the tests of both apps."""

from __future__ import annotations

import subprocess
import time
import uuid
from typing import TYPE_CHECKING

import pymysql  # type: ignore[import-untyped]
import trustme

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["SecureDatabase"]

IMAGE = "mariadb:11.8.9"
TIMEOUT = 180
LOGIN = {"DB_DATABASE": "ledger", "DB_USERNAME": "ledger", "DB_PASSWORD": "password of the ledger"}
# A certificate for localhost alone: 127.0.0.1 is another name.
START = r"""
set -e
printf '%s' "$CERTIFICATE" >/tmp/tls.crt
printf '%s' "$KEY" >/tmp/tls.key
exec docker-entrypoint.sh mariadbd "$@"
"""
DEMANDS_TLS = ("--require-secure-transport", "--ssl-cert=/tmp/tls.crt", "--ssl-key=/tmp/tls.key")


class SecureDatabase:
    """A server that demands TLS, or with `tls=False` one that has none, and how to reach it."""

    def __init__(self, folder: Path, *, tls: bool = True) -> None:
        """Start it, and wait for it."""
        self._name = f"secure-database-{uuid.uuid4().hex}"
        authority = trustme.CA()
        self.ca_file = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca_file))
        certificate = authority.issue_cert("localhost")
        environ = {
            "CERTIFICATE": b"".join(pem.bytes() for pem in certificate.cert_chain_pems).decode(),
            "KEY": certificate.private_key_pem.bytes().decode(),
            "MARIADB_RANDOM_ROOT_PASSWORD": "1",
            "MARIADB_DATABASE": LOGIN["DB_DATABASE"],
            "MARIADB_USER": LOGIN["DB_USERNAME"],
            "MARIADB_PASSWORD": LOGIN["DB_PASSWORD"],
        }
        variables = [
            part for name, value in environ.items() for part in ("--env", f"{name}={value}")
        ]
        options = (
            f"--name={self._name}",
            "--detach",
            "--rm",
            "--label=delivery-platform.managed=true",
            "--memory=512m",
            "--publish=127.0.0.1::3306",
            "--entrypoint=bash",
        )
        arguments = DEMANDS_TLS if tls else ("--skip-ssl",)
        _docker("run", *options, *variables, IMAGE, "-c", START, "start", *arguments)
        port = _docker("port", self._name, "3306/tcp").strip().rpartition(":")[2]
        self.environ = {**LOGIN, "DB_HOST": "localhost", "DB_PORT": port}
        self._wait()

    def connect(self, **tls: object) -> None:
        """Connect and close, with PyMySQL's options for TLS."""
        pymysql.connect(
            host=self.environ["DB_HOST"],
            port=int(self.environ["DB_PORT"]),
            user=LOGIN["DB_USERNAME"],
            password=LOGIN["DB_PASSWORD"],
            **tls,
        ).close()

    def _wait(self) -> None:
        deadline = time.monotonic() + TIMEOUT
        while True:
            try:
                self.connect()
            except pymysql.OperationalError:
                assert time.monotonic() < deadline, _docker("logs", "--tail", "20", self._name)
                time.sleep(0.2)
            else:
                return

    def close(self) -> None:
        """Remove the container."""
        _docker("rm", "--force", "--volumes", self._name)


def _docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout
