import ssl
from collections.abc import Callable
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
    Extensions,
    Key,
    authority,
    authority_extensions,
    certificate,
    key_identifier,
    new_key,
)

NOW = datetime(2026, 11, 21, tzinfo=UTC)
PRIVATE_KEY = b"-----BEGIN %sPRIVATE KEY-----\nMIIB\n-----END %sPRIVATE KEY-----\n"
REQUEST = b"-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n-----END CERTIFICATE REQUEST-----\n"


@pytest.fixture(scope="module")
def valid() -> bytes:
    return authority()


def reasons(content: bytes, name: str = "a.crt") -> list[str]:
    return [problem.reason for problem in check_file(name, content, NOW)]


@pytest.mark.parametrize("text", ["%s", "# our root\n%s\n# the end\n"])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_a_valid_authority_has_no_problem(valid: bytes, text: str, line_end: bytes) -> None:
    assert reasons((text % valid.decode()).encode().replace(b"\n", line_end)) == []


def without_line(content: bytes) -> bytes:
    lines = content.splitlines()
    return b"\n".join([*lines[:2], *lines[3:]])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda _: b" \r\n\n", "is empty"),
        (lambda _: b"\x00\x01 not a certificate", "is not PEM"),
        (lambda valid: ssl.PEM_cert_to_DER_cert(valid.decode()), "is DER, not PEM"),
        (lambda _: REQUEST, "contains CERTIFICATE REQUEST, not a CERTIFICATE"),
        (
            lambda valid: valid[: len(valid) // 2],
            "is cut off: a BEGIN CERTIFICATE line and no END",
        ),
        (without_line, "is PEM, but not an X.509 certificate"),
        (lambda valid: 2 * valid, "contains 2 certificates"),
        (lambda valid: b"MIIB\n-----END PRIVATE KEY-----\n" + valid, "contains a private key"),
    ],
)
def test_an_unreadable_file(valid: bytes, change: Callable[[bytes], bytes], reason: str) -> None:
    assert reasons(change(valid)) == [reason]


def test_damaged_base64(valid: bytes) -> None:
    lines = valid.splitlines()
    lines[2] = b"????" + lines[2][4:]
    (reason,) = reasons(b"\n".join(lines))
    assert reason.startswith("has damaged base64")


@pytest.mark.parametrize("kind", [b"", b"RSA ", b"ENCRYPTED ", b"OPENSSH "])
@pytest.mark.parametrize("name", ["a.crt", "a.key"])
def test_a_private_key_after_a_certificate(valid: bytes, kind: bytes, name: str) -> None:
    assert reasons(valid + PRIVATE_KEY % (kind, kind), name) == ["contains a private key"]


def test_dates() -> None:
    expired = authority(ends=datetime(2026, 11, 20, tzinfo=UTC))
    assert reasons(expired) == ["expired on 2026-11-20"]
    future = authority(begins=datetime(2026, 11, 22, tzinfo=UTC))
    assert reasons(future) == ["is not valid before 2026-11-22"]


@pytest.mark.parametrize(
    "extensions", [[], [(x509.BasicConstraints(ca=False, path_length=None), True)]]
)
def test_not_an_authority(extensions: Extensions) -> None:
    reason = "is not a certification authority's certificate"
    assert reasons(certificate(new_key(), extensions)) == [reason]


def not_critical(key: Key) -> Extensions:
    (constraints, _), *others = authority_extensions(key)
    return [(constraints, False), *others]


def without(*removed: x509.ExtensionType) -> Callable[[Key], Extensions]:
    oids = {extension.oid for extension in removed}
    return lambda key: [each for each in authority_extensions(key) if each[0].oid not in oids]


@pytest.mark.parametrize(
    ("key", "extensions", "fault"),
    [
        (new_key(), not_critical, "its basicConstraints are not critical"),
        (new_key(), without(CERTIFICATE_SIGN), "its keyUsage has no keyCertSign"),
        (new_key(), without(key_identifier(new_key())), "it has no subjectKeyIdentifier"),
        (
            rsa.generate_private_key(65537, 1024),  # noqa: S505 -- too short
            authority_extensions,
            "its RSA key is shorter than 2048 bits",
        ),
    ],
)
def test_an_authority_that_ssl_rejects(
    key: Key, extensions: Callable[[Key], Extensions], fault: str
) -> None:
    reason = f"would not be trusted by Python's ssl: {fault}"
    assert reasons(certificate(key, extensions(key))) == [reason]


@pytest.mark.parametrize("name", ["a.pem", "README.md", "a.crt.bak"])
def test_a_name_that_would_not_be_installed(valid: bytes, name: str) -> None:
    assert reasons(valid, name) == ["is not a *.crt file, so would not be installed"]


def test_every_problem_of_every_file_is_reported(valid: bytes) -> None:
    other_ends = valid.replace(b"\n", b"\r\n")
    files = {
        "b.crt": valid,
        "a.crt": other_ends,
        "c.crt": b"",
        "d.pem": valid,
        "e.crt": authority(),
    }
    assert [(problem.file, problem.reason) for problem in check(files, NOW)] == [
        ("c.crt", "is empty"),
        ("d.pem", "is not a *.crt file, so would not be installed"),
        ("b.crt", "is the same certificate as a.crt"),
    ]


def test_a_problem_is_one_line_of_file_reason_and_advice() -> None:
    assert str(Problem("a.crt", "is empty", "copy it again")) == "a.crt: is empty; copy it again"


def test_the_bundle_has_each_certificate_once_in_the_given_order(valid: bytes) -> None:
    other = authority()
    private = b"# comment\n" + other.replace(b"\n", b"\r\n")
    assert bundle([valid, other], [private]) == (valid + other).decode()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty ca-certificates/ in the working folder, as in the build."""
    monkeypatch.chdir(tmp_path)
    folder = Path("ca-certificates")
    folder.mkdir()
    return folder


def test_the_command_describes_valid_files(
    folder: Path, valid: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "a.crt").write_bytes(valid)
    assert ca_certificates.main(["check", str(folder)]) == 0
    line = "ca-certificates/a.crt: CN=Test authority, valid until 2040-01-01, SHA-256 "
    assert capsys.readouterr().out.startswith(line)


def test_the_command_names_files_in_folders_and_broken_links(
    folder: Path, valid: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "a.crt").write_bytes(valid)
    (folder / "below").mkdir()
    (folder / "below/b.crt").write_bytes(b"")
    (folder / "c.crt").symlink_to("nowhere")
    assert ca_certificates.main(["check", str(folder)]) == 1
    link, empty = capsys.readouterr().err.splitlines()
    assert link.startswith("ca-certificates/c.crt: cannot be read")
    assert empty == "ca-certificates/below/b.crt: is empty; copy the certificate again"


def test_the_command_writes_a_bundle_only_without_problems(
    folder: Path, valid: bytes, tmp_path: Path
) -> None:
    (folder / "a.crt").write_bytes(valid)
    public = authority()
    (tmp_path / "debian/mozilla").mkdir(parents=True)
    (tmp_path / "debian/mozilla/public.crt").write_bytes(public)
    output = tmp_path / "bundle.crt"
    arguments = ["bundle", str(folder), str(tmp_path / "debian"), str(output)]
    (folder / "b.crt").write_bytes(valid)
    assert ca_certificates.main(arguments) == 1
    assert not output.exists()
    (folder / "b.crt").unlink()
    assert ca_certificates.main(arguments) == 0
    assert output.read_bytes() == public + valid


def test_the_command_needs_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ca_certificates.main(["check", str(tmp_path / "nowhere")]) == 2
    assert "it is not a folder\nhint: name the folder" in capsys.readouterr().err


def test_the_certificates_of_the_image_are_valid() -> None:
    files = {path.name: path.read_bytes() for path in (SUBPROJECT / "ca-certificates").iterdir()}
    assert check(files, datetime.now(UTC)) == []
    intermediate = files["digicert-global-g2-tls-rsa-sha256-2020-ca1.crt"]
    root = x509.load_pem_x509_certificate(files["digicert-global-root-g2.crt"])
    x509.load_pem_x509_certificate(intermediate).verify_directly_issued_by(root)
