"""The column for who is known to have sent an event, and the index of its filter."""

from sqlalchemy import Column, String

from async_worker.migrations.steps import add_column, create_index

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Run this step."""
    # Null in the rows of earlier events, and of those that an older worker stores meanwhile.
    add_column("deployments", Column("actor", String(256)))
    create_index("ix_deployments_actor", "deployments", "actor", "received_at", "id")
