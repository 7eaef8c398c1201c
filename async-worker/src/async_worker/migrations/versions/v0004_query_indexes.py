"""Indexes for the queries of api-rest: events by several filters, and the running versions."""

from async_worker.migrations.steps import create_index, drop_index

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Run this step."""
    create_index("ix_deployments_component_newest", "deployments", "component", "received_at", "id")
    create_index(
        "ix_deployments_environment_newest", "deployments", "environment", "received_at", "id"
    )
    create_index("ix_deployments_version", "deployments", "version", "received_at", "id")
    create_index("ix_deployments_responsible", "deployments", "responsible", "received_at", "id")
    create_index(
        "ix_deployments_running",
        "deployments",
        "stage",
        "status",
        "environment",
        "component",
        "received_at",
    )
    # No query uses it any more, and every index makes inserts slower.
    drop_index("ix_deployments_component", "deployments")
