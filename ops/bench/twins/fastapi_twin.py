"""api-rest's work with FastAPI: async, pydantic, pools, uvicorn on uvloop and httptools.

`python -m fastapi_twin`; ACCESS_LOG=false leaves out uvicorn's line for every request.
"""
# ruff: noqa: INP001  the image runs it by its name

from __future__ import annotations

import json
import os
import uuid
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import uvicorn
from aiokafka import AIOKafkaProducer
from fastapi import FastAPI, HTTPException, Query, Request, Response
from ledger_table import deployments, engine
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
)
from sqlalchemy import select

TOPIC = os.environ["TOPIC"]
# Measured: more connections slow the database, fewer slow the server.
CONNECTIONS = int(os.environ.get("DB_POOL", "8"))
DETAILS_LIMIT = 32_768
NAME = r"^[A-Za-z0-9][A-Za-z0-9._/-]*$"


def _tidy(text: str) -> str:
    if not text.isprintable() or text != text.strip():
        raise ValueError("must be printable, with no space at either end")
    return text


def _small(details: dict[str, Any]) -> dict[str, Any]:
    if (
        len(json.dumps(details, ensure_ascii=False, allow_nan=False, separators=(",", ":")))
        > DETAILS_LIMIT
    ):
        raise ValueError(f"must be at most {DETAILS_LIMIT} bytes of JSON")
    return details


Tidy = AfterValidator(_tidy)
Instant = Annotated[
    datetime,
    PlainSerializer(
        lambda instant: instant.isoformat(timespec="microseconds") + "Z", return_type=str
    ),
]


class Deployment(BaseModel):
    """What a client sends."""

    model_config = ConfigDict(extra="forbid", strict=True)

    component: Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=NAME)]
    version: Annotated[str, StringConstraints(min_length=1, max_length=128), Tidy]
    environment: Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=NAME)]
    responsible: Annotated[str, StringConstraints(min_length=1, max_length=256), Tidy]
    stage: Literal["prepare", "test", "plan", "build", "scan", "push", "deploy", "verify", "record"]
    status: Literal["started", "succeeded", "failed", "rolled-back"]
    details: Annotated[dict[str, Any], AfterValidator(_small)] | None = None


class Event(Deployment):
    """What travels on Kafka."""

    id: str
    received_at: Instant


class Accepted(BaseModel):
    """What a POST answers."""

    id: str
    received_at: Instant


class Stored(BaseModel):
    """A row as it is answered."""

    id: str
    component: str
    version: str
    environment: str
    responsible: str
    stage: str
    status: str
    received_at: Instant
    actor: str | None = None
    sequence: int | None = None
    details: Annotated[dict[str, Any] | None, Field(exclude_if=lambda details: details is None)] = (
        None
    )


class Listing(BaseModel):
    """What a list answers."""

    deployments: list[Stored]
    next: str | None


def _cursor(row: Mapping[str, Any]) -> str:
    """The cursor of the next page, as api-rest writes it."""
    since_epoch = row["received_at"].replace(tzinfo=UTC) - datetime.fromtimestamp(0, UTC)
    moment = since_epoch // timedelta(microseconds=1)
    return urlsafe_b64encode(moment.to_bytes(8, "big") + uuid.UUID(row["id"]).bytes).decode()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Connect before the first request, let go after the last."""
    app.state.engine = engine(connections=CONNECTIONS, isolation_level="AUTOCOMMIT")
    producer = AIOKafkaProducer(bootstrap_servers=os.environ["BROKER_URL"], acks="all")
    await producer.start()
    app.state.producer = producer
    yield
    await producer.stop()
    await app.state.engine.dispose()


app = FastAPI(lifespan=lifespan)


@app.post("/deployments", status_code=202)
async def record(deployment: Deployment, request: Request, response: Response) -> Accepted:
    """Answer once every in-sync replica has the event."""
    event = Event.model_construct(
        id=str(uuid.uuid4()),
        received_at=datetime.now(UTC).replace(tzinfo=None),
        **deployment.__dict__,
    )
    await request.app.state.producer.send_and_wait(
        TOPIC,
        key=event.component.encode(),
        value=event.model_dump_json(exclude_none=True).encode(),
        headers=[("kind", b"deployment")],
    )
    response.headers["Location"] = f"/deployments/{event.id}"
    return Accepted.model_construct(id=event.id, received_at=event.received_at)


@app.get("/deployments")
async def recent(request: Request, limit: Annotated[int, Query(ge=1, le=500)] = 50) -> Listing:
    """List the newest."""
    query = (
        select(deployments)
        .order_by(deployments.c.received_at.desc(), deployments.c.id.desc())
        .limit(limit + 1)
    )
    async with request.app.state.engine.connect() as connection:
        rows = (await connection.execute(query)).mappings().all()
    page = rows[:limit]
    cursor = _cursor(page[-1]) if len(rows) > limit else None
    return Listing.model_construct(
        deployments=[Stored.model_construct(**row) for row in page], next=cursor
    )


@app.get("/deployments/{event_id}")
async def one(event_id: uuid.UUID, request: Request) -> Stored:
    """Show one."""
    query = select(deployments).where(deployments.c.id == str(event_id))
    async with request.app.state.engine.connect() as connection:
        row = (await connection.execute(query)).mappings().one_or_none()
    if row is None:
        raise HTTPException(404, "no such deployment, or it is not stored yet")
    return Stored.model_construct(**row)


@app.get("/health")
async def health() -> dict[str, str]:
    """Tell that the process is alive."""
    return {"status": "alive"}


if __name__ == "__main__":
    uvicorn.run(
        app,
        host="0.0.0.0",  # noqa: S104  a container's own network
        port=8000,
        loop="uvloop",
        http="httptools",
        access_log=os.environ.get("ACCESS_LOG", "true") == "true",
    )
