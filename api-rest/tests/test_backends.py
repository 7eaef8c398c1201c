import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from api_rest import backends
from api_rest.backends import Backends, ConnectingBackend
from api_rest.errors import Busy, Unavailable
from api_rest.lag import LagMonitor
from api_rest.readiness import Reason


class Fake:
    """A backend that can be away or busy."""

    def __init__(self, reason: str = "", plain: str = "") -> None:
        self.reason = reason
        self.plain = plain
        self.busy = False
        self.closed = False

    def check(self) -> None:
        if self.busy:
            raise Busy("busy", "no connection was free")
        if self.reason:
            raise Unavailable(self.reason, plain=self.plain)

    def close(self) -> None:
        self.closed = True


def full(both: Backends) -> list[str]:
    return [reason.full for reason in both.problems()]


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.005)


def usable(connecting: ConnectingBackend[Fake]) -> bool:
    try:
        connecting.use(Fake.check)
    except Unavailable:
        return False
    return True


def test_use_raises_before_the_connection() -> None:
    with pytest.raises(Unavailable, match="Kafka is not connected yet"):
        ConnectingBackend("Kafka", Fake).use(Fake.check)


def test_start_returns_while_the_connection_is_being_made() -> None:
    release = threading.Event()

    def slowly() -> Fake:
        release.wait(5)
        return Fake()

    connecting = ConnectingBackend("Kafka", slowly)
    connecting.start()
    assert not usable(connecting)
    release.set()
    eventually(lambda: usable(connecting))


def test_it_retries_until_it_is_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "RETRY_AFTER", 0.001)
    attempts = iter([Unavailable("no"), Unavailable("no"), None])

    def connect() -> Fake:
        if error := next(attempts):
            raise error
        return Fake()

    connecting = ConnectingBackend("Kafka", connect)
    connecting.start()
    eventually(lambda: usable(connecting))


def test_use_reports_a_bug_in_the_connection() -> None:
    def broken() -> Fake:
        raise TypeError("no such option")

    connecting = ConnectingBackend("Kafka", broken)
    connecting.start()

    def reports_bug() -> bool:
        with pytest.raises(Unavailable) as caught:
            connecting.use(Fake.check)
        return "no such option" in str(caught.value)

    eventually(reports_bug)


def test_close_ends_the_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "RETRY_AFTER", 60)

    def away() -> Fake:
        raise Unavailable("no")

    connecting = ConnectingBackend("Kafka", away)
    connecting.start()
    connecting.close()
    eventually(lambda: not connecting._thread.is_alive())


def test_close_closes_what_is_connected() -> None:
    fake = Fake()
    connecting = ConnectingBackend("Kafka", lambda: fake)
    connecting.start()
    eventually(lambda: usable(connecting))
    connecting.close()
    assert fake.closed


def backends_of(kafka: Any, database: Any) -> Backends:
    return Backends(
        ConnectingBackend("Kafka", lambda: kafka),
        ConnectingBackend("the database", lambda: database),
        LagMonitor(),
    )


def test_problems_name_each_failing_backend() -> None:
    kafka, database = Fake("no leader"), Fake()
    both = backends_of(kafka, database)
    both.start()
    eventually(lambda: full(both) == ["no leader"])
    kafka.reason, database.reason = "", "refused"
    assert full(both) == ["refused"]
    assert both.up == {"kafka": True, "database": False}
    database.reason = ""
    assert both.problems() == []
    both.close()
    assert kafka.closed
    assert database.closed


def test_problems_have_a_plain_and_a_full_text() -> None:
    kafka, database = Fake("no brokers at kafka:9092"), Fake("no table", plain="no table")
    both = backends_of(kafka, database)
    both.start()
    eventually(lambda: full(both) == ["no brokers at kafka:9092", "no table"])
    assert [reason.plain for reason in both.problems()] == ["Kafka does not answer", "no table"]
    both.close()


def test_the_check_recovers_while_a_request_hangs() -> None:
    kafka = Fake("away")
    broker: ConnectingBackend[Fake] = ConnectingBackend("Kafka", lambda: kafka)
    database = ConnectingBackend("the database", Fake)
    both = Backends(broker, database, LagMonitor())  # type: ignore[arg-type]
    both.start()
    eventually(lambda: full(both) == ["away"])
    entered, release = threading.Event(), threading.Event()

    def hang(_: Fake) -> None:
        entered.set()
        release.wait(5)

    thread = threading.Thread(target=broker.use, args=(hang,))
    thread.start()
    assert entered.wait(5)
    assert not usable(broker)
    kafka.reason = ""
    assert both.problems() == []
    assert usable(broker)
    release.set()
    thread.join(5)
    both.close()


def test_a_busy_database_keeps_its_last_result() -> None:
    database = Fake()
    both = backends_of(Fake(), database)
    both.start()
    database.busy = True
    eventually(
        lambda: both.problems() == [Reason("the database is busy", "no connection was free")]
    )
    database.busy = False
    assert both.problems() == []
    database.busy = True
    assert both.problems() == []
    assert both.up == {"kafka": True, "database": True}
    both.close()
