"""kafka-python against sockets that behave as no good broker does; tests/integration has the real one."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from kafka import KafkaAdminClient
from kafka.errors import (
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    SaslAuthenticationFailedError,
)
from kafka.net.manager import KafkaConnectionManager
from ledger.broker_network import Network, ProducerNetwork, _Plain, open_client
from ledger.broker_security import BrokerSettings

from ledger import broker_network

ATTEMPT = {"bootstrap_timeout_ms": 700}


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    """Takes connections, and says nothing."""
    listener = socket.create_server(("127.0.0.1", 0))
    yield listener
    listener.close()


def failure(settings: BrokerSettings) -> str:
    with pytest.raises(KafkaError) as caught:
        open_client(KafkaAdminClient, settings, **ATTEMPT)
    assert caught.value.retriable
    return str(caught.value)


def test_a_broker_that_never_shakes_hands_is_given_up(
    make_settings: Callable[..., BrokerSettings], peer: socket.socket
) -> None:
    url = f"127.0.0.1:{peer.getsockname()[1]}"
    told = failure(make_settings(BROKER_URL=url, BROKER_SECURITY_PROTOCOL="SSL"))
    assert f"no TLS with {url}" in told
    assert "timed out" in told


def test_what_is_no_tls_is_told(
    make_settings: Callable[..., BrokerSettings], peer: socket.socket
) -> None:
    def answer() -> None:
        with suppress(OSError):
            while True:
                connection, _ = peer.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    threading.Thread(target=answer, daemon=True).start()
    url = f"127.0.0.1:{peer.getsockname()[1]}"
    told = failure(make_settings(BROKER_URL=url, BROKER_SECURITY_PROTOCOL="SSL"))
    assert f"no TLS with {url}: [SSL" in told


def test_a_client_that_cannot_be_built_leaves_no_network_and_its_own_reason(
    make_settings: Callable[..., BrokerSettings],
) -> None:
    opened: list[Any] = []

    def client(
        *, kafka_client: Callable[..., Any], bootstrap_servers: list[str], **_: object
    ) -> None:
        opened.append(kafka_client(bootstrap_servers=bootstrap_servers))
        raise KafkaTimeoutError("too late")

    with pytest.raises(KafkaTimeoutError, match="too late"):
        open_client(client, make_settings(BROKER_URL="a"))
    assert [network._net._closed for network in opened] == [True]


def test_every_client_gets_the_settings_and_what_is_its_own(
    make_settings: Callable[..., BrokerSettings],
) -> None:
    login = {"BROKER_USERNAME": "u", "BROKER_PASSWORD": "p"}
    settings = make_settings(BROKER_URL="a,b:1", BROKER_SECURITY_PROTOCOL="SASL_PLAINTEXT", **login)
    options = open_client(lambda **options: options, settings, acks="all")
    assert {
        name: options[name]
        for name in ("bootstrap_servers", "security_protocol", "sasl_plain_username", "acks")
    } == {
        "bootstrap_servers": ["a:9092", "b:1"],
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_plain_username": "u",
        "acks": "all",
    }


def test_what_a_broker_says_before_it_hangs_up_is_read() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        ours.settimeout(0)
        theirs.sendall(b"wrong password")
        theirs.close()
        transport = _Plain(None, ours, host="a")
        assert transport._sock_recv() == (b"wrong password", None)
        received, error = transport._sock_recv()
    assert received == b""
    assert isinstance(error, KafkaConnectionError)


def test_after_a_refused_login_it_waits_before_it_tries_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def connect(*_: object, **__: object) -> None:
        """As kafka-python's: ends without a word about what became of it."""

    monkeypatch.setattr(KafkaConnectionManager, "_connect", connect)
    network = Network(bootstrap_servers=["a:1"])
    refused = SaslAuthenticationFailedError("invalid credentials")

    def tried(error: Exception | None) -> float:
        connection = SimpleNamespace(init_future=SimpleNamespace(exception=error))
        with pytest.raises(StopIteration):
            network._connections._connect(SimpleNamespace(node_id=7), connection).send(None)
        return float(network._connections.connection_delay(7))

    try:
        assert tried(None) == 0
        assert network.failure is None
        assert tried(refused) > 0
        assert network.failure is refused
        tried(None)
        assert network.failure is None
    finally:
        network.close()


def test_a_producer_waits_for_a_broker_while_it_connects_and_before_it_tries_again() -> None:
    network = ProducerNetwork(bootstrap_servers=["a:1"], reconnect_backoff_ms=1_000)
    try:
        assert network.connection_delay(7) == 100, "kafka-python says 0 while it connects"
        network._connections.update_backoff(7)
        assert 700 < network.connection_delay(7) <= 1_200, "kafka-python says about 1"
    finally:
        network.close()


def test_only_a_producer_waits_so(
    make_settings: Callable[..., BrokerSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Network] = []

    def build(*, kafka_client: Callable[..., Network], **_: object) -> None:
        made.append(kafka_client(bootstrap_servers=["a:1"]))
        made[-1].close()

    # To a consumer a delay says that its coordinator is away.
    open_client(build, make_settings(BROKER_URL="a:1"))
    monkeypatch.setattr(broker_network, "KafkaProducer", build)
    open_client(build, make_settings(BROKER_URL="a:1"))
    assert [type(network) for network in made] == [Network, ProducerNetwork]
