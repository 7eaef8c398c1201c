"""The arguments and the environment of cosign, and the meaning of its output."""

import base64
import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_subprocess import FakeProcess

from delivery import process
from delivery.errors import (
    CommandError,
    DeclarationError,
    DeliveryError,
    RegistryError,
    SignatureError,
)
from delivery.registry import http
from delivery.release import cosign
from delivery.release.cosign import Cosign, Verdict

A, B = (f"localhost:5001/{name}@sha256:{name * 64}" for name in ("a", "b"))
PUBLIC = Path("cosign.pub")
COSIGN = Cosign("cosign", pause=lambda _seconds: None)
PEM = """\
-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----
secret
-----END ENCRYPTED SIGSTORE PRIVATE KEY-----
"""
SIGN = ["cosign", "sign", "--yes", "--tlog-upload=false", "--key", "cosign.key"]
WITHOUT_LOG = "--private-infrastructure=true"
BY_KEY = ["--key", "cosign.pub"]
VERIFY = ["cosign", "verify", WITHOUT_LOG, "--experimental-oci11=true", "--output", "text", *BY_KEY]
UNSIGNED = ["Error: no signatures found", "error during command execution: no signatures found"]
OTHER_KEY = [
    "Error: no matching signatures: invalid signature when validating ASN.1 encoded signature"
]
COPIED = ["Error: no matching signatures: invalid or missing digest in claim: sha256:cc"]


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment without keys, logins and certificates."""
    logins = ("DELIVERY_REGISTRY_USERNAME", "DELIVERY_REGISTRY_PASSWORD")
    bundles = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
    for name in (cosign.KEY, cosign.PASSWORD, *logins, *bundles):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(http, "_CERTIFICATES", tmp_path / "certs.d")


@dataclasses.dataclass
class Given:
    """The environment of cosign that differs from ours, and the folder that it names."""

    environment: dict[str, str]
    folder: Path | None = None
    mode: int = 0
    files: dict[str, str] = dataclasses.field(default_factory=dict)


@pytest.fixture
def sign(fp: FakeProcess, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Given]:
    """Sign, and return what cosign gets while it runs."""
    seen: list[Given] = []
    capture = process.capture

    def look(argv: list[str], *, doing: str, options: process.Options, timeout: float) -> str:
        env = options.env or {}
        given = Given({name: value for name, value in env.items() if os.environ.get(name) != value})
        paths = [
            env.get("DOCKER_CONFIG", ""),
            env.get("SSL_CERT_DIR", "").rpartition(":")[2].removesuffix("/trusted"),
        ]
        for own in (Path(path) for path in paths if "delivery-cosign-" in path):
            given.folder, given.mode = own, own.stat().st_mode & 0o777
            given.files = {
                str(file.relative_to(own)): file.read_text() for file in own.rglob("*.*")
            }
        seen.append(given)
        return capture(argv, doing=doing, options=options, timeout=timeout)

    def run(*references: str) -> Given:
        fp.register([*SIGN, *references])
        COSIGN.sign("cosign.key", references)
        return seen[-1]

    monkeypatch.setattr(process, "capture", look)
    return run


def test_annotations_are_signed_and_checked(fp: FakeProcess) -> None:
    words = ["--annotations", "sha256:a=k1", "--annotations", "sha256:b=k2"]
    annotations = {"sha256:a": "k1", "sha256:b": "k2"}
    fp.register([*SIGN, *words, A, B])
    COSIGN.sign("cosign.key", [A, B], annotations)
    fp.register([*VERIFY, *words, A, B])
    assert COSIGN.verdicts(PUBLIC, [A, B], annotations) == {A: Verdict.GOOD, B: Verdict.GOOD}
    assert len(fp.calls) == 2, "one call for all references"
    fp.register([*VERIFY, *words, A, B], returncode=12, stderr=OTHER_KEY)
    fp.register([*VERIFY, *words, A])
    fp.register([*VERIFY, *words, B], returncode=12, stderr=OTHER_KEY)
    assert COSIGN.verdicts(PUBLIC, [A, B], annotations) == {A: Verdict.GOOD, B: Verdict.OTHER_KEY}


@pytest.mark.parametrize(
    ("returncode", "output", "verdict"),
    [
        (10, UNSIGNED, Verdict.UNSIGNED),
        (12, OTHER_KEY, Verdict.OTHER_KEY),
        (12, COPIED, Verdict.OTHER_CONTENT),
    ],
)
def test_after_a_bad_signature_each_reference_is_checked_alone(
    fp: FakeProcess, returncode: int, output: list[str], verdict: Verdict
) -> None:
    fp.register([*VERIFY, A, B], returncode=returncode, stderr=output)
    fp.register([*VERIFY, A])
    fp.register([*VERIFY, B], returncode=returncode, stderr=output)
    assert COSIGN.verdicts(PUBLIC, [A, B]) == {A: Verdict.GOOD, B: verdict}


def test_the_public_half_is_printed_and_the_error_of_a_key_names_the_key_once(
    fp: FakeProcess,
) -> None:
    argv = ["cosign", "public-key", "--key", "cosign.key"]
    fp.register(argv, stdout=["-----BEGIN PUBLIC KEY-----"])
    assert COSIGN.public_half("cosign.key").splitlines() == ["-----BEGIN PUBLIC KEY-----"]
    fp.register(argv, returncode=1, stderr=["Error: decrypt: encrypted: decryption failed"])
    with pytest.raises(SignatureError) as caught:
        COSIGN.public_half("cosign.key")
    assert caught.value.message == (
        "cannot open the key of DELIVERY_SIGNING_KEY: the password is wrong: "
        "decrypt: encrypted: decryption failed"
    )


def test_an_unknown_failure_is_an_error(fp: FakeProcess) -> None:
    fp.register([*VERIFY, A, B], returncode=1, stderr=["Error: something new"])
    with pytest.raises(CommandError, match="check 2 references: ") as caught:
        COSIGN.verdicts(PUBLIC, [A, B])
    assert caught.value.tail == "Error: something new"


KEY_ERROR = "getting signer: reading key"


@pytest.mark.parametrize(
    ("output", "kind", "message"),
    [
        (f"{KEY_ERROR}: decrypt: encrypted: decryption failed", SignatureError, "the password"),
        (f"{KEY_ERROR}: invalid pem block", SignatureError, "is not a private key of cosign"),
        (f"{KEY_ERROR}: unsupported pem type: PUBLIC", SignatureError, "is not a private key"),
        ("decrypt: invalid character 'a'", SignatureError, "is not a private key of cosign"),
        ("loading public key: PEM decoding failed", SignatureError, "is not a public key in PEM"),
        ("--tlog-upload is not supported with --signing-config", SignatureError, "another way"),
        ("GET https://x/v2/: UNAUTHORIZED", RegistryError, "refuses the login"),
        ("unexpected status code 403 Forbidden", RegistryError, "refuses the login"),
        ('Get "https://x/v2/": tls: x509: unknown authority', RegistryError, "is not trusted"),
    ],
)
def test_known_errors_of_cosign_have_a_meaning_and_a_hint(
    fp: FakeProcess, output: str, kind: type[DeliveryError], message: str
) -> None:
    stderr = [f"Error: {output}", "error during command execution"]
    fp.register([*SIGN, A], returncode=1, stderr=stderr)
    with pytest.raises(kind, match=message) as caught:
        COSIGN.sign("cosign.key", [A])
    assert caught.value.message.startswith(f"cannot sign {A}: ")
    assert output in caught.value.message
    assert caught.value.hint
    assert len(fp.calls) == 1


@pytest.mark.parametrize(
    "output", ["unexpected status code 503 Service Unavailable", "connect: connection refused"]
)
def test_temporary_failures_are_retried(fp: FakeProcess, output: str) -> None:
    fp.register([*SIGN, A], returncode=1, stderr=[f"Error: {output}"])
    fp.register([*SIGN, A])
    COSIGN.sign("cosign.key", [A])
    assert len(fp.calls) == 2


def test_a_lasting_failure_is_an_error(fp: FakeProcess) -> None:
    fp.register([*SIGN, A], returncode=1, stderr=["Error: connection refused"], occurrences=9)
    message = "the registry does not answer, or by an error: connection refused"
    with pytest.raises(RegistryError, match=message):
        COSIGN.sign("cosign.key", [A])


def test_cosign_gets_the_password_by_the_environment_and_never_prompts(
    sign: Callable[..., Given], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without a login in the environment, no DOCKER_CONFIG: the user's own is used.
    assert sign(A) == Given({cosign.PASSWORD: ""})
    monkeypatch.setenv(cosign.PASSWORD, "open sesame")
    assert sign(A) == Given({}), "the same as in our environment"


def test_a_login_of_the_environment_becomes_a_temporary_docker_config(
    sign: Callable[..., Given], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DELIVERY_REGISTRY_USERNAME", "me")
    monkeypatch.setenv("DELIVERY_REGISTRY_PASSWORD", "s:cret")
    given = sign(A, f"docker.io/acme/app@sha256:{'c' * 64}")
    login = {"auth": base64.b64encode(b"me:s:cret").decode()}
    assert json.loads(given.files["config.json"]) == {
        "auths": {"localhost:5001": login, "https://index.docker.io/v1/": login}
    }
    assert given.mode == 0o700
    assert given.folder
    assert not given.folder.exists()


def test_trusts_the_bundle_of_requests_too(
    sign: Callable[..., Given], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bundle, folder = tmp_path / "bundle.pem", tmp_path / "folder"
    bundle.write_text("a bundle")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    monkeypatch.setenv("SSL_CERT_DIR", "/first:/second")
    given = sign(A)
    assert given.files == {"trusted/0.crt": "a bundle"}
    assert given.environment["SSL_CERT_DIR"] == f"/first:/second:{given.folder}/trusted"
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(folder))
    assert sign(A).environment["SSL_CERT_DIR"] == f"/first:/second:{folder}"


def test_trusts_the_certificate_authorities_of_docker_for_the_registry(
    sign: Callable[..., Given], tmp_path: Path
) -> None:
    trusted = ["certs.d/localhost:5001", "home/.docker/certs.d/localhost:5001"]
    for host_folder in (*trusted, "certs.d/b:5001"):
        folder = tmp_path / host_folder
        folder.mkdir(parents=True)
        (folder / "ca.crt").write_text(host_folder)
        (folder / "client.key").write_text("no certificate")
    assert sorted(sign(A).files.values()) == trusted


def test_a_signing_key_is_text_in_the_variable_or_the_path_of_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert cosign.signing_key() == ""
    monkeypatch.setenv(cosign.KEY, "\n" + PEM)
    assert cosign.signing_key() == "env://DELIVERY_SIGNING_KEY"
    file = tmp_path / "cosign.key"
    file.write_text(PEM)
    monkeypatch.setenv(cosign.KEY, str(file))
    assert cosign.signing_key() == str(file)


@pytest.mark.parametrize("value", ["not/there.key", "half of a secret key", "x" * 5000])
def test_an_invalid_signing_key_is_an_error_without_its_value(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv(cosign.KEY, value)
    message = "it is neither a private key in PEM nor an existing file"
    with pytest.raises(DeclarationError, match=message) as caught:
        cosign.signing_key()
    assert value not in f"{caught.value.message}{caught.value.hint}{caught.value.details}"


def test_the_password_of_a_new_key_pair_is_on_no_command_line(
    fp: FakeProcess, tmp_path: Path
) -> None:
    argv = ["cosign", "generate-key-pair", "--output-key-prefix", str(tmp_path / "cosign")]
    recorder = fp.register(argv)
    COSIGN.generate(tmp_path / "cosign", "open sesame")
    kwargs = recorder.calls[0].kwargs or {}
    assert kwargs["env"][cosign.PASSWORD] == "open sesame"


ATTESTATION = ["cosign", "verify-attestation", WITHOUT_LOG, "--type", "kind", *BY_KEY]
ANY = FakeProcess.any(min=1, max=1)
BUNDLES = ("--new-bundle-format", "--trusted-root")
NONE = ["Error: no matching attestations: ", "error during command execution: no matching"]
NO_BUNDLE = ["Error: no valid bundles exist in registry", "error during command execution: no"]
FORGED = [
    "Error: no matching attestations: accepted signatures do not match threshold, Found: 0",
]
MOVED = ["Error: no matching attestations: no matching subject digest found"]


def envelope(text: str) -> str:
    return json.dumps({"payload": base64.b64encode(text.encode()).decode()})


def test_statements_under_a_tag_are_read(fp: FakeProcess) -> None:
    fp.register([*ATTESTATION, A], stdout=[envelope("one"), envelope("two")])
    assert COSIGN.statements(PUBLIC, A, "kind") == (Verdict.GOOD, ["one", "two"])
    assert len(fp.calls) == 1


def test_attached_statements_are_read_where_the_tag_has_no_good_one(fp: FakeProcess) -> None:
    fp.register([*ATTESTATION, A], returncode=1, stderr=FORGED)
    fp.register([*ATTESTATION, *BUNDLES, ANY, A], stdout=[envelope("one")])
    assert COSIGN.statements(PUBLIC, A, "kind") == (Verdict.GOOD, ["one"])


@pytest.mark.parametrize(
    ("under_tag", "attached", "verdict"),
    [
        (NONE, NO_BUNDLE, Verdict.UNSIGNED),
        (FORGED, NO_BUNDLE, Verdict.OTHER_KEY),
        (NONE, FORGED, Verdict.OTHER_KEY),
        (MOVED, NO_BUNDLE, Verdict.OTHER_CONTENT),
    ],
)
def test_a_bad_statement_has_a_verdict(
    fp: FakeProcess, under_tag: list[str], attached: list[str], verdict: Verdict
) -> None:
    fp.register([*ATTESTATION, A], returncode=1, stderr=under_tag)
    fp.register([*ATTESTATION, *BUNDLES, ANY, A], returncode=1, stderr=attached)
    assert COSIGN.statements(PUBLIC, A, "kind") == (verdict, [])


def test_a_registry_that_refuses_is_no_verdict(fp: FakeProcess) -> None:
    fp.register([*ATTESTATION, A], returncode=1, stderr=["Error: GET x: UNAUTHORIZED: no"])
    with pytest.raises(RegistryError, match="the registry refuses the login"):
        COSIGN.statements(PUBLIC, A, "kind")


def test_a_statement_is_signed_from_a_file(fp: FakeProcess) -> None:
    argv = ["cosign", "attest", "--yes", "--tlog-upload=false", "--key", "cosign.key"]
    fp.register([*argv, "--type", "kind", "--predicate", ANY, A])
    COSIGN.attest("cosign.key", A, "kind", "{}")
    fp.register(
        [*argv, "--type", "kind", "--predicate", ANY, A],
        returncode=1,
        stderr=["Using payload from: /tmp/predicate.json", "Error: PUT x: DENIED: no"],
    )
    with pytest.raises(RegistryError, match="the registry refuses the login: PUT x: DENIED"):
        COSIGN.attest("cosign.key", A, "kind", "{}")
