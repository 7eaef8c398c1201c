"""Put upstream images that were built here beside ours: the nodes of a local cluster have nowhere else to pull them from."""

from __future__ import annotations

from delivery import console
from delivery.errors import RegistryError
from delivery.host import upstreams
from delivery.host.docker_api import Engine
from delivery.project.declaration import Declaration, is_local
from delivery.registry.client import Registry, login
from delivery.retry import with_retries

__all__ = ["mirror"]

# The upstream images that the chart runs: under which key of its values, and their name in the declaration.
_IMAGES = {"kafka": "kafka", "database": "database", "proxy": "haproxy"}


def mirror(
    engine: Engine, declaration: Declaration, registry: Registry
) -> dict[str, tuple[str, str]]:
    """Push the upstream images that are built from our recipes to a local registry; (repository, digest) by the chart's key.

    A published image is left to the nodes to pull by its name: an engine that pulled one platform of it cannot push the whole.
    """
    if not is_local(registry.address):
        return {}
    found: dict[str, tuple[str, str]] = {}
    with console.step("upstream images for the cluster") as step:
        pushed = []
        for key, name in _IMAGES.items():
            if name not in declaration.upstream:
                continue
            image = declaration.upstream[name].image
            labels = engine.image_labels(image)
            if labels is None:
                upstreams.ensure(engine, declaration, name)
                labels = engine.image_labels(image) or {}
            if upstreams.RECIPE_KEY not in labels:
                continue
            repository, _, tag = f"{registry.address}/{image}".rpartition(":")
            digest = registry.digest(repository, tag)
            if not digest or f"{repository}@{digest}" not in engine.image_digests(image):
                digest = _push(engine, registry, image, f"{repository}:{tag}", step)
                pushed.append(image)
            found[key] = (repository, digest)
        step.done(
            f"{', '.join(pushed)} pushed"
            if pushed
            else f"{registry.address} has what the nodes cannot pull"
        )
    return found


def _push(
    engine: Engine, registry: Registry, image: str, reference: str, step: console.Step
) -> str:
    repository, _, tag = reference.rpartition(":")
    engine.tag(image, repository, tag)
    said = with_retries(lambda: engine.push(reference, step.line, login=login(registry.address)))
    held = registry.digest(repository, tag)
    if held != said:
        raise RegistryError(
            f"push {reference}: the registry holds {held or 'nothing'}, {said} was sent",
            hint="something else writes to this tag, or the registry is broken; push again once it is settled",
        )
    return held
