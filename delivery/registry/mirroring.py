"""Push upstream images that were built here, so that the nodes of a local cluster can pull them."""

from __future__ import annotations

from collections.abc import Callable

from delivery import console
from delivery.host import upstreams
from delivery.host.docker_api import Engine
from delivery.project.declaration import Declaration, is_local
from delivery.registry.client import Registry, login
from delivery.retry import with_retries

__all__ = ["IMAGES", "mirror", "mirrored", "push_from_engine"]

# The upstream images that the chart runs: key in its values → name in the declaration.
IMAGES = {"kafka": "kafka", "database": "database", "proxy": "haproxy"}


def mirror(
    engine: Engine, declaration: Declaration, registry: Registry
) -> dict[str, tuple[str, str]]:
    """Push the upstream images that were built from recipes; (repository, digest) by chart key.

    Only to a local registry. Nodes pull a published image by its own name: an engine that pulled
    one platform of it cannot push all of it.
    """
    if not is_local(registry.address):
        return {}
    mirrored: dict[str, tuple[str, str]] = {}
    pushed = []
    images = {
        key: declaration.upstream[name].image
        for key, name in IMAGES.items()
        if name in declaration.upstream
    }
    missing = [image for image in images.values() if engine.image_labels(image) is None]
    names = [name for name, image in declaration.upstream.items() if image.image in missing]
    upstreams.ensure(engine, declaration, names)
    with console.step("upstream images for the cluster") as step:
        for key, image in images.items():
            if upstreams.RECIPE_KEY not in (engine.image_labels(image) or {}):
                continue
            repository, _, tag = f"{registry.address}/{image}".rpartition(":")
            digest = registry.digest(repository, tag)
            if not digest or f"{repository}@{digest}" not in engine.image_digests(image):
                engine.tag(image, repository, tag)
                digest = push_from_engine(engine, registry, f"{repository}:{tag}", step.line)
                pushed.append(image)
            mirrored[key] = (repository, digest)
        step.done(
            f"{', '.join(pushed)} pushed"
            if pushed
            else f"{registry.address} holds every image that nodes cannot pull"
        )
    return mirrored


def mirrored(declaration: Declaration, registry: Registry) -> dict[str, tuple[str, str]]:
    """What `mirror` has pushed to this registry before; nothing is pushed."""
    found = {}
    for key, name in IMAGES.items() if is_local(registry.address) else ():
        if name in declaration.upstream:
            image = declaration.upstream[name].image
            repository, _, tag = f"{registry.address}/{image}".rpartition(":")
            if digest := registry.digest(repository, tag):
                found[key] = (repository, digest)
    return found


def push_from_engine(
    engine: Engine, registry: Registry, reference: str, on_line: Callable[[str], None]
) -> str:
    """Push REPOSITORY:TAG as the engine has it, and read it back; its digest."""
    repository, _, tag = reference.rpartition(":")
    digest = with_retries(lambda: engine.push(reference, on_line, login=login(registry.address)))
    registry.check_digest(repository, tag, digest)
    return digest
