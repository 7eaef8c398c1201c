"""Indexes for what api-rest asks: newest first by component, environment, version or person, and what runs where."""

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
    # Nothing asks for it any more, and every index slows each insert down.
    drop_index("ix_deployments_component", "deployments")
