"""The rights of ops/jenkins/rights.yaml on a real cluster: a deploy in a namespace, no more."""

import dataclasses
import json
import os
import re
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from delivery import process
from delivery.host import programs
from delivery.host.docker_api import Engine
from delivery.project import files
from delivery.project.declaration import Declaration
from delivery.registry.client import Registry
from tests import yaml_strict
from tests.commands import output
from tests.integration.test_deploy import ClusterClone, made_release, make_clone, publish, run

pytestmark = [pytest.mark.engine, pytest.mark.cluster]

ENVIRONMENTS = """
[environments.develop]
contexts = ["develop"]
namespace = "{namespace}"
values = "values.yaml"
test = true

[environments.staging]
contexts = ["develop"]
namespace = "{elsewhere}"
values = "values.yaml"

[environments.production]
contexts = ["production"]
namespace = "{elsewhere}"
values = "values.yaml"
"""


@dataclasses.dataclass
class Deployer(ClusterClone):
    """A clone that deploys with the account of the pipeline."""

    def become(self, environment: str, rights: str) -> None:
        """Make these objects, and take the account's kubeconfig for an environment."""
        kubectl = self.programs["kubectl"]
        output([kubectl, "apply", "--filename=-"], stdin=rights)
        variables = {**os.environ, "KUBECTL": kubectl, "NAMESPACE": self.namespace}
        script = [str(files.ROOT / "ops" / "jenkins" / "kubeconfig"), environment, "1h"]
        kubeconfig = self.folder.parent / f"{self.namespace}.kubeconfig"
        kubeconfig.write_text(output(script, environment=variables))
        self.environment["KUBECONFIG"] = str(kubeconfig)

    def succeed(self, *arguments: str) -> str:
        """Run a task that succeeds; return the output."""
        code, printed = self.inv(*arguments)
        assert code == 0, printed
        return printed

    def tried(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run kubectl with the rights of the tasks; it may fail."""
        argv = [self.programs["kubectl"], *arguments]
        environment = self.environment
        return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)


@dataclasses.dataclass
class Elsewhere(Deployer):
    """A clone, and a namespace in which its account has no rights."""

    elsewhere: str = ""


def objects_for(namespace: str) -> str:
    """The objects for develop in ops/jenkins/rights.yaml, for another namespace.

    The ClusterRole has the namespace's name, so that no other test's is changed.
    """
    rights = yaml_strict.load_all((files.ROOT / "ops" / "jenkins" / "rights.yaml").read_text())
    of_develop = (None, "platform-develop")
    develop = [each for each in rights if each["metadata"].get("namespace") in of_develop]
    for each in develop:
        role = each["metadata"] if each["kind"] == "ClusterRole" else each.get("roleRef", {})
        role["name"] = namespace
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": develop})
    return text.replace("platform-develop", namespace)


@pytest.fixture(scope="module")
def deployer(
    engine: Engine, project: Declaration, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Elsewhere]:
    """Two namespaces, rights in the first of them, and a clone that deploys with these rights."""
    made = made_release()
    paths = {name: programs.ensure(name) for name in ("helm", "kubectl")}
    kubectl = paths["kubectl"]
    namespace = f"rights-{uuid.uuid4().hex[:8]}"
    elsewhere = f"{namespace}-other"
    folder = tmp_path_factory.mktemp("clone")
    make_clone(folder, ENVIRONMENTS.format(namespace=namespace, elsewhere=elsewhere))
    registry = Registry(f"{project.registry.address}/deploy-test")
    release = publish(registry, made, "1.0.0")
    for name in (namespace, elsewhere):
        run(kubectl, "create", "namespace", name)
        run(kubectl, "label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    try:
        environment = {
            **os.environ,
            **engine.environment,
            "DELIVERY_REGISTRY": registry.address,
            "KUBECTL": kubectl,
            "CI": "true",
        }
        clone = Elsewhere(folder, namespace, environment, paths, release, elsewhere=elsewhere)
        clone.become("develop", objects_for(namespace))
        clone.values()
        yield clone
    finally:
        for kind, *names in (("namespace", namespace, elsewhere), ("clusterrole", namespace)):
            run(kubectl, "delete", kind, *names, "--ignore-not-found", "--wait=false")


def test_the_rights_are_enough_to_deploy_fail_verify_roll_back_and_remove(
    deployer: Elsewhere,
) -> None:
    deploy = ("deploy", "--environment", "develop", "--version", "1.0.0")
    assert "helm test: 1 passed" in deployer.succeed(*deploy)
    assert "nothing to do" in deployer.succeed(*deploy)
    deployer.values(greeting="rude")
    code, printed = deployer.inv(*deploy)
    assert code == 8, printed
    assert "a greeting that no test likes" in printed, "the log of the failed test is printed"
    events = deployer.tried("get", "events", f"--namespace={deployer.namespace}")
    assert events.returncode == 0, "the report of a failure needs events"
    assert "orbidden" not in printed
    deployer.values(greeting="again")
    deployer.succeed(*deploy)
    deployer.succeed("verify", "--environment", "develop")
    assert "orbidden" not in deployer.succeed("rollback", "--environment", "develop")
    deployer.succeed("undeploy", "--environment", "develop", "--data", "--yes")


def test_the_rights_are_enough_for_every_object_of_the_chart(
    deployer: Elsewhere, tmp_path: Path
) -> None:
    chart = files.ROOT / "platform-chart"
    for name in ("develop", "staging", "production"):
        made = tmp_path / f"{name}.yaml"
        values = f"--values={process.csv_line(chart / f'values-{name}.yaml')}"
        made.write_text(run(deployer.programs["helm"], "template", "platform", str(chart), values))
        scope = (f"--namespace={deployer.namespace}", f"--filename={made}")
        done = deployer.tried("apply", "--server-side", "--dry-run=server", *scope)
        # Also forbidden, by another rule: a pod whose service account a dry run does not make.
        assert not re.search("User .* cannot ", done.stderr), done.stderr


def test_the_rights_are_enough_to_give_drift_its_own(deployer: Elsewhere, tmp_path: Path) -> None:
    chart = files.ROOT / "platform-chart"
    values = f"--values={process.csv_line(chart / 'values-develop.yaml')}"
    template = ("template", "platform", str(chart), values, "--set=drift.enabled=true")
    shown = "--show-only=templates/drift/cronjob.yaml"
    rendered = yaml_strict.load_all(run(deployer.programs["helm"], *template, shown))
    items = [each for each in rendered if each["kind"] in {"ServiceAccount", "Role", "RoleBinding"}]
    made = tmp_path / "drift.json"
    made.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    scope = (f"--namespace={deployer.namespace}", f"--filename={made}")
    for verb in (("apply", "--server-side"), ("delete",)):
        done = deployer.tried(*verb, *scope)
        assert done.returncode == 0, done.stderr
    assert len(items) == 3


def test_another_namespace_is_refused(deployer: Elsewhere) -> None:
    deployer.values()
    code, printed = deployer.inv("deploy", "--environment", "staging", "--version", "1.0.0")
    assert code != 0
    assert "orbidden" in printed
    assert "Traceback" not in printed
    argv = ("get", "all,secrets,leases", f"--namespace={deployer.elsewhere}", "--output=name")
    assert not run(deployer.programs["kubectl"], *argv)


@pytest.mark.parametrize(
    "command",
    [
        "get secrets --namespace=kube-system",
        "get secrets --all-namespaces",
        "get namespaces",
        "get nodes",
        "label nodes --all of=ours",
        "create namespace of-ours",
        "create clusterrolebinding of-ours --clusterrole=cluster-admin --user=somebody",
        "create rolebinding of-ours --clusterrole=admin --user=somebody --namespace={namespace}",
        "create token default --namespace={namespace}",
        "create role of-ours --verb=get --resource=pods/exec --namespace={namespace}",
        "create rolebinding of-ours --clusterrole={namespace} --user=us --namespace={elsewhere}",
        "get secrets --namespace={elsewhere}",
        "create configmap of-ours --namespace={elsewhere}",
        "get namespace {elsewhere}",
        "label namespace {namespace} pod-security.kubernetes.io/enforce=privileged --overwrite",
        "delete pods --all --namespace=kube-system",
        "create quota of-ours --namespace={namespace}",
    ],
)
def test_everything_else_is_refused(deployer: Elsewhere, command: str) -> None:
    line = command.format(namespace=deployer.namespace, elsewhere=deployer.elsewhere)
    # If it were allowed after all, it should still change nothing.
    reads = line.startswith(("get ", "create token "))
    done = deployer.tried(*line.split(), *(() if reads else ("--dry-run=server",)))
    assert done.returncode != 0, done.stdout
    assert "orbidden" in done.stderr


def test_a_privileged_pod_is_refused_where_pods_are_allowed(deployer: Elsewhere) -> None:
    container = {"name": "of-ours", "image": "none", "securityContext": {"privileged": True}}
    overrides = json.dumps({"spec": {"containers": [container]}})
    argv = ("run", "of-ours", "--image=none", f"--namespace={deployer.namespace}")
    done = deployer.tried(*argv, f"--overrides={overrides}", "--dry-run=server")
    assert done.returncode != 0
    assert "violates PodSecurity" in done.stderr
