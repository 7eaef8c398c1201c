"""Claims that a deploy enlarges, since a StatefulSet cannot change the size of its own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from delivery.deploy.manifests import Objects

__all__ = ["Growth", "growing", "requested_sizes"]

# The chart's annotation of a StatefulSet: this and a claim template's name, with the new size.
_SIZE_OF = "platform/claim-"
_UNITS = ("", "k", "M", "G", "T", "P", "E")


@dataclass(frozen=True)
class Growth:
    """A claim that is smaller than requested."""

    claim: str
    current: str
    requested: str


def requested_sizes(rendered: Objects) -> dict[str, str]:
    """The new size of claims, by their name without the pod's number, from StatefulSets."""
    return {
        f"{key.removeprefix(_SIZE_OF)}-{name}": str(size)
        for (kind, name), resource in rendered.items()
        for key, size in (resource["metadata"].get("annotations") or {}).items()
        if kind == "StatefulSet" and key.startswith(_SIZE_OF)
    }


def growing(requested: Mapping[str, str], claims: Iterable[Mapping[str, Any]]) -> list[Growth]:
    """The claims, as the cluster has them, that are smaller than requested."""
    growths = []
    for claim in claims:
        name, current = claim["metadata"]["name"], claim["spec"]["resources"]["requests"]["storage"]
        size = requested.get(re.sub(r"-\d+$", "", name))
        if size and _bytes(size) > _bytes(current):
            growths.append(Growth(name, current, size))
    return growths


def _bytes(quantity: str) -> float:
    """A size in bytes, in Kubernetes' notation: 8Gi, 500M."""
    unit = quantity.lstrip("0123456789.")
    base = 1024 if unit.endswith("i") else 1000
    power = _UNITS.index(unit.removesuffix("i").replace("K", "k"))
    return float(quantity.removesuffix(unit)) * float(base**power)
