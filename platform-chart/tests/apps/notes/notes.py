"""Notes in a MySQL-compatible database: POST /notes with {"text": …}, GET /notes by age."""

from __future__ import annotations

import json
import os
import signal
import sys
from types import FrameType

import bottle
import pymysql
import waitress

TABLE = """
CREATE TABLE IF NOT EXISTS notes (
    id INT AUTO_INCREMENT PRIMARY KEY, text VARCHAR(1000) NOT NULL
)
"""

app = bottle.Bottle()


def query(statement: str, *values: str) -> list[str]:
    """Run a statement in a new connection, and return the first column of the result."""
    connection = pymysql.connect(
        host=os.environ["DB_HOST"],
        port=int(os.environ["DB_PORT"]),
        database=os.environ["DB_DATABASE"],
        user=os.environ["DB_USERNAME"],
        password=os.environ["DB_PASSWORD"],
        connect_timeout=3,
        autocommit=True,
    )
    with connection, connection.cursor() as cursor:
        cursor.execute(TABLE)
        cursor.execute(statement, values)
        return [row[0] for row in cursor.fetchall()]


def health() -> str:
    return "alive"


def listed() -> dict[str, list[str]]:
    return {"notes": query("SELECT text FROM notes ORDER BY id")}


def stored() -> bottle.HTTPResponse:
    query("INSERT INTO notes (text) VALUES (%s)", json.load(bottle.request.body)["text"])
    return bottle.HTTPResponse(status=201)


def unavailable(error: bottle.HTTPError) -> str:
    return f"{error.exception}\n"


def stop(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)


app.route("/health", "GET", health)
app.route("/notes", "GET", listed)
app.route("/notes", "POST", stored)
app.error(500, callback=unavailable)

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    waitress.serve(app, port=8000)
