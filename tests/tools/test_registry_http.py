"""Logins, certificates and counts are the same whatever is asked of a registry."""

import base64
import json
import os
import re
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import trustme

from delivery.core.errors import RegistryError
from delivery.tools.registry import Registry, answers, is_local, login
from tests.registries import Answer, FullRegistry, MemoryRegistry, failing, serving, sha256, write_layout

BASIC = f"Basic {base64.b64encode(b'me:secret').decode()}"


def no_line(_text: str) -> None:
    pass


def no_pause(_seconds: float) -> None:
    pass


class TokenRegistry(FullRegistry):
    """A registry that wants tokens, hands them out at /token, and lets each be used so many times."""

    uses = 10**6

    def __init__(self) -> None:
        super().__init__()
        self.scopes: list[list[str]] = []
        self.left: dict[str, int] = {}
        self.token_answers: list[Answer] = []

    def __call__(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        if path.startswith("/token"):
            return self._hand_out(path, headers)
        token = headers.get("Authorization", "").removeprefix("Bearer ")
        if not self.left.get(token) or not self._covers(token, method, path):
            return 401, {"WWW-Authenticate": f'Bearer realm="http://{headers["Host"]}/token",service="s"'}, b""
        self.left[token] -= 1
        return super().__call__(method, path, headers, body)

    def _hand_out(self, path: str, headers: dict[str, str]) -> Answer:
        if self.token_answers:
            return self.token_answers.pop(0)
        if headers.get("Authorization") != BASIC:
            return 401, {}, b""
        asked = parse_qs(urlsplit(path).query)
        self.scopes.append(asked["scope"])
        token = f"{len(self.scopes)}|{' '.join(asked['scope'])}"
        self.left[token] = self.uses
        return 200, {}, f'{{"token": "{token}"}}'.encode()

    def _covers(self, token: str, method: str, path: str) -> bool:
        repository = re.split("/(?:manifests|blobs|tags|referrers)/", path.removeprefix("/v2/"))[0]
        action = {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}.get(method, "push")
        given = [scope for scope in token.partition("|")[2].split() if scope.startswith(f"repository:{repository}:")]
        return any(action in scope.rpartition(":")[2].split(",") for scope in given)


@pytest.fixture
def me(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DELIVERY_REGISTRY_USERNAME", "me")
    monkeypatch.setenv("DELIVERY_REGISTRY_PASSWORD", "secret")


def challenge(scheme: str, accepted: str) -> Callable[[str, str, dict[str, str], bytes], Answer]:
    """A registry that wants this Authorization, says so in this scheme, and hands out tokens at /token."""
    memory = MemoryRegistry()

    def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        if path.startswith("/token"):
            good = headers.get("Authorization") == BASIC
            return (200, {}, b'{"token": "let-me-in"}') if good else (401, {}, b"")
        if headers.get("Authorization") != accepted:
            realm = f'realm="http://{headers["Host"]}/token",service="s"'
            return 401, {"WWW-Authenticate": f"{scheme} {realm}"}, b""
        return memory(method, path, headers, body)

    return answer


@pytest.mark.usefixtures("me")
@pytest.mark.parametrize(("scheme", "accepted"), [("Basic", BASIC), ("Bearer", "Bearer let-me-in")])
def test_logs_in_as_the_registry_asks(tmp_path: Path, scheme: str, accepted: str) -> None:
    built = write_layout(tmp_path)
    with serving(challenge(scheme, accepted)) as (address, _):
        assert Registry(address).push_layout(tmp_path, f"{address}/app", "k1", no_line) == built


@pytest.mark.parametrize("scheme", ["Basic", "Bearer"])
def test_a_wrong_login_is_said_to_be_wrong_at_once(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    monkeypatch.setenv("DELIVERY_REGISTRY_USERNAME", "me")
    monkeypatch.setenv("DELIVERY_REGISTRY_PASSWORD", "guess")
    with serving(challenge(scheme, "another")) as (address, seen), pytest.raises(RegistryError) as caught:
        Registry(address).digest(f"{address}/app", "k1")
    assert caught.value.hint.startswith(f"the login for {address} is wrong: `docker login")
    assert len(seen) == 2


@pytest.mark.usefixtures("me")
def test_asks_for_no_more_than_it_needs(tmp_path: Path) -> None:
    digest = write_layout(tmp_path)
    registry = TokenRegistry()
    with serving(registry) as (address, _):
        client = Registry(address)
        client.digest(f"{address}/app", "k1")
        client.push_layout(tmp_path, f"{address}/app", "k1", no_line)
        client.delete(f"{address}/app", digest)
        client.push_layout(tmp_path, f"{address}/other", "k1", no_line, mount_from=[f"{address}/app"])
    assert registry.scopes == [
        ["repository:app:pull"],
        ["repository:app:pull,push"],
        ["repository:app:pull,push,delete"],
        ["repository:other:pull"],
        ["repository:app:pull", "repository:other:pull,push"],
    ]


@pytest.mark.usefixtures("me")
def test_once_it_knows_where_tokens_come_from_it_is_not_turned_away_again() -> None:
    with serving(TokenRegistry()) as (address, seen):
        client = Registry(address)
        for name in ("one", "two"):
            client.digest(f"{address}/{name}", "k1")
    assert [line.partition("?")[0] for line in seen] == [
        "HEAD /v2/one/manifests/k1",
        "GET /token",
        "HEAD /v2/one/manifests/k1",
        "GET /token",
        "HEAD /v2/two/manifests/k1",
    ]


@pytest.mark.usefixtures("me")
def test_a_token_that_runs_out_in_the_middle_of_a_push_is_renewed(tmp_path: Path) -> None:
    built = write_layout(tmp_path)
    registry = TokenRegistry()
    registry.uses = 2
    with serving(registry) as (address, _):
        assert Registry(address).push_layout(tmp_path, f"{address}/app", "k1", no_line) == built
    assert len(registry.scopes) >= 3


@pytest.mark.usefixtures("me")
def test_a_token_that_has_run_out_is_not_shown_again() -> None:
    registry = TokenRegistry()
    with serving(registry) as (address, seen):
        client = Registry(address)
        client.delete(f"{address}/app", sha256(b"gone"))  # its token would do for everything
        registry.left = {}
        seen.clear()
        assert client.digest(f"{address}/app", "k1") == client.digest(f"{address}/app", "k2") == ""
    assert [line.split()[0] for line in seen] == ["HEAD", "GET", "HEAD", "HEAD"]


def test_a_wrong_password_is_shown_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DELIVERY_REGISTRY_USERNAME", "me")
    monkeypatch.setenv("DELIVERY_REGISTRY_PASSWORD", "guess")
    with serving(challenge("Basic", "another")) as (address, seen):
        client = Registry(address)
        for requests in (2, 3):
            with pytest.raises(RegistryError, match="answered 401"):
                client.digest(f"{address}/app", "k1")
            assert len(seen) == requests


@pytest.mark.usefixtures("me")
def test_tokens_that_never_work_are_not_asked_for_endlessly() -> None:
    registry = TokenRegistry()
    registry.uses = 0
    with serving(registry) as (address, seen), pytest.raises(RegistryError, match="answered 401"):
        Registry(address).digest(f"{address}/app", "k1")
    assert len(seen) == 3


@pytest.mark.usefixtures("me")
def test_a_token_service_that_is_busy_is_not_taken_for_a_wrong_login() -> None:
    registry = TokenRegistry()
    registry.token_answers = [(503, {}, b""), (429, {"Retry-After": "3"}, b"")]
    pauses: list[float] = []
    with serving(registry) as (address, _):
        assert Registry(address, pause=pauses.append).digest(f"{address}/app", "k1") == ""
    assert len(pauses) == 2
    assert pauses[1] >= 3


@pytest.mark.usefixtures("me")
@pytest.mark.parametrize("answer", [b"<html>", b"[]", b"{}"])
def test_a_token_service_that_gives_no_token_is_a_refusal(answer: bytes) -> None:
    registry = TokenRegistry()
    registry.token_answers = [(200, {}, answer)]
    with serving(registry) as (address, _), pytest.raises(RegistryError, match="answered 401"):
        Registry(address).digest(f"{address}/app", "k1")


def helper(folder: Path, monkeypatch: pytest.MonkeyPatch, user: str, secret: str) -> None:
    """A Docker config whose logins are kept by a helper, which knows this one."""
    program = folder / "docker-credential-house"
    program.write_text(f"""#!/bin/sh\necho '{{"ServerURL": "", "Username": "{user}", "Secret": "{secret}"}}'\n""")
    program.chmod(0o755)
    (folder / "config.json").write_text('{"credsStore": "house"}')
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def test_takes_logins_from_dockers_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    assert login("registry.test/team") is None
    auth = base64.b64encode(b"me:secret").decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {"registry.test": {"auth": auth}, "other.test": {}}}))
    assert login("registry.test/team") == ("me", "secret")
    assert login("other.test") is None


def test_takes_logins_from_dockers_helpers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper(tmp_path, monkeypatch, "me", "secret")
    assert login("registry.test/team") == ("me", "secret")


def test_a_config_that_cannot_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper(tmp_path, monkeypatch, "me", "secret")
    (tmp_path / "docker-credential-house").write_text("#!/bin/sh\necho oh no; exit 1\n")
    with pytest.raises(RegistryError, match=r"read the login for registry\.test from the Docker config"):
        login("registry.test/team")


@pytest.mark.parametrize("kept", ["config", "helper"])
def test_an_identity_token_is_changed_for_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: str) -> None:
    told: list[dict[str, list[str]]] = []

    def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        if path == "/token":
            told.append(parse_qs(body.decode()))
            return 200, {}, b'{"access_token": "let-me-in"}'
        if headers.get("Authorization") != "Bearer let-me-in":
            return 401, {"WWW-Authenticate": f'Bearer realm="http://{headers["Host"]}/token",service="s"'}, b""
        return MemoryRegistry()(method, path, headers, body)

    with serving(answer) as (address, _):
        helper(tmp_path, monkeypatch, "<token>", "identity")
        if kept == "config":
            config = {"auths": {address: {"auth": "", "identitytoken": "identity"}}}
            (tmp_path / "config.json").write_text(json.dumps(config))
        assert Registry(address).digest(f"{address}/app", "k1") == ""
    assert told == [
        {
            "grant_type": ["refresh_token"],
            "refresh_token": ["identity"],
            "service": ["s"],
            "scope": ["repository:app:pull"],
            "client_id": ["delivery-platform"],
        }
    ]


def test_is_left_alone_for_as_long_as_it_says() -> None:
    pauses: list[float] = []
    fault = failing(1, "HEAD", "/manifests/", (429, {"Retry-After": "7"}, b""))
    with serving(FullRegistry(), fault) as (address, _):
        Registry(address, pause=pauses.append).digest(f"{address}/app", "k1")
    assert 7.0 <= pauses[0] <= 10.5


def test_counts_what_goes_over_the_wire(tmp_path: Path) -> None:
    write_layout(tmp_path, b"x" * 5000)
    with serving(FullRegistry()) as (address, seen):
        client = Registry(address)
        client.push_layout(tmp_path, f"{address}/app", "k1", no_line)
        assert client.requests == len(seen)
        held = client.fetch(f"{address}/app", "k1")
        manifest = len(held.content) if held else 0
        assert client.sent == 5000 + len(b'{"architecture":"amd64","os":"linux"}') + manifest
        assert client.received == 2 * manifest


def test_redirects_are_counted() -> None:
    moved = failing(1, "GET", "/manifests/k1", (307, {"Location": "/v2/app/manifests/k2"}, b""))
    with serving(FullRegistry(), moved) as (address, seen):
        client = Registry(address)
        assert client.fetch(f"{address}/app", "k1") is None
        assert client.requests == len(seen) == 2


def test_one_that_takes_a_breath_in_the_middle_of_an_upload_is_waited_for(tmp_path: Path) -> None:
    def breath(method: str, path: str) -> None:
        if method == "PUT" and "/uploads/" in path:
            time.sleep(0.6)

    built = write_layout(tmp_path, b"x" * 20_000_000)  # more than the machine holds for the two of them
    with serving(FullRegistry(), breath) as (address, seen):
        client = Registry(address, pause=no_pause, timeout=(0.3, 10))
        assert client.push_layout(tmp_path, f"{address}/app", "k1", no_line) == built
    assert len([line for line in seen if line.startswith("PUT /v2/app/blobs")]) == 2


def test_one_that_is_not_there_is_an_error() -> None:
    client = Registry("localhost:1", pause=no_pause)
    with pytest.raises(RegistryError, match="does not answer"):
        client.digest("localhost:1/app", "k1")
    assert not answers("localhost:1")


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


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secure(authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    """Serve over TLS at registry.test, which leads here; the user's home is empty."""
    look_up = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *more, **options: look_up("127.0.0.1" if host == "registry.test" else host, *more, **options),
    )
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)

    def serve(answer: Callable[[str, str, dict[str, str], bytes], Answer], *, clients: bool = False) -> Any:  # noqa: ANN401  # a context manager
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("registry.test").configure_cert(context)
        if clients:
            context.verify_mode = ssl.CERT_REQUIRED
            authority.configure_trust(context)
        return serving(answer, tls=context)

    return serve


def certificates(address: str) -> Path:
    folder = Path.home() / ".docker" / "certs.d" / address
    folder.mkdir(parents=True)
    return folder


def test_a_certificate_of_an_unknown_authority_is_not_trusted_and_it_says_what_to_do(
    secure: Callable[..., Any],
) -> None:
    with serving(FullRegistry()), secure(FullRegistry()) as (local, seen):
        address = local.replace("localhost", "registry.test")
        with pytest.raises(RegistryError, match="certificate is not trusted") as caught:
            Registry(address, pause=no_pause).digest(f"{address}/app", "k1")
        assert not answers(address)
    assert f"/etc/docker/certs.d/{address}/ca.crt" in caught.value.hint
    assert not seen


def test_trusts_the_authorities_that_docker_is_told_to(secure: Callable[..., Any], authority: trustme.CA) -> None:
    with secure(FullRegistry()) as (local, _):
        address = local.replace("localhost", "registry.test")
        authority.cert_pem.write_to_path(str(certificates(address) / "ca.crt"))
        assert answers(address)
        assert Registry(address).digest(f"{address}/app", "k1") == ""


def test_those_are_for_one_registry_alone(secure: Callable[..., Any], authority: trustme.CA) -> None:
    with secure(FullRegistry()) as (local, _):
        address = local.replace("localhost", "registry.test")
        authority.cert_pem.write_to_path(str(certificates("registry.test:1") / "ca.crt"))
        with pytest.raises(RegistryError, match="certificate is not trusted"):
            Registry(address, pause=no_pause).digest(f"{address}/app", "k1")


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_trusts_the_bundle_of_the_environment_beside_them(
    secure: Callable[..., Any], authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    bundle = tmp_path / "bundle.pem"
    authority.cert_pem.write_to_path(str(bundle))
    monkeypatch.setenv(variable, str(bundle))
    with secure(FullRegistry()) as (local, _):
        address = local.replace("localhost", "registry.test")
        trustme.CA().cert_pem.write_to_path(str(certificates(address) / "ca.crt"))
        assert Registry(address).digest(f"{address}/app", "k1") == ""


def test_shows_the_certificate_that_a_registry_wants_of_its_clients(
    secure: Callable[..., Any], authority: trustme.CA
) -> None:
    with secure(FullRegistry(), clients=True) as (local, _):
        address = local.replace("localhost", "registry.test")
        folder = certificates(address)
        authority.cert_pem.write_to_path(str(folder / "ca.crt"))
        with pytest.raises(RegistryError, match="does not answer"):
            Registry(address, pause=no_pause).digest(f"{address}/app", "k1")
        mine = authority.issue_cert("me@example.com")
        mine.cert_chain_pems[0].write_to_path(str(folder / "client.cert"))
        mine.private_key_pem.write_to_path(str(folder / "client.key"))
        assert Registry(address).digest(f"{address}/app", "k1") == ""


@pytest.mark.usefixtures("secure")
def test_a_certificate_that_is_none_is_an_error_that_names_the_file() -> None:
    file = certificates("registry.test:1") / "ca.crt"
    file.write_text("not PEM")
    with pytest.raises(RegistryError, match=rf"read {file}: "):
        Registry("registry.test:1")


@pytest.mark.usefixtures("me")
def test_a_password_is_not_sent_unencrypted_on_behalf_of_an_encrypted_registry(
    secure: Callable[..., Any], authority: trustme.CA
) -> None:
    with secure(TokenRegistry()) as (local, seen):
        address = local.replace("localhost", "registry.test")
        authority.cert_pem.write_to_path(str(certificates(address) / "ca.crt"))
        with pytest.raises(RegistryError, match="not encrypted"):
            Registry(address, pause=no_pause).digest(f"{address}/app", "k1")
    assert len(seen) == 1


@pytest.mark.usefixtures("me")
def test_docker_hub_is_asked_where_it_is(
    authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    registry = TokenRegistry()

    def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        status, headers_back, content = registry(method, path, headers, body)
        if "WWW-Authenticate" in headers_back:
            challenge = 'Bearer realm="https://auth.docker.io/token",service="registry.docker.io"'
            return status, {"WWW-Authenticate": challenge}, content
        hosts.append(f"{method} {headers['Host']}{path}")
        return status, headers_back, content

    hosts: list[str] = []
    look_up = socket.getaddrinfo
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("index.docker.io", "auth.docker.io").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "bundle.pem"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "bundle.pem"))
    monkeypatch.setenv("NO_PROXY", "*")
    with serving(answer, tls=context) as (local, _):
        port = int(local.rpartition(":")[2])
        monkeypatch.setattr(socket, "getaddrinfo", lambda _host, _port, *more: look_up("127.0.0.1", port, *more))
        assert Registry("docker.io/acme").digest("docker.io/acme/api-rest", "k1") == ""
    assert hosts == [
        "GET auth.docker.io/token?service=registry.docker.io&scope=repository%3Aacme%2Fapi-rest%3Apull",
        "HEAD index.docker.io/v2/acme/api-rest/manifests/k1",
    ]
