"""sops with a real age key: the values of a file that only this key decrypts."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from delivery.deploy import sops
from delivery.errors import DeclarationError
from delivery.host import programs
from tests import yaml_strict

# With the tests on a cluster, though it needs none: ./run nox must not compile for minutes.
pytestmark = [pytest.mark.engine, pytest.mark.cluster, pytest.mark.compiled]
VALUES = {"database": {"password": "a \"quoted\" pässword: '%'\n"}, "n": [1, True, None]}
LETTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


def bech32(prefix: str, data: bytes) -> str:
    """Bytes as age prints keys (BIP 173)."""
    bits = "".join(f"{byte:08b}" for byte in data)
    words = [int(bits[start : start + 5].ljust(5, "0"), 2) for start in range(0, len(bits), 5)]
    expanded = [*(ord(c) >> 5 for c in prefix), 0, *(ord(c) & 31 for c in prefix)]
    check = 1
    for word in [*expanded, *words, *[0] * 6]:
        top, check = check >> 25, (check & 0x1FFFFFF) << 5 ^ word
        for bit, generator in enumerate(
            (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
        ):
            check ^= generator if top >> bit & 1 else 0
    check ^= 1
    words += [check >> 5 * (5 - place) & 31 for place in range(6)]
    return f"{prefix}1{''.join(LETTERS[word] for word in words)}"


@pytest.fixture(scope="module")
def program() -> str:
    if not programs.find("sops") and not programs.can_install("sops"):
        pytest.skip("neither sops nor Go, which compiles it, is here")
    return programs.ensure("sops")


@pytest.fixture
def encrypted(program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of values, encrypted for a new key that SOPS_AGE_KEY_FILE names."""
    key = X25519PrivateKey.generate()
    recipient = bech32("age", key.public_key().public_bytes_raw())
    identity = tmp_path / "key.txt"
    identity.write_text(bech32("age-secret-key-", key.private_bytes_raw()).upper() + "\n")
    file = tmp_path / "secrets.yaml"
    file.write_text(yaml.safe_dump(VALUES))
    monkeypatch.setenv("SOPS_AGE_KEY_FILE", str(identity))
    monkeypatch.setenv("SOPS", program)
    subprocess.run([program, "encrypt", "--age", recipient, "--in-place", file], check=True)
    assert "pässword" not in file.read_text()
    return file


def test_the_key_decrypts_the_values(encrypted: Path) -> None:
    before = {file: file.read_bytes() for file in encrypted.parent.iterdir()}
    assert yaml_strict.load(sops.decrypt(encrypted)) == VALUES
    assert {file: file.read_bytes() for file in encrypted.parent.iterdir()} == before


def test_without_the_key_sops_says_why(
    encrypted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOPS_AGE_KEY_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with pytest.raises(DeclarationError, match="sops failed") as caught:
        sops.decrypt(encrypted)
    assert "age" in caught.value.details
