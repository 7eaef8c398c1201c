"""The README says what the files say."""

import re
from datetime import UTC
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from support import SUBPROJECT

README = (SUBPROJECT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "path", sorted((SUBPROJECT / "ca-certificates").iterdir()), ids=lambda path: path.name
)
def test_every_authority_is_in_the_table(path: Path) -> None:
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    fingerprint = certificate.fingerprint(SHA256()).hex(":").upper()
    (row,) = (line for line in README.splitlines() if line.startswith(f"| `{path.name}` |"))
    assert f"`{fingerprint}`" in row
    assert f"{certificate.not_valid_after_utc.astimezone(UTC):%Y-%m-%d}" in row


def test_every_group_of_the_prune_list_is_in_the_table() -> None:
    groups = re.findall(
        r"^## (.+)$", (SUBPROJECT / "rootfs/prune.txt").read_text(encoding="utf-8"), re.MULTILINE
    )
    rows = re.findall(r"^\| ([^|]+?) \|", README, re.MULTILINE)
    assert groups
    assert [group for group in groups if group not in rows] == []


def test_every_build_argument_is_in_the_table() -> None:
    arguments = re.findall(
        r"^ARG (\w+)", (SUBPROJECT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert arguments
    assert [name for name in arguments if f"| `{name}` |" not in README] == []


def test_version_has_a_heading_or_is_unreleased_in_the_changelog() -> None:
    changelog = (SUBPROJECT / "CHANGELOG.md").read_text(encoding="utf-8")
    version = (SUBPROJECT / "VERSION").read_text(encoding="utf-8").strip()
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    assert re.search(rf"^## \[(Unreleased|{re.escape(version)})\]", changelog, re.MULTILINE)
