"""The stack's compose file: the project's own, with a second instance of each app."""

from typing import Any

import pytest

from tests.ledger.stack import APIS, SERVICES, WORKERS, doubled

PORTS = {name: 20_000 + number for number, name in enumerate(SERVICES)}


@pytest.fixture
def config() -> dict[str, Any]:
    app = {
        "environment": {"BROKER_URL": "kafka:19092"},
        "read_only": True,
        "ports": ["8000"],
        "restart": "unless-stopped",
    }
    return {
        "services": {
            "api-rest": {**app, "image": "api@sha256:1"},
            "async-worker": {**app, "image": "worker@sha256:2"},
            "kafka": {"image": "kafka", "environment": {}, "ports": ["9092"]},
            "database": {"image": "mariadb", "environment": {}, "ports": ["3306"]},
        },
        "networks": {"default": {"name": "delivery-platform_default", "labels": {"ours": "true"}}},
        "volumes": {"kafka": {"name": "delivery-platform_kafka", "labels": {"ours": "true"}}},
        "configs": {
            "accounts": {"name": "delivery-platform_accounts", "content": "SELECT 1;"},
            "rules": {"name": "delivery-platform_rules", "file": "rules.yaml"},
        },
    }


def test_each_app_is_there_twice_on_ports_of_its_own(config: dict[str, Any]) -> None:
    services = doubled(config, PORTS, {})["services"]
    assert tuple(services) == SERVICES
    assert services["api-rest-2"] == {**services["api-rest"], "ports": ["127.0.0.1:20001:8000"]}
    assert services["async-worker"]["ports"] == ["127.0.0.1:20002:8001"]
    assert services["async-worker-2"]["image"] == "worker@sha256:2"


def test_variables_are_the_apps_alone(config: dict[str, Any]) -> None:
    services = doubled(config, PORTS, {"SHUTDOWN_DELAY": "1"})["services"]
    assert services["api-rest-2"]["environment"] == {"BROKER_URL": "kafka:19092", "SHUTDOWN_DELAY": "1"}
    assert services["kafka"]["environment"] == {}
    assert config["services"]["api-rest"]["environment"] == {"BROKER_URL": "kafka:19092"}


def test_the_apps_alone_reach_this_machine_by_name(config: dict[str, Any]) -> None:
    services = doubled(config, PORTS, {})["services"]
    reaching = {name: service["extra_hosts"] for name, service in services.items() if "extra_hosts" in service}
    assert reaching == {app: ["host.docker.internal:host-gateway"] for app in (*APIS, *WORKERS)}


def test_no_network_or_volume_of_another_project_is_named(config: dict[str, Any]) -> None:
    made = doubled(config, PORTS, {})
    assert made["networks"] == {"default": {"labels": {"ours": "true"}}}
    assert made["volumes"] == {"kafka": {"labels": {"ours": "true"}}}
