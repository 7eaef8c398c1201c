"""Plans of the small project of `tests.project.examples`."""

from __future__ import annotations

from collections.abc import Mapping

from delivery.build.plan import Plan, make_images, make_plan
from delivery.project.versions import Checkout

__all__ = ["CHART_KEY", "KEYS", "plan_of"]

# The content keys of the images, and of the chart.
KEYS = {"base-image": "k1", "api-rest": "k2"}
CHART_KEY = "k3"


def plan_of(
    checkout: Checkout,
    digests: Mapping[str, str] | None = None,
    *,
    keys: Mapping[str, str] = KEYS,
) -> Plan:
    """The plan of a checkout, with the digests that the registry holds: of images and the chart."""
    held = digests or {}
    images = make_images(checkout.declaration, keys, held, checkout)
    return make_plan(checkout, images, (CHART_KEY, held.get("platform-chart", "")))
