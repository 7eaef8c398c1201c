"""Upgrades of the chart under load, and what an upgrade refuses.

The upgrade starts from the last published chart: that of the newest version tag or, without one,
that before the last 20 changes; `--previous REVISION` names another.
"""

from __future__ import annotations

import base64
import io
import json
import subprocess
import tarfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any, Self

import pytest
import trustme
import yaml

from delivery.project.files import ROOT
from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.conftest import Say
from tests.e2e.ledger import compare
from tests.e2e.platform import API, DATABASE, DEPLOY, KAFKA, WORKER, Authority, Platform, output_of
from tests.e2e.traffic import Traffic, traffic
from tests.load.recording import failures, summarise, table

pytestmark = [pytest.mark.engine, pytest.mark.cluster]

RATE = "20"
TOKEN = "the-token-of-this-test"
VALUES = "platform-chart/values-local.yaml"
# Repeats in a pod until the database accepts its login.
LOGIN = """
import os, pymysql
names = {"host": "HOST", "database": "DATABASE", "user": "USERNAME", "password": "PASSWORD"}
login = {key: os.environ["DB_" + name] for key, name in names.items()}
connection = pymysql.connect(**login, port=int(os.environ["DB_PORT"]), connect_timeout=5)
connection.cursor().execute("SELECT COUNT(*) FROM deployments")
print("logged in")
"""


@pytest.fixture(autouse=True)
def _settled(platform: Platform) -> None:
    platform.cluster.settle()


def git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=True).stdout


@pytest.fixture
def previous(pytestconfig: pytest.Config, tmp_path: Path) -> Path:
    """The folder of the last published chart."""
    newest = "--sort=-version:refname"
    revision = pytestconfig.getoption("previous", default=None)
    tags = git("tag", "--list", "platform-chart-v*", newest).decode().split()
    recent = ["rev-list", "--max-count=20", "HEAD", "--", "platform-chart/templates"]
    earlier = f"{git(*recent).decode().split()[-1]}~1"
    packed = git("archive", revision or (tags[0] if tags else earlier), "platform-chart")
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "platform-chart"


def load(platform: Platform, authority: Authority, name: str) -> Any:
    """A load with a run of its own; the API's limits in values-local.yaml carry it."""
    run = f"{name}-{uuid.uuid4().hex[:8]}"
    return run, traffic(platform, authority, name, "--run", run, "--rate", RATE)


def check(platform: Platform, running: Traffic, run: str, say: Say, interrupted: str = "") -> None:
    """No request failed, but in a phase that interrupts; every accepted event is stored once."""
    recording = running.finish()
    say(table(summarise(recording, running.phases)))
    failed = failures(recording, running.phases)
    assert [str(failure) for failure in failed if failure.phase != interrupted] == []
    verdict = compare(platform.cluster, recording, run)
    assert verdict.findings == (), verdict.describe()


def test_an_upgrade_from_the_published_chart_fails_no_request_and_keeps_all_data(
    platform: Platform, authority: Authority, previous: Path, tmp_path: Path, say: Say
) -> None:
    cluster = platform.cluster
    given = json.loads(cluster.helm("get", "values", cluster.release, "--output", "json"))
    images: dict[str, Any] = {
        key: {"image": given[key]["image"]} for key in (KAFKA, DATABASE, "proxy") if key in given
    }
    images["components"] = {
        name: {"image": given["components"][name]["image"]} for name in (API, WORKER)
    }
    file = tmp_path / "images.yaml"
    file.write_text(yaml.safe_dump(images))
    values = ("--values", str(previous / Path(VALUES).name), "--values", str(file))
    wait = ("--wait", "--timeout", "300s")
    cluster.helm("upgrade", cluster.release, str(previous), *values, *wait, timeout=360)
    cluster.settle()
    backends = {cluster.pod(name).uid for name in (KAFKA, DATABASE)}

    run, running = load(platform, authority, "upgrade")
    with running as generator:
        with generator.phase("upgrade"):
            output = output_of(platform.checkout.inv(*DEPLOY))
            assert "✓ upgrade: " in output, output
            cluster.settle()
        # With one of each, requests fail while a chart that changes its pod restarts it.
        restarted = backends != {cluster.pod(name).uid for name in (KAFKA, DATABASE)}
        check(platform, generator, run, say, "upgrade" if restarted else "")


class Watched:
    """The lowest numbers of pods of the API that were seen."""

    def __init__(self, platform: Platform) -> None:
        self.platform, self.over = platform, Event()
        self.wanted: list[int] = []
        self.ready: list[int] = []

    def __enter__(self) -> Self:
        self.thread = Thread(target=self.watch, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()

    def watch(self) -> None:
        while not self.over.wait(0.3):
            live = self.platform.cluster.get_one("deployment", self.platform.name(API))
            self.wanted.append(int(live["spec"]["replicas"]))
            self.ready.append(int(live["status"].get("readyReplicas", 0)))


@pytest.fixture
def _two_pods_again(platform: Platform) -> Iterator[None]:
    yield
    component = f"components.{API}"
    platform.upgrade(f"{component}.scaling.enabled=false", f"{component}.replicas=2")
    platform.cluster.settle()


@pytest.mark.usefixtures("_two_pods_again")
def test_enabling_the_autoscaler_drops_no_pod_and_no_request(
    platform: Platform, authority: Authority, say: Say
) -> None:
    component = f"components.{API}"
    platform.upgrade(f"{component}.replicas=4")
    platform.cluster.settle()
    scaling = [f"{component}.scaling.{setting}" for setting in ("enabled=true", "min=2", "max=6")]
    run, running = load(platform, authority, "scaling")
    with running as generator, Watched(platform) as seen:
        for name, change in (
            ("enabled", scaling),
            ("a later upgrade", [f"{component}.config.A=b"]),
        ):
            with generator.phase(name):
                platform.upgrade(*change)
                platform.cluster.settle()
                time.sleep(20)  # the autoscaler acts every 15 s
        say(f"pods: {min(seen.wanted)} wanted and {min(seen.ready)} ready at least")
        assert min(seen.wanted) == 4
        assert min(seen.ready) == 4
        check(platform, generator, run, say)


@pytest.fixture
def _own_password(platform: Platform) -> Iterator[None]:
    yield
    platform.upgrade("database.password=")
    platform.cluster.settle()


@pytest.mark.usefixtures("_own_password")
def test_another_password_is_refused_until_the_secret_has_it(platform: Platform) -> None:
    cluster, secret = platform.cluster, platform.name(DATABASE)
    pods, new = cluster.uids(), f"pw-{uuid.uuid4().hex}"
    with pytest.raises(AssertionError, match=rf"differs from the Secret {secret}") as caught:
        platform.upgrade(f"database.password={new}")
    assert new not in str(caught.value).partition("exit code")[2]
    assert cluster.uids() == pods

    # README, "Change a password".
    cluster.kubectl(
        "patch", "secret", secret, "--patch", json.dumps({"stringData": {"password": new}})
    )
    cluster.kubectl("rollout", "restart", f"statefulset/{secret}")
    cluster.kubectl("rollout", "status", f"statefulset/{secret}", "--timeout=150s")
    cluster.kubectl("rollout", "restart", f"deployment/{platform.name(WORKER)}")
    cluster.settle()
    platform.upgrade(f"database.password={new}")
    cluster.settle()
    worker = ["exec", cluster.pod(WORKER).name, "--container", WORKER, "--"]
    assert cluster.kubectl(*worker, "/usr/bin/python3", "-c", LOGIN).strip() == "logged in"
    data = cluster.get_one("secret", secret)["data"]
    assert base64.b64decode(data["password"]).decode() == new


@pytest.fixture
def elsewhere(platform: Platform) -> Iterator[Cluster]:
    """A namespace of its own."""
    cluster = platform.cluster
    name = f"gitops-{uuid.uuid4().hex[:8]}"
    cluster.kubectl("create", "namespace", name)
    yield Cluster(
        cluster.kubeconfig, name, programs=cluster.programs, environment=cluster.environment
    )
    cluster.kubectl("delete", "namespace", name, "--wait=false")


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
    wait_for("the pods to be made", lambda: bool(elsewhere.get("pods")), seconds=60)
    # "configured" also tells of patches that change nothing: this asks the API server.
    assert elsewhere.kubectl("diff", "--filename", "-", stdin=objects()) == ""
