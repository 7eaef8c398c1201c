"""templates/database, and how components connect to it."""

from __future__ import annotations

import configparser
import re
from typing import Any

import pytest
from support import (
    CHART,
    by_name,
    container,
    fails,
    find,
    names,
    of_kind,
    pod,
    pod_annotations,
    render,
    secret,
    variables,
)

NAME = "platform-database"
READER = "platform-database-reader"
KEEP = {"helm.sh/resource-policy": "keep"}
OWNER_ONLY = """
database: {accounts: {reader: null}}
components: {api-rest: {databaseAccount: null}}
"""


def external(settings: str = "") -> str:
    """Return values with an external database."""
    database = f"{{host: db, existingSecret: login, {settings}}}"
    return f"database: {{enabled: false}}\nexternalDatabase: {database}"


def configuration(values: str = "") -> configparser.SectionProxy:
    """Return the server's section of my.cnf."""
    parser = configparser.ConfigParser(allow_no_value=True)
    documents = render(f"database: {{{values}}}")
    parser.read_string(find(documents, "ConfigMap", NAME)["data"]["platform.cnf"])
    return parser["mariadbd"]


def init_file(values: str = "") -> str:
    return str(find(render(values), "ConfigMap", NAME)["data"]["accounts.sql"])


def logins(values: str = "") -> list[str]:
    """Return the Secrets by which api-rest and async-worker log in."""
    secrets = []
    for component in ("api-rest", "async-worker"):
        env = variables(render(values), f"platform-{component}")
        assert env["DB_USERNAME"]["name"] == env["DB_PASSWORD"]["name"]
        secrets.append(env["DB_USERNAME"]["name"])
    return secrets


@pytest.mark.parametrize(
    ("limit", "pool"),
    [
        ("512Mi", "256M"),
        ("1.5Gi", "768M"),
        ("2G", "953M"),
        ("536870912", "256M"),
        ("1048576Ki", "512M"),
    ],
)
def test_the_buffer_pool_is_computed_from_the_memory_limit(limit: str, pool: str) -> None:
    settings = configuration(f"resources: {{limits: {{memory: {limit}}}}}")
    assert settings["innodb_buffer_pool_size"] == pool


def test_the_users_settings_are_last() -> None:
    settings = configuration("config: {max_connections: '200', max_allowed_packet: 64M}")
    assert list(settings.items())[-2:] == [
        ("max_allowed_packet", "64M"),
        ("max_connections", "200"),
    ]


def test_a_change_of_the_configuration_restarts_only_the_database() -> None:
    before, after = render(), render("database: {config: {max_connections: '200'}}")
    assert pod_annotations(before, NAME) != pod_annotations(after, NAME)
    for name in ("platform-api-rest", "platform-async-worker", "platform-kafka"):
        assert pod_annotations(before, name) == pod_annotations(after, name)
        assert pod(before, name) == pod(after, name)


@pytest.mark.parametrize(
    ("name", "username", "generated"),
    [(NAME, "ledger", {"password", "root-password"}), (READER, "reader", {"password"})],
)
def test_an_uninstall_keeps_the_generated_passwords(
    name: str, username: str, generated: set[str]
) -> None:
    assert find(render(), "Secret", name)["metadata"]["annotations"] == KEEP
    data = secret(render(), name)
    assert data.pop("username") == username
    assert data.keys() == generated
    assert len(set(data.values())) == len(data)
    assert {len(password) for password in data.values()} == {32}


def test_the_values_may_have_a_password() -> None:
    assert secret(render("database: {password: own}"), NAME)["password"] == "own"


def test_an_existing_secret_replaces_the_generated_one() -> None:
    documents = render("database: {existingSecret: own}")
    assert NAME not in names(documents, "Secret")
    password = variables(documents, NAME)["MARIADB_ROOT_PASSWORD"]
    assert password == {"name": "own", "key": "root-password"}
    documents = render("database: {accounts: {reader: {existingSecret: own}}}")
    assert READER not in names(documents, "Secret")


@pytest.mark.parametrize(
    ("values", "address", "login"),
    [
        ("", ("platform-database", "3306", "ledger"), NAME),
        (external("port: 3307, name: books"), ("db", "3307", "books"), "login"),
    ],
)
def test_a_component_gets_address_and_login(
    values: str, address: tuple[str, ...], login: str
) -> None:
    env = variables(render(values), "platform-async-worker", "DB_")
    assert tuple(env.pop(f"DB_{key}") for key in ("HOST", "PORT", "DATABASE")) == address
    assert env == {
        "DB_USERNAME": {"name": login, "key": "username"},
        "DB_PASSWORD": {"name": login, "key": "password"},
    }


def test_an_external_database_replaces_the_charts() -> None:
    objects = [each["metadata"]["name"] for each in render(external())]
    assert not [name for name in objects if name.startswith(NAME)]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ("", [READER, NAME]),
        ("database: {existingSecret: own}", [READER, "own"]),
        ("database: {accounts: {reader: {existingSecret: r}}}", ["r", NAME]),
        (OWNER_ONLY, [NAME, NAME]),
        (external(), ["login", "login"]),
        (external("accounts: {reader: {existingSecret: r}}"), ["r", "login"]),
    ],
)
def test_each_account_logs_in_by_its_secret(values: str, expected: list[str]) -> None:
    assert logins(values) == expected


def test_the_server_reads_the_accounts_from_secrets_at_every_start() -> None:
    assert configuration()["init_file"] == "/etc/mysql/conf.d/accounts.sql"
    mounts = by_name(container(render(), NAME)["volumeMounts"])
    assert mounts["config"]["mountPath"] == "/etc/mysql/conf.d"
    sources = by_name(pod(render(), NAME)["volumes"])["accounts"]["projected"]["sources"]
    files = {
        f"{mounts['accounts']['mountPath']}/{item['path']}": (source["secret"]["name"], item["key"])
        for source in sources
        for item in source["secret"]["items"]
    }
    folder = "/etc/platform/database"
    paths = re.findall(r"LOAD_FILE\('([^']+)'\)", init_file())
    assert {path: files[path] for path in paths} == {
        f"{folder}/username": (NAME, "username"),
        f"{folder}/password": (NAME, "password"),
        f"{folder}/accounts/reader/username": (READER, "username"),
        f"{folder}/accounts/reader/password": (READER, "password"),
    }


def test_no_config_map_contains_a_password() -> None:
    documents = render("database: {password: a-secret, accounts: {reader: {password: a-secret}}}")
    assert "a-secret" not in str(of_kind(documents, "ConfigMap"))


@pytest.mark.parametrize(
    ("changed", "restarted"),
    [
        ("{password: x, accounts: {reader: {password: b}}}", {NAME, "platform-async-worker"}),
        ("{password: a, accounts: {reader: {password: x}}}", {NAME, "platform-api-rest"}),
    ],
)
def test_a_changed_password_restarts_what_uses_it(changed: str, restarted: set[str]) -> None:
    before = render("database: {password: a, accounts: {reader: {password: b}}}")
    after = render(f"database: {changed}")
    assert restarted == {
        name
        for name in (NAME, "platform-api-rest", "platform-async-worker")
        if pod_annotations(before, name) != pod_annotations(after, name)
    }
    assert "checksum/passwords" not in pod_annotations(render(), NAME)


def test_the_readme_grants_the_same_rights_in_an_external_database() -> None:
    readme = (CHART / "README.md").read_text(encoding="utf-8")
    grants = re.findall(r"^((?:GRANT|REVOKE) CREATE.* (?:TO|FROM)) 'reader'", readme, re.MULTILINE)
    expected = re.findall(r"'((?:GRANT|REVOKE) CREATE.* (?:TO|FROM)) '", init_file())
    assert grants == [each.replace("`", "") for each in expected]


def test_root_logs_in_from_inside_the_pod_only() -> None:
    env = variables(render(), NAME)
    assert env["MARIADB_ROOT_HOST"] == "localhost"
    # The image would log a random password.
    assert "MARIADB_RANDOM_ROOT_PASSWORD" not in env


def test_the_data_is_in_a_claim() -> None:
    documents = render("database: {persistence: {size: 3Gi, storageClass: fast}}")
    (claim,) = find(documents, "StatefulSet", NAME)["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "3Gi"
    assert claim["spec"]["storageClassName"] == "fast"
    mounts = by_name(container(documents, NAME)["volumeMounts"])
    assert mounts[claim["metadata"]["name"]]["mountPath"] == "/var/lib/mysql"


def test_the_probes_check_different_things() -> None:
    database = container(render(), NAME)
    ready, alive = (
        str(database[f"{probe}Probe"]["exec"]["command"]) for probe in ("readiness", "liveness")
    )
    assert ready != alive
    # A server without free connections is not restarted.
    assert "Too many connections" in alive
    startup = database["startupProbe"]
    assert startup["failureThreshold"] * startup["periodSeconds"] == 300


def test_it_has_time_to_stop_and_no_budget_that_blocks_a_drain() -> None:
    spec = pod(render("database: {shutdownSeconds: 77}"), NAME)
    assert spec["terminationGracePeriodSeconds"] == 77
    assert NAME not in names(render(), "PodDisruptionBudget")


def test_only_components_that_use_the_database_may_connect() -> None:
    def policy(values: str = "") -> Any:
        return find(render(values), "NetworkPolicy", NAME)["spec"]

    (rule,) = policy()["ingress"]
    peers = {peer["podSelector"]["matchLabels"]["app.kubernetes.io/name"] for peer in rule["from"]}
    assert peers == {"api-rest", "async-worker"}
    assert "egress" not in policy()
    unused = "components: {api-rest: {uses: [kafka]}, async-worker: {uses: [kafka]}}"
    assert "ingress" not in policy(unused)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("database: {enabled: false}", "components.api-rest.uses: there is no database"),
        ("externalDatabase: {host: db}", "externalDatabase.host: database.enabled is true too"),
        (
            "database: {enabled: false}\nexternalDatabase: {host: db}",
            "externalDatabase.existingSecret: it is empty",
        ),
        (
            "database: {password: x, existingSecret: y}",
            "database.password: database.existingSecret is set too; keep one",
        ),
        (
            "database: {accounts: {reader: {username: ledger}}}",
            "database.accounts.reader.username: database.username is also ledger",
        ),
        (
            "database: {accounts: {other: {username: reader}}}",
            "database.accounts.reader.username: database.accounts.other.username is also reader",
        ),
        (
            "database: {accounts: {reader: {password: x, existingSecret: y}}}",
            "database.accounts.reader.password: database.accounts.reader.existingSecret is set too",
        ),
        ("database: {accounts: {reader: null}}", "database.accounts has no reader (none)"),
        (
            "components: {api-rest: {databaseAccount: redaer}}",
            "components.api-rest.databaseAccount: database.accounts has no redaer (reader)",
        ),
        ("database: {config: {init-file: /x}}", "database.config: the chart sets init-file"),
    ],
)
def test_a_mistake_is_reported(values: str, message: str) -> None:
    assert message in fails(values)


TLS = "database: {tls: {enabled: true}}"


def mount_path(documents: list[dict[str, Any]], name: str, volume: str) -> str:
    return str(by_name(container(documents, name)["volumeMounts"])[volume]["mountPath"])


def test_its_certificate_is_for_its_service() -> None:
    documents = render(TLS)
    keys = {"ca.crt", "tls.crt", "tls.key"}
    assert secret(documents, f"{NAME}-tls").keys() == keys
    annotations = find(documents, "Secret", f"{NAME}-tls")["metadata"]["annotations"]
    hosts = "platform-database,platform-database.test,platform-database.test.svc,"
    assert annotations["shipay.com.br/certificate-names"].startswith(hosts)
    assert secret(documents, f"{NAME}-ca").keys() == {"ca.crt"}


def test_the_server_gets_the_certificate_as_files() -> None:
    documents = render(TLS)
    sources = by_name(pod(documents, NAME)["volumes"])["accounts"]["projected"]["sources"]
    assert {
        "secret": {
            "name": f"{NAME}-tls",
            "items": [{"key": name, "path": name} for name in ("tls.crt", "tls.key")],
        }
    } in sources
    server = configuration("tls: {enabled: true}")
    folder = mount_path(documents, NAME, "accounts")
    assert (server["ssl_cert"], server["ssl_key"]) == (f"{folder}/tls.crt", f"{folder}/tls.key")


@pytest.mark.parametrize(
    ("values", "ca"),
    [
        (TLS, f"{NAME}-ca"),
        ("database: {tls: {enabled: true, existingSecret: own}}", "own"),
        (external("caSecret: cloud"), "cloud"),
    ],
)
@pytest.mark.parametrize("component", ["platform-api-rest", "platform-async-worker"])
def test_components_verify_it(values: str, ca: str, component: str) -> None:
    documents = render(values)
    volume = by_name(pod(documents, component)["volumes"])["database-ca"]["secret"]
    assert volume == {"secretName": ca, "items": [{"key": "ca.crt", "path": "ca.crt"}]}
    folder = mount_path(documents, component, "database-ca")
    assert variables(documents, component)["DB_TLS_CA"] == f"{folder}/ca.crt"


@pytest.mark.parametrize("values", ["", external()])
def test_without_tls_they_verify_nothing(values: str) -> None:
    documents = render(values)
    assert "DB_TLS_CA" not in variables(documents, "platform-api-rest")
    assert not {f"{NAME}-tls", f"{NAME}-ca"} & set(names(documents, "Secret"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("database: {tls: {existingSecret: x}}", "no effect while database.tls.enabled is false"),
        ("externalDatabase: {caSecret: x}", "database.enabled is true; set database.tls instead"),
        (
            f"generateSecrets: false\n{TLS}",
            "database.tls.existingSecret: generateSecrets is false; name a Secret with tls.crt",
        ),
    ],
)
def test_contradictions_of_tls_are_refused(values: str, message: str) -> None:
    assert message in fails(values)
