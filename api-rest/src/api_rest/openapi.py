"""The API as OpenAPI 3.1, from openapi.yaml."""

from __future__ import annotations

from importlib import resources
from typing import Any

import yaml  # type: ignore[import-untyped]

__all__ = ["document"]


def document(
    *, version: str, max_body_bytes: int, protect_writes: bool, protect_reads: bool
) -> dict[str, Any]:
    """Return the OpenAPI document of a server with these limits."""
    text = resources.files(__package__).joinpath("openapi.yaml").read_text("utf-8")
    text = text.replace("{version}", version).replace("{max_body_bytes}", str(max_body_bytes))
    whole: dict[str, Any] = yaml.load(text, yaml.CSafeLoader)
    for operations in whole["paths"].values():
        for method, operation in operations.items():
            if not (protect_reads if method == "get" else protect_writes):
                operation.pop("security", None)
                for status in ("401", "403"):
                    operation["responses"].pop(status, None)
    return whole
