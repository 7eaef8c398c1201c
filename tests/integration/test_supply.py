"""SBOMs and signatures of real images, in a real registry, by the real cosign."""

import base64
import io
import json
import shutil
import stat
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from trustme import CA

from delivery.errors import DeliveryError, RegistryError, SignatureError
from delivery.host import programs
from delivery.host.docker_api import Engine
from delivery.project import files
from delivery.project.declaration import Declaration, Signing
from delivery.registry.client import Manifest, Registry
from delivery.release import attached_sboms, attesting, cosign, provenance, sbom, signing
from delivery.release.provenance import Builder
from delivery.release.released import Release, ReleasedPart
from delivery.release.sbom import Image
from tests.integration import small
from tests.integration.conftest import running_registry
from tests.integration.small import Small
from tests.registries import forward_to, serving, write_layout
from tests.release.statements import predicate

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two key pairs, ours and theirs."""
    programs.ensure("cosign")
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ours", "theirs"):
        signing.key_pair(folder / name, "open sesame")
        private = folder / name / "cosign.key"
        assert stat.S_IMODE(private.stat().st_mode) == 0o600
        assert "ENCRYPTED" in private.read_text()
    return folder


@pytest.fixture
def signed(project: Declaration, keys: Path, monkeypatch: pytest.MonkeyPatch) -> Declaration:
    """A project with our public key, and our signing key in the environment."""
    set_key(monkeypatch, keys, "ours")
    return project.model_copy(
        update={"signing": Signing(public_key=str(keys / "ours" / "cosign.pub").lstrip("/"))}
    )


ROOT = Path("/")  # of the path of the public key


def set_key(monkeypatch: pytest.MonkeyPatch, keys: Path, name: str) -> None:
    """Set a signing key as CI servers do."""
    monkeypatch.setenv(cosign.KEY, (keys / name / "cosign.key").read_text())
    monkeypatch.setenv(cosign.PASSWORD, "open sesame")


def pushed(address: str, folder: Path, *names: str) -> list[str]:
    """Push a small image under each of these names; their references."""
    references = []
    for name in names:
        layout = folder / name
        layout.mkdir()
        write_layout(layout, name.encode())
        digest = Registry(address).push_layout(layout, f"{address}/{name}", "k", lambda _line: None)
        references.append(f"{address}/{name}@{digest}")
    return references


def signatures(address: str, name: str) -> list[dict[str, object]]:
    registry, repository = Registry(address), f"{address}/{name}"
    (tag,) = [tag for tag in registry.tags(repository) if tag.endswith(".sig")]
    manifest = registry.fetch(repository, tag)
    assert manifest is not None
    return list(manifest.manifest["layers"])


def test_signs_with_a_key_as_text_or_in_a_file(
    address: str, signed: Declaration, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_text, by_file = pushed(address, tmp_path, "by-text", "by-file")
    signing.sign(signed, [by_text], ROOT)
    monkeypatch.setenv(cosign.KEY, str(keys / "ours" / "cosign.key"))
    signing.sign(signed, [by_text, by_file], ROOT)
    assert len(signatures(address, "by-text")) == 1, "not signed again"
    monkeypatch.delenv(cosign.KEY)
    monkeypatch.delenv(cosign.PASSWORD)
    signing.verify(signed, [by_text, by_file], ROOT)


def test_only_the_registry_is_asked(
    address: str, signed: Declaration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = pushed(address, tmp_path, "alone")
    with serving(lambda *_: (502, {}, b"")) as (proxy, asked):
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
            monkeypatch.setenv(name, f"http://{proxy}")
        monkeypatch.setenv("NO_PROXY", "localhost")
        monkeypatch.setenv("no_proxy", "localhost")
        monkeypatch.setenv("HOME", str(tmp_path))
        signing.sign(signed, pinned, ROOT)
        signing.verify(signed, pinned, ROOT)
    assert asked == []


def test_unsigned_references_and_other_keys_are_an_error_with_each_reference(
    address: str,
    signed: Declaration,
    project: Declaration,
    keys: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    good, unsigned, theirs = pushed(address, tmp_path, "good", "unsigned", "theirs")
    signing.sign(signed, [good], ROOT)
    set_key(monkeypatch, keys, "theirs")
    signing.sign(project.model_copy(update={"signing": None}), [theirs])
    with pytest.raises(SignatureError, match="2 of 3 must not be deployed") as caught:
        signing.verify(signed, [good, unsigned, theirs], ROOT)
    assert caught.value.details.splitlines() == [
        f"{unsigned} is not signed",
        f"{theirs} is signed, but with another key",
    ]


def test_one_good_signature_is_enough(
    address: str,
    signed: Declaration,
    project: Declaration,
    keys: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pinned = pushed(address, tmp_path, "both")
    set_key(monkeypatch, keys, "theirs")
    signing.sign(project.model_copy(update={"signing": None}), pinned)
    set_key(monkeypatch, keys, "ours")
    signing.sign(signed, pinned, ROOT)
    assert len(signatures(address, "both")) == 2
    signing.verify(signed, pinned, ROOT)
    other = Signing(public_key=str(keys / "theirs" / "cosign.pub").lstrip("/"))
    signing.verify(signed.model_copy(update={"signing": other}), pinned, ROOT)


def test_our_signature_of_another_image_is_an_error(
    address: str, signed: Declaration, tmp_path: Path
) -> None:
    one, other = pushed(address, tmp_path, "signed-one", "other-one")
    signing.sign(signed, [one], ROOT)
    copy_signature(address, one, other)
    with pytest.raises(SignatureError) as caught:
        signing.verify(signed, [one, other], ROOT)
    assert caught.value.details == f"{other} has a signature of other content"


def attested(address: str, signed: Declaration, folder: Path, name: str) -> ReleasedPart:
    """Push an image with provenance of the key in the environment."""
    (pinned,) = pushed(address, folder, name)
    repository, _, digest = pinned.partition("@")
    image = ReleasedPart(repository, "k", digest)
    attesting.attest(signed, {pinned: "k"}, lambda _, by: predicate("k", by), ROOT)
    return image


def refusal(signed: Declaration, image: ReleasedPart, *builders: Builder) -> str:
    """Why an image is refused."""
    with pytest.raises(SignatureError) as caught:
        attesting.verify(signed, [image], ROOT, builders=builders or tuple(Builder))
    return caught.value.details.removeprefix(f"{image.pinned} ")


def test_forged_provenance_is_an_error(
    address: str,
    signed: Declaration,
    keys: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    image = attested(address, signed, tmp_path, "attested")
    attesting.verify(signed, [image], ROOT)
    assert "1 built by ci (https://ci/7)" in capsys.readouterr().out
    other = attested(address, signed, tmp_path, "attested-other")
    copy_signature(address, image.pinned, other.pinned, "att")
    assert refusal(signed, other) == "has the provenance of other content"
    set_key(monkeypatch, keys, "theirs")
    forged = attested(
        address, signed.model_copy(update={"signing": None}), tmp_path, "attested-by-others"
    )
    assert refusal(signed, forged) == "has provenance that another key has signed"
    (bare,) = pushed(address, tmp_path, "not-attested")
    bare_image = replace(image, repository=bare.partition("@")[0], digest=bare.partition("@")[2])
    assert refusal(signed, bare_image) == "has no provenance"


def test_a_laptop_with_its_key_is_no_ci_server(
    address: str,
    signed: Declaration,
    keys: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert signed.signing
    laptop_key = str(keys / "theirs" / "cosign.pub").lstrip("/")
    both = signed.signing.model_copy(update={"laptop_public_key": laptop_key})
    signed = signed.model_copy(update={"signing": both})
    set_key(monkeypatch, keys, "theirs")
    monkeypatch.setenv("BUILD_URL", "https://ci/8")
    image = attested(address, signed, tmp_path, "by-laptop")
    signing.sign(signed, [image.pinned], ROOT)
    signing.verify(signed, [image.pinned], ROOT)
    attesting.verify(signed, [image], ROOT)
    with pytest.raises(SignatureError) as caught:
        signing.verify(signed, [image.pinned], ROOT, builders=[Builder.CI])
    assert "is signed by a laptop" in caught.value.details
    assert refusal(signed, image, Builder.CI) == "has provenance that another key has signed"
    (lying,) = pushed(address, tmp_path, "by-lying-laptop")
    attesting.attest(signed, {lying: "k"}, lambda *_: predicate("k"), ROOT)
    liar = replace(image, repository=lying.partition("@")[0], digest=lying.partition("@")[2])
    assert refusal(signed, liar) == "has provenance that names ci and has the key of laptop"


def test_signatures_and_provenance_are_read_as_oci_1_1_attaches_them(
    address: str, signed: Declaration, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pinned,) = pushed(address, tmp_path, "by-oci-1-1")
    repository, _, digest = pinned.partition("@")
    (tmp_path / "predicate.json").write_text(predicate("k"))
    monkeypatch.setenv("COSIGN_EXPERIMENTAL", "1")
    program, key = programs.require("cosign"), str(keys / "ours" / "cosign.key")
    flags = ["--yes", "--tlog-upload=false", "--key", key]
    sign = ["sign", *flags, "--registry-referrers-mode=oci-1-1", pinned]
    attest = ["attest", *flags, "--new-bundle-format", "--type", provenance.TYPE]
    attest += ["--predicate", str(tmp_path / "predicate.json"), pinned]
    for argv in (sign, attest):
        subprocess.run([program, *argv], check=True, capture_output=True)
    tags = Registry(address).tags(repository)
    assert not [tag for tag in tags if tag.endswith((".sig", ".att"))]
    signing.verify(signed, [pinned], ROOT)
    attesting.verify(signed, [ReleasedPart(repository, "k", digest)], ROOT)
    set_key(monkeypatch, keys, "theirs")
    theirs = Signing(public_key=str(keys / "theirs" / "cosign.pub").lstrip("/"))
    other = signed.model_copy(update={"signing": theirs})
    with pytest.raises(SignatureError):
        signing.verify(other, [pinned], ROOT)
    image = ReleasedPart(repository, "k", digest)
    assert refusal(other, image) == "has provenance that another key has signed"


def test_a_registry_that_serves_other_content_under_a_digest_is_an_error(
    address: str, signed: Declaration, tmp_path: Path
) -> None:
    (pinned,) = pushed(address, tmp_path, "served")
    signing.sign(signed, [pinned], ROOT)
    ask = forward_to(f"http://{address}")

    def change(
        method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        status, answered, content = ask(method, path, headers, body)
        return (
            status,
            answered,
            content + b" " if path.endswith(pinned.partition("@")[2]) else content,
        )

    with (
        serving(change) as (other, _),
        pytest.raises(RegistryError, match=pinned.partition("@")[2]),
    ):
        signing.verify(signed, [pinned.replace(address, other)], ROOT)


def test_a_wrong_password_is_an_error(
    address: str, signed: Declaration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = pushed(address, tmp_path, "wrong-password")
    for password in ("wrong", "", None):
        if password is None:
            monkeypatch.delenv(cosign.PASSWORD)
        else:
            monkeypatch.setenv(cosign.PASSWORD, password)
        with pytest.raises(SignatureError, match="the password is wrong") as caught:
            signing.sign(signed, pinned, ROOT)
        assert "COSIGN_PASSWORD" in caught.value.hint


@pytest.mark.parametrize("name", ["public half", "half of the text", "invalid PEM", "invalid JSON"])
def test_an_invalid_key_is_an_error(
    address: str,
    signed: Declaration,
    keys: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    private = (keys / "ours" / "cosign.key").read_text()
    begin, *_, end = private.strip().splitlines()
    invalid = {
        "public half": (keys / "ours" / "cosign.pub").read_text(),
        "half of the text": private[: len(private) // 2],
        "invalid PEM": f"{begin}\n!\n{end}\n",
        "invalid JSON": f"{begin}\nYWFh\n{end}\n",
    }
    monkeypatch.setenv(cosign.KEY, invalid[name])
    with pytest.raises(SignatureError, match="the key is not a private key of cosign"):
        signing.sign(signed, pushed(address, tmp_path, "no-key"), ROOT)


def test_an_invalid_public_key_is_an_error(
    address: str, signed: Declaration, tmp_path: Path
) -> None:
    pinned = pushed(address, tmp_path, "no-public-key")
    (tmp_path / "bad.pub").write_text("no key")
    with pytest.raises(SignatureError, match="is not a public key in PEM"):
        signing.verify(
            signed.model_copy(update={"signing": Signing(public_key="bad.pub")}), pinned, tmp_path
        )


def test_logs_in_to_a_registry_that_asks_for_it(
    locked: str, signed: Declaration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DELIVERY_REGISTRY_USERNAME", "me")
    monkeypatch.setenv("DELIVERY_REGISTRY_PASSWORD", "secret")
    pinned = pushed(locked, tmp_path, "with-login")
    signing.sign(signed, pinned, ROOT)
    signing.verify(signed, pinned, ROOT)
    for name in ("DELIVERY_REGISTRY_USERNAME", "DELIVERY_REGISTRY_PASSWORD"):
        monkeypatch.delenv(name)
    program = cosign.Cosign(programs.require("cosign"), pause=lambda _seconds: None)
    public = ROOT / (signed.signing.public_key if signed.signing else "")
    with pytest.raises(RegistryError, match="the registry refuses the login") as caught:
        program.verdicts(public, pinned)
    assert "docker login" in caught.value.hint
    config = tmp_path / "docker"
    config.mkdir()
    (config / "config.json").write_text(json.dumps({"auths": {locked: {"auth": "bWU6c2VjcmV0"}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(config))
    assert program.verdicts(public, pinned) == {pinned[0]: cosign.Verdict.GOOD}


def test_trusts_the_certificate_authorities_of_docker(
    engine: Engine,
    project: Declaration,
    signed: Declaration,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    authority, folder = CA(), tmp_path / "tls"
    folder.mkdir()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    certificate.private_key_pem.write_to_path(folder / "tls.key")
    certificate.cert_chain_pems[0].write_to_path(folder / "tls.crt")
    authority.cert_pem.write_to_path(folder / "ca.crt")
    for path in (folder, *folder.iterdir()):
        path.chmod(0o755)
    environment = {
        "REGISTRY_HTTP_TLS_CERTIFICATE": "/files/tls.crt",
        "REGISTRY_HTTP_TLS_KEY": "/files/tls.key",
    }
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    program = cosign.Cosign(programs.require("cosign"), pause=lambda _seconds: None)
    public = ROOT / (signed.signing.public_key if signed.signing else "")
    with running_registry(engine, project, environment, folder) as address:
        while not reachable(address, folder / "ca.crt"):
            pass
        pinned = [f"{address}/app@sha256:{'ab' * 32}"]
        with pytest.raises(DeliveryError, match="check localhost:"):
            program.verdicts(public, pinned)
        (home / ".docker" / "certs.d" / address).mkdir(parents=True)
        shutil.copy(folder / "ca.crt", home / ".docker" / "certs.d" / address)
        program.sign(cosign.signing_key(), pinned)
        assert program.verdicts(public, pinned) == {pinned[0]: cosign.Verdict.GOOD}


def reachable(address: str, ca: Path) -> bool:
    try:
        return requests.get(f"https://{address}/v2/", verify=str(ca), timeout=5).ok
    except requests.RequestException:
        return False


def copy_signature(address: str, one: str, other: str, suffix: str = "sig") -> None:
    """Copy the signature of one reference to another, as anyone who may push can."""
    (source, digest), (target, unsigned) = one.split("@"), other.split("@")
    registry = Registry(address)
    manifest = registry.fetch(source, f"{digest.replace(':', '-')}.{suffix}")
    assert manifest is not None
    path, source_path = target.partition("/")[2], source.partition("/")[2]
    for part in (manifest.manifest["config"], *manifest.manifest["layers"]):
        query = f"mount={part['digest']}&from={source_path}"
        answer = requests.post(f"http://{address}/v2/{path}/blobs/uploads/?{query}", timeout=10)
        assert answer.status_code == 201
    put_manifest(target, f"{unsigned.replace(':', '-')}.{suffix}", manifest)


def put_manifest(repository: str, tag: str, manifest: Manifest) -> None:
    """Put a manifest under a tag, even if the tag exists."""
    host, _, path = repository.partition("/")
    answer = requests.put(
        f"http://{host}/v2/{path}/manifests/{tag}",
        data=manifest.content,
        headers={"Content-Type": manifest.media_type},
        timeout=10,
    )
    assert answer.status_code == 201


@pytest.fixture
def laptop(address: str, keys: Path, tmp_path: Path) -> Small:
    """The small project with a public key, pushed by a laptop without the signing key."""
    name = tmp_path.name.replace("_", "-").strip("-").lower()
    clone = small.make(tmp_path / "laptop", f"{address}/{name}")
    clone.require_signatures(keys / "ours" / "cosign.pub")
    clone.succeed("push")
    return clone


def ci(laptop: Small, keys: Path, branch: str, *arguments: str) -> tuple[int, str]:
    """Run a task as CI does, in its own clone and with the key: exit code and output."""
    parent = laptop.folder.parent
    clone = laptop.clone(parent / f"{branch.replace('/', '-')}-{len(list(parent.iterdir()))}")
    environment = {
        cosign.KEY: (keys / "ours" / "cosign.key").read_text(),
        cosign.PASSWORD: "open sesame",
        "BRANCH_NAME": branch,
        "DELIVERY_ECHO": "1",
    }
    return clone.inv(*arguments, environment=environment)


def signed_parts(clone: Small) -> list[str]:
    """The repositories with a signature in them."""
    registry = Registry(clone.registry)
    names = (*small.IMAGES, "platform-chart", "release")
    return [
        name
        for name in names
        if any(tag.endswith(".sig") for tag in registry.tags(f"{clone.registry}/{name}"))
    ]


def versions_of(clone: Small, name: str) -> list[str]:
    return sorted(
        tag for tag in Registry(clone.registry).tags(f"{clone.registry}/{name}") if "." in tag[:5]
    )


def bakes(printed: str) -> int:
    return printed.count("$ docker buildx bake")


def test_images_of_a_laptop_are_built_again_once_and_signed(
    engine: Engine, laptop: Small, keys: Path
) -> None:
    code, printed = ci(laptop, keys, "release/0.1", "push")
    assert code == 0, printed
    assert (
        "build again base-image, api-rest, async-worker: in the registry, no signature of our key"
        in printed
    )
    assert bakes(printed) == 1
    # The next line finds our signatures, and asks no engine.
    code, printed = ci(laptop, keys, "main", "push", "signing.verify")
    assert (code, bakes(printed), "build again" in printed) == (0, 0, False), printed
    assert "signatures: 8 good" in printed
    assert "provenance: 3 built by ci (" in printed
    assert versions_of(laptop, "release") == ["0.1.0", "0.1.0-dev.2", "0.1.0-rc.2"]
    images = laptop.released()["images"]
    base, app = (materials_of(images[name]) for name in ("base-image", "api-rest"))
    declared = files.load_declaration().upstream["debian"].image
    assert base == {declared: engine.image_digest(declared)}
    assert app == {"base-image": images["base-image"]["digest"]}


def materials_of(image: dict[str, str]) -> dict[str, str]:
    """What an image was built from, by its provenance, without its commit."""
    registry, repository = Registry(image["repository"]), image["repository"]
    manifest = registry.fetch(repository, f"{image['digest'].replace(':', '-')}.att")
    assert manifest is not None
    (layer,) = manifest.manifest["layers"]
    payload = json.loads(registry.blob(repository, layer["digest"]))["payload"]
    definition = json.loads(base64.b64decode(payload))["predicate"]["buildDefinition"]
    source, *materials = definition["resolvedDependencies"]
    assert source["digest"]["gitCommit"]
    return {item["name"]: f"sha256:{item['digest']['sha256']}" for item in materials}


def test_other_content_under_a_key_is_neither_signed_nor_released(
    laptop: Small, keys: Path
) -> None:
    image = laptop.released()["images"]["api-rest"]
    registry, layout = Registry(laptop.registry), laptop.folder.parent / "evil"
    layout.mkdir()
    with io.BytesIO() as content, tarfile.open(fileobj=content, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("evil"))
        tar.close()
        forged = write_layout(layout, content.getvalue())
    registry.push_layout(layout, image["repository"], image["key"], lambda _line: None)
    code, printed = ci(laptop, keys, "main", "push")
    assert code == 10, printed
    assert (
        f"api-rest:{image['key']}: the registry holds {forged}, "
        f"the same sources give {image['digest']} here" in printed
    )
    assert signed_parts(laptop) == []
    assert versions_of(laptop, "release") == ["0.1.0-dev.2"]
    assert registry.digest(image["repository"], image["key"]) == forged


def test_an_older_signed_image_under_a_newer_key_is_an_error(laptop: Small, keys: Path) -> None:
    code, printed = ci(laptop, keys, "release/0.1", "push")
    assert code == 0, printed
    older = laptop.released()["images"]["api-rest"]["digest"]
    laptop.commit("fix(apps): a hole", {"api-rest/file": "without it"})
    laptop.succeed("push")
    image = laptop.released()["images"]["api-rest"]
    manifest = Registry(laptop.registry).fetch(image["repository"], older)
    assert manifest is not None
    put_manifest(image["repository"], image["key"], manifest)
    code, printed = ci(laptop, keys, "release/0.1", "push")
    assert code == 10, printed
    assert f"the registry holds {older}, the same sources give {image['digest']} here" in printed


# Prints what dpkg's records and an image's own Python know of its packages.
INSTALLED = """
import importlib.metadata, json, pathlib
records = [
    dict(line.partition(": ")[::2] for line in record.read_text().splitlines())
    for record in pathlib.Path("/var/lib/dpkg/status.d").iterdir()
]
found = importlib.metadata.distributions()
print(json.dumps({
    "deb": sorted((record["Package"], record["Version"]) for record in records),
    "pypi": sorted((each.metadata["Name"], each.version) for each in found),
}))
"""


@pytest.mark.parametrize("name", small.IMAGES)
def test_the_sbom_of_a_real_image_has_exactly_its_packages(
    engine: Engine, released: Release, name: str
) -> None:
    image = released.images[name]
    text = attached_sboms.make(Registry(image.repository), image_of(name, image))
    packages: dict[str, list[list[str]]] = {"deb": [], "pypi": []}
    for package in sbom.parse(text):
        packages[package.kind].append([package.name, package.version])
    installed = engine.client.containers.run(
        image.pinned, [INSTALLED], entrypoint=["/usr/bin/python3", "-c"], remove=True
    )
    assert {kind: sorted(found) for kind, found in packages.items()} == json.loads(installed)
    assert {name for name, _ in packages["deb"]} == declared_packages()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


def declared_packages() -> set[str]:
    lines = (files.ROOT / "base-image" / "rootfs" / "packages.txt").read_text().splitlines()
    return {line.strip() for line in lines if line.strip() and not line.startswith("#")}


def image_of(name: str, image: ReleasedPart) -> Image:
    return Image(name, image.version, image.repository, image.digest)
