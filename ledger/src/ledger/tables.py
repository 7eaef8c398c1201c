"""The ledger's tables, as async-worker's migrations make them."""

from sqlalchemy import JSON, Column, DateTime, Index, Integer, MetaData, String, Table
from sqlalchemy.dialects import mysql

from .event_rules import LENGTHS
from .run_details import TEXTS

__all__ = ["INSTANT", "deployments", "idempotency_keys", "metadata", "notifications"]

# UTC; microseconds, since the newest-first order depends on them.
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
    Column("stage", String(16), nullable=False),
    Column("status", String(16), nullable=False),
    Column("received_at", INSTANT, nullable=False),
    Column("details", JSON(none_as_null=True)),
    # What the details say of the run, so that an index finds it, however large they are.
    Column("at", INSTANT, nullable=False),
    Column("pipeline", String(TEXTS["pipeline"])),
    Column("step", String(TEXTS["step"])),
    Index("ix_deployments_received_at", "received_at", "id"),
    Index("ix_deployments_component_newest", "component", "received_at", "id"),
    Index("ix_deployments_environment_newest", "environment", "received_at", "id"),
    Index("ix_deployments_version", "version", "received_at", "id"),
    Index("ix_deployments_responsible", "responsible", "received_at", "id"),
    Index("ix_deployments_stage", "stage", "received_at", "id"),
    Index("ix_deployments_status", "status", "received_at", "id"),
    Index("ix_deployments_deploys", "stage", "status", "environment", "component", "at"),
    Index("ix_deployments_place", "environment", "component", "at", "id"),
)

# api-rest writes these and recognises a repeated request by them; async-worker makes the table and
# removes old rows.
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("key_hash", String(64), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("event_id", String(36), nullable=False),
    Column("received_at", INSTANT, nullable=False, index=True),
)

# What async-worker has to tell a webhook.
notifications = Table(
    "notifications",
    metadata,
    Column("deployment_id", String(36), primary_key=True),
    Column("created_at", INSTANT, nullable=False, index=True),
    Column("attempts", Integer, nullable=False),
    # Null once the notification was sent or given up.
    Column("next_attempt_at", INSTANT, index=True),
    Column("sent_at", INSTANT),
    Column("last_error", String(255)),
)
