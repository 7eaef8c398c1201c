"""The ledger's tables, as async-worker's migrations make them."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Index,
    Integer,
    MetaData,
    String,
    Table,
)
from sqlalchemy.dialects import mysql

from .event_rules import ACTOR_LENGTH, LENGTHS, REASON_LENGTH
from .run_details import TEXT_LENGTHS

__all__ = [
    "INSTANT",
    "counters",
    "deployments",
    "drift",
    "freezes",
    "idempotency_keys",
    "metadata",
    "notifications",
]

# UTC, with microseconds: the order of events depends on them.
INSTANT = DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")

metadata = MetaData()

deployments = Table(
    "deployments",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("component", String(LENGTHS["component"]), nullable=False),
    Column("version", String(LENGTHS["version"]), nullable=False),
    Column("environment", String(LENGTHS["environment"]), nullable=False),
    Column("responsible", String(LENGTHS["responsible"]), nullable=False),
    Column("stage", String(LENGTHS["stage"]), nullable=False),
    Column("status", String(16), nullable=False),
    Column("received_at", INSTANT, nullable=False),
    Column("details", JSON(none_as_null=True)),
    # Copied from the details, for the indexes.
    Column("at", INSTANT, nullable=False),
    Column("pipeline", String(TEXT_LENGTHS["pipeline"])),
    Column("step", String(TEXT_LENGTHS["step"])),
    # The name of the token that the event was sent with; null without one.
    Column("actor", String(ACTOR_LENGTH)),
    # Grows in the order in which rows become visible. Null only for a moment, in rows that a worker
    # of an earlier version stores.
    Column("sequence", BigInteger),
    Index("ix_deployments_received_at", "received_at", "id"),
    Index("ix_deployments_component_newest", "component", "received_at", "id"),
    Index("ix_deployments_environment_newest", "environment", "received_at", "id"),
    Index("ix_deployments_version", "version", "received_at", "id"),
    Index("ix_deployments_responsible", "responsible", "received_at", "id"),
    Index("ix_deployments_actor", "actor", "received_at", "id"),
    Index("ix_deployments_stage", "stage", "received_at", "id"),
    Index("ix_deployments_status", "status", "received_at", "id"),
    Index("ix_deployments_deploys", "stage", "status", "environment", "component", "at"),
    Index("ix_deployments_sequence", "sequence", "received_at", "id"),
    Index("ix_deployments_place", "environment", "component", "at", "id"),
)

# The last number that was given to a row of a table.
counters = Table(
    "counters",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

# api-rest recognises repeated requests by these keys. async-worker creates the table and deletes
# old rows.
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("key_hash", String(64), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("event_id", String(36), nullable=False),
    Column("received_at", INSTANT, nullable=False, index=True),
)

# The notifications that async-worker sends to the webhook.
notifications = Table(
    "notifications",
    metadata,
    Column("deployment_id", String(36), primary_key=True),
    Column("created_at", INSTANT, nullable=False, index=True),
    Column("attempts", Integer, nullable=False),
    # Null: the notification is sent or given up.
    Column("next_attempt_at", INSTANT, index=True),
    Column("sent_at", INSTANT),
    Column("last_error", String(255)),
)

# Times in which nothing is deployed to an environment. api-rest writes them.
freezes = Table(
    "freezes",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("environment", String(LENGTHS["environment"]), nullable=False),
    Column("until", INSTANT, nullable=False, index=True),
    Column("reason", String(REASON_LENGTH), nullable=False),
    Column("responsible", String(LENGTHS["responsible"]), nullable=False),
    Column("actor", String(ACTOR_LENGTH)),
    Column("created_at", INSTANT, nullable=False),
    # Null: it holds until `until`.
    Column("ended_at", INSTANT),
)

# How each environment differs from what was deployed to it; a report replaces the one before.
drift = Table(
    "drift",
    metadata,
    Column("environment", String(LENGTHS["environment"]), primary_key=True),
    Column("checked_at", INSTANT, nullable=False),
    Column("found", JSON, nullable=False),
)
