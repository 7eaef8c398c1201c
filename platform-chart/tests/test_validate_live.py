"""templates/_validate-live.tpl: values that contradict what is in the cluster."""

from __future__ import annotations

import base64

import pytest
from live import claim, refused, upgraded
from support import Document, find, render, secret

OWNER, READER, KAFKA = "platform-database", "platform-database-reader", "platform-kafka"
AUTH = "kafka: {auth: {enabled: true}}"


def without(documents: list[Document], name: str) -> list[Document]:
    """Return objects without the Secret of this name."""
    return [
        each for each in documents if (each["kind"], each["metadata"]["name"]) != ("Secret", name)
    ]


def changed(documents: list[Document], name: str, **data: str) -> list[Document]:
    """Return objects with other data in a Secret."""
    old = find(documents, "Secret", name)
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    new = {**old, "data": {**old["data"], **encoded}}
    return [*without(documents, name), new]


def test_a_login_that_the_database_does_not_have_is_refused() -> None:
    login = "username: other-name, password: other-secret"
    error = refused(render(), f"database: {{{login}, accounts: {{reader: {{{login}2}}}}}}")
    for key in ("username", "password"):
        assert f"database.{key}: it differs from the Secret {OWNER}" in error
        assert f"database.accounts.reader.{key}: it differs from the Secret {READER}" in error
    assert 'README, "Change a password"' in error
    # The reader has the owner's name too.
    assert "5 mistakes" in error
    assert "other-secret" not in error


LONG = "a-prefix-that-is-longer-than-forty-characters"


@pytest.mark.parametrize("backend", ["kafka", "database"])
def test_a_prefix_that_an_earlier_chart_cut_is_refused(backend: str) -> None:
    live = [
        each
        for each in render({"fullnameOverride": LONG[:40]})
        if each["metadata"]["name"] == f"{LONG[:40]}-{backend}" and each["kind"] != "Secret"
    ]
    error = refused(live, {"fullnameOverride": LONG})
    assert f"fullnameOverride: an earlier chart called the objects {LONG[:40]}-" in error
    assert "one mistake" in error


def test_a_long_prefix_of_another_release_is_accepted() -> None:
    live = render({"fullnameOverride": LONG[:40]}, "", "another")
    assert upgraded(live, {"fullnameOverride": LONG})


def test_another_name_of_the_database_is_refused() -> None:
    error = refused(render(), "database: {name: other}")
    assert "database.name: it was ledger at the first start and cannot change" in error
    assert "one mistake" in error


def test_a_password_that_is_in_the_secret_is_accepted() -> None:
    live = changed(render(), OWNER, password="new")
    assert secret(upgraded(live, "database: {password: new}"), OWNER)["password"] == "new"


def test_a_first_install_may_have_any_login() -> None:
    values = "database: {username: me, password: mine}"
    assert secret(upgraded([], values), OWNER)["username"] == "me"


def test_an_external_or_existing_login_is_not_compared() -> None:
    assert upgraded(render(), "database: {existingSecret: own}")
    external = "database: {enabled: false, password: x}\nexternalDatabase: {host: db, %s}"
    assert upgraded(render(), external % "existingSecret: own")


def test_another_user_of_kafka_is_refused() -> None:
    error = refused(render(AUTH), "kafka: {auth: {enabled: true, username: other}}")
    assert "kafka.auth.username: Kafka's user is platform; create the new one in Kafka" in error
    assert "one mistake" in error


@pytest.mark.parametrize("key", ["username", "password", "broker-password", "controller-password"])
def test_a_secret_with_other_logins_of_kafka_is_refused(key: str) -> None:
    live = render(AUTH)
    own = {**find(live, "Secret", KAFKA), "metadata": {"name": "own"}}
    values = "kafka: {auth: {enabled: true, existingSecret: own}}"
    assert upgraded([*live, own], values)
    error = refused(changed([*live, own], "own", **{key: "other"}), values)
    assert (
        "kafka.auth.existingSecret: own has other users or passwords than platform-kafka" in error
    )


@pytest.mark.parametrize(
    ("values", "path", "name"), [(AUTH, "kafka.auth", KAFKA), ("", "database", OWNER)]
)
def test_a_claim_without_its_secret_is_refused(values: str, path: str, name: str) -> None:
    live = [*without(render(values), name), claim(f"data-{name}-0")]
    error = refused(live, values)
    assert f"{path}: the claim data-{name}-0 has users, but their Secret {name} is missing" in error
    assert f"name one in {path}.existingSecret" in error
    named = {"kafka.auth": "kafka: {auth: {enabled: true, existingSecret: own}}"}
    assert upgraded(live, named.get(path, "database: {existingSecret: own}"))


def test_a_claim_of_a_kafka_without_users_needs_no_secret() -> None:
    assert upgraded([*render(), claim("data-platform-kafka-0")])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("kafka: {replicas: 3}", "kafka.replicas: it was 1 at the first install"),
        (AUTH, "the brokers use PLAINTEXT, which cannot change to SASL_PLAINTEXT"),
    ],
)
def test_what_kafka_cannot_change_is_refused(values: str, message: str) -> None:
    assert message in refused(render(), values)
