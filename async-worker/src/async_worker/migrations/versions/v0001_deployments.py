"""The table of deployments. Versions without migrations made the same one, which is kept."""

from ledger.tables import INSTANT
from sqlalchemy import JSON, Column, String

from async_worker.migrations.steps import create_index, create_table

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Run this step."""
    create_table(
        "deployments",
        Column("id", String(36), primary_key=True),
        Column("component", String(128), nullable=False),
        Column("version", String(128), nullable=False),
        Column("environment", String(64), nullable=False),
        Column("responsible", String(256), nullable=False),
        Column("stage", String(16), nullable=False),
        Column("status", String(16), nullable=False),
        Column("received_at", INSTANT, nullable=False),
        Column("details", JSON(none_as_null=True)),
    )
    create_index("ix_deployments_received_at", "deployments", "received_at", "id")
