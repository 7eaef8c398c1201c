"""Images, Kafka, the database, and containers with equal limits in one network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

__all__ = [
    "BenchError",
    "Container",
    "Images",
    "Stack",
    "build_twins",
    "docker",
    "need",
    "run",
    "stack",
]

ROOT = Path(__file__).parents[2]
PROJECT = "ledger-bench"
NETWORK = f"{PROJECT}_default"
LIMITS = ("--cpus", "1", "--memory", "256m")
DATABASE = {
    "DB_HOST": "database",
    "DB_DATABASE": "ledger",
    "DB_USERNAME": "ledger",
    "DB_PASSWORD": "ledger",
}
SURROUNDINGS = {"BROKER_URL": "kafka:19092", **DATABASE}
PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"


class BenchError(Exception):
    """A measurement that cannot be made, and why."""


@dataclass(frozen=True)
class Images:
    """The measured images, by reference."""

    base: str
    api_rest: str
    async_worker: str
    twins: str

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Images:
        """The images that the environment names, else those that the READMEs build."""
        return cls(
            base=environ.get("BASE_IMAGE", "base-image"),
            api_rest=environ.get("API_REST_IMAGE", "api-rest"),
            async_worker=environ.get("ASYNC_WORKER_IMAGE", "async-worker"),
            twins=f"{PROJECT}-twins",
        )


@dataclass
class Container:
    """A container under measurement."""

    name: str
    pid: int
    address: str

    def cpu_seconds(self) -> float:
        """The processor time of all its processes; the engine must run on this machine."""
        for line in (PROC / str(self.pid) / "cgroup").read_text(encoding="ascii").splitlines():
            _, controllers, path = line.split(":", 2)
            usage = CGROUPS / "cpuacct" / path.lstrip("/") / "cpuacct.usage"
            if "cpuacct" in controllers and usage.exists():
                return int(usage.read_text(encoding="ascii")) / 1e9
            stat = CGROUPS / path.lstrip("/") / "cpu.stat"
            if not controllers and stat.exists():
                lines = stat.read_text(encoding="ascii").splitlines()
                values = dict(line.split() for line in lines)
                if "usage_usec" in values:
                    return int(values["usage_usec"]) / 1e6
        raise BenchError(f"read the processor time of {self.name}: its cgroup is missing")


class Stack:
    """Kafka and the database, and the containers beside them."""

    def __init__(self, images: Images, *, kafka_port: int, database_port: int) -> None:
        self.images = images
        self.kafka_port = kafka_port
        self.database_port = database_port

    @contextmanager
    def running(
        self,
        name: str,
        image: str,
        *command: str,
        env: Mapping[str, str] | None = None,
    ) -> Iterator[Container]:
        """Run a container and remove it afterwards."""
        self.create(name, image, *command, env=env)
        try:
            docker("start", _named(name))
            yield self.inspect(name)
        finally:
            self.remove(name)

    def create(
        self, name: str, image: str, *command: str, env: Mapping[str, str] | None = None
    ) -> None:
        """Create a container, not started yet."""
        self.remove(name)
        variables = [
            f"--env={key}={value}" for key, value in {**SURROUNDINGS, **(env or {})}.items()
        ]
        hardening = [
            "--read-only",
            "--tmpfs=/tmp",
            "--cap-drop=ALL",
            "--security-opt=no-new-privileges:true",
        ]
        logs = ["--log-opt=max-size=10m", "--log-opt=max-file=2"]
        options = [f"--network={NETWORK}", *LIMITS, *hardening, *logs, *variables]
        docker("create", f"--name={_named(name)}", *options, image, *command)

    def start(self, name: str) -> None:
        """Start a created container."""
        docker("start", _named(name))

    def remove(self, name: str) -> None:
        """Remove a container, if it exists."""
        docker("rm", "--force", "--volumes", _named(name))

    def inspect(self, name: str) -> Container:
        """A running container."""
        (container,) = json.loads(docker("inspect", _named(name)))
        networks, state = container["NetworkSettings"]["Networks"], container["State"]
        if not state["Running"]:
            raise BenchError(f"run {name}: it stopped. Its last lines:\n{self.logs(name)}")
        return Container(name, state["Pid"], networks[NETWORK]["IPAddress"])

    def logs(self, name: str) -> str:
        """The last lines of a container."""
        argv = ["docker", "logs", "--tail", "15", _named(name)]
        return subprocess.run(
            argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        ).stdout

    def dependency(self, service: str) -> Container:
        """The container of Kafka or the database."""
        return self.inspect(f"{service}-1")


@contextmanager
def stack(images: Images, *, kafka_port: int, database_port: int) -> Iterator[Stack]:
    """Start Kafka and the database, and remove them with all their data."""
    variables = {
        "COMPOSE_PROJECT_NAME": PROJECT,
        "KAFKA_PORT": str(kafka_port),
        "DATABASE_PORT": str(database_port),
    }
    compose = [
        "docker",
        "compose",
        "--ansi",
        "never",
        "--progress",
        "quiet",
        "--file",
        str(ROOT / "docker-compose.yaml"),
    ]
    down = [*compose, "down", "--volumes", "--remove-orphans"]
    try:
        run(*down, env=variables)  # the rest of an interrupted run
        run(*compose, "up", "--detach", "--wait", env=variables)
        yield Stack(images, kafka_port=kafka_port, database_port=database_port)
    finally:
        run(*down, env=variables)


def build_twins(images: Images) -> None:
    """Build the twins on the same base image."""
    bundle = os.environ.get("BUILD_CA", BUNDLE)
    secret = [f"--secret=id=build-ca,src={bundle}"] if Path(bundle).exists() else []
    contexts = [
        f"--build-context=locks={ROOT / 'ops' / 'locks'}",
        f"--build-arg=BASE_IMAGE={images.base}",
    ]
    docker(
        "build",
        "--quiet",
        *secret,
        *contexts,
        f"--tag={images.twins}",
        str(ROOT / "ops" / "bench" / "twins"),
    )


def need(tools: Mapping[str, str], modules: Sequence[str] = ()) -> None:
    """Raise BenchError unless these tools and modules are installed.

    `tools` maps each tool to its Debian package.
    """
    missing = {tool: package for tool, package in tools.items() if shutil.which(tool) is None}
    if missing:
        raise BenchError(
            f"find {', '.join(missing)}; on Debian: apt-get install {' '.join(missing.values())}"
        )
    absent = [module for module in modules if find_spec(module) is None]
    if absent:
        raise BenchError(f"import {', '.join(absent)}; run `./run nox -s bench`, which has them")


def docker(*arguments: str) -> str:
    """The output of a docker command."""
    return run("docker", *arguments)


def run(*argv: str, env: Mapping[str, str] | None = None) -> str:
    """The output of a command; raise BenchError with the end of its errors if it fails."""
    done = subprocess.run(
        argv, capture_output=True, text=True, check=False, env={**os.environ, **(env or {})}
    )
    if done.returncode:
        raise BenchError(
            f"{' '.join(argv[:3])}: exit {done.returncode}: {done.stderr.strip()[-800:]}"
        )
    return done.stdout


def _named(name: str) -> str:
    return f"{PROJECT}-{name}"
