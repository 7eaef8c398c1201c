"""examples/notes-mysql.yaml on a cluster: a note of tests/apps/notes survives all pods.

`KUBECONFIG` is the cluster, `REGISTRY` the registry of its nodes (localhost:5001),
`NOTES_BASE_IMAGE` the base of the app (api-rest's image), `NOTES_DATABASE_REPOSITORY` the
database's image repository. docker, helm and kubectl are on PATH, or in DOCKER, HELM and KUBECTL.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import CHART, helm, values_option

pytestmark = pytest.mark.cluster

APP = Path(__file__).parent / "apps" / "notes"
SELECTOR = "--selector=app.kubernetes.io/instance=notes"
REGISTRY = os.environ.get("REGISTRY", "localhost:5001")
KUBECONFIG = os.environ.get("KUBECONFIG", str(Path.home() / ".kube" / "config"))
# A pod outside of the release, which connects to the Service like every client.
CLIENT: dict[str, Any] = {
    "spec": {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 0,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "client",
                "command": ["python3", "-c", "import time; time.sleep(3600)"],
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                },
            }
        ],
    }
}
ASK = """
import sys, urllib.request
body = sys.argv[1].encode() if len(sys.argv) > 1 else None
with urllib.request.urlopen("http://notes-app/notes", data=body, timeout=10) as answer:
    print(answer.status, answer.read().decode())
"""


def run(*argv: str) -> str:
    result = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=600)
    assert result.returncode == 0, f"{' '.join(argv)}\n{result.stdout}{result.stderr}"
    return result.stdout.strip()


class Cluster:
    """A new namespace of the cluster."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace

    def kubectl(self, *arguments: str) -> str:
        program = os.environ.get("KUBECTL", "kubectl")
        return run(program, "--kubeconfig", KUBECONFIG, "--namespace", self.namespace, *arguments)

    def ask(self, *body: str) -> tuple[int, str]:
        output = self.kubectl("exec", "client", "--", "python3", "-c", ASK, *body)
        status, _, content = output.partition(" ")
        return int(status), content

    def ready(self) -> None:
        for workload in ("statefulset/notes-mysql", "deployment/notes-app"):
            self.kubectl("rollout", "status", workload, "--timeout=300s")

    def client(self, image: str) -> None:
        CLIENT["spec"]["containers"][0]["image"] = image
        self.kubectl(
            "run",
            "client",
            f"--image={image}",
            "--restart=Never",
            f"--overrides={json.dumps(CLIENT)}",
        )
        self.kubectl("wait", "pod/client", "--for=condition=Ready", "--timeout=120s")

    def pods(self) -> set[str]:
        return set(
            self.kubectl(
                "get", "pods", SELECTOR, "--output=jsonpath={.items[*].metadata.uid}"
            ).split()
        )


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    cluster = Cluster(f"notes-{secrets.token_hex(4)}")
    cluster.kubectl("create", "namespace", cluster.namespace)
    try:
        cluster.kubectl(
            "label", "namespace", cluster.namespace, "pod-security.kubernetes.io/enforce=restricted"
        )
        yield cluster
    finally:
        cluster.kubectl("delete", "namespace", cluster.namespace, "--wait=true", "--timeout=180s")


@pytest.fixture
def image() -> str:
    """The app's image by digest, in the registry of the nodes."""
    docker = os.environ.get("DOCKER", "docker")
    repository = f"{REGISTRY}/notes"
    base = os.environ.get("NOTES_BASE_IMAGE", f"{REGISTRY}/api-rest")
    options = ["--quiet", f"--build-arg=BASE_IMAGE={base}", f"--tag={repository}:test"]
    run(docker, "build", *options, str(APP))
    run(docker, "push", "--quiet", f"{repository}:test")
    digests = json.loads(
        run(docker, "image", "inspect", "--format", "{{json .RepoDigests}}", f"{repository}:test")
    )
    (reference,) = [each for each in digests if each.startswith(f"{repository}@")]
    return str(reference)


def test_a_note_survives_all_pods(cluster: Cluster, image: str) -> None:
    login = {"DB_DATABASE": "notes", "DB_USERNAME": "notes", "DB_PASSWORD": secrets.token_hex(16)}
    literals = [f"--from-literal={key}={value}" for key, value in login.items()]
    cluster.kubectl("create", "secret", "generic", "notes-database", *literals)
    database = os.environ.get("NOTES_DATABASE_REPOSITORY", f"{REGISTRY}/mariadb")
    repository, _, digest = image.partition("@")
    images = {"components.app.image.repository": repository, "components.app.image.digest": digest}
    images["components.mysql.image.repository"] = database
    options = [
        f"--namespace={cluster.namespace}",
        values_option("examples/notes-mysql.yaml"),
        *(f"--set-string={key}={value}" for key, value in images.items()),
    ]
    chart = str(CHART)
    installed = helm("upgrade", "--install", "notes", chart, *options, kubeconfig=KUBECONFIG)
    assert installed.returncode == 0, installed.stderr
    cluster.client(image)
    cluster.ready()

    assert cluster.ask(json.dumps({"text": "kept"})) == (201, "")
    status, content = cluster.ask()
    assert (status, json.loads(content)) == (200, {"notes": ["kept"]})

    before = cluster.pods()
    assert len(before) == 3
    cluster.kubectl("delete", "pods", SELECTOR, "--wait=true", "--timeout=180s")
    cluster.ready()
    assert not before & cluster.pods()
    status, content = cluster.ask()
    assert (status, json.loads(content)) == (200, {"notes": ["kept"]})
