"""templates/database and what components learn of it."""

from __future__ import annotations

import base64
import configparser
import re
from typing import Any

import pytest
from support import (
    CHART,
    container,
    fails,
    find,
    names,
    of_kind,
    pod,
    pod_annotations,
    render,
)

EXTERNAL: dict[str, Any] = {
    "database": {"enabled": False},
    "externalDatabase": {
        "host": "db.example",
        "port": 3307,
        "name": "books",
        "existingSecret": "login",
    },
}


def configuration(values: dict[str, Any] | None = None) -> configparser.SectionProxy:
    """The server's section of my.cnf."""
    parser = configparser.ConfigParser(allow_no_value=True)
    parser.read_string(
        find(render({"database": values or {}}), "ConfigMap", "platform-database")["data"][
            "platform.cnf"
        ]
    )
    return parser["mariadbd"]


def variables(values: dict[str, Any] | None = None, name: str = "async-worker") -> dict[str, Any]:
    """What a component finds in its environment about the database."""
    env = container(render(values), f"platform-{name}")["env"]
    return {
        each["name"]: each.get("value", each.get("valueFrom", {}).get("secretKeyRef"))
        for each in env
        if each["name"].startswith("DB_")
    }


@pytest.mark.parametrize(
    ("limit", "pool"),
    [
        ("512Mi", "256M"),
        ("1Gi", "512M"),
        ("1.5Gi", "768M"),
        ("2G", "953M"),
        (536870912, "256M"),
        ("1048576Ki", "512M"),
    ],
)
def test_the_buffer_pool_follows_from_the_memory_limit(limit: str | int, pool: str) -> None:
    assert (
        configuration({"resources": {"limits": {"memory": limit}}})["innodb_buffer_pool_size"]
        == pool
    )


def test_ones_own_settings_come_last() -> None:
    found = configuration({"config": {"max_connections": 200, "max_allowed_packet": "64M"}})
    assert list(found.items())[-2:] == [("max_allowed_packet", "64M"), ("max_connections", "200")]


def test_a_change_of_its_configuration_restarts_the_database_alone() -> None:
    before, after = render(), render({"database": {"config": {"max_connections": 200}}})
    assert pod_annotations(before, "platform-database") != pod_annotations(
        after, "platform-database"
    )
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
    assert env["MARIADB_ROOT_PASSWORD"]["valueFrom"]["secretKeyRef"] == {
        "name": "mine",
        "key": "root-password",
    }


def test_a_component_gets_what_it_needs() -> None:
    assert variables() == {
        "DB_HOST": "platform-database",
        "DB_PORT": "3306",
        "DB_DATABASE": "ledger",
        "DB_USERNAME": {"name": "platform-database", "key": "username"},
        "DB_PASSWORD": {"name": "platform-database", "key": "password"},
    }


def test_an_external_database_is_used_instead() -> None:
    assert not [
        each
        for each in render(EXTERNAL)
        if each["metadata"]["name"].startswith("platform-database")
    ]
    assert variables(EXTERNAL) == {
        "DB_HOST": "db.example",
        "DB_PORT": "3307",
        "DB_DATABASE": "books",
        "DB_USERNAME": {"name": "login", "key": "username"},
        "DB_PASSWORD": {"name": "login", "key": "password"},
    }


def logins(values: dict[str, Any] | None = None) -> list[str]:
    """Whose Secrets api-rest and async-worker log in by; each has name and password from one."""
    found = []
    for component in ("api-rest", "async-worker"):
        told = variables(values, component)
        assert told["DB_USERNAME"]["name"] == told["DB_PASSWORD"]["name"]
        found.append(told["DB_USERNAME"]["name"])
    return found


def test_api_rest_has_an_account_of_its_own() -> None:
    assert logins() == ["platform-database-reader", "platform-database"]
    secret = find(render(), "Secret", "platform-database-reader")
    assert secret["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    data = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
    assert data["username"] == "reader"
    assert len(data["password"]) == 32


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"existingSecret": "mine"}, ["platform-database-reader", "mine"]),
        ({"accounts": {"reader": {"existingSecret": "r"}}}, ["r", "platform-database"]),
    ],
)
def test_each_account_may_have_its_own_secret(values: dict[str, Any], expected: list[str]) -> None:
    assert logins({"database": values}) == expected


def test_an_account_with_an_existing_secret_gets_no_other() -> None:
    documents = render({"database": {"accounts": {"reader": {"existingSecret": "r"}}}})
    assert "platform-database-reader" not in names(documents, "Secret")


@pytest.mark.parametrize(
    ("accounts", "expected"),
    [({}, ["login", "login"]), ({"reader": {"existingSecret": "r"}}, ["r", "login"])],
)
def test_an_external_database_has_one_or_two(accounts: dict[str, Any], expected: list[str]) -> None:
    external = {**EXTERNAL["externalDatabase"], "accounts": accounts}
    assert logins({**EXTERNAL, "externalDatabase": external}) == expected


def test_an_account_may_be_taken_away() -> None:
    values = {
        "database": {"accounts": {"reader": None}},
        "components": {"api-rest": {"databaseAccount": None}},
    }
    assert logins(values) == ["platform-database", "platform-database"]
    assert "reader" not in init_file(values)


def init_file(values: dict[str, Any] | None = None) -> str:
    """What the server runs at every start."""
    return str(find(render(values), "ConfigMap", "platform-database")["data"]["accounts.sql"])


def test_the_server_reads_the_accounts_from_secrets_at_every_start() -> None:
    documents = render()
    assert configuration()["init_file"] == "/etc/mysql/conf.d/accounts.sql"
    mounted = container(documents, "platform-database")["volumeMounts"]
    mounts = {each["name"]: each["mountPath"] for each in mounted}
    assert mounts["config"] == "/etc/mysql/conf.d"
    volumes = {each["name"]: each for each in pod(documents, "platform-database")["volumes"]}
    held = {
        f"{mounts['accounts']}/{item['path']}": (source["secret"]["name"], item["key"])
        for source in volumes["accounts"]["projected"]["sources"]
        for item in source["secret"]["items"]
    }
    read = re.findall(r"LOAD_FILE\('([^']+)'\)", init_file())
    assert {path: held[path] for path in read} == {
        "/etc/platform/database/username": ("platform-database", "username"),
        "/etc/platform/database/password": ("platform-database", "password"),
        "/etc/platform/database/accounts/reader/username": ("platform-database-reader", "username"),
        "/etc/platform/database/accounts/reader/password": ("platform-database-reader", "password"),
    }


def test_no_password_is_in_a_config_map() -> None:
    given = {"password": "one-given", "accounts": {"reader": {"password": "another-given"}}}
    for config_map in of_kind(render({"database": given}), "ConfigMap"):
        assert "-given" not in str(config_map)


def test_a_given_password_restarts_who_uses_it() -> None:
    pods = ("platform-database", "platform-api-rest", "platform-async-worker")
    before = render({"database": {"password": "a", "accounts": {"reader": {"password": "b"}}}})
    owner = render({"database": {"password": "c", "accounts": {"reader": {"password": "b"}}}})
    reader = render({"database": {"password": "a", "accounts": {"reader": {"password": "c"}}}})

    def changed(after: list[dict[str, Any]]) -> list[bool]:
        return [pod_annotations(before, name) != pod_annotations(after, name) for name in pods]

    assert changed(owner) == [True, False, True]
    assert changed(reader) == [True, True, False]
    assert "checksum/passwords" not in pod_annotations(render(), "platform-database")


def test_the_readme_gives_the_same_rights() -> None:
    """Where the database is somebody else's."""
    readme = (CHART / "README.md").read_text(encoding="utf-8")
    told = re.findall(r"^((?:GRANT|REVOKE) CREATE.* (?:TO|FROM)) 'reader'", readme, re.MULTILINE)
    made = re.findall(r"'((?:GRANT|REVOKE) CREATE.* (?:TO|FROM)) '", init_file())
    assert told == [each.replace("`", "") for each in made]


def test_root_is_nobody_from_outside() -> None:
    env = {
        each["name"]: each.get("value") for each in container(render(), "platform-database")["env"]
    }
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
    commands = [
        str(database[f"{probe}Probe"]["exec"]["command"]) for probe in ("readiness", "liveness")
    ]
    assert commands[0] != commands[1]
    # A database with no connection to spare is not one to kill.
    assert "Too many connections" in commands[1]
    assert (
        database["startupProbe"]["failureThreshold"] * database["startupProbe"]["periodSeconds"]
        == 300
    )


def test_no_budget_blocks_a_drain() -> None:
    assert "platform-database" not in names(render(), "PodDisruptionBudget")


def test_it_has_the_time_to_stop() -> None:
    assert (
        pod(render({"database": {"shutdownSeconds": 77}}), "platform-database")[
            "terminationGracePeriodSeconds"
        ]
        == 77
    )


def test_only_who_uses_the_database_reaches_it() -> None:
    spec = find(render(), "NetworkPolicy", "platform-database")["spec"]
    (rule,) = spec["ingress"]
    peers = {peer["podSelector"]["matchLabels"]["app.kubernetes.io/name"] for peer in rule["from"]}
    assert peers == {"api-rest", "async-worker"}
    assert spec["egress"] == []


def test_nobody_reaches_a_database_that_nobody_uses() -> None:
    components = {"api-rest": {"uses": ["kafka"]}, "async-worker": {"uses": ["kafka"]}}
    assert (
        find(render({"components": components}), "NetworkPolicy", "platform-database")["spec"][
            "ingress"
        ]
        == []
    )


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"database": {"enabled": False}}, "components.api-rest.uses: there is no database"),
        (
            {"externalDatabase": {"host": "db"}},
            "externalDatabase.host: database.enabled is true too",
        ),
        (
            {"database": {"enabled": False}, "externalDatabase": {"host": "db"}},
            "externalDatabase.existingSecret: it is empty",
        ),
        (
            {"database": {"password": "x", "existingSecret": "y"}},
            "database.existingSecret is set too; keep one",
        ),
        ({"database": {"username": "root"}}, "username"),
        (
            {"database": {"accounts": {"reader": {"username": "ledger"}}}},
            "database.accounts.reader.username: database.username is also ledger",
        ),
        (
            {"database": {"accounts": {"other": {"username": "reader"}}}},
            "database.accounts.reader.username: database.accounts.other.username is also reader",
        ),
        (
            {"database": {"accounts": {"reader": {"password": "x", "existingSecret": "y"}}}},
            "database.accounts.reader.password: database.accounts.reader.existingSecret is set too",
        ),
        ({"database": {"accounts": {"reader": {"username": "root"}}}}, "username"),
        ({"database": {"accounts": {"reader": {"tables": {"t": ["DROP"]}}}}}, "must be one of"),
        ({"database": {"accounts": {"reader": {"table": {}}}}}, "'table' not allowed"),
        ({"database": {"accounts": {"reader": None}}}, "database.accounts has no reader (none)"),
        (
            {"components": {"api-rest": {"databaseAccount": "redaer"}}},
            "components.api-rest.databaseAccount: database.accounts has no redaer (reader)",
        ),
        ({"database": {"config": {"init-file": "/x"}}}, "the chart sets init-file"),
        ({"database": {"config": {"a": "b\n[client]"}}}, "config"),
        ({"database": {"resources": {"limits": {"memory": None}}}}, "memory"),
        ({"database": {"host": "x"}}, "host"),
    ],
)
def test_what_does_not_fit_is_said(values: dict[str, Any], said: str) -> None:
    assert said in fails(values)
