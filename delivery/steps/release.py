"""Have a release: every step from the declaration to images that the registry proves to hold."""

from __future__ import annotations

from delivery.core.declaration import Declaration
from delivery.core.release import Release
from delivery.steps import build as building
from delivery.steps import plan as planning
from delivery.steps import publish as publishing
from delivery.steps import registry as registries
from delivery.steps import upstream as upstreams
from delivery.tools.engine import Engine

__all__ = ["make"]


def make(engine: Engine, declaration: Declaration) -> Release:
    """Get the upstream images, build and push what the registry lacks, and write down what is deployed from then on."""
    upstreams.ensure_all(engine, declaration)
    registry = registries.ensure(engine, declaration)
    plan = planning.look(declaration, registry)
    layouts = building.build(engine, declaration, plan)
    return publishing.publish(engine, registry, plan, layouts)
