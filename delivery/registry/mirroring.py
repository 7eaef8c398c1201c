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
    engine: Callable[[], Engine], declaration: Declaration, registry: Registry
) -> dict[str, tuple[str, str]]:
    """Push the upstream images that were built from recipes; (repository, digest) by chart key.

    Only to a local registry, and under the key of the recipe: the engine is asked only for what the
    registry lacks. Nodes pull a published image by its own name: an engine that pulled one platform
    of it cannot push all of it.
    """
    found = mirrored(declaration, registry)
    missing = _declared(declaration).keys() - found.keys()
    if not is_local(registry.address) or not missing:
        return found
    upstreams.ensure(engine(), declaration, [IMAGES[key] for key in missing])
    with console.step("upstream images for the cluster") as step:
        for key in sorted(missing):
            name = IMAGES[key]
            image = declaration.upstream[name].image
            if upstreams.RECIPE_KEY not in (engine().image_labels(image) or {}):
                continue
            repository = _repository(registry, image)
            tag = upstreams.recipe_key(declaration, name)
            engine().tag(image, repository, tag)
            digest = push_from_engine(engine(), registry, f"{repository}:{tag}", step.line)
            found[key] = (repository, digest)
        pushed = [IMAGES[key] for key in sorted(missing & found.keys())]
        step.done(f"{', '.join(pushed)} pushed" if pushed else "nodes can pull all by their names")
    return found


def mirrored(declaration: Declaration, registry: Registry) -> dict[str, tuple[str, str]]:
    """What `mirror` has pushed to this registry before; nothing is pushed."""
    if not is_local(registry.address):
        return {}
    declared = _declared(declaration)
    repositories = [_repository(registry, image) for image in declared.values()]
    tags = [upstreams.recipe_key(declaration, IMAGES[key]) for key in declared]
    digests = registry.digests(zip(repositories, tags, strict=True))
    held = zip(declared, repositories, digests, strict=True)
    return {key: (repository, digest) for key, repository, digest in held if digest}


def _declared(declaration: Declaration) -> dict[str, str]:
    """The upstream images that the chart runs, by its keys."""
    upstream = declaration.upstream
    return {key: upstream[name].image for key, name in IMAGES.items() if name in upstream}


def _repository(registry: Registry, image: str) -> str:
    return f"{registry.address}/{image}".rpartition(":")[0]


def push_from_engine(
    engine: Engine, registry: Registry, reference: str, on_line: Callable[[str], None]
) -> str:
    """Push REPOSITORY:TAG as the engine has it, and read it back; its digest."""
    repository, _, tag = reference.rpartition(":")
    digest = with_retries(lambda: engine.push(reference, on_line, login=login(registry.address)))
    registry.check_digest(repository, tag, digest)
    return digest
