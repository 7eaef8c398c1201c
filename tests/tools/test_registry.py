"""A push is believed only when the registry gives the same bytes back."""

import base64
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from delivery.core.errors import RegistryError
from delivery.tools.registry import Layer, Registry, answers, is_local
from tests.registries import Fault, MemoryRegistry, failing, serving, sha256, write_layout

TAG = "0123abcd"


def no_line(_text: str) -> None:
    pass


def push(
    tmp_path: Path, fault: Fault | None = None, registry: MemoryRegistry | None = None
) -> tuple[str, str, list[str]]:
    """Push a small image; the digest built, the digest the push returned, and the requests it took."""
    built = write_layout(tmp_path / "layout")
    with serving(registry or MemoryRegistry(), fault) as (address, seen):
        client = Registry(address, pause=lambda _seconds: None)
        return built, client.push_layout(tmp_path / "layout", f"{address}/app", TAG, no_line), seen


def test_a_push_returns_the_digest_that_was_built(tmp_path: Path) -> None:
    built, pushed, _ = push(tmp_path)
    assert pushed == built


def test_the_tag_comes_after_every_blob_and_is_read_back(tmp_path: Path) -> None:
    _, _, seen = push(tmp_path)
    assert [line.split()[0] for line in seen] == ["HEAD", "POST", "PUT", "HEAD", "POST", "PUT", "PUT", "GET"]
    assert seen[-2:] == [f"PUT /v2/app/manifests/{TAG}", f"GET /v2/app/manifests/{TAG}"]


def test_a_blob_that_is_there_is_not_sent_again(tmp_path: Path) -> None:
    registry = MemoryRegistry()
    registry.blobs[sha256(b"a layer")] = b"a layer"
    _, _, seen = push(tmp_path, registry=registry)
    assert len([line for line in seen if line.startswith("POST")]) == 1  # the config's


@pytest.mark.parametrize(
    ("method", "part"), [("HEAD", "/blobs/"), ("POST", "/uploads/"), ("PUT", "/uploads/"), ("PUT", "/manifests/")]
)
def test_a_fault_that_passes_is_waited_out(tmp_path: Path, method: str, part: str) -> None:
    built, pushed, _ = push(tmp_path, failing(2, method, part, (503, {}, b"")))
    assert pushed == built


def test_a_fault_that_stays_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=r"push localhost:\d+/app:0123abcd: the registry answered 500 \(oh no\)"):
        push(tmp_path, failing(99, "PUT", "/manifests/", (500, {}, b"oh no")))


@pytest.mark.parametrize(
    ("status", "hint"), [(401, "docker login"), (403, "push rights"), (404, "made first"), (413, "proxy")]
)
def test_a_refusal_is_an_error_at_once_that_says_what_to_do(tmp_path: Path, status: int, hint: str) -> None:
    body = b'{"errors": [{"code": "DENIED", "message": "not you"}]}'
    with pytest.raises(RegistryError, match=rf"answered {status} \(DENIED: not you\)") as caught:
        push(tmp_path, failing(1, "POST", "/uploads/", (status, {}, body)))
    assert hint in caught.value.hint


def test_a_registry_that_holds_something_else_is_caught(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=rf"the registry holds {sha256(b'other')}, sha256:\w+ was sent"):
        push(tmp_path, failing(1, "GET", "/manifests/", (200, {}, b"other")))


def test_a_registry_that_forgot_the_manifest_is_caught(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=r"read back .* answered 404"):
        push(tmp_path, failing(1, "GET", "/manifests/", (404, {}, b"")))


def test_a_damaged_layout_is_not_pushed(tmp_path: Path) -> None:
    digest = write_layout(tmp_path)
    (tmp_path / "blobs" / "sha256" / digest.partition(":")[2]).write_bytes(b"{}")
    with pytest.raises(RegistryError, match="is damaged"):
        Registry("localhost:1").push_layout(tmp_path, "localhost:1/app", TAG, no_line)


def test_layers_are_measured_packed_and_unpacked(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, size in (("a", 5_000), ("b", 700)):
            entry = tarfile.TarInfo(name)
            entry.size = size
            tar.addfile(entry, io.BytesIO(b"x" * size))
    write_layout(tmp_path, packed.getvalue())
    with serving(MemoryRegistry()) as (address, _):
        client = Registry(address)
        digest = client.push_layout(tmp_path, f"{address}/app", TAG, no_line)
        assert client.layers(f"{address}/app", digest) == [
            Layer(sha256(packed.getvalue()), packed=len(packed.getvalue()), unpacked=5_700)
        ]


def test_what_it_does_not_hold_has_no_digest() -> None:
    with serving(MemoryRegistry()) as (address, _):
        assert Registry(address).digest(f"{address}/app", TAG) == ""


def test_a_registry_without_the_digest_header_is_asked_for_the_manifest() -> None:
    with serving(MemoryRegistry(), lambda *_: (200, {}, b"manifest")) as (address, _):
        assert Registry(address).digest(f"{address}/app", TAG) == sha256(b"manifest")


def test_one_that_is_not_there_is_an_error() -> None:
    client = Registry("localhost:1", pause=lambda _seconds: None)
    with pytest.raises(RegistryError, match="does not answer"):
        client.digest("localhost:1/app", TAG)
    assert not answers("localhost:1")


def test_tags_come_in_pages() -> None:
    def answer(_method: str, path: str, _headers: dict[str, str], _body: bytes) -> tuple[int, dict[str, str], bytes]:
        if path == "/v2/app/tags/list":
            return 200, {"Link": '</v2/app/tags/list?last=b&n=2>; rel="next"'}, b'{"tags": ["a", "b"]}'
        if path == "/v2/app/tags/list?last=b&n=2":
            return 200, {}, b'{"tags": ["c"]}'
        return (200, {}, b'{"tags": null}') if "empty" in path else (404, {}, b"")

    with serving(answer) as (address, _):
        registry = Registry(address)
        assert registry.tags(f"{address}/app") == ["a", "b", "c"]
        assert registry.tags(f"{address}/empty") == registry.tags(f"{address}/unknown") == []


def challenge(
    scheme: str, accepted: str
) -> Callable[[str, str, dict[str, str], bytes], tuple[int, dict[str, str], bytes]]:
    """A registry that wants this Authorization, says so in this scheme, and hands out tokens at /token."""
    memory = MemoryRegistry()

    def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        if path.startswith("/token"):
            good = headers.get("Authorization") == f"Basic {base64.b64encode(b'me:secret').decode()}"
            return (200, {}, b'{"token": "let-me-in"}') if good else (401, {}, b"")
        if headers.get("Authorization") != accepted:
            realm = f'realm="http://{headers["Host"]}/token",service="s"'
            return 401, {"WWW-Authenticate": f"{scheme} {realm}"}, b""
        return memory(method, path, headers, body)

    return answer


@pytest.mark.parametrize(
    ("scheme", "accepted"),
    [("Basic", f"Basic {base64.b64encode(b'me:secret').decode()}"), ("Bearer", "Bearer let-me-in")],
)
def test_logs_in_as_the_registry_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str, accepted: str
) -> None:
    monkeypatch.setenv("DELIVERY_REGISTRY_USERNAME", "me")
    monkeypatch.setenv("DELIVERY_REGISTRY_PASSWORD", "secret")
    built = write_layout(tmp_path)
    with serving(challenge(scheme, accepted)) as (address, _):
        assert Registry(address).push_layout(tmp_path, f"{address}/app", TAG, no_line) == built


@pytest.mark.parametrize("scheme", ["Basic", "Bearer"])
def test_a_wrong_login_is_said_to_be_wrong(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    monkeypatch.setenv("DELIVERY_REGISTRY_USERNAME", "me")
    monkeypatch.setenv("DELIVERY_REGISTRY_PASSWORD", "guess")
    with serving(challenge(scheme, "another")) as (address, _), pytest.raises(RegistryError) as caught:
        Registry(address).digest(f"{address}/app", TAG)
    assert caught.value.hint.startswith(f"the login for {address} is wrong: `docker login")


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("localhost:5001", True),
        ("127.0.0.1:5000/team", True),
        ("docker.io/acme", False),
        ("localhost.example.com", False),
    ],
)
def test_knows_what_is_local(address: str, *, local: bool) -> None:
    assert is_local(address) is local
