"""The deployed platform, and the checkout that deployed it."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

from delivery.process import csv_line
from delivery.project.files import ROOT
from tests.commands import output
from tests.e2e.cluster import Cluster, Pod

__all__ = [
    "API",
    "CONTEXT",
    "DATABASE",
    "DEPLOY",
    "KAFKA",
    "WORKER",
    "Authority",
    "Checkout",
    "Client",
    "Platform",
    "copy_checkout",
    "output_of",
    "raise_limits",
]

DEPLOY = ["deploy", "--environment", "local", "--platform", "kubernetes", "--yes"]
API, WORKER, KAFKA, DATABASE = "api-rest", "async-worker", "kafka", "database"
NAME = "delivery-e2e"
CONTEXT = f"kind-{NAME}"
# What the copy declares instead: a cluster beside the user's, with other subnets.
DECLARED = {
    'name = "delivery-platform"': f'name = "{NAME}"',
    'pods = "198.18.0.0/17"': 'pods = "198.19.0.0/17"',
    'services = "198.18.128.0/17"': 'services = "198.19.128.0/17"',
}
# Prints the serial numbers of the certificates of some addresses, verified with the tests' CA.
_SERIALS = """
import socket, ssl, sys
context = ssl.create_default_context(cafile="/e2e/ca.crt")
for address in sys.argv[2:]:
    with socket.create_connection((address, 8443), timeout=5) as plain:
        with context.wrap_socket(plain, server_hostname=sys.argv[1]) as secure:
            print(secure.getpeercert()["serialNumber"])
"""


@dataclass(frozen=True)
class Checkout:
    """A copy of the project with a cluster of its own."""

    folder: Path
    environment: Mapping[str, str]

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig of the cluster, not the user's."""
        return Path(self.environment["KUBECONFIG"])

    def inv(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a task; its output has both streams, as in a terminal."""
        return subprocess.run(
            [sys.executable, "-m", "delivery", *arguments],
            cwd=self.folder,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=3600,  # a busy machine compiles the node image for half of it
            check=False,
        )

    def docker(self, *arguments: str) -> str:
        """Run docker on the engine of the cluster; return the output."""
        return output(["docker", *arguments], environment=self.environment)


def copy_checkout(folder: Path, environment: Mapping[str, str]) -> Checkout:
    """Copy the project's files, tracked or not ignored, and declare another cluster."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in filter(None, output(listed, folder=ROOT).split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    declaration = (folder / "delivery.toml").read_text(encoding="utf-8")
    for old, new in DECLARED.items():
        if declaration.count(old) != 1:
            raise AssertionError(
                f"delivery.toml does not have {old} once: update DECLARED in {__file__}"
            )
        declaration = declaration.replace(old, new)
    (folder / "delivery.toml").write_text(declaration, encoding="utf-8")
    # nox names the file, so that tests/integration use the same cluster.
    variables = {
        "KUBECONFIG": os.environ.get("E2E_KUBECONFIG") or str(folder.parent / "kubeconfig"),
        "CI": "true",
        "PYTHONDONTWRITEBYTECODE": "",  # as a user's Python, which does not compile in each task
    }
    return Checkout(folder, {**os.environ, **environment, **variables})


def raise_limits(values: Path) -> None:
    """Let pods use more CPU than by values-local.yaml, with which each start takes long."""
    text, count = re.subn(r"limits: {cpu: \w+", "limits: {cpu: 1", values.read_text())
    assert count, values
    values.write_text(text)


def output_of(task: subprocess.CompletedProcess[str]) -> str:
    """The output of a task; an AssertionError with it if the task failed."""
    if task.returncode:
        raise AssertionError(
            f"inv {' '.join(task.args[3:])}: exit code {task.returncode}\n{task.stdout}"
        )
    return task.stdout


@dataclass(frozen=True)
class Platform:
    """The release in its namespace, and the tasks that deployed it."""

    cluster: Cluster
    checkout: Checkout
    # What each task printed.
    outputs: Mapping[str, str]

    @property
    def names(self) -> list[str]:
        """The API's names in the cluster, from the short to the full one."""
        parts = [self.name(API), self.cluster.namespace, "svc", "cluster.local"]
        return [".".join(parts[:count]) for count in range(1, 5)]

    @property
    def host(self) -> str:
        """The API's full name."""
        return self.names[-1]

    @property
    def token(self) -> str:
        """The token that may write, as the chart generated it."""
        data = self.cluster.get_one("secret", self.name("token"))["data"]
        return base64.b64decode(data["token"]).decode()

    def name(self, component: str) -> str:
        """The name of a component's objects."""
        return f"{self.cluster.release}-{component}"

    def image(self, component: str) -> str:
        """The image that a component runs."""
        deployment = self.cluster.get_one("deployment", self.name(component))
        containers = {
            container["name"]: container["image"]
            for container in deployment["spec"]["template"]["spec"]["containers"]
        }
        return str(containers[component])

    def upgrade(self, *values: str, files: Sequence[Path] = ()) -> None:
        """Upgrade to a new revision with these values and values files, and wait for it."""
        options = [option for value in values for option in ("--set", value)]
        options += [f"--values={csv_line(file)}" for file in files]
        if not self.cluster.helm("version", "--short").startswith("v3"):
            # As `inv deploy` does: tests also scale by kubectl.
            options += ["--server-side=true", "--force-conflicts"]
        chart = str(self.checkout.folder / "platform-chart")
        self.cluster.helm(
            "upgrade",
            self.cluster.release,
            chart,
            "--reuse-values",
            "--wait",
            "--timeout",
            "150s",
            *options,
        )

    def push(self, name: str, folder: Path, *options: str) -> str:
        """Build an image and push it where the nodes pull; return its reference by digest."""
        tag = f"localhost:5001/delivery-e2e-{name}"
        docker = self.checkout.docker
        docker("build", "--quiet", "--provenance=false", *options, "--tag", tag, str(folder))
        docker("push", "--quiet", tag)
        digests = json.loads(docker("image", "inspect", "--format={{json .RepoDigests}}", tag))
        return str(next(digest for digest in digests if digest.startswith(f"{tag}@")))

    @contextmanager
    def changed_by_hand(self, label: str) -> Iterator[None]:
        """Change a label of the API's Service while the body runs."""
        argv = ("label", "--overwrite", f"service/{self.name(API)}")
        self.cluster.kubectl(*argv, f"{label}=by-hand")
        try:
            yield
        finally:
            self.cluster.kubectl(*argv, f"{label}={self.cluster.release}")


@dataclass(frozen=True)
class Client:
    """A pod beside the platform, to send requests from."""

    cluster: Cluster
    pod: str

    def python(self, code: str, *arguments: str) -> str:
        """Run Python in the pod."""
        return self.cluster.kubectl(
            "exec", self.pod, "--", "/usr/bin/python3", "-c", code, *arguments
        )

    def serials(self, pods: list[Pod], host: str) -> set[str]:
        """The serial numbers of the certificates that pods serve."""
        return set(
            self.python(_SERIALS, host, *(pod.manifest["status"]["podIP"] for pod in pods)).split()
        )


@dataclass(frozen=True)
class Authority:
    """The platform's CA: its certificate and key."""

    certificate: str
    key: str

    @classmethod
    def of(cls, platform: Platform) -> Authority:
        """Read the CA's Secret, which no pod mounts."""
        data = platform.cluster.get_one("secret", platform.name("ca-key"))["data"]
        return cls(*(base64.b64decode(data[name]).decode() for name in ("tls.crt", "tls.key")))

    def issue(self, names: list[str]) -> dict[str, str]:
        """The Secret of a new certificate for these names."""
        authority = trustme.CA.from_pem(self.certificate.encode(), self.key.encode())
        issued = authority.issue_cert(*names, key_type=trustme.KeyType.ECDSA)
        chain = b"".join(pem.bytes() for pem in issued.cert_chain_pems)
        return {"tls.crt": _text(chain), "tls.key": _text(issued.private_key_pem.bytes())}


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
