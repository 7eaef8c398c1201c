import ssl
from datetime import UTC, datetime
from pathlib import Path

import ca_certificates
import pytest
from ca_certificates import Problem, bundle, check, check_file
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from support import (
    CERTIFICATE_SIGN,
    SUBPROJECT,
    authority,
    authority_extensions,
    certificate,
    key_identifier,
    new_key,
)

NOW = datetime(2026, 11, 21, tzinfo=UTC)
PRIVATE_KEY = b"-----BEGIN %sPRIVATE KEY-----\nMIIB\n-----END %sPRIVATE KEY-----\n"


@pytest.fixture(scope="module")
def good() -> bytes:
    return authority()


def reasons(content: bytes, name: str = "a.crt") -> list[str]:
    return [problem.reason for problem in check_file(name, content, NOW)]


def test_a_sound_authority_has_no_problem(good: bytes) -> None:
    assert reasons(good) == []


def test_text_around_the_certificate_is_allowed(good: bytes) -> None:
    assert reasons(b"# our root, from the wiki\n" + good + b"\n# the end\n") == []


def test_windows_line_ends_are_allowed(good: bytes) -> None:
    assert reasons(good.replace(b"\n", b"\r\n")) == []


@pytest.mark.parametrize("content", [b"", b" \r\n\n"])
def test_empty(content: bytes) -> None:
    assert reasons(content) == ["is empty"]


def test_not_pem() -> None:
    assert reasons(b"\x00\x01 not a certificate") == ["is not PEM"]


def test_der(good: bytes) -> None:
    assert reasons(ssl.PEM_cert_to_DER_cert(good.decode())) == ["is DER, not PEM"]


def test_another_kind_of_pem() -> None:
    request = b"-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n-----END CERTIFICATE REQUEST-----\n"
    assert reasons(request) == ["holds CERTIFICATE REQUEST, not a CERTIFICATE"]


def test_cut_off_before_the_end_line(good: bytes) -> None:
    assert reasons(good[: len(good) // 2]) == ["is cut off: a BEGIN CERTIFICATE line and no END"]


def test_damaged_base64(good: bytes) -> None:
    lines = good.splitlines()
    lines[2] = b"????" + lines[2][4:]
    (reason,) = reasons(b"\n".join(lines))
    assert reason.startswith("has damaged base64")


def test_a_line_short(good: bytes) -> None:
    lines = good.splitlines()
    del lines[2]
    (reason,) = reasons(b"\n".join(lines))
    assert reason == "is PEM, but no X.509 certificate is in it"


def test_several_certificates(good: bytes) -> None:
    assert reasons(good + authority()) == ["holds 2 certificates"]


@pytest.mark.parametrize("kind", [b"", b"RSA ", b"EC ", b"ENCRYPTED ", b"OPENSSH "])
@pytest.mark.parametrize("name", ["a.crt", "a.pem", "a.key"])
def test_private_key_after_a_certificate(good: bytes, kind: bytes, name: str) -> None:
    assert reasons(good + PRIVATE_KEY % (kind, kind), name) == ["holds a private key"]


def test_half_a_private_key(good: bytes) -> None:
    assert reasons(b"MIIB\n-----END PRIVATE KEY-----\n" + good) == ["holds a private key"]


def test_expired() -> None:
    assert reasons(authority(ends=datetime(2026, 11, 20, tzinfo=UTC))) == ["expired on 2026-11-20"]


def test_not_yet_valid() -> None:
    assert reasons(authority(begins=datetime(2026, 11, 22, tzinfo=UTC))) == [
        "is not valid before 2026-11-22"
    ]


@pytest.mark.parametrize(
    "extensions", [[], [(x509.BasicConstraints(ca=False, path_length=None), True)]]
)
def test_not_an_authority(extensions: list[tuple[x509.ExtensionType, bool]]) -> None:
    assert reasons(certificate(new_key(), extensions)) == [
        "is not a certification authority's certificate"
    ]


def test_basic_constraints_must_be_critical() -> None:
    key = new_key()
    (constraints, _), *others = authority_extensions(key)
    assert reasons(certificate(key, [(constraints, False), *others])) == [
        "would not be trusted by Python's ssl: its basicConstraints are not critical"
    ]


def test_key_usage_is_needed() -> None:
    key = new_key()
    extensions = [item for item in authority_extensions(key) if item[0] != CERTIFICATE_SIGN]
    assert reasons(certificate(key, extensions)) == [
        "would not be trusted by Python's ssl: its keyUsage has no keyCertSign"
    ]


def test_subject_key_identifier_is_needed() -> None:
    key = new_key()
    extensions = [item for item in authority_extensions(key) if item[0] != key_identifier(key)]
    assert reasons(certificate(key, extensions)) == [
        "would not be trusted by Python's ssl: it has no subjectKeyIdentifier"
    ]


def test_short_rsa_key() -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 -- the point
    assert reasons(certificate(key, authority_extensions(key))) == [
        "would not be trusted by Python's ssl: its RSA key is shorter than 2048 bits"
    ]


@pytest.mark.parametrize("name", ["a.pem", "a.cer", "README.md", "a.crt.bak"])
def test_a_file_that_would_be_overlooked(good: bytes, name: str) -> None:
    assert reasons(good, name) == ["is not a *.crt file, so would not be installed"]


def test_the_same_certificate_under_two_names(good: bytes) -> None:
    files = {"b.crt": good, "a.crt": good.replace(b"\n", b"\r\n"), "c.crt": authority()}
    assert [(problem.file, problem.reason) for problem in check(files, NOW)] == [
        ("b.crt", "is the same certificate as a.crt")
    ]


def test_every_problem_of_every_file_is_told_at_once(good: bytes) -> None:
    files = {"a.crt": good, "b.crt": good, "c.crt": b"", "d.pem": good}
    assert [problem.file for problem in check(files, NOW)] == ["c.crt", "d.pem", "b.crt"]


def test_a_problem_is_one_line_of_file_reason_and_advice() -> None:
    assert str(Problem("a.crt", "is empty", "copy it again")) == "a.crt: is empty; copy it again"


def test_bundle_holds_each_certificate_once_in_the_order_given(good: bytes) -> None:
    other = authority()
    assert bundle([good, other], [other.replace(b"\n", b"\r\n")]) == (good + other).decode()


def test_bundle_leaves_comments_out(good: bytes) -> None:
    assert bundle([], [b"# comment\n" + good]) == good.decode()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty ca-certificates/ in the working folder, as in the build."""
    monkeypatch.chdir(tmp_path)
    folder = Path("ca-certificates")
    folder.mkdir()
    return folder


def test_command_describes_what_is_sound(
    folder: Path, good: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "a.crt").write_bytes(good)
    assert ca_certificates.main(["check", str(folder)]) == 0
    assert capsys.readouterr().out.startswith(
        "ca-certificates/a.crt: CN=Test authority, valid until 2040-01-01, SHA-256 "
    )


def test_command_names_a_bad_file_in_a_folder_below(
    folder: Path, good: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "a.crt").write_bytes(good)
    (folder / "below").mkdir()
    (folder / "below/b.crt").write_bytes(b"")
    assert ca_certificates.main(["check", str(folder)]) == 1
    assert (
        capsys.readouterr().err
        == "ca-certificates/below/b.crt: is empty; copy the certificate again\n"
    )


def test_command_names_a_link_that_leads_nowhere(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "a.crt").symlink_to("nowhere")
    assert ca_certificates.main(["check", str(folder)]) == 1
    assert capsys.readouterr().err.startswith("ca-certificates/a.crt: cannot be read")


def test_command_writes_no_bundle_from_a_bad_file(
    folder: Path, good: bytes, tmp_path: Path
) -> None:
    (folder / "a.crt").write_bytes(good)
    (folder / "b.crt").write_bytes(good)
    debian = tmp_path / "debian"
    debian.mkdir()
    output = tmp_path / "bundle.crt"
    assert ca_certificates.main(["bundle", str(folder), str(debian), str(output)]) == 1
    assert not output.exists()


def test_command_writes_the_bundle(folder: Path, good: bytes, tmp_path: Path) -> None:
    (folder / "a.crt").write_bytes(good)
    debian = tmp_path / "debian/mozilla"
    debian.mkdir(parents=True)
    public = authority()
    (debian / "public.crt").write_bytes(public)
    output = tmp_path / "bundle.crt"
    assert ca_certificates.main(["bundle", str(folder), str(debian.parent), str(output)]) == 0
    assert output.read_bytes() == public + good


def test_command_says_when_there_is_no_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ca_certificates.main(["check", str(tmp_path / "nowhere")]) == 2
    assert "is not a folder" in capsys.readouterr().err


def test_the_chain_that_comes_with_the_image_is_sound() -> None:
    files = {path.name: path.read_bytes() for path in (SUBPROJECT / "ca-certificates").iterdir()}
    assert len(files) >= 2
    assert check(files, datetime.now(UTC)) == []


def test_the_intermediate_that_comes_with_the_image_is_issued_by_the_root() -> None:
    root, intermediate = (
        x509.load_pem_x509_certificate((SUBPROJECT / "ca-certificates" / name).read_bytes())
        for name in (
            "digicert-global-root-g2.crt",
            "digicert-global-g2-tls-rsa-sha256-2020-ca1.crt",
        )
    )
    intermediate.verify_directly_issued_by(root)
