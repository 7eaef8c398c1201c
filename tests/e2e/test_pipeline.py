"""The real Jenkinsfile runs for develop, a release branch, main and a broken hotfix.

It delivers a sample project, which takes seconds, to a real registry and cluster. The records go
to the platform's ledger.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from delivery.host import programs
from delivery.project import files
from delivery.project.gitflow import preview_name
from tests.e2e.cluster import wait_for
from tests.e2e.conftest import Say
from tests.e2e.pipelines import (
    COMPONENTS,
    ENVIRONMENTS,
    PipelineRun,
    Pipelines,
    Webhook,
    machine_variables,
    make_project,
    table,
    upstream_base,
)
from tests.e2e.platform import API, CONTEXT, Platform
from tests.jenkins.harness import Credential
from tests.registries import serving

pytestmark = [pytest.mark.engine, pytest.mark.cluster]

# The stage scan has two steps: secrets and vulnerabilities.
STAGES = ("prepare", "test", "plan", "build", "scan", "scan", "push", "deploy", "verify", "record")
BRANCH = "feature/x"
PREVIEW = preview_name("preview", BRANCH)
PASSWORD = "only-for-tests"  # of a key made by this test


@pytest.fixture(scope="module")
def webhook() -> Webhook:
    return Webhook()


@pytest.fixture(scope="module")
def pipelines(
    platform: Platform, webhook: Webhook, tmp_path_factory: pytest.TempPathFactory, say: Say
) -> Iterator[Pipelines]:
    """The project on develop, and its pipeline; its namespaces are deleted after the tests."""
    folder = tmp_path_factory.mktemp("pipelines")
    for name in ("groovy", "gitleaks", "cosign"):
        programs.ensure(name)
    variables = platform.checkout.environment
    registry = f"{files.load_declaration().registry.address}/pipeline-{uuid.uuid4().hex[:8]}"
    base = upstream_base(variables)
    project = make_project(
        folder / "project", registry, base, CONTEXT, {"COSIGN_PASSWORD": PASSWORD, **variables}
    )
    kubeconfig = Credential("file", value=platform.checkout.kubeconfig.read_text())
    with (
        platform.cluster.forwarded(f"deployment/{platform.name(API)}", 8000) as port,
        serving(webhook) as (address, _),
    ):
        credentials = {
            "delivery-registry": Credential(
                "usernamePassword", username="jenkins", password="unused-password"
            ),
            "delivery-registry-read": Credential(
                "usernamePassword", username="reader", password="unused-read-password"
            ),
            "delivery-signing-key": Credential("file", value=(folder / "cosign.key").read_text()),
            "delivery-signing-password": Credential(value=PASSWORD),
            "delivery-ledger-token": Credential(value=platform.token),
            "delivery-webhook": Credential(value=f"http://{address}/services/T0/B0/xyz"),
            "delivery-git": Credential(
                "usernamePassword", username="git", password="unused-git-password"
            ),
            **{f"delivery-kubeconfig-{name}": kubeconfig for name in (*ENVIRONMENTS, "preview")},
        }
        environment = {
            "DELIVERY_REGISTRY": registry,
            "DELIVERY_LEDGER": f"http://localhost:{port}",
            "DELIVERY_OUTBOX": str(folder / "outbox"),
            **machine_variables(variables),
        }
        made = Pipelines(project, platform.cluster, folder, environment, credentials, say)
        yield made
    for line in table(made.done):
        say(line)
    namespaces = [f"pipeline-{name}" for name in (*ENVIRONMENTS, PREVIEW)]
    platform.cluster.kubectl(
        "delete", "namespace", *namespaces, "--ignore-not-found", "--wait=false"
    )


def digests(run: PipelineRun) -> dict[str, set[str]]:
    """The components' digests that the run published."""
    images = run.archived("release.json")["images"]
    return {name: {images[name]["digest"]} for name in COMPONENTS}


def stages(
    pipelines: Pipelines, url: str, component: str, environment: str
) -> list[tuple[str, str]]:
    """The stages of a component in a build, each with its status, in order."""
    return [
        (event["stage"], event["status"])
        for event in pipelines.events(component=component, environment=environment)
        if (event["details"] or {}).get("pipeline") == url
    ]


def text(message: dict[str, Any]) -> str:
    return json.dumps(message, ensure_ascii=False)


@pytest.mark.parametrize(
    ("branch", "start", "environment", "approved_by"),
    [
        ("develop", "", "develop", ""),
        ("release/0.1", "develop", "staging", ""),
        ("main", "release/0.1", "production", "Alice"),
    ],
)
def test_a_push_is_delivered_and_recorded(
    pipelines: Pipelines,
    webhook: Webhook,
    branch: str,
    start: str,
    environment: str,
    approved_by: str,
) -> None:
    if start:
        pipelines.project.git("branch", branch, start)
    run = pipelines.run(branch, approved_by=approved_by)
    assert run.build.result == "SUCCESS", run.build.log
    assert pipelines.deployed(environment) == digests(run)
    version = run.archived("release.json")["version"]
    expected = [(stage, status) for stage in STAGES for status in ("started", "succeeded")]
    wait_for(
        f"the records of {branch}",
        lambda: stages(pipelines, run.url, "api-rest", environment)[-1:] == expected[-1:],
    )
    assert stages(pipelines, run.url, "api-rest", environment) == expected
    assert pipelines.versions(environment)["platform-chart"] == version
    changes = run.folder / "artifacts" / ".delivery" / "diff.txt"
    assert changes.exists() == bool(approved_by)  # before an approval
    assert not approved_by or version in changes.read_text()
    assert len(run.build.of("agent")) <= 3
    deploys = pipelines.events(component="api-rest", environment=environment, stage="deploy")
    assert deploys[-1]["responsible"] == (approved_by or "Tester")
    message = text(webhook.messages[-1])
    assert all(part in message for part in (branch, version, environment, run.url))


def test_a_branch_has_a_preview_until_it_is_deleted(pipelines: Pipelines) -> None:
    project = pipelines.project
    project.git("switch", "--quiet", "--create", BRANCH, "develop")
    project.commit("feat(api-rest): more", {"api-rest/file": "more"})
    project.git("switch", "--quiet", "develop")
    run = pipelines.run(BRANCH)
    assert run.build.result == "SUCCESS", run.build.log
    assert pipelines.deployed(PREVIEW) == digests(run)
    assert not run.build.of("input")
    assert len(run.build.of("agent")) == 2
    credentials = {event["id"] for event in run.build.of("credential")}
    assert "delivery-kubeconfig-preview" in credentials
    assert not credentials & {"delivery-signing-key", "delivery-signing-password"}
    night = pipelines.reap()
    assert night.build.result == "SUCCESS", night.build.log
    assert pipelines.deployed(PREVIEW) == digests(run)
    project.git("branch", "--quiet", "--delete", "--force", BRANCH)
    night = pipelines.reap()
    assert night.build.result == "SUCCESS", night.build.log
    assert f"{PREVIEW} of {BRANCH}: the remote has no such branch" in night.build.log
    wait_for("the removal of the preview", lambda: not pipelines.deployed(PREVIEW))


def test_a_broken_version_is_reported_and_the_previous_one_stays(
    pipelines: Pipelines, webhook: Webhook
) -> None:
    pipelines.project.git("switch", "--quiet", "--create", "hotfix/0.1.1", "main")
    values = pipelines.project.folder / "platform-chart" / "values.yaml"
    broken = {
        "platform-chart/values.yaml": values.read_text().replace("hello", "crash"),
        "api-rest/file": "fixed",
    }
    pipelines.project.commit("fix: greet", broken)
    before = pipelines.deployed("staging"), pipelines.versions("staging")
    run = pipelines.run("hotfix/0.1.1")
    assert run.build.result == "FAILURE"
    assert "crash is no greeting" in run.build.log
    assert not any(" verify " in command for command in run.build.commands)
    wait_for(
        "the records of the failure",
        lambda: ("deploy", "rolled-back") in stages(pipelines, run.url, "api-rest", "staging"),
    )
    assert (pipelines.deployed("staging"), pipelines.versions("staging")) == before
    deploy = [("deploy", "started"), ("deploy", "failed"), ("deploy", "rolled-back")]
    deployed = stages(pipelines, run.url, "api-rest", "staging")
    assert [stage for stage in deployed if stage[0] != "record"][-3:] == deploy
    # An unchanged component has no records of the deploy.
    unchanged = {stage for stage, _ in stages(pipelines, run.url, "async-worker", "staging")}
    assert "push" in unchanged
    assert "deploy" not in unchanged
    message = text(webhook.messages[-1])
    assert "hotfix/0.1.1" in message
    assert "fail" in message.lower()


def test_no_secret_is_archived_recorded_or_sent(pipelines: Pipelines, webhook: Webhook) -> None:
    credentials = pipelines.credentials.values()
    secrets = [credential.value for credential in credentials if credential.kind == "string"]
    secrets += ["unused-password", "unused-read-password", "unused-git-password"]
    artifacts = [
        file.read_text(errors="replace")
        for file in pipelines.folder.glob("build-*/artifacts/**/*")
        if file.is_file()
    ]
    assert artifacts
    texts = [*map(text, webhook.messages), *map(text, pipelines.events()), *artifacts]
    leaks = [(secret, part[:200]) for secret in secrets for part in texts if secret in part]
    assert leaks == []
