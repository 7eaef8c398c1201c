"""Branches side by side on the current context, by the account of the pipeline for previews."""

import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from delivery.host import programs
from delivery.host.docker_api import Engine
from delivery.project.declaration import Declaration
from delivery.project.files import ROOT
from delivery.project.gitflow import preview_name
from tests import yaml_strict
from tests.commands import output
from tests.integration.test_deploy import (
    made_release,
    make_clone,
    ready,
    run,
    until,
)
from tests.integration.test_rights import Deployer

pytestmark = [pytest.mark.engine, pytest.mark.cluster]

ENVIRONMENTS = """
[environments.preview]
contexts = ["{context}"]
namespace = "{namespace}"
values = "values.yaml"
"""
GITFLOW = {
    "[gitflow]\n": '[gitflow]\npreview = ["feature/*"]\n',
    "[gitflow.deploys]\n": '[gitflow.deploys]\npreview = "preview"\n',
}
DEPLOY = ("deploy", "--environment", "preview")


@dataclass
class Branches(Deployer):
    """A clone with a remote, of which each branch may have a preview."""

    remote: Path = Path()

    def git(self, *arguments: str) -> None:
        """Run git in the clone."""
        author = ("-c", "user.name=Tester", "-c", "user.email=tester@example.com")
        output(["git", *author, *arguments], folder=self.folder)

    def switch(self, branch: str, greeting: str) -> str:
        """Check out a new branch whose pods greet so; the namespace of its preview."""
        self.git("switch", "--quiet", "--create", branch)
        self.values(greeting=greeting)
        self.git("commit", "--quiet", "--all", "--message", f"feat: greet with {greeting}")
        self.git("push", "--quiet", "origin", branch)
        return preview_name("preview", branch).replace("preview", self.namespace, 1)

    def pods_in(self, namespace: str) -> dict[str, bool]:
        """The pods of a preview by UID, and whether each is ready."""
        argv = ("get", "pods", f"--namespace={namespace}", "--output=json")
        listed = json.loads(run(self.programs["kubectl"], *argv))["items"]
        return {pod["metadata"]["uid"]: ready(pod) for pod in listed}

    def namespaces(self) -> set[str]:
        """The namespaces of this test that are not being removed."""
        listed = json.loads(run(self.programs["kubectl"], "get", "namespaces", "--output=json"))
        return {
            each["metadata"]["name"]
            for each in listed["items"]
            if each["metadata"]["name"].startswith(self.namespace)
            and "deletionTimestamp" not in each["metadata"]
        }


@pytest.fixture
def branches(
    engine: Engine, project: Declaration, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Branches]:
    made = made_release()
    paths = {name: programs.ensure(name) for name in ("helm", "kubectl")}
    context = run(paths["kubectl"], "config", "current-context").strip()
    namespace = f"previews-{uuid.uuid4().hex[:8]}"
    folder = tmp_path_factory.mktemp("clone")
    make_clone(folder, ENVIRONMENTS.format(context=context, namespace=namespace))
    file = folder / "delivery.toml"
    text = file.read_text()
    for old, new in GITFLOW.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    # The lines of this project are deployed to environments that the clone does not declare.
    for line in ('develop = "develop"', 'candidate = "staging"', 'release = "production"'):
        text = text.replace(f"{line}\n", "")
    file.write_text(text)
    environment = {
        **os.environ,
        **engine.environment,
        "DELIVERY_REGISTRY": project.registry.address,
        "KUBECTL": paths["kubectl"],
        "CI": "true",
    }
    remote = tmp_path_factory.mktemp("remote")
    clone = Branches(folder, namespace, environment, paths, made)
    clone.remote = remote
    clone.values()
    (folder / ".gitignore").write_text(".delivery/\n__pycache__/\n")
    clone.git("init", "--quiet", "--bare", str(remote))
    clone.git("init", "--quiet", "--initial-branch=main")
    clone.git("remote", "add", "origin", str(remote))
    clone.git("add", "--all")
    clone.git("commit", "--quiet", "--message", "feat: everything")
    clone.git("push", "--quiet", "origin", "main")
    yield clone
    if left := clone.namespaces():
        clone.kubectl("delete", "namespace", *left, "--wait=false")


def rights_for(namespace: str) -> str:
    """The objects of ops/jenkins/rights-previews.yaml, and its role, with names of a test."""
    folder = ROOT / "ops" / "jenkins"
    roles = yaml_strict.load_all((folder / "rights.yaml").read_text())
    items = [each for each in roles if each["kind"] == "ClusterRole"]
    items += yaml_strict.load_all((folder / "rights-previews.yaml").read_text())
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    text = text.replace("platform-preview", namespace).replace("jenkins-previews", namespace)
    # The role, but not the account of the same name.
    for key in ('"resourceNames": [', '"kind": "ClusterRole", "metadata": {"name": '):
        text = text.replace(f'{key}"jenkins-deployer"', f'{key}"{namespace}-role"')
    return text


@pytest.fixture
def pipeline(branches: Branches) -> Iterator[Branches]:
    """The clone with the rights of the pipeline's account for previews."""
    file = branches.folder / "delivery.toml"
    head, name, rest = file.read_text().partition("[environments.preview]\n")
    context = rest.partition('contexts = ["')[2].partition('"')[0]
    rest = rest.replace(f'["{context}"]', '["preview"]', 1)
    file.write_text(f'{head}{name}role = "{branches.namespace}-role"\n{rest}')
    branches.git("commit", "--quiet", "--all", "--message", "build: previews by the pipeline")
    try:
        branches.become("preview", rights_for(branches.namespace))
        yield branches
    finally:
        kinds = "validatingadmissionpolicybinding validatingadmissionpolicy clusterrolebinding"
        for kind in (*kinds.split(), "clusterrole"):
            names = (branches.namespace, f"{branches.namespace}-role")
            branches.kubectl("delete", kind, *names, "--ignore-not-found", "--wait=false")


def wait_for_the_policy(pipeline: Branches) -> None:
    """Wait until a new policy is in force, after some seconds."""
    create = ("create", "namespace", f"{pipeline.namespace}no", "--dry-run=server")
    until(lambda: "only namespaces of previews" in pipeline.tried(*create).stderr)


def test_whoever_gets_the_accounts_rights_in_a_preview_cannot_weaken_its_pod_security(
    pipeline: Branches, tmp_path: Path
) -> None:
    wait_for_the_policy(pipeline)
    space, file = f"{pipeline.namespace}-x", tmp_path / "namespace.json"
    enforce = "pod-security.kubernetes.io/enforce"

    def write(labels: dict[str, str]) -> None:
        metadata = {"name": space, "labels": labels}
        file.write_text(json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}))

    def replaced_by_us(labels: dict[str, str]) -> str:
        write(labels)
        argv = [pipeline.programs["kubectl"], "replace", f"--filename={file}", "--as=us"]
        return subprocess.run(argv, capture_output=True, text=True, check=False).stderr

    write({enforce: "restricted"})
    binding = ("rolebinding", "us", f"--clusterrole={pipeline.namespace}", "--user=us")
    for command in (["create", f"--filename={file}"], ["create", *binding, f"--namespace={space}"]):
        done = pipeline.tried(*command)
        assert done.returncode == 0, done.stderr
    until(lambda: not replaced_by_us({enforce: "restricted"}))
    lax: dict[str, str]
    for lax in ({}, {enforce: "privileged"}, {enforce: "restricted", f"{enforce}-version": "v1.0"}):
        assert "enforces Pod Security restricted" in replaced_by_us(lax)


def test_the_pipelines_account_may_do_nothing_outside_of_previews(
    pipeline: Branches,
) -> None:
    wait_for_the_policy(pipeline)
    role = f"{pipeline.namespace}-role"
    refused = {
        "delete namespace kube-public --dry-run=server",
        "label namespace default of=us --dry-run=server",
        f"create rolebinding us --clusterrole={role} --user=us -n default --dry-run=server",
        f"create namespace {pipeline.namespace}-lax",
        "get secrets --namespace=kube-system",
        "get secrets --all-namespaces",
        "get nodes",
    }
    for command in refused:
        done = pipeline.tried(*command.split())
        assert done.returncode != 0, command
        # By the account's rights, or by the policy.
        refused_by = ("orbidden", "denied request")
        assert any(words in done.stderr for words in refused_by), (command, done.stderr)


def test_two_branches_run_side_by_side_until_one_is_deleted(
    pipeline: Branches, tmp_path: Path
) -> None:
    """All by the pipeline's account for previews."""
    wait_for_the_policy(pipeline)
    spaces = []
    for name in ("one", "two"):
        spaces.append(pipeline.switch(f"feature/{name}", name))
        assert f"It says {name}." in pipeline.succeed(*DEPLOY)
    first, second = spaces
    assert "nothing to do" in pipeline.succeed(*DEPLOY)
    more = ("create", "rolebinding", "us", "--clusterrole=admin", "--user=us")
    done = pipeline.tried(*more, f"--namespace={second}")
    assert done.returncode != 0
    assert "orbidden" in done.stderr
    printed = pipeline.succeed("preview.list")
    for name in ("one", "two"):
        assert f"feature/{name}" in printed
    assert printed.count("all pods are ready") == 2
    # It is called like a preview, and has none of its labels.
    foreign = f"{pipeline.namespace}-foreign"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    metadata = {"name": foreign, "labels": labels}
    file = tmp_path / "foreign.json"
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}))
    pipeline.kubectl("create", f"--filename={file}")
    others = {pipeline.namespace, foreign}  # the first is the account's
    pods = pipeline.pods_in(first)
    assert pods
    assert all(pods.values())

    pipeline.remote.rename(tmp_path / "away")
    pipeline.kubectl(
        "label", "namespace", first, "delivery-platform.expires=20200101T000000Z", "--overwrite"
    )
    code, printed = pipeline.inv("preview.reap")
    assert code == 2, printed
    assert "the remote does not answer; nothing is removed" in printed
    assert pipeline.namespaces() == {first, second, *others}

    (tmp_path / "away").rename(pipeline.remote)
    pipeline.kubectl(
        "label", "namespace", first, "delivery-platform.expires=20990101T000000Z", "--overwrite"
    )
    pipeline.git("push", "--quiet", "origin", "--delete", "feature/two")
    printed = pipeline.succeed("preview.reap")
    assert "of feature/two: the remote has no such branch" in printed
    assert "1 of 2 previews stay" in printed
    assert pipeline.namespaces() == {first, *others}
    assert pipeline.pods_in(first) == pods, "the other branch serves on, by the same pods"

    pipeline.succeed("preview.remove", "--branch", "feature/one")
    assert pipeline.namespaces() == others
    until(lambda: not pipeline.pods_in(second))
