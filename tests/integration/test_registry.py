"""Pushes to a real registry, also with faults before it."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import bcrypt
import pytest
import requests
import trustme

from delivery.errors import EngineError, RegistryError
from delivery.host.docker_api import Engine
from delivery.project.declaration import Declaration
from delivery.registry.client import Artifact, Blob, Registry, is_reachable, missing_login
from tests.integration.conftest import running_registry
from tests.registries import (
    Answer,
    Break,
    Fault,
    failing,
    forward_to,
    no_line,
    no_pause,
    serving,
    sha256,
    write_layout,
)

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def address(engine: Engine, project: Declaration) -> Iterator[str]:
    with running_registry(engine, project, {"REGISTRY_STORAGE_DELETE_ENABLED": "true"}) as found:
        yield found


def held(address: str, repository: str, tag: str) -> str:
    """The digest that the registry itself gives for a tag."""
    answer = requests.head(
        f"http://{address}/v2/{repository}/manifests/{tag}",
        headers={"Accept": "application/vnd.oci.image.manifest.v1+json"},
        timeout=10,
    )
    return answer.headers["Docker-Content-Digest"]


# What a registry keeps of a request that was cut off is its own: faults without that are proved in tests/registry.
@pytest.mark.parametrize(
    "fault",
    [
        failing(2, "PUT", "/uploads/", (503, {}, b"come back later")),
        failing(2, "PUT", "/uploads/", Break("request")),
        failing(2, "PUT", "/uploads/", Break("answer")),
        failing(2, "PUT", "/manifests/", Break("request")),
        failing(2, "PUT", "/uploads/", Break("stall", 1.0)),
    ],
    ids=["503-upload", "reset-in-upload", "reset-after-upload", "reset-in-manifest", "slow-upload"],
)
def test_what_passes_is_waited_out(
    address: str, tmp_path: Path, fault: Fault, request: pytest.FixtureRequest
) -> None:
    built = write_layout(tmp_path, request.node.name.encode() * 5000)
    with serving(forward_to(f"http://{address}"), fault) as (proxy, _):
        client = Registry(proxy, pause=no_pause, timeout=(5, 0.5))
        assert client.push_layout(tmp_path, f"{proxy}/drill", "k1", no_line) == built
    assert held(address, "drill", "k1") == built


def test_a_registry_that_wants_a_login_gets_one(
    locked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = write_layout(tmp_path)
    with pytest.raises(RegistryError, match="the registry answered 401"):
        Registry(locked).push_layout(tmp_path, f"{locked}/app", "k1", no_line)
    assert missing_login(locked)
    monkeypatch.setenv("DELIVERY_REGISTRY_USERNAME", "me")
    monkeypatch.setenv("DELIVERY_REGISTRY_PASSWORD", "secret")
    assert Registry(locked).push_layout(tmp_path, f"{locked}/app", "k1", no_line) == built


def test_an_engine_pushes_and_pulls_with_the_login_it_is_given(
    engine: Engine, project: Declaration, locked: str
) -> None:
    reference = f"{locked}/with-login:k1"
    engine.client.images.get(project.upstream["registry"].image).tag(reference)
    try:
        with pytest.raises(RegistryError, match=f"push {reference}: "):
            engine.push(reference, no_line)
        digest = engine.push(reference, no_line, login=("me", "secret"))
    finally:
        engine.client.images.remove(reference)
    pinned = f"{locked}/with-login@{digest}"
    with pytest.raises((RegistryError, EngineError), match=f"pull {pinned}: "):
        engine.pull(pinned, no_line)
    engine.pull(pinned, no_line, login=("me", "secret"))
    engine.client.images.remove(pinned)


def test_artefacts_are_attached_found_and_fetched(address: str, tmp_path: Path) -> None:
    image = write_layout(tmp_path)
    client, app = Registry(address), f"{address}/attached"
    client.push_layout(tmp_path, app, "k1", no_line)
    assert client.referrers(app, image) == []
    pushed = [
        client.push_artifact(
            app, Artifact(f"text/{kind}", [Blob("text/plain", kind.encode())], subject=image)
        )
        for kind in ("sbom", "signature", "sbom")
    ]
    assert pushed[0] == pushed[2]
    assert [(one.digest, one.artifact_type) for one in client.referrers(app, image)] == [
        (pushed[0], "text/sbom"),
        (pushed[1], "text/signature"),
    ]
    sbom = client.fetch(app, pushed[0])
    assert sbom
    assert client.blob(app, sbom.manifest["layers"][0]["digest"]) == b"sbom"


def test_what_is_deleted_is_gone_with_its_tags_and_can_be_pushed_again(
    address: str, tmp_path: Path
) -> None:
    image = write_layout(tmp_path)
    client, app = Registry(address), f"{address}/deleted"
    for _ in range(2):
        client.push_layout(tmp_path, app, "k1", no_line)
        client.put_tag(app, "1.0.0", image)
        client.delete(app, image)
        assert client.tags(app) == []
        assert client.fetch(app, image) is None
    client.delete(app, image)


def test_blobs_are_taken_over_from_a_sibling(address: str, tmp_path: Path) -> None:
    image = write_layout(tmp_path, b"base" * 10_000)
    client = Registry(address)
    client.push_layout(tmp_path, f"{address}/sibling", "k1", no_line)
    sent = client.sent
    mount_from = [f"{address}/nothing", f"{address}/sibling"]
    assert (
        client.push_layout(tmp_path, f"{address}/taker", "k1", no_line, mount_from=mount_from)
        == image
    )
    assert client.sent - sent < 1000
    assert client.blob(f"{address}/taker", sha256(b"base" * 10_000)) == b"base" * 10_000


@dataclass(frozen=True)
class Encrypted:
    """A registry that speaks TLS alone, as registry.test, and the authority that its certificate is from."""

    address: str
    authority: trustme.CA


@pytest.fixture(scope="module")
def encrypted(
    engine: Engine, project: Declaration, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Encrypted]:
    authority, folder = trustme.CA(), tmp_path_factory.mktemp("tls")
    issued = authority.issue_cert("registry.test")
    issued.private_key_pem.write_to_path(str(folder / "key.pem"))
    issued.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    environment = {
        "REGISTRY_HTTP_TLS_CERTIFICATE": "/told/cert.pem",
        "REGISTRY_HTTP_TLS_KEY": "/told/key.pem",
    }
    with running_registry(engine, project, environment, folder) as local:
        yield Encrypted(local.replace("localhost", "registry.test"), authority)


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """registry.test leads here, and the user's home is empty."""
    look_up = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *more, **options: look_up(
            "127.0.0.1" if host == "registry.test" else host, *more, **options
        ),
    )
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_PROXY", "registry.test,localhost,127.0.0.1")
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)


@pytest.mark.usefixtures("named")
def test_a_registry_with_a_private_authority_is_trusted_as_docker_is_told(
    encrypted: Encrypted, tmp_path: Path
) -> None:
    image = write_layout(tmp_path / "image")
    address = encrypted.address
    with pytest.raises(RegistryError, match="certificate is not trusted"):
        Registry(address).push_layout(tmp_path / "image", f"{address}/app", "k1", no_line)
    folder = tmp_path / "home" / ".docker" / "certs.d" / address
    folder.mkdir(parents=True)
    encrypted.authority.cert_pem.write_to_path(str(folder / "ca.crt"))
    assert is_reachable(address)
    assert (
        Registry(address).push_layout(tmp_path / "image", f"{address}/app", "k1", no_line) == image
    )


class Store:
    """A blob store at another address; the Authorization that it is shown, and what it holds."""

    def __init__(self) -> None:
        self.shown: list[str | None] = []
        self.paths: list[str] = []
        self.content = b""

    def __call__(self, _method: str, path: str, headers: dict[str, str], _body: bytes) -> Answer:
        self.shown.append(headers.get("Authorization"))
        self.paths.append(path)
        return 200, {}, self.content


def test_a_blob_that_a_registry_keeps_in_a_store_elsewhere_is_read_without_the_login(
    engine: Engine, project: Declaration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DELIVERY_REGISTRY_USERNAME", "me")
    monkeypatch.setenv("DELIVERY_REGISTRY_PASSWORD", "secret")
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    (tmp_path / "htpasswd").write_text(f"me:{hashed}\n")
    store = Store()
    with serving(store) as (other, _):
        redirect = f"{{name: redirect, options: {{baseurl: 'http://{other}/'}}}}"
        environment = {
            "REGISTRY_AUTH": "htpasswd",
            "REGISTRY_AUTH_HTPASSWD_REALM": "registry",
            "REGISTRY_AUTH_HTPASSWD_PATH": "/told/htpasswd",
            "REGISTRY_MIDDLEWARE_STORAGE": f"[{redirect}]",
        }
        with running_registry(engine, project, environment, tmp_path) as address:
            client, part = Registry(address), Blob("a/b", b"content")
            client.push_artifact(f"{address}/app", Artifact("a/b", [part]), tag="k1")
            store.content = part.content
            assert client.blob(f"{address}/app", part.digest) == part.content
    assert store.shown
    assert set(store.shown) == {None}
    assert part.digest.partition(":")[2] in store.paths[-1]
