"""templates/tls and templates/_tls.tpl: where the certificate comes from, and the sidecar that uses it."""

from __future__ import annotations

import base64
import ssl
from pathlib import Path
from typing import Any

import pytest
from support import alone, container, find, names, of_kind, pod, pod_annotations, render

FOUR = [
    "platform-web",
    "platform-web.test",
    "platform-web.test.svc",
    "platform-web.test.svc.cluster.local",
]
EXISTING = {"tls": {"existingSecret": "bought", "selfSigned": {"enabled": False}}}
ISSUED = {
    "tls": {
        "certManager": {"enabled": True, "issuerRef": {"name": "ca"}},
        "selfSigned": {"enabled": False},
    }
}


def secured(values: dict[str, Any] | None = None, **component: object) -> list[dict[str, Any]]:
    """Render a component with TLS, and nothing else."""
    given = {
        "ports": {"http": 5000},
        "service": {"enabled": True},
        "tls": {"enabled": True, "backendPort": "http"},
    }
    return render(alone(**(given | component)) | (values or {}))


def sidecar(documents: list[dict[str, Any]]) -> dict[str, Any]:
    return container(documents, "platform-web", "proxy")


def data(documents: list[dict[str, Any]], secret: str) -> dict[str, bytes]:
    return {
        key: base64.b64decode(value)
        for key, value in find(documents, "Secret", secret)["data"].items()
    }


class Handshake:
    """A TLS handshake in memory between a careful client and a server with a Secret's certificate."""

    def __init__(self, documents: list[dict[str, Any]], folder: Path) -> None:
        made = data(documents, "platform-tls")
        for name in ("tls.crt", "tls.key"):
            (folder / name).write_bytes(made[name])
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(folder / "tls.crt", folder / "tls.key")
        self.client = ssl.create_default_context(
            cadata=data(documents, "platform-ca")["ca.crt"].decode()
        )
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


@pytest.mark.parametrize("name", FOUR)
def test_a_careful_client_takes_the_certificate_for_each_name_of_the_service(
    name: str, tmp_path: Path
) -> None:
    Handshake(secured(), tmp_path).with_name(name)


def test_it_is_for_these_names_alone(tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        Handshake(secured(), tmp_path).with_name("platform-web.other.svc")


def test_further_names_and_another_cluster_domain(tmp_path: Path) -> None:
    documents = secured(
        {"tls": {"extraNames": ["ledger.example"], "clusterDomain": "corp.internal"}}
    )
    handshake = Handshake(documents, tmp_path)
    handshake.with_name("ledger.example")
    handshake.with_name("platform-web.test.svc.corp.internal")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake.with_name(FOUR[3])


def test_one_certificate_serves_every_component(tmp_path: Path) -> None:
    component = {
        "image": {"repository": "x", "tag": "1"},
        "ports": {"http": 80},
        "service": {"enabled": True},
    }
    component["tls"] = {"enabled": True, "backendPort": "http"}
    values = alone(**component)
    values["components"]["other"] = component
    documents = render(values)
    handshake = Handshake(documents, tmp_path)
    handshake.with_name("platform-web.test.svc")
    handshake.with_name("platform-other.test.svc")
    assert names(documents, "Secret") == ["platform-ca", "platform-ca-key", "platform-tls"]


def test_annotations_say_what_helm_cannot_read_out_of_a_certificate() -> None:
    documents = secured()
    noted = find(documents, "Secret", "platform-tls")["metadata"]["annotations"]
    assert noted["shipay.com.br/certificate-names"].split(",") == FOUR
    until = {
        name: find(documents, "Secret", name)["metadata"]["annotations"][
            "shipay.com.br/certificate-expires"
        ]
        for name in ("platform-tls", "platform-ca-key")
    }
    assert all(len(day.split("-")) == 3 for day in until.values())
    assert until["platform-tls"] < until["platform-ca-key"]


def test_clients_get_the_ca_without_any_key() -> None:
    documents = secured()
    assert set(data(documents, "platform-ca")) == {"ca.crt"}
    authority = data(documents, "platform-ca-key")
    assert (
        authority["tls.crt"]
        == data(documents, "platform-ca")["ca.crt"]
        == data(documents, "platform-tls")["ca.crt"]
    )
    assert authority["tls.key"] != data(documents, "platform-tls")["tls.key"]


def test_no_pod_mounts_the_key_of_the_ca() -> None:
    assert "platform-ca-key" not in str(
        [document for document in secured() if document["kind"] != "Secret"]
    )


def test_nothing_is_made_where_nothing_speaks_tls() -> None:
    documents = render(alone(ports={"http": 80}))
    assert names(documents, "Secret") == []
    assert names(documents, "ConfigMap") == []
    assert "initContainers" not in pod(documents, "platform-web")


# The other sources.


def test_an_existing_secret_is_mounted_and_nothing_made() -> None:
    documents = secured(EXISTING)
    assert names(documents, "Secret") == []
    assert certificate_volume(documents)["secretName"] == "bought"


def test_cert_manager_is_asked_for_the_same_names() -> None:
    documents = secured(ISSUED)
    assert names(documents, "Secret") == []
    certificate = find(documents, "Certificate", "platform-tls")
    assert certificate["apiVersion"] == "cert-manager.io/v1"
    spec = certificate["spec"]
    assert spec["secretName"] == "platform-tls" == certificate_volume(documents)["secretName"]
    assert spec["dnsNames"] == FOUR
    assert spec["issuerRef"] == {"name": "ca", "kind": "Issuer", "group": "cert-manager.io"}
    assert (spec["duration"], spec["renewBefore"]) == ("2160h", "720h")


def certificate_volume(documents: list[dict[str, Any]]) -> dict[str, Any]:
    volumes = {volume["name"]: volume for volume in pod(documents, "platform-web")["volumes"]}
    found: dict[str, Any] = volumes["certificate"]["secret"]
    return found


# The sidecar.


def test_it_is_a_native_sidecar_that_listens_where_the_service_leads() -> None:
    proxy = sidecar(secured())
    assert proxy["restartPolicy"] == "Always"
    assert {port["name"]: port["containerPort"] for port in proxy["ports"]} == {
        "https": 8443,
        "proxy-metrics": 8404,
    }


@pytest.mark.parametrize(
    ("ports", "backend"),
    [({"http": 5000}, "http"), ({"http": {"port": 5000}}, "http"), ({"http": 80}, 5000)],
)
def test_it_forwards_to_the_apps_port_by_name_or_number(
    ports: dict[str, Any], backend: str | int
) -> None:
    proxy = sidecar(secured(ports=ports, tls={"enabled": True, "backendPort": backend}))
    assert proxy["env"] == [{"name": "BACKEND_PORT", "value": "5000"}]


def test_the_key_is_where_haproxy_looks_for_it() -> None:
    documents = secured()
    assert certificate_volume(documents)["items"] == [
        {"key": "tls.crt", "path": "certificate.pem"},
        {"key": "tls.key", "path": "certificate.pem.key"},
    ]
    mounts = {mount["name"]: mount["mountPath"] for mount in sidecar(documents)["volumeMounts"]}
    assert mounts == {"proxy": "/usr/local/etc/haproxy", "certificate": "/certificate"}
    assert "certificate" not in {
        mount["name"] for mount in container(documents, "platform-web").get("volumeMounts", [])
    }


def test_it_asks_clients_to_leave_at_once_and_stops_while_the_app_still_serves() -> None:
    command = sidecar(secured(shutdown={"linger": 8}))["lifecycle"]["preStop"]["exec"]["command"]
    assert command[:2] == ["bash", "-c"]
    assert command[2] == "exec 3<>/dev/tcp/127.0.0.1/8405; sleep 5.333; kill -USR1 1"


def test_an_app_that_does_not_linger_is_not_waited_for() -> None:
    assert "lifecycle" not in sidecar(secured(shutdown={"linger": 0}))


def test_it_runs_as_the_images_own_user_with_nothing_to_write() -> None:
    security = sidecar(secured())["securityContext"]
    assert (security["runAsUser"], security["runAsGroup"]) == (99, 99)
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}


def test_its_image_is_taken_by_digest() -> None:
    digest = f"sha256:{'a' * 64}"
    assert (
        sidecar(secured({"proxy": {"image": {"repository": "r/haproxy", "digest": digest}}}))[
            "image"
        ]
        == f"r/haproxy@{digest}"
    )


def test_its_configuration_restarts_the_pods_and_its_certificate_does_not() -> None:
    def noted(values: dict[str, Any] | None = None) -> dict[str, str]:
        return pod_annotations(secured(values), "platform-web")

    assert noted() == noted(EXISTING) == noted({"tls": {"extraNames": ["ledger.example"]}})
    assert noted() != noted({"proxy": {"timeouts": {"response": 90}}})


def test_every_object_is_the_releases() -> None:
    for document in of_kind(secured(), "Secret"):
        assert document["metadata"]["labels"]["app.kubernetes.io/instance"] == "platform"
