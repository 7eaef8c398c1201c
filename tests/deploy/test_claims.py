"""Which claims a deploy enlarges, by what the chart has rendered."""

from typing import Any

import pytest

from delivery.deploy.claims import Growth, growing, requested_sizes
from delivery.deploy.manifests import read_objects

RENDERED = """
kind: StatefulSet
metadata:
  name: platform-kafka
  annotations: {platform/kafka-replicas: "1", platform/claim-data: 10Gi}
---
kind: StatefulSet
metadata: {name: platform-database}
---
kind: Deployment
metadata: {name: web, annotations: {platform/claim-data: 9Gi}}
"""


def claim(name: str, size: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"resources": {"requests": {"storage": size}}}}


def test_the_statefulsets_say_which_size_is_requested() -> None:
    assert requested_sizes(read_objects(RENDERED)) == {"data-platform-kafka": "10Gi"}


def test_the_claim_of_every_pod_grows_and_no_other() -> None:
    claims = [claim(f"data-platform-kafka-{number}", "8Gi") for number in (0, 12)]
    others = [claim("data-platform-database-0", "8Gi"), claim("data-platform-kafka-own", "1Gi")]
    others.append(claim("a-stranger", "1e9"))  # in a notation that the chart does not write
    assert growing({"data-platform-kafka": "10Gi"}, [*claims, *others]) == [
        Growth("data-platform-kafka-0", "8Gi", "10Gi"),
        Growth("data-platform-kafka-12", "8Gi", "10Gi"),
    ]


@pytest.mark.parametrize(
    ("current", "requested", "grows"),
    [
        ("8Gi", "8192Mi", False),
        ("8Gi", "8589934593", True),
        ("8G", "8Gi", True),
        ("0.5Gi", "512M", False),
        ("20Gi", "10Gi", False),
        ("1000k", "1M", False),
    ],
)
def test_sizes_are_compared_in_bytes(current: str, requested: str, *, grows: bool) -> None:
    assert bool(growing({"a": requested}, [claim("a-0", current)])) == grows
