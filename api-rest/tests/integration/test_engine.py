"""The app's own classes against the real Kafka and database."""

import json
import os
import time
import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from api_rest import config
from api_rest.broker import KafkaBroker
from api_rest.errors import Unavailable
from api_rest.settings import Settings
from api_rest.store import Store, database_engine, deployments
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from sqlalchemy import Engine, create_engine, insert, text
from sqlalchemy.pool import StaticPool
from sqlalchemy.schema import CreateTable

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def settings() -> Settings:
    return config.load(Settings, {**os.environ, "TOPIC": f"api-rest-test-{uuid.uuid4()}"})


@pytest.fixture(scope="module")
def topic(settings: Settings) -> Iterator[str]:
    admin = KafkaAdminClient(bootstrap_servers=list(settings.broker_url))
    admin.create_topics({settings.topic: {"num_partitions": 3, "replication_factor": 1}}, wait_for_metadata=True)
    yield settings.topic
    admin.delete_topics([settings.topic])
    admin.close()


@pytest.fixture(scope="module")
def broker(settings: Settings) -> Iterator[KafkaBroker]:
    broker = KafkaBroker(settings)
    yield broker
    broker.close()


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    """One connection on which a temporary table hides the real one, so that nothing of the ledger is touched."""
    engine = create_engine(database_engine(settings).url, poolclass=StaticPool)
    statement = str(CreateTable(deployments).compile(engine)).replace("CREATE TABLE", "CREATE TEMPORARY TABLE")
    with engine.begin() as connection:
        connection.execute(text(statement))
    yield engine
    engine.dispose()


def test_a_topic_that_is_not_there_is_a_problem_within_the_delivery_timeout() -> None:
    absent = {**os.environ, "TOPIC": f"absent-{uuid.uuid4()}", "DELIVERY_TIMEOUT": "1"}
    broker = KafkaBroker(config.load(Settings, absent))
    started = time.monotonic()
    try:
        with pytest.raises(Unavailable, match="cannot be used"):
            broker.check()
        with pytest.raises(Unavailable, match="did not acknowledge"):
            broker.publish(key="a", value=b"{}", headers={})
    finally:
        broker.close()
    assert time.monotonic() - started < 3


@pytest.mark.usefixtures("topic")
def test_check_passes_once_the_topic_is_there(broker: KafkaBroker) -> None:
    broker.check()


def test_published_events_are_on_the_topic_in_order_by_component(
    settings: Settings, topic: str, broker: KafkaBroker
) -> None:
    for number in range(20):
        broker.publish(
            key=f"component-{number % 2}", value=json.dumps(number).encode(), headers={"request-id": str(number)}
        )
    consumer = KafkaConsumer(bootstrap_servers=list(settings.broker_url), auto_offset_reset="earliest")
    consumer.assign([TopicPartition(topic, partition) for partition in range(3)])
    read: dict[bytes, list[int]] = {}
    deadline = time.monotonic() + 20
    while sum(map(len, read.values())) < 20:
        assert time.monotonic() < deadline, read
        for records in consumer.poll(timeout_ms=500).values():
            for record in records:
                read.setdefault(record.key, []).append(json.loads(record.value))
                assert record.headers == [("kind", b"deployment"), ("request-id", record.value)]
    consumer.close()
    assert read == {b"component-0": list(range(0, 20, 2)), b"component-1": list(range(1, 20, 2))}


def test_the_real_database_gives_back_what_was_stored(engine: Engine, deployment: dict[str, Any]) -> None:
    rows = [
        {**deployment, "id": str(uuid.uuid4()), "received_at": datetime(2026, 1, day), "details": {"é": day}}  # noqa: DTZ001
        for day in (1, 2)
    ]
    with engine.begin() as connection:
        connection.execute(insert(deployments), rows)
    store = Store(engine)
    store.check()
    newest, oldest = store.recent(filters={"component": deployment["component"], "stage": "deploy"}, limit=5)
    assert (newest["received_at"], newest["details"]) == ("2026-01-02T00:00:00.000000Z", {"é": 2})
    assert oldest == store.find(str(rows[0]["id"]))
    assert oldest["responsible"] == "Zoë"


def test_a_wrong_password_is_an_outage_that_names_the_user() -> None:
    store = Store(database_engine(config.load(Settings, {**os.environ, "DB_PASSWORD": "wrong"})))
    with pytest.raises(Unavailable, match="Access denied"):
        store.check()
