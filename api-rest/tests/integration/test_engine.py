"""The app's own classes against the real Kafka and database."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
import requests
import schemathesis
from api_rest import broker as broker_module
from api_rest import store as store_module
from api_rest.backends import ConnectingBackend
from api_rest.broker import KafkaBroker
from api_rest.drift import Drift
from api_rest.drift_reports import Report
from api_rest.errors import Busy, Unavailable
from api_rest.freezes import Freeze
from api_rest.idempotency import Reservation
from api_rest.lag import LagMonitor
from api_rest.listing import FILTERS, Listing
from api_rest.runs import running, runs
from api_rest.settings import Settings
from api_rest.store import Store, database_engine
from histories import PLACES, Answer, Row, events, histories
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis.errors import Unsatisfiable
from kafka import KafkaAdminClient, KafkaConsumer, OffsetAndMetadata, OffsetSpec, TopicPartition
from kafka.errors import NotCoordinatorError
from ledger.tables import deployments, idempotency_keys
from schemathesis import GenerationMode
from schemathesis.core.result import Ok
from sqlalchemy import Connection, Engine, create_engine, delete, func, insert, select, text
from sqlalchemy.pool import StaticPool
from sqlalchemy.schema import CreateIndex, CreateTable

from ledger import config

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def settings() -> Settings:
    return config.load(Settings, {**os.environ, "TOPIC": f"api-rest-test-{uuid.uuid4()}"})


@pytest.fixture(scope="module")
def topic(settings: Settings) -> Iterator[str]:
    admin = KafkaAdminClient(bootstrap_servers=list(settings.broker_url))
    admin.create_topics(
        {settings.topic: {"num_partitions": 3, "replication_factor": 1}}, wait_for_metadata=True
    )
    yield settings.topic
    admin.delete_topics([settings.topic])
    admin.close()


@pytest.fixture(scope="module")
def broker(settings: Settings) -> Iterator[KafkaBroker]:
    broker = KafkaBroker(settings, LagMonitor())
    yield broker
    broker.close()


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    """A connection with a temporary table in place of the real one."""
    with temporary_table(settings) as engine:
        yield engine


@contextlib.contextmanager
def temporary_table(settings: Settings) -> Iterator[Engine]:
    engine = create_engine(database_engine(settings).url, poolclass=StaticPool)
    statement = str(CreateTable(deployments).compile(engine)).replace(
        "CREATE TABLE", "CREATE TEMPORARY TABLE"
    )
    with engine.begin() as connection:
        connection.execute(text(f"{statement} CHARSET utf8mb4 COLLATE utf8mb4_bin"))
        for index in deployments.indexes:
            connection.execute(CreateIndex(index))
    yield engine
    engine.dispose()


def test_a_topic_that_is_not_there_is_a_problem_within_the_delivery_timeout() -> None:
    absent = {**os.environ, "TOPIC": f"absent-{uuid.uuid4()}", "DELIVERY_TIMEOUT": "1"}
    broker = KafkaBroker(config.load(Settings, absent), LagMonitor())
    started = time.monotonic()
    try:
        with pytest.raises(Unavailable, match="does not exist yet"):
            broker.check()
        with pytest.raises(Unavailable, match="did not acknowledge"):
            broker.publish(key="a", value=b"{}", headers={})
    finally:
        broker.close()
    assert time.monotonic() - started < 15  # what it would wait by itself is a minute


@pytest.mark.usefixtures("topic")
def test_check_passes_once_the_topic_is_there(broker: KafkaBroker) -> None:
    broker.check()


def test_published_events_are_on_the_topic_in_order_by_component(
    settings: Settings, topic: str, broker: KafkaBroker
) -> None:
    for number in range(20):
        broker.publish(
            key=f"component-{number % 2}",
            value=json.dumps(number).encode(),
            headers={"request-id": str(number)},
        )
    consumer = KafkaConsumer(
        bootstrap_servers=list(settings.broker_url), auto_offset_reset="earliest"
    )
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


def waiting(broker: KafkaBroker, monitor: LagMonitor) -> int | None:
    broker.check()
    lag = monitor.lag()
    return None if lag is None else lag.waiting


def answer_of_a_former_coordinator(_: object) -> None:
    raise NotCoordinatorError


def test_what_the_workers_group_has_not_committed_waits(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_module, "SAMPLE_EVERY", 0.0)
    own = replace(settings, topic=f"lag-{uuid.uuid4()}", worker_group=f"lag-{uuid.uuid4()}")
    monitor = LagMonitor()
    with (
        contextlib.closing(KafkaAdminClient(bootstrap_servers=list(own.broker_url))) as admin,
        contextlib.closing(KafkaBroker(own, monitor)) as broker,
    ):
        admin.create_topics(
            {own.topic: {"num_partitions": 2, "replication_factor": 1}}, wait_for_metadata=True
        )
        for _ in range(5):
            broker.publish(key="same", value=b"{}", headers={})
        # Nobody was ever in the group. Kafka may have to make its own topic of groups first.
        until(lambda: waiting(broker, monitor) == 5)
        both = [TopicPartition(own.topic, number) for number in range(2)]
        (filled,) = [at for at in both if broker._offsets([at], OffsetSpec.LATEST)[at]]
        admin.alter_group_offsets(own.worker_group, {filled: OffsetAndMetadata(3, "", None)})
        assert waiting(broker, monitor) == 2
        # A group that is away for long is forgotten; Kafka deletes old events too.
        admin.delete_group_offsets(own.worker_group, [filled])
        admin.delete_records({filled: 1})
        assert waiting(broker, monitor) == 4
        # One broker cannot hand a group over to another, so this answer is made up.
        admin.alter_group_offsets(own.worker_group, {filled: OffsetAndMetadata(5, "", None)})
        monkeypatch.setattr(broker._admin, "list_group_offsets", answer_of_a_former_coordinator)
        assert waiting(broker, monitor) == 4
        assert waiting(broker, monitor) == 0
        admin.delete_topics([own.topic])


def test_the_real_database_gives_back_what_was_stored(
    engine: Engine, deployment: dict[str, Any]
) -> None:
    rows = [
        {
            **deployment,
            "id": str(uuid.uuid4()),
            "received_at": datetime(2026, 1, day),  # noqa: DTZ001
            "at": datetime(2026, 1, day),  # noqa: DTZ001
            "details": {"é": day},
        }
        for day in (1, 2)
    ]
    with engine.begin() as connection:
        connection.execute(insert(deployments), rows)
    store = Store(engine)
    store.check()
    listing = Listing(filters={"component": deployment["component"], "stage": "deploy"}, limit=5)
    batch = store.recent(listing, lambda event: json.dumps(event).encode(), 10_000)
    newest, oldest = map(json.loads, batch.lines)
    assert (newest["received_at"], newest["details"]) == ("2026-01-02T00:00:00.000000Z", {"é": 2})
    assert oldest == store.find(str(rows[0]["id"]))
    assert oldest["responsible"] == "Zoë"


FEW = hypothesis_settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def fill(engine: Engine, rows: list[Row]) -> Store:
    """Make these rows the only ones."""
    with engine.begin() as connection:
        connection.execute(delete(deployments))
        if rows:
            connection.execute(insert(deployments), rows)
    return Store(engine)


@FEW
@given(histories())
def test_the_real_database_says_what_really_runs(
    engine: Engine, history: tuple[list[Row], Answer]
) -> None:
    rows, expected = history
    store = fill(engine, rows)
    found = {
        (one.environment, one.component): (one.version, one.since, one.responsible)
        for one in store.running()
    }
    assert found == expected
    for place in PLACES:
        there, _ = store.status(*place)
        assert (there and (there.version, there.since, there.responsible)) == expected.get(place)


@FEW
@given(events())
def test_the_real_database_answers_as_the_model_does(engine: Engine, rows: list[Row]) -> None:
    store = fill(engine, rows)
    assert store.running() == running(rows)
    assert store.recent_runs(99) == runs(rows)


def reads(engine: Engine) -> int:
    """How many rows and index entries this connection's server has read for it."""
    with engine.connect() as connection:
        found = connection.execute(text("SHOW SESSION STATUS LIKE 'Handler_read%'")).all()
    return sum(int(value) for name, value in found if name != "Handler_read_rnd_deleted")


def test_what_runs_is_found_without_reading_the_whole_table(engine: Engine) -> None:
    columns = "(id, environment, component, version, responsible, stage, status, received_at, at)"
    half_hour = "TIMESTAMP('2026-01-01') + INTERVAL seq DIV 200 * 30 MINUTE"
    # 50 components in 4 environments, each deployed every hour, with a start and an end.
    with engine.begin() as connection:
        connection.execute(
            text(
                f"INSERT INTO deployments {columns}"  # noqa: S608
                " SELECT UUID(), CONCAT('e', seq MOD 4), CONCAT('c', seq DIV 4 MOD 50),"
                " seq DIV 400, 'me', 'deploy',"
                f" IF(seq DIV 200 MOD 2, 'succeeded', 'started'), {half_hour}, {half_hour}"
                " FROM seq_0_to_99999"
            )
        )
        # What one of them has, and all that it had lately, was rolled back.
        connection.execute(
            text(
                f"INSERT INTO deployments {columns}"  # noqa: S608
                " SELECT UUID(), environment, component, version, 'me', 'deploy', 'rolled-back',"
                " received_at, at"
                " FROM deployments WHERE environment = 'e0' AND component = 'c0'"
                " AND status = 'succeeded' AND version >= 200"
            )
        )
        connection.execute(text("ANALYZE TABLE deployments"))
    store = Store(engine)
    before = reads(engine)
    found = store.running()
    assert len(found) == 200
    assert found[0].version == "199"
    assert all(one.run and one.run.status == "succeeded" for one in found)
    assert reads(engine) - before < 30_000


@pytest.fixture(scope="module")
def million(settings: Settings) -> Iterator[Engine]:
    """A million events, of which one, the oldest, has values of its own."""
    columns = (*FILTERS, "id", "received_at", "at", "sequence")
    rare = {name: f"'{words[1]}'" for name, words in _WORDS.items()}
    common = {name: f"'{words[0]}'" for name, words in _WORDS.items()}
    at = "TIMESTAMP('2026-01-01') + INTERVAL seq SECOND"
    values = [f"IF(seq, {common[name]}, {rare[name]})" for name in FILTERS]
    with temporary_table(settings) as engine, engine.begin() as connection:
        connection.execute(
            text(
                f"INSERT INTO deployments ({', '.join(columns)})"  # noqa: S608
                f" SELECT {', '.join(values)}, UUID(), {at}, {at}, seq FROM seq_0_to_999999"
            )
        )
        connection.execute(text("ANALYZE TABLE deployments"))
        connection.commit()
        yield engine


# For each filter a value that nearly all events have, and one that a single event has.
_WORDS = {
    "component": ("api-rest", "web"),
    "environment": ("develop", "production"),
    "version": ("1.0.0", "1.0.1"),
    "status": ("succeeded", "removed"),
    "stage": ("build", "deploy"),
    "responsible": ("me", "you"),
    "actor": ("jenkins", "inv"),
}


def listed(engine: Engine, listing: Listing) -> list[dict[str, Any]]:
    batch = Store(engine).recent(listing, lambda event: json.dumps(event).encode(), 1_000_000)
    return [json.loads(line) for line in batch.lines]


def test_a_filter_finds_a_rare_value_among_a_million_events_by_an_index(million: Engine) -> None:
    assert set(_WORDS) == set(FILTERS)
    for name, (common, rare) in _WORDS.items():
        for value, count in ((common, 50), (rare, 1)):
            before = reads(million)
            listing = Listing(filters={name: value}, limit=50)
            found = Store(million).recent(
                listing, lambda event: json.dumps(event).encode(), 1_000_000
            )
            assert len(found.lines) == count, (name, value)
            assert reads(million) - before < 500, (name, value)


def test_a_poller_reads_only_new_ones_among_a_million_events(million: Engine) -> None:
    for filters in ({}, {"component": "api-rest"}):
        before = reads(million)
        found = listed(million, Listing(filters=filters, after=999_989, limit=500))
        assert [event["sequence"] for event in found] == list(range(999_990, 1_000_000))
        assert reads(million) - before < 100


def test_a_wrong_password_is_an_outage_that_names_the_user() -> None:
    store = Store(database_engine(config.load(Settings, {**os.environ, "DB_PASSWORD": "wrong"})))
    with pytest.raises(Unavailable, match="Access denied"):
        store.check()


@pytest.fixture(scope="module")
def ledger(settings: Settings) -> Iterator[Engine]:
    """The app's own engine on the real tables, which async-worker may have created."""
    engine = database_engine(settings)
    deployments.metadata.create_all(engine)
    yield engine
    engine.dispose()


def test_concurrent_requests_with_one_key_agree_on_one_event(ledger: Engine) -> None:
    keys = [uuid.uuid4().hex * 2 for _ in range(20)]
    together = threading.Barrier(8)

    def reserve(_: int) -> list[Reservation]:
        together.wait(30)
        store = Store(ledger)
        return [store.reserve(key, Reservation("f" * 64, str(uuid.uuid4()), now())) for key in keys]

    def now() -> datetime:
        return datetime(2026, 1, 2, 3, 4, 5, 678_901)  # noqa: DTZ001

    mine = idempotency_keys.c.key_hash.in_(keys)
    try:
        with ThreadPoolExecutor(8) as pool:
            held = list(pool.map(reserve, range(8)))
        with ledger.connect() as connection:
            kept = connection.scalar(select(func.count()).select_from(idempotency_keys).where(mine))
    finally:
        with ledger.connect() as connection:
            connection.execute(delete(idempotency_keys).where(mine))
    assert all(answers == held[0] for answers in held)
    assert kept == len(keys)
    assert held[0][0].received_at.microsecond == 678_901


def test_freezes_and_the_newest_report_of_drift_are_kept_as_they_were_sent(ledger: Engine) -> None:
    store, now = Store(ledger), datetime(2026, 1, 2, 3, 4, 5, 678_901)  # noqa: DTZ001
    place = f"place-{uuid.uuid4().hex[:8]}"
    freeze = Freeze(str(uuid.uuid4()), place, now + timedelta(1), "Größe 🚀", "Zoë", None, now)
    store.add_freeze(freeze)
    assert freeze in (store.freezes(now) or ())
    store.end_freeze(freeze.id, now)
    assert freeze not in (store.freezes(now) or ())

    found = Drift("api-rest", "Deployment/a", "spec.a", "changed", "2", "Größe 🚀", "kubectl", "")
    for report in (Report(place, now, ()), Report(place, now + timedelta(hours=1), (found,))):
        store.report_drift(report)
    reports = [report for report in store.drift(now) or () if report.environment == place]
    assert reports == [report]


@pytest.fixture
def database(
    settings: Settings, ledger: Engine, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ConnectingBackend[Store]]:
    """As the requests use it, with less time for a statement and one connection to read by."""
    shorter = store_module._LIMIT_STATEMENTS.replace(
        "max_statement_time = 4", "max_statement_time = 0.2"
    )
    monkeypatch.setattr(store_module, "_LIMIT_STATEMENTS", shorter)
    reading, recording = database_engine(settings, 1), database_engine(settings, 2)
    monkeypatch.setattr(reading.pool, "_timeout", 0.2)
    del ledger
    connecting: ConnectingBackend[Store] = ConnectingBackend(
        "the database", lambda: Store(reading, recording)
    )
    connecting.start()
    connecting._thread.join(30)
    yield connecting
    connecting.close()


def is_open(database: ConnectingBackend[Store]) -> bool:
    """Whether several callers may use the database at a time."""

    def use(_: Store) -> None:
        database.use(lambda store: store.reserve)

    try:
        database.use(use)
    except Unavailable:
        return False
    return True


def test_the_server_ends_a_statement_before_it_would_seem_away(ledger: Engine) -> None:
    with ledger.connect() as connection:
        limits = connection.execute(
            text("SELECT @@max_statement_time, @@innodb_lock_wait_timeout, @@lock_wait_timeout")
        ).one()
    assert set(limits) == {store_module.STATEMENT_TIMEOUT}
    assert store_module.STATEMENT_TIMEOUT < store_module.QUERY_TIMEOUT


def test_one_who_waits_too_long_for_a_lock_disturbs_nobody_else(
    database: ConnectingBackend[Store], ledger: Engine
) -> None:
    held, free = (uuid.uuid4().hex * 2 for _ in range(2))
    reservation = Reservation("f" * 64, str(uuid.uuid4()), datetime(2026, 1, 2))  # noqa: DTZ001
    with ledger.connect() as holder:
        holder.execute(text("BEGIN"))
        holder.execute(insert(idempotency_keys), {"key_hash": held, **vars(reservation)})
        with pytest.raises(Busy) as caught:
            database.use(lambda store: store.reserve(held, reservation))
        assert caught.value.code == "took-too-long"
        assert is_open(database)
        assert database.use(lambda store: store.reserve(free, reservation)) == reservation
        holder.execute(text("ROLLBACK"))
    try:
        assert database.use(lambda store: store.reserve(held, reservation)) == reservation
    finally:
        with ledger.connect() as connection:
            connection.execute(
                delete(idempotency_keys).where(idempotency_keys.c.key_hash.in_([held, free]))
            )


def test_a_slow_query_takes_its_readers_time_alone(database: ConnectingBackend[Store]) -> None:
    with pytest.raises(Busy) as caught:
        database.use(lambda store: store._read(text("SELECT SLEEP(30)"), {}))
    assert caught.value.code == "took-too-long"
    assert is_open(database)


def test_readers_that_hold_every_connection_disturb_neither_recording_nor_the_check(
    database: ConnectingBackend[Store], ledger: Engine
) -> None:
    key, reservation = (
        uuid.uuid4().hex * 2,
        Reservation("f" * 64, str(uuid.uuid4()), datetime(2026, 1, 2)),  # noqa: DTZ001
    )

    def read(store: Store) -> None:
        with store._engine.connect():
            with pytest.raises(Busy) as caught:
                database.use(lambda store: store.find("a"))
            assert caught.value.code == "busy"
            database.check()
            assert database.use(lambda store: store.reserve(key, reservation)) == reservation

    try:
        database.use(read)
    finally:
        with ledger.connect() as connection:
            connection.execute(delete(idempotency_keys).where(idempotency_keys.c.key_hash == key))
    assert is_open(database)


def asked(connection: Connection) -> int:
    """How many statements this connection's server has had from it."""
    return int(connection.execute(text("SHOW SESSION STATUS LIKE 'Questions'")).one()[1])


@pytest.mark.usefixtures("ledger")
def test_a_read_is_one_statement() -> None:
    alone = database_engine(config.load(Settings, {**os.environ, "HTTP_THREADS": "2"}))
    store = Store(alone)
    with alone.connect() as connection:
        before = asked(connection)
    for _ in range(10):
        store.find(str(uuid.uuid4()))
    with alone.connect() as connection:
        # The ten reads, and the question itself.
        assert asked(connection) - before == 11
    alone.dispose()


def test_a_connection_that_the_server_closed_costs_no_request(ledger: Engine) -> None:
    store = Store(ledger)
    with ledger.connect() as first, ledger.connect() as second:
        doomed = [
            connection.connection.driver_connection.thread_id()  # type: ignore[union-attr]
            for connection in (first, second)
        ]
    killer = create_engine(ledger.url)
    with killer.connect() as connection:
        for number in doomed:
            connection.execute(text(f"KILL {number}"))
    killer.dispose()
    for _ in range(3):
        assert store.find(str(uuid.uuid4())) is None


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def address(topic: str, ledger: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real server process on the real Kafka and database."""
    del ledger
    file = tmp_path_factory.mktemp("server") / "log"
    port, management_port = free_port(), free_port()
    environ = {
        **os.environ,
        "TOPIC": topic,
        "HTTP_PORT": str(port),
        "MANAGEMENT_PORT": str(management_port),
        "HTTP_HOST": "127.0.0.1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    url = f"http://127.0.0.1:{port}"
    with (
        file.open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-m", "api_rest"], env=environ, stdout=log, stderr=log
        ) as process,
    ):
        try:
            until(lambda: requests.get(f"{url}/ready", timeout=5).status_code == 200)
            yield url
        finally:
            process.terminate()
            process.wait(30)
    assert b"request failed" not in file.read_bytes()


def until(condition: Any) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            if condition():
                return
        except requests.ConnectionError:
            pass
        assert time.monotonic() < deadline, "it never became ready"
        time.sleep(0.02)


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_a_real_server_answers_as_promised(address: str, mode: GenerationMode) -> None:
    # 413 too: what is wrong may be larger than a body may be.
    rejected = {"negative_data_rejection": {"expected-statuses": ["4xx", "5xx"]}}
    config = schemathesis.Config.from_dict({"checks": rejected})
    contract = schemathesis.openapi.from_url(f"{address}/openapi.json", config=config)
    few = hypothesis_settings(
        max_examples=10,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )

    def answers(case: schemathesis.Case[Any]) -> None:
        # A key that an earlier example sent with another body would be refused rightly.
        if mode is GenerationMode.POSITIVE and case.headers:
            case.headers.pop("Idempotency-Key", None)
        case.call_and_validate()

    for result in contract.get_all_operations():
        assert isinstance(result, Ok)
        with contextlib.suppress(Unsatisfiable):  # nothing about GET /health can be wrong
            few(given(case=result.ok().as_strategy(generation_mode=mode))(answers))()


def test_a_key_is_one_answer_to_requests_sent_together(
    address: str, deployment: dict[str, Any]
) -> None:
    key = {"Idempotency-Key": str(uuid.uuid4())}
    url = f"{address}/deployments"

    def post(_: int) -> dict[str, Any]:
        response = requests.post(url, json=deployment, headers=key, timeout=30)
        assert response.status_code == 202, response.text
        return dict(response.json())

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(post, range(8)))
    assert all(answer == answers[0] for answer in answers)
    other = requests.post(url, json={**deployment, "version": "2"}, headers=key, timeout=30)
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency-key-reused")
