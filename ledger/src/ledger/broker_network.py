"""kafka-python's clients: made alike, left without a trace when that fails, and telling why brokers cannot be reached.

What is overridden here mends kafka-python 3.0.12, in which these things go wrong.
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
# kafka-python's own default waits up to 30 s for a host that swallows packets.
CONNECT_TIMEOUTS = {
    "socket_connection_setup_timeout_ms": 2_000,
    "socket_connection_setup_timeout_max_ms": 2_000,
}
# How long a producer sleeps for a broker that is not ready; whatever comes in wakes it before.
NOT_READY_LOOK_MS = 100.0


def open_client(client: Callable[..., Any], settings: BrokerSettings, **options: object) -> Any:  # noqa: ANN401
    """Build a kafka-python client, or raise a KafkaError, which says what kept it from a broker, not just that time was up."""
    networks: list[Network] = []
    kind = ProducerNetwork if client is KafkaProducer else Network

    def network(**arguments: object) -> Network:
        networks.append(kind(**arguments))
        return networks[-1]

    try:
        return client(
            bootstrap_servers=list(settings.broker_url),
            reconnect_backoff_max_ms=RECONNECT_BACKOFF_MAX_MS,
            kafka_client=network,
            **client_options(settings),
            **options,
        )
    except KafkaError as error:
        for opened in networks:
            opened.close()
        failures = [str(opened.failure) for opened in networks if opened.failure]
        raise KafkaConnectionError(failures[0]) if failures else error from error


class Network(KafkaNetClient):  # type: ignore[misc]  # kafka-python is untyped
    """kafka-python's network side; knows what kept it from the broker that it last tried."""

    def __init__(self, **options: object) -> None:
        net = NetworkSelector(**options)
        self._connections = _Connections(net, **options, **CONNECT_TIMEOUTS)
        super().__init__(net=net, manager=self._connections)

    @property
    def failure(self) -> Exception | None:
        """What kept the last connection from being made; None once one was."""
        return self._connections.failure


class ProducerNetwork(Network):
    """A producer's network side, with which it waits for a broker that is not ready."""

    def connection_delay(self, node_id: object) -> float:
        """Return how many milliseconds to wait for a broker.

        kafka-python answers in seconds, and with 0 while it connects; its producer takes that for
        milliseconds, and asks again and again for as long as it has something to send.
        """
        return max(float(super().connection_delay(node_id)) * 1000, NOT_READY_LOOK_MS)


class _Connections(KafkaConnectionManager):  # type: ignore[misc]  # kafka-python is untyped
    failure: Exception | None = None

    async def _connect(self, node: Any, conn: Any, **options: object) -> None:  # noqa: ANN401
        await super()._connect(node, conn, **options)
        self.failure = conn.init_future.exception
        # After a refused login kafka-python comes back at once, again and again.
        if self.failure is not None and not self.connection_delay(node.node_id):
            self.update_backoff(node.node_id)

    async def _build_transport(
        self,
        node: Any,  # noqa: ANN401
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


class _LastWords:
    """Hands on what a broker said just before it hung up: why it refuses a login, for one."""

    def _sock_recv(self) -> tuple[bytes, Exception | None]:
        received, error = super()._sock_recv()  # type: ignore[misc]
        # The next look finds the end again.
        return received, None if received else error


class _Plain(_LastWords, KafkaTCPTransport):  # type: ignore[misc]  # kafka-python is untyped
    pass


class _Encrypted(_LastWords, KafkaSSLTransport):  # type: ignore[misc]  # kafka-python is untyped
    async def handshake_until(self, timeout_at: float | None) -> None:
        """Shake hands; kafka-python's own waits forever for a broker that says nothing."""
        while True:
            try:
                self._sock.do_handshake()
            except ssl.SSLWantReadError:
                await self._net.wait_read(self._sock, timeout_at=timeout_at)
            except ssl.SSLWantWriteError:
                await self._net.wait_write(self._sock, timeout_at=timeout_at)
            else:
                return
