"""Images that no node can pull are pushed to the local registry, once."""

from collections.abc import Callable, Iterable
from typing import cast

import pytest

from delivery.host import upstreams
from delivery.host.docker_api import Engine
from delivery.project.declaration import Declaration, Upstream
from delivery.registry import mirroring
from delivery.registry.client import Registry

KAFKA = "apache/kafka:4.1.1"
REPOSITORY = "localhost:5001/apache/kafka"
DIGEST = "sha256:pushed"


class Store:
    """An engine with the image of Kafka, and a registry."""

    def __init__(self, address: str = "localhost:5001", *, built: bool = True) -> None:
        self.address = address
        self.labels = {upstreams.RECIPE_KEY: "k"} if built else {}
        self.asked = 0
        self.pushed: list[str] = []
        self.checked: list[str] = []

    def image_labels(self, _reference: str) -> dict[str, str]:
        return self.labels

    def tag(self, reference: str, repository: str, _tag: str) -> None:
        assert (reference, repository) == (KAFKA, REPOSITORY)

    def push(self, reference: str, _on_line: Callable[[str], None], *, login: object) -> str:
        assert login is None
        self.pushed.append(reference)
        return DIGEST

    def digests(self, references: Iterable[tuple[str, str]]) -> list[str]:
        return [DIGEST if ":".join(pair) in self.pushed else "" for pair in references]

    def check_digest(self, repository: str, tag: str, digest: str) -> None:
        self.checked.append(f"{repository}:{tag}@{digest}")


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The key of Kafka's recipe, which a test may change."""
    keys = {"kafka": "first"}
    monkeypatch.setattr(upstreams, "recipe_key", lambda _declaration, name: keys[name])
    monkeypatch.setattr(upstreams, "ensure", lambda _engine, _declaration, names: names)
    return keys


@pytest.fixture
def with_kafka(declaration: Declaration) -> Declaration:
    kafka = Upstream(image=KAFKA, recipe="upstream/kafka")
    return declaration.model_copy(update={"upstream": {**declaration.upstream, "kafka": kafka}})


def mirror(store: Store, declaration: Declaration) -> dict[str, tuple[str, str]]:
    def engine() -> Engine:
        store.asked += 1
        return cast("Engine", store)

    return mirroring.mirror(engine, declaration, cast("Registry", store))


@pytest.mark.usefixtures("key")
def test_an_image_of_a_recipe_is_pushed_once_and_read_back(with_kafka: Declaration) -> None:
    store = Store()
    registry = cast("Registry", store)
    assert mirroring.mirrored(with_kafka, registry) == {}
    expected = {"kafka": (REPOSITORY, DIGEST)}
    assert mirror(store, with_kafka) == expected
    assert store.checked == [f"{REPOSITORY}:first@{DIGEST}"]
    store.asked = 0
    assert mirror(store, with_kafka) == expected
    assert mirroring.mirrored(with_kafka, registry) == expected
    assert (store.asked, len(store.pushed)) == (0, 1)


def test_an_image_of_a_changed_recipe_is_pushed_again(
    with_kafka: Declaration, key: dict[str, str]
) -> None:
    store = Store()
    mirror(store, with_kafka)
    key["kafka"] = "second"
    assert mirroring.mirrored(with_kafka, cast("Registry", store)) == {}
    mirror(store, with_kafka)
    assert store.pushed == [f"{REPOSITORY}:first", f"{REPOSITORY}:second"]


@pytest.mark.usefixtures("key")
def test_another_registry_asks_no_engine(with_kafka: Declaration) -> None:
    store = Store("registry.example.com")
    assert mirror(store, with_kafka) == {}
    assert store.asked == 0


@pytest.mark.usefixtures("key")
def test_a_published_image_is_left_alone(with_kafka: Declaration) -> None:
    store = Store(built=False)
    assert mirror(store, with_kafka) == {}
    assert store.pushed == []
