"""Provenance as this project writes it."""

from __future__ import annotations

import json

from delivery.release import provenance

__all__ = ["predicate", "statement"]


def predicate(key: str, builder: str = "ci") -> str:
    """The predicate about an image of this content key."""
    return json.dumps(
        {
            "buildDefinition": {
                "buildType": "urn:delivery-platform:image:v1",
                "externalParameters": {"key": key},
            },
            "runDetails": {
                "builder": {"id": f"urn:delivery-platform:builder:{builder}"},
                "metadata": {"invocationId": "https://ci/7"},
            },
        }
    )


def statement(digest: str, key: str, builder: str = "ci", **changed: object) -> str:
    """The statement that cosign makes of a predicate."""
    document = {
        "_type": "https://in-toto.io/Statement/v0.1",
        "predicateType": provenance.TYPE,
        "subject": [{"digest": {"sha256": digest.removeprefix("sha256:")}}],
        "predicate": json.loads(predicate(key, builder)),
    }
    return json.dumps({**document, **changed})
