"""The notifications for the webhook, stored in the same transaction as their deployments."""

from ledger.tables import INSTANT
from sqlalchemy import Column, Integer, String

from async_worker.migrations.steps import create_index, create_table

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Run this step."""
    create_table(
        "notifications",
        Column("deployment_id", String(36), primary_key=True),
        Column("created_at", INSTANT, nullable=False),
        Column("attempts", Integer, nullable=False),
        Column("next_attempt_at", INSTANT),
        Column("sent_at", INSTANT),
        Column("last_error", String(255)),
    )
    create_index("ix_notifications_next_attempt_at", "notifications", "next_attempt_at")
    create_index("ix_notifications_created_at", "notifications", "created_at")
