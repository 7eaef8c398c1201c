"""The ledger's table in the cluster, compared with what the API answered."""

from __future__ import annotations

import base64
from contextlib import suppress
from typing import Any

from tests.e2e.cluster import Cluster, wait_for
from tests.load import table
from tests.load.checker import Verdict, check
from tests.load.recording import Recording

__all__ = ["compare", "rows"]


def rows(cluster: Cluster, run: str) -> list[dict[str, Any]]:
    """The rows of a run, values as in the API's answers."""
    secret = cluster.get_one("secret", f"{cluster.release}-database")["data"]
    user, password = (base64.b64decode(secret[name]).decode() for name in ("username", "password"))
    with cluster.forwarded(f"service/{cluster.release}-database", 3306) as port:
        return table.rows(port, (user, password), run)


def compare(cluster: Cluster, recording: Recording, run: str) -> Verdict:
    """Compare the table with the answers, once every accepted event is stored or a minute later."""
    stored: list[list[dict[str, Any]]] = [[]]

    def settled() -> bool:
        stored.append(rows(cluster, run))
        return len(recording.accepted) <= len(stored[-1]) == len(stored[-2])

    with suppress(AssertionError):  # the checker names the missing ones
        wait_for(f"{len(recording.accepted)} rows of {run}", settled, seconds=60)
    return check(recording.posts, stored[-1])
