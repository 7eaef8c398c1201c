"""Each app has only the rights in the database that it needs: api-rest cannot change events."""

from __future__ import annotations

import uuid

import pymysql
import pytest

from tests.ledger.stack import OWNER, Stack, wait_for
from tests.load.generator import event

pytestmark = pytest.mark.engine

DENIED = 1142  # the error of MariaDB and MySQL for a command that is denied on a table


def error_of(stack: Stack, sql: str) -> int:
    """The number of the error that api-rest's account gets for a statement."""
    with pytest.raises(pymysql.err.MySQLError) as caught:
        stack.execute(sql, login=stack.login("api-rest"))
    return int(caught.value.args[0])


def test_the_worker_uses_the_account_that_owns_the_schema(stack: Stack) -> None:
    assert stack.login("async-worker") == OWNER
    assert stack.login("api-rest")[0] != OWNER[0]


def test_api_rest_has_only_the_rights_that_it_needs(stack: Stack) -> None:
    login = stack.login("api-rest")
    granted = [str(*row.values()) for row in stack.execute("SHOW GRANTS", login=login)]
    assert {line.partition(" TO ")[0] for line in granted} == {
        "GRANT USAGE ON *.*",
        "GRANT SELECT ON `ledger`.`deployments`",
        "GRANT SELECT, INSERT, UPDATE ON `ledger`.`idempotency_keys`",
        "GRANT SELECT, INSERT, UPDATE ON `ledger`.`freezes`",
        "GRANT SELECT, INSERT, UPDATE ON `ledger`.`drift`",
    }


def test_api_rest_records_reads_and_recognises_a_repetition(stack: Stack) -> None:
    run, key = f"accounts-{uuid.uuid4().hex[:8]}", {"Idempotency-Key": uuid.uuid4().hex}
    payload = event(run, 1)
    first = stack.post(payload, **key)
    assert first.status_code == 202, first.text
    assert stack.post(payload, **key).json() == first.json()
    wait_for("the event to be stored", lambda: stack.count(run) == 1)
    find, reader = "SELECT id FROM deployments WHERE component = %s", stack.login("api-rest")
    (row,) = stack.execute(find, payload["component"], login=reader)
    assert row["id"] == first.json()["id"]


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO deployments SELECT * FROM deployments",
        "UPDATE deployments SET status = 'failed'",
        "DELETE FROM deployments",
        "TRUNCATE deployments",
        "DROP TABLE deployments",
        "ALTER TABLE deployments ADD COLUMN extra INT",
        "CREATE TABLE extra (a INT)",
        "DELETE FROM idempotency_keys",
        "SELECT * FROM notifications",
        "INSERT INTO notifications (deployment_id) VALUES ('id')",
        "SELECT * FROM mysql.global_priv",
    ],
)
def test_api_rest_is_refused_everything_else(stack: Stack, sql: str) -> None:
    assert error_of(stack, sql) == DENIED
