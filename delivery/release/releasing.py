"""Build and publish a release, and the current images of a clone."""

from __future__ import annotations

from collections.abc import Sequence

from delivery import console
from delivery.build import building, planning
from delivery.build.plan import Plan
from delivery.errors import EngineError
from delivery.host import engines, upstreams
from delivery.host.docker_api import Engine
from delivery.project.declaration import Declaration
from delivery.registry import local_registry
from delivery.registry.client import Registry
from delivery.release import problems, publishing, signing
from delivery.release.publishing import Built
from delivery.release.released import Release, released_images

__all__ = ["build", "ensure_images", "publish"]


def ensure_images(engine: Engine, declaration: Declaration) -> Release:
    """Build and push the current images, without versions and a chart, and ensure upstream images.

    Written as release.json, which `inv up` and `inv status` read.
    """
    planning.content_keys(declaration)  # an unreadable file is an error before the long steps
    local_registry.check(declaration)
    ensured = upstreams.ensure_all(engine, declaration)
    registry = local_registry.ensure(engine, declaration)
    images = planning.plan_images(declaration, registry)
    if not images.missing:
        building.report_nothing_to_build(images)
        return publishing.write(Release(released_images(images, {})))
    built = Built(engine, building.build(engine, declaration, images, ensured=ensured))
    pushed = publishing.push_images(registry, images, built)
    return publishing.write(Release(released_images(images, pushed)))


def build(declaration: Declaration, plan: Plan) -> None:
    """Build the missing images, and push nothing; needs no engine if none is missing.

    A plan with problems, which could not be published, is not built: DeliveryError.
    """
    if error := problems.refusal(plan, "build"):
        raise error
    if plan.images.missing:
        building.build(engines.ensure(), declaration, plan.images)
    else:
        building.report_nothing_to_build(plan.images)


def publish(declaration: Declaration, registry: Registry, plan: Plan) -> Release:
    """Build the missing images that were not built before, and publish the plan's release.

    With a signing key, images of the registry without our signature are built here again.
    """
    publishing.check_publishable(plan)
    signing.check_key(declaration, plan.decision.environment)
    untrusted = publishing.untrusted(declaration, registry, plan)
    images = plan.images.rebuilt(untrusted)
    if not images.missing:
        return publishing.publish(registry, declaration, plan, Built())
    engine = _engine_for(untrusted) if untrusted else engines.ensure()
    built = Built(engine, building.build(engine, declaration, images))
    return publishing.publish(registry, declaration, plan, built)


def _engine_for(untrusted: Sequence[str]) -> Engine:
    """An engine whose builds are reproducible; EngineError without such an engine."""
    names = ", ".join(untrusted)
    console.say(
        f"build again {names}: in the registry, no signature of our key names these sources, and "
        "only what was built from them is signed"
    )
    action = f"cannot sign {names}: they have to be built again, since anyone may have pushed them"
    try:
        engine = engines.ensure()
    except EngineError as error:
        raise EngineError(
            f"{action}, and no engine can do that: {error.reason}",
            details=error.details,
            hint=error.hint,
        ) from error
    if not engine.oci_layouts:
        raise EngineError(
            f"{action}: builds of this engine, with the classic image store, are not reproducible",
            hint='enable "containerd-snapshotter" under "features" in its daemon.json, or push '
            "from another engine",
        )
    return engine
