"""What the proofs on a real cluster share: one cluster, one deploy of the platform, and a client pod."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator

import pytest

from delivery.host import engines, programs
from tests.e2e.cluster import Cluster
from tests.e2e.platform import (
    API,
    DEPLOY,
    Authority,
    Checkout,
    Client,
    Platform,
    copy_checkout,
    done,
)
from tests.e2e.traffic import client_pod

Say = Callable[[str], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("e2e", "the platform on a real cluster (tests/e2e)")
    group.addoption(
        "--keep",
        action="store_true",
        help="leave cluster and platform; the next run goes on with them",
    )
    group.addoption(
        "--load", type=float, help="requests a second, for a machine that has other work, too (200)"
    )


# What needs a platform that nothing was done to comes first, what kills it last.
ORDER = (
    "test_cluster",  # tests/integration: a cluster of its own, gone before there is another
    "test_install",
    "test_security",
    "test_deploys",  # before anything is changed by another hand than inv deploy's
    "test_placement",
    "test_component",
    "test_pipeline",
    "test_story",
    "test_no_request_fails",
    "test_deploy",  # tests/integration: what the task does, on the same cluster
    "test_rights",
    "test_crashes",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # One that nobody put in its place comes before what kills the platform, not before there is one.
    unknown = len(ORDER) - 1.5
    items.sort(key=lambda item: ORDER.index(item.path.stem) if item.path.stem in ORDER else unknown)


@pytest.fixture(scope="session")
def rate(pytestconfig: pytest.Config) -> float:
    """Requests a second; these options are only known to a run that names this folder."""
    told = pytestconfig.getoption("load", default=None)
    return 200.0 if told is None else float(told)


@pytest.fixture(scope="session")
def checkout(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Checkout]:
    """A copy of the project that declares a cluster of its own, so that nobody's is disturbed."""
    folder = tmp_path_factory.mktemp("checkout") / "project"
    made = copy_checkout(folder, engines.require().environment)
    yield made
    if not pytestconfig.getoption("keep", default=False):
        done(made.inv("cluster.down"))


@pytest.fixture(scope="session")
def platform(checkout: Checkout, say: Say) -> Platform:
    """The cluster and the platform on it, made as a user makes them."""
    stages: dict[str, float] = {}
    outputs: dict[str, str] = {}
    for name, task in (("cluster", ["cluster.up"]), ("deploy", DEPLOY)):
        since = time.monotonic()
        outputs[name] = done(checkout.inv(*task))
        stages[name] = time.monotonic() - since
        say(f"inv {' '.join(task)}: {stages[name]:.0f} s")
    found = {name: programs.ensure(name) for name in ("kubectl", "helm")}
    cluster = Cluster(
        checkout.kubeconfig, "platform", programs=found, environment=checkout.environment
    )
    return Platform(cluster, checkout, stages, outputs)


@pytest.fixture(scope="session")
def authority(platform: Platform) -> Authority:
    return Authority.of(platform)


@pytest.fixture(scope="session")
def client(platform: Platform, authority: Authority) -> Iterator[Client]:
    """A pod to ask questions from, on the node that nothing is done to."""
    (node,) = platform.cluster.nodes()
    sleep = ["/usr/bin/python3", "-c", "import signal; signal.pause()"]
    image, files = platform.image(API), {"ca.crt": authority.certificate}
    with client_pod(platform.cluster, "e2e-client", image, sleep, files, node) as name:
        yield Client(platform.cluster, name)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where a proof fails, what the cluster looks like belongs to the report."""
    report = yield
    platform = getattr(item, "funcargs", {}).get("platform")
    if report.failed and platform is not None and call.when in {"setup", "call"}:
        try:
            report.sections.append(("the cluster", platform.cluster.describe()))
        except AssertionError as error:
            report.sections.append(("the cluster does not answer", str(error)))
    return report
