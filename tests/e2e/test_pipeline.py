"""The real Jenkinsfile, executed: develop, a release branch, main, and a hotfix that cannot run, to a real registry and cluster.

What is delivered is a small project, so that the pipelines take seconds; the ledger that is told of it is the platform's own.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from delivery.host import programs
from delivery.platform import lifecycle
from delivery.project import files
from tests.e2e.cluster import wait_for
from tests.e2e.conftest import Say
from tests.e2e.platform import API, Platform
from tests.e2e.shop import COMPONENTS, ENVIRONMENTS, Delivery, Shop, Sink, base_of, docker, make
from tests.jenkins.harness import Credential
from tests.registries import serving

pytestmark = [pytest.mark.engine, pytest.mark.cluster]

STAGES = ["prepare", "test", "plan", "build", "scan", "push", "deploy", "verify", "record"]
# What leads to this machine's engine and through its network, which an agent of Jenkins would have, too.
_OWN = (
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DELIVERY_BUILD_CA",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
    "XDG_CACHE_HOME",
)
PASSWORD = "only-for-tests"  # of a key that is made here


@pytest.fixture(scope="module")
def sink() -> Sink:
    return Sink()


@pytest.fixture(scope="module")
def shop(
    platform: Platform, sink: Sink, tmp_path_factory: pytest.TempPathFactory, say: Say
) -> Iterator[Shop]:
    """The project on develop, and all that its pipelines meet; its namespaces are gone again afterwards."""
    folder = tmp_path_factory.mktemp("shop")
    for name in ("groovy", "gitleaks", "cosign"):
        programs.ensure(name)
    released = lifecycle.released()
    assert released, "`./run inv images.ensure` comes first"
    kept = platform.checkout.environment
    registry = f"{files.load_declaration().registry.address}/pipeline-{uuid.uuid4().hex[:8]}"
    context = "kind-delivery-e2e"
    base = base_of(released, docker(kept))
    project = make(
        folder / "project", registry, base, context, {"COSIGN_PASSWORD": PASSWORD, **kept}
    )
    kubeconfig = Credential("file", value=platform.checkout.kubeconfig.read_text())
    with (
        platform.cluster.forwarded(f"deployment/{platform.name(API)}", 8000) as port,
        serving(sink) as (webhook, _),
    ):
        credentials = {
            "delivery-registry": Credential(
                "usernamePassword", username="jenkins", password="no-one-asks-for-it"
            ),
            "delivery-registry-read": Credential(
                "usernamePassword", username="reader", password="nor-for-this"
            ),
            "delivery-signing-key": Credential("file", value=(folder / "cosign.key").read_text()),
            "delivery-signing-password": Credential(value=PASSWORD),
            "delivery-ledger-token": Credential(value="no-one-asks-for-this-either"),
            "delivery-webhook": Credential(value=f"http://{webhook}/services/T0/B0/xyz"),
            **{f"delivery-kubeconfig-{name}": kubeconfig for name in ENVIRONMENTS},
        }
        environment = {
            "DELIVERY_REGISTRY": registry,
            "DELIVERY_LEDGER": f"http://localhost:{port}",
            "DELIVERY_OUTBOX": str(folder / "outbox"),
        }
        environment |= {name: kept[name] for name in _OWN if name in kept}
        yield Shop(project, platform.cluster, folder, environment, credentials, say)
    namespaces = [f"pipeline-{name}" for name in ENVIRONMENTS]
    platform.cluster.kubectl(
        "delete", "namespace", *namespaces, "--ignore-not-found", "--wait=false"
    )


def digests(delivery: Delivery) -> dict[str, set[str]]:
    """The components' digests that the pipeline published."""
    images = delivery.archived("release.json")["images"]
    return {name: {images[name]["digest"]} for name in COMPONENTS}


def stages(shop: Shop, build: str, component: str, environment: str) -> list[tuple[str, str]]:
    """What the ledger was told of a component in a build: each stage with its status, in order."""
    told = shop.stored(component=component, environment=environment)
    return [
        (one["stage"], one["status"])
        for one in told
        if (one["details"] or {}).get("pipeline") == build
    ]


def all_well() -> list[tuple[str, str]]:
    """Every stage started and succeeded; scan has two steps, of which the second begins nothing anew."""
    told = [(name, status) for name in STAGES for status in ("started", "succeeded")]
    after = told.index(("scan", "succeeded"))
    return [*told[:after], ("scan", "succeeded"), *told[after:]]


def text(message: dict[str, Any]) -> str:
    return json.dumps(message, ensure_ascii=False)


@pytest.mark.parametrize(
    ("branch", "begins", "environment", "approved_by"),
    [
        ("develop", "", "develop", ""),
        ("release/0.1", "develop", "staging", ""),
        ("main", "release/0.1", "production", "Alice"),
    ],
)
def test_a_push_is_delivered_and_recorded(
    shop: Shop, sink: Sink, branch: str, begins: str, environment: str, approved_by: str
) -> None:
    if begins:
        shop.project.git("branch", branch, begins)
    delivery = shop.deliver(branch, approved_by=approved_by)
    assert delivery.run.result == "SUCCESS", delivery.run.log
    assert shop.serving(environment) == digests(delivery)
    version = delivery.archived("release.json")["version"]
    wait_for(
        f"the records of {branch}",
        lambda: (
            stages(shop, delivery.build, "api-rest", environment)[-1:] == [("record", "succeeded")]
        ),
    )
    assert stages(shop, delivery.build, "api-rest", environment) == all_well()
    assert shop.runs(environment)["platform-chart"] == version
    deployed = shop.stored(component="api-rest", environment=environment, stage="deploy")[-1]
    assert deployed["responsible"] == (approved_by or "Somebody")
    said = text(sink.told[-1])
    assert all(part in said for part in (branch, version, environment, delivery.build))


def test_a_version_that_cannot_run_is_told_and_the_old_one_serves_on(
    shop: Shop, sink: Sink
) -> None:
    shop.project.git("switch", "--quiet", "--create", "hotfix/0.1.1", "main")
    values = shop.project.folder / "platform-chart" / "values.yaml"
    broken = {
        "platform-chart/values.yaml": values.read_text().replace("hello", "crash"),
        "api-rest/file": "mended",
    }
    shop.project.commit("fix: greet", broken)
    before = shop.serving("staging"), shop.runs("staging")
    delivery = shop.deliver("hotfix/0.1.1")
    assert (delivery.run.result, delivery.run.exit) == ("FAILURE", 1)
    assert "crash is no greeting" in delivery.run.log
    assert shop.serving("staging") == before[0]
    assert delivery.run.skipped("staging / verify staging")
    wait_for(
        "the records of the failure",
        lambda: ("deploy", "rolled-back") in stages(shop, delivery.build, "api-rest", "staging"),
    )
    ended = [("deploy", "started"), ("deploy", "failed"), ("deploy", "rolled-back")]
    assert stages(shop, delivery.build, "api-rest", "staging")[-3:] == ended
    # It was the same before, and serves on: nothing is said of its deploy.
    assert stages(shop, delivery.build, "async-worker", "staging")[-1] == ("push", "succeeded")
    assert shop.runs("staging") == before[1]
    said = text(sink.told[-1])
    assert "hotfix/0.1.1" in said
    assert "fail" in said.lower()


def test_nothing_that_is_secret_was_printed_recorded_or_told(shop: Shop, sink: Sink) -> None:
    secrets = [one.value for one in shop.credentials.values() if one.kind == "string"]
    secrets += ["no-one-asks-for-it", "nor-for-this"]
    kept = [text(one) for one in sink.told] + [json.dumps(one) for one in shop.stored()]
    kept += [
        file.read_text(errors="replace")
        for file in shop.folder.glob("build-*/artifacts/**/*")
        if file.is_file()
    ]
    assert [(secret, where[:200]) for secret in secrets for where in kept if secret in where] == []
