"""Fixtures for the tests of delivery/."""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from pytest_subprocess.process_dispatcher import ProcessDispatcher

from delivery.project import saved_settings
from delivery.project.declaration import Declaration, Environment, parse
from delivery.project.files import ROOT
from delivery.registry.client import Registry
from tests.registries import FakeRegistry, no_pause, serving

# The duration of an example depends on the machine.
settings.register_profile("no-deadline", settings(), deadline=None)
settings.load_profile("no-deadline")

_STARTED = time.monotonic()

# Higher than the id of any real process, which a test must not signal.
ProcessDispatcher._pid = 2**30

DECLARATION = """
name = "sample"
[registry]
address = "localhost:5001"
[build]
epoch = 1767225600
[upstream.debian]
image = "debian:trixie-slim"
recipe = "ops/upstream/debian"
[upstream.registry]
image = "registry:2.8.3"
recipe = "ops/upstream/registry"
[upstream.kind-node]
image = "kindest/node:v1.34.4"
recipe = "ops/upstream/kind-node"
[images.base-image]
context = "base-image"
base = "debian"
[images.api-rest]
context = "api-rest"
base = "base-image"
builder = "debian"
[chart]
folder = "platform-chart"
[subprojects.base-image]
folders = ["base-image"]
changelog = "base-image/CHANGELOG.md"
[subprojects.apps]
folders = ["api-rest"]
changelog = "api-rest/CHANGELOG.md"
after = ["base-image"]
[subprojects.platform-chart]
folders = ["platform-chart"]
changelog = "platform-chart/CHANGELOG.md"
after = ["apps"]
[gitflow]
develop = ["develop", "desenvolvimento"]
candidate = ["release/*", "hotfix/*"]
release = ["main", "master"]
[gitflow.deploys]
develop = "develop"
candidate = "staging"
release = "production"
[cluster]
node = "kind-node"
pods = "198.18.0.0/17"
services = "198.18.128.0/17"
[cluster.workers]
spot = { "shipay.com.br/capacity-type" = "spot" }
unlabelled = {}
[environments.develop]
contexts = ["develop"]
namespace = "platform"
values = "platform-chart/values-develop.yaml"
[environments.staging]
contexts = ["staging"]
namespace = "platform"
values = "platform-chart/values-staging.yaml"
[environments.production]
contexts = ["production"]
namespace = "platform"
values = "platform-chart/values-production.yaml"
confirm = true
"""
# Variables of a CI server or a user's shell that a test's own project must not read.
FOREIGN = (
    *saved_settings.PORTS.values(),
    saved_settings.NAME,
    saved_settings.REGISTRY,
    "BRANCH_NAME",
    "CHANGE_ID",
    "TAG_NAME",
    "GITHUB_REF",
    "CI_COMMIT_BRANCH",
    "CI_COMMIT_TAG",
    "CI_MERGE_REQUEST_IID",
    "BUILD_URL",
    "CI_PIPELINE_URL",
    "CI_JOB_URL",
    "CHANGE_AUTHOR",
    "STAGE_NAME",
    "DELIVERY_LEDGER_TOKEN",
    "DELIVERY_RESPONSIBLE",
    "DELIVERY_SIGNING_KEY",
    "DELIVERY_WEBHOOK",
)


def pytest_report_teststatus(
    report: pytest.TestReport, config: pytest.Config
) -> tuple[str, str, str] | None:
    """Print the time since the start after each test, in runs that list each test."""
    if config.get_verbosity() < 1 or report.when != "call" or not report.passed:
        return None
    minutes, seconds = divmod(round(time.monotonic() - _STARTED), 60)
    return "passed", ".", f"PASSED, {minutes} min {seconds} s so far"


@pytest.fixture
def declaration() -> Declaration:
    """The declaration of the sample project: two images, one based on the other."""
    return parse(DECLARATION, is_folder=lambda _path: True, is_file=lambda _path: True)


@pytest.fixture
def registry() -> Iterator[Registry]:
    """An empty registry."""
    with serving(FakeRegistry()) as (address, _):
        yield Registry(address, pause=no_pause)


@pytest.fixture
def with_previews(declaration: Declaration) -> Declaration:
    """The sample project with previews of feature/*."""
    return add_previews(declaration)


def add_previews(declaration: Declaration) -> Declaration:
    """The declaration with previews of feature/*."""
    environment = Environment(
        contexts=("kind-sample",), namespace="platform-preview", values="v", days=3
    )
    lines = declaration.gitflow.model_copy(
        update={"preview": ("feature/*",), "deploys": {"preview": "preview"}}
    )
    return declaration.model_copy(
        update={
            "gitflow": lines,
            "environments": {**declaration.environments, "preview": environment},
        }
    )


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """The folder of the sample project."""
    for name in (
        "base-image",
        "api-rest",
        "ops/upstream/debian",
        "ops/upstream/registry",
        "ops/upstream/kind-node",
        "platform-chart",
    ):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "Dockerfile").write_text("FROM scratch\n")
        (folder / "VERSION").write_text("0.1.0\n")
    for name in ("develop", "staging", "production"):
        (tmp_path / "platform-chart" / f"values-{name}.yaml").touch()
    return tmp_path


@pytest.fixture
def clone(sample: Path) -> Path:
    """The sample project as a clone with one commit on develop."""
    (sample / "platform-chart" / "Chart.yaml").write_text(
        "apiVersion: v2\nname: platform\nversion: 0.1.0\n"
    )
    (sample / "delivery.toml").write_text(DECLARATION)
    for arguments in (
        ("init", "--quiet", "--initial-branch=develop"),
        ("add", "."),
        ("commit", "--quiet", "--message=feat: all"),
    ):
        subprocess.run(
            ["git", "-C", str(sample), "-c", "user.name=a", "-c", "user.email=a@b", *arguments],
            check=True,
        )
    return sample


@pytest.fixture(scope="session", autouse=True)
def _own_records(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep events of tests out of the user's outbox and of a local ledger."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DELIVERY_OUTBOX", str(tmp_path_factory.mktemp("outbox")))
        # The port of the discard service, where nothing listens.
        patch.setenv("DELIVERY_LEDGER", "http://127.0.0.1:9")
        yield


@pytest.fixture(autouse=True)
def _own_cache(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """Keep unit tests out of the user's folders and settings; tests on an engine use them."""
    if request.node.get_closest_marker("engine"):
        return
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
    for name in (
        "DELIVERY_REGISTRY_USERNAME",
        "DELIVERY_BUILD_CA",
        "DELIVERY_ECHO",
        "DOCKER_HOST",
        *FOREIGN,
    ):
        monkeypatch.delenv(name, raising=False)
    # Ignore the settings that this clone has saved.
    read = saved_settings._read
    monkeypatch.setattr(saved_settings, "_read", lambda root: {} if root == ROOT else read(root))


@pytest.fixture(scope="session")
def say(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Print at once even while pytest captures output: for long tests."""
    manager = pytestconfig.pluginmanager.getplugin("capturemanager")

    def say(text: str) -> None:
        if manager is None:
            print(text, flush=True)
            return
        with manager.global_and_fixture_disabled():
            print(f"\n{text}", end="", flush=True)

    return say
