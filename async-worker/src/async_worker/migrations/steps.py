"""What the steps are made of. MySQL commits every change of a schema at once, so each looks first whether it is done."""

from typing import Any

from alembic import op
from sqlalchemy import Column, DateTime, inspect
from sqlalchemy.dialects import mysql

__all__ = ["add_column", "create_index", "create_table", "drop_index", "instant"]

# Rows of one transaction: a short one, so that workers of the version before go on storing.
BATCH = 200
OPTIONS: dict[str, Any] = {
    f"{dialect}_{option}": value
    for dialect in ("mysql", "mariadb")
    # Binary, so that a filter finds exactly what was recorded, whatever the server's default collation.
    for option, value in (("charset", "utf8mb4"), ("collate", "utf8mb4_bin"))
}


def instant() -> DateTime:
    """Return the type of a time: UTC, with microseconds."""
    return DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")


def create_table(name: str, *columns: Column[Any]) -> None:
    """Create a table unless it is there."""
    if not inspect(op.get_bind()).has_table(name):
        op.create_table(name, *columns, **OPTIONS)


def add_column(table: str, column: Column[Any]) -> None:
    """Add a column unless it is there."""
    if column.name not in {found["name"] for found in inspect(op.get_bind()).get_columns(table)}:
        op.add_column(table, column)


def create_index(name: str, table: str, *columns: str) -> None:
    """Create an index unless it is there."""
    if not _has_index(name, table):
        op.create_index(name, table, list(columns))


def drop_index(name: str, table: str) -> None:
    """Drop an index if it is there."""
    if _has_index(name, table):
        op.drop_index(name, table)


def _has_index(name: str, table: str) -> bool:
    return name in {index["name"] for index in inspect(op.get_bind()).get_indexes(table)}
