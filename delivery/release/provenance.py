"""The provenance of an image: who built it, and from what.

The format: https://slsa.dev/spec/v1.0/provenance
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from delivery.build.plan import Plan, PlannedImage

__all__ = ["TYPE", "Builder", "Provenance", "parse", "predicate_of", "render"]

TYPE = "https://slsa.dev/provenance/v1"
_BUILD = "urn:delivery-platform:image:v1"
_BUILDER = "urn:delivery-platform:builder:"


class Builder(StrEnum):
    """Who has a signing key: only by the key is it known who built what it signed."""

    CI = "ci"
    LAPTOP = "laptop"


@dataclass(frozen=True)
class Provenance:
    """What a statement says about an image."""

    digest: str
    key: str
    """The content key."""
    builder: str
    """A `Builder`, as the statement claims; the key that signed it decides."""
    run: str
    """USER@HOST or the CI server's build."""


def render(
    plan: Plan,
    image: PlannedImage,
    materials: Mapping[str, str],
    builder: Builder,
    run: str,
) -> str:
    """The predicate of a statement: the same plan, image, materials and builder give the same.

    materials: the digests of what it was built from, by name.
    """
    parameters: dict[str, object] = {
        "branch": plan.decision.ref.name,
        "image": image.name,
        "key": image.key,
    }
    if image.platforms:
        parameters["platforms"] = list(image.platforms)
    dependencies = [
        {"name": name, "digest": {"sha256": digest.removeprefix("sha256:")}}
        for name, digest in sorted(materials.items())
    ]
    return json.dumps(
        {
            "buildDefinition": {
                "buildType": _BUILD,
                "externalParameters": parameters,
                "resolvedDependencies": [
                    {"name": "source", "digest": {"gitCommit": plan.commit}},
                    *dependencies,
                ],
            },
            "runDetails": {
                "builder": {"id": f"{_BUILDER}{builder}"},
                "metadata": {"invocationId": run},
            },
        },
        sort_keys=True,
    )


def parse(statement: str) -> Provenance | None:
    """What an in-toto statement says, or None if it is not provenance as `render` writes it."""
    try:
        document = json.loads(statement)
        (subject,) = document["subject"]
        definition, run = (
            document["predicate"][part] for part in ("buildDefinition", "runDetails")
        )
        if (document["predicateType"], definition["buildType"]) != (TYPE, _BUILD):
            return None
        return Provenance(
            digest=f"sha256:{subject['digest']['sha256']}",
            key=str(definition["externalParameters"]["key"]),
            builder=str(run["builder"]["id"]).removeprefix(_BUILDER),
            run=str(run["metadata"]["invocationId"]),
        )
    except (KeyError, ValueError, TypeError, AttributeError):
        return None


def predicate_of(statement: str) -> str:
    """The predicate of a statement, to be signed again by another key."""
    return json.dumps(json.loads(statement)["predicate"], sort_keys=True)
