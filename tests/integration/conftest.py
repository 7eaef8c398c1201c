"""Fixtures for tests on an engine."""

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import bcrypt
import pytest
import requests

from delivery.host import engines, upstreams
from delivery.host.docker_api import MANAGED, Engine
from delivery.platform import lifecycle
from delivery.project import files
from delivery.project.declaration import Declaration
from delivery.release.released import Release
from tests.integration.small import source_folders
from tests.ports import free_port
from tests.signals import with_default_signals

_INVOKE = (sys.executable, "-m", "delivery")


@pytest.fixture(scope="session", autouse=True)
def engine() -> Engine:
    """The engine of `inv up`, for the docker command line too."""
    running = engines.require()
    os.environ.update(running.environment)
    return running


@pytest.fixture(scope="session")
def project() -> Declaration:
    """The declaration of this repository."""
    return files.load_declaration()


@pytest.fixture(scope="session")
def released(project: Declaration) -> Release:
    """The release of the last `inv push`, which nox runs first."""
    release = lifecycle.released()
    assert release
    assert set(release.images) == set(project.images)
    return release


@contextmanager
def running_registry(
    engine: Engine,
    project: Declaration,
    environment: Mapping[str, str] | None = None,
    files: Path | None = None,
) -> Iterator[str]:
    """A registry at a free port for one test; the folder `files` is mounted at /files."""
    for file in files.iterdir() if files else ():
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
        volumes={str(files): {"bind": "/files", "mode": "ro"}} if files else {},
    )
    try:
        while not _listens(port):
            container.reload()
            assert container.status in {"created", "running"}, container.logs().decode()
        yield f"localhost:{port}"
    finally:
        container.kill()


def _listens(port: int) -> bool:
    """Whether a registry answers; with TLS it answers 400 over HTTP."""
    try:
        status = requests.get(f"http://localhost:{port}/v2/", timeout=5).status_code
    except requests.RequestException:
        time.sleep(0.05)
        return False
    return status in {200, 400, 401}


@pytest.fixture(scope="session")
def address(engine: Engine, project: Declaration) -> Iterator[str]:
    """A registry for the tests; each pushes to repositories of its own."""
    with running_registry(engine, project, {"REGISTRY_STORAGE_DELETE_ENABLED": "true"}) as address:
        yield address


@pytest.fixture(scope="module")
def locked(
    engine: Engine, project: Declaration, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A registry with the login me, secret."""
    folder = tmp_path_factory.mktemp("auth")
    (folder / "htpasswd").write_text(f"me:{bcrypt.hashpw(b'secret', bcrypt.gensalt(4)).decode()}\n")
    environment = {
        "REGISTRY_AUTH": "htpasswd",
        "REGISTRY_AUTH_HTPASSWD_REALM": "registry",
        "REGISTRY_AUTH_HTPASSWD_PATH": "/files/htpasswd",
    }
    with running_registry(engine, project, environment, folder) as address:
        yield address


@dataclass(frozen=True)
class Clone:
    """A second platform: a copy of the project with its own compose project, ports and registry."""

    folder: Path
    environment: Mapping[str, str]
    registry: str
    ports: Mapping[str, int]

    def inv(
        self, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a task in the copy."""
        return self._run([*_INVOKE, *arguments], environment or {})

    def interrupt(self, task: str, line: str) -> subprocess.CompletedProcess[str]:
        """Run a task and interrupt it when it prints a line that begins with this text."""
        printed = ""
        with subprocess.Popen(
            with_default_signals([*_INVOKE, task]),
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as running:
            for text in running.stdout or ():
                printed += text
                if text.startswith(line):
                    running.send_signal(signal.SIGINT)
                    break
            rest, errors = running.communicate(timeout=60)
        return subprocess.CompletedProcess(running.args, running.returncode, printed + rest, errors)

    def compose(self, *arguments: str) -> str:
        """Run docker compose on this platform with Prometheus; return the output."""
        files = (
            "--file=docker-compose.yaml",
            "--file=ops/docker-compose.apps.yaml",
            "--profile=monitoring",
        )
        done = self._run(["docker", "compose", *files, *arguments], {})
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def _run(
        self, argv: Sequence[str], environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            argv,
            cwd=self.folder,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )


@pytest.fixture(scope="session")
def clone(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """A second platform that is not started; removed after the tests."""
    # A path may be long and have spaces.
    folder = tmp_path_factory.mktemp("clone") / "a long path with several spaces in it" / "a clone"
    for name in (
        "tasks.py",
        "delivery.toml",
        "docker-compose.yaml",
        "ops/docker-compose.apps.yaml",
        "platform-chart",
        "ops/monitoring",
        *source_folders(),
    ):
        copy = shutil.copytree if (files.ROOT / name).is_dir() else shutil.copy2
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        copy(files.ROOT / name, folder / name)
    prometheus = folder / "ops" / "monitoring" / "prometheus.yaml"
    # For a shorter wait for measurements.
    prometheus.write_text(prometheus.read_text().replace("_interval: 5s", "_interval: 1s"))
    names = ("API_PORT", "KAFKA_PORT", "DATABASE_PORT", "PROMETHEUS_PORT")
    registry = f"localhost:{free_port()}"
    ports = {name: free_port() for name in names}
    environment = {
        **os.environ,
        **engine.environment,
        **{name: str(port) for name, port in ports.items()},
        "COMPOSE_PROJECT_NAME": f"delivery-test-{uuid.uuid4().hex[:8]}",
        "DELIVERY_REGISTRY": registry,
        "CI": "true",
        "PYTHONDONTWRITEBYTECODE": "",  # compile once for many tasks
    }
    made = Clone(folder, environment, registry, ports)
    try:
        yield made
    finally:
        down = made.inv("down", "--volumes", "--yes")
        assert down.returncode == 0, down.stderr + down.stdout


@dataclass(frozen=True)
class Platform(Clone):
    """The second platform, started."""

    interrupted: subprocess.CompletedProcess[str]  # the first `inv up`
    up: subprocess.CompletedProcess[str]


@pytest.fixture(scope="session")
def platform(engine: Engine, project: Declaration, clone: Clone) -> Platform:
    """The second platform with Prometheus. A test that stops something starts it again."""
    upstreams.ensure(engine, project, ["prometheus"])
    interrupted = clone.interrupt("up", "✓ registry")
    up = clone.inv("up", "--monitoring")
    assert up.returncode == 0, up.stderr + up.stdout
    return Platform(**vars(clone), interrupted=interrupted, up=up)
