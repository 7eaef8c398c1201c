"""templates/components/secret.yaml: Secrets from values."""

from __future__ import annotations

from support import alone, names, render, secret


def test_secrets_by_value_are_in_a_secret() -> None:
    documents = render(
        alone(secrets={"TOKEN": {"value": "t&é"}, "PIN": {"value": "0755"}, "X": {"secret": "own"}})
    )
    assert secret(documents, "platform-web") == {"TOKEN": "t&é", "PIN": "0755"}


def test_secret_files_are_in_a_secret_of_their_volume() -> None:
    documents = render(
        alone(volumes={"tokens": {"mountPath": "/t", "secretFiles": {"tokens.txt": "a write b\n"}}})
    )
    assert secret(documents, "platform-web-tokens") == {"tokens.txt": "a write b\n"}


def test_existing_secrets_need_no_other() -> None:
    assert names(render(alone(secrets={"X": {"secret": "own"}})), "Secret") == []
