"""Images that no node can pull are pushed to the local registry, once."""

from collections.abc import Callable
from typing import cast

import pytest

from delivery.host import upstreams
from delivery.host.docker_api import Engine
from delivery.project.declaration import Declaration, Upstream
from delivery.registry import mirroring
from delivery.registry.client import Registry

KAFKA = "apache/kafka:4.1.1"


class Store:
    """An engine with the image of Kafka, and a registry."""

    def __init__(self, address: str = "localhost:5001", *, built: bool = True) -> None:
        self.address = address
        self.labels = {upstreams.RECIPE_KEY: "k"} if built else {}
        self.pushed: list[str] = []
        self.checked: list[str] = []
        self.current = "sha256:first"
        self.images: dict[str, str] = {}

    def image_labels(self, _reference: str) -> dict[str, str]:
        return self.labels

    def image_digests(self, _reference: str) -> list[str]:
        return [f"{reference.rpartition(':')[0]}@{self.current}" for reference in self.images]

    def tag(self, reference: str, repository: str, tag: str) -> None:
        assert f"{repository}:{tag}".endswith(reference)

    def push(self, reference: str, _on_line: Callable[[str], None], *, login: object) -> str:
        assert login is None
        self.pushed.append(reference)
        self.images[reference] = self.current
        return self.current

    def digest(self, repository: str, tag: str) -> str:
        return self.images.get(f"{repository}:{tag}", "")

    def check_digest(self, repository: str, tag: str, digest: str) -> None:
        self.checked.append(f"{repository}:{tag}@{digest}")


@pytest.fixture
def with_kafka(declaration: Declaration) -> Declaration:
    kafka = Upstream(image=KAFKA, recipe="upstream/kafka")
    return declaration.model_copy(update={"upstream": {**declaration.upstream, "kafka": kafka}})


def mirror(store: Store, declaration: Declaration) -> dict[str, tuple[str, str]]:
    return mirroring.mirror(cast("Engine", store), declaration, cast("Registry", store))


def test_an_image_of_a_recipe_is_pushed_once_and_read_back(with_kafka: Declaration) -> None:
    store = Store()
    expected = {"kafka": ("localhost:5001/apache/kafka", "sha256:first")}
    assert mirror(store, with_kafka) == expected
    assert mirror(store, with_kafka) == expected
    assert store.pushed == [f"localhost:5001/{KAFKA}"]
    assert store.checked == [f"localhost:5001/{KAFKA}@sha256:first"]


def test_what_was_pushed_before_is_known_without_an_engine(with_kafka: Declaration) -> None:
    store = Store()
    registry = cast("Registry", store)
    assert mirroring.mirrored(with_kafka, registry) == {}
    mirror(store, with_kafka)
    assert mirroring.mirrored(with_kafka, registry) == mirror(store, with_kafka)
    store.address = "registry.example.com"
    store.images[f"{store.address}/{KAFKA}"] = "sha256:published"
    assert mirroring.mirrored(with_kafka, registry) == {}


def test_an_image_that_was_built_again_is_pushed_again(with_kafka: Declaration) -> None:
    store = Store()
    mirror(store, with_kafka)
    store.current = "sha256:second"
    assert mirror(store, with_kafka) == {"kafka": ("localhost:5001/apache/kafka", "sha256:second")}


@pytest.mark.parametrize("store", [Store(built=False), Store("registry.example.com")])
def test_published_images_and_other_registries_are_left_alone(
    with_kafka: Declaration, store: Store
) -> None:
    assert mirror(store, with_kafka) == {}
    assert store.pushed == []
