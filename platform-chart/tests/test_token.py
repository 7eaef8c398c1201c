"""The token that may write: templates/token, and who gets it."""

from __future__ import annotations

import pytest
from support import (
    alone,
    by_name,
    container,
    fails,
    find,
    names,
    pod,
    render,
    secret,
    variables,
)

NAME = "platform-token"


def test_it_is_generated_for_api_rest_and_kept() -> None:
    documents = render()
    generated = secret(documents, NAME)
    assert len(generated["token"]) == 32
    assert generated["tokens"] == f"deploy write {generated['token']}\n"
    annotations = find(documents, "Secret", NAME)["metadata"]["annotations"]
    assert annotations == {"helm.sh/resource-policy": "keep"}


@pytest.mark.parametrize(("values", "name"), [("", NAME), ("token: {existingSecret: own}", "own")])
def test_api_rest_reads_its_file(values: str, name: str) -> None:
    documents = render(values)
    assert (NAME in names(documents, "Secret")) == (name == NAME)
    volume = by_name(pod(documents, "platform-api-rest")["volumes"])["token"]["secret"]
    assert volume == {"secretName": name, "items": [{"key": "tokens", "path": "tokens"}]}
    mount = by_name(container(documents, "platform-api-rest")["volumeMounts"])["token"]
    assert mount["readOnly"]
    file = variables(documents, "platform-api-rest")["TOKENS_FILE"]
    assert file == f"{mount['mountPath']}/tokens"


def test_only_who_uses_it_gets_it() -> None:
    assert "token" not in by_name(pod(render(), "platform-async-worker")["volumes"])
    assert NAME not in names(render(alone()), "Secret")


def test_helm_test_sends_it() -> None:
    for values, name in (("", NAME), ("token: {existingSecret: own}", "own")):
        tested = find(render(values), "Pod", "platform-test-event")
        (program,) = tested["spec"]["containers"]
        reference = {"secretKeyRef": {"name": name, "key": "token"}}
        assert {"name": "TOKEN", "valueFrom": reference} in program["env"]


def test_it_opens_no_way_through_the_network() -> None:
    with_token, without = (
        find(render(alone(uses=uses)), "NetworkPolicy", "platform-web")["spec"]
        for uses in (["token"], [])
    )
    assert with_token == without


def test_without_generated_secrets_it_has_to_be_given() -> None:
    message = fails("generateSecrets: false")
    assert "token.existingSecret: generateSecrets is false; name a Secret with token" in message
