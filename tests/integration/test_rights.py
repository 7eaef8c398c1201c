"""The rights of ops/jenkins/rights.yaml on a real cluster: they are enough to deploy in one namespace, and for nothing else."""

import dataclasses
import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from delivery import process
from delivery.host import programs
from delivery.host.docker_api import Engine
from delivery.platform import lifecycle
from delivery.project import files
from delivery.project.declaration import Declaration
from delivery.registry.client import Registry
from tests import yaml_strict
from tests.integration.test_deploy import HERE, Place, publish, run

pytestmark = [pytest.mark.engine, pytest.mark.cluster]

ENVIRONMENTS = """
[environments.develop]
contexts = ["develop"]
namespace = "{namespace}"
values = "chosen.yaml"
test = true

[environments.staging]
contexts = ["develop"]
namespace = "{elsewhere}"
values = "chosen.yaml"

[environments.production]
contexts = ["production"]
namespace = "{elsewhere}"
values = "chosen.yaml"
"""


@dataclasses.dataclass
class Deployer(Place):
    """A clone whose kubeconfig is that of the service account; elsewhere is a namespace in which it has no rights."""

    elsewhere: str = ""
    kubeconfig: str = ""

    def asked(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Ask the cluster as the service account, whatever comes of it."""
        argv = [self.programs["kubectl"], f"--kubeconfig={self.kubeconfig}", *arguments]
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)


def objects_for(namespace: str) -> str:
    """The objects of ops/jenkins/rights.yaml that are develop's, for another namespace."""
    told = yaml_strict.load_all((files.ROOT / "ops" / "jenkins" / "rights.yaml").read_text())
    ours = [one for one in told if one["metadata"]["namespace"] == "platform-develop"]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": ours}).replace(
        "platform-develop", namespace
    )


@pytest.fixture(scope="module")
def deployer(
    engine: Engine, project: Declaration, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployer]:
    """Two namespaces as ops/jenkins makes them, the rights in one of them, and a clone that deploys with these."""
    made = lifecycle.released()
    assert made, "`./run inv images.ensure` comes first"
    found = {name: programs.ensure(name) for name in ("helm", "kubectl")}
    kubectl = found["kubectl"]
    namespace = f"rights-{uuid.uuid4().hex[:8]}"
    elsewhere = f"{namespace}-other"
    folder = tmp_path_factory.mktemp("clone")
    for name in ("delivery", "ops/locks", "base-image", "api-rest", "async-worker", "ops/upstream"):
        shutil.copytree(
            files.ROOT / name, folder / name, ignore=shutil.ignore_patterns(".venv", "__pycache__")
        )
    shutil.copytree(HERE / "chart", folder / "platform-chart")
    shutil.copy2(files.ROOT / "tasks.py", folder)
    declared = (files.ROOT / "delivery.toml").read_text().partition("\n[environments.")[0]
    (folder / "delivery.toml").write_text(
        declared + ENVIRONMENTS.format(namespace=namespace, elsewhere=elsewhere)
    )
    release = publish(Registry(f"{project.registry.address}/deploy-test"), made, "1.0.0")
    for name in (namespace, elsewhere):
        run(kubectl, "create", "namespace", name)
        run(kubectl, "label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    try:
        apply = [kubectl, "apply", "--filename=-"]
        subprocess.run(
            apply, input=objects_for(namespace), text=True, check=True, capture_output=True
        )
        told = {**os.environ, "KUBECTL": kubectl, "NAMESPACE": namespace}
        kubeconfig = folder / "kubeconfig"
        script = [str(files.ROOT / "ops" / "jenkins" / "kubeconfig"), "develop", "1h"]
        kubeconfig.write_text(
            subprocess.run(script, env=told, capture_output=True, text=True, check=True).stdout
        )
        environment = {
            **os.environ,
            **engine.environment,
            "DELIVERY_REGISTRY": f"{project.registry.address}/deploy-test",
            "KUBECTL": kubectl,
            "KUBECONFIG": str(kubeconfig),
            "CI": "true",
        }
        place = Deployer(
            folder,
            namespace,
            environment,
            found,
            release,
            elsewhere=elsewhere,
            kubeconfig=str(kubeconfig),
        )
        place.values()
        yield place
    finally:
        run(
            kubectl,
            "delete",
            "namespace",
            namespace,
            elsewhere,
            "--ignore-not-found",
            "--wait=false",
        )


def test_they_are_enough_to_deploy_fail_verify_go_back_and_remove(deployer: Deployer) -> None:
    deploy = ("deploy", "--environment", "develop", "--version", "1.0.0")
    code, printed = deployer.inv(*deploy)
    assert code == 0, printed
    assert "helm test: 1 passed" in printed
    code, printed = deployer.inv(*deploy)
    assert code == 0, printed
    assert "nothing to do" in printed
    deployer.values(greeting="rude")
    code, printed = deployer.inv(*deploy)
    assert code == 8, printed
    assert "a greeting that no test likes" in printed, "the log of what failed is read"
    events = deployer.asked("get", "events", f"--namespace={deployer.namespace}")
    assert events.returncode == 0, "a failure is explained by them"
    assert "orbidden" not in printed
    deployer.values(greeting="again")
    code, printed = deployer.inv(*deploy)
    assert code == 0, printed
    code, printed = deployer.inv("verify", "--environment", "develop")
    assert code == 0, printed
    code, printed = deployer.inv("rollback", "--environment", "develop")
    assert code == 0, printed
    assert "orbidden" not in printed
    code, printed = deployer.inv("undeploy", "--environment", "develop", "--data", "--yes")
    assert code == 0, printed


def test_they_are_enough_for_all_that_the_chart_makes(deployer: Deployer, tmp_path: Path) -> None:
    chart = files.ROOT / "platform-chart"
    for name in ("develop", "staging", "production"):
        made = tmp_path / f"{name}.yaml"
        values = f"--values={process.csv_line(chart / f'values-{name}.yaml')}"
        made.write_text(run(deployer.programs["helm"], "template", "platform", str(chart), values))
        argv = [
            "apply",
            "--server-side",
            "--dry-run=server",
            f"--namespace={deployer.namespace}",
            f"--filename={made}",
        ]
        done = deployer.asked(*argv)
        assert "orbidden" not in done.stderr, done.stderr


def test_another_namespace_is_refused(deployer: Deployer) -> None:
    deployer.values()
    code, printed = deployer.inv("deploy", "--environment", "staging", "--version", "1.0.0")
    assert code != 0
    assert "orbidden" in printed
    assert "Traceback" not in printed
    found = run(
        deployer.programs["kubectl"],
        "get",
        "all,secrets,leases",
        f"--namespace={deployer.elsewhere}",
        "--output=name",
    )
    assert not found


@pytest.mark.parametrize(
    "arguments",
    [
        ("get", "secrets", "--namespace=kube-system"),
        ("get", "secrets", "--all-namespaces"),
        ("get", "namespaces"),
        ("get", "nodes"),
        ("label", "nodes", "--all", "of=ours"),
        ("create", "namespace", "of-ours"),
        (
            "create",
            "clusterrolebinding",
            "of-ours",
            "--clusterrole=cluster-admin",
            "--user=somebody",
        ),
        (
            "create",
            "rolebinding",
            "of-ours",
            "--clusterrole=admin",
            "--user=somebody",
            "--namespace={namespace}",
        ),
        ("create", "token", "default", "--namespace={namespace}"),
        ("get", "secrets", "--namespace={elsewhere}"),
        ("create", "configmap", "of-ours", "--namespace={elsewhere}"),
        ("get", "namespace", "{elsewhere}"),
        (
            "label",
            "namespace",
            "{namespace}",
            "pod-security.kubernetes.io/enforce=privileged",
            "--overwrite",
        ),
        ("delete", "pods", "--all", "--namespace=kube-system"),
        ("create", "quota", "of-ours", "--namespace={namespace}"),
    ],
)
def test_what_is_not_the_deployers_is_refused(
    deployer: Deployer, arguments: tuple[str, ...]
) -> None:
    told = [
        one.format(namespace=deployer.namespace, elsewhere=deployer.elsewhere) for one in arguments
    ]
    # Where one of them were allowed after all, it should still do nothing.
    dry = () if told[0] == "get" or told[:2] == ["create", "token"] else ("--dry-run=server",)
    done = deployer.asked(*told, *dry)
    assert done.returncode != 0, done.stdout
    assert "orbidden" in done.stderr


def test_a_privileged_pod_is_refused_even_where_pods_are_made(deployer: Deployer) -> None:
    override = '{"spec": {"containers": [{"name": "of-ours", "image": "none", "securityContext": {"privileged": true}}]}}'
    argv = [
        "run",
        "of-ours",
        "--image=none",
        f"--namespace={deployer.namespace}",
        f"--overrides={override}",
    ]
    done = deployer.asked(*argv, "--dry-run=server")
    assert done.returncode != 0
    assert "violates PodSecurity" in done.stderr
