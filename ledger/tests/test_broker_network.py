"""kafka-python with sockets that misbehave; the apps' integration tests have a real broker."""

import logging
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trustme
from kafka import KafkaProducer
from kafka.errors import (
    KafkaConnectionError,
    KafkaTimeoutError,
    RequestTimedOutError,
    SaslAuthenticationFailedError,
)
from ledger.broker_network import open_client
from ledger.broker_security import BrokerSettings

from ledger import broker_network

# kafka-python leaves the sockets of failed handshakes to the garbage collector, so a process of its
# own opens the client. Its last line is the error.
OPEN_WITH_TLS = """
import sys
from kafka import KafkaAdminClient
from ledger import broker_network, broker_security, config

broker_network.GRACE = 0.1
environ = {"BROKER_URL": sys.argv[1], "BROKER_SECURITY_PROTOCOL": "SSL"}
settings = config.load(broker_security.BrokerSettings, environ)
broker_network.open_client(KafkaAdminClient, settings, bootstrap_timeout_ms=700)
"""


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    """Accepts connections and sends nothing."""
    listener = socket.create_server(("127.0.0.1", 0))
    yield listener
    listener.close()


def failure(url: str) -> str:
    """Return the error of a client that connects with TLS."""
    code = f"import sys\nsys.path[:] = {sys.path}\n{OPEN_WITH_TLS}"
    ended = subprocess.run(
        [sys.executable, "-c", code, url], capture_output=True, text=True, timeout=20, check=False
    )
    return ended.stderr.splitlines()[-1]


def test_a_tls_handshake_without_a_response_times_out(peer: socket.socket) -> None:
    url = f"127.0.0.1:{peer.getsockname()[1]}"
    assert f"KafkaTimeoutError: Unable to bootstrap from ['{url}']" in failure(url)


def test_a_broker_without_tls_is_an_error(peer: socket.socket) -> None:
    def answer() -> None:
        with suppress(OSError):
            while True:
                connection, _ = peer.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    threading.Thread(target=answer, daemon=True).start()
    assert "Handshake failed: [SSL" in failure(f"127.0.0.1:{peer.getsockname()[1]}")


def test_what_a_broker_says_before_it_disconnects_is_read_first(
    peer: socket.socket, make_settings: Callable[..., BrokerSettings], tmp_path: Path
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server)

    def refuse() -> None:
        with server.wrap_socket(peer.accept()[0], server_side=True) as connection:
            connection.sendall(b"refused")

    threading.Thread(target=refuse, daemon=True).start()
    tls = {"BROKER_SECURITY_PROTOCOL": "SSL", "BROKER_CA_FILE": str(tmp_path / "ca.pem")}
    context = open_client(lambda **options: options, make_settings(**tls))["ssl_context"]
    plain = socket.create_connection(peer.getsockname(), 20)
    with context.wrap_socket(plain, server_hostname="localhost") as connection:
        assert connection.recv(4096) == b"refused"
        with pytest.raises(ssl.SSLWantReadError):
            connection.recv(4096)
        assert connection.recv(4096) == b""


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


def test_a_timeout_does_not_hide_the_error_before(
    make_settings: Callable[..., BrokerSettings],
) -> None:
    def client(**_: object) -> None:
        for error in (SaslAuthenticationFailedError("refused"), RequestTimedOutError("too late")):
            logging.getLogger("kafka.net.manager").error("Connection failed: %s", error)
        raise KafkaTimeoutError("too late")

    with pytest.raises(KafkaConnectionError, match="refused"):
        open_client(client, make_settings(BROKER_URL="a"))


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


class Client:
    """Asks its network for the delays of a broker that it connects to, and that refused it."""

    DEFAULT_CONFIG = KafkaProducer.DEFAULT_CONFIG

    def __init__(self, *, kafka_client: Callable[..., Any], **_: object) -> None:
        network = kafka_client(bootstrap_servers=["a:1"], reconnect_backoff_ms=1_000)
        self.connecting = network.connection_delay(7)
        network._manager.update_backoff(7)
        self.refused = network.connection_delay(7)
        network.close()


def test_a_producer_waits_for_a_broker_that_is_not_ready(
    make_settings: Callable[..., BrokerSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_network, "KafkaProducer", Client)
    client = open_client(Client, make_settings(BROKER_URL="a:1"))
    assert client.connecting == 100, "kafka-python returns 0 while it connects"
    assert 700 < client.refused <= 1_200, "kafka-python returns about 1"


def test_other_clients_have_the_delays_of_kafka_python(
    make_settings: Callable[..., BrokerSettings],
) -> None:
    # A consumer takes a delay as a sign that its coordinator is away.
    client = open_client(Client, make_settings(BROKER_URL="a:1"))
    assert client.connecting == 0
    assert 0.7 < client.refused <= 1.2


def test_the_errors_of_connections_are_not_logged() -> None:
    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            pytest.fail(record.getMessage())

    handler = Handler()
    logging.getLogger().addHandler(handler)
    try:
        logging.getLogger("kafka.net.manager").error("Connection failed: %s", OSError("refused"))
    finally:
        logging.getLogger().removeHandler(handler)
