"""Images that no node can pull are pushed beside ours, once."""

from collections.abc import Callable
from typing import cast

import pytest

from delivery.errors import RegistryError
from delivery.host import upstreams
from delivery.host.docker_api import Engine
from delivery.project.declaration import Declaration, Upstream
from delivery.registry import mirroring
from delivery.registry.client import Registry

KAFKA = "apache/kafka:4.1.1"


class Store:
    """An engine and a registry in one: pushes make digests."""

    def __init__(
        self, address: str = "localhost:5001", *, built: bool = True, broken: bool = False
    ) -> None:
        self.address = address
        self.labels = {upstreams.RECIPE_KEY: "k"} if built else {}
        self.broken = broken
        self.pushed: list[str] = []
        self.now = "sha256:one"
        self.held: dict[str, str] = {}

    def image_labels(self, _reference: str) -> dict[str, str]:
        return self.labels

    def image_digests(self, _reference: str) -> list[str]:
        return [f"{reference.rpartition(':')[0]}@{self.now}" for reference in self.held]

    def tag(self, reference: str, repository: str, tag: str) -> None:
        assert f"{repository}:{tag}".endswith(reference)

    def push(self, reference: str, _on_line: Callable[[str], None], *, login: object) -> str:
        assert login is None
        self.pushed.append(reference)
        self.held[reference] = self.now
        return "sha256:other" if self.broken else self.now

    def digest(self, repository: str, tag: str) -> str:
        return self.held.get(f"{repository}:{tag}", "")


@pytest.fixture
def sample(declaration: Declaration) -> Declaration:
    """The small declaration with Kafka."""
    kafka = Upstream(image=KAFKA, recipe="upstream/kafka")
    return declaration.model_copy(update={"upstream": {**declaration.upstream, "kafka": kafka}})


def mirror(store: Store, sample: Declaration) -> dict[str, tuple[str, str]]:
    return mirroring.mirror(cast("Engine", store), sample, cast("Registry", store))


def test_pushes_what_is_built_here_once(sample: Declaration) -> None:
    store = Store()
    wanted = {"kafka": ("localhost:5001/apache/kafka", "sha256:one")}
    assert mirror(store, sample) == wanted
    assert mirror(store, sample) == wanted
    assert store.pushed == [f"localhost:5001/{KAFKA}"]


def test_one_that_was_built_anew_is_pushed_anew(sample: Declaration) -> None:
    store = Store()
    mirror(store, sample)
    store.now = "sha256:two"
    assert mirror(store, sample) == {"kafka": ("localhost:5001/apache/kafka", "sha256:two")}


def test_a_published_image_is_the_nodes_to_pull(sample: Declaration) -> None:
    store = Store(built=False)
    assert mirror(store, sample) == {}
    assert store.pushed == []


def test_no_other_registry_gets_somebody_elses_images(sample: Declaration) -> None:
    assert mirror(Store("registry.example.com"), sample) == {}


def test_a_push_that_the_registry_does_not_confirm_is_an_error(sample: Declaration) -> None:
    with pytest.raises(RegistryError, match="holds sha256:one, sha256:other was sent"):
        mirror(Store(broken=True), sample)
