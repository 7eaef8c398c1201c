"""The stack's compose file has a second instance of each app; and what counts as ready."""

from typing import Any

import pytest

from tests.ledger.stack import SERVICES, doubled, is_ready
from tests.registries import serving

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


def test_networks_and_volumes_have_no_name_of_another_project(config: dict[str, Any]) -> None:
    copy = doubled(config, PORTS, {})
    assert copy["networks"] == {"default": {"labels": {"ours": "true"}}}
    assert copy["volumes"] == {"kafka": {"labels": {"ours": "true"}}}


@pytest.mark.parametrize(
    ("status", "body", "ready"),
    [
        (200, b'{"status": "ready"}', [True]),
        (200, b'{"status": "degraded", "reasons": ["Kafka does not answer"]}', [False]),
        (503, b'{"status": "ready"}', [False]),
    ],
)
def test_an_app_is_ready_when_nothing_is_missing(
    status: int, body: bytes, ready: list[bool]
) -> None:
    with serving(lambda *_: (status, {}, body)) as (address, _):
        host, port = address.split(":")
        assert [is_ready((host, int(port)))] == ready
    assert not is_ready((host, int(port)))
