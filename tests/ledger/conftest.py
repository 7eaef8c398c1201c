"""Fixtures of the tests that kill and stop the platform."""

import os
import random
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import pytest

from delivery.host import engines
from delivery.platform.lifecycle import released
from tests.ledger.stack import SERVICES, Stack, running

Say = Callable[[str], None]


class Bring(Protocol):
    """Brings services up with these variables in both apps."""

    def __call__(
        self, environment: Mapping[str, str], services: Sequence[str] = SERVICES
    ) -> AbstractContextManager[Stack]: ...


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("ledger", "chaos and shutdown of the ledger (tests/ledger)")
    group.addoption("--events", type=int, help="how many events the API accepts")
    group.addoption("--kills", type=int, help="how many times a container is killed")
    group.addoption("--rate", type=float, help="events a second at most")
    group.addoption("--seed", type=int, help="decides what is killed when; it is printed")
    group.addoption("--rounds", type=int, help="how many instances are stopped")


def option(config: pytest.Config, name: str, default: float) -> float:
    """An option's value; pytest knows these options only if the command line names this folder."""
    value = config.getoption(name, default=None)
    return default if value is None else float(value)


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> int:
    return int(option(pytestconfig, "seed", random.randrange(1_000_000)))  # noqa: S311  no secret


@pytest.fixture(scope="session")
def images() -> dict[str, str]:
    """The apps' images: from the compose file's variables, else the last ones of this clone."""
    release = released()
    pinned = {name: image.pinned for name, image in release.images.items()} if release else {}
    images = {
        app: os.environ.get(f"{app.upper().replace('-', '_')}_IMAGE") or pinned.get(app, "")
        for app in ("api-rest", "async-worker")
    }
    missing = [app for app, image in images.items() if not image]
    if missing:
        pytest.fail(f"no image of {', '.join(missing)}: `./run inv push` publishes them")
    return images


@pytest.fixture(scope="session")
def bring(images: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory, say: Say) -> Bring:
    """Brings up a platform for one module."""

    def bring(
        environment: Mapping[str, str], services: Sequence[str] = SERVICES
    ) -> AbstractContextManager[Stack]:
        say(f"bring up {', '.join(images.values())}")
        return running(
            engines.require(),
            tmp_path_factory.mktemp("stack"),
            images=images,
            environment=environment,
            services=services,
        )

    return bring


@pytest.fixture(scope="session")
def stack(bring: Bring) -> Iterator[Stack]:
    """The platform as it is shipped, one instance of each app; tests leave it running."""
    with bring({}, ("api-rest", "async-worker")) as stack:
        for app in ("api-rest", "async-worker"):
            stack.wait_ready(app)
        yield stack


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run's requests and its containers' logs."""
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def run() -> str:
    """The name of a run: the prefix of its components."""
    return f"run-{uuid.uuid4().hex[:8]}"
