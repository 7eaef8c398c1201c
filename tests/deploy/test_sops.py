"""Encrypted values reach helm by a pipe; they are on no disk and in no command line."""

from pathlib import Path

import pytest
from pytest_subprocess import FakeProcess

from delivery.deploy import sops
from delivery.deploy.upgrade import Chart, write_files
from delivery.errors import DeclarationError
from delivery.host import programs
from tests.deploy.cluster import CHART, Cluster, target

ENCRYPTED = "database:\n  password: ENC[AES256_GCM,data:x]\nsops:\n  version: 3.13.3\n"
PLAIN = "database:\n  password: a-password\n"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(programs, "ensure", lambda name: name)
    written = tmp_path / "secrets.yaml"
    written.write_text(ENCRYPTED)
    return written


def test_the_values_are_what_sops_prints(file: Path, fp: FakeProcess) -> None:
    fp.register(["sops", "decrypt", str(file)], stdout=PLAIN)
    assert sops.decrypt(file) == PLAIN


@pytest.mark.parametrize("text", [PLAIN, "", "- sops\n", "sops\n"])
def test_a_file_that_is_not_encrypted_is_refused(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(DeclarationError, match="sops has not encrypted it") as caught:
        sops.decrypt(file)
    assert "sops encrypt --in-place" in caught.value.hint


@pytest.mark.parametrize("content", [b"\xff", b"a: ["])
def test_a_file_that_is_no_yaml_is_refused(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(DeclarationError, match=r"cannot read secrets\.yaml"):
        sops.decrypt(file)


def test_a_missing_key_is_an_error_with_what_sops_says(file: Path, fp: FakeProcess) -> None:
    message = "failed to get the data key required to decrypt the SOPS file"
    fp.register(["sops", "decrypt", str(file)], stderr=message, returncode=128)
    with pytest.raises(DeclarationError, match="sops failed") as caught:
        sops.decrypt(file)
    assert caught.value.details == message
    assert "SOPS_AGE_KEY_FILE" in caught.value.hint


def test_a_deploy_decrypts_the_environments_file(
    cluster: Cluster, root: Path, fp: FakeProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "ensure", lambda name: name)
    (root / "secrets.yaml").write_text(ENCRYPTED)
    fp.register(["sops", "decrypt", str(root / "secrets.yaml")], stdout=PLAIN)
    environment = target(cluster, secrets="secrets.yaml")
    files = write_files(environment, Chart(CHART, {}), root)
    assert files.secrets == PLAIN
    assert "a-password" not in repr(files)
    written = [file for file in root.rglob("*") if file.is_file()]
    assert not [file for file in written if "a-password" in file.read_text()]


def test_without_such_a_file_nothing_is_decrypted(cluster: Cluster, root: Path) -> None:
    assert write_files(target(cluster), Chart(CHART, {}), root).secrets == ""
