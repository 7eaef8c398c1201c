"""The ledger's table, read from the database in the cluster, and held against what a generator was answered."""

from __future__ import annotations

import base64
import json
from contextlib import closing
from typing import Any

import pymysql

from tests.e2e.cluster import Cluster, wait_for
from tests.load.checker import Verdict, check
from tests.load.recording import Recording, attempts

__all__ = ["judge", "rows", "settle"]


def rows(cluster: Cluster, run: str) -> list[dict[str, Any]]:
    """The rows of a run, values as in an answer."""
    secret = cluster.one("secret", f"{cluster.release}-database")["data"]
    login = {name: base64.b64decode(secret[name]).decode() for name in ("username", "password")}
    with cluster.forwarded(f"service/{cluster.release}-database", 3306) as port:
        connection = pymysql.connect(
            host="127.0.0.1",
            port=port,
            user=login["username"],
            password=login["password"],
            database="ledger",
            cursorclass=pymysql.cursors.DictCursor,
        )
        with closing(connection), connection.cursor() as cursor:
            cursor.execute(
                "SELECT * FROM deployments WHERE component LIKE %s OR JSON_VALUE(details, '$.run') = %s",
                (f"{run}/%", run),
            )
            found = list(cursor.fetchall())
    for row in found:
        row["received_at"] = row["received_at"].isoformat(timespec="microseconds") + "Z"
        row["details"] = None if row["details"] is None else json.loads(row["details"])
    return found


def settle(cluster: Cluster, run: str, wanted: int) -> list[dict[str, Any]]:
    """The rows of a run once there are as many as wanted and none comes any more, or what there is after a while."""
    found: list[list[dict[str, Any]]] = [[]]

    def rested() -> bool:
        found.append(rows(cluster, run))
        return len(found[-1]) >= wanted and len(found[-1]) == len(found[-2])

    try:
        wait_for(f"{wanted} rows of {run}", rested, seconds=60, every=1)
    except AssertionError:
        return found[-1]  # the checker says which are missing
    return found[-1]


def judge(cluster: Cluster, recording: Recording, run: str) -> Verdict:
    """Hold what was answered against what is stored."""
    made = attempts(recording, run)
    accepted = {one.number for one in made if one.answer.outcome == "accepted"}
    return check(made, settle(cluster, run, len(accepted)))
