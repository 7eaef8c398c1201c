"""Deleting events from the real database."""

import json
import signal
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from async_worker.event import decode
from async_worker.retention import purgeable
from async_worker.store import Store
from live import Scenario, eventually
from sqlalchemy import Engine, text

pytestmark = pytest.mark.engine


def deploy(scenario: Scenario, version: str, days: int) -> dict[str, Any]:
    at = datetime.now(UTC) - timedelta(days=days)
    return {**scenario.event(version), "received_at": at.isoformat()}


def test_the_worker_deletes_what_was_replaced_long_ago(scenario: Scenario) -> None:
    scenario.publish(*(deploy(scenario, f"{days}", days) for days in (90, 80, 5)))
    keeping = scenario.start()
    eventually(lambda: scenario.count() == 3, "the events are not stored")
    assert keeping.stop(signal.SIGTERM) == 0
    deleting = scenario.start(RETENTION_DAYS="30")
    eventually(lambda: scenario.count() == 2, "no event is deleted")
    eventually(deleting.ready, "it is not ready")
    assert deleting.stop(signal.SIGTERM) == 0
    assert scenario.versions() == ["5", "80"]


def plan(engine: Engine) -> list[Any]:
    statement = purgeable(datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None), 1000)
    compiled = statement.compile(engine, compile_kwargs={"literal_binds": True})
    with engine.begin() as connection:
        connection.execute(text("ANALYZE TABLE deployments"))
        return list(connection.execute(text(f"EXPLAIN {compiled}")).mappings())


def test_no_step_reads_the_whole_table(scenario: Scenario) -> None:
    events = [
        {**deploy(scenario, f"{number % 40}", number // 10), "environment": f"{number % 100}"}
        for number in range(4000)
    ]
    Store(scenario.engine).add([decode(json.dumps(event).encode()) for event in events])
    steps = plan(scenario.engine)
    assert {step["table"] for step in steps} >= {"removal", "rollback", "same_version"}
    assert [step["table"] for step in steps if step["type"] == "ALL"] == []
