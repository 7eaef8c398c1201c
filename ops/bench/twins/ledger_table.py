"""The table that all consumers fill and all servers read, declared as async-worker makes it."""
# ruff: noqa: INP001  the image runs it by its name

from __future__ import annotations

import os

from sqlalchemy import JSON, URL, BigInteger, Column, MetaData, String, Table
from sqlalchemy.dialects.mysql import DATETIME
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

__all__ = ["deployments", "engine"]

deployments = Table(
    "deployments",
    MetaData(),
    Column("id", String(36), primary_key=True),
    Column("component", String(128)),
    Column("version", String(128)),
    Column("environment", String(64)),
    Column("responsible", String(256)),
    Column("stage", String(16)),
    Column("status", String(16)),
    Column("received_at", DATETIME(fsp=6)),
    Column("details", JSON(none_as_null=True)),
    Column("actor", String(256)),
    Column("sequence", BigInteger),
)


def engine(*, connections: int, isolation_level: str) -> AsyncEngine:
    """Return an engine with a pool; it connects when first used."""
    url = URL.create(
        "mysql+aiomysql",
        username=os.environ["DB_USERNAME"],
        password=os.environ["DB_PASSWORD"],
        host=os.environ["DB_HOST"],
        port=int(os.environ.get("DB_PORT", "3306")),
        database=os.environ["DB_DATABASE"],
        query={"charset": "utf8mb4"},
    )
    return create_async_engine(
        url, isolation_level=isolation_level, pool_size=connections, max_overflow=0
    )
