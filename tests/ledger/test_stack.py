"""The stack's compose file names nothing of the user's platform."""

from tests.ledger.stack import SERVICES, doubled


def test_networks_and_volumes_have_no_name_of_another_project() -> None:
    """Else the tests would use its data, and remove it."""
    labels = {"ours": "true"}
    config = {
        "services": {name: {"environment": {}} for name in SERVICES},
        "networks": {"default": {"name": "delivery-platform_default", "labels": labels}},
        "volumes": {"kafka": {"name": "delivery-platform_kafka", "labels": labels}},
    }
    copy = doubled(config, dict.fromkeys(SERVICES, 20_000), {})
    assert copy["networks"] == {"default": {"labels": labels}}
    assert copy["volumes"] == {"kafka": {"labels": labels}}
