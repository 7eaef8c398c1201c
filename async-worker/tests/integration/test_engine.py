"""A worker process with the real Kafka and database."""

import json
import signal
import threading
import uuid

import pytest
from async_worker import sequence
from async_worker import store as store_module
from async_worker.event import Deployment, decode
from async_worker.store import Store, database_engine
from ledger.tables import deployments
from live import Forwarder, Scenario, eventually
from sqlalchemy import event, exc, insert, select, text

pytestmark = pytest.mark.engine


def test_events_are_stored_and_sigterm_commits_them(scenario: Scenario) -> None:
    worker = scenario.start()
    event = scenario.event("1.2.3")
    event["details"].update(at="2026-01-02T03:00:00Z", pipeline="https://ci/1", step="inv deploy")
    scenario.publish(event)
    eventually(lambda: scenario.count() == 1, "the event is not stored")
    eventually(worker.ready, "the worker is not ready")
    eventually(lambda: "heartbeat" in worker.events(), "no heartbeat came back")
    assert worker.metric('worker_messages_total{outcome="stored"}') == 1
    assert worker.metric("worker_heartbeat_round_trip_seconds_count") >= 1
    assert worker.status("/health") == 200
    assert worker.stop(signal.SIGTERM) == 0
    assert scenario.lag() == 0
    with scenario.engine.connect() as connection:
        row = (
            connection.execute(select(deployments).where(deployments.c.id == event["id"]))
            .mappings()
            .one()
        )
    assert row["received_at"].isoformat() + "Z" == event["received_at"]
    assert (f"{row['at']}", row["pipeline"], row["step"]) == (
        "2026-01-02 03:00:00",
        "https://ci/1",
        "inv deploy",
    )
    assert {name: row[name] for name in event if name != "received_at"} == {
        name: value for name, value in event.items() if name != "received_at"
    }


def test_the_real_database_rejects_one_row_and_stores_the_others(scenario: Scenario) -> None:
    rows = [decode(json.dumps(scenario.event(version)).encode()) for version in ("1", "2", "3")]
    rows[1] = rows[1]._replace(version="x" * 129)
    store = Store(scenario.engine)
    assert store.add(rows[2:]).duplicates == 0
    stored = store.add(rows)
    ((rejected, error),) = stored.rejected
    assert rejected is rows[1]
    assert "Data too long" in str(error)
    assert stored.duplicates == 1
    assert scenario.count() == 2


def test_every_character_is_stored_unchanged(scenario: Scenario) -> None:
    text = "".join(map(chr, [*range(1, 256), 0x2028, 0x1F600])) + "100%s %(id)s \\' '; --"
    event = {
        **scenario.event("1"),
        "responsible": text[:256],
        "details": {text: [text, None, 1.5, {}]},
    }
    Store(scenario.engine).add([decode(json.dumps(event).encode())])
    with scenario.engine.connect() as connection:
        row = connection.execute(select(deployments).where(deployments.c.id == event["id"])).one()
    assert (row.responsible, row.details) == (event["responsible"], event["details"])


def test_rows_of_several_statements_are_stored_in_one_transaction(scenario: Scenario) -> None:
    events = [
        {**scenario.event(str(number)), "details": {"text": "x" * 300_000}} for number in range(7)
    ]
    rows = [decode(json.dumps(event).encode()) for event in events]
    assert Store(scenario.engine).add([*rows, *rows[:2]]).duplicates == 2
    assert scenario.count() == 7


def row(scenario: Scenario, version: str) -> Deployment:
    return decode(json.dumps(scenario.event(version)).encode())


class Poller:
    """Reads what is new since it last read."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._last = 0
        self.seen: list[str] = []

    def poll(self) -> None:
        column = deployments.c
        query = (
            select(column.sequence, column.version)
            .where(column.component == self._scenario.component, column.sequence > self._last)
            .order_by(column.sequence)
        )
        with self._scenario.engine.connect() as connection:
            for self._last, version in connection.execute(query):
                self.seen.append(version)


def test_a_poller_misses_no_row_of_a_transaction_that_commits_late(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a busy machine the database must not end the slow transaction before the other one waits.
    monkeypatch.setattr(store_module, "IDLE_TIMEOUT", 60)
    slow, fast = (Store(database_engine(scenario.settings)) for _ in range(2))
    stored, released = threading.Event(), threading.Event()

    def wait(_: object) -> None:
        stored.set()
        assert released.wait(60)

    event.listen(slow._engine, "commit", wait)
    first = threading.Thread(target=slow.add, args=([row(scenario, "slow")],))
    second = threading.Thread(target=fast.add, args=([row(scenario, "fast")],))

    def is_waiting() -> bool:
        """Whether the second thread waits for the first one's transaction."""
        with scenario.engine.connect() as connection:
            running = connection.execute(text("SHOW PROCESSLIST")).mappings().all()
        return any("UPDATE counters" in str(process["Info"]) for process in running)

    poller = Poller(scenario)
    first.start()
    assert stored.wait(60)
    second.start()
    eventually(lambda: is_waiting() or not second.is_alive(), "it neither waits nor ends")
    poller.poll()
    released.set()
    for thread in (first, second):
        thread.join(60)
    poller.poll()
    assert poller.seen == ["slow", "fast"]
    for store in (slow, fast):
        store.close()


def test_a_worker_that_stands_still_does_not_keep_others_from_storing(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "IDLE_TIMEOUT", 1)
    still = database_engine(scenario.settings)
    with still.connect() as connection:
        sequence.reserve(connection, 1)
        Store(scenario.engine).add([row(scenario, "1")])
        with pytest.raises(exc.DBAPIError):
            connection.commit()
    assert scenario.versions() == ["1"]
    still.dispose()


def test_rows_of_an_earlier_worker_are_numbered_by_their_times(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequence, "STEP", 2)
    rows = [
        row(scenario, str(day))._replace(received_at=f"2026-01-0{day} 00:00:00")._asdict()
        for day in (3, 1, 5, 2, 4)
    ]
    with scenario.engine.begin() as connection:
        connection.execute(insert(deployments), [{**one, "details": None} for one in rows])
    poller = Poller(scenario)
    poller.poll()
    assert poller.seen == []
    Store(scenario.engine).number()
    poller.poll()
    assert poller.seen == ["1", "2", "3", "4", "5"]


def test_an_event_sent_twice_is_stored_once(scenario: Scenario) -> None:
    event = scenario.event("1")
    scenario.publish(event, event, {**event, "version": "2"}, scenario.event("3"))
    scenario.start()
    eventually(lambda: scenario.count() == 2, "not exactly two rows")


def test_a_killed_worker_loses_no_event(scenario: Scenario) -> None:
    total = 2000
    scenario.publish(*(scenario.event(str(number)) for number in range(total)), keys=9)
    # The shortest session timeout that Kafka allows.
    worker = scenario.start("broker.SESSION_TIMEOUT_MS = 6_000")
    eventually(lambda: scenario.count() > 0, "nothing is stored")
    worker.stop(signal.SIGKILL)
    assert scenario.count() < total, "the worker was killed too late"
    scenario.start()
    eventually(lambda: scenario.count() == total, "events are missing")


def test_a_database_outage_loses_no_event(scenario: Scenario) -> None:
    forwarder = Forwarder(scenario.settings.db_host, scenario.settings.db_port)
    worker = scenario.start(DB_HOST="127.0.0.1", DB_PORT=str(forwarder.port))
    scenario.publish(scenario.event("before"))
    eventually(lambda: scenario.count() == 1, "nothing is stored")
    eventually(worker.ready, "it is not ready")
    forwarder.interrupt()
    scenario.publish(*(scenario.event(str(number)) for number in range(200)), keys=9)
    eventually(lambda: worker.status("/ready") == 503, "the worker is still ready")
    eventually(lambda: "still waiting" in worker.events(), "the worker does not wait")
    assert worker.status("/health") == 200
    assert scenario.count() == 1
    forwarder.restore()
    eventually(lambda: scenario.count() == 201, "events are missing")
    eventually(worker.ready, "it is not ready again")
    assert worker.stop(signal.SIGTERM) == 0
    assert scenario.lag() == 0
    forwarder.close()


def test_a_worker_starts_before_the_database(scenario: Scenario) -> None:
    forwarder = Forwarder(scenario.settings.db_host, scenario.settings.db_port)
    forwarder.interrupt()
    worker = scenario.start(DB_HOST="127.0.0.1", DB_PORT=str(forwarder.port))
    scenario.publish(scenario.event("1"))
    eventually(
        lambda: "not connected yet, trying again" in worker.events(), "the worker does not wait"
    )
    forwarder.restore()
    eventually(lambda: scenario.count() == 1, "the event is not stored")
    forwarder.close()


def test_a_waiting_worker_stops_cleanly(scenario: Scenario) -> None:
    worker = scenario.start(BROKER_URL="127.0.0.1:1")
    eventually(
        lambda: "not connected yet, trying again" in worker.events(), "the worker does not wait"
    )
    assert worker.status("/health") == 200
    assert worker.status("/ready") == 503
    assert worker.stop(signal.SIGTERM) == 0


def test_a_worker_takes_over_the_partitions_of_another(scenario: Scenario) -> None:
    first, second = scenario.start(), scenario.start()
    eventually(lambda: first.ready() and second.ready(), "they have not both joined")
    scenario.publish(*(scenario.event(str(number)) for number in range(300)), keys=9)
    eventually(lambda: scenario.count() == 300, "events are missing")
    assert first.stop(signal.SIGTERM) == 0
    scenario.publish(*(scenario.event(str(number)) for number in range(300)), keys=9)
    eventually(lambda: scenario.count() == 600, "events are missing after one has left")
    assert second.stop(signal.SIGTERM) == 0


def test_workers_that_start_together_create_the_topics_once(scenario: Scenario) -> None:
    topics = {"TOPIC": f"{uuid.uuid4()}", "DEAD_LETTER_TOPIC": f"{uuid.uuid4()}"}
    workers = [scenario.start(**topics) for _ in range(2)]
    eventually(lambda: all(worker.ready() for worker in workers), "they do not get ready")
    assert set(topics.values()) <= set(scenario.admin.list_topics())
    assert [worker.stop(signal.SIGTERM) for worker in workers] == [0, 0]
    scenario.topics += topics.values()
