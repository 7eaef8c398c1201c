"""Stores a batch in one transaction, as async-worker does."""
# ruff: noqa: INP001  the image runs it by its name

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from ledger_table import deployments, engine
from sqlalchemy.dialects.mysql import insert

__all__ = ["BATCH", "Sink"]

BATCH = 500


class Sink:
    """Stores each id once."""

    def __init__(self) -> None:
        self._engine = engine(connections=2, isolation_level="READ COMMITTED")
        self._insert = insert(deployments).on_duplicate_key_update(id=deployments.c.id)

    async def store(self, values: Sequence[bytes]) -> None:
        """Return once all are committed."""
        async with self._engine.begin() as connection:
            await connection.execute(self._insert, [_row(value) for value in values])


def _row(value: bytes) -> dict[str, Any]:
    event = json.loads(value)
    event["id"] = str(uuid.UUID(event["id"]))
    event["received_at"] = (
        datetime.fromisoformat(event["received_at"]).astimezone(UTC).replace(tzinfo=None)
    )
    return {"details": None, **event}
