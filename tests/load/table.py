"""The ledger's table, read from the database."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Any

import pymysql

__all__ = ["Login", "execute", "rows"]

Login = tuple[str, str]  # user, password


def execute(port: int, login: Login, sql: str, *values: object) -> list[dict[str, Any]]:
    """Run a statement in the ledger's database, at a port of this machine."""
    connection = pymysql.connect(
        host="127.0.0.1",
        port=port,
        user=login[0],
        password=login[1],
        database="ledger",
        autocommit=True,
        cursorclass=pymysql.cursors.DictCursor,
    )
    with closing(connection), connection.cursor() as cursor:
        cursor.execute(sql, values)
        return list(cursor.fetchall())


def rows(port: int, login: Login, run: str) -> list[dict[str, Any]]:
    """The rows of a run, by their component or their details; values as in the API's answers."""
    stored = execute(
        port,
        login,
        "SELECT * FROM deployments WHERE component LIKE %s OR JSON_VALUE(details, '$.run') = %s",
        f"{run}/%",
        run,
    )
    for row in stored:
        row["received_at"] = row["received_at"].isoformat(timespec="microseconds") + "Z"
        row["details"] = None if row["details"] is None else json.loads(row["details"])
    return stored
