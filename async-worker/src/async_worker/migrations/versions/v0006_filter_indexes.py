"""Indexes for the filters stage and status of api-rest, newest first."""

from async_worker.migrations.steps import create_index

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Run this step."""
    create_index("ix_deployments_stage", "deployments", "stage", "received_at", "id")
    create_index("ix_deployments_status", "deployments", "status", "received_at", "id")
