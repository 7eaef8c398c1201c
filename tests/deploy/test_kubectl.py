"""The exact command lines of kubectl, and how its output is read."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pytest_subprocess import FakeProcess

from delivery import process
from delivery.deploy import kubectl
from delivery.deploy.kubectl import Kubernetes
from delivery.deploy.leases import STOP_SECONDS
from delivery.errors import DeployError

START = ["kubectl", "--context=kind-sample", "--namespace=platform", "--request-timeout=20s"]
CLUSTER = Kubernetes("kubectl", "kind-sample", "platform")
POD = {"kind": "Pod", "metadata": {"name": "web"}}


@pytest.mark.parametrize(
    ("kubeconfig", "expected"),
    [
        (
            {"contexts": [{"name": "kind-sample"}, {"name": "work"}], "current-context": "work"},
            (["kind-sample", "work"], "work"),
        ),
        ({"contexts": None, "current-context": ""}, ([], "")),
    ],
)
def test_reads_the_contexts(
    fp: FakeProcess, kubeconfig: dict[str, object], expected: tuple[list[str], str]
) -> None:
    fp.register(["kubectl", "config", "view", "--output=json"], stdout=[json.dumps(kubeconfig)])
    assert kubectl.contexts("kubectl") == expected


def test_a_cluster_that_does_not_answer_is_an_error_with_a_hint(fp: FakeProcess) -> None:
    fp.register([*START, "get", "--raw", "/version"], returncode=1, stderr=["connection refused"])
    with pytest.raises(DeployError, match="the context kind-sample: it does not answer") as caught:
        CLUSTER.reach()
    assert "./run inv cluster.up" in caught.value.hint
    assert caught.value.details == "connection refused"


def test_another_kubeconfig(fp: FakeProcess) -> None:
    line = ["kubectl", "--kubeconfig=other", *START[1:], "get", "--raw", "/version"]
    fp.register(line, stdout=["{}"])
    Kubernetes("kubectl", "kind-sample", "platform", Path("other")).reach()
    assert fp.call_count(line) == 1


def test_a_port_of_this_machine_leads_to_a_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[list[str]] = []

    @contextmanager
    def running(
        argv: list[str], *, doing: str, ready: re.Pattern[str]
    ) -> Iterator[re.Match[str] | None]:
        assert doing.startswith("forward a port to ")
        lines.append(argv)
        yield ready.search("Forwarding from 127.0.0.1:41123 -> 8001")

    monkeypatch.setattr(process, "running", running)
    with CLUSTER.forwarded("pod/web", "management") as port:
        assert port == 41123
    with CLUSTER.forwarded("service/web", 443, 8443):
        pass
    shown = [" ".join(line[3:]) for line in lines]
    assert shown == [
        "port-forward pod/web :management --address=127.0.0.1",
        "port-forward service/web 8443:443 --address=127.0.0.1",
    ]


def test_a_command_and_each_of_its_requests_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[tuple[str, float]] = []

    def capture(argv: list[str], *, timeout: float, **_options: object) -> str:
        limits.append((argv[3], timeout))
        return ""

    monkeypatch.setattr(process, "capture", capture)
    CLUSTER.find("Pod", "web")
    CLUSTER.within(5).find("Pod", "web")
    CLUSTER.within(5).delete("Pod", ["web"])
    CLUSTER.delete("Pod", ["web"])
    assert limits == [
        ("--request-timeout=20s", 120),
        ("--request-timeout=5s", 5),
        ("--request-timeout=5s", 5),
        (f"--request-timeout={STOP_SECONDS}s", STOP_SECONDS),
    ]


def test_finds_an_object_or_none(fp: FakeProcess) -> None:
    line = [*START, "get", "Pod", "web", "--ignore-not-found", "--output=json"]
    fp.register(line, stdout=[json.dumps(POD)])
    fp.register(line)
    assert CLUSTER.find("Pod", "web") == POD
    assert CLUSTER.find("Pod", "web") is None


def test_lists_all_objects_or_those_of_a_selector(fp: FakeProcess) -> None:
    fp.register(
        [*START, "get", "pods", "--selector=a=b", "--output=json"],
        stdout=[json.dumps({"items": [POD]})],
    )
    fp.register([*START, "get", "events", "--output=json"], stdout=[json.dumps({"items": []})])
    assert CLUSTER.all("pods", "a=b") == [POD]
    assert CLUSTER.all("events") == []


def test_shows_a_table(fp: FakeProcess) -> None:
    fp.register(
        [*START, "get", "pods", "--selector=a=b", "--output=wide"],
        stdout=["NAME  READY", "web  1/1"],
    )
    assert CLUSTER.table("pods", "a=b") == "NAME  READY\nweb  1/1"


@pytest.mark.parametrize("verb", ["create", "replace"])
def test_creates_and_replaces_the_given_object(tmp_path: Path, verb: str) -> None:
    program = tmp_path / "kubectl"
    program.write_text(f'#!/bin/sh\necho "$*" > {tmp_path}/line\ncat\n')
    program.chmod(0o755)
    assert getattr(Kubernetes(str(program), "kind-sample", "platform"), verb)(POD) == POD
    line = [*START[1:], verb, "--filename=-", "--output=json"]
    assert (tmp_path / "line").read_text().split() == line


def test_merges_a_change_into_an_object(fp: FakeProcess) -> None:
    line = [*START, "patch", "pod", "web", "--type=merge", '--patch={"spec": {"a": 1}}']
    fp.register(line, stdout=["pod/web patched"])
    CLUSTER.patch("pod", "web", {"spec": {"a": 1}})
    assert fp.call_count(line) == 1


def test_deletes_by_name_and_runs_nothing_without_names(fp: FakeProcess) -> None:
    # A delete has to end before another deploy may have the lease.
    start = [*START[:-1], f"--request-timeout={STOP_SECONDS}s"]
    line = [*start, "delete", "secret", "a", "b", "--ignore-not-found", "--wait=false"]
    fp.register(line)
    CLUSTER.delete("secret", ["a", "b"])
    CLUSTER.delete("secret", [])
    assert len(fp.calls) == 1


def test_compares_a_manifest_with_the_cluster(fp: FakeProcess) -> None:
    fp.register(
        [*START, "get", "--filename=-", "--ignore-not-found", "--output=json"],
        stdout=[json.dumps({"kind": "List", "items": [POD, POD]})],
    )
    apply = ["apply", "--server-side", "--dry-run=server", "--force-conflicts"]
    apply += ["--field-manager=us"]
    fp.register([*START, *apply, "--filename=-", "--output=json"], stdout=[json.dumps(POD)])
    assert CLUSTER.live("kind: Pod") == [POD, POD]
    assert CLUSTER.dry_run("kind: Pod", "us") == [POD]
    apply.insert(-1, "--validate=false")
    fp.register([*START, *apply, "--filename=-", "--output=json"], stdout=[json.dumps(POD)])
    assert CLUSTER.dry_run("kind: Pod", "us", validate=False) == [POD]


def test_nothing_live_is_an_empty_list(fp: FakeProcess) -> None:
    fp.register([*START, "get", "--filename=-", "--ignore-not-found", "--output=json"])
    assert CLUSTER.live("kind: Pod") == []


def test_a_missing_log_gives_the_reason(fp: FakeProcess) -> None:
    line = [*START, "logs", "web-1", "--container=web", "--tail=15"]
    fp.register(line, stdout=["started"])
    fp.register(
        [*line, "--previous"], returncode=1, stderr=["previous terminated container not found"]
    )
    assert CLUSTER.log("web-1", "web") == "started\n"
    assert CLUSTER.log("web-1", "web", previous=True) == "(previous terminated container not found)"


def test_logs_are_passed_on_line_by_line(fp: FakeProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_kill_with_parent", tuple)
    argv = ["kubectl", "--context=kind-sample", "--namespace=platform", "logs", "--selector=a=b"]
    argv += ["--all-containers", "--prefix", "--tail=5", "--ignore-errors"]
    argv += ["--max-log-requests=100"]
    fp.register([*argv, "--follow"], stdout=["[pod/a/b] one", "[pod/a/b] two"])
    fp.register(argv, stdout=["three"])
    lines: list[str] = []
    CLUSTER.logs("a=b", lines.append, follow=True, tail=5)
    CLUSTER.logs("a=b", lines.append, follow=False, tail=5)
    assert lines == ["[pod/a/b] one\n", "[pod/a/b] two\n", "three\n"]


def test_a_namespace_is_deleted_only_as_it_was_read(tmp_path: Path) -> None:
    program = tmp_path / "kubectl"
    program.write_text(f'#!/bin/sh\necho "$*" > {tmp_path}/line\ncat > {tmp_path}/body\n')
    program.chmod(0o755)
    namespace = {"metadata": {"name": "a", "resourceVersion": "5"}}
    Kubernetes(str(program), "kind-sample", "platform").delete_namespace(namespace)
    line = [*START[1:-1], f"--request-timeout={STOP_SECONDS}s", "delete"]
    line += ["--raw=/api/v1/namespaces/a", "--filename=-"]
    assert (tmp_path / "line").read_text().split() == line
    options = json.loads((tmp_path / "body").read_text())
    assert (options["kind"], options["preconditions"]) == (
        "DeleteOptions",
        {"resourceVersion": "5"},
    )
