"""The operations of the steps.

MySQL commits each change of the schema immediately. So each operation first checks whether an
interrupted run has done it already.
"""

from typing import Any

from alembic import op
from sqlalchemy import Column, inspect

__all__ = ["add_column", "create_index", "create_table", "drop_index"]

# Rows of one transaction. It must be short: workers of the previous version store meanwhile.
BATCH = 200
OPTIONS: dict[str, Any] = {
    f"{dialect}_{option}": value
    for dialect in ("mysql", "mariadb")
    # Binary, so that filters are exact, independent of the server's default collation.
    for option, value in (("charset", "utf8mb4"), ("collate", "utf8mb4_bin"))
}


def create_table(name: str, *columns: Column[Any]) -> None:
    """Create a table if it does not exist."""
    if not inspect(op.get_bind()).has_table(name):
        op.create_table(name, *columns, **OPTIONS)


def add_column(table: str, column: Column[Any]) -> None:
    """Add a column if it does not exist."""
    columns = inspect(op.get_bind()).get_columns(table)
    if column.name not in {existing["name"] for existing in columns}:
        op.add_column(table, column)


def create_index(name: str, table: str, *columns: str) -> None:
    """Create an index if it does not exist."""
    if not _has_index(name, table):
        op.create_index(name, table, list(columns))


def drop_index(name: str, table: str) -> None:
    """Drop an index if it exists."""
    if _has_index(name, table):
        op.drop_index(name, table)


def _has_index(name: str, table: str) -> bool:
    return name in {index["name"] for index in inspect(op.get_bind()).get_indexes(table)}
