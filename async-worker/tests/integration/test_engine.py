"""The worker as a process against the real Kafka and database."""

import json
import signal
import uuid

import pytest
from async_worker.event import decode
from async_worker.store import Store
from ledger.tables import deployments
from sqlalchemy import select
from world import Forwarder, World, eventually

pytestmark = pytest.mark.engine


def test_events_are_stored_and_a_sigterm_leaves_nothing_uncommitted(world: World) -> None:
    worker = world.start()
    event = world.event("1.2.3")
    event["details"].update(at="2026-01-02T03:00:00Z", pipeline="https://ci/1", step="inv deploy")
    world.publish(event)
    eventually(lambda: world.count() == 1, "the event is not stored")
    eventually(worker.ready, "the worker is not ready")
    eventually(lambda: "heartbeat" in worker.events(), "no heartbeat came back")
    assert worker.metric('worker_messages_total{outcome="stored"}') == 1
    assert worker.metric("worker_heartbeat_round_trip_seconds_count") >= 1
    assert worker.status("/health") == 200
    assert worker.end(signal.SIGTERM) == 0
    assert world.lag() == 0
    with world.engine.connect() as connection:
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


def test_the_real_database_refuses_one_row_and_stores_the_others(world: World) -> None:
    rows = [decode(json.dumps(world.event(version)).encode()) for version in ("1", "2", "3")]
    rows[1] = rows[1]._replace(version="x" * 129)
    store = Store(world.engine)
    assert store.add(rows[2:]).duplicates == 0
    stored = store.add(rows)
    ((refused, error),) = stored.rejected
    assert refused is rows[1]
    assert "Data too long" in str(error)
    assert stored.duplicates == 1
    assert world.count() == 2


def test_every_character_arrives_as_it_is(world: World) -> None:
    text = "".join(map(chr, [*range(1, 256), 0x2028, 0x1F600])) + "100%s %(id)s \\' '; --"
    event = {
        **world.event("1"),
        "responsible": text[:256],
        "details": {text: [text, None, 1.5, {}]},
    }
    Store(world.engine).add([decode(json.dumps(event).encode())])
    with world.engine.connect() as connection:
        row = connection.execute(select(deployments).where(deployments.c.id == event["id"])).one()
    assert (row.responsible, row.details) == (event["responsible"], event["details"])


def test_more_than_one_statement_holds_is_stored_in_one_transaction(world: World) -> None:
    events = [
        {**world.event(str(number)), "details": {"text": "x" * 300_000}} for number in range(7)
    ]
    rows = [decode(json.dumps(event).encode()) for event in events]
    assert Store(world.engine).add([*rows, *rows[:2]]).duplicates == 2
    assert world.count() == 7


def test_an_event_sent_twice_is_stored_once(world: World) -> None:
    event = world.event("1")
    world.publish(event, event, {**event, "version": "2"}, world.event("3"))
    world.start()
    eventually(lambda: world.count() == 2, "not exactly two rows")


def test_a_worker_killed_midway_loses_nothing(world: World) -> None:
    total = 2000
    world.publish(*(world.event(str(number)) for number in range(total)), keys=9)
    # The shortest time after which Kafka lets the next one take over.
    worker = world.start("broker.SESSION_TIMEOUT_MS = 6_000")
    eventually(lambda: world.count() > 0, "nothing is stored")
    worker.end(signal.SIGKILL)
    assert world.count() < total, "it was killed too late to show anything"
    world.start()
    eventually(lambda: world.count() == total, "events are missing")


def test_a_database_that_goes_away_and_comes_back_loses_nothing(world: World) -> None:
    forwarder = Forwarder(world.settings.db_host, world.settings.db_port)
    worker = world.start(DB_HOST="127.0.0.1", DB_PORT=str(forwarder.port))
    world.publish(world.event("before"))
    eventually(lambda: world.count() == 1, "nothing is stored")
    eventually(worker.ready, "it is not ready")
    forwarder.cut()
    world.publish(*(world.event(str(number)) for number in range(200)), keys=9)
    eventually(lambda: worker.status("/ready") == 503, "it still says that it is ready")
    eventually(lambda: "still waiting" in worker.events(), "it does not wait")
    assert worker.status("/health") == 200
    assert world.count() == 1
    forwarder.join()
    eventually(lambda: world.count() == 201, "events are missing")
    eventually(worker.ready, "it is not ready again")
    assert worker.end(signal.SIGTERM) == 0
    assert world.lag() == 0
    forwarder.close()


def test_a_worker_starts_before_the_database(world: World) -> None:
    forwarder = Forwarder(world.settings.db_host, world.settings.db_port)
    forwarder.cut()
    worker = world.start(DB_HOST="127.0.0.1", DB_PORT=str(forwarder.port))
    world.publish(world.event("1"))
    eventually(lambda: "not connected yet, trying again" in worker.events(), "it does not wait")
    forwarder.join()
    eventually(lambda: world.count() == 1, "the event is not stored")
    forwarder.close()


def test_a_worker_told_to_stop_while_it_waits_ends_cleanly(world: World) -> None:
    worker = world.start(BROKER_URL="127.0.0.1:1")
    eventually(lambda: "not connected yet, trying again" in worker.events(), "it does not wait")
    assert worker.status("/health") == 200
    assert worker.status("/ready") == 503
    assert worker.end(signal.SIGTERM) == 0


def test_two_workers_share_and_one_takes_over(world: World) -> None:
    first, second = world.start(), world.start()
    eventually(lambda: first.ready() and second.ready(), "they have not both joined")
    world.publish(*(world.event(str(number)) for number in range(300)), keys=9)
    eventually(lambda: world.count() == 300, "events are missing")
    assert first.end(signal.SIGTERM) == 0
    world.publish(*(world.event(str(number)) for number in range(300)), keys=9)
    eventually(lambda: world.count() == 600, "events are missing after one has left")
    assert second.end(signal.SIGTERM) == 0


def test_workers_that_start_together_make_the_topics_once(world: World) -> None:
    topics = {"TOPIC": f"{uuid.uuid4()}", "DEAD_LETTER_TOPIC": f"{uuid.uuid4()}"}
    workers = [world.start(**topics) for _ in range(2)]
    eventually(lambda: all(worker.ready() for worker in workers), "they do not get ready")
    assert set(topics.values()) <= set(world.admin.list_topics())
    assert [worker.end(signal.SIGTERM) for worker in workers] == [0, 0]
    world.topics += topics.values()
