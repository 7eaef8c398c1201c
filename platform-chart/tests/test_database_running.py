"""The database's files with a running MariaDB: its accounts and their rights."""

from __future__ import annotations

import os
import ssl
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pymysql
import pytest
from support import by_name, container, find, pod, render, secret
from test_proxy_running import docker, until

pytestmark = pytest.mark.engine

IMAGE = os.environ.get("DATABASE_IMAGE", "mariadb:11.8.9")
OWNER, READER = "platform-database", "platform-database-reader"
TLS = {"database": {"tls": {"enabled": True}}}
NO_ACCESS, DENIED, MISSING = 1045, 1142, 1146


class Server:
    """The chart's database in a container, with a volume that is kept between starts."""

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o755)
        self.folder = folder
        self.name = f"chart-database-{uuid.uuid4().hex[:8]}"
        documents = render(TLS)
        self.secrets = {
            name: secret(documents, name) for name in (OWNER, READER, f"{OWNER}-tls", f"{OWNER}-ca")
        }

    def start(self, values: dict[str, Any] | None = None, *, earlier: bool = False) -> None:
        """Start with these values; `earlier` is the version without accounts."""
        docker("rm", "--force", self.name)
        documents = render({"database": values or {}})
        files = find(documents, "ConfigMap", OWNER)["data"]
        if earlier:
            lines = files["platform.cnf"].splitlines()
            files = {"platform.cnf": "\n".join(line for line in lines if "init_file" not in line)}
        self.put("config", files)
        self.put("accounts", self.projected(documents))
        database = container(documents, OWNER)
        mounts = {mount["name"]: mount["mountPath"] for mount in database["volumeMounts"]}
        sources = {"config": self.folder / "config", "accounts": self.folder / "accounts"}
        options = [f"--volume={self.name}:{mounts['data']}"]
        options += [f"--volume={folder}:{mounts[name]}:ro" for name, folder in sources.items()]
        user = pod(documents, OWNER)["securityContext"]["runAsUser"]
        options += [f"--tmpfs={mounts[name]}:uid={user}" for name in ("run", "tmp")]
        for each in database["env"]:
            value = each.get("value")
            if value is None:
                reference = each["valueFrom"]["secretKeyRef"]
                value = self.secrets[reference["name"]][reference["key"]]
            options.append(f"--env={each['name']}={value}")
        options += ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
        docker("run", "--detach", f"--name={self.name}", f"--user={user}:{user}", *options, IMAGE)
        self.address = docker("inspect", "--format", "{{.NetworkSettings.IPAddress}}", self.name)
        until(self.answers)

    def projected(self, documents: list[dict[str, Any]]) -> dict[str, str]:
        """Return the files that the kubelet creates from the Secrets."""
        volumes = by_name(pod(documents, OWNER)["volumes"])
        return {
            item["path"]: self.secrets[source["secret"]["name"]][item["key"]]
            for source in volumes["accounts"]["projected"]["sources"]
            for item in source["secret"]["items"]
        }

    def put(self, volume: str, files: dict[str, str]) -> None:
        for path, text in files.items():
            file = self.folder / volume / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)

    def answers(self) -> bool:
        """Return whether it accepts connections, with any account."""
        try:
            return bool(self.query(OWNER, "SELECT 1"))
        except pymysql.err.OperationalError as error:
            if error.args[0] == NO_ACCESS:
                return True
            raise ConnectionError from error

    def query(
        self, account: str, sql: str, password: str = "", tls: ssl.SSLContext | None = None
    ) -> Any:
        login = self.secrets[account]
        connection = pymysql.connect(
            ssl=tls,
            host=self.address,
            user=login["username"],
            password=password or login["password"],
            database="ledger",
            autocommit=True,
        )
        with closing(connection), connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall()

    def refused(self, account: str, sql: str, password: str = "") -> int:
        """Return the error number of a statement."""
        with pytest.raises(pymysql.err.MySQLError) as caught:
            self.query(account, sql, password)
        return int(caught.value.args[0])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    try:
        yield server
    finally:
        docker("rm", "--force", server.name)
        docker("volume", "rm", "--force", server.name)


def rights(server: Server, account: str) -> set[str]:
    """Return the grants of an account, without its name."""
    return {line.partition(" TO ")[0] for (line,) in server.query(account, "SHOW GRANTS")}


def test_on_a_new_volume_an_account_has_rights_on_missing_tables(server: Server) -> None:
    server.start()
    assert rights(server, READER) == {
        "GRANT USAGE ON *.*",
        "GRANT SELECT ON `ledger`.`deployments`",
        "GRANT SELECT, INSERT, UPDATE ON `ledger`.`idempotency_keys`",
        "GRANT SELECT, INSERT, UPDATE ON `ledger`.`freezes`",
        "GRANT SELECT, INSERT, UPDATE ON `ledger`.`drift`",
    }
    assert server.refused(READER, "SELECT * FROM deployments") == MISSING
    assert server.refused(READER, "CREATE TABLE deployments (id INT)") == DENIED
    server.query(OWNER, "CREATE TABLE deployments (id INT)")
    assert server.query(READER, "SELECT * FROM deployments") == ()
    assert server.refused(READER, "INSERT INTO deployments VALUES (1)") == DENIED


def test_an_existing_volume_gets_accounts_and_changed_passwords(server: Server) -> None:
    server.start(earlier=True)
    server.query(OWNER, "CREATE TABLE deployments AS SELECT 'kept' AS id")
    assert server.refused(READER, "SELECT 1") == NO_ACCESS

    server.start()
    assert server.query(READER, "SELECT id FROM deployments") == (("kept",),)
    assert server.query(OWNER, "SELECT id FROM deployments") == (("kept",),)

    before = {name: server.secrets[name]["password"] for name in (OWNER, READER)}
    server.secrets[OWNER]["password"] = "the owner's\\"
    server.secrets[READER]["password"] = 'a "reader" %;'
    server.start({"accounts": {"reader": {"tables": {"deployments": None}}}})
    assert rights(server, READER) == {
        "GRANT USAGE ON *.*",
        "GRANT SELECT, INSERT, UPDATE ON `ledger`.`idempotency_keys`",
        "GRANT SELECT, INSERT, UPDATE ON `ledger`.`freezes`",
        "GRANT SELECT, INSERT, UPDATE ON `ledger`.`drift`",
    }
    assert server.query(OWNER, "SELECT id FROM deployments") == (("kept",),)
    for name, password in before.items():
        assert server.refused(name, "SELECT 1", password) == NO_ACCESS


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        ("username", "ledger", "ERROR: 1644  database.accounts.reader is the owner"),
        ("password", "", "ERROR: 1064"),
    ],
)
def test_a_wrong_secret_affects_only_its_account(
    server: Server,
    key: str,
    value: str,
    error: str,
) -> None:
    server.secrets[READER][key] = value
    server.start()
    assert error in docker("logs", server.name)
    assert "GRANT ALL PRIVILEGES ON `ledger`.*" in rights(server, OWNER)
    login = {**server.secrets[READER], "username": "reader"}
    server.secrets[READER] = login
    assert server.refused(READER, "SELECT 1") == NO_ACCESS


def test_it_has_the_certificate_that_components_verify(server: Server) -> None:
    """Also while the data directory is made, and for clients that verify nothing."""
    server.start({"tls": {"enabled": True}, "config": {"require_secure_transport": "ON"}})
    context = ssl.create_default_context(cadata=server.secrets[f"{OWNER}-ca"]["ca.crt"])
    # The test connects to an address, and the certificate is for the Service.
    context.check_hostname = False
    status = "SHOW STATUS LIKE 'Ssl_cipher'"
    for tls in (context, None):
        assert server.query(READER, status, tls=tls)[0][1]
    elsewhere = secret(render({**TLS, "environment": "elsewhere"}), f"{OWNER}-ca")
    other = ssl.create_default_context(cadata=elsewhere["ca.crt"])
    other.check_hostname = False
    with pytest.raises(pymysql.err.OperationalError, match="CERTIFICATE_VERIFY_FAILED"):
        server.query(READER, status, tls=other)
