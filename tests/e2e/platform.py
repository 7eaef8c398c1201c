"""The platform as it is deployed, and the project that deployed it: what the proofs on the cluster share."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import trustme

from delivery.project.files import ROOT
from tests.e2e.cluster import Cluster, Pod

__all__ = [
    "API",
    "DATABASE",
    "DEPLOY",
    "KAFKA",
    "WORKER",
    "Authority",
    "Checkout",
    "Client",
    "Platform",
    "copy_checkout",
    "done",
]

DEPLOY = ["deploy", "--environment", "local", "--platform", "kubernetes", "--yes"]
API, WORKER, KAFKA, DATABASE = "api-rest", "async-worker", "kafka", "database"
# What the copy of the project declares otherwise: a cluster that is nobody's, in subnets beside those of the user's.
DECLARED = {
    'name = "delivery-platform"': 'name = "delivery-e2e"',
    'pods = "198.18.0.0/17"': 'pods = "198.19.0.0/17"',
    'services = "198.18.128.0/17"': 'services = "198.19.128.0/17"',
}
# Says the serial numbers of the certificates that addresses serve, verified with the CAs of the tests.
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
    """A copy of the project with a cluster of its own, where tasks are run as a user would."""

    folder: Path
    environment: Mapping[str, str]

    @property
    def kubeconfig(self) -> Path:
        """Where the cluster is known; not in the user's file."""
        return Path(self.environment["KUBECONFIG"])

    def inv(self, *arguments: str, timeout: float = 900) -> subprocess.CompletedProcess[str]:
        """Run a task to its end; its output is both streams together, as on a screen."""
        return subprocess.run(
            [sys.executable, "-m", "invoke", *arguments],
            cwd=self.folder,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )


def copy_checkout(folder: Path, environment: Mapping[str, str]) -> Checkout:
    """Copy what git knows of this project, and have it declare another cluster."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    told = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, told.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    declaration = (folder / "delivery.toml").read_text(encoding="utf-8")
    for old, new in DECLARED.items():
        if declaration.count(old) != 1:
            raise AssertionError(
                f"delivery.toml does not say {old} once: DECLARED in {__file__} is to follow it"
            )
        declaration = declaration.replace(old, new)
    (folder / "delivery.toml").write_text(declaration, encoding="utf-8")
    # nox names the file, so that proofs elsewhere can go to the same cluster; never the user's own.
    own = {
        "KUBECONFIG": os.environ.get("E2E_KUBECONFIG") or str(folder.parent / "kubeconfig"),
        "CI": "true",
    }
    return Checkout(folder, {**os.environ, **environment, **own})


def done(task: subprocess.CompletedProcess[str]) -> str:
    """What a task that went well printed; an AssertionError with all of it for one that did not."""
    if task.returncode:
        raise AssertionError(
            f"inv {' '.join(task.args[3:])}: exit code {task.returncode}\n{task.stdout}"
        )
    return task.stdout


@dataclass(frozen=True)
class Platform:
    """The release in its namespace, the project that it was deployed from, and how long that took."""

    cluster: Cluster
    checkout: Checkout
    stages: Mapping[str, float]
    outputs: Mapping[str, str]

    @property
    def names(self) -> list[str]:
        """What the API is called in the cluster, from the short name to the full one."""
        parts = [self.name(API), self.cluster.namespace, "svc", "cluster.local"]
        return [".".join(parts[:count]) for count in range(1, 5)]

    @property
    def host(self) -> str:
        """The API's full name."""
        return self.names[-1]

    def name(self, part: str) -> str:
        """What the chart calls a part's objects."""
        return f"{self.cluster.release}-{part}"

    def image(self, part: str) -> str:
        """The image that a component runs."""
        pod = self.cluster.get_one("deployment", self.name(part))["spec"]["template"]["spec"]
        (image,) = (one["image"] for one in pod["containers"] if one["name"] == part)
        return str(image)

    def upgrade(self, *values: str) -> None:
        """Make a new revision with some values changed, and wait for it."""
        told = [part for value in values for part in ("--set", value)]
        chart = str(self.checkout.folder / "platform-chart")
        self.cluster.helm(
            "upgrade",
            self.cluster.release,
            chart,
            "--reuse-values",
            "--wait",
            "--timeout",
            "150s",
            *told,
        )


@dataclass(frozen=True)
class Client:
    """A pod of the tests' own beside the platform, to ask questions from."""

    cluster: Cluster
    pod: str

    def python(self, code: str, *arguments: str) -> str:
        """Run Python there."""
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
    """The platform's CA: what clients trust, and the key that another certificate is made with."""

    certificate: str
    key: str

    @classmethod
    def of(cls, platform: Platform) -> Authority:
        """Read the Secret that no pod mounts."""
        data = platform.cluster.get_one("secret", platform.name("ca-key"))["data"]
        return cls(*(base64.b64decode(data[name]).decode() for name in ("tls.crt", "tls.key")))

    def issue(self, names: list[str]) -> dict[str, str]:
        """What the Secret of a certificate holds once it is replaced."""
        authority = trustme.CA.from_pem(self.certificate.encode(), self.key.encode())
        made = authority.issue_cert(*names, key_type=trustme.KeyType.ECDSA)
        chain = b"".join(one.bytes() for one in made.cert_chain_pems)
        return {"tls.crt": _text(chain), "tls.key": _text(made.private_key_pem.bytes())}


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
