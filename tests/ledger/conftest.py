"""What the tests that kill and stop the platform share."""

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
    """Brings services up with variables for the apps among them."""

    def __call__(
        self, environment: Mapping[str, str], services: Sequence[str] = SERVICES
    ) -> AbstractContextManager[Stack]: ...


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("ledger", "chaos and shutdown of the ledger (tests/ledger)")
    group.addoption("--events", type=int, help="events that the storm has accepted")
    group.addoption("--kills", type=int, help="how often the storm kills")
    group.addoption("--pause", type=float, help="seconds that Kafka and the database are frozen")
    group.addoption("--rate", type=float, help="events a second at most")
    group.addoption(
        "--seed", type=int, help="what is killed when; printed, so that it can be given again"
    )
    group.addoption(
        "--keyless", type=float, help="share of clients without an Idempotency-Key, 0 to 1"
    )
    group.addoption("--rounds", type=int, help="how many instances are told to stop")


def option(config: pytest.Config, name: str, default: float) -> float:
    """What the command line says; these options are only known to a run that names this folder."""
    told = config.getoption(name, default=None)
    return default if told is None else float(told)


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> int:
    return int(option(pytestconfig, "seed", random.randrange(1_000_000)))  # noqa: S311  guards nothing


@pytest.fixture(scope="session")
def images() -> dict[str, str]:
    """The apps' images: the variables' that the compose file reads, else what was published from this clone last."""
    release = released()
    pinned = {name: image.pinned for name, image in release.images.items()} if release else {}
    found = {
        app: os.environ.get(f"{app.upper().replace('-', '_')}_IMAGE") or pinned.get(app, "")
        for app in ("api-rest", "async-worker")
    }
    missing = [app for app, image in found.items() if not image]
    if missing:
        pytest.fail(f"no image of {', '.join(missing)}: `./run inv push` publishes them")
    return found


@pytest.fixture(scope="session")
def bring(images: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory, say: Say) -> Bring:
    """Brings up a platform of its own, with variables for its apps."""

    def bring(
        environment: Mapping[str, str], services: Sequence[str] = SERVICES
    ) -> AbstractContextManager[Stack]:
        name = f"ledger-test-{uuid.uuid4().hex[:8]}"
        say(f"bring up {name}: {', '.join(images.values())}")
        return running(
            engines.require(),
            name,
            tmp_path_factory.mktemp("stack"),
            images=images,
            environment=environment,
            services=services,
        )

    return bring


@pytest.fixture(scope="session")
def stack(bring: Bring) -> Iterator[Stack]:
    """The platform as it is shipped, one instance of each app, for tests that leave it running."""
    with bring({}, ("api-rest", "async-worker")) as stack:
        for app in ("api-rest", "async-worker"):
            stack.wait_ready(app)
        yield stack


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a run leaves its history, and its containers' logs when something is wrong."""
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def run() -> str:
    """The name of a run: what its components begin with."""
    return f"run-{uuid.uuid4().hex[:8]}"
