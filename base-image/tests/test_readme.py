"""The README agrees with the files."""

import re
from datetime import UTC
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from support import SUBPROJECT

README = (SUBPROJECT / "README.md").read_text(encoding="utf-8")
# The first column of every table.
ROWS = re.findall(r"^\| ([^|]+?) \|", README, re.MULTILINE)


def read(path: str) -> str:
    return (SUBPROJECT / path).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "path", sorted((SUBPROJECT / "ca-certificates").iterdir()), ids=lambda path: path.name
)
def test_every_authority_is_listed_with_its_expiry_and_fingerprint(path: Path) -> None:
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    fingerprint = certificate.fingerprint(SHA256()).hex().upper()
    entry = re.search(rf"^- `{re.escape(path.name)}`: .*\n(?:  .*\n)+", README, re.MULTILINE)
    assert entry is not None
    assert f"`{fingerprint}`" in entry.group()
    assert f"{certificate.not_valid_after_utc.astimezone(UTC):%Y-%m-%d}" in entry.group()


def test_every_group_of_the_prune_list_is_in_the_table() -> None:
    groups = re.findall(r"^## (.+)$", read("rootfs/prune.txt"), re.MULTILINE)
    assert groups
    assert [group for group in groups if group not in ROWS] == []


def test_every_build_argument_is_in_the_table() -> None:
    arguments = re.findall(r"^ARG (\w+)", read("Dockerfile"), re.MULTILINE)
    assert arguments
    assert [name for name in arguments if f"`{name}`" not in ROWS] == []


def test_the_changelog_has_the_version_or_unreleased_changes() -> None:
    version = read("VERSION").strip()
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    heading = rf"^## \[(Unreleased|{re.escape(version)})\]"
    assert re.search(heading, read("CHANGELOG.md"), re.MULTILINE)
