"""Published references are signed once, by the declared key, and unsigned ones are refused."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest

from delivery.errors import DeclarationError, Problem, RegistryError, SignatureError
from delivery.host import debian, programs
from delivery.project.declaration import Declaration, Signing
from delivery.registry.client import Manifest, Registry
from delivery.release import cosign, signing
from delivery.release.cosign import Cosign, Verdict
from delivery.release.provenance import Builder

A, B, C = (f"localhost:5001/{name}@sha256:{name * 64}" for name in ("a", "b", "c"))
PUBLIC = "-----BEGIN PUBLIC KEY-----\nours\n-----END PUBLIC KEY-----\n"


@dataclasses.dataclass
class Notary:
    """A clone with a public key, a fake cosign, and a fake registry."""

    declaration: Declaration
    root: Path
    annotations: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)
    """The annotations of the signatures, by reference."""
    verdicts: dict[str, Verdict] = dataclasses.field(default_factory=dict)
    manifests: set[str] = dataclasses.field(default_factory=lambda: {A, B, C})
    public: str = PUBLIC
    installed: str | None = "cosign"
    used_key: str = ""
    program: str = ""
    signed: list[str] = dataclasses.field(default_factory=list)
    annotated: list[dict[str, str] | None] = dataclasses.field(default_factory=list)
    generated: list[tuple[Path, str]] = dataclasses.field(default_factory=list)

    def sign(
        self, *references: str, sources: dict[str, str] | None = None, existing: Sequence[str] = ()
    ) -> list[str]:
        """Sign these; the references that were signed."""
        self.signed.clear()
        signing.sign(self.declaration, references, self.root, sources=sources, existing=existing)
        return self.signed

    def verify(self, *references: str) -> None:
        signing.verify(self.declaration, references, self.root)

    def unsigned(self, sources: dict[str, str]) -> list[str]:
        return signing.missing_signatures(self.declaration, sources, self.root)

    def key_problem(self, environment: str = "develop") -> tuple[Problem | None, str]:
        return signing.key_problem(self.declaration, environment, self.root)

    def check_key(self, environment: str = "develop") -> None:
        signing.check_key(self.declaration, environment, self.root)


@pytest.fixture
def notary(declaration: Declaration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Notary:
    """The environment develop takes only signed releases."""
    (tmp_path / "cosign.pub").write_text(PUBLIC)
    develop = declaration.environments["develop"].model_copy(update={"signed": True})
    update = {
        "signing": Signing(public_key="cosign.pub"),
        "environments": {**declaration.environments, "develop": develop},
    }
    made = Notary(declaration.model_copy(update=update), tmp_path)

    def verdict(reference: str, asked: dict[str, str]) -> Verdict:
        missing = asked.items() - made.annotations.get(reference, {}).items()
        return Verdict.OTHER_KEY if missing else made.verdicts.get(reference, Verdict.GOOD)

    def verdicts(
        self: Cosign,
        public: Path,
        references: Sequence[str],
        annotations: dict[str, str] | None = None,
    ) -> dict[str, Verdict]:
        made.program = self.program
        made.used_key = public.read_text()
        return {reference: verdict(reference, annotations or {}) for reference in references}

    def sign(
        _self: Cosign, key: str, references: Sequence[str], annotations: dict[str, str] | None
    ) -> None:
        assert key == "env://DELIVERY_SIGNING_KEY"
        made.signed += references
        made.annotated.append(annotations)

    def fetch(_self: Registry, repository: str, digest: str) -> Manifest | None:
        return Manifest(digest, "", b"", {}) if f"{repository}@{digest}" in made.manifests else None

    monkeypatch.setattr(programs, "find", lambda _name: made.installed)
    monkeypatch.setattr(programs, "ensure", lambda name: f"installed {name}")
    monkeypatch.setattr(Registry, "fetch", fetch)
    monkeypatch.setattr(Cosign, "verdicts", verdicts)
    monkeypatch.setattr(Cosign, "public_half", lambda _self, _key: made.public)
    monkeypatch.setattr(Cosign, "sign", sign)
    monkeypatch.setattr(Cosign, "generate", lambda _self, *pair: made.generated.append(pair))
    monkeypatch.setenv(cosign.KEY, "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----")
    return made


def test_without_a_key_nothing_is_signed(notary: Notary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(cosign.KEY)
    assert notary.sign(A) == []
    assert not signing.has_key()
    assert notary.unsigned({B: "k2"}) == []


def test_references_without_a_good_signature_are_signed(notary: Notary) -> None:
    assert notary.sign(A, B) == []
    notary.verdicts = {B: Verdict.UNSIGNED, C: Verdict.OTHER_KEY}
    assert notary.sign(A, B, C) == [B, C]


def test_a_signature_names_the_source(notary: Notary) -> None:
    notary.verdicts = {C: Verdict.UNSIGNED}
    notary.annotations = {A: {"sha256:" + "a" * 64: "k1"}}
    assert notary.sign(A, B, C, sources={A: "k1", B: "k2"}) == [B, C]
    assert notary.annotated == [{"sha256:" + "b" * 64: "k2"}]


def test_existing_content_is_never_signed(notary: Notary) -> None:
    notary.annotations = {A: {"sha256:" + "a" * 64: "k1"}}
    sources = {A: "k1", B: "k2"}
    message = f"sign {B}: it was not made here, and has lost its signature"
    with pytest.raises(SignatureError, match=message):
        notary.sign(A, B, sources=sources, existing=[A, B])
    assert notary.signed == []
    assert notary.sign(A, sources=sources, existing=[A]) == []


def test_a_signature_that_names_another_source_is_missing(notary: Notary) -> None:
    notary.annotations = {A: {"sha256:" + "a" * 64: "k1"}, B: {"sha256:" + "b" * 64: "k1"}}
    notary.verdicts = {C: Verdict.UNSIGNED}
    assert notary.unsigned({A: "k1", B: "k2", C: ""}) == [B, C]
    assert notary.used_key == PUBLIC


def test_without_a_declared_key_our_own_is_used_and_nothing_can_be_verified(
    notary: Notary,
) -> None:
    notary.declaration = notary.declaration.model_copy(update={"signing": None})
    notary.public = "our own"
    assert notary.unsigned({A: ""}) == []
    assert notary.used_key == "our own"
    notary.used_key = ""
    notary.sign(A)
    assert notary.used_key == "our own"
    with pytest.raises(DeclarationError, match=r"delivery\.toml names no public key") as caught:
        notary.verify(A)
    assert "[signing]" in caught.value.hint


def test_a_key_of_another_pair_signs_nothing(notary: Notary) -> None:
    notary.verdicts = {A: Verdict.UNSIGNED}
    notary.public = "another one"
    message = r"DELIVERY_SIGNING_KEY is not the private half of cosign\.pub"
    with pytest.raises(SignatureError, match=message):
        notary.sign(A)
    assert notary.signed == []
    notary.public = PUBLIC
    (notary.root / "cosign.pub").write_bytes(PUBLIC.replace("\n", "\r\n").encode())
    assert notary.sign(A) == [A], "line ends do not matter"


def test_a_missing_manifest_is_neither_signed_nor_accepted(notary: Notary) -> None:
    notary.manifests = {A}
    for step in (notary.sign, notary.verify):
        with pytest.raises(RegistryError, match=f"cannot find {B}: the registry does not hold it"):
            step(A, B)
    assert notary.signed == []


def test_good_signatures_are_accepted_and_cosign_is_installed_if_needed(notary: Notary) -> None:
    notary.verify(A, B)
    assert (notary.used_key, notary.program) == (PUBLIC, "cosign")
    notary.installed = None
    notary.verify(A, B)
    assert notary.program == "installed cosign"


def test_bad_signatures_are_an_error_with_each_reference_and_hints(notary: Notary) -> None:
    notary.verdicts = {B: Verdict.UNSIGNED, C: Verdict.OTHER_KEY}
    with pytest.raises(SignatureError, match="2 of 3 must not be deployed") as caught:
        notary.verify(A, B, C)
    assert caught.value.details.splitlines() == [
        f"{B} is not signed",
        f"{C} is signed, but with another key",
    ]
    assert "signing.sign" in caught.value.hint
    assert "sign it again with the current key" in caught.value.hint
    assert caught.value.exit_code == 10
    notary.verdicts = {A: Verdict.OTHER_CONTENT}
    with pytest.raises(SignatureError) as caught:
        notary.verify(A)
    assert caught.value.details == f"{A} has a signature of other content"
    assert caught.value.hint.startswith("find out who may push")


@pytest.fixture
def laptop(notary: Notary, monkeypatch: pytest.MonkeyPatch) -> Notary:
    """A clone with a laptop's key too, which has signed C alone; the CI server's has signed A."""
    (notary.root / "laptop.pub").write_text("laptop")
    keys = Signing(public_key="cosign.pub", laptop_public_key="laptop.pub")
    notary.declaration = notary.declaration.model_copy(update={"signing": keys})
    good = {PUBLIC: {A}, "laptop": {C}}

    def verdicts(
        _self: object, public: Path, references: Sequence[str], _annotations: object = None
    ) -> dict[str, Verdict]:
        notary.used_key = public.read_text()
        signed = good[notary.used_key]
        return {name: Verdict.GOOD if name in signed else Verdict.OTHER_KEY for name in references}

    monkeypatch.setattr(Cosign, "verdicts", verdicts)
    return notary


def test_what_a_laptop_signed_is_taken_where_laptops_are(laptop: Notary) -> None:
    laptop.verify(A, C)
    with pytest.raises(SignatureError) as caught:
        signing.verify(laptop.declaration, [A, B, C], laptop.root, builders=[Builder.CI])
    assert caught.value.details.splitlines() == [
        f"{B} is signed, but with another key",
        f"{C} is signed by a laptop, where only the CI server's builds are deployed",
    ]
    assert "run the pipeline" in caught.value.hint


def test_the_environment_of_the_release_line_takes_no_laptops_builds(laptop: Notary) -> None:
    assert signing.builders_for(laptop.declaration, "production") == (Builder.CI,)
    assert signing.builders_for(laptop.declaration, "staging") == tuple(Builder)


def test_a_laptop_signs_with_its_declared_key(laptop: Notary) -> None:
    laptop.public = "laptop"
    assert laptop.unsigned({A: "", C: ""}) == [A]
    assert laptop.used_key == "laptop", "its own key, although another is declared"
    assert laptop.sign(A) == [A]
    with signing.own_key(laptop.declaration, laptop.root) as key:
        assert key.builder is Builder.LAPTOP
    laptop.public = "another"
    with pytest.raises(SignatureError, match="is not the private half"):
        laptop.sign(A)


@pytest.mark.parametrize("folder", [True, False])
def test_a_missing_public_key_is_an_error(notary: Notary, *, folder: bool) -> None:
    (notary.root / "cosign.pub").unlink()
    if folder:
        (notary.root / "cosign.pub").mkdir()
    message = r"signing\.public_key: .*cosign\.pub is not a readable file"
    with pytest.raises(DeclarationError, match=message):
        notary.verify(A)


def test_a_key_pair_is_made(
    notary: Notary, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    signing.key_pair(tmp_path / "new", "open sesame")
    assert notary.generated == [(tmp_path / "new" / "cosign", "open sesame")]
    output = capsys.readouterr().out
    assert "DELIVERY_SIGNING_KEY" in output
    assert "public_key under [signing]" in output
    assert "open sesame" not in output


@pytest.mark.parametrize("files", [["cosign.key"], ["cosign.pub"], ["cosign.key", "cosign.pub"]])
def test_an_existing_key_is_not_overwritten(
    notary: Notary, tmp_path: Path, files: list[str]
) -> None:
    (tmp_path / "pair").mkdir()
    for file in files:
        (tmp_path / "pair" / file).touch()
    verb = "exists" if len(files) == 1 else "exist"
    with pytest.raises(DeclarationError, match=f"{files[-1]} {verb}$"):
        signing.key_pair(tmp_path / "pair", "open sesame")
    assert notary.generated == []


def test_the_key_of_the_declared_pair_is_no_problem(notary: Notary) -> None:
    assert notary.key_problem() == (None, "")
    notary.check_key()


@pytest.mark.parametrize("pipeline", [True, False])
def test_a_pipeline_needs_the_key_only_to_push(
    notary: Notary, monkeypatch: pytest.MonkeyPatch, *, pipeline: bool
) -> None:
    monkeypatch.delenv(cosign.KEY)
    if pipeline:
        monkeypatch.setenv("BUILD_URL", "https://ci/1")
    problem = Problem(
        "cannot sign for develop, which takes only signed releases: "
        "DELIVERY_SIGNING_KEY is not set",
        "run `DELIVERY_SIGNING_KEY=FILE ./run inv push`; `./run inv signing.keys --to DIR` makes a "
        "key pair",
        reference="signature",
    )
    later = "the signing key: a pipeline gives DELIVERY_SIGNING_KEY only to `push`"
    assert notary.key_problem() == ((None, later) if pipeline else (problem, ""))
    with pytest.raises(SignatureError, match="DELIVERY_SIGNING_KEY is not set"):
        notary.check_key()
    for environment in ("staging", ""):
        assert notary.key_problem(environment) == (None, "")
        notary.check_key(environment)


def test_an_invalid_key_is_a_problem(notary: Notary, monkeypatch: pytest.MonkeyPatch) -> None:
    def message() -> str:
        problem, _ = notary.key_problem()
        return problem.message if problem else ""

    notary.public = "another"
    assert "is not the private half of cosign.pub" in message()
    (notary.root / "cosign.pub").unlink()
    assert "is not a readable file" in message()
    notary.installed = None
    monkeypatch.setattr(debian, "can_install", lambda: True)
    assert "is not a readable file" in message(), "without cosign"
    monkeypatch.setenv(cosign.KEY, "neither")
    assert "neither a private key in PEM nor an existing file" in message()


@pytest.mark.parametrize("installs", [True, False])
def test_a_check_does_not_install_cosign(
    notary: Notary, monkeypatch: pytest.MonkeyPatch, *, installs: bool
) -> None:
    notary.installed = None
    monkeypatch.setattr(debian, "can_install", lambda: installs)
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("COSIGN", raising=False)
    problem, unchecked = notary.key_problem()
    assert bool(problem) is not installs
    assert unchecked == (
        "the signing key: cosign, which opens it, is not installed yet" if installs else ""
    )
