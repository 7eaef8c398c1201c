"""templates/NOTES.txt: what helm prints after an installation."""

from __future__ import annotations

import functools
import json
import re
import shlex
from collections.abc import Mapping
from typing import Any

import pytest
from support import CHART, SECURED, alone, helm

PUBLIC = {"tls": {"existingSecret": "bought", "selfSigned": {"enabled": False}, "publicCA": True}}


def notes(values: Mapping[str, Any] | None = None) -> str:
    """Return the NOTES of a dry run."""
    return _notes(json.dumps(values or {}))


@functools.cache
def _notes(values: str) -> str:
    options = ["--namespace=ledger", "--dry-run=client", "--values=-"]
    result = helm("install", "platform", str(CHART), *options, stdin=values)
    assert result.returncode == 0, result.stderr
    return result.stdout.partition("\nNOTES:\n")[2]


def commands(text: str) -> list[list[str]]:
    lines = [line.strip() for line in text.replace("\\\n", "").splitlines()]
    return [shlex.split(line) for line in lines if line.startswith(("kubectl ", "curl ", "helm "))]


def curl(values: Mapping[str, Any] | None = None) -> list[str]:
    (command,) = [command for command in commands(notes(values)) if command[0] == "curl"]
    return command


def test_the_workloads_are_listed() -> None:
    text = notes({"components": {"api-rest": {"scaling": {"enabled": True, "min": 3, "max": 6}}}})
    assert re.search(
        r"^  platform-api-rest +Deployment, pods: 3 to 6, https on port 443$", text, re.MULTILINE
    )
    assert re.search(r"^  platform-async-worker +Deployment, pods: 1$", text, re.MULTILINE)
    assert re.search(r"^  platform-kafka +Kafka$", text, re.MULTILINE)
    assert "namespace ledger, environment local" in text


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("DaemonSet", "a pod on each node"),
        ("Job", "runs once"),
        ("CronJob", r"runs at: 0 3 \* \* \*"),
    ],
)
def test_other_kinds_are_listed_by_when_they_run(kind: str, line: str) -> None:
    cronjob = {"schedule": "0 3 * * *"} if kind == "CronJob" else {}
    text = notes(alone(kind=kind, cronjob=cronjob))
    assert re.search(rf"^  platform-web +{kind}, {line}$", text, re.MULTILINE)


def test_the_curl_verifies_the_services_name() -> None:
    command = curl()
    assert {"--insecure", "-k"} & set(command) == set()
    assert command[command.index("--cacert") + 1] == "platform-ca.crt"
    assert (
        command[command.index("--connect-to") + 1]
        == "platform-api-rest.ledger.svc:443:127.0.0.1:8443"
    )
    assert command[-1] == "https://platform-api-rest.ledger.svc/ready"


def test_the_ca_is_read_from_the_secret_that_has_it() -> None:
    extraction, _ = [command for command in commands(notes()) if "secret" in command]
    assert extraction[:6] == ["kubectl", "--namespace", "ledger", "get", "secret", "platform-ca"]
    assert extraction[6:8] == ["--output", 'go-template={{ index .data "ca.crt" | base64decode }}']


def test_curl_needs_no_public_ca() -> None:
    assert "--cacert" not in curl(PUBLIC)
    assert "ca.crt" not in notes(PUBLIC)


@pytest.mark.parametrize(
    ("values", "name"), [({}, "platform-token"), ({"token": {"existingSecret": "own"}}, "own")]
)
def test_the_token_is_read_from_its_secret(values: dict[str, Any], name: str) -> None:
    _, extraction = [command for command in commands(notes(values)) if "secret" in command]
    assert extraction[:6] == ["kubectl", "--namespace", "ledger", "get", "secret", name]
    assert extraction[6:] == ["--output", "go-template={{ .data.token | base64decode }}"]


def test_the_ca_of_an_existing_secret_is_read_from_it() -> None:
    assert "get secret bought " in notes(
        {"tls": {"existingSecret": "bought", "selfSigned": {"enabled": False}}}
    )


def test_without_a_readiness_route_curl_requests_the_first_page() -> None:
    assert curl(alone(**SECURED))[-1] == "https://platform-web.ledger.svc/"


def test_without_tls_there_is_no_curl() -> None:
    assert [command[0] for command in commands(notes(alone()))] == ["kubectl", "kubectl"]


def test_the_required_label_of_nodes_is_named() -> None:
    text = notes()
    assert "has the label shipay.com.br/capacity-type=ondemand: async-worker\n" in text
    assert "\n  kubectl label node NODE shipay.com.br/capacity-type=ondemand" in text
    assert "kubectl get nodes --selector shipay.com.br/capacity-type=ondemand" in text


def test_components_that_need_the_same_nodes_are_named_together() -> None:
    text = notes(
        {"components": {"api-rest": {"capacityType": {"prefer": None, "require": "ondemand"}}}}
    )
    assert "capacity-type=ondemand: api-rest, async-worker\n" in text
    assert text.count("kubectl label node") == 1


def test_without_a_required_label_nodes_are_not_mentioned() -> None:
    assert "label node" not in notes(alone())


@pytest.mark.parametrize("enabled", [True, False])
def test_helm_test_is_named_if_it_has_tests(enabled: bool) -> None:
    assert (
        "helm test platform --namespace ledger" in notes({"tests": {"enabled": enabled}})
    ) == enabled


@pytest.mark.parametrize("encrypted", [True, False])
def test_a_login_without_tls_is_a_warning(encrypted: bool) -> None:
    is_warned = "set kafka.tls.enabled" in notes(
        {"kafka": {"auth": {"enabled": True}, "tls": {"enabled": encrypted}}}
    )
    assert is_warned is not encrypted


def test_components_that_use_the_owner_of_an_external_database_are_named() -> None:
    external: dict[str, Any] = {"host": "db", "existingSecret": "login"}
    values = {"database": {"enabled": False}, "externalDatabase": external}
    assert "Logged in to the database as its owner: api-rest." in notes(values)
    external["accounts"] = {"reader": {"existingSecret": "r"}}
    assert "Logged in" not in notes(values)
    assert "Logged in" not in notes()
