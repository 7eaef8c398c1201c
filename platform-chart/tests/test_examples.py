"""examples/: other images as components, by values alone."""

from __future__ import annotations

import re
from typing import Any

import pytest
from support import (
    CHART,
    EXAMPLES,
    by_name,
    container,
    find,
    load,
    names,
    of_kind,
    render,
    variables,
)

FLASK, NOTES, COMMENTS = (
    "examples/flask-mongodb.yaml",
    "examples/notes-mysql.yaml",
    "examples/comments.yaml",
)


def example(name: str) -> list[dict[str, Any]]:
    return render("", name)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_has_only_its_own_components(name: str) -> None:
    documents = example(name)
    names = {each["metadata"]["labels"]["app.kubernetes.io/name"] for each in documents}
    components = load((CHART / name).read_text(encoding="utf-8"))["components"]
    assert names == {key for key, value in components.items() if value.get("enabled", True)}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_first_comment_has_the_commands_and_creates_the_secrets(name: str) -> None:
    text = (CHART / name).read_text(encoding="utf-8")
    head = text[: text.index("fullnameOverride")]
    assert f"--values {name}" in head
    created = set(re.findall(r"create secret generic (\S+)", head))
    assert created == set(re.findall(r"secret: ([\w-]+)", text))


@pytest.mark.parametrize("name", EXAMPLES)
def test_both_policies_allow_each_connection(name: str) -> None:
    documents = example(name)
    for policy in of_kind(documents, "NetworkPolicy"):
        for rule in policy["spec"]["egress"][1:]:
            (peer,) = rule["to"]
            target = peer["podSelector"]["matchLabels"]["app.kubernetes.io/name"]
            (server,) = [
                each
                for each in of_kind(documents, "NetworkPolicy")
                if each["metadata"]["name"].endswith(target)
            ]
            client = {"podSelector": policy["spec"]["podSelector"]}
            assert client in server["spec"]["ingress"][0]["from"]


def test_flask_reads_its_connection_string_from_a_secret() -> None:
    documents = example(FLASK)
    assert container(documents, "flask-web")["ports"] == [
        {"name": "http", "containerPort": 5000, "protocol": "TCP"}
    ]
    uri = variables(documents, "flask-web")["MONGODB_URI"]
    assert uri == {"name": "flask-store", "key": "uri"}
    store = find(documents, "StatefulSet", "flask-mongodb")
    assert [each["metadata"]["name"] for each in store["spec"]["volumeClaimTemplates"]] == ["data"]
    # The connection string in the head names this Service and port.
    service = find(documents, "Service", "flask-mongodb")["spec"]
    assert (service["clusterIP"], service["ports"][0]["port"]) == ("None", 27017)
    assert "@flask-mongodb:27017/" in (CHART / FLASK).read_text(encoding="utf-8")


def test_notes_reads_its_database_from_config_map_and_secret() -> None:
    documents = example(NOTES)
    assert find(documents, "ConfigMap", "notes-app")["data"] == {
        "DB_HOST": "notes-mysql",
        "DB_PORT": "3306",
    }
    assert container(documents, "notes-app")["envFrom"] == [{"configMapRef": {"name": "notes-app"}}]
    app, database = variables(documents, "notes-app"), variables(documents, "notes-mysql")
    for name, of_database in (
        ("DATABASE", "DATABASE"),
        ("USERNAME", "USER"),
        ("PASSWORD", "PASSWORD"),
    ):
        reference = {"name": "notes-database", "key": f"DB_{name}"}
        assert app[f"DB_{name}"] == database[f"MARIADB_{of_database}"] == reference
    store = find(documents, "StatefulSet", "notes-mysql")
    mounts = by_name(container(documents, "notes-mysql")["volumeMounts"])
    assert [each["metadata"]["name"] for each in store["spec"]["volumeClaimTemplates"]] == ["data"]
    assert mounts["data"]["mountPath"] == "/var/lib/mysql"
    assert find(documents, "Service", "notes-mysql")["spec"]["ports"][0]["port"] == 3306


def test_comments_scales_and_has_no_probe_of_a_health_route() -> None:
    documents = example(COMMENTS)
    scaler = find(documents, "HorizontalPodAutoscaler", "comments-api")["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (3, 6)
    assert scaler["metrics"][0]["resource"]["target"]["averageUtilization"] == 85
    assert "replicas" not in find(documents, "Deployment", "comments-api")["spec"]
    api = container(documents, "comments-api")
    assert api["ports"][0]["containerPort"] == 8000
    assert [api[f"{kind}Probe"]["tcpSocket"] for kind in ("startup", "liveness", "readiness")] == [
        {"port": "http"}
    ] * 3
    assert names(documents, "PodDisruptionBudget") == ["comments-api"]
