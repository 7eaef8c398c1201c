"""templates/tests and files/helm-test: what `helm test` runs."""

from __future__ import annotations

import base64
import http.server
import importlib.util
import json
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support import CHART, alone, find, names, of_kind, render

WEB = {
    "ports": {"http": 5000},
    "service": {"enabled": True},
    "tls": {"enabled": True, "backendPort": "http"},
}
EVENT_ID = "5d4e8a54-0000-4000-8000-000000000000"


def hook(name: str, values: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return a pod of the tests."""
    return find(render(values), "Pod", name)


def program(tested: dict[str, Any]) -> dict[str, Any]:
    (found,) = tested["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def script(name: str) -> str:
    return (CHART / "files" / "helm-test" / f"{name}.py").read_text()


def loaded(name: str) -> ModuleType:
    """Import a script that the pods run."""
    spec = importlib.util.spec_from_file_location(
        f"helm_test_{name}", CHART / "files" / "helm-test" / f"{name}.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# The pods.


def test_they_are_hooks_that_stay_until_the_next_test() -> None:
    pods = of_kind(render(), "Pod")
    assert [pod["metadata"]["name"] for pod in pods] == ["platform-test-event", "platform-test-tls"]
    for pod in pods:
        noted = pod["metadata"]["annotations"]
        assert noted["helm.sh/hook"] == "test"
        assert noted["helm.sh/hook-delete-policy"] == "before-hook-creation"
        assert pod["spec"]["restartPolicy"] == "Never"


def test_each_hook_of_the_tests_is_a_pod() -> None:
    # `helm test --logs` asks for the log of each, and a release keeps nothing of them.
    hooks = [
        one
        for one in render()
        if one["metadata"].get("annotations", {}).get("helm.sh/hook") == "test"
    ]
    assert [one["kind"] for one in hooks] == ["Pod", "Pod"]
    assert "platform-test" not in names(render(), "ConfigMap")


def test_tls_comes_before_the_event_that_needs_it() -> None:
    weights = {
        pod["metadata"]["name"]: int(pod["metadata"]["annotations"]["helm.sh/hook-weight"])
        for pod in of_kind(render(), "Pod")
    }
    assert weights["platform-test-tls"] < weights["platform-test-event"]


def test_every_name_of_the_service_is_asked_for() -> None:
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


def test_the_event_says_what_was_tested() -> None:
    command = program(hook("platform-test-event", {"environment": "staging"}))["command"]
    assert command[3:] == [
        "-c",
        script("event"),
        "platform-api-rest.test.svc.cluster.local",
        "platform",
        "0.1.0",
        "staging",
    ]


def test_they_run_the_components_own_image_or_another() -> None:
    api = {"components": {"api-rest": {"image": {"repository": "r/api", "tag": "7", "digest": ""}}}}
    assert program(hook("platform-test-tls", api))["image"] == "r/api:7"
    other = {"tests": {"image": {"repository": "python", "tag": "3.13"}}}
    assert program(hook("platform-test-tls", other))["image"] == "python:3.13"


def test_they_verify_with_the_ca_alone_and_have_no_key() -> None:
    tested = hook("platform-test-tls")
    (volume,) = [volume for volume in tested["spec"]["volumes"] if volume["name"] == "ca"]
    assert volume["secret"] == {
        "secretName": "platform-ca",
        "items": [{"key": "ca.crt", "path": "ca.crt"}],
    }
    assert {"name": "CA_FILE", "value": "/ca/ca.crt"} in program(tested)["env"]


def test_a_ca_that_everybody_knows_is_not_mounted() -> None:
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
def test_there_are_none_without_something_to_test(values: dict[str, Any]) -> None:
    assert of_kind(render(values), "Pod") == []


def test_another_component_can_be_tested() -> None:
    tested = hook("platform-test-tls", alone(**WEB) | {"tests": {"component": "web"}})
    assert "platform-web" in program(tested)["command"]


# The script about events, against a server that answers as api-rest does.


class Ledger(http.server.BaseHTTPRequestHandler):
    """Answers from a script: each request takes the next answer for its path."""

    answers: dict[str, list[tuple[int, dict[str, Any]]]]
    seen: list[tuple[str, str | None, str | None]]

    def do_GET(self) -> None:
        answers = self.answers[self.path]
        status, body = answers.pop(0) if len(answers) > 1 else answers[0]
        self.seen.append(
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
        """Say nothing."""


@pytest.fixture(name="ledger")
def _ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[http.server.ThreadingHTTPServer]:
    secrets = {
        document["metadata"]["name"]: document
        for document in of_kind(
            render(alone(**WEB) | {"tls": {"extraNames": ["localhost"]}}), "Secret"
        )
    }
    for key in ("tls.crt", "tls.key", "ca.crt"):
        (tmp_path / key).write_bytes(base64.b64decode(secrets["platform-tls"]["data"][key]))
    monkeypatch.setenv("CA_FILE", str(tmp_path / "ca.crt"))
    monkeypatch.setenv("TIMEOUT", "5")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ledger)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    Ledger.seen = []
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
    ledger: http.server.ThreadingHTTPServer, **answers: list[tuple[int, dict[str, Any]]]
) -> int:
    """Run the script against what the ledger is to answer."""
    Ledger.answers = {"/deployments": answers["post"], f"/deployments/{EVENT_ID}": answers["get"]}
    event = loaded("event")
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
    keys = {key for path, key, _ in Ledger.seen if path == "/deployments"}
    assert len(keys) == 1
    assert None not in keys


def test_a_platform_that_is_not_ready_yet_is_asked_again(
    ledger: http.server.ThreadingHTTPServer,
) -> None:
    assert send(ledger, post=[(503, {}), (503, {}), ACCEPTED], get=[(200, STORED)]) == 0


def test_the_token_is_sent(
    ledger: http.server.ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "secret")
    assert send(ledger, post=[ACCEPTED], get=[(200, STORED)]) == 0
    assert {authorization for _, _, authorization in Ledger.seen} == {"Bearer secret"}


@pytest.mark.parametrize(
    ("post", "get", "said"),
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
def test_what_goes_wrong_is_said(
    ledger: http.server.ThreadingHTTPServer,
    capsys: pytest.CaptureFixture[str],
    post: list[tuple[int, dict[str, Any]]],
    get: list[tuple[int, dict[str, Any]]],
    said: str,
) -> None:
    assert send(ledger, post=post, get=get) == 1
    assert f"FAILED  {said}" in capsys.readouterr().out


def test_an_event_that_is_never_stored_fails(
    ledger: http.server.ThreadingHTTPServer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TIMEOUT", "0")
    assert send(ledger, post=[ACCEPTED], get=[(404, {"error": "not stored"})]) == 1
    assert f"FAILED  GET /deployments/{EVENT_ID}: expected 200, got 404" in capsys.readouterr().out


# The script about TLS: its port is 443, so no server of ours can be asked: what is tested is how outcomes are
# reported.


def test_each_failed_check_is_counted_and_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = loaded("tls")

    def fail() -> str:
        message = "nobody answers"
        raise OSError(message)

    monkeypatch.setattr(
        tls, "checks", lambda hosts: [(hosts[0], lambda: "fine"), ("b", fail), ("c", fail)]
    )
    assert tls.main(["a"]) == 2
    assert capsys.readouterr().out.splitlines() == [
        "passed  a: fine",
        "FAILED  b: nobody answers",
        "FAILED  c: nobody answers",
    ]
