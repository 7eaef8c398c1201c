"""How each environment differs from what was deployed to it, as it was last checked."""

from ledger.tables import INSTANT
from sqlalchemy import JSON, Column, String

from async_worker.migrations.steps import create_table

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Run this step."""
    create_table(
        "drift",
        Column("environment", String(64), primary_key=True),
        Column("checked_at", INSTANT, nullable=False),
        Column("found", JSON, nullable=False),
    )
