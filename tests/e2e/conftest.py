"""Fixtures of the tests on a real cluster: the cluster, the platform and a client pod."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator

import pytest

from delivery.cluster import local_cluster, routes
from delivery.cluster.routes import not_blocked
from delivery.host import engines, programs
from delivery.project import files
from tests.e2e.cluster import Cluster
from tests.e2e.platform import (
    DEPLOY,
    Authority,
    Checkout,
    Client,
    Platform,
    copy_checkout,
    output_of,
    raise_limits,
)
from tests.e2e.traffic import client_pod

Say = Callable[[str], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("e2e", "the platform on a real cluster (tests/e2e)")
    group.addoption(
        "--keep",
        action="store_true",
        help="keep the cluster and the platform for the next run",
    )
    group.addoption("--load", type=float, help="requests a second (50); fewer on a busy machine")


# Tests of an unchanged platform come first, tests that kill it last.
ORDER = (
    "test_install",
    "test_security",
    "test_deploys",  # before anything but inv deploy changes the platform
    "test_environment",
    "test_guards",
    "test_soak",
    "test_placement",
    "test_component",
    "test_pipeline",
    "test_history",
    "test_no_request_fails",
    "test_chart_upgrades",
    "test_deploy",  # tests/integration, on the same cluster
    "test_rights",
    "test_crashes",
    "test_cluster",
)
# A container that ends at once is started again after a second, not after 10, 20, 40, …
RESTARTS = r"""
file=/var/lib/kubelet/config.yaml
grep -q 'maxContainerRestartPeriod: 1s' $file && exit
sed -i 's/^crashLoopBackOff: {}$/crashLoopBackOff: {maxContainerRestartPeriod: 1s}/' $file
grep -q 'maxContainerRestartPeriod: 1s' $file
echo 'featureGates: {KubeletCrashLoopBackOffMax: true}' >> $file
systemctl restart kubelet
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # A file that is not in ORDER runs after the platform is there and before it is killed.
    unknown = ORDER.index("test_crashes") - 0.5
    items.sort(key=lambda item: ORDER.index(item.path.stem) if item.path.stem in ORDER else unknown)


@pytest.fixture(scope="session")
def rate(pytestconfig: pytest.Config) -> float:
    """Requests a second; pytest knows the option only if the command line names this folder."""
    rate = pytestconfig.getoption("load", default=None)
    return 50.0 if rate is None else float(rate)


@pytest.fixture(scope="session")
def checkout(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Checkout]:
    """A copy of the project that declares a cluster of its own."""
    folder = tmp_path_factory.mktemp("checkout") / "project"
    checkout = copy_checkout(folder, engines.require().environment)
    yield checkout
    if not pytestconfig.getoption("keep", default=False):
        remove_cluster(checkout)


def remove_cluster(checkout: Checkout) -> None:
    """Remove the cluster; nothing of it is left: no node, route, note or context."""
    declaration = files.load_declaration(checkout.folder)
    cluster = local_cluster.open_cluster(engines.require(), declaration)
    output_of(checkout.inv("cluster.down"))
    assert cluster.engine.labelled(f"io.x-k8s.kind.cluster={cluster.name}") == []
    left = not_blocked(cluster.subnets, routes.read(cluster.engine, cluster.image))
    assert left == cluster.subnets
    assert cluster.engine.read_note(cluster.note) is None
    assert cluster.context not in checkout.kubeconfig.read_text()


@pytest.fixture(scope="session")
def platform(pytestconfig: pytest.Config, checkout: Checkout, say: Say) -> Platform:
    """The cluster and the platform, made by the tasks of a user.

    It comes up with the CPU limits of values-local.yaml, which are raised then: tests start pods
    often. With --keep they are raised before, since the platform may be there.
    """
    values = checkout.folder / "platform-chart" / "values-local.yaml"
    keep = pytestconfig.getoption("keep", default=False)
    if keep:
        raise_limits(values)
    tools = {name: programs.ensure(name) for name in ("kubectl", "helm")}
    cluster = Cluster(
        checkout.kubeconfig, "platform", programs=tools, environment=checkout.environment
    )
    outputs: dict[str, str] = {}
    say("inv cluster.up compiles the node image first if it is missing: 8 to 30 min")
    for name, task in (("cluster", ["cluster.up"]), ("deploy", DEPLOY)):
        since = time.monotonic()
        outputs[name] = output_of(checkout.inv(*task))
        say(f"inv {' '.join(task)}: {time.monotonic() - since:.0f} s")
        if name == "cluster":
            restart_at_once(cluster)
    if not keep:
        raise_limits(values)
        output_of(checkout.inv(*DEPLOY))
    return Platform(cluster, checkout, outputs)


def restart_at_once(cluster: Cluster) -> None:
    """Have the kubelets start a container again at once, whatever the number of its crashes."""
    for node in cluster.get("nodes"):
        cluster.shell(node["metadata"]["name"], "sh", "-euc", RESTARTS)


@pytest.fixture(scope="session")
def authority(platform: Platform) -> Authority:
    return Authority.of(platform)


@pytest.fixture(scope="session")
def client(platform: Platform, authority: Authority) -> Iterator[Client]:
    """A pod to send requests from, on the node that no test changes."""
    sleep = ["/usr/bin/python3", "-c", "import signal; signal.pause()"]
    with client_pod(platform, "e2e-client", sleep, {"ca.crt": authority.certificate}):
        yield Client(platform.cluster, "e2e-client")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the state of the cluster to the report of a failed test."""
    report = yield
    platform = getattr(item, "funcargs", {}).get("platform")
    if report.failed and platform is not None and call.when in {"setup", "call"}:
        try:
            report.sections.append(("the cluster", platform.cluster.describe()))
        except AssertionError as error:
            report.sections.append(("the cluster does not answer", str(error)))
    return report
