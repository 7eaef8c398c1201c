"""examples/: any other image is a component by values alone."""

from __future__ import annotations

import re
from typing import Any

import pytest
from support import CHART, EXAMPLES, container, find, load, names, of_kind, pod, render

FLASK, NOTES, COMMENTS = (
    "examples/flask-mongodb.yaml",
    "examples/notes-mysql.yaml",
    "examples/comments.yaml",
)


def example(name: str) -> list[dict[str, Any]]:
    return render(values_files=[name])


def variable(documents: list[dict[str, Any]], workload: str, name: str) -> str | dict[str, Any]:
    (found,) = [each for each in container(documents, workload)["env"] if each["name"] == name]
    said: str | dict[str, Any] = found.get("value") or found["valueFrom"]
    return said


def secret(name: str, key: str) -> dict[str, Any]:
    return {"secretKeyRef": {"name": name, "key": key}}


def test_these_are_the_examples() -> None:
    assert sorted(EXAMPLES) == sorted([FLASK, NOTES, COMMENTS])


@pytest.mark.parametrize("name", EXAMPLES)
def test_nothing_of_the_platform_itself_is_there(name: str) -> None:
    documents = example(name)
    found = {each["metadata"]["labels"]["app.kubernetes.io/name"] for each in documents}
    components = load((CHART / name).read_text(encoding="utf-8"))["components"]
    assert found == {key for key, value in components.items() if value.get("enabled", True)}


@pytest.mark.parametrize("name", EXAMPLES)
def test_its_head_says_how_to_install_it_and_which_secrets_it_needs(name: str) -> None:
    text = (CHART / name).read_text(encoding="utf-8")
    head = text[: text.index("fullnameOverride")]
    assert f"--values {name}" in head
    told = set(re.findall(r"create secret generic (\S+)", head))
    needed = set(re.findall(r"secret: ([\w-]+)", text))
    assert told == needed


@pytest.mark.parametrize("name", EXAMPLES)
def test_its_policies_let_its_parts_talk(name: str) -> None:
    documents = example(name)
    for policy in of_kind(documents, "NetworkPolicy"):
        for rule in policy["spec"]["egress"][1:]:
            (peer,) = rule["to"]
            target = peer["podSelector"]["matchLabels"]["app.kubernetes.io/name"]
            back = [
                each
                for each in of_kind(documents, "NetworkPolicy")
                if each["metadata"]["name"].endswith(target)
            ]
            source = policy["spec"]["podSelector"]
            assert [
                each
                for each in back
                if {"podSelector": source} in each["spec"]["ingress"][0]["from"]
            ]


def test_a_flask_like_app_reads_its_connection_string_from_a_secret() -> None:
    documents = example(FLASK)
    assert container(documents, "flask-web")["ports"] == [
        {"name": "http", "containerPort": 5000, "protocol": "TCP"}
    ]
    assert variable(documents, "flask-web", "MONGODB_URI") == secret("flask-store", "uri")
    store = find(documents, "StatefulSet", "flask-mongodb")
    assert [each["metadata"]["name"] for each in store["spec"]["volumeClaimTemplates"]] == ["data"]
    # The connection string in the head names this Service and port.
    service = find(documents, "Service", "flask-mongodb")["spec"]
    assert (service["clusterIP"], service["ports"][0]["port"]) == ("None", 27017)
    assert "@flask-mongodb:27017/" in (CHART / FLASK).read_text(encoding="utf-8")


def test_a_notes_app_finds_its_database_by_config_map_and_secret() -> None:
    documents = example(NOTES)
    assert find(documents, "ConfigMap", "notes-app")["data"] == {
        "DB_HOST": "notes-mysql",
        "DB_PORT": "3306",
    }
    assert container(documents, "notes-app")["envFrom"] == [{"configMapRef": {"name": "notes-app"}}]
    for name, of_database in (
        ("DATABASE", "DATABASE"),
        ("USERNAME", "USER"),
        ("PASSWORD", "PASSWORD"),
    ):
        reference = secret("notes-database", f"DB_{name}")
        assert variable(documents, "notes-app", f"DB_{name}") == reference
        assert variable(documents, "notes-mysql", f"MARIADB_{of_database}") == reference
    store = find(documents, "StatefulSet", "notes-mysql")
    mounts = {
        each["name"]: each["mountPath"]
        for each in container(documents, "notes-mysql")["volumeMounts"]
    }
    assert [each["metadata"]["name"] for each in store["spec"]["volumeClaimTemplates"]] == ["data"]
    assert mounts["data"] == "/var/lib/mysql"
    assert find(documents, "Service", "notes-mysql")["spec"]["ports"][0]["port"] == 3306


def test_a_comments_api_scales_and_asks_no_health_route() -> None:
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


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_app_serves_until_nobody_sends_it_anything(name: str) -> None:
    documents = example(name)
    (app,) = [each["metadata"]["name"] for each in of_kind(documents, "Deployment")]
    assert container(documents, app)["lifecycle"]["preStop"]["sleep"]["seconds"] == 5
    assert pod(documents, app)["terminationGracePeriodSeconds"] == 5 + 20 + 10
