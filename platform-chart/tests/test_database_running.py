"""The database's files on a real MariaDB: whom it knows after a start, and what each may do."""

from __future__ import annotations

import base64
import os
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pymysql
import pytest
from support import container, find, pod, render
from test_proxy_running import docker, until

pytestmark = pytest.mark.engine

IMAGE = os.environ.get("DATABASE_IMAGE", "mariadb:11.8")
OWNER, READER = "platform-database", "platform-database-reader"
NO_ACCESS, DENIED, MISSING = 1045, 1142, 1146


class Server:
    """The chart's database in a container, with a volume that outlives it."""

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o755)
        self.folder = folder
        self.name = f"chart-database-{uuid.uuid4().hex[:8]}"
        documents = render()
        self.secrets = {name: secret(documents, name) for name in (OWNER, READER)}

    def start(self, values: dict[str, Any] | None = None, *, earlier: bool = False) -> None:
        """Have it run with these values; earlier: as the version before there were accounts."""
        docker("rm", "--force", self.name)
        documents = render({"database": values or {}})
        held = find(documents, "ConfigMap", OWNER)["data"]
        if earlier:
            lines = held["platform.cnf"].splitlines()
            held = {"platform.cnf": "\n".join(line for line in lines if "init_file" not in line)}
        self.put("config", held)
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
        """The files that the kubelet makes of the Secrets."""
        volumes = {each["name"]: each for each in pod(documents, OWNER)["volumes"]}
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
        """Whether it takes connections; who is known to it is another matter."""
        try:
            return bool(self.query(OWNER, "SELECT 1"))
        except pymysql.err.OperationalError as error:
            if error.args[0] == NO_ACCESS:
                return True
            raise ConnectionError from error

    def query(self, account: str, sql: str, password: str = "") -> Any:
        login = self.secrets[account]
        connection = pymysql.connect(
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
        """The number of the error that a statement ends with."""
        with pytest.raises(pymysql.err.MySQLError) as caught:
            self.query(account, sql, password)
        return int(caught.value.args[0])


def secret(documents: list[dict[str, Any]], name: str) -> dict[str, str]:
    data = find(documents, "Secret", name)["data"]
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    try:
        yield made
    finally:
        docker("rm", "--force", made.name)
        docker("volume", "rm", "--force", made.name)


def rights(server: Server, account: str) -> set[str]:
    """What an account was granted, without to whom."""
    return {line.partition(" TO ")[0] for (line,) in server.query(account, "SHOW GRANTS")}


def test_on_a_new_volume_an_account_waits_for_its_tables(server: Server) -> None:
    server.start()
    assert rights(server, READER) == {
        "GRANT USAGE ON *.*",
        "GRANT SELECT ON `ledger`.`deployments`",
        "GRANT SELECT, INSERT, UPDATE ON `ledger`.`idempotency_keys`",
    }
    assert server.refused(READER, "SELECT * FROM deployments") == MISSING
    assert server.refused(READER, "CREATE TABLE deployments (id INT)") == DENIED
    server.query(OWNER, "CREATE TABLE deployments (id INT)")
    assert server.query(READER, "SELECT * FROM deployments") == ()
    assert server.refused(READER, "INSERT INTO deployments VALUES (1)") == DENIED


def test_a_volume_of_the_version_before_gets_the_account_and_what_changes(server: Server) -> None:
    server.start(earlier=True)
    server.query(OWNER, "CREATE TABLE deployments AS SELECT 'kept' AS id")
    assert server.refused(READER, "SELECT 1") == NO_ACCESS

    server.start()
    assert server.query(READER, "SELECT id FROM deployments") == (("kept",),)
    assert server.query(OWNER, "SELECT id FROM deployments") == (("kept",),)

    before = {name: login["password"] for name, login in server.secrets.items()}
    server.secrets[OWNER]["password"] = "the owner's\\"
    server.secrets[READER]["password"] = 'a "reader" %;'
    server.start({"accounts": {"reader": {"tables": {"deployments": None}}}})
    assert rights(server, READER) == {
        "GRANT USAGE ON *.*",
        "GRANT SELECT, INSERT, UPDATE ON `ledger`.`idempotency_keys`",
    }
    assert server.query(OWNER, "SELECT id FROM deployments") == (("kept",),)
    for name, password in before.items():
        assert server.refused(name, "SELECT 1", password) == NO_ACCESS


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("username", "ledger", "ERROR: 1644  database.accounts.reader is the owner"),
        ("password", "", "ERROR: 1064"),
    ],
)
def test_a_wrong_secret_costs_the_account_alone(
    server: Server,
    key: str,
    value: str,
    said: str,
) -> None:
    server.secrets[READER][key] = value
    server.start()
    assert said in docker("logs", server.name)
    assert "GRANT ALL PRIVILEGES ON `ledger`.*" in rights(server, OWNER)
    login = {**server.secrets[READER], "username": "reader"}
    server.secrets[READER] = login
    assert server.refused(READER, "SELECT 1") == NO_ACCESS
