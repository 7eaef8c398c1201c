"""The published chart, by plain Helm as its README says: an upgrade under load, other nodes.

The upgrade starts from the last published chart: that of the newest version tag or, without one,
that before the last 20 changes.
"""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from delivery.project import files
from delivery.project.chart import with_images
from delivery.registry.client import Registry
from delivery.release import chart_package
from tests import yaml_strict
from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.conftest import Say
from tests.e2e.ledger import compare
from tests.e2e.platform import (
    API,
    DATABASE,
    KAFKA,
    WORKER,
    Authority,
    Platform,
    raise_limits,
)
from tests.e2e.traffic import traffic
from tests.load.recording import failures, summarise, table

pytestmark = [pytest.mark.engine, pytest.mark.cluster]

RATE = "20"
TOKEN = "the-token-of-this-test"
VALUES = "values-local.yaml"
WAIT = ("--wait", "--timeout", "300s")


@pytest.fixture(autouse=True)
def _settled(platform: Platform) -> None:
    platform.cluster.settle()


def git(*arguments: str) -> bytes:
    return subprocess.run(
        ["git", *arguments], cwd=files.ROOT, capture_output=True, check=True
    ).stdout


@pytest.fixture
def previous(tmp_path: Path) -> Path:
    """The folder of the last published chart."""
    newest = "--sort=-version:refname"
    tags = git("tag", "--list", "platform-chart-v*", newest).decode().split()
    recent = ["rev-list", "--max-count=20", "HEAD", "--", "platform-chart/templates"]
    earlier = f"{git(*recent).decode().split()[-1]}~1"
    packed = git("archive", tags[0] if tags else earlier, "platform-chart")
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(tmp_path, filter="data")
    raise_limits(tmp_path / "platform-chart" / VALUES)
    return tmp_path / "platform-chart"


@dataclass(frozen=True)
class Published:
    """The chart in the registry, unpacked from it, and the images of the platform."""

    cluster: Cluster
    reference: tuple[str, ...]
    folder: Path
    images: Path

    def upgrade(self, file: str) -> None:
        """Upgrade to the chart with one of its values files."""
        values = (f"--values={self.folder / file}", f"--values={self.images}")
        arguments = ("upgrade", self.cluster.release, *self.reference, *values)
        self.cluster.helm(*arguments, *WAIT, timeout=360)


def given_images(platform: Platform) -> dict[str, Any]:
    """The images that the platform's release was given, as values."""
    cluster = platform.cluster
    given = json.loads(cluster.helm("get", "values", cluster.release, "--output", "json"))
    images = {key: {"image": given[key]["image"]} for key in (KAFKA, DATABASE, "proxy")}
    components = {name: {"image": given["components"][name]["image"]} for name in (API, WORKER)}
    return {**images, "components": components}


def publish(components: dict[str, Any]) -> tuple[str, ...]:
    """Publish this chart with these images as `inv push` does; Helm's arguments for it."""
    folder = files.ROOT / "platform-chart"
    images = {name: value["image"] for name, value in components.items()}
    named = {
        name: (image["repository"], "1.0.0", image["digest"]) for name, image in images.items()
    }
    values = with_images((folder / "values.yaml").read_text(encoding="utf-8"), named)
    packed = chart_package.package(
        folder, files.chart_files(folder), {"values.yaml": values}, epoch=0
    )
    version = yaml_strict.load(chart_package.read_file(packed, "Chart.yaml") or "")["version"]
    registry = Registry(
        f"{files.load_declaration().registry.address}/published-{uuid.uuid4().hex[:8]}"
    )
    repository = f"{registry.address}/platform-chart"
    chart_package.push(registry, repository, version, packed)
    return (f"oci://{repository}", f"--version={version}", "--plain-http")


@pytest.fixture
def published(platform: Platform, tmp_path: Path) -> Published:
    images = given_images(platform)
    reference = publish(images.pop("components"))
    file = tmp_path / "published.yaml"
    file.write_text(yaml.safe_dump(images))
    platform.cluster.helm("pull", *reference, "--untar", f"--untardir={tmp_path / 'published'}")
    folder = tmp_path / "published" / "platform"
    raise_limits(folder / VALUES)
    return Published(platform.cluster, reference, folder, file)


def test_an_upgrade_from_an_earlier_chart_fails_no_request_and_keeps_all_data(
    platform: Platform,
    authority: Authority,
    previous: Path,
    published: Published,
    tmp_path: Path,
    say: Say,
) -> None:
    cluster = platform.cluster
    file = tmp_path / "images.yaml"
    file.write_text(yaml.safe_dump(given_images(platform)))
    values = ("--values", str(previous / VALUES), "--values", str(file))
    cluster.helm("upgrade", cluster.release, str(previous), *values, *WAIT, timeout=360)
    cluster.settle()
    backends = {cluster.pod(name).uid for name in (KAFKA, DATABASE)}

    with traffic(platform, authority, "upgrade", "--rate", RATE) as running:
        with running.phase("upgrade"):
            published.upgrade(VALUES)
            cluster.settle()
        recording = running.finish()
    say(table(summarise(recording, running.phases)))
    # With one of each, requests fail while a chart that changes its pod restarts it.
    restarted = backends != {cluster.pod(name).uid for name in (KAFKA, DATABASE)}
    interrupted = "upgrade" if restarted else ""
    failed = failures(recording, running.phases)
    assert [str(failure) for failure in failed if failure.phase != interrupted] == []
    verdict = compare(cluster, recording, running.run)
    assert verdict.findings == (), verdict.describe()
    cluster.helm("test", cluster.release, "--timeout=120s", timeout=150)


@pytest.fixture
def elsewhere(platform: Platform) -> Iterator[Cluster]:
    """A namespace of its own, without pods: they would cost time and prove nothing here."""
    name = f"gitops-{uuid.uuid4().hex[:8]}"
    with platform.cluster.elsewhere(name, platform.cluster.release) as elsewhere:
        elsewhere.kubectl("create", "quota", "no-pods", "--hard=pods=0")
        yield elsewhere


def secret(name: str, data: dict[str, str]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}


def certificate(authority: trustme.CA, *names: str) -> dict[str, str]:
    issued = authority.issue_cert(*names)
    chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    return {
        "tls.crt": chain.decode(),
        "tls.key": issued.private_key_pem.bytes().decode(),
        "ca.crt": authority.cert_pem.bytes().decode(),
    }


def observed(workload: dict[str, Any]) -> bool:
    """Whether its controller has seen it."""
    generation = workload["metadata"]["generation"]
    return bool(workload["status"].get("observedGeneration") == generation)


def logins(*passwords: str) -> dict[str, str]:
    return {"username": "user", **{key: uuid.uuid4().hex for key in passwords}}


def test_what_is_applied_twice_changes_nothing(platform: Platform, elsewhere: Cluster) -> None:
    """docs/gitops.md, as `helm template | kubectl apply`."""
    authority = trustme.CA()
    elsewhere.apply(
        secret("ledger-tls", certificate(authority, "platform-api-rest")),
        secret("kafka-tls", certificate(authority, "platform-kafka")),
        secret("database-tls", certificate(authority, "platform-database")),
        secret("ledger-token", {"token": TOKEN, "tokens": f"deploy write {TOKEN}"}),
        secret("kafka-login", logins("password", "broker-password", "controller-password")),
        secret("database-owner", logins("password", "root-password")),
        secret("database-reader", logins("password") | {"username": "reader"}),
    )
    chart = platform.checkout.folder / "platform-chart"
    files = [chart / f"values-{name}.yaml" for name in ("local", "gitops")]
    options = [f"--values={file}" for file in files]

    def objects() -> str:
        return elsewhere.helm("template", "platform", str(chart), "--skip-tests", *options)

    first = elsewhere.kubectl("apply", "--filename", "-", stdin=objects()).splitlines()
    assert first
    assert all(line.endswith(" created") for line in first)
    wait_for(
        "the controllers", lambda: all(map(observed, elsewhere.get("deployments"))), seconds=60
    )
    # "configured" also tells of patches that change nothing: this asks the API server.
    assert elsewhere.kubectl("diff", "--filename", "-", stdin=objects()) == ""
