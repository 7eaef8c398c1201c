"""Push upstream images that were built here, so that the nodes of a local cluster can pull them."""

from __future__ import annotations

from collections.abc import Callable

from delivery import console
from delivery.host import upstreams
from delivery.host.docker_api import Engine
from delivery.project.declaration import Declaration, is_local
from delivery.registry.client import Registry, login
from delivery.retry import with_retries

__all__ = ["IMAGES", "mirror", "push_from_engine"]

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
    with console.step("upstream images for the cluster") as step:
        for key, name in IMAGES.items():
            if name not in declaration.upstream:
                continue
            image = declaration.upstream[name].image
            if engine.image_labels(image) is None:
                upstreams.ensure(engine, declaration, name)
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


def push_from_engine(
    engine: Engine, registry: Registry, reference: str, on_line: Callable[[str], None]
) -> str:
    """Push REPOSITORY:TAG as the engine has it, and read it back; its digest."""
    repository, _, tag = reference.rpartition(":")
    digest = with_retries(lambda: engine.push(reference, on_line, login=login(registry.address)))
    registry.check_digest(repository, tag, digest)
    return digest
