"""The exact lines that kubectl is given, context and namespace on each, and what is read from what it prints."""

import json
from pathlib import Path

import pytest
from pytest_subprocess import FakeProcess

from delivery import process
from delivery.deploy import kubectl
from delivery.deploy.kubectl import Kubernetes
from delivery.deploy.leases import STOP_SECONDS
from delivery.errors import CommandError, DeployError

START = ["kubectl", "--context=kind-sample", "--namespace=platform", "--request-timeout=20s"]
PROJECT = Kubernetes("kubectl", "kind-sample", "platform")
POD = {"kind": "Pod", "metadata": {"name": "web"}}


def test_reads_the_contexts(fp: FakeProcess) -> None:
    fp.register(
        ["kubectl", "config", "get-contexts", "--output=name"], stdout=["kind-sample", "work"]
    )
    fp.register(["kubectl", "config", "current-context"], stdout=["work"])
    assert kubectl.contexts("kubectl") == ["kind-sample", "work"]
    assert kubectl.current_context("kubectl") == "work"


def test_there_may_be_no_current_context(fp: FakeProcess) -> None:
    current = ["kubectl", "config", "current-context"]
    fp.register(current, returncode=1, stderr=["error: current-context is not set"])
    fp.register(current, returncode=1, stderr=["error: open /root/.kube/config: permission denied"])
    assert kubectl.current_context("kubectl") == ""
    with pytest.raises(CommandError):
        kubectl.current_context("kubectl")


def test_a_cluster_that_does_not_answer_says_what_to_do(fp: FakeProcess) -> None:
    fp.register([*START, "get", "--raw", "/version"], returncode=1, stderr=["connection refused"])
    with pytest.raises(DeployError, match="the context kind-sample: it does not answer") as caught:
        PROJECT.reach()
    assert "./run inv cluster.up" in caught.value.hint
    assert caught.value.details == "connection refused"


def test_a_kubeconfig_that_is_told_is_read(fp: FakeProcess) -> None:
    line = ["kubectl", "--kubeconfig=other", *START[1:], "get", "--raw", "/version"]
    fp.register(line, stdout=["{}"])
    Kubernetes("kubectl", "kind-sample", "platform", Path("other")).reach()
    assert fp.call_count(line) == 1


def test_a_command_and_each_of_its_requests_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[tuple[str, float]] = []

    def capture(argv: list[str], *, timeout: float, **_options: object) -> str:
        limits.append((argv[3], timeout))
        return ""

    monkeypatch.setattr(process, "capture", capture)
    PROJECT.find("Pod", "web")
    PROJECT.within(5).find("Pod", "web")
    PROJECT.within(5).delete("Pod", ["web"])
    PROJECT.delete("Pod", ["web"])
    assert limits == [
        ("--request-timeout=20s", 120),
        ("--request-timeout=5s", 5),
        ("--request-timeout=5s", 5),
        (f"--request-timeout={STOP_SECONDS}s", STOP_SECONDS),
    ]


def test_finds_one_or_none(fp: FakeProcess) -> None:
    line = [*START, "get", "Pod", "web", "--ignore-not-found", "--output=json"]
    fp.register(line, stdout=[json.dumps(POD)])
    fp.register(line)
    assert PROJECT.find("Pod", "web") == POD
    assert PROJECT.find("Pod", "web") is None


def test_lists_those_that_a_selector_chooses(fp: FakeProcess) -> None:
    fp.register(
        [*START, "get", "pods", "--selector=a=b", "--output=json"],
        stdout=[json.dumps({"items": [POD]})],
    )
    fp.register([*START, "get", "events", "--output=json"], stdout=[json.dumps({"items": []})])
    assert PROJECT.all("pods", "a=b") == [POD]
    assert PROJECT.all("events") == []


@pytest.mark.parametrize("verb", ["create", "replace"])
def test_puts_what_it_is_given(tmp_path: Path, verb: str) -> None:
    program = tmp_path / "kubectl"
    program.write_text(f'#!/bin/sh\necho "$*" > {tmp_path}/line\ncat\n')
    program.chmod(0o755)
    assert getattr(Kubernetes(str(program), "kind-sample", "platform"), verb)(POD) == POD
    assert (tmp_path / "line").read_text().split() == [
        *START[1:],
        verb,
        "--filename=-",
        "--output=json",
    ]


def test_deletes_by_name_and_asks_nothing_for_no_names(fp: FakeProcess) -> None:
    # Whoever deletes has to be done before somebody else may have the lease.
    start = [*START[:-1], f"--request-timeout={STOP_SECONDS}s"]
    line = [*start, "delete", "secret", "a", "b", "--ignore-not-found", "--wait=false"]
    fp.register(line)
    PROJECT.delete("secret", ["a", "b"])
    PROJECT.delete("secret", [])
    assert len(fp.calls) == 1


def test_compares_a_manifest_with_the_cluster(fp: FakeProcess) -> None:
    fp.register(
        [*START, "get", "--filename=-", "--ignore-not-found", "--output=json"],
        stdout=[json.dumps({"kind": "List", "items": [POD, POD]})],
    )
    apply = [
        "apply",
        "--server-side",
        "--dry-run=server",
        "--force-conflicts",
        "--field-manager=us",
    ]
    fp.register([*START, *apply, "--filename=-", "--output=json"], stdout=[json.dumps(POD)])
    assert PROJECT.live("kind: Pod") == [POD, POD]
    assert PROJECT.would_be("kind: Pod", "us") == [POD]


def test_nothing_live_is_an_empty_list(fp: FakeProcess) -> None:
    fp.register([*START, "get", "--filename=-", "--ignore-not-found", "--output=json"])
    assert PROJECT.live("kind: Pod") == []


def test_a_log_that_is_not_there_says_why(fp: FakeProcess) -> None:
    line = [*START, "logs", "web-1", "--container=web", "--tail=15"]
    fp.register(line, stdout=["started"])
    fp.register(
        [*line, "--previous"], returncode=1, stderr=["previous terminated container not found"]
    )
    assert PROJECT.log("web-1", "web", lines=15) == "started\n"
    assert (
        PROJECT.log("web-1", "web", lines=15, previous=True)
        == "(previous terminated container not found)"
    )
