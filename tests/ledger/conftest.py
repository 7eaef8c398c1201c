"""Fixtures of the tests that kill and stop the platform."""

import random
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest

from delivery.host import engines
from delivery.platform.lifecycle import released
from tests.ledger.stack import Stack, running

Say = Callable[[str], None]


# Brings up a platform with these variables in both apps, and these services.
Bring = Callable[[Mapping[str, str], Sequence[str]], AbstractContextManager[Stack]]


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
    """The apps' images of this clone's last release."""
    release = released()
    if release is None:
        pytest.fail("no image of the apps: `./run inv push` publishes them")
    return {app: release.images[app].pinned for app in ("api-rest", "async-worker")}


@pytest.fixture(scope="session")
def bring(images: Mapping[str, str]) -> Bring:
    return partial(running, engines.require(), images)


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
