"""Build and publish a release, and the current images of a clone."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from delivery import console, process
from delivery.build import building, planning
from delivery.build.plan import Plan
from delivery.errors import EngineError
from delivery.host import engines, upstreams
from delivery.host.docker_api import Engine
from delivery.project.declaration import Declaration
from delivery.registry import local_registry
from delivery.registry.client import Registry
from delivery.release import problems, publishing, sbom, signing
from delivery.release.publishing import Built, Check
from delivery.release.released import Release, released_images

__all__ = ["build", "ensure_images", "publish", "push_images"]


def ensure_images(engine: Engine, declaration: Declaration) -> Release:
    """Build and push the current images, without versions and a chart, and ensure upstream images.

    They are for this machine's platform alone. Written as release.json, which `inv up` and
    `inv status` read.
    """
    planning.content_keys(declaration)  # an unreadable file is an error before the long steps
    if error := local_registry.refusal(declaration):
        raise error
    ensured = upstreams.ensure(engine, declaration, upstreams.needed(declaration))
    registry = local_registry.ensure(engine, declaration)
    images = planning.plan_images(declaration, registry)
    built = Built(engine, building.build(engine, declaration, images, ensured=ensured))
    pushed = publishing.push_images(registry, images, built)
    return publishing.write(Release(released_images(images, pushed)))


def push_images(
    declaration: Declaration, registry: Registry, platforms: Sequence[str] = ()
) -> Release:
    """Build and push the current images that the registry lacks, by content key alone.

    They are for these platforms, by default for this machine's. It needs an engine only to build.
    Written as release.json.
    """
    images = planning.plan_images(declaration, registry, platforms=platforms)
    built = Built()
    if images.missing:
        if error := local_registry.refusal(declaration):
            raise error
        engine = engines.ensure()
        built = Built(engine, building.build(engine, declaration, images))
    pushed = publishing.push_images(registry, images, built)
    return publishing.write(Release(released_images(images, pushed)))


def build(declaration: Declaration, plan: Plan) -> None:
    """Build the missing images, and push nothing; needs no engine if none is missing.

    A plan with problems, which could not be published, is not built: DeliveryError.
    """
    if error := problems.refusal(plan, "build"):
        raise error
    if plan.images.missing:
        building.build(_engine(), declaration, plan.images)
    else:
        building.report_nothing_to_build(plan.images)


def publish(declaration: Declaration, registry: Registry, plan: Plan, check: Check) -> Release:
    """Build the missing images that were not built before, and publish the plan's release.

    check: what the release has to pass.
    With a signing key, images of the registry without our signature are built here again.
    """
    publishing.check_publishable(plan)
    signing.check_key(declaration, plan.decision.environment)
    untrusted = publishing.untrusted(declaration, registry, plan)
    images = plan.images.rebuilt(untrusted)
    if not images.missing:
        return publishing.publish(registry, declaration, plan, Built(check=check))
    engine = _engine_for(untrusted) if untrusted else _engine()
    with process.side_by_side() as pool:
        pool.submit(sbom.load_library)
        layouts = building.build(engine, declaration, images)
    built = Built(engine, layouts, check)
    return publishing.publish(registry, declaration, plan, built)


@functools.cache
def _engine() -> Engine:
    """The engine of this run: `inv build push` looks for it once."""
    return engines.ensure()


def _engine_for(untrusted: Sequence[str]) -> Engine:
    """An engine whose builds are reproducible; EngineError without such an engine."""
    names = ", ".join(untrusted)
    console.say(
        f"build again {names}: in the registry, no signature of our key names these sources, and "
        "only what was built from them is signed"
    )
    action = f"cannot sign {names}: they have to be built again, since anyone may have pushed them"
    try:
        engine = _engine()
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
