import ssl
from pathlib import Path

import pytest
import trustme
from ledger.tls import CA_FILE, client_context


@pytest.fixture
def ca_file(tmp_path: Path) -> str:
    file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(file))
    return str(file)


def test_tls_1_2_and_the_host_name_are_required(ca_file: str) -> None:
    context = client_context(ca_file)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert (context.check_hostname, context.verify_mode) == (True, ssl.CERT_REQUIRED)
    assert len(context.get_ca_certs()) == 1


def test_without_a_ca_file_the_systems_cas_are_trusted(
    monkeypatch: pytest.MonkeyPatch, ca_file: str
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", ca_file)
    monkeypatch.setenv("SSL_CERT_DIR", str(Path(ca_file).parent / "none"))
    assert len(client_context("").get_ca_certs()) == 1


def test_a_good_ca_file_and_none_are_valid(ca_file: str) -> None:
    assert (CA_FILE.parse(ca_file), CA_FILE.parse("")) == (ca_file, "")


def test_a_ca_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    file = tmp_path / "absent"
    with pytest.raises(ValueError, match=rf"cannot read {file} \(No such file or directory\)"):
        CA_FILE.parse(str(file))


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00\xff", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"],
    ids=["empty", "binary", "broken"],
)
def test_a_ca_file_without_a_certificate_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=f"{file} holds no certificate in PEM, or a broken one"):
        CA_FILE.parse(str(file))
