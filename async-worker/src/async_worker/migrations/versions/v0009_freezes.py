"""The times in which nothing is deployed to an environment."""

from ledger.tables import INSTANT
from sqlalchemy import Column, String

from async_worker.migrations.steps import create_index, create_table

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Run this step."""
    create_table(
        "freezes",
        Column("id", String(36), primary_key=True),
        Column("environment", String(64), nullable=False),
        Column("until", INSTANT, nullable=False),
        Column("reason", String(500), nullable=False),
        Column("responsible", String(256), nullable=False),
        Column("actor", String(256)),
        Column("created_at", INSTANT, nullable=False),
        Column("ended_at", INSTANT),
    )
    create_index("ix_freezes_until", "freezes", "until")
