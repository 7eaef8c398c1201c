"""templates/tests and files/helm-test: the pods and scripts of `helm test`."""

from __future__ import annotations

import http.server
import importlib.util
import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support import CHART, SECURED, alone, by_name, find, names, of_kind, render, secret

EVENT_ID = "5d4e8a54-0000-4000-8000-000000000000"


def hook(name: str, values: Mapping[str, Any] | str = "") -> dict[str, Any]:
    """Return a pod of `helm test`."""
    return find(render(values), "Pod", name)


def program(tested: dict[str, Any]) -> dict[str, Any]:
    (container,) = tested["spec"]["containers"]
    assert isinstance(container, dict)
    return container


def script(name: str) -> str:
    return (CHART / "files" / "helm-test" / f"{name}.py").read_text()


def load_script(name: str) -> ModuleType:
    """Import a script of the pods."""
    spec = importlib.util.spec_from_file_location(
        f"helm_test_{name}", CHART / "files" / "helm-test" / f"{name}.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# The pods.


def test_they_are_hooks_that_are_deleted_once_their_log_is_printed() -> None:
    hooks = [each for each in render() if "helm.sh/hook" in each["metadata"].get("annotations", {})]
    assert [each["kind"] for each in hooks] == ["Pod", "Pod"]
    for each in hooks:
        annotations = each["metadata"]["annotations"]
        assert annotations["helm.sh/hook"] == "test"
        # A failed one stays until the next test.
        policy = annotations["helm.sh/hook-delete-policy"].split(",")
        assert policy == ["before-hook-creation", "hook-succeeded"]
        assert annotations["helm.sh/hook-output-log-policy"] == "hook-succeeded,hook-failed"
        assert each["spec"]["restartPolicy"] == "Never"
    # An event needs TLS, so that is tested first.
    weights = {
        each["metadata"]["name"]: int(each["metadata"]["annotations"]["helm.sh/hook-weight"])
        for each in hooks
    }
    assert weights["platform-test-tls"] < weights["platform-test-event"]


def test_they_have_an_account_of_their_own_without_a_token() -> None:
    account = find(render(), "ServiceAccount", "platform-test")
    assert account["automountServiceAccountToken"] is False
    for name in ("platform-test-tls", "platform-test-event"):
        spec = hook(name)["spec"]
        assert spec["serviceAccountName"] == "platform-test"
        assert spec["automountServiceAccountToken"] is False
    assert "platform-test" not in names(render({"tests": {"enabled": False}}), "ServiceAccount")


def test_tls_is_tested_by_every_name_of_the_service() -> None:
    assert program(hook("platform-test-tls"))["command"] == [
        "python3",
        "-I",
        "-u",
        "-c",
        script("tls"),
        "platform-api-rest",
        "platform-api-rest.test",
        "platform-api-rest.test.svc",
        "platform-api-rest.test.svc.cluster.local",
    ]


def test_the_event_names_release_version_and_environment() -> None:
    command = program(hook("platform-test-event", {"environment": "staging"}))["command"]
    assert command[3:] == [
        "-c",
        script("event"),
        "platform-api-rest.test.svc.cluster.local",
        "platform",
        "0.1.0",
        "staging",
    ]


def test_they_run_the_components_image_or_another() -> None:
    api = {"components": {"api-rest": {"image": {"repository": "r/api", "tag": "7", "digest": ""}}}}
    assert program(hook("platform-test-tls", api))["image"] == "r/api:7"
    other = {"tests": {"image": {"repository": "python", "tag": "3.13"}}}
    assert program(hook("platform-test-tls", other))["image"] == "python:3.13"


def test_they_mount_the_ca_without_a_key() -> None:
    tested = hook("platform-test-tls")
    assert by_name(tested["spec"]["volumes"])["ca"]["secret"] == {
        "secretName": "platform-ca",
        "items": [{"key": "ca.crt", "path": "ca.crt"}],
    }
    assert {"name": "CA_FILE", "value": "/ca/ca.crt"} in program(tested)["env"]


def test_a_public_ca_is_not_mounted() -> None:
    public = {
        "tls": {"existingSecret": "bought", "selfSigned": {"enabled": False}, "publicCA": True}
    }
    tested = hook("platform-test-tls", public)
    assert "volumes" not in tested["spec"]
    assert "volumeMounts" not in program(tested)
    assert "CA_FILE" not in str(program(tested)["env"])


def test_a_token_comes_from_a_secret() -> None:
    tested = hook("platform-test-event", {"tests": {"token": {"secret": "tokens", "key": "ci"}}})
    reference = {"secretKeyRef": {"name": "tokens", "key": "ci"}}
    assert {"name": "TOKEN", "valueFrom": reference} in program(tested)["env"]


@pytest.mark.parametrize(
    "values",
    [
        {"tests": {"enabled": False}},
        alone(),
        {"components": {"api-rest": {"tls": {"enabled": False}}}},
    ],
)
def test_without_a_component_with_tls_there_are_none(values: dict[str, Any]) -> None:
    assert of_kind(render(values), "Pod") == []


def test_another_component_can_be_tested() -> None:
    tested = hook("platform-test-tls", alone(**SECURED) | {"tests": {"component": "web"}})
    assert "platform-web" in program(tested)["command"]


# The script about events, with a server that responds like api-rest.


class Ledger(http.server.BaseHTTPRequestHandler):
    """Returns the next response for the path of each request, and the last one again."""

    replies: dict[str, list[tuple[int, dict[str, Any]]]]
    requests: list[tuple[str, str | None, str | None]]

    def do_GET(self) -> None:
        replies = self.replies[self.path]
        status, body = replies.pop(0) if len(replies) > 1 else replies[0]
        self.requests.append(
            (self.path, self.headers["Idempotency-Key"], self.headers["Authorization"])
        )
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_POST = do_GET  # noqa: N815  as http.server calls it

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Log nothing."""


@pytest.fixture(name="ledger")
def _ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[http.server.ThreadingHTTPServer]:
    documents = render(alone(**SECURED) | {"tls": {"extraNames": ["localhost"]}})
    for key, value in secret(documents, "platform-tls").items():
        (tmp_path / key).write_text(value)
    monkeypatch.setenv("CA_FILE", str(tmp_path / "ca.crt"))
    monkeypatch.setenv("TIMEOUT", "5")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ledger)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    Ledger.requests = []
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


ACCEPTED = (202, {"id": EVENT_ID, "received_at": "2026-01-01T00:00:00Z"})
STORED = {
    "component": "platform",
    "version": "1",
    "environment": "local",
    "responsible": "helm test",
    "stage": "verify",
    "status": "succeeded",
    "id": EVENT_ID,
}


def send(
    ledger: http.server.ThreadingHTTPServer, **replies: list[tuple[int, dict[str, Any]]]
) -> int:
    """Run the script with these replies of the ledger."""
    Ledger.replies = {
        "/deployments": replies["post"],
        f"/deployments/{EVENT_ID}": replies["get"],
    }
    event = load_script("event")
    vars(event)["PAUSE"] = 0.01
    try:
        code: int = event.main(f"localhost:{ledger.server_port}", "platform", "1", "local")
    except SystemExit as ended:
        return int(ended.code or 0)
    return code


def test_an_event_that_is_stored_passes(
    ledger: http.server.ThreadingHTTPServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert send(ledger, post=[ACCEPTED], get=[(404, {}), (404, {}), (200, STORED)]) == 0
    assert "FAILED" not in capsys.readouterr().out
    keys = {key for path, key, _ in Ledger.requests if path == "/deployments"}
    assert len(keys) == 1
    assert None not in keys


def test_a_platform_that_starts_gets_retries(
    ledger: http.server.ThreadingHTTPServer,
) -> None:
    assert send(ledger, post=[(503, {}), (503, {}), ACCEPTED], get=[(200, STORED)]) == 0


def test_the_token_is_sent(
    ledger: http.server.ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "secret")
    assert send(ledger, post=[ACCEPTED], get=[(200, STORED)]) == 0
    assert {authorization for _, _, authorization in Ledger.requests} == {"Bearer secret"}


@pytest.mark.parametrize(
    ("post", "get", "report"),
    [
        (
            [(401, {"error": "no token"})],
            [(200, STORED)],
            "POST /deployments: expected 202, got 401",
        ),
        (
            [ACCEPTED, (202, {"id": "other"})],
            [(200, STORED)],
            "the same POST again: another response",
        ),
        (
            [ACCEPTED],
            [(200, STORED | {"version": "2"})],
            f"GET /deployments/{EVENT_ID}: other fields than were posted: {{'version': '2'}}",
        ),
    ],
)
def test_a_failure_is_reported(
    ledger: http.server.ThreadingHTTPServer,
    capsys: pytest.CaptureFixture[str],
    post: list[tuple[int, dict[str, Any]]],
    get: list[tuple[int, dict[str, Any]]],
    report: str,
) -> None:
    assert send(ledger, post=post, get=get) == 1
    assert f"FAILED  {report}" in capsys.readouterr().out


def test_an_event_that_is_never_stored_fails(
    ledger: http.server.ThreadingHTTPServer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TIMEOUT", "0")
    assert send(ledger, post=[ACCEPTED], get=[(404, {"error": "not stored"})]) == 1
    assert f"FAILED  GET /deployments/{EVENT_ID}: expected 200, got 404" in capsys.readouterr().out


# The script about TLS. It needs port 443, so these tests check only its report.


def test_each_failed_check_is_counted_and_reported(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = load_script("tls")

    def fail() -> str:
        raise OSError("no response")

    monkeypatch.setattr(
        tls, "checks", lambda hosts: [(hosts[0], lambda: "fine"), ("b", fail), ("c", fail)]
    )
    assert tls.main(["a"]) == 2
    assert capsys.readouterr().out.splitlines() == [
        "passed  a: fine",
        "FAILED  b: no response",
        "FAILED  c: no response",
    ]
