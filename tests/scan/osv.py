"""A small OSV database: the facts of three public records, and packages that they are about."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from delivery.release.sbom import Package

__all__ = ["OPENSSL", "PACKAGES", "RECORDS", "URLLIB3", "write_databases"]


def record(name: str, alias: str, summary: str, score: str, affected: Any) -> dict[str, Any]:
    ecosystem, package, introduced, fixed = affected
    events = [{"introduced": introduced}, *([{"fixed": fixed}] if fixed else [])]
    return {
        "id": name,
        "aliases": [alias],
        "summary": summary,
        "severity": [{"type": "CVSS_V3", "score": score}],
        "affected": [
            {
                "package": {"ecosystem": ecosystem, "name": package},
                "ranges": [{"type": "ECOSYSTEM", "events": events}],
            }
        ],
    }


_URLLIB3 = record(
    "GHSA-mh33-7rrq-662w",
    "CVE-2019-11324",
    "Improper Certificate Validation in urllib3",
    "CVSS:3.0/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:H/A:N",
    ("PyPI", "urllib3", "0", "1.24.2"),
)
_OPENSSL = record(
    "DEBIAN-CVE-2025-9230",
    "CVE-2025-9230",
    "",
    "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H",
    ("Debian:13", "openssl", "0", "3.5.1-1+deb13u1"),
)
_GNUTLS = record(
    "DEBIAN-CVE-2011-3389",
    "CVE-2011-3389",
    "",
    "CVSS:3.1/AV:N/AC:L/PR:N/UI:R/S:U/C:L/I:N/A:N",
    ("Debian:13", "gnutls28", "0", ""),
)
RECORDS = {"PyPI": [_URLLIB3], "Debian": [_OPENSSL, _GNUTLS]}

_DEBIAN = "?arch=amd64&distro=debian-13&upstream="
OPENSSL = f"pkg:deb/debian/libssl3t64@3.5.1-1{_DEBIAN}openssl"
URLLIB3 = "pkg:pypi/urllib3@1.24.1"
PACKAGES = [
    Package("deb", "libssl3t64", "3.5.1-1", OPENSSL),
    Package("deb", "zlib1g", "1.3", f"pkg:deb/debian/zlib1g@1%3A1.3{_DEBIAN}zlib%401%3A1.3"),
    Package("pypi", "urllib3", "1.24.1", URLLIB3),
    Package("pypi", "Foo_Bar", "1.0", "pkg:pypi/foo-bar@1.0"),
    Package("generic", "openssl", "3.0", "pkg:generic/openssl@3.0"),
]


def write_databases(folder: Path, modified: str, ecosystems: dict[str, Any] = RECORDS) -> Path:
    """Write a database for each ecosystem, whose records have this time; the folder."""
    for ecosystem, records in ecosystems.items():
        file = folder / "osv-scalibr" / ecosystem / "all.zip"
        file.parent.mkdir(parents=True)
        with zipfile.ZipFile(file, "w") as archive:
            for item in records:
                text = json.dumps({**item, "modified": modified})
                archive.writestr(f"{item['id']}.json", text)
    return folder
