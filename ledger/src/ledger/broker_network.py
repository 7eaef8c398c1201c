"""Builds kafka-python's clients, and reports why a broker cannot be reached.

The subclasses work around bugs of kafka-python 3.0.12.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from kafka import KafkaProducer
from kafka.errors import KafkaConnectionError, KafkaError
from kafka.net.compat import KafkaNetClient
from kafka.net.inet import create_connection
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector
from kafka.net.transport import KafkaSSLTransport, KafkaTCPTransport

from .broker_security import client_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from .broker_security import BrokerSettings

__all__ = ["Network", "ProducerNetwork", "open_client"]

RECONNECT_BACKOFF_MAX_MS = 2_000
# A request for a topic's partitions gets lost when another one is in flight. The default is 5 min.
METADATA_MAX_AGE_MS = 10_000
# kafka-python waits up to 30 s for a host that drops packets.
CONNECT_TIMEOUTS = {
    "socket_connection_setup_timeout_ms": 2_000,
    "socket_connection_setup_timeout_max_ms": 2_000,
}
# How long a producer waits for a broker that is not ready; incoming data ends the wait.
NOT_READY_WAIT_MS = 100.0


def open_client(
    client: Callable[..., Any],
    settings: BrokerSettings,
    **options: object,
) -> Any:  # noqa: ANN401  kafka-python is untyped
    """Build a kafka-python client, or raise a KafkaError.

    The error has the reason why a broker cannot be reached, and is not only a timeout.
    """
    networks: list[Network] = []
    kind = ProducerNetwork if client is KafkaProducer else Network

    def network(**arguments: object) -> Network:
        networks.append(kind(**arguments))
        return networks[-1]

    try:
        return client(
            bootstrap_servers=list(settings.broker_url),
            reconnect_backoff_max_ms=RECONNECT_BACKOFF_MAX_MS,
            metadata_max_age_ms=METADATA_MAX_AGE_MS,
            kafka_client=network,
            **client_options(settings),
            **options,
        )
    except KafkaError as error:
        for opened_network in networks:
            opened_network.close()
        failures = [str(failed.failure) for failed in networks if failed.failure]
        raise KafkaConnectionError(failures[0]) if failures else error from error


class Network(KafkaNetClient):  # type: ignore[misc]  # kafka-python is untyped
    """kafka-python's network client, which keeps the error of the last connection."""

    def __init__(self, **options: object) -> None:
        net = NetworkSelector(**options)
        self._connections = _Connections(net, **options, **CONNECT_TIMEOUTS)
        super().__init__(net=net, manager=self._connections)

    @property
    def failure(self) -> Exception | None:
        """The error of the last connection; None when it succeeded."""
        return self._connections.failure


class ProducerNetwork(Network):
    """The network client of a producer, which waits for a broker that is not ready."""

    def connection_delay(self, node_id: object) -> float:
        """Return how many milliseconds to wait for a broker.

        kafka-python returns seconds, and 0 while it connects. Its producer takes this for
        milliseconds, and so loops without a pause while it has something to send.
        """
        return max(float(super().connection_delay(node_id)) * 1000, NOT_READY_WAIT_MS)


class _Connections(KafkaConnectionManager):  # type: ignore[misc]  # kafka-python is untyped
    failure: Exception | None = None

    async def _connect(
        self,
        node: Any,  # noqa: ANN401  kafka-python is untyped
        conn: Any,  # noqa: ANN401  kafka-python is untyped
        **options: object,
    ) -> None:
        await super()._connect(node, conn, **options)
        self.failure = conn.init_future.exception
        # After a refused login kafka-python reconnects immediately, without end.
        if self.failure is not None and not self.connection_delay(node.node_id):
            self.update_backoff(node.node_id)

    async def _build_transport(
        self,
        node: Any,  # noqa: ANN401  kafka-python is untyped
        timeout_at: float | None = None,
    ) -> KafkaTCPTransport:
        sock = await create_connection(
            self._net, node.host, node.port, self.config["socket_options"], timeout_at=timeout_at
        )
        if not self.ssl_enabled:
            return _Plain(self._net, sock, host=node.host)
        transport = _Encrypted(
            self._net, sock, host=node.host, ssl_context=self.config["ssl_context"]
        )
        try:
            await transport.handshake_until(timeout_at)
        except (OSError, KafkaError) as error:
            transport.close()
            raise KafkaConnectionError(f"no TLS with {node.host}:{node.port}: {error}") from error
        return transport


class _LastDataMixin:
    """Returns the data that a broker sends before it disconnects, such as a refused login."""

    def _sock_recv(self) -> tuple[bytes, Exception | None]:
        received, error = super()._sock_recv()  # type: ignore[misc]
        # The next call returns the error again.
        return received, None if received else error


class _Plain(_LastDataMixin, KafkaTCPTransport):  # type: ignore[misc]  # kafka-python is untyped
    pass


class _Encrypted(_LastDataMixin, KafkaSSLTransport):  # type: ignore[misc]  # untyped
    async def handshake_until(self, timeout_at: float | None) -> None:
        """Do the TLS handshake; kafka-python's own waits forever for a silent broker."""
        while True:
            try:
                self._sock.do_handshake()
            except ssl.SSLWantReadError:
                await self._net.wait_read(self._sock, timeout_at=timeout_at)
            except ssl.SSLWantWriteError:
                await self._net.wait_write(self._sock, timeout_at=timeout_at)
            else:
                return
