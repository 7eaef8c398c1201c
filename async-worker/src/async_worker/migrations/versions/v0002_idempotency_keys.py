"""The keys by which api-rest recognises a repeated request."""

from ledger.tables import INSTANT
from sqlalchemy import Column, String

from async_worker.migrations.steps import create_index, create_table

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Run this step."""
    create_table(
        "idempotency_keys",
        Column("key_hash", String(64), primary_key=True),
        Column("fingerprint", String(64), nullable=False),
        Column("event_id", String(36), nullable=False),
        Column("received_at", INSTANT, nullable=False),
    )
    create_index("ix_idempotency_keys_received_at", "idempotency_keys", "received_at")
