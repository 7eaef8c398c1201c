"""The stack's compose file: the project's own, with a second instance of each app."""

from typing import Any

import pytest

from tests.ledger.stack import SERVICES, doubled

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


def test_no_network_or_volume_of_another_project_is_named(config: dict[str, Any]) -> None:
    made = doubled(config, PORTS, {})
    assert made["networks"] == {"default": {"labels": {"ours": "true"}}}
    assert made["volumes"] == {"kafka": {"labels": {"ours": "true"}}}
