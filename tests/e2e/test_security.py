"""TLS as a client in the cluster sees it, and the restrictions of the namespace."""

from __future__ import annotations

import json

import pytest

from tests.e2e.platform import API, WORKER, Client, Platform

pytestmark = [pytest.mark.engine, pytest.mark.cluster]

# GET /health by a name, verified with the platform's CA; prints the status and the TLS version.
ASK = """
import http.client, ssl, sys
context = ssl.create_default_context(cafile="/e2e/ca.crt")
connection = http.client.HTTPSConnection(sys.argv[1], 443, timeout=10, context=context)
connection.connect()
version = connection.sock.version()
connection.request("GET", "/health")
print(connection.getresponse().status, version)
"""
# Connects with one TLS version; prints the version or the refusal.
SPEAK = """
import socket, ssl, sys, warnings
warnings.simplefilter("ignore")
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.load_verify_locations("/e2e/ca.crt")
context.set_ciphers("DEFAULT@SECLEVEL=0")
context.minimum_version = context.maximum_version = ssl.TLSVersion[sys.argv[2]]
try:
    with socket.create_connection((sys.argv[1], 443), timeout=10) as plain:
        with context.wrap_socket(plain, server_hostname=sys.argv[1]) as secure:
            print(secure.version())
except (ssl.SSLError, ConnectionResetError) as error:
    print("refused", error)
"""
# Sends plain HTTP to the HTTPS port; prints the first bytes of the answer.
PLAIN = """
import socket, sys
with socket.create_connection((sys.argv[1], 443), timeout=10) as plain:
    plain.sendall(b"GET /health HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
    try:
        print(plain.recv(100))
    except ConnectionResetError:
        print(b"")
"""
WRITE = "open('/written', 'w')"
# Runs statements in the database with the pod's login; prints "done" or the error's number.
QUERY = """
import os, pymysql, sys
names = {"host": "HOST", "database": "DATABASE", "user": "USERNAME", "password": "PASSWORD"}
login = {key: os.environ["DB_" + name] for key, name in names.items()}
connection = pymysql.connect(**login, port=int(os.environ["DB_PORT"]))
for sql in sys.argv[1:]:
    try:
        connection.cursor().execute(sql)
        print("done")
    except pymysql.err.MySQLError as error:
        print(error.args[0])
"""
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"


@pytest.mark.parametrize("index", range(4), ids=["svc", "svc.ns", "svc.ns.svc", "FQDN"])
def test_the_certificate_is_verified_under_the_name(
    platform: Platform, client: Client, index: int
) -> None:
    assert client.python(ASK, platform.names[index]).split() == ["200", "TLSv1.3"]


def test_another_name_is_not_in_the_certificate(platform: Platform, client: Client) -> None:
    address = platform.cluster.get_one("service", platform.name(API))["spec"]["clusterIP"]
    with pytest.raises(AssertionError, match="CERTIFICATE_VERIFY_FAILED"):
        client.python(ASK, address)


@pytest.mark.parametrize(
    ("version", "answer"),
    [("TLSv1", "refused"), ("TLSv1_1", "refused"), ("TLSv1_2", "TLSv1.2"), ("TLSv1_3", "TLSv1.3")],
)
def test_tls_is_1_2_or_newer(platform: Platform, client: Client, version: str, answer: str) -> None:
    assert client.python(SPEAK, platform.host, version).split()[0] == answer


def test_no_plain_http_is_answered(platform: Platform, client: Client) -> None:
    assert "200" not in client.python(PLAIN, platform.host)


def test_the_api_has_only_port_443_and_the_worker_has_no_service(platform: Platform) -> None:
    spec = platform.cluster.get_one("service", platform.name(API))["spec"]
    ports = [(port["port"], port["protocol"]) for port in spec["ports"]]
    assert (spec["type"], ports) == ("ClusterIP", [(443, "TCP")])
    selectors = [
        service["spec"].get("selector", {}) for service in platform.cluster.get("services")
    ]
    assert selectors
    assert all(selector.get("app.kubernetes.io/name") != WORKER for selector in selectors)


def test_the_namespace_refuses_an_unrestricted_pod(platform: Platform) -> None:
    cluster = platform.cluster
    namespace = cluster.get_one("namespace", cluster.namespace)
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    container = {"name": "any", "image": "any"}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "any"},
        "spec": {"containers": [container]},
    }
    with pytest.raises(AssertionError, match="violates PodSecurity"):
        cluster.kubectl("apply", "--dry-run=server", "--filename", "-", stdin=json.dumps(pod))


def test_no_pod_has_a_token_or_shares_an_account(platform: Platform) -> None:
    pods = platform.cluster.pods()
    for pod in pods:
        spec = pod.manifest["spec"]
        mounts = [
            mount["mountPath"]
            for container in spec["containers"]
            for mount in container.get("volumeMounts", ())
        ]
        assert TOKEN not in mounts, pod.name
        assert spec["serviceAccountName"] != "default", pod.name
    accounts = {pod.component: pod.manifest["spec"]["serviceAccountName"] for pod in pods}
    assert len(set(accounts.values())) == len(accounts)


def test_every_root_file_system_is_read_only(platform: Platform) -> None:
    for pod in platform.cluster.pods():
        spec = pod.manifest["spec"]
        for container in [*spec["containers"], *spec.get("initContainers", ())]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True, f"{pod.name}/{container['name']}"
    pod = platform.cluster.pods(API)[0]
    with pytest.raises(AssertionError, match="Read-only file system"):
        platform.cluster.kubectl(
            "exec", pod.name, "--container", API, "--", "/usr/bin/python3", "-c", WRITE
        )


def test_api_rest_cannot_change_stored_events(platform: Platform) -> None:
    statements = [
        "SELECT COUNT(*) FROM deployments",
        "SELECT COUNT(*) FROM idempotency_keys",
        "UPDATE deployments SET id = id WHERE id = 'nobody'",
        "DELETE FROM deployments WHERE id = 'nobody'",
        "INSERT INTO deployments SELECT * FROM deployments WHERE id = 'nobody'",
    ]
    execute = ["exec", platform.cluster.pods(API)[0].name, "--container", API, "--"]
    results = platform.cluster.kubectl(*execute, "/usr/bin/python3", "-c", QUERY, *statements)
    assert results.split() == ["done", "done", "1142", "1142", "1142"]
