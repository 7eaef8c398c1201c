"""templates/database and what components learn of it."""

from __future__ import annotations

import base64
import configparser
from typing import Any

import pytest
from support import container, fails, find, names, pod, pod_annotations, render

EXTERNAL: dict[str, Any] = {
    "database": {"enabled": False},
    "externalDatabase": {"host": "db.example", "port": 3307, "name": "books", "existingSecret": "login"},
}


def configuration(values: dict[str, Any] | None = None) -> configparser.SectionProxy:
    """The server's section of my.cnf."""
    parser = configparser.ConfigParser(allow_no_value=True)
    parser.read_string(
        find(render({"database": values or {}}), "ConfigMap", "platform-database")["data"]["platform.cnf"]
    )
    return parser["mariadbd"]


def variables(values: dict[str, Any] | None = None) -> dict[str, Any]:
    """What a component finds in its environment about the database."""
    env = container(render(values), "platform-api-rest")["env"]
    return {
        each["name"]: each.get("value", each.get("valueFrom", {}).get("secretKeyRef"))
        for each in env
        if each["name"].startswith("DB_")
    }


@pytest.mark.parametrize(
    ("limit", "pool"),
    [("512Mi", "256M"), ("1Gi", "512M"), ("1.5Gi", "768M"), ("2G", "953M"), (536870912, "256M"), ("1048576Ki", "512M")],
)
def test_the_buffer_pool_follows_from_the_memory_limit(limit: str | int, pool: str) -> None:
    assert configuration({"resources": {"limits": {"memory": limit}}})["innodb_buffer_pool_size"] == pool


def test_ones_own_settings_come_last() -> None:
    found = configuration({"config": {"max_connections": 200, "max_allowed_packet": "64M"}})
    assert list(found.items())[-2:] == [("max_allowed_packet", "64M"), ("max_connections", "200")]


def test_a_change_of_its_configuration_restarts_the_database_alone() -> None:
    before, after = render(), render({"database": {"config": {"max_connections": 200}}})
    assert pod_annotations(before, "platform-database") != pod_annotations(after, "platform-database")
    for name in ("platform-api-rest", "platform-async-worker", "platform-kafka"):
        assert pod_annotations(before, name) == pod_annotations(after, name)
        assert pod(before, name) == pod(after, name)


def test_the_accounts_have_a_secret_that_outlives_the_release() -> None:
    secret = find(render(), "Secret", "platform-database")
    assert secret["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    data = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
    assert data["username"] == "ledger"
    assert len(data["password"]) == len(data["root-password"]) == 32
    assert data["password"] != data["root-password"]


def test_a_password_can_be_given() -> None:
    secret = find(render({"database": {"password": "given"}}), "Secret", "platform-database")
    assert base64.b64decode(secret["data"]["password"]).decode() == "given"


def test_an_existing_secret_is_used_instead() -> None:
    values = {"database": {"existingSecret": "mine"}}
    documents = render(values)
    assert "platform-database" not in names(documents, "Secret")
    assert variables(values)["DB_PASSWORD"] == {"name": "mine", "key": "password"}
    env = {each["name"]: each for each in container(documents, "platform-database")["env"]}
    assert env["MARIADB_ROOT_PASSWORD"]["valueFrom"]["secretKeyRef"] == {"name": "mine", "key": "root-password"}


def test_a_component_gets_what_it_needs() -> None:
    assert variables() == {
        "DB_HOST": "platform-database",
        "DB_PORT": "3306",
        "DB_DATABASE": "ledger",
        "DB_USERNAME": {"name": "platform-database", "key": "username"},
        "DB_PASSWORD": {"name": "platform-database", "key": "password"},
    }


def test_an_external_database_is_used_instead() -> None:
    assert not [each for each in render(EXTERNAL) if each["metadata"]["name"].startswith("platform-database")]
    assert variables(EXTERNAL) == {
        "DB_HOST": "db.example",
        "DB_PORT": "3307",
        "DB_DATABASE": "books",
        "DB_USERNAME": {"name": "login", "key": "username"},
        "DB_PASSWORD": {"name": "login", "key": "password"},
    }


def test_root_is_nobody_from_outside() -> None:
    env = {each["name"]: each.get("value") for each in container(render(), "platform-database")["env"]}
    assert env["MARIADB_ROOT_HOST"] == "localhost"
    # Its password would be in the log.
    assert "MARIADB_RANDOM_ROOT_PASSWORD" not in env


def test_the_data_is_in_a_claim_and_the_root_is_read_only() -> None:
    documents = render({"database": {"persistence": {"size": "3Gi", "storageClass": "fast"}}})
    (claim,) = find(documents, "StatefulSet", "platform-database")["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "3Gi"
    assert claim["spec"]["storageClassName"] == "fast"
    database = container(documents, "platform-database")
    mounts = {mount["mountPath"]: mount["name"] for mount in database["volumeMounts"]}
    assert mounts["/var/lib/mysql"] == claim["metadata"]["name"]
    assert {"/run/mysqld", "/tmp"} < set(mounts)  # noqa: S108
    assert database["securityContext"]["readOnlyRootFilesystem"] is True


def test_the_probes_are_distinct() -> None:
    database = container(render(), "platform-database")
    commands = [str(database[f"{probe}Probe"]["exec"]["command"]) for probe in ("readiness", "liveness")]
    assert commands[0] != commands[1]
    # A database with no connection to spare is not one to kill.
    assert "Too many connections" in commands[1]
    assert database["startupProbe"]["failureThreshold"] * database["startupProbe"]["periodSeconds"] == 300


def test_no_budget_blocks_a_drain() -> None:
    assert "platform-database" not in names(render(), "PodDisruptionBudget")


def test_it_has_the_time_to_stop() -> None:
    assert (
        pod(render({"database": {"shutdownSeconds": 77}}), "platform-database")["terminationGracePeriodSeconds"] == 77
    )


def test_only_who_uses_the_database_reaches_it() -> None:
    spec = find(render(), "NetworkPolicy", "platform-database")["spec"]
    (rule,) = spec["ingress"]
    peers = {peer["podSelector"]["matchLabels"]["app.kubernetes.io/name"] for peer in rule["from"]}
    assert peers == {"api-rest", "async-worker"}
    assert spec["egress"] == []


def test_nobody_reaches_a_database_that_nobody_uses() -> None:
    components = {"api-rest": {"uses": ["kafka"]}, "async-worker": {"uses": ["kafka"]}}
    assert find(render({"components": components}), "NetworkPolicy", "platform-database")["spec"]["ingress"] == []


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"database": {"enabled": False}}, "components.api-rest.uses: there is no database"),
        ({"externalDatabase": {"host": "db"}}, "the chart's own database is enabled too"),
        (
            {"database": {"enabled": False}, "externalDatabase": {"host": "db"}},
            "it needs a Secret with username and password",
        ),
        ({"database": {"password": "x", "existingSecret": "y"}}, "database.existingSecret is set too; choose one"),
        ({"database": {"username": "root"}}, "username"),
        ({"database": {"config": {"a": "b\n[client]"}}}, "config"),
        ({"database": {"resources": {"limits": {"memory": None}}}}, "memory"),
        ({"database": {"host": "x"}}, "host"),
    ],
)
def test_what_does_not_fit_is_said(values: dict[str, Any], said: str) -> None:
    assert said in fails(values)
