"""What the tests on the real engine share."""

import contextlib
import os
import random
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import bcrypt
import pytest
import requests

from delivery.core.declaration import Declaration
from delivery.steps import engine as engines
from delivery.tools import files
from delivery.tools.engine import MANAGED, Engine


@pytest.fixture(scope="session", autouse=True)
def engine() -> Engine:
    """The engine that `inv up` would use, for the docker command line too; no test here could do without one."""
    found = engines.require()
    os.environ.update(found.environment)
    return found


@pytest.fixture(scope="session")
def project() -> Declaration:
    """The declaration of this very project."""
    return files.load_declaration()


def free_port() -> int:
    """A port that nobody listens on, below those that the kernel gives to connections: one of those may be taken again."""
    while True:
        port = random.randrange(20_000, 30_000)  # noqa: S311  # guards nothing
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@contextmanager
def running_registry(
    engine: Engine, project: Declaration, environment: Mapping[str, str] | None = None, told: Path | None = None
) -> Iterator[str]:
    """A registry of this test's own, at a free port; what it is told besides is in a folder, at /told in it."""
    for file in told.iterdir() if told else ():
        file.chmod(0o644)
        file.parent.chmod(0o755)
    port = free_port()
    container = engine.client.containers.run(
        project.upstream["registry"].image,
        detach=True,
        remove=True,
        labels={MANAGED: "true"},
        ports={"5000/tcp": ("127.0.0.1", port)},
        environment=dict(environment or {}),
        volumes={str(told): {"bind": "/told", "mode": "ro"}} if told else {},
    )
    try:
        while not _listens(port):
            container.reload()
            assert container.status in {"created", "running"}, container.logs().decode()
        yield f"localhost:{port}"
    finally:
        container.kill()


def _listens(port: int) -> bool:
    """Whether it answers at all; one that wants TLS says so to who speaks plainly."""
    try:
        return requests.get(f"http://localhost:{port}/v2/", timeout=5).status_code in {200, 400, 401}
    except requests.RequestException:
        time.sleep(0.05)
        return False


@pytest.fixture(scope="module")
def locked(engine: Engine, project: Declaration, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry that wants a login: me, secret."""
    folder = tmp_path_factory.mktemp("auth")
    (folder / "htpasswd").write_text(f"me:{bcrypt.hashpw(b'secret', bcrypt.gensalt(4)).decode()}\n")
    environment = {
        "REGISTRY_AUTH": "htpasswd",
        "REGISTRY_AUTH_HTPASSWD_REALM": "registry",
        "REGISTRY_AUTH_HTPASSWD_PATH": "/told/htpasswd",
    }
    with running_registry(engine, project, environment, folder) as address:
        yield address


@dataclass
class Clone:
    """A second platform: a copy of the project elsewhere, with a compose project, ports and a registry of its own."""

    folder: Path
    environment: dict[str, str]
    registry: str
    ports: dict[str, int]

    def inv(self, *arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run a task as a user would, in the copy."""
        return subprocess.run(
            self.argv(*arguments),
            cwd=self.folder,
            env={**self.environment, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )

    @staticmethod
    def argv(*arguments: str) -> list[str]:
        """The command line of a task."""
        return [sys.executable, "-m", "invoke", *arguments]


@pytest.fixture(scope="module")
def clone(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """A second platform, gone again when the module's tests are done."""
    folder = tmp_path_factory.mktemp("clone") / "another-place"
    folders = ["delivery", "base-image", "api-rest", "async-worker", "platform-chart", "upstream"]
    for name in ("tasks.py", "delivery.toml", "docker-compose.yaml", "docker-compose.apps.yaml", *folders):
        copy = shutil.copytree if (files.ROOT / name).is_dir() else shutil.copy2
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        copy(files.ROOT / name, folder / name)
    ports = {name: free_port() for name in ("API_PORT", "KAFKA_PORT", "DATABASE_PORT", "REGISTRY_PORT")}
    registry = f"localhost:{ports.pop('REGISTRY_PORT')}"
    environment = {
        **os.environ,
        **engine.environment,
        **{name: str(port) for name, port in ports.items()},
        "COMPOSE_PROJECT_NAME": f"delivery-test-{uuid.uuid4().hex[:8]}",
        "DELIVERY_REGISTRY": registry,
        "CI": "true",
    }
    made = Clone(folder, environment, registry, ports)
    try:
        yield made
    finally:
        made.inv("down", "--volumes")
