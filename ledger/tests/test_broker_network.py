"""kafka-python with sockets that misbehave; the apps' integration tests have a real broker."""

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
    """Accepts connections and sends nothing."""
    listener = socket.create_server(("127.0.0.1", 0))
    yield listener
    listener.close()


def failure(settings: BrokerSettings) -> str:
    with pytest.raises(KafkaError) as caught:
        open_client(KafkaAdminClient, settings, **ATTEMPT)
    assert caught.value.retriable
    return str(caught.value)


def test_a_tls_handshake_without_a_response_times_out(
    make_settings: Callable[..., BrokerSettings], peer: socket.socket
) -> None:
    url = f"127.0.0.1:{peer.getsockname()[1]}"
    message = failure(make_settings(BROKER_URL=url, BROKER_SECURITY_PROTOCOL="SSL"))
    assert f"no TLS with {url}" in message
    assert "timed out" in message


def test_a_broker_without_tls_is_an_error(
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
    message = failure(make_settings(BROKER_URL=url, BROKER_SECURITY_PROTOCOL="SSL"))
    assert f"no TLS with {url}: [SSL" in message


def test_a_failed_client_closes_its_network_and_keeps_its_error(
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


def test_a_client_gets_the_settings_and_its_own_options(
    make_settings: Callable[..., BrokerSettings],
) -> None:
    login = {"BROKER_USERNAME": "u", "BROKER_PASSWORD": "p"}
    settings = make_settings(BROKER_URL="a,b:1", BROKER_SECURITY_PROTOCOL="SASL_PLAINTEXT", **login)
    options = open_client(lambda **options: options, settings, acks="all")
    assert {
        name: options[name]
        for name in (
            "bootstrap_servers",
            "metadata_max_age_ms",
            "security_protocol",
            "sasl_plain_username",
            "acks",
        )
    } == {
        "bootstrap_servers": ["a:9092", "b:1"],
        "metadata_max_age_ms": 10_000,
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_plain_username": "u",
        "acks": "all",
    }


def test_the_last_data_of_a_broker_is_read() -> None:
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


def test_a_refused_login_delays_the_next_attempt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def connect(*_: object, **__: object) -> None:
        """Like kafka-python's, which does not return the result."""

    monkeypatch.setattr(KafkaConnectionManager, "_connect", connect)
    network = Network(bootstrap_servers=["a:1"])
    refused = SaslAuthenticationFailedError("invalid credentials")

    def attempt(error: Exception | None) -> float:
        connection = SimpleNamespace(init_future=SimpleNamespace(exception=error))
        with pytest.raises(StopIteration):
            network._connections._connect(SimpleNamespace(node_id=7), connection).send(None)
        return float(network._connections.connection_delay(7))

    try:
        assert attempt(None) == 0
        assert network.failure is None
        assert attempt(refused) > 0
        assert network.failure is refused
        attempt(None)
        assert network.failure is None
    finally:
        network.close()


def test_a_producer_waits_for_a_broker_that_is_not_ready() -> None:
    network = ProducerNetwork(bootstrap_servers=["a:1"], reconnect_backoff_ms=1_000)
    try:
        assert network.connection_delay(7) == 100, "kafka-python returns 0 while it connects"
        network._connections.update_backoff(7)
        assert 700 < network.connection_delay(7) <= 1_200, "kafka-python returns about 1"
    finally:
        network.close()


def test_only_a_producer_uses_its_network_client(
    make_settings: Callable[..., BrokerSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Network] = []

    def build(*, kafka_client: Callable[..., Network], **_: object) -> None:
        made.append(kafka_client(bootstrap_servers=["a:1"]))
        made[-1].close()

    # A consumer takes a delay as a sign that its coordinator is away.
    open_client(build, make_settings(BROKER_URL="a:1"))
    monkeypatch.setattr(broker_network, "KafkaProducer", build)
    open_client(build, make_settings(BROKER_URL="a:1"))
    assert [type(network) for network in made] == [Network, ProducerNetwork]
