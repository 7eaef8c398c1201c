"""Have a release: every step from the declaration to images that the registry proves to hold."""

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
    """What a clone runs for itself: upstream images, and its own under their keys, as they are now; no version, no chart.

    Written down as what `inv up` and `inv status` go by.
    """
    planning.content_keys(declaration)  # what cannot be read is said before the long steps
    local_registry.check(declaration)
    upstreams.ensure_all(engine, declaration)
    registry = local_registry.ensure(engine, declaration)
    images = planning.plan_images(declaration, registry)
    if not images.missing:
        building.report_nothing_to_build(images)
        return publishing.write(Release(released_images(images, {})))
    built = Built(engine, building.build(engine, declaration, images))
    pushed = publishing.push_images(registry, images, built)
    return publishing.write(Release(released_images(images, pushed)))


def build(declaration: Declaration, plan: Plan) -> None:
    """Build what the registry lacks, and push nothing. Without anything to build no engine is asked.

    Raises DeliveryError, before anything is built, for what could not be published afterwards.
    """
    if error := problems.refusal(plan, "build"):
        raise error
    if plan.images.missing:
        building.build(engines.ensure(), declaration, plan.images)
    else:
        building.report_nothing_to_build(plan.images)


def publish(declaration: Declaration, registry: Registry, plan: Plan) -> Release:
    """Build what the registry lacks and was not built before, and publish the plan's release.

    What the registry holds, but not with our signature, is built here too where it is to be signed.
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
    """An engine to build again what the registry holds; EngineError, with the reason, if none can."""
    names = ", ".join(untrusted)
    console.say(
        f"build again {names}: what the registry holds carries no signature of ours that names these "
        "sources, and only what was built from them is signed"
    )
    doing = (
        f"cannot sign {names}: content that somebody else may have pushed is built here again first"
    )
    try:
        engine = engines.ensure()
    except EngineError as error:
        raise EngineError(
            f"{doing}: {error.message}", details=error.details, hint=error.hint
        ) from error
    if not engine.oci_layouts:
        raise EngineError(
            f"{doing}: builds do not repeat on this engine, which has the classic image store",
            hint='enable "containerd-snapshotter" under "features" in its daemon.json, or push from another engine',
        )
    return engine
