"""What an event's details say of its run, as columns, and indexes for the newest of a place by when it happened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alembic import op
from ledger.run_details import TEXTS, happened_at, run_text
from sqlalchemy import JSON, Column, MetaData, String, Table, case, or_, select, text, update

from async_worker.migrations import steps
from async_worker.migrations.steps import add_column, create_index, drop_index, instant

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

revision = "0005"
down_revision = "0004"

COLUMNS = ("at", *TEXTS)

deployments = Table(
    "deployments",
    MetaData(),
    Column("id", String(36)),
    Column("received_at", instant()),
    Column("details", JSON(none_as_null=True)),
    Column("at", instant()),
    Column("pipeline", String(500)),
    Column("step", String(100)),
)


def upgrade() -> None:
    """Run this step."""
    # Workers of the version before go on inserting rows without these columns. Such a row happened
    # when it was received and names no pipeline and no step, whatever its details say.
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    # SQLite, which only tests have, takes nothing but a constant here.
    default = text("'1970-01-01 00:00:00.000000'" if is_sqlite else "(received_at)")
    add_column("deployments", Column("at", instant(), nullable=False, server_default=default))
    add_column("deployments", Column("pipeline", String(500)))
    add_column("deployments", Column("step", String(100)))
    # Each batch stays, even if this is cut off.
    with op.get_context().autocommit_block():
        _fill()
    create_index(
        "ix_deployments_deploys", "deployments", "stage", "status", "environment", "component", "at"
    )
    create_index("ix_deployments_place", "deployments", "environment", "component", "at", "id")
    # An api-rest of the version before asks by received_at: it is slower without this one where a
    # place has had many deploys, and still right. The first new one begins with the same columns.
    drop_index("ix_deployments_running", "deployments")


def _fill() -> None:
    """Fill the columns of the rows that do not have them yet."""
    column = deployments.c
    query = select(deployments).order_by(column.received_at, column.id).limit(steps.BATCH)
    rows = op.get_bind().execute(query).mappings().all()
    while rows:
        changed = {}
        for row in rows:
            said = _said(row["details"], row["received_at"])
            if any(row[name] != said[name] for name in COLUMNS):
                changed[row["id"]] = said
        if changed:
            _update(changed)
        last = rows[-1]
        # Not `(received_at, id) > (…)`: MySQL would read the index from its start.
        rest = query.where(
            column.received_at >= last["received_at"],
            or_(column.received_at > last["received_at"], column.id > last["id"]),
        )
        rows = op.get_bind().execute(rest).mappings().all()


def _said(details: object, received_at: datetime) -> dict[str, Any]:
    """Return the columns' values."""
    known = details if isinstance(details, dict) else {}
    texts = {name: run_text(known, name) for name in TEXTS}
    return {"at": happened_at(known, received_at), **texts}


def _update(values: Mapping[str, Mapping[str, Any]]) -> None:
    """Set the columns of rows, by their ids, in one statement."""
    column = deployments.c
    by_name = {
        name: case({key: said[name] for key, said in values.items()}, value=column.id)
        for name in COLUMNS
    }
    op.get_bind().execute(update(deployments).where(column.id.in_(values)).values(by_name))
