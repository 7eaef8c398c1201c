"""The number of each row, in the order in which they became visible, and its counter."""

from alembic import op
from ledger.tables import counters
from sqlalchemy import BigInteger, Column, String, insert, select

from async_worker.migrations.steps import add_column, create_index, create_table
from async_worker.sequence import COUNTER, number_rows

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Run this step."""
    create_table(
        "counters",
        Column("name", String(64), primary_key=True),
        Column("value", BigInteger, nullable=False),
    )
    # Null in rows that an older worker stores meanwhile; a newer one numbers them later.
    add_column("deployments", Column("sequence", BigInteger))
    create_index("ix_deployments_sequence", "deployments", "sequence", "received_at", "id")
    connection = op.get_bind()
    # An interrupted run keeps its batches.
    with op.get_context().autocommit_block():
        if not connection.execute(select(counters).where(counters.c.name == COUNTER)).first():
            connection.execute(insert(counters).values(name=COUNTER, value=0))
        while number_rows(connection):
            pass
