"""templates/NOTES.txt: what somebody who has just deployed is told."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any

import pytest
from support import CHART, alone, helm

WEB = {
    "ports": {"http": 5000},
    "service": {"enabled": True},
    "tls": {"enabled": True, "backendPort": "http"},
}
PUBLIC = {"tls": {"existingSecret": "bought", "selfSigned": {"enabled": False}, "publicCA": True}}


def notes(values: Mapping[str, Any] | None = None) -> str:
    """Return the NOTES of an install that does not happen."""
    arguments = [
        "install",
        "platform",
        str(CHART),
        "--namespace",
        "ledger",
        "--dry-run=client",
        "--values",
        "-",
    ]
    result = helm(*arguments, stdin=json.dumps(values or {}))
    assert result.returncode == 0, result.stderr
    return result.stdout.partition("\nNOTES:\n")[2]


def commands(text: str) -> list[list[str]]:
    lines = [line.strip() for line in text.replace("\\\n", "").splitlines()]
    return [shlex.split(line) for line in lines if line.startswith(("kubectl ", "curl ", "helm "))]


def curl(values: Mapping[str, Any] | None = None) -> list[str]:
    (found,) = [command for command in commands(notes(values)) if command[0] == "curl"]
    return found


def test_what_was_deployed() -> None:
    text = notes({"components": {"api-rest": {"scaling": {"enabled": True, "min": 3, "max": 6}}}})
    assert re.search(
        r"^  platform-api-rest +Deployment, pods: 3 to 6, https on port 443$", text, re.MULTILINE
    )
    assert re.search(r"^  platform-async-worker +Deployment, pods: 1$", text, re.MULTILINE)
    assert re.search(r"^  platform-kafka +Kafka$", text, re.MULTILINE)
    assert "namespace ledger, environment local" in text


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
    (extraction,) = [command for command in commands(notes()) if "secret" in command]
    assert extraction[:6] == ["kubectl", "--namespace", "ledger", "get", "secret", "platform-ca"]
    assert extraction[6:8] == ["--output", 'go-template={{ index .data "ca.crt" | base64decode }}']


def test_a_ca_that_everybody_knows_is_not_given() -> None:
    assert "--cacert" not in curl(PUBLIC)
    assert "get secret" not in notes(PUBLIC)


def test_an_existing_secrets_own_ca_is_read_from_it() -> None:
    assert "get secret bought " in notes(
        {"tls": {"existingSecret": "bought", "selfSigned": {"enabled": False}}}
    )


def test_a_component_without_a_readiness_route_is_asked_for_its_first_page() -> None:
    assert curl(alone(**WEB))[-1] == "https://platform-web.ledger.svc/"


def test_without_tls_there_is_no_curl() -> None:
    assert [command[0] for command in commands(notes(alone()))] == ["kubectl", "kubectl"]


def test_where_the_worker_may_run_and_how_a_node_is_labelled() -> None:
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


def test_nothing_is_said_of_nodes_when_any_will_do() -> None:
    assert "label node" not in notes(alone())


@pytest.mark.parametrize("enabled", [True, False])
def test_the_tests_are_named_where_there_are_some(enabled: bool) -> None:  # noqa: FBT001
    assert (
        "helm test platform --namespace ledger" in notes({"tests": {"enabled": enabled}})
    ) == enabled


@pytest.mark.parametrize("encrypted", [True, False])
def test_a_login_without_tls_is_warned_of(encrypted: bool) -> None:  # noqa: FBT001
    told = "set kafka.tls.enabled" in notes(
        {"kafka": {"auth": {"enabled": True}, "tls": {"enabled": encrypted}}}
    )
    assert told is not encrypted


def test_who_logs_in_to_an_external_database_as_its_owner() -> None:
    external: dict[str, Any] = {"host": "db", "existingSecret": "login"}
    values = {"database": {"enabled": False}, "externalDatabase": external}
    assert "Logged in to the database as its owner: api-rest." in notes(values)
    external["accounts"] = {"reader": {"existingSecret": "r"}}
    assert "Logged in" not in notes(values)
    assert "Logged in" not in notes()
