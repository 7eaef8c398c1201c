"""The table of a measurement: emptied, filled, counted."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pymysql.cursors import Cursor

__all__ = ["checksum", "connected", "contents", "count", "empty", "insert"]


@contextmanager
def connected(port: int) -> Iterator[Cursor]:
    """Connect, with every statement its own transaction."""
    import pymysql  # noqa: PLC0415  `need` reports a missing one

    connection = pymysql.connect(
        host="127.0.0.1",
        port=port,
        user="ledger",
        password="ledger",  # noqa: S106  on this machine only
        database="ledger",
        autocommit=True,
    )
    with connection, connection.cursor() as cursor:
        yield cursor


def empty(cursor: Cursor) -> None:
    """Delete every row."""
    cursor.execute("TRUNCATE TABLE deployments")


def insert(cursor: Cursor, rows: Iterable[dict[str, str]]) -> None:
    """Store events."""
    names = ("id", "component", "version", "environment", "responsible", "stage", "status")
    cursor.executemany(
        f"INSERT INTO deployments ({', '.join(names)}, received_at)"  # noqa: S608  constants
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
        [[*(row[name] for name in names), row["received_at"].rstrip("Z")] for row in rows],
    )


def count(cursor: Cursor) -> int:
    """The number of rows."""
    cursor.execute("SELECT COUNT(*) FROM deployments")
    return int((cursor.fetchone() or (0,))[0])


def contents(cursor: Cursor) -> tuple[int, int]:
    """The number of rows and a checksum of their ids; the id is the primary key."""
    cursor.execute("SELECT COUNT(*), COALESCE(SUM(CRC32(id)), 0) FROM deployments")
    rows, ids = cursor.fetchone() or (0, 0)
    return int(rows), int(ids)


def checksum(rows: Iterable[dict[str, str]]) -> tuple[int, int]:
    """What `contents` returns once exactly these events are stored."""
    ids = [zlib.crc32(row["id"].encode()) for row in rows]
    return len(ids), sum(ids)
