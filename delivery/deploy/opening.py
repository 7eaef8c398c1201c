"""Serve a component of an environment at a port of this machine, by TLS that is verified."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress

from delivery import console
from delivery.deploy.helm import RELEASE
from delivery.deploy.kubectl import Kubernetes
from delivery.deploy.target import connect
from delivery.errors import DeclarationError, DeployError, PortTakenError
from delivery.project.declaration import Declaration

__all__ = ["open_component"]

_HTTPS = "https"  # the name of the port of a Service with TLS
_CHUNK_BYTES = 65536
_HANDSHAKE_SECONDS = 10


def open_component(
    declaration: Declaration, environment: str, context: str, component: str, port: int
) -> None:
    """Forward a local port (0: any) to a component until Ctrl-C; print its address.

    Browsers need no certificate: this process connects to the pod, and verifies the pod's.
    """
    target = connect(declaration, environment, context)
    kubernetes = target.kubernetes
    service = f"{RELEASE}-{component}"
    _check_service(kubernetes, service, component)
    host = f"{service}.{kubernetes.namespace}.svc"
    with (
        suppress(KeyboardInterrupt),
        kubernetes.forwarded(f"service/{service}", _HTTPS) as forwarded,
    ):
        relay = Relay(_trust(kubernetes), host, forwarded)
        relay.verify()
        with _served(relay, port) as address:
            console.say(f"{component} of {target}: {address}  (Ctrl-C ends it)")
            relay.lost.wait()
            raise DeployError(
                f"cannot keep {service} open: its pod no longer takes a connection",
                hint="run the same command again, which connects to another pod",
            )
    console.say("\nclosed; nothing is left behind")


class Relay:
    """Copies the bytes of local connections to TLS connections, and back."""

    def __init__(self, trust: ssl.SSLContext, host: str, port: int) -> None:
        """Connect to a host, whose certificate `trust` verifies, by a port of this machine."""
        self.lost = threading.Event()  # a connection was refused
        self._trust, self._host, self._port = trust, host, port

    def verify(self) -> None:
        """Connect once; raise DeployError if that fails, or the certificate is not valid."""
        try:
            with (
                socket.create_connection(("127.0.0.1", self._port), _HANDSHAKE_SECONDS) as plain,
                self._trust.wrap_socket(plain, server_hostname=self._host),
            ):
                pass
        except OSError as error:
            invalid = getattr(error, "verify_message", "")
            reason = f"its certificate is not valid: {invalid}" if invalid else str(error)
            raise DeployError(
                f"cannot open {self._host}: {reason}",
                hint="see `./run inv status --environment NAME`; a deploy renews a certificate",
            ) from error

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Copy a connection to its end; all are lost once one cannot be made, nor made again."""
        try:
            try:
                from_host, to_host = await self._connect()
            except OSError:  # one that fails says little: kubectl drops some
                from_host, to_host = await self._connect()
        except OSError:
            self.lost.set()
            writer.close()
            return
        await asyncio.gather(_copy(reader, to_host), _copy(from_host, writer))

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(
            "127.0.0.1", self._port, ssl=self._trust, server_hostname=self._host
        )


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        with suppress(OSError):  # either side may close its connection
            while data := await reader.read(_CHUNK_BYTES):
                writer.write(data)
                await writer.drain()
    finally:
        writer.close()


@contextmanager
def _served(relay: Relay, port: int) -> Iterator[str]:
    """Serve the relay at a port of this machine while the body runs; its address."""
    started: Future[tuple[int, Callable[[], object]]] = Future()
    thread = threading.Thread(target=asyncio.run, args=[_serve(relay, port, started)], daemon=True)
    thread.start()
    try:
        port, end = started.result()
    except OSError as error:
        raise PortTakenError(
            f"cannot listen at port {port}: {error.strerror}", hint="pass another --port"
        ) from error
    try:
        yield f"http://localhost:{port}/"
    finally:
        end()
        thread.join()


async def _serve(
    relay: Relay, port: int, started: Future[tuple[int, Callable[[], object]]]
) -> None:
    """Serve the relay until the function that is the second result is called."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    try:
        server = await asyncio.start_server(relay.serve, "127.0.0.1", port)
    except OSError as error:
        started.set_exception(error)
        return
    number = server.sockets[0].getsockname()[1]
    started.set_result((number, lambda: loop.call_soon_threadsafe(ended.set)))
    try:
        await ended.wait()
    finally:
        server.close()


def _check_service(kubernetes: Kubernetes, service: str, component: str) -> None:
    """Raise DeclarationError unless the component has a Service that serves TLS."""
    found = kubernetes.find("service", service) or {"spec": {}}
    if _HTTPS not in [port.get("name") for port in found["spec"].get("ports") or ()]:
        reason = "has no port https" if found["spec"] else "is not deployed"
        raise DeclarationError(
            f"cannot open {component}: its Service {service} {reason}",
            hint="pass --component, or enable its tls in the environment's values",
        )


def _trust(kubernetes: Kubernetes) -> ssl.SSLContext:
    """What certificates are verified with: the environment's CA, else this machine's."""
    for secret in (f"{RELEASE}-ca", f"{RELEASE}-tls"):
        data = (kubernetes.find("secret", secret) or {}).get("data") or {}
        if "ca.crt" in data:
            return ssl.create_default_context(cadata=base64.b64decode(data["ca.crt"]).decode())
    return ssl.create_default_context()
