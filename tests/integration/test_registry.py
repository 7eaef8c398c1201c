"""Pushes to a real registry, also with faults before it."""

from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest
import requests

from delivery.core.declaration import Declaration
from delivery.core.errors import EngineError, RegistryError
from delivery.tools.engine import MANAGED, Engine
from delivery.tools.registry import Registry, answers
from tests.integration.conftest import free_port
from tests.registries import failing, forward_to, serving, write_layout

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def address(engine: Engine, project: Declaration) -> Iterator[str]:
    yield from _registry(engine, project, {})


@pytest.fixture(scope="module")
def locked(engine: Engine, project: Declaration, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry that wants a login."""
    users = tmp_path_factory.mktemp("auth") / "htpasswd"
    users.write_text(f"me:{bcrypt.hashpw(b'secret', bcrypt.gensalt(4)).decode()}\n")
    users.chmod(0o644)
    users.parent.chmod(0o755)
    environment = {
        "REGISTRY_AUTH": "htpasswd",
        "REGISTRY_AUTH_HTPASSWD_REALM": "registry",
        "REGISTRY_AUTH_HTPASSWD_PATH": "/auth/htpasswd",
    }
    yield from _registry(engine, project, environment, users.parent)


def _registry(
    engine: Engine, project: Declaration, environment: dict[str, str], users: Path | None = None
) -> Iterator[str]:
    port = free_port()
    container = engine.client.containers.run(
        project.upstream["registry"].image,
        detach=True,
        remove=True,
        labels={MANAGED: "true"},
        ports={"5000/tcp": ("127.0.0.1", port)},
        environment=environment,
        volumes={str(users): {"bind": "/auth", "mode": "ro"}} if users else {},
    )
    try:
        while not answers(f"localhost:{port}"):
            container.reload()
            assert container.status in {"created", "running"}, container.logs().decode()
        yield f"localhost:{port}"
    finally:
        container.kill()


def no_line(_text: str) -> None:
    pass


def held(address: str, repository: str, tag: str) -> str:
    """The digest that the registry itself gives for a tag."""
    answer = requests.head(
        f"http://{address}/v2/{repository}/manifests/{tag}",
        headers={"Accept": "application/vnd.oci.image.manifest.v1+json"},
        timeout=10,
    )
    return answer.headers["Docker-Content-Digest"]


def test_the_registry_holds_what_was_pushed(address: str, tmp_path: Path) -> None:
    built = write_layout(tmp_path)
    assert Registry(address).push_layout(tmp_path, f"{address}/whole", "k1", no_line) == built
    assert held(address, "whole", "k1") == built
    assert Registry(address).digest(f"{address}/whole", "k1") == built


def test_what_was_never_pushed_is_not_there(address: str) -> None:
    assert Registry(address).digest(f"{address}/nothing", "k1") == ""


@pytest.mark.parametrize(
    ("method", "part"), [("POST", "/uploads/"), ("PUT", "/uploads/"), ("PUT", "/manifests/"), ("GET", "/manifests/")]
)
def test_two_server_errors_are_waited_out(address: str, tmp_path: Path, method: str, part: str) -> None:
    built = write_layout(tmp_path, f"{method} {part}".encode())
    fault = failing(2, method, part, (503, {}, b"come back later"))
    with serving(forward_to(f"http://{address}"), fault) as (proxy, seen):
        assert Registry(proxy).push_layout(tmp_path, f"{proxy}/patient", "k1", no_line) == built
    assert len([line for line in seen if line.startswith(method) and part in line]) >= 3
    assert held(address, "patient", "k1") == built


def test_a_manifest_that_does_not_stay_is_caught(address: str, tmp_path: Path) -> None:
    write_layout(tmp_path, b"swallowed")
    fault = failing(1, "PUT", "/manifests/", (201, {}, b""))  # says yes, keeps nothing
    with (
        serving(forward_to(f"http://{address}"), fault) as (proxy, _),
        pytest.raises(RegistryError, match=r"read back .* answered 404"),
    ):
        Registry(proxy).push_layout(tmp_path, f"{proxy}/swallowed", "k1", no_line)


def test_a_registry_that_wants_a_login_gets_one(locked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = write_layout(tmp_path)
    with pytest.raises(RegistryError, match="the registry answered 401") as caught:
        Registry(locked).push_layout(tmp_path, f"{locked}/app", "k1", no_line)
    assert caught.value.hint.startswith(f"there is no login for {locked}: `docker login {locked}`")
    monkeypatch.setenv("DELIVERY_REGISTRY_USERNAME", "me")
    monkeypatch.setenv("DELIVERY_REGISTRY_PASSWORD", "secret")
    assert Registry(locked).push_layout(tmp_path, f"{locked}/app", "k1", no_line) == built


def test_an_engines_push_gives_the_digest_that_the_registry_holds(
    engine: Engine, project: Declaration, address: str
) -> None:
    reference = f"{address}/by-engine:k1"
    engine.client.images.get(project.upstream["registry"].image).tag(reference)
    try:
        digest = engine.push(reference, no_line)
        Registry(address).verify(f"{address}/by-engine", "k1", digest)
    finally:
        engine.client.images.remove(reference)


def test_an_engines_push_that_is_refused_is_an_error(engine: Engine, project: Declaration, locked: str) -> None:
    reference = f"{locked}/refused:k1"
    engine.client.images.get(project.upstream["registry"].image).tag(reference)
    try:
        with pytest.raises(RegistryError, match=f"push {reference}: "):
            engine.push(reference, no_line)
    finally:
        engine.client.images.remove(reference)


def test_an_engine_pushes_and_pulls_with_the_login_it_is_given(
    engine: Engine, project: Declaration, locked: str
) -> None:
    reference = f"{locked}/with-login:k1"
    engine.client.images.get(project.upstream["registry"].image).tag(reference)
    digest = engine.push(reference, no_line, login=("me", "secret"))
    engine.client.images.remove(reference)
    pinned = f"{locked}/with-login@{digest}"
    with pytest.raises((RegistryError, EngineError), match=f"pull {pinned}: "):
        engine.pull(pinned, no_line)
    engine.pull(pinned, no_line, login=("me", "secret"))
    engine.client.images.remove(pinned)
