"""Images get provenance of our key, and are deployed only with that of a builder that counts."""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from delivery.errors import SignatureError
from delivery.host import programs
from delivery.project.declaration import Declaration, Signing
from delivery.registry.client import Registry
from delivery.release import attesting, cosign, provenance
from delivery.release.cosign import Cosign, Verdict
from delivery.release.provenance import Builder
from delivery.release.released import ReleasedPart
from tests.registries import FakeRegistry, serving, sha256, write_layout
from tests.release import statements
from tests.release.statements import predicate

DIGEST = "sha256:" + "a" * 64
IMAGE = ReleasedPart("localhost:5001/api-rest", "k2", DIGEST)


def statement(digest: str = DIGEST, key: str = "k2", builder: str = "ci") -> str:
    return statements.statement(digest, key, builder)


@dataclass
class Notary:
    """A clone with two public keys, and a cosign with statements by the public key."""

    declaration: Declaration
    root: Path
    statements: dict[str, list[str]] = field(default_factory=dict)
    own: str = "ci"
    """The public half of our signing key."""
    attested: list[tuple[str, str]] = field(default_factory=list)

    def verify(self, *builders: Builder) -> None:
        attesting.verify(self.declaration, [IMAGE], self.root, builders=builders or tuple(Builder))

    def missing(self) -> list[str]:
        return attesting.missing(self.declaration, {IMAGE.pinned: IMAGE.key}, self.root)


@pytest.fixture
def notary(declaration: Declaration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Notary:
    for name in ("ci", "laptop"):
        (tmp_path / f"{name}.pub").write_text(name)
    signing = Signing(public_key="ci.pub", laptop_public_key="laptop.pub")
    made = Notary(declaration.model_copy(update={"signing": signing}), tmp_path)

    def verdict(
        _self: object, public: Path, _reference: str, kind: str
    ) -> tuple[Verdict, list[str]]:
        assert kind == "https://slsa.dev/provenance/v1"
        texts = made.statements.get(public.read_text(), [])
        others = any(made.statements.values())
        bad = Verdict.OTHER_KEY if others else Verdict.UNSIGNED
        return (Verdict.GOOD, texts) if texts else (bad, [])

    def attest(_self: object, _key: str, reference: str, _kind: str, text: str) -> None:
        made.attested.append((reference, text))

    monkeypatch.setattr(programs, "find", lambda _name: "cosign")
    monkeypatch.setattr(Cosign, "statements", verdict)
    monkeypatch.setattr(Cosign, "attest", attest)
    monkeypatch.setattr(Cosign, "public_half", lambda _self, _key: made.own)
    monkeypatch.setenv(cosign.KEY, "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----")
    return made


def test_the_builder_of_each_image_is_printed(
    notary: Notary, capsys: pytest.CaptureFixture[str]
) -> None:
    notary.statements = {"ci": [statement()]}
    notary.verify(Builder.CI)
    assert "1 built by ci (https://ci/7)" in capsys.readouterr().out


def test_the_build_of_a_laptop_is_taken_where_laptops_are(notary: Notary) -> None:
    notary.statements = {"laptop": [statement(builder="laptop")]}
    notary.verify()
    with pytest.raises(SignatureError, match="1 of 1 must not be deployed") as caught:
        notary.verify(Builder.CI)
    assert caught.value.details == f"{IMAGE.pinned} has provenance that another key has signed"
    assert "inv push" in caught.value.hint


@pytest.mark.parametrize(
    ("by_key", "reason"),
    [
        ({}, "no provenance"),
        ({"ci": ["{}"]}, "no provenance"),
        (
            {"ci": [statement(builder="laptop")]},
            "provenance that names laptop and has the key of ci",
        ),
        ({"laptop": [statement()]}, "provenance that names ci and has the key of laptop"),
        ({"ci": [statement(key="k1")]}, "the provenance of the content key k1, not k2"),
        ({"ci": [statement(digest="sha256:bb")]}, "the provenance of other content"),
    ],
)
def test_false_provenance_is_an_error_with_the_reason(
    notary: Notary, by_key: dict[str, list[str]], reason: str
) -> None:
    notary.statements = by_key
    with pytest.raises(SignatureError) as caught:
        notary.verify()
    assert caught.value.details == f"{IMAGE.pinned} has {reason}"
    assert caught.value.exit_code == 10


def test_one_good_statement_of_several_is_enough(notary: Notary) -> None:
    notary.statements = {"ci": ["{}", statement(key="k1"), statement()]}
    notary.verify(Builder.CI)


def attest(notary: Notary) -> list[Builder]:
    """Attest the image; the builders that a predicate was made for."""
    builders: list[Builder] = []

    def make(_reference: str, builder: Builder) -> str:
        builders.append(builder)
        return predicate(IMAGE.key, builder)

    attesting.attest(notary.declaration, {IMAGE.pinned: IMAGE.key}, make, notary.root)
    return builders


@pytest.mark.parametrize("own", ["ci", "laptop"])
def test_our_key_says_who_built_it(notary: Notary, own: str) -> None:
    notary.own = own
    assert notary.missing() == [IMAGE.pinned]
    assert attest(notary) == [own]
    assert notary.attested == [(IMAGE.pinned, predicate(IMAGE.key, own))]
    notary.statements = {own: [statement(builder=own)]}
    assert (notary.missing(), attest(notary)) == ([], [])


def test_provenance_of_the_other_key_is_not_ours(notary: Notary) -> None:
    notary.statements = {"laptop": [statement(builder="laptop")]}
    assert notary.missing() == [IMAGE.pinned]


def test_without_a_key_nothing_is_attested(notary: Notary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(cosign.KEY)
    assert (notary.missing(), attest(notary), notary.attested) == ([], [], [])


@pytest.fixture
def attached(tmp_path: Path, notary: Notary) -> Callable[..., str]:
    """Renew the provenance of an image with these statements; the predicate that was signed."""

    def renew(*make: Callable[[str], str]) -> str:
        fake = FakeRegistry()
        with serving(fake) as (address, _):
            registry, repository = Registry(address), f"{address}/api-rest"
            digest = write_layout(tmp_path / "image")
            registry.push_layout(tmp_path / "image", repository, "k2", lambda _line: None)
            layers = []
            for text in make:
                payload = base64.b64encode(text(digest).encode()).decode()
                content = json.dumps({"payload": payload}).encode()
                fake.blobs["api-rest", sha256(content)] = content
                annotations = {"predicateType": provenance.TYPE}
                layers.append({"digest": sha256(content), "annotations": annotations})
            tag = f"{digest.replace(':', '-')}.att"
            fake.add("api-rest", tag, json.dumps({"layers": layers}).encode())
            image = ReleasedPart(repository, "k2", digest)
            attesting.renew(notary.declaration, [image], notary.root)
        return "".join(text for _, text in notary.attested)

    return renew


def test_the_newest_provenance_of_an_image_is_signed_again(attached: Callable[..., str]) -> None:
    text = attached(
        lambda digest: statement(digest, "k1"),
        lambda digest: statement(digest, "k2"),
        lambda _: statement("sha256:other", "k3"),
        lambda _: "{}",
    )
    assert json.loads(text) == json.loads(predicate("k2"))


def test_without_provenance_nothing_is_signed_again(attached: Callable[..., str]) -> None:
    assert attached(lambda _: statement("sha256:other")) == ""
