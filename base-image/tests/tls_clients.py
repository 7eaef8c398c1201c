"""A program in the image: print for each client whether it trusts a TLS server.

The server is in this process. A client trusts its certificate if the handshake succeeds.
"""

import json
import logging
import os
import socket
import ssl
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Queue

import requests
from kafka import KafkaProducer
from kafka.errors import KafkaError

TIMEOUT = 10

Outcomes = Queue[str]


def serve(listener: socket.socket, context: ssl.SSLContext, outcomes: Outcomes) -> None:
    while True:
        connection, _ = listener.accept()
        connection.settimeout(TIMEOUT)
        try:
            with context.wrap_socket(connection, server_side=True) as tls:
                outcomes.put("trusted")
                tls.recv(1)
        except OSError as error:
            outcomes.put(str(error))


def with_ssl(port: int) -> None:
    with socket.create_connection(("localhost", port), timeout=TIMEOUT) as connection:
        ssl.create_default_context().wrap_socket(connection, server_hostname="localhost").close()


def with_ssl_and_no_environment(port: int) -> None:
    del os.environ["SSL_CERT_FILE"]
    with_ssl(port)


def with_requests(port: int) -> None:
    requests.get(f"https://localhost:{port}/", timeout=TIMEOUT)


def with_kafka(port: int) -> None:
    producer = KafkaProducer(
        bootstrap_servers=f"localhost:{port}",
        security_protocol="SSL",
        api_version=(2, 6),
        max_block_ms=500,
    )
    try:
        producer.send("topic", b"value")
    finally:
        producer.close(timeout=0)


CLIENTS: dict[str, Callable[[int], None]] = {
    "requests": with_requests,
    "kafka-python": with_kafka,
    "ssl": with_ssl,
    "ssl without SSL_CERT_FILE": with_ssl_and_no_environment,  # last: it changes the environment
}


def main(certificate: str) -> None:
    logging.disable()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    results: dict[str, str] = {}
    for name, client in CLIENTS.items():
        outcomes: Outcomes = Queue()
        listener = socket.create_server(("localhost", 0))
        threading.Thread(target=serve, args=(listener, context, outcomes), daemon=True).start()
        with suppress(OSError, KafkaError):  # the server closes the connection after the handshake
            client(listener.getsockname()[1])
        results[name] = outcomes.get(timeout=TIMEOUT)
    print(json.dumps(results))


if __name__ == "__main__":
    main(sys.argv[1])
