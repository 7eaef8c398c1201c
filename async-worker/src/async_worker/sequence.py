"""The numbers of the rows, which grow in the order in which their transactions commit.

A transaction that numbers rows locks the counter until it commits, so the next numbers become
visible after its own: a reader that has seen a number never misses a smaller one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ledger.tables import counters, deployments
from sqlalchemy import bindparam, func, select, update

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["COUNTER", "number_rows", "reserve"]

COUNTER = "deployments"
STEP = 1_000
# Made once, as each batch needs them.
_MINE = counters.c.name == COUNTER
_TAKE = update(counters).where(_MINE).values(value=counters.c.value + bindparam("count"))
_LAST = select(counters.c.value).where(_MINE)


def reserve(connection: Connection, count: int) -> int:
    """Return the number before the next `count` ones, which are this transaction's own."""
    connection.execute(_TAKE, {"count": count})
    value: int = connection.execute(_LAST).scalar_one()
    return value - count


def number_rows(connection: Connection) -> bool:
    """Number rows without a number, the first received first; return whether there may be more.

    A worker of an earlier version stores such rows.
    """
    column = deployments.c
    waiting = (
        select(column.id, column.received_at)
        .where(column.sequence.is_(None))
        .order_by(column.received_at, column.id)
        .limit(STEP)
    )
    if connection.execute(waiting.limit(1)).first() is None:
        return False
    first = waiting.subquery("waiting").c
    position = func.row_number().over(order_by=(first.received_at, first.id))
    numbered = select(first.id, position.label("position")).subquery("numbered").c
    last = reserve(connection, STEP)
    connection.execute(
        update(deployments)
        .where(column.id == numbered.id)
        .values(sequence=last + numbered.position)
    )
    return True
