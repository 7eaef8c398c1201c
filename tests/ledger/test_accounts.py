"""Each app has only the rights in the database that it needs: api-rest cannot change events."""

from __future__ import annotations

import uuid

import pytest

from tests.ledger.stack import OWNER, Stack, wait_for
from tests.load.generator import event

pytestmark = pytest.mark.engine


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
