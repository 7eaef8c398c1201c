"""templates/tls and templates/_tls.tpl: the sources of the certificate, and the proxy."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
from support import (
    SECURED,
    Document,
    alone,
    by_name,
    container,
    find,
    load,
    names,
    pod,
    pod_annotations,
    render,
    secret,
)

FOUR = [
    "platform-web",
    "platform-web.test",
    "platform-web.test.svc",
    "platform-web.test.svc.cluster.local",
]
EXISTING = "tls: {existingSecret: bought, selfSigned: {enabled: false}}"
ISSUED = """
tls:
  certManager: {enabled: true, issuerRef: {name: ca}}
  selfSigned: {enabled: false}
"""


def secured(values: str = "{}", **component: object) -> list[Document]:
    """Return the objects of one component with TLS."""
    return render(alone(**(SECURED | component)) | load(values))


def proxy(documents: list[Document]) -> Document:
    return container(documents, "platform-web", "proxy")


class Handshake:
    """A TLS handshake in memory: a client that verifies, and a server with the certificate."""

    def __init__(self, documents: list[Document], folder: Path) -> None:
        data = secret(documents, "platform-tls")
        for name in ("tls.crt", "tls.key"):
            (folder / name).write_text(data[name])
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(folder / "tls.crt", folder / "tls.key")
        ca = secret(documents, "platform-ca")["ca.crt"]
        self.client = ssl.create_default_context(cadata=ca)
        self.client.verify_flags |= ssl.VERIFY_X509_STRICT

    def with_name(self, name: str) -> None:
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = self.client.wrap_bio(to_client, to_server, server_hostname=name)
        server = self.server.wrap_bio(to_server, to_client, server_side=True)
        for _ in range(3):
            for side in (client, server):
                try:
                    side.do_handshake()
                except ssl.SSLWantReadError:
                    continue
        assert client.version() in {"TLSv1.2", "TLSv1.3"}


# The self-signed certificate.


def test_clients_verify_the_certificate_for_the_names_of_the_service_only(tmp_path: Path) -> None:
    handshake = Handshake(secured(), tmp_path)
    for name in FOUR:
        handshake.with_name(name)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake.with_name("platform-web.other.svc")


def test_extra_names_and_another_cluster_domain(tmp_path: Path) -> None:
    documents = secured("tls: {extraNames: [ledger.example], clusterDomain: corp.internal}")
    handshake = Handshake(documents, tmp_path)
    handshake.with_name("ledger.example")
    handshake.with_name("platform-web.test.svc.corp.internal")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake.with_name(FOUR[3])


def test_one_certificate_serves_every_component(tmp_path: Path) -> None:
    values = alone(**SECURED)
    values["components"]["other"] = values["components"]["web"]
    documents = render(values)
    handshake = Handshake(documents, tmp_path)
    handshake.with_name("platform-web.test.svc")
    handshake.with_name("platform-other.test.svc")
    assert names(documents, "Secret") == ["platform-ca", "platform-ca-key", "platform-tls"]


def test_annotations_have_names_and_expiry_which_helm_cannot_read_from_a_certificate() -> None:
    documents = secured()
    certificate, ca = (
        find(documents, "Secret", name)["metadata"]["annotations"]
        for name in ("platform-tls", "platform-ca-key")
    )
    assert certificate["shipay.com.br/certificate-names"].split(",") == FOUR
    key = "shipay.com.br/certificate-expires"
    assert len(certificate[key].split("-")) == 3
    assert certificate[key] < ca[key]


def test_clients_get_the_ca_and_no_pod_gets_its_key() -> None:
    documents = secured()
    assert set(secret(documents, "platform-ca")) == {"ca.crt"}
    ca, certificate = secret(documents, "platform-ca-key"), secret(documents, "platform-tls")
    assert ca["tls.crt"] == secret(documents, "platform-ca")["ca.crt"] == certificate["ca.crt"]
    assert ca["tls.key"] != certificate["tls.key"]
    assert "platform-ca-key" not in str([each for each in documents if each["kind"] != "Secret"])


def test_without_tls_there_is_no_certificate_and_no_proxy() -> None:
    documents = render(alone(ports={"http": 80}))
    assert names(documents, "Secret") == names(documents, "ConfigMap") == []
    assert "initContainers" not in pod(documents, "platform-web")


# The other sources.


def certificate_volume(documents: list[Document]) -> Document:
    volume: Document = by_name(pod(documents, "platform-web")["volumes"])["certificate"]["secret"]
    return volume


def test_an_existing_secret_is_mounted() -> None:
    documents = secured(EXISTING)
    assert names(documents, "Secret") == []
    assert certificate_volume(documents)["secretName"] == "bought"


def test_cert_manager_issues_a_certificate_for_the_same_names() -> None:
    documents = secured(ISSUED)
    assert names(documents, "Secret") == []
    spec = find(documents, "Certificate", "platform-tls")["spec"]
    assert spec["secretName"] == "platform-tls" == certificate_volume(documents)["secretName"]
    assert spec["dnsNames"] == FOUR
    assert spec["issuerRef"] == {"name": "ca", "kind": "Issuer", "group": "cert-manager.io"}
    assert (spec["duration"], spec["renewBefore"]) == ("2160h", "720h")


# The proxy.


def test_the_proxy_is_a_native_sidecar_without_rights() -> None:
    sidecar = proxy(secured())
    assert sidecar["restartPolicy"] == "Always"
    ports = {name: port["containerPort"] for name, port in by_name(sidecar["ports"]).items()}
    assert ports == {"https": 8443, "proxy-metrics": 8404}
    security = sidecar["securityContext"]
    assert (security["runAsUser"], security["runAsGroup"]) == (99, 99)
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize(
    ("ports", "backend"),
    [({"http": 5000}, "http"), ({"http": {"port": 5000}}, "http"), ({"http": 80}, 5000)],
)
def test_it_forwards_to_a_port_by_name_or_number(ports: dict[str, Any], backend: object) -> None:
    documents = secured(ports=ports, tls={"enabled": True, "backendPort": backend})
    assert {"name": "BACKEND_PORT", "value": "5000"} in proxy(documents)["env"]


def test_only_the_proxy_mounts_the_key_where_haproxy_reads_it() -> None:
    documents = secured()
    assert certificate_volume(documents)["items"] == [
        {"key": "tls.crt", "path": "certificate.pem"},
        {"key": "tls.key", "path": "certificate.pem.key"},
    ]
    mounts = {each["name"]: each["mountPath"] for each in proxy(documents)["volumeMounts"]}
    assert mounts == {"proxy": "/usr/local/etc/haproxy", "certificate": "/certificate"}
    assert "certificate" not in by_name(container(documents, "platform-web")["volumeMounts"])


def test_before_its_shutdown_it_asks_clients_to_reconnect_while_the_app_lingers() -> None:
    hook = proxy(secured(shutdown={"linger": 8}))["lifecycle"]["preStop"]["exec"]["command"]
    assert hook[:2] == ["bash", "-c"]
    assert hook[2] == "exec 3<>/dev/tcp/127.0.0.1/8405; sleep 5.333; kill -USR1 1"
    assert "lifecycle" not in proxy(secured(shutdown={"linger": 0}))


def test_its_image_may_have_a_digest() -> None:
    digest = f"sha256:{'a' * 64}"
    image = f"{{repository: r/haproxy, digest: '{digest}'}}"
    assert proxy(secured(f"proxy: {{image: {image}}}"))["image"] == f"r/haproxy@{digest}"


def test_its_configuration_restarts_the_pods_and_its_certificate_does_not() -> None:
    def annotations(values: str = "{}") -> dict[str, str]:
        return pod_annotations(secured(values), "platform-web")

    assert annotations() == annotations(EXISTING)
    assert annotations() == annotations("tls: {extraNames: [ledger.example]}")
    assert annotations() != annotations("proxy: {timeouts: {response: 90}}")
