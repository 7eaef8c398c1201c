"""Each app may do in the database what it has to: api-rest cannot change what is stored."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing

import pymysql
import pytest

from tests.ledger.client import Client
from tests.ledger.stack import OWNER, Stack, wait_for

pytestmark = pytest.mark.engine

DENIED = 1142  # the error of MariaDB and MySQL: this command is denied for this table


@pytest.fixture
def client() -> Iterator[Client]:
    with closing(Client()) as client:
        yield client


def error_of(stack: Stack, sql: str) -> int:
    """The number of the error that api-rest's account gets for a statement."""
    with pytest.raises(pymysql.err.MySQLError) as caught:
        stack.execute(sql, login=stack.login("api-rest"))
    return int(caught.value.args[0])


def test_the_worker_has_the_account_that_owns_the_schema(stack: Stack) -> None:
    assert stack.login("async-worker") == OWNER
    assert stack.login("api-rest")[0] != OWNER[0]


def test_api_rest_has_the_rights_that_it_needs_and_no_other(stack: Stack) -> None:
    login = stack.login("api-rest")
    granted = [str(*row.values()) for row in stack.execute("SHOW GRANTS", login=login)]
    assert {line.partition(" TO ")[0] for line in granted} == {
        "GRANT USAGE ON *.*",
        "GRANT SELECT ON `ledger`.`deployments`",
        "GRANT SELECT, INSERT, UPDATE ON `ledger`.`idempotency_keys`",
    }


def test_api_rest_records_reads_and_knows_a_repetition(stack: Stack, client: Client) -> None:
    run, key = f"accounts-{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
    event = {
        "component": f"{run}/1",
        "version": "1",
        "environment": "test",
        "responsible": "tests",
        "stage": "deploy",
        "status": "succeeded",
    }
    first = client.record(stack.address("api-rest"), event, key)
    assert first.outcome == "accepted", first
    assert client.record(stack.address("api-rest"), event, key) == first
    wait_for("the event to be stored", lambda: stack.count(run) == 1)
    find, reader = "SELECT id FROM deployments WHERE component = %s", stack.login("api-rest")
    (row,) = stack.execute(find, event["component"], login=reader)
    assert row["id"] == first.id


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO deployments SELECT * FROM deployments",
        "UPDATE deployments SET status = 'failed'",
        "DELETE FROM deployments",
        "TRUNCATE deployments",
        "DROP TABLE deployments",
        "ALTER TABLE deployments ADD COLUMN mine INT",
        "CREATE TABLE mine (a INT)",
        "DELETE FROM idempotency_keys",
        "SELECT * FROM notifications",
        "INSERT INTO notifications (deployment_id) VALUES ('mine')",
        "SELECT * FROM mysql.global_priv",
    ],
)
def test_api_rest_is_refused_everything_else(stack: Stack, sql: str) -> None:
    assert error_of(stack, sql) == DENIED
