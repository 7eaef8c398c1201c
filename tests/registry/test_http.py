"""Logins, certificates and redirects of every request to a registry."""

import base64
import json
import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import trustme

from delivery.errors import RegistryError
from delivery.registry.client import Artifact, Registry, is_reachable, login, missing_login
from delivery.registry.http import base_url
from tests.registries import (
    Answer,
    Answering,
    FakeRegistry,
    no_line,
    no_pause,
    serving,
    sha256,
    write_layout,
)

BASIC = f"Basic {base64.b64encode(b'me:secret').decode()}"


def ask(address: str) -> str:
    """Look for a manifest that no registry of these tests has."""
    return Registry(address, pause=no_pause).digest(f"{address}/app", "k1")


class TokenRegistry(FakeRegistry):
    """A registry that asks for tokens, gives them at /token, and accepts each a number of times."""

    uses = 10**6

    def __init__(self) -> None:
        super().__init__()
        self.scopes: list[list[str]] = []
        self.remaining: dict[str, int] = {}
        self.token_answers: list[Answer] = []

    def __call__(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        if path.startswith("/token"):
            return self._give_token(path, headers)
        token = headers.get("Authorization", "").removeprefix("Bearer ")
        if not self.remaining.get(token) or not self._covers(token, method, path):
            return unauthorized(headers)
        self.remaining[token] -= 1
        return super().__call__(method, path, headers, body)

    def _give_token(self, path: str, headers: dict[str, str]) -> Answer:
        if self.token_answers:
            return self.token_answers.pop(0)
        if headers.get("Authorization") != BASIC:
            return 401, {}, b""
        asked = parse_qs(urlsplit(path).query)
        self.scopes.append(asked["scope"])
        token = f"{len(self.scopes)}|{' '.join(asked['scope'])}"
        self.remaining[token] = self.uses
        return 200, {}, f'{{"token": "{token}"}}'.encode()

    def _covers(self, token: str, method: str, path: str) -> bool:
        repository = re.split("/(?:manifests|blobs|tags|referrers)/", path.removeprefix("/v2/"))[0]
        action = {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}.get(method, "push")
        given = [
            scope
            for scope in token.partition("|")[2].split()
            if scope.startswith(f"repository:{repository}:")
        ]
        return any(action in scope.rpartition(":")[2].split(",") for scope in given)


@pytest.fixture
def me(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DELIVERY_REGISTRY_USERNAME", "me")
    monkeypatch.setenv("DELIVERY_REGISTRY_PASSWORD", "secret")


def unauthorized(headers: dict[str, str], scheme: str = "Bearer") -> Answer:
    """The answer to a request with these headers that a login is missing."""
    challenge = f'{scheme} realm="http://{headers["Host"]}/token",service="s"'
    return 401, {"WWW-Authenticate": challenge}, b""


def challenge(scheme: str, accepted: str, registry: FakeRegistry | None = None) -> Answering:
    """A registry that asks for a login by this scheme, and accepts this Authorization."""
    fake = registry or FakeRegistry()

    def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        if path.startswith("/token"):
            good = headers.get("Authorization") == BASIC
            return (200, {}, b'{"token": "let-me-in"}') if good else (401, {}, b"")
        if headers.get("Authorization") != accepted:
            return unauthorized(headers, scheme)
        return fake(method, path, headers, body)

    return answer


@pytest.mark.usefixtures("me")
@pytest.mark.parametrize(("scheme", "later"), [("Basic", 1), ("Bearer", 3)])
def test_a_wrong_login_is_an_error_without_a_retry(
    monkeypatch: pytest.MonkeyPatch, scheme: str, later: int
) -> None:
    monkeypatch.setenv("DELIVERY_REGISTRY_PASSWORD", "guess")
    with serving(challenge(scheme, "another")) as (address, seen):
        client = Registry(address)
        for requests in (2, 2 + later):
            with pytest.raises(RegistryError, match="answered 401") as caught:
                client.digest(f"{address}/app", "k1")
            assert len(seen) == requests
    assert caught.value.hint.startswith(f"log in by `docker login {address}`, or set ")
    assert caught.value.hint.endswith(": the known login is wrong")


@pytest.mark.usefixtures("me")
def test_tokens_are_for_the_actions_that_are_needed(tmp_path: Path) -> None:
    digest = write_layout(tmp_path)
    registry = TokenRegistry()
    with serving(registry) as (address, _):
        client = Registry(address)
        client.digest(f"{address}/app", "k1")
        client.push_layout(tmp_path, f"{address}/app", "k1", no_line)
        client.delete(f"{address}/app", digest)
        client.push_layout(
            tmp_path, f"{address}/other", "k1", no_line, mount_from=[f"{address}/app"]
        )
    assert registry.scopes == [
        ["repository:app:pull"],
        ["repository:app:pull,push"],
        ["repository:app:pull,push,delete"],
        ["repository:other:pull"],
        ["repository:app:pull", "repository:other:pull,push"],
    ]


@pytest.mark.usefixtures("me")
def test_after_the_first_401_tokens_are_fetched_before_a_request() -> None:
    with serving(TokenRegistry()) as (address, seen):
        client = Registry(address)
        for name in ("first", "second"):
            client.digest(f"{address}/{name}", "k1")
    assert [line.partition("?")[0] for line in seen] == [
        "HEAD /v2/first/manifests/k1",
        "GET /token",
        "HEAD /v2/first/manifests/k1",
        "GET /token",
        "HEAD /v2/second/manifests/k1",
    ]


@pytest.mark.usefixtures("me")
def test_a_token_that_expires_during_a_push_is_renewed(tmp_path: Path) -> None:
    built = write_layout(tmp_path)
    registry = TokenRegistry()
    registry.uses = 2
    with serving(registry) as (address, _):
        assert Registry(address).push_layout(tmp_path, f"{address}/app", "k1", no_line) == built
    assert len(registry.scopes) >= 3


@pytest.mark.usefixtures("me")
def test_an_expired_token_is_not_sent_again() -> None:
    registry = TokenRegistry()
    with serving(registry) as (address, seen):
        client = Registry(address)
        client.delete(f"{address}/app", sha256(b"gone"))  # its token would do for everything
        registry.remaining = {}
        seen.clear()
        assert client.digest(f"{address}/app", "k1") == client.digest(f"{address}/app", "k2") == ""
    assert [line.split()[0] for line in seen] == ["HEAD", "GET", "HEAD", "HEAD"]


@pytest.mark.usefixtures("me")
def test_tokens_that_never_work_are_an_error() -> None:
    registry = TokenRegistry()
    registry.uses = 0
    with serving(registry) as (address, seen), pytest.raises(RegistryError, match="answered 401"):
        ask(address)
    assert len(seen) == 3


@pytest.mark.usefixtures("me")
def test_a_busy_token_service_is_retried() -> None:
    registry = TokenRegistry()
    registry.token_answers = [(503, {}, b""), (429, {"Retry-After": "3"}, b"")]
    pauses: list[float] = []
    with serving(registry) as (address, _):
        assert Registry(address, pause=pauses.append).digest(f"{address}/app", "k1") == ""
    assert len(pauses) == 2
    assert 3 <= pauses[1] <= 4.5, "as long as it asks, and up to a half longer"


@pytest.mark.usefixtures("me")
@pytest.mark.parametrize("answer", [b"<html>", b"[]", b"{}"])
def test_a_token_service_without_a_token_is_an_error(answer: bytes) -> None:
    registry = TokenRegistry()
    registry.token_answers = [(200, {}, answer)]
    with serving(registry) as (address, _), pytest.raises(RegistryError, match="answered 401"):
        ask(address)


def helper(folder: Path, monkeypatch: pytest.MonkeyPatch, user: str, secret: str) -> None:
    """Write a Docker config with a credential helper that has this login."""
    program = folder / "docker-credential-sample"
    program.write_text(
        f"""#!/bin/sh\necho '{{"ServerURL": "", "Username": "{user}", "Secret": "{secret}"}}'\n"""
    )
    program.chmod(0o755)
    (folder / "config.json").write_text('{"credsStore": "sample"}')
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def test_logins_come_from_dockers_config_and_its_helpers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    assert login("registry.test/team") is None
    auth = base64.b64encode(b"me:secret").decode()
    auths = {"registry.test": {"auth": auth}, "other.test": {}}
    (tmp_path / "config.json").write_text(json.dumps({"auths": auths}))
    assert login("registry.test/team") == ("me", "secret")
    assert login("other.test") is None
    helper(tmp_path, monkeypatch, "me", "secret")
    assert login("registry.test/team") == ("me", "secret")


def test_an_unreadable_docker_config_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper(tmp_path, monkeypatch, "me", "secret")
    (tmp_path / "docker-credential-sample").write_text("#!/bin/sh\necho broken; exit 1\n")
    message = r"cannot read the login for registry\.test from the Docker config"
    with pytest.raises(RegistryError, match=message):
        login("registry.test/team")


@pytest.mark.parametrize("kept", ["config", "helper"])
def test_an_identity_token_is_exchanged_for_a_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: str
) -> None:
    forms: list[dict[str, list[str]]] = []

    def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        if path == "/token":
            forms.append(parse_qs(body.decode()))
            return 200, {}, b'{"access_token": "let-me-in"}'
        if headers.get("Authorization") != "Bearer let-me-in":
            return unauthorized(headers)
        return FakeRegistry()(method, path, headers, body)

    with serving(answer) as (address, _):
        helper(tmp_path, monkeypatch, "<token>", "identity")
        if kept == "config":
            config = {"auths": {address: {"auth": "", "identitytoken": "identity"}}}
            (tmp_path / "config.json").write_text(json.dumps(config))
        assert ask(address) == ""
    assert forms == [
        {
            "grant_type": ["refresh_token"],
            "refresh_token": ["identity"],
            "service": ["s"],
            "scope": ["repository:app:pull"],
            "client_id": ["delivery-platform"],
        }
    ]


def test_an_upload_waits_for_a_registry_that_pauses(tmp_path: Path) -> None:
    def pause(method: str, path: str) -> None:
        if method == "PUT" and "/uploads/" in path:
            time.sleep(0.6)

    built = write_layout(tmp_path, b"x" * 20_000_000)  # more than the buffers of both sides hold
    with serving(FakeRegistry(), pause) as (address, seen):
        client = Registry(address, pause=no_pause, timeout=(0.3, 10))
        assert client.push_layout(tmp_path, f"{address}/app", "k1", no_line) == built
    assert len([line for line in seen if line.startswith("PUT /v2/app/blobs")]) == 2


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


Secure = Callable[..., AbstractContextManager[tuple[str, list[str]]]]


@pytest.fixture
def secure(authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Secure:
    """Serve over TLS at registry.test, which resolves to this machine; the home is empty."""
    look_up = socket.getaddrinfo

    def found(host: str, *more: Any, **options: Any) -> Any:
        return look_up("127.0.0.1" if host == "registry.test" else host, *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", found)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)

    @contextmanager
    def serve(
        answer: Answering, *, trusted: bool = True, clients: bool = False
    ) -> Iterator[tuple[str, list[str]]]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("registry.test").configure_cert(context)
        if clients:
            context.verify_mode = ssl.CERT_REQUIRED
            authority.configure_trust(context)
        with serving(answer, tls=context) as (local, seen):
            address = local.replace("localhost", "registry.test")
            if trusted:
                authority.cert_pem.write_to_path(str(certificates(address) / "ca.crt"))
            yield address, seen

    return serve


def certificates(address: str) -> Path:
    folder = Path.home() / ".docker" / "certs.d" / address
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_an_unknown_certificate_authority_is_an_error_with_a_hint(
    secure: Secure, authority: trustme.CA
) -> None:
    with secure(FakeRegistry(), trusted=False) as (address, seen):
        # The certificates of another registry are not used.
        authority.cert_pem.write_to_path(str(certificates("registry.test:1") / "ca.crt"))
        with pytest.raises(RegistryError, match="certificate is not trusted") as caught:
            ask(address)
        assert not is_reachable(address)
    assert f"/etc/docker/certs.d/{address}/ca.crt" in caught.value.hint
    assert not seen


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_trusts_the_bundle_of_the_environment_too(
    secure: Secure,
    authority: trustme.CA,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    variable: str,
) -> None:
    bundle = tmp_path / "bundle.pem"
    authority.cert_pem.write_to_path(str(bundle))
    monkeypatch.setenv(variable, str(bundle))
    with secure(FakeRegistry(), trusted=False) as (address, _):
        trustme.CA().cert_pem.write_to_path(str(certificates(address) / "ca.crt"))
        assert ask(address) == ""


def test_sends_the_client_certificate_that_a_registry_asks_for(
    secure: Secure, authority: trustme.CA
) -> None:
    with secure(FakeRegistry(), clients=True) as (address, _):
        with pytest.raises(RegistryError, match="does not answer"):
            ask(address)
        client = authority.issue_cert("me@example.com")
        client.cert_chain_pems[0].write_to_path(str(certificates(address) / "client.cert"))
        client.private_key_pem.write_to_path(str(certificates(address) / "client.key"))
        assert ask(address) == ""


@pytest.mark.usefixtures("secure")
def test_an_invalid_certificate_is_an_error_with_the_file() -> None:
    file = certificates("registry.test:1") / "ca.crt"
    file.write_text("not PEM")
    with pytest.raises(RegistryError, match=rf"cannot read {file}: "):
        Registry("registry.test:1")


def downgrading(_method: str, path: str, headers: dict[str, str], _body: bytes) -> Answer:
    return moved(f"http://{headers['Host']}{path}")


@pytest.mark.usefixtures("me")
@pytest.mark.parametrize("registry", [TokenRegistry(), downgrading], ids=["tokens", "redirect"])
def test_nothing_goes_unencrypted_to_the_host_of_an_encrypted_registry(
    secure: Secure, registry: Answering
) -> None:
    with secure(registry) as (address, seen), pytest.raises(RegistryError, match="not encrypted"):
        ask(address)
    assert len(seen) == 1


class Elsewhere:
    """A server at another address, which a registry names, and the credentials that it gets."""

    def __init__(self, answer: Answer = (200, {}, b"{}")) -> None:
        self.answer = answer
        self.blobs: dict[tuple[str, str], bytes] = {}
        self.credentials: list[str | None] = []

    def __call__(self, _method: str, _path: str, headers: dict[str, str], body: bytes) -> Answer:
        self.blobs["app", sha256(body)] = body
        self.credentials.append(headers.get("Authorization") or headers.get("Cookie"))
        return self.answer


def sending_on(registry: Answering, method: str, part: str, answer: Answer) -> Answering:
    """A registry that gives this answer to one kind of request after the login."""

    def answering(asked: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        usual = registry(asked, path, headers, body)
        return answer if usual[0] != 401 and asked == method and part in path else usual

    return answering


def moved(url: str, status: int = 307) -> Answer:
    return status, {"Location": url}, b""


def linked(url: str) -> Answer:
    """A page of a list with the address of the next page."""
    return 200, {"Link": f'<{url}>; rel="next"'}, b"{}"


@pytest.mark.usefixtures("me")
@pytest.mark.parametrize(("scheme", "accepted"), [("Basic", BASIC), ("Bearer", "Bearer let-me-in")])
def test_an_upload_to_another_host_carries_no_login(
    tmp_path: Path, scheme: str, accepted: str
) -> None:
    built, elsewhere, fake = write_layout(tmp_path), Elsewhere((201, {}, b"")), FakeRegistry()
    fake.blobs = elsewhere.blobs
    with serving(elsewhere) as (other, _):
        upload = moved(f"http://{other}/upload?state=1", 202)
        registry = sending_on(challenge(scheme, accepted, fake), "POST", "/uploads/", upload)
        with serving(registry) as (address, _):
            assert Registry(address).push_layout(tmp_path, f"{address}/app", "k1", no_line) == built
    assert elsewhere.blobs["app", sha256(b"a layer")] == b"a layer"
    assert elsewhere.credentials == [None, None]


@pytest.mark.usefixtures("me")
@pytest.mark.parametrize("status", [302, 307])
def test_a_download_follows_a_redirect_to_another_host_without_the_login(status: int) -> None:
    elsewhere = Elsewhere((200, {}, b"content"))
    with serving(elsewhere) as (other, seen):
        redirect = moved(f"http://{other}/store?signature=s", status)
        registry = sending_on(challenge("Basic", BASIC), "GET", "/blobs/", redirect)
        with serving(registry) as (address, _):
            client = Registry(address)
            assert client.blob(f"{address}/app", sha256(b"content")) == b"content"
    assert (seen, elsewhere.credentials) == (["GET /store?signature=s"], [None])


@pytest.mark.usefixtures("me")
def test_a_redirect_to_the_same_host_keeps_the_login() -> None:
    registry = sending_on(challenge("Basic", BASIC), "HEAD", "/k1", moved("/v2/app/manifests/k2"))
    with serving(registry) as (address, seen):
        assert ask(address) == ""
    assert seen[-1] == "HEAD /v2/app/manifests/k2"
    assert len(seen) == 3


def test_a_loop_of_redirects_is_an_error() -> None:
    with (
        serving(lambda *_: moved("/v2/app/manifests/k1")) as (address, seen),
        pytest.raises(RegistryError, match=r"cannot .*: too many redirects"),
    ):
        ask(address)
    assert len(seen) < 20


@pytest.mark.usefixtures("me")
@pytest.mark.parametrize(("how", "scheme"), [("Link", "Basic"), ("redirect", "Bearer")])
def test_another_host_that_asks_for_a_login_gets_none(how: str, scheme: str) -> None:
    elsewhere = Elsewhere()
    with serving(elsewhere) as (other, seen):
        asks = f'{scheme} realm="http://{other}/token",service="s"'
        elsewhere.answer = (401, {"WWW-Authenticate": asks}, b"")
        page = (linked if how == "Link" else moved)(f"http://{other}/next")
        message = f"{other}, which the registry names, answered 401"
        with (
            serving(sending_on(challenge("Basic", BASIC), "GET", "/tags/", page)) as (address, _),
            pytest.raises(RegistryError, match=message) as caught,
        ):
            Registry(address).tags(f"{address}/app")
    assert (seen, elsewhere.credentials) == (["GET /next"], [None])
    assert "is sent to no other host" in caught.value.hint


@pytest.mark.usefixtures("me")
@pytest.mark.parametrize(
    "registry", [challenge("Basic", BASIC), TokenRegistry()], ids=["Basic", "Bearer"]
)
@pytest.mark.parametrize(
    "link", ["http://{other}/v2/app/tags/list?n=1", "http://{other}\\@{own}/next"]
)
def test_neither_login_nor_token_nor_cookie_is_sent_to_another_host(
    registry: Answering, link: str
) -> None:
    elsewhere = Elsewhere()
    with serving(elsewhere) as (other, seen):

        def answering(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
            # Two parsers read the second link differently.
            status, more, content = linked(link.format(other=other, own=headers["Host"]))
            page = status, {**more, "Set-Cookie": "session=secret; Path=/"}, content
            return sending_on(registry, "GET", "/tags/", page)(method, path, headers, body)

        with serving(answering) as (address, asked):
            Registry(address).tags(f"{address}/app")
    assert len(seen) == 1
    assert elsewhere.credentials == [None]
    assert len([line for line in asked if line.startswith("GET /token")]) <= 1


def test_a_login_of_netrc_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("default login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    registry = Elsewhere((404, {}, b""))
    with serving(registry) as (address, _):
        ask(address)
    assert registry.credentials == [None]


@pytest.mark.usefixtures("me")
@pytest.mark.parametrize("how", ["upload", "Link", "redirect"])
def test_an_unencrypted_address_that_an_encrypted_registry_names_is_an_error(
    secure: Secure, how: str
) -> None:
    def push(client: Registry, repository: str) -> None:
        client.push_artifact(repository, Artifact("a/b", []), tag="k1")

    with serving(Elsewhere()) as (other, seen):
        url = f"http://{other}/x?signature=secret"
        method, ask, answer = {
            "upload": ("POST", push, moved(url, 202)),
            "Link": ("GET", Registry.tags, linked(url)),
            "redirect": ("GET", Registry.tags, moved(url)),
        }[how]
        with secure(sending_on(challenge("Basic", BASIC), method, "/app/", answer)) as (address, _):
            client, message = Registry(address), f"names http://{other}, which is not encrypted"
            with pytest.raises(RegistryError, match=message) as caught:
                ask(client, f"{address}/app")
    assert seen == []
    assert "secret" not in caught.value.message


def test_a_redirect_from_https_to_http_is_an_error(secure: Secure, authority: trustme.CA) -> None:
    with (
        serving(Elsewhere()) as (other, seen),
        secure(lambda *_: moved(f"http://{other}/")) as (encrypted, _),
        serving(lambda *_: moved(f"https://{encrypted}/")) as (address, _),
    ):
        authority.cert_pem.write_to_path(str(certificates(address) / "ca.crt"))
        with pytest.raises(RegistryError, match=f"names http://{other}, which is not encrypted"):
            ask(address)
    assert seen == []


@pytest.mark.usefixtures("me")
@pytest.mark.parametrize(
    "realm", ["http://tokens.test/token", "ftp://localhost/", "/token", "http://"]
)
def test_a_login_is_sent_only_to_a_token_service_that_is_encrypted_or_local(realm: str) -> None:
    answer = (401, {"WWW-Authenticate": f'Bearer realm="{realm}",service="s"'}, b"")
    with (
        serving(lambda *_: answer) as (address, seen),
        pytest.raises(RegistryError, match=r"the registry names .* for tokens"),
    ):
        ask(address)
    assert len(seen) == 1


@pytest.mark.parametrize("user", ["me", "<token>"])
@pytest.mark.parametrize("status", [302, 307])
def test_a_redirect_of_a_token_service_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: str, status: int
) -> None:
    helper(tmp_path, monkeypatch, user, "secret")
    with serving(Elsewhere()) as (other, seen):

        def answer(_method: str, path: str, headers: dict[str, str], _body: bytes) -> Answer:
            if path.startswith("/token"):
                return moved(f"http://{other}/token", status)
            return unauthorized(headers)

        with (
            serving(answer) as (address, _),
            pytest.raises(RegistryError, match="redirects the login to another address"),
        ):
            ask(address)
    assert seen == []


def test_docker_hub_has_another_host_for_its_api() -> None:
    assert base_url("docker.io/acme") == "https://index.docker.io"
    assert base_url("registry.test:5000/acme") == "https://registry.test:5000"
    assert base_url("localhost:5001/acme") == "http://localhost:5001"


def test_a_missing_login_is_an_error_before_a_push(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", "/nowhere")
    with serving(TokenRegistry()) as (address, seen):
        error = missing_login(address)
        assert error
        assert error.message.startswith(f"cannot push to the registry {address}: it asks for a log")
        assert error.hint.startswith(f"log in by `docker login {address}`, or set ")
        assert error.hint.endswith(": no login is known")
        assert seen == ["GET /v2/"]
        monkeypatch.setenv("DELIVERY_REGISTRY_USERNAME", "me")
        assert missing_login(address) is None
    monkeypatch.delenv("DELIVERY_REGISTRY_USERNAME")
    with serving(FakeRegistry()) as (address, _):
        assert missing_login(address) is None
    assert missing_login("localhost:1") is None


def test_a_refused_connection_is_an_error_with_the_systems_reason() -> None:
    message = r"cannot look for \S+: the registry does not answer: Connection refused$"
    with pytest.raises(RegistryError, match=message) as caught:
        Registry("localhost:1", pause=no_pause).digest("localhost:1/app", "k1")
    assert "`./run inv up` starts a local registry" in caught.value.hint
