"""Deploys of a small chart to the current context of the kubeconfig, in a new namespace."""

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
import requests

from delivery.host import programs
from delivery.host.docker_api import Engine
from delivery.platform import lifecycle
from delivery.project import files
from delivery.project.chart import with_images
from delivery.project.declaration import Declaration
from delivery.registry.client import Registry
from delivery.release import attesting, catalog, chart_package
from delivery.release.released import Release, ReleasedPart
from tests.integration.small import source_folders
from tests.release.statements import predicate
from tests.signals import with_default_signals

pytestmark = [pytest.mark.engine, pytest.mark.cluster]

HERE = Path(__file__).parent
OCI = "application/vnd.oci.image.manifest.v1+json"
ENVIRONMENTS = """
[signing]
public_key = "cosign.pub"

[environments.local]
contexts = ["{context}"]
namespace = "{namespace}"
values = "values.yaml"
test = true

[environments.develop]
contexts = ["{context}"]
namespace = "{namespace}-develop"
values = "platform-chart/values.yaml"

[environments.staging]
contexts = ["{context}"]
namespace = "{namespace}-staging"
values = "platform-chart/values.yaml"
signed = false

[environments.production]
contexts = ["{context}"]
namespace = "{namespace}-production"
values = "platform-chart/values.yaml"
confirm = true
"""


@dataclass
class ClusterClone:
    """A clone of the project whose environments are namespaces of the cluster."""

    folder: Path
    namespace: str
    environment: dict[str, str]
    programs: dict[str, str]
    release: Release
    running: list[subprocess.Popen[str]] = field(default_factory=list)

    def values(self, **values: object) -> None:
        """Set the chart's values."""
        (self.folder / "values.yaml").write_text(json.dumps(values))

    def start(self, *arguments: str, helm: str = "helm") -> subprocess.Popen[str]:
        """Start a task as a user would, in a new session."""
        started = subprocess.Popen(
            with_default_signals([sys.executable, "-m", "delivery", *arguments]),
            cwd=self.folder,
            env={**self.environment, "HELM": self.programs[helm]},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.running.append(started)
        return started

    def inv(self, *arguments: str, helm: str = "helm") -> tuple[int, str]:
        """Run a task: its exit code and output."""
        started = self.start(*arguments, helm=helm)
        printed, _ = started.communicate(timeout=600)
        return started.returncode, printed

    def kubectl(self, *arguments: str) -> str:
        """Run kubectl in the namespace."""
        return run(self.programs["kubectl"], f"--namespace={self.namespace}", *arguments)

    def helm(self, *arguments: str) -> str:
        """Run helm in the namespace."""
        return run(self.programs["helm"], *arguments, f"--namespace={self.namespace}")

    def history(self) -> list[tuple[int, str]]:
        """The revisions with their statuses."""
        revisions = json.loads(self.helm("history", "platform", "--output=json"))
        return [(revision["revision"], revision["status"]) for revision in revisions]

    def pods(self) -> dict[str, dict[str, Any]]:
        """The components' pods by UID."""
        argv = ("get", "pods", "--selector=app.kubernetes.io/name", "--output=json")
        return {pod["metadata"]["uid"]: pod for pod in json.loads(self.kubectl(*argv))["items"]}


def run(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120).stdout


def ready(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions", ())
    return any((each["type"], each["status"]) == ("Ready", "True") for each in conditions)


def publish(registry: Registry, made: Release, version: str) -> Release:
    """Publish these images and the small chart as a release, in repositories of this test."""
    images = {}
    for name in ("api-rest", "async-worker"):
        repository, image = f"{registry.address}/{name}", made.images[name]
        _mount(registry.address, name, image.digest)
        _detach(registry, f"{registry.address}/{name}", image.digest)
        images[name] = dataclasses.replace(image, repository=repository, version=version)
    named = {name: (image.repository, version, image.digest) for name, image in images.items()}
    folder = HERE / "chart"
    replaced = {"values.yaml": with_images((folder / "values.yaml").read_text(), named)}
    packed = chart_package.package(folder, files.chart_files(folder), replaced, epoch=0)
    repository = f"{registry.address}/platform-chart"
    chart = ReleasedPart(
        repository, version, chart_package.push(registry, repository, version, packed), version
    )
    return put(registry, Release(images, version, chart, "release", "main", "c0ffee", "a test"))


def put(registry: Registry, release: Release) -> Release:
    """Publish a release in place of an earlier run's."""
    repository = f"{registry.address}/{catalog.REPOSITORY}"
    if held := registry.digest(repository, release.version):
        registry.delete(repository, held)
    catalog.push(registry, release)
    return release


def _mount(registry: str, name: str, digest: str) -> None:
    """Copy an image of the registry into a repository below a path."""
    address, _, path = registry.partition("/")
    base, repository = f"http://{address}", f"{path}/{name}"
    manifest = requests.get(
        f"{base}/v2/{name}/manifests/{digest}", headers={"Accept": OCI}, timeout=30
    )
    for blob in (manifest.json()["config"], *manifest.json()["layers"]):
        mount = f"{base}/v2/{repository}/blobs/uploads/?mount={blob['digest']}&from={name}"
        assert requests.post(mount, timeout=30).status_code == 201
    put = requests.put(
        f"{base}/v2/{repository}/manifests/{digest}",
        data=manifest.content,
        headers={"Content-Type": OCI},
        timeout=30,
    )
    assert put.status_code == 201


def _detach(registry: Registry, repository: str, digest: str) -> None:
    """Remove what an earlier run has attached to an image: its keys are not this run's."""
    for ending in ("sig", "att"):
        if held := registry.digest(repository, f"{digest.replace(':', '-')}.{ending}"):
            registry.delete(repository, held)


def make_clone(folder: Path, environments: str) -> None:
    """Copy what a deploy needs of this project, with the small chart and these environments."""
    ignored = shutil.ignore_patterns(".venv", "__pycache__")
    for name in source_folders():
        shutil.copytree(files.ROOT / name, folder / name, ignore=ignored)
    shutil.copytree(HERE / "chart", folder / "platform-chart")
    shutil.copy2(files.ROOT / "tasks.py", folder)
    declared = (files.ROOT / "delivery.toml").read_text().partition("\n[environments.")[0]
    (folder / "delivery.toml").write_text(declared + environments)


def made_release() -> Release:
    """The release that this clone has built."""
    release = lifecycle.released()
    assert release, "run `./run inv images.ensure` before these tests"
    return release


@pytest.fixture(scope="module")
def clone(
    engine: Engine, project: Declaration, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ClusterClone]:
    """A clone with new namespaces; the nodes reach the declared registry."""
    made = made_release()
    paths = {name: programs.ensure(name) for name in ("helm", "helm3", "kubectl")}
    context = run(paths["kubectl"], "config", "current-context").strip()
    namespace = f"deploy-{uuid.uuid4().hex[:8]}"
    folder = tmp_path_factory.mktemp("clone")
    make_clone(folder, ENVIRONMENTS.format(context=context, namespace=namespace))
    # The same for every run, so that what the nodes cannot pull is not pushed again.
    registry = Registry(f"{project.registry.address}/deploy-test")
    release = publish(registry, made, "1.0.0")
    environment = {
        **os.environ,
        **engine.environment,
        "DELIVERY_REGISTRY": registry.address,
        "KUBECTL": paths["kubectl"],
        "CI": "true",
    }
    clone = ClusterClone(folder, namespace, environment, paths, release)
    clone.values()
    try:
        yield clone
    finally:
        for process in clone.running:
            process.kill()
            process.communicate()
        namespaces = [namespace, *(f"{namespace}-{name}" for name in ("staging", "production"))]
        clone.kubectl("delete", "namespace", *namespaces, "--ignore-not-found", "--wait=false")


@pytest.fixture
def deployed(clone: ClusterClone) -> ClusterClone:
    """The clone, with version 1.0.0 deployed."""
    return deploy(clone)


def deploy(clone: ClusterClone) -> ClusterClone:
    clone.values()
    code, printed = clone.inv("deploy", "--version", "1.0.0")
    assert code == 0, printed
    return clone


def test_a_deploy_corrects_the_cluster_tests_it_and_prints_the_notes(
    deployed: ClusterClone,
) -> None:
    deployed.kubectl("delete", "deployment", "platform-async-worker")
    code, printed = deployed.inv("deploy", "--version", "1.0.0")
    assert code == 0, printed
    assert "changed in the cluster since: Deployment/platform-async-worker" in printed
    assert "helm test: 1 passed" in printed
    assert printed.rstrip().endswith("It says hello.")
    _, status = deployed.inv("status")
    assert "api-rest 1.0.0" in status
    assert "all pods are ready" in status
    assert all(ready(pod) for pod in deployed.pods().values())
    assert len(deployed.pods()) == 2
    versions = ", ".join(f"{name} 1.0.0" for name in ("api-rest", "async-worker", "platform-chart"))
    assert described(deployed)[-1] == versions
    namespace = json.loads(
        deployed.kubectl("get", "namespace", deployed.namespace, "--output=json")
    )
    labels = namespace["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def described(clone: ClusterClone) -> list[str]:
    """The descriptions of the revisions."""
    revisions = json.loads(clone.helm("history", "platform", "--output=json"))
    return [revision["description"] for revision in revisions]


def test_a_missing_image_fails_at_once_and_stays_with_no_rollback(deployed: ClusterClone) -> None:
    previous = deployed.history()[-1][0]
    deployed.values(extra="localhost:5001/no-such-image:1.0.0")
    code, printed = deployed.inv("deploy", "--version", "1.0.0", "--no-rollback")
    assert code == 8, printed
    assert "ErrImagePull" in printed or "ImagePullBackOff" in printed
    assert "nothing is rolled back" in printed
    assert deployed.history()[-1] == (previous + 1, "failed")
    code, printed = deployed.inv("rollback", "--environment", "local", "--revision", str(previous))
    assert code == 0, printed
    until(lambda: len(deployed.pods()) == 2)


def test_helm_3_rolls_back_a_version_that_fails_its_test(deployed: ClusterClone) -> None:
    deployed.values(greeting="rude")
    code, printed = deployed.inv("deploy", "--version", "1.0.0", helm="helm3")
    assert code == 8, printed
    assert printed.find("a greeting that no test likes") < printed.find("✓ roll back to revision")


def test_a_version_whose_pods_count_errors_is_taken_back(deployed: ClusterClone) -> None:
    previous = deployed.pods()
    deployed.values(greeting="wrong", errors=5)
    code, printed = deployed.inv("deploy", "--version", "1.0.0", "--soak", "100s")
    assert code == 8, printed
    shown = r"api-rest answers 5\.0 % of \d+ requests .*before the deploy 0\.0 % of \d+"
    assert re.search(shown, printed), printed
    assert "helm test: 1 passed" in printed
    assert "is deployed again" in printed
    assert deployed.history()[-1][1] == "deployed"
    until(lambda: len(deployed.pods()) == len(previous))
    deployed.values()
    code, printed = deployed.inv("deploy", "--version", "1.0.0")
    assert "nothing to do" in printed


def mid_upgrade(clone: ClusterClone) -> subprocess.Popen[str]:
    """A deploy whose helm runs."""
    clone.values(greeting=uuid.uuid4().hex, slow=120)
    started = clone.start("deploy", "--version", "1.0.0")
    until(lambda: clone.history()[-1][1] == "pending-upgrade")
    return started


def until(true: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def uids(clone: ClusterClone, *names: str) -> dict[str, str]:
    """The UIDs of those of these objects that exist and are not being deleted."""
    printed = clone.kubectl("get", *names, "--ignore-not-found", "--output=json")
    return {
        f"{each['kind']}/{each['metadata']['name']}": each["metadata"]["uid"]
        for each in (json.loads(printed)["items"] if printed else [])
        if "deletionTimestamp" not in each["metadata"]
    }


def test_the_leftovers_of_a_killed_deploy_are_deleted_except_data(deployed: ClusterClone) -> None:
    """A Secret of the deployed revision, and claims of a failed and of the killed one."""
    argv = ("deploy", "--version", "1.0.0")
    data = ("secret/platform-data", "pvc/platform-failed", "pvc/platform-killed")
    created = ("configmap/platform-left", "deployment/platform-left")  # in no other revision
    deployed.values(claims=["failed"])
    assert deployed.inv(*argv, "--no-rollback", "--timeout=5s")[0] == 8
    image = deployed.release.images["api-rest"].pinned
    deployed.values(claims=["failed", "killed"], left=image, slow=600)
    started = deployed.start(*argv)
    until(lambda: len(uids(deployed, *data, *created)) == 5)
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()
    assert deployed.history()[-1][1] == "pending-upgrade"
    before = uids(deployed, *data)
    deployed.values(data=False)
    code, printed = deployed.inv(*argv)
    assert code == 0, printed
    assert "repair revision" in printed
    assert deployed.history()[-1][1] == "deployed"
    assert uids(deployed, *created) == {}
    assert uids(deployed, *data) == before


def test_the_second_deploy_waits_until_an_interrupt_ends_the_first(deployed: ClusterClone) -> None:
    first = mid_upgrade(deployed)
    deployed.values(greeting="second")
    second = deployed.start("deploy", "--version", "1.0.0")
    waiting = f"pid {first.pid} holds platform-deploy since"
    lines = iter(second.stdout or ())
    seen = next((line for line in lines if waiting in line), "")
    assert seen, "the second deploy did not wait"
    os.killpg(first.pid, signal.SIGINT)
    printed, _ = first.communicate(timeout=60)
    assert first.returncode == 130, printed
    lease = json.loads(deployed.kubectl("get", "lease", "platform-deploy", "--output=json"))
    # Released, not expired: that takes 30 s.
    assert f"pid {first.pid}" not in (lease["spec"].get("holderIdentity") or "")
    printed = "".join(lines)
    assert second.wait(300) == 0, printed
    assert [status for _, status in deployed.history()[-2:]] == ["failed", "deployed"]
    lease = json.loads(deployed.kubectl("get", "lease", "platform-deploy", "--output=json"))
    assert not lease["spec"].get("holderIdentity")


def test_two_rollbacks_and_a_removal_with_its_data(deployed: ClusterClone) -> None:
    for greeting in ("one", "two"):
        deployed.values(greeting=greeting)
        code, printed = deployed.inv("deploy", "--version", "1.0.0")
        assert code == 0, printed
        assert ": ConfigMap/platform-api-rest, " in printed
    code, printed = deployed.inv("rollback", "--environment", "local")
    assert code == 0, printed
    assert ": api-rest 1.0.0, async-worker 1.0.0, platform-chart 1.0.0\n" in printed
    assert greeting_of(deployed) == "one"
    assert deployed.inv("rollback", "--environment", "local")[0] == 0
    assert greeting_of(deployed) == "hello"
    code, printed = deployed.inv("undeploy", "--environment", "local")
    assert code == 0, printed
    assert deployed.pods() == {}
    assert "kept: secrets/platform-data" in printed
    assert deployed.inv("undeploy", "--environment", "local", "--data")[0] == 2
    code, printed = deployed.inv("undeploy", "--environment", "local", "--data", "--yes")
    assert code == 0, printed
    assert "platform-data" not in deployed.kubectl("get", "secrets")
    assert "no data is left" in deployed.inv("undeploy", "--environment", "local")[1]


def greeting_of(clone: ClusterClone) -> str:
    printed = clone.kubectl("get", "configmap", "platform-api-rest", "--output=json")
    return cast("str", json.loads(printed)["data"]["greeting"])


def test_a_release_runs_by_its_digests_in_production(clone: ClusterClone) -> None:
    file = clone.folder / "release.json"
    file.write_text(clone.release.to_json())
    arguments = ("--environment", "production", "--release", str(file), "--yes")
    code, printed = clone.inv("deploy", *arguments)
    assert code == 0, printed
    argv = ("get", "pods", "--selector=app.kubernetes.io/name", "--output=json")
    listed = run(clone.programs["kubectl"], *argv, f"--namespace={clone.namespace}-production")
    digests = {
        pod["metadata"]["labels"]["app.kubernetes.io/name"]: image_id(pod)
        for pod in json.loads(listed)["items"]
        if ready(pod)
    }
    assert digests == {name: image.digest for name, image in clone.release.images.items()}


def image_id(pod: dict[str, Any]) -> str:
    return str(pod["status"]["containerStatuses"][0]["imageID"].rpartition("@")[2])


def test_an_environment_that_requires_signatures_takes_only_signed_releases_with_provenance(
    clone: ClusterClone, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = clone.folder / "delivery.toml"
    unsigned = declared.read_text()
    declared.write_text(unsigned.replace("signed = false", "signed = true"))
    try:
        cosign = programs.ensure("cosign")
        password = {**os.environ, "COSIGN_PASSWORD": "test"}
        argv = [cosign, "generate-key-pair"]
        subprocess.run(argv, cwd=clone.folder, env=password, check=True, capture_output=True)
        deploy = ("deploy", "--environment", "staging", "--version", "1.0.0")
        code, printed = clone.inv(*deploy)
        assert code == 10, printed
        assert "/api-rest@" in printed
        key = str(clone.folder / "cosign.key")
        signing = {"DELIVERY_SIGNING_KEY": key, "COSIGN_PASSWORD": "test"}
        clone.environment |= signing
        (clone.folder / ".delivery").mkdir(exist_ok=True)
        (clone.folder / ".delivery" / "release.json").write_text(clone.release.to_json())
        code, printed = clone.inv("signing.sign")
        assert code == 0, printed
        code, printed = clone.inv(*deploy)
        assert (code, printed.count("has no provenance")) == (10, 2), printed
        for name, value in signing.items():
            monkeypatch.setenv(name, value)
        images = {image.pinned: image.key for image in clone.release.images.values()}
        attesting.attest(
            files.load_declaration(clone.folder),
            images,
            lambda reference, builder: predicate(images[reference], builder),
            clone.folder,
        )
        code, printed = clone.inv(*deploy)
        assert code == 0, printed
    finally:
        declared.write_text(unsigned)
