"""templates/components/secret.yaml: Secrets from values."""

from __future__ import annotations

from base64 import b64decode

from support import alone, find, names, render


def test_values_are_a_secret() -> None:
    documents = render(
        alone(
            secrets={"TOKEN": {"value": "t&é"}, "PIN": {"value": 1000000}, "X": {"secret": "own"}}
        )
    )
    secret = find(documents, "Secret", "platform-web")
    decoded = {key: b64decode(value).decode() for key, value in secret["data"].items()}
    assert decoded == {"TOKEN": "t&é", "PIN": "1000000"}


def test_secret_files_are_a_secret_for_their_volume() -> None:
    documents = render(
        alone(volumes={"tokens": {"mountPath": "/t", "secretFiles": {"tokens.txt": "a write b\n"}}})
    )
    data = find(documents, "Secret", "platform-web-tokens")["data"]
    assert b64decode(data["tokens.txt"]) == b"a write b\n"


def test_existing_secrets_make_none() -> None:
    assert names(render(alone(secrets={"X": {"secret": "own"}})), "Secret") == []
