"""Deploys on a real cluster: the kubeconfig's current context, a namespace of their own, and a small chart."""

import dataclasses
import json
import os
import pty
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
from delivery.release import catalog, chart_package
from delivery.release.released import Release, ReleasedPart

pytestmark = [pytest.mark.engine, pytest.mark.cluster]

HERE = Path(__file__).parent
OCI = "application/vnd.oci.image.manifest.v1+json"
ENVIRONMENTS = """
[signing]
public_key = "cosign.pub"

[environments.local]
contexts = ["{context}"]
namespace = "{namespace}"
values = "chosen.yaml"
test = true

[environments.elsewhere]
contexts = ["no-such-context"]
namespace = "{namespace}"
values = "chosen.yaml"

[environments.develop]
contexts = ["{context}"]
namespace = "{namespace}-develop"
values = "platform-chart/values.yaml"

[environments.staging]
contexts = ["{context}"]
namespace = "{namespace}-staging"
values = "platform-chart/values.yaml"
signed = {signed}

[environments.production]
contexts = ["{context}"]
namespace = "{namespace}-production"
values = "platform-chart/values.yaml"
confirm = true
"""
PROMOTED = ("develop", "staging", "production")


@dataclass
class Place:
    """A clone of the project whose environments are one namespace of the cluster."""

    folder: Path
    namespace: str
    environment: dict[str, str]
    programs: dict[str, str]
    release: Release
    running: list[subprocess.Popen[str]] = field(default_factory=list)

    def values(self, **values: object) -> None:
        """Change what the chart is told."""
        (self.folder / "chosen.yaml").write_text(json.dumps(values))

    def start(self, *arguments: str, helm: str = "helm") -> subprocess.Popen[str]:
        """Start a task as a user would, in a session of its own."""
        started = subprocess.Popen(
            [sys.executable, "-m", "invoke", *arguments],
            cwd=self.folder,
            env={**self.environment, "HELM": self.programs[helm]},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            # Where the tests run in the background, Ctrl-C is ignored, and by whatever they start, too.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509  # it only calls signal
        )
        self.running.append(started)
        return started

    def inv(self, *arguments: str, helm: str = "helm") -> tuple[int, str]:
        """Run a task to its end: its exit code and what it printed."""
        started = self.start(*arguments, helm=helm)
        printed, _ = started.communicate(timeout=600)
        return started.returncode, printed

    def kubectl(self, *arguments: str) -> str:
        """Ask the cluster."""
        return run(self.programs["kubectl"], f"--namespace={self.namespace}", *arguments)

    def helm(self, *arguments: str) -> str:
        """Ask helm."""
        return run(self.programs["helm"], *arguments, f"--namespace={self.namespace}")

    def history(self) -> list[tuple[int, str]]:
        """The revisions with their states."""
        found = json.loads(self.helm("history", "platform", "--output=json"))
        return [(one["revision"], one["status"]) for one in found]

    def pods(self) -> dict[str, dict[str, Any]]:
        """The components' pods by UID."""
        found = json.loads(
            self.kubectl("get", "pods", "--selector=app.kubernetes.io/name", "--output=json")
        )["items"]
        return {one["metadata"]["uid"]: one for one in found}


def run(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120).stdout


def ready(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions", ())
    return any((one["type"], one["status"]) == ("Ready", "True") for one in conditions)


def publish(registry: Registry, made: Release, version: str, line: str = "release") -> Release:
    """Publish these images, and the small chart, as a release in repositories of this test's own."""
    images = {}
    for name in ("api-rest", "async-worker"):
        repository, image = f"{registry.address}/{name}", made.images[name]
        _mount(registry.address, name, image.digest)
        images[name] = dataclasses.replace(image, repository=repository, version=version)
    named = {name: (image.repository, version, image.digest) for name, image in images.items()}
    folder = HERE / "chart"
    replaced = {"values.yaml": with_images((folder / "values.yaml").read_text(), named)}
    packed = chart_package.package(folder, files.chart_files(folder), replaced, epoch=0)
    repository = f"{registry.address}/platform-chart"
    chart = ReleasedPart(
        repository, version, chart_package.push(registry, repository, version, packed), version
    )
    return put(registry, Release(images, version, chart, line, "main", "c0ffee", "a test"))


def put(registry: Registry, release: Release) -> Release:
    """Publish a release, in place of an earlier run's."""
    repository = f"{registry.address}/{catalog.REPOSITORY}"
    if held := registry.digest(repository, release.version):
        registry.delete(repository, held)
    catalog.push(registry, release)
    return release


def _mount(place: str, name: str, digest: str) -> None:
    """Have an image that the registry holds in another repository too, below a path."""
    address, _, path = place.partition("/")
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


@pytest.fixture(scope="module")
def place(
    engine: Engine, project: Declaration, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """The namespace, gone again when the module's tests are done. The nodes reach the declaration's registry."""
    made = lifecycle.released()
    assert made, "`./run inv images.ensure` comes first"
    found = {name: programs.ensure(name) for name in ("helm", "helm3", "kubectl")}
    context = run(found["kubectl"], "config", "current-context").strip()
    namespace = f"deploy-{uuid.uuid4().hex[:8]}"
    folder = tmp_path_factory.mktemp("clone")
    for name in ("delivery", "ops/locks", "base-image", "api-rest", "async-worker", "ops/upstream"):
        shutil.copytree(
            files.ROOT / name, folder / name, ignore=shutil.ignore_patterns(".venv", "__pycache__")
        )
    shutil.copytree(HERE / "chart", folder / "platform-chart")
    shutil.copy2(files.ROOT / "tasks.py", folder)
    declared = (files.ROOT / "delivery.toml").read_text().partition("\n[environments.")[0]
    for signed in ("false", "true"):
        ours = ENVIRONMENTS.format(context=context, namespace=namespace, signed=signed)
        (folder / f"delivery-{signed}.toml").write_text(declared + ours)
    shutil.copy2(folder / "delivery-false.toml", folder / "delivery.toml")
    address = project.registry.address
    # The same for every run, so that what the nodes cannot pull is not pushed anew.
    registry = Registry(f"{address}/deploy-test")
    release = publish(registry, made, "1.0.0")
    publish(registry, made, "1.2.0-rc.1", "candidate")
    gone = dataclasses.replace(release.images["async-worker"], digest="sha256:" + "0" * 64)
    put(
        registry,
        dataclasses.replace(
            release, version="1.1.0", images={**release.images, "async-worker": gone}
        ),
    )
    environment = {
        **os.environ,
        **engine.environment,
        "DELIVERY_REGISTRY": registry.address,
        "KUBECTL": found["kubectl"],
        "CI": "true",
    }
    place = Place(folder, namespace, environment, found, release)
    try:
        yield place
    finally:
        for one in place.running:
            one.kill()
            one.communicate()
        namespaces = [namespace, *(f"{namespace}-{name}" for name in PROMOTED)]
        place.kubectl("delete", "namespace", *namespaces, "--ignore-not-found", "--wait=false")


@pytest.fixture
def served(place: Place) -> Place:
    """The same, with version 1.0.0 deployed and nothing odd about it."""
    return serve(place)


@pytest.fixture(scope="module")
def standing(place: Place) -> Place:
    """The same, deployed once for all that is to change nothing."""
    return serve(place)


def serve(place: Place) -> Place:
    place.values()
    code, printed = place.inv("deploy", "--version", "1.0.0")
    assert code == 0, printed
    return place


def test_deploys_tests_and_says_how_to_use_it(served: Place) -> None:
    served.kubectl("delete", "deployment", "platform-async-worker")
    code, printed = served.inv("deploy", "--version", "1.0.0")
    assert code == 0, printed
    assert "changed in the cluster since: Deployment/platform-async-worker" in printed
    assert "helm test: 1 passed" in printed
    assert printed.rstrip().endswith("It says hello.")
    _, status = served.inv("status")
    assert "api-rest 1.0.0" in status
    assert "all pods are ready" in status
    assert all(ready(pod) for pod in served.pods().values())
    assert len(served.pods()) == 2
    made_of = ", ".join(f"{name} 1.0.0" for name in ("api-rest", "async-worker", "platform-chart"))
    assert described(served)[-1] == made_of
    enforced = served.kubectl("get", "namespace", served.namespace, "--output=json")
    assert (
        json.loads(enforced)["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
        == "restricted"
    )


def described(place: Place) -> list[str]:
    """What each revision says of itself."""
    found = json.loads(place.helm("history", "platform", "--output=json"))
    return [one["description"] for one in found]


def test_an_unchanged_release_makes_no_revision_and_restarts_nothing(served: Place) -> None:
    before = served.history(), set(served.pods())
    code, printed = served.inv("deploy", "--version", "1.0.0")
    assert code == 0, printed
    assert f"nothing to do: revision {before[0][-1][0]} is this already" in printed
    assert (served.history(), set(served.pods())) == before


def test_an_image_that_is_not_there_is_shown_at_once_and_may_be_left(served: Place) -> None:
    serving = served.history()[-1][0]
    served.values(extra="localhost:5001/no-such-image:1.0.0")
    code, printed = served.inv("deploy", "--version", "1.0.0", "--no-rollback")
    assert code == 8, printed
    assert "ErrImagePull" in printed or "ImagePullBackOff" in printed
    assert "nothing is rolled back" in printed
    assert served.history()[-1] == (serving + 1, "failed")
    code, printed = served.inv("rollback", "--environment", "local", "--revision", str(serving))
    assert code == 0, printed
    until(lambda: len(served.pods()) == 2)


@pytest.mark.parametrize("helm", ["helm", "helm3"])
def test_one_that_fails_its_test_is_rolled_back(served: Place, helm: str) -> None:
    served.values(greeting="rude")
    code, printed = served.inv("deploy", "--version", "1.0.0", helm=helm)
    assert code == 8, printed
    assert printed.find("a greeting that no test likes") < printed.find("✓ roll back to revision")


def mid_upgrade(place: Place) -> subprocess.Popen[str]:
    """A deploy whose helm is at work."""
    place.values(greeting=uuid.uuid4().hex, slow=15)
    started = place.start("deploy", "--version", "1.0.0")
    until(lambda: place.history()[-1][1] == "pending-upgrade")
    return started


def until(true: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def helm_of(parent: int) -> int:
    """The process of helm that a task has started, in a session of its own."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            line = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == parent and b"\0upgrade\0" in line:
            return int(folder.name)
    raise AssertionError


def uids(place: Place, *things: str) -> dict[str, str]:
    """The UIDs of these objects that are there to stay."""
    printed = place.kubectl("get", *things, "--ignore-not-found", "--output=json")
    found = json.loads(printed)["items"] if printed else []
    staying = [one for one in found if "deletionTimestamp" not in one["metadata"]]
    return {f"{one['kind']}/{one['metadata']['name']}": one["metadata"]["uid"] for one in staying}


def test_what_a_killed_deploy_left_is_tidied_but_for_its_data(served: Place) -> None:
    """A Secret of the revision that served, a claim of one that failed, one of the killed one."""
    deploy = ("deploy", "--version", "1.0.0")
    data = ("secret/platform-data", "pvc/platform-failed", "pvc/platform-killed")
    made = ("configmap/platform-left", "deployment/platform-left")  # in no other revision
    served.values(claims=["failed"])
    assert served.inv(*deploy, "--no-rollback", "--timeout=5s")[0] == 8
    image = served.release.images["api-rest"].pinned
    served.values(claims=["failed", "killed"], left=image, slow=600)
    started = served.start(*deploy)
    until(lambda: len(uids(served, *data, *made)) == 5)
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()
    assert served.history()[-1][1] == "pending-upgrade"
    before = uids(served, *data)
    served.values(data=False)
    code, printed = served.inv(*deploy)
    assert code == 0, printed
    assert "repair revision" in printed
    assert served.history()[-1][1] == "deployed"
    assert uids(served, *made) == {}
    assert uids(served, *data) == before


def test_a_helm_that_was_killed_leaves_nothing_stuck(served: Place) -> None:
    started = mid_upgrade(served)
    os.kill(helm_of(started.pid), signal.SIGKILL)
    printed, _ = started.communicate(timeout=300)
    assert started.returncode == 8, printed
    assert "helm was ended by signal 9" in printed
    code, printed = served.inv("deploy", "--version", "1.0.0")
    assert code == 0, printed
    assert served.history()[-1][1] == "deployed"


def test_an_interrupt_ends_helm_and_gives_the_turn_back(served: Place) -> None:
    started = mid_upgrade(served)
    os.killpg(started.pid, signal.SIGINT)
    printed, _ = started.communicate(timeout=60)
    assert started.returncode == 130, printed
    assert served.history()[-1][1] == "failed"
    lease = json.loads(served.kubectl("get", "lease", "platform-deploy", "--output=json"))
    assert not lease["spec"].get("holderIdentity")


def test_the_second_of_two_waits_and_finds_nothing_to_do(served: Place) -> None:
    started = mid_upgrade(served)
    code, second = served.inv("deploy", "--version", "1.0.0")
    first, _ = started.communicate(timeout=300)
    assert (started.returncode, code) == (0, 0), first + second
    assert f"pid {started.pid} holds platform-deploy since" in second
    assert "nothing to do" in second


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("--environment", "elsewhere", "--version", "1.0.0"),
            "is not one of this environment's (no-such-context)",
        ),
        (("--version", "1.1.0"), "no longer holds"),
        (
            ("--environment", "production", "--version", "1.2.0-rc.1", "--yes"),
            "production takes releases",
        ),
    ],
)
def test_what_may_not_be_is_refused_and_nothing_changes(
    standing: Place, arguments: tuple[str, ...], said: str
) -> None:
    before = standing.history()
    code, printed = standing.inv("deploy", *arguments)
    assert code == 2
    assert said in printed
    assert standing.history() == before


def test_asks_on_a_terminal(served: Place) -> None:
    leader, follower = pty.openpty()
    started = subprocess.Popen(
        [sys.executable, "-m", "invoke", "deploy"],
        cwd=served.folder,
        env={**served.environment, "HELM": served.programs["helm"]},
        stdin=follower,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    os.close(follower)
    os.write(leader, b"1\n7\ndeployed\n")
    printed, _ = started.communicate(timeout=300)
    os.close(leader)
    assert started.returncode == 0, printed
    assert "Which platform?" in printed
    assert "1) current: this clone's sources (Enter)" in printed
    assert "3) 1.2.0-rc.1" in printed
    assert "5) 1.0.0" in printed
    assert "7 is no option" in printed
    assert "nothing to do" in printed


def test_goes_back_and_back_again_and_then_is_removed_with_its_data(served: Place) -> None:
    for greeting in ("one", "two"):
        served.values(greeting=greeting)
        code, printed = served.inv("deploy", "--version", "1.0.0")
        assert code == 0, printed
        assert ": ConfigMap/platform-api-rest, " in printed
    code, printed = served.inv("rollback", "--environment", "local")
    assert code == 0, printed
    assert ": api-rest 1.0.0, async-worker 1.0.0, platform-chart 1.0.0\n" in printed
    assert said(served) == "one"
    assert served.inv("rollback", "--environment", "local")[0] == 0
    assert said(served) == "hello"
    code, printed = served.inv("undeploy", "--environment", "local")
    assert code == 0, printed
    assert served.pods() == {}
    assert "kept: secrets/platform-data" in printed
    assert served.inv("undeploy", "--environment", "local", "--data")[0] == 2
    code, printed = served.inv("undeploy", "--environment", "local", "--data", "--yes")
    assert code == 0, printed
    assert "platform-data" not in served.kubectl("get", "secrets")
    assert "no data is left" in served.inv("undeploy", "--environment", "local")[1]


def said(place: Place) -> str:
    found = json.loads(place.kubectl("get", "configmap", "platform-api-rest", "--output=json"))
    return cast("str", found["data"]["greeting"])


def image_ids(place: Place, environment: str) -> dict[str, str]:
    """The digests that the nodes say run in an environment's namespace, by component."""
    argv = [
        "--selector=app.kubernetes.io/name",
        "--output=json",
        f"--namespace={place.namespace}-{environment}",
    ]
    pods = json.loads(run(place.programs["kubectl"], "get", "pods", *argv))["items"]
    return {
        one["metadata"]["labels"]["app.kubernetes.io/name"]: one["status"]["containerStatuses"][0][
            "imageID"
        ].rpartition("@")[2]
        for one in pods
        if ready(one)
    }


def test_one_release_runs_as_the_same_bytes_wherever_it_is_promoted_to(
    place: Place, say: Callable[[str], None]
) -> None:
    file = place.folder / "release.json"
    file.write_text(place.release.to_json())
    found = {}
    for environment in PROMOTED:
        code, printed = place.inv(
            "deploy", "--environment", environment, "--release", str(file), "--yes"
        )
        assert code == 0, printed
        found[environment] = image_ids(place, environment)
        say(f"  {environment}: {found[environment]}")
    expected = {name: image.digest for name, image in place.release.images.items()}
    assert found == dict.fromkeys(PROMOTED, expected)


def test_a_tampered_release_is_refused_and_nothing_changes(place: Place) -> None:
    other = place.release.images["async-worker"].digest
    tampered = place.release.to_json().replace(place.release.images["api-rest"].digest, other)
    file = place.folder / "tampered.json"
    file.write_text(tampered)
    code, printed = place.inv("deploy", "--environment", "develop", "--release", str(file))
    assert code == 2
    assert "it is not what was published as 1.0.0 (differs: api-rest)" in printed
    if found := image_ids(place, "develop"):
        assert found["api-rest"] != other


def test_an_environment_that_wants_signatures_takes_nothing_else(place: Place) -> None:
    shutil.copy2(place.folder / "delivery-true.toml", place.folder / "delivery.toml")
    try:
        cosign = programs.ensure("cosign")
        password = {**os.environ, "COSIGN_PASSWORD": "test"}
        subprocess.run(
            [cosign, "generate-key-pair"],
            cwd=place.folder,
            env=password,
            check=True,
            capture_output=True,
        )
        deploy = ("deploy", "--environment", "staging", "--version", "1.0.0")
        code, printed = place.inv(*deploy)
        assert code == 10, printed
        assert "/api-rest@" in printed
        place.environment |= {
            "DELIVERY_SIGNING_KEY": str(place.folder / "cosign.key"),
            "COSIGN_PASSWORD": "test",
        }
        (place.folder / ".delivery").mkdir(exist_ok=True)
        (place.folder / ".delivery" / "release.json").write_text(place.release.to_json())
        code, printed = place.inv("signing.sign")
        assert code == 0, printed
        code, printed = place.inv(*deploy)
        assert code == 0, printed
    finally:
        shutil.copy2(place.folder / "delivery-false.toml", place.folder / "delivery.toml")
