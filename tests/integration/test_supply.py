"""Bills of materials and signatures beside real images, in a real registry, by the real cosign with real keys."""

import hashlib
import io
import json
import shutil
import stat
import tarfile
from collections.abc import Iterator
from email.parser import HeaderParser
from pathlib import Path
from typing import cast

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
from delivery.registry.client import Registry
from delivery.release import attached_sboms, cosign, sbom, signing
from delivery.release.released import Release, ReleasedPart, read_release
from delivery.release.sbom import Image
from tests.integration import small
from tests.integration.conftest import running_registry
from tests.integration.small import Small
from tests.registries import forward_to, serving, write_layout

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def address(engine: Engine, project: Declaration) -> Iterator[str]:
    with running_registry(engine, project) as found:
        yield found


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the pairs ours and theirs, each locked and for its owner alone."""
    programs.ensure("cosign")
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ours", "theirs"):
        signing.key_pair(folder / name, "open sesame")
        private = folder / name / "cosign.key"
        assert (stat.S_IMODE(private.stat().st_mode), "ENCRYPTED" in private.read_text()) == (
            0o600,
            True,
        )
    return folder


@pytest.fixture
def house(project: Declaration, keys: Path, monkeypatch: pytest.MonkeyPatch) -> Declaration:
    """A project that is signed for with our key, which we hold."""
    hold(monkeypatch, keys, "ours")
    return project.model_copy(
        update={"signing": Signing(public_key=str(keys / "ours" / "cosign.pub").lstrip("/"))}
    )


ROOT = Path("/")  # what the public key's path is relative to


def hold(monkeypatch: pytest.MonkeyPatch, keys: Path, name: str) -> None:
    """Have a private key as CI servers give it."""
    monkeypatch.setenv(cosign.KEY, (keys / name / "cosign.key").read_text())
    monkeypatch.setenv(cosign.PASSWORD, "open sesame")


def pushed(address: str, folder: Path, *names: str) -> list[str]:
    """Push a small image under each of these names."""
    found = []
    for name in names:
        layout = folder / name
        layout.mkdir()
        write_layout(layout, name.encode())
        digest = Registry(address).push_layout(layout, f"{address}/{name}", "k", lambda _line: None)
        found.append(f"{address}/{name}@{digest}")
    return found


def signatures(address: str, name: str) -> list[dict[str, object]]:
    registry, repository = Registry(address), f"{address}/{name}"
    (tag,) = [tag for tag in registry.tags(repository) if tag.endswith(".sig")]
    found = registry.fetch(repository, tag)
    assert found is not None
    return list(found.manifest["layers"])


def test_what_is_signed_is_good_also_with_the_key_in_a_file(
    address: str, house: Declaration, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_text, by_file = pushed(address, tmp_path, "by-text", "by-file")
    signing.sign(house, [by_text], ROOT)
    monkeypatch.setenv(cosign.KEY, str(keys / "ours" / "cosign.key"))
    signing.sign(house, [by_text, by_file], ROOT)
    assert len(signatures(address, "by-text")) == 1, "it is not signed again"
    monkeypatch.delenv(cosign.KEY)
    monkeypatch.delenv(cosign.PASSWORD)
    signing.verify(house, [by_text, by_file], ROOT)


def test_nothing_but_the_registry_is_asked(
    address: str, house: Declaration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = pushed(address, tmp_path, "alone")
    with serving(lambda *_: (502, {}, b"")) as (proxy, asked):
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
            monkeypatch.setenv(name, f"http://{proxy}")
        monkeypatch.setenv("NO_PROXY", "localhost")
        monkeypatch.setenv("no_proxy", "localhost")
        monkeypatch.setenv("HOME", str(tmp_path))
        signing.sign(house, pinned, ROOT)
        signing.verify(house, pinned, ROOT)
    assert asked == []


def test_what_is_unsigned_or_signed_by_others_is_refused_by_name(
    address: str,
    house: Declaration,
    project: Declaration,
    keys: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    good, unsigned, theirs = pushed(address, tmp_path, "good", "unsigned", "theirs")
    signing.sign(house, [good], ROOT)
    hold(monkeypatch, keys, "theirs")
    signing.sign(project.model_copy(update={"signing": None}), [theirs])
    with pytest.raises(SignatureError, match="2 of 3 must not be deployed") as caught:
        signing.verify(house, [good, unsigned, theirs], ROOT)
    assert caught.value.details.splitlines() == [
        f"{unsigned} is not signed",
        f"{theirs} is signed, but not with the key that it has to be signed with",
    ]


def test_one_signature_of_ours_beside_theirs_is_enough(
    address: str,
    house: Declaration,
    project: Declaration,
    keys: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pinned = pushed(address, tmp_path, "both")
    hold(monkeypatch, keys, "theirs")
    signing.sign(project.model_copy(update={"signing": None}), pinned)
    hold(monkeypatch, keys, "ours")
    signing.sign(house, pinned, ROOT)
    assert len(signatures(address, "both")) == 2
    signing.verify(house, pinned, ROOT)
    before = Signing(public_key=str(keys / "theirs" / "cosign.pub").lstrip("/"))
    signing.verify(house.model_copy(update={"signing": before}), pinned, ROOT)


def test_our_own_signature_of_another_image_is_refused(
    address: str, house: Declaration, tmp_path: Path
) -> None:
    one, other = pushed(address, tmp_path, "signed-one", "other-one")
    signing.sign(house, [one], ROOT)
    copy_signature(address, one, other)
    with pytest.raises(SignatureError) as caught:
        signing.verify(house, [one, other], ROOT)
    assert caught.value.details == f"{other} carries a signature that was made for other content"


def test_a_manifest_that_was_changed_is_refused_though_the_signature_is_moved_to_it(
    address: str, house: Declaration, tmp_path: Path
) -> None:
    (honest,) = pushed(address, tmp_path, "changed")
    signing.sign(house, [honest], ROOT)
    registry, repository = Registry(address), f"{address}/changed"
    held = registry.fetch(repository, honest.partition("@")[2])
    assert held is not None
    layout = tmp_path / "evil"
    shutil.copytree(tmp_path / "changed", layout)
    content = json.dumps({**held.manifest, "annotations": {"who": "me"}}).encode()
    digest = write_blob(layout, content)
    (layout / "index.json").write_text(json.dumps({"manifests": [{"digest": digest}]}))
    registry.push_layout(layout, repository, "evil", lambda _line: None)
    copy_signature(address, honest, f"{repository}@{digest}")
    with pytest.raises(SignatureError, match="must not be deployed") as caught:
        signing.verify(house, [f"{repository}@{digest}"], ROOT)
    assert (
        caught.value.details
        == f"{repository}@{digest} carries a signature that was made for other content"
    )


def test_a_registry_that_gives_other_bytes_under_the_digest_is_refused(
    address: str, house: Declaration, tmp_path: Path
) -> None:
    (honest,) = pushed(address, tmp_path, "lied-about")
    signing.sign(house, [honest], ROOT)
    ask = forward_to(f"http://{address}")

    def lie(
        method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        status, given, content = ask(method, path, headers, body)
        return status, given, content + b" " if path.endswith(honest.partition("@")[2]) else content

    with serving(lie) as (liar, _), pytest.raises(RegistryError, match=honest.partition("@")[2]):
        signing.verify(house, [honest.replace(address, liar)], ROOT)


def test_a_wrong_password_is_told_as_such(
    address: str, house: Declaration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = pushed(address, tmp_path, "wrong-password")
    for password in ("wrong", "", None):
        if password is None:
            monkeypatch.delenv(cosign.PASSWORD)
        else:
            monkeypatch.setenv(cosign.PASSWORD, password)
        with pytest.raises(SignatureError, match="the password does not open the key") as caught:
            signing.sign(house, pinned, ROOT)
        assert "COSIGN_PASSWORD" in caught.value.hint


@pytest.mark.parametrize(
    "what", ["the public half", "half of the text", "no PEM within", "no JSON within"]
)
def test_a_key_that_is_none_is_told_as_such(
    address: str,
    house: Declaration,
    keys: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    private = (keys / "ours" / "cosign.key").read_text()
    begin, *_, end = private.strip().splitlines()
    keys_that_are_none = {
        "the public half": (keys / "ours" / "cosign.pub").read_text(),
        "half of the text": private[: len(private) // 2],
        "no PEM within": f"{begin}\n!\n{end}\n",
        "no JSON within": f"{begin}\nYWFh\n{end}\n",
    }
    monkeypatch.setenv(cosign.KEY, keys_that_are_none[what])
    with pytest.raises(
        SignatureError, match="DELIVERY_SIGNING_KEY holds no private key as cosign makes it"
    ):
        signing.sign(house, pushed(address, tmp_path, "no-key"), ROOT)


def test_a_public_key_that_is_none_is_told_as_such(
    address: str, house: Declaration, tmp_path: Path
) -> None:
    pinned = pushed(address, tmp_path, "no-public-key")
    (tmp_path / "bad.pub").write_text("no key")
    with pytest.raises(SignatureError, match="is no public key in PEM"):
        signing.verify(
            house.model_copy(update={"signing": Signing(public_key="bad.pub")}), pinned, tmp_path
        )


def test_a_registry_that_wants_a_login_gets_one(
    locked: str, house: Declaration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DELIVERY_REGISTRY_USERNAME", "me")
    monkeypatch.setenv("DELIVERY_REGISTRY_PASSWORD", "secret")
    pinned = pushed(locked, tmp_path, "with-login")
    signing.sign(house, pinned, ROOT)
    signing.verify(house, pinned, ROOT)
    for name in ("DELIVERY_REGISTRY_USERNAME", "DELIVERY_REGISTRY_PASSWORD"):
        monkeypatch.delenv(name)
    program = cosign.Cosign(programs.require("cosign"), pause=lambda _seconds: None)
    public = ROOT / (house.signing.public_key if house.signing else "")
    with pytest.raises(RegistryError, match="the registry does not let us") as caught:
        program.verdicts(public, pinned)
    assert "docker login" in caught.value.hint
    config = tmp_path / "docker"
    config.mkdir()
    (config / "config.json").write_text(json.dumps({"auths": {locked: {"auth": "bWU6c2VjcmV0"}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(config))
    assert program.verdicts(public, pinned) == {pinned[0]: cosign.Verdict.GOOD}


@pytest.mark.parametrize("trusted_by", ["certs.d", "REQUESTS_CA_BUNDLE"])
def test_a_registry_with_a_private_ca_is_trusted_as_our_own_requests_trust_it(
    engine: Engine,
    project: Declaration,
    house: Declaration,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    trusted_by: str,
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
    public = ROOT / (house.signing.public_key if house.signing else "")
    with running_registry(engine, project, environment, folder) as address:
        while not reachable(address, folder / "ca.crt"):
            pass
        pinned = [f"{address}/app@sha256:{'ab' * 32}"]
        with pytest.raises(DeliveryError, match="check localhost:"):
            program.verdicts(public, pinned)
        if trusted_by == "certs.d":
            (home / ".docker" / "certs.d" / address).mkdir(parents=True)
            shutil.copy(folder / "ca.crt", home / ".docker" / "certs.d" / address)
        else:
            monkeypatch.setenv(trusted_by, str(folder / "ca.crt"))
        program.sign(cosign.signing_key(), pinned)
        assert program.verdicts(public, pinned) == {pinned[0]: cosign.Verdict.GOOD}


def reachable(address: str, ca: Path) -> bool:
    try:
        return requests.get(f"https://{address}/v2/", verify=str(ca), timeout=5).ok
    except requests.RequestException:
        return False


def write_blob(layout: Path, content: bytes) -> str:
    digest = hashlib.sha256(content).hexdigest()
    (layout / "blobs" / "sha256" / digest).write_bytes(content)
    return f"sha256:{digest}"


def copy_signature(address: str, one: str, other: str) -> None:
    """Put one reference's signature beside another, as who may push there could."""
    (source, signed), (target, unsigned) = one.split("@"), other.split("@")
    registry = Registry(address)
    held = registry.fetch(source, f"{signed.replace(':', '-')}.sig")
    assert held is not None
    api = f"http://{address}/v2"
    for part in (held.manifest["config"], *held.manifest["layers"]):
        mount = f"{api}/{target.partition('/')[2]}/blobs/uploads/?mount={part['digest']}&from={source.partition('/')[2]}"
        assert requests.post(mount, timeout=10).status_code == 201
    answer = requests.put(
        f"{api}/{target.partition('/')[2]}/manifests/{unsigned.replace(':', '-')}.sig",
        data=held.content,
        headers={"Content-Type": held.media_type},
        timeout=10,
    )
    assert answer.status_code == 201


# --- what was found, and not made here -------------------------------------------------------------


@pytest.fixture
def laptop(address: str, keys: Path, tmp_path: Path) -> Small:
    """The small project, which is signed for, pushed by a laptop without the key."""
    place = small.make(
        tmp_path / "laptop", f"{address}/{tmp_path.name.replace('_', '-').strip('-').lower()}"
    )
    declared = (
        place.folder / "delivery.toml"
    ).read_text() + '[signing]\npublic_key = "cosign.pub"\n'
    public = (keys / "ours" / "cosign.pub").read_text()
    place.commit("ci: sign", {"delivery.toml": declared, "cosign.pub": public})
    code, printed = place.inv("push")
    assert code == 0, printed
    return place


def ci(laptop: Small, keys: Path, branch: str, *arguments: str) -> tuple[int, str]:
    """Run a task as CI does, in a clone of its own and with the key: exit code and output."""
    clone = laptop.clone(
        laptop.folder.parent
        / f"{branch.replace('/', '-')}-{len(list(laptop.folder.parent.iterdir()))}"
    )
    environment = {
        cosign.KEY: (keys / "ours" / "cosign.key").read_text(),
        cosign.PASSWORD: "open sesame",
        "BRANCH_NAME": branch,
        "DELIVERY_ECHO": "1",
    }
    return clone.inv(*arguments, environment=environment)


def signed_parts(place: Small) -> list[str]:
    """The repositories with a signature in them."""
    registry = Registry(place.registry)
    names = (*small.IMAGES, "platform-chart", "release")
    return [
        name
        for name in names
        if any(tag.endswith(".sig") for tag in registry.tags(f"{place.registry}/{name}"))
    ]


def versions_of(place: Small, name: str) -> list[str]:
    return sorted(
        tag for tag in Registry(place.registry).tags(f"{place.registry}/{name}") if "." in tag[:5]
    )


def bakes(printed: str) -> int:
    return printed.count("$ docker buildx bake")


def test_what_a_laptop_pushed_is_built_again_once_and_signed(laptop: Small, keys: Path) -> None:
    code, printed = ci(laptop, keys, "release/0.1", "push")
    assert code == 0, printed
    assert (
        "build again base-image, api-rest, async-worker: what the registry holds carries no signature"
        in printed
    )
    assert bakes(printed) == 1
    # The next line finds our signatures, and asks no engine.
    code, printed = ci(laptop, keys, "main", "push", "signing.verify")
    assert (code, bakes(printed), "build again" in printed) == (0, 0, False), printed
    assert "signatures: 8 good" in printed
    assert versions_of(laptop, "release") == ["0.1.0", "0.1.0-dev.2", "0.1.0-rc.2"]


def test_other_bytes_under_a_key_are_neither_signed_nor_released(laptop: Small, keys: Path) -> None:
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
        f"api-rest:{image['key']}: the registry holds {forged}, the same sources give {image['digest']} here"
        in printed
    )
    assert signed_parts(laptop) == []
    assert versions_of(laptop, "release") == ["0.1.0-dev.2"]
    assert registry.digest(image["repository"], image["key"]) == forged


def test_our_own_older_image_under_a_newer_key_is_not_taken_for_it(
    laptop: Small, keys: Path
) -> None:
    code, printed = ci(laptop, keys, "release/0.1", "push")
    assert code == 0, printed
    older = laptop.released()["images"]["api-rest"]["digest"]
    laptop.commit("fix(apps): a hole", {"api-rest/file": "without it"})
    code, printed = laptop.inv("push")
    assert code == 0, printed
    image = laptop.released()["images"]["api-rest"]
    registry = Registry(laptop.registry)
    held = registry.fetch(image["repository"], older)
    assert held is not None
    answer = requests.put(
        f"http://{laptop.registry.partition('/')[0]}/v2/{image['repository'].partition('/')[2]}/manifests/{image['key']}",
        data=held.content,
        headers={"Content-Type": held.media_type},
        timeout=10,
    )
    assert answer.status_code == 201
    code, printed = ci(laptop, keys, "release/0.1", "push")
    assert code == 10, printed
    assert f"the registry holds {older}, the same sources give {image['digest']} here" in printed


# --- bills of materials -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def released() -> Release:
    """What this clone has built, in the declared registry."""
    file = files.output("release.json")
    if not file.exists():
        pytest.skip("nothing is built here yet: `./run inv push`")
    return read_release(file.read_text(), file=str(file))


IMAGES = ["base-image", "api-rest", "async-worker"]


def exported(engine: Engine, reference: str) -> tarfile.TarFile:
    """The files of an image as a container of it has them: the engine's own opinion."""
    container = engine.client.containers.create(reference)
    try:
        pieces = cast("Iterator[bytes]", container.export())  # docker's stubs say text
        return tarfile.open(fileobj=io.BytesIO(b"".join(pieces)))
    finally:
        container.remove()


@pytest.mark.parametrize("name", IMAGES)
def test_the_bill_of_a_real_image_names_every_package_that_its_files_record_and_nothing_else(
    engine: Engine, released: Release, name: str
) -> None:
    image = released.images[name]
    text = attached_sboms.make(Registry(image.repository), bill_of(name, image))
    packages = sbom.parse(text)
    engine.pull(image.pinned, lambda _line: None)
    debian, python = recorded(exported(engine, image.pinned))
    in_sbom = {
        kind: sorted(
            (package.name, package.version) for package in packages if package.kind == kind
        )
        for kind in ("deb", "pypi")
    }
    assert in_sbom == {
        "deb": sorted((name, version) for name, version, _ in debian),
        "pypi": sorted(python),
    }
    assert len(packages) == len(debian) + len(python)
    assert {name for name, _, _ in debian} == wanted_packages()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


def recorded(tar: tarfile.TarFile) -> tuple[list[tuple[str, str, str]], list[tuple[str, str]]]:
    """What dpkg's records, and every dist-info folder by its name, say is in the image."""
    debian = []
    python = []
    for member in tar:
        if member.name.startswith("var/lib/dpkg/status.d/") and member.isfile():
            content = tar.extractfile(member)
            assert content is not None
            fields = HeaderParser().parsestr(content.read().decode())
            debian.append((fields["Package"], fields["Version"], fields["Architecture"]))
        if member.name.endswith(".dist-info/METADATA"):
            content = tar.extractfile(member)
            assert content is not None
            python.append(HeaderParser().parsestr(content.read().decode())["Name"])
    folders = {member for member in tar.getnames() if member.endswith(".dist-info")}
    versions = {Path(folder).name.removesuffix(".dist-info").rpartition("-") for folder in folders}
    assert len(versions) == len(python)
    by_name = {name.lower(): version for name, _, version in versions}
    return debian, [
        (name, by_name[name.lower().replace("-", "_").replace(".", "_")]) for name in python
    ]


def wanted_packages() -> set[str]:
    lines = (files.ROOT / "base-image" / "rootfs" / "packages.txt").read_text().splitlines()
    return {line.strip() for line in lines if line.strip() and not line.startswith("#")}


def bill_of(name: str, image: ReleasedPart) -> Image:
    return Image(name, image.version, image.repository, image.digest)
