"""Columns for the run that an event's details name, and indexes by the time of the event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alembic import op
from ledger.run_details import TEXT_LENGTHS, happened_at, run_text
from ledger.tables import INSTANT
from sqlalchemy import JSON, Column, MetaData, String, Table, case, or_, select, text, update

from async_worker.migrations import steps
from async_worker.migrations.steps import add_column, create_index, drop_index

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

revision = "0005"
down_revision = "0004"

COLUMNS = ("at", *TEXT_LENGTHS)

deployments = Table(
    "deployments",
    MetaData(),
    Column("id", String(36)),
    Column("received_at", INSTANT),
    Column("details", JSON(none_as_null=True)),
    Column("at", INSTANT),
    Column("pipeline", String(500)),
    Column("step", String(100)),
)


def upgrade() -> None:
    """Run this step."""
    # Workers of the previous version insert rows without these columns meanwhile. Such a row gets
    # the time of its receipt, and neither a pipeline nor a step.
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    # Only tests use SQLite, which accepts only a constant here.
    default = text("'1970-01-01 00:00:00.000000'" if is_sqlite else "(received_at)")
    add_column("deployments", Column("at", INSTANT, nullable=False, server_default=default))
    add_column("deployments", Column("pipeline", String(500)))
    add_column("deployments", Column("step", String(100)))
    # An interrupted run keeps its batches.
    with op.get_context().autocommit_block():
        _fill()
    create_index(
        "ix_deployments_deploys", "deployments", "stage", "status", "environment", "component", "at"
    )
    create_index("ix_deployments_place", "deployments", "environment", "component", "at", "id")
    # An api-rest of the previous version sorts by received_at. Without this index it is slower for
    # components with many deploys. ix_deployments_deploys begins with the same columns.
    drop_index("ix_deployments_running", "deployments")


def _fill() -> None:
    """Set the columns of all rows that lack them."""
    column = deployments.c
    query = select(deployments).order_by(column.received_at, column.id).limit(steps.BATCH)
    rows = op.get_bind().execute(query).mappings().all()
    while rows:
        changed = {}
        for row in rows:
            values = _column_values(row["details"], row["received_at"])
            if any(row[name] != values[name] for name in COLUMNS):
                changed[row["id"]] = values
        if changed:
            _update(changed)
        last = rows[-1]
        # MySQL reads the index from its start for `(received_at, id) > (…)`.
        next_rows = query.where(
            column.received_at >= last["received_at"],
            or_(column.received_at > last["received_at"], column.id > last["id"]),
        )
        rows = op.get_bind().execute(next_rows).mappings().all()


def _column_values(details: object, received_at: datetime) -> dict[str, Any]:
    mapping = details if isinstance(details, dict) else {}
    texts = {name: run_text(mapping, name) for name in TEXT_LENGTHS}
    return {"at": happened_at(mapping, received_at), **texts}


def _update(values: Mapping[str, Mapping[str, Any]]) -> None:
    """Set the columns of rows, by their ids, in one statement."""
    column = deployments.c
    by_name = {
        name: case({key: row[name] for key, row in values.items()}, value=column.id)
        for name in COLUMNS
    }
    op.get_bind().execute(update(deployments).where(column.id.in_(values)).values(by_name))
