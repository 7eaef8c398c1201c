"""Builds kafka-python's clients, and reports why a broker cannot be reached.

All by kafka-python's public options: docs/kafka-python.md of async-worker has the bugs of 3.0.12.
"""

from __future__ import annotations

import logging
import socket
import ssl
from threading import Timer
from typing import TYPE_CHECKING, Any

from kafka import KafkaProducer
from kafka.errors import (
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    RequestTimedOutError,
)

from .broker_security import client_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from .broker_security import BrokerSettings

__all__ = ["open_client"]

RECONNECT_BACKOFF_MAX_MS = 2_000
# A request for a topic's partitions gets lost when another one is in flight. The default is 5 min.
METADATA_MAX_AGE_MS = 10_000
BOOTSTRAP_TIMEOUT_MS = 30_000
# How much longer than its timeout connecting may take. It waits for a TLS handshake for ever.
GRACE = 1.0
# How long a producer waits for a broker that is not ready; incoming data ends the wait.
NOT_READY_WAIT_MS = 100.0
# These come last, and say less than the error before.
TIMEOUTS = (KafkaTimeoutError, RequestTimedOutError)
SOCKET_OPTIONS = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
    SOCKET_OPTIONS += [
        # A host that drops packets: connecting fails after 3 s, and what is sent after 10 s.
        (socket.IPPROTO_TCP, socket.TCP_SYNCNT, 1),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 10_000),
        # A host that is gone is noticed after 25 s, also when nothing is sent.
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    ]


def open_client(
    client: Callable[..., Any],
    settings: BrokerSettings,
    *,
    bootstrap_timeout_ms: int = BOOTSTRAP_TIMEOUT_MS,
    **options: object,
) -> Any:  # noqa: ANN401  kafka-python is untyped
    """Build a kafka-python client, or raise a KafkaError.

    The error has the reason why a broker cannot be reached, and is not only a timeout.
    """
    networks: list[Any] = []

    def network(**arguments: object) -> object:
        opened = KafkaProducer.DEFAULT_CONFIG["kafka_client"](**arguments)
        networks.append(opened)
        return _ProducerNetwork(opened) if client is KafkaProducer else opened

    def close() -> None:
        for opened in networks:
            opened.close()

    security = client_options(settings)
    if isinstance(context := security.get("ssl_context"), ssl.SSLContext):
        context.sslsocket_class = _TlsSocket
    _failures.last = ""
    limit = Timer(bootstrap_timeout_ms / 1000 + GRACE, close)
    limit.daemon = True
    limit.start()
    try:
        return client(
            bootstrap_servers=list(settings.broker_url),
            bootstrap_timeout_ms=bootstrap_timeout_ms,
            reconnect_backoff_max_ms=RECONNECT_BACKOFF_MAX_MS,
            metadata_max_age_ms=METADATA_MAX_AGE_MS,
            socket_options=SOCKET_OPTIONS,
            kafka_client=network,
            **security,
            **options,
        )
    except KafkaError as error:
        close()
        raise _failures.as_error() or error from error
    finally:
        limit.cancel()


class _TlsSocket(ssl.SSLSocket):
    """Reports the end of a connection apart from the data before it.

    kafka-python reads until nothing is left, and loses the data if the connection has ended: a
    broker refuses a login, and disconnects at once.
    """

    _has_data = False

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        had_data, self._has_data = self._has_data, False
        data = super().recv(buflen, flags)
        self._has_data = bool(data)
        if had_data and not data:
            raise ssl.SSLWantReadError("the connection has ended; the next call returns that")
        return data


class _ProducerNetwork:
    """A network client whose producer waits for a broker that is not ready."""

    def __init__(self, network: Any) -> None:  # noqa: ANN401  kafka-python is untyped
        self._network = network

    def connection_delay(self, node_id: object) -> float:
        """Return how many milliseconds to wait for a broker.

        kafka-python returns seconds, and 0 while it connects. Its producer takes this for
        milliseconds, and so loops without a pause while it has something to send.
        """
        return max(float(self._network.connection_delay(node_id)) * 1000, NOT_READY_WAIT_MS)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  kafka-python is untyped
        return getattr(self._network, name)


class _Failures(logging.Handler):
    """Keeps the last error of a connection. kafka-python logs it, and raises only a timeout."""

    last = ""

    def emit(self, record: logging.LogRecord) -> None:
        for argument in record.args or ():
            has_reason = isinstance(argument, Exception) and argument.args
            if has_reason and not isinstance(argument, TIMEOUTS):
                self.last = str(argument)

    def as_error(self) -> KafkaError | None:
        return KafkaConnectionError(self.last) if self.last else None


_failures = _Failures(logging.WARNING)
_log = logging.getLogger("kafka.net")
_log.addHandler(_failures)
# kafka-python logs several lines for each failed connection. The apps log each failure once.
_log.propagate = False
