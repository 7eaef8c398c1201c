"""A namespace where revision 1 is deployed, and a clone with a chart."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from delivery import prompt
from delivery.deploy import follow, inventory, locked_target
from delivery.deploy.lock import Lock
from tests.conftest import FOREIGN
from tests.deploy.cluster import OLD, Cluster, Terminal


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No registry, no pipeline, and a ledger that does not answer."""
    for name in FOREIGN:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DELIVERY_OUTBOX", str(tmp_path / "outbox"))
    monkeypatch.setenv("DELIVERY_LEDGER", "http://localhost:1")
    monkeypatch.setattr(inventory, "is_reachable", lambda _address: False)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """A namespace where revision 1 is deployed, unchanged and ready."""
    made = Cluster()
    made.add("deployed", OLD)
    made.live_objects = made.dry_run("", "")
    made.managers.clear()

    @contextmanager
    def acquire(*_arguments: object, **_options: object) -> Iterator[Lock]:
        made.lock = Lock("platform-deploy", made.dead_holder)
        yield made.lock

    monkeypatch.setattr(locked_target, "acquire", acquire)
    monkeypatch.setattr(follow, "report", lambda *_: made.done.append("report"))
    monkeypatch.setattr(follow.Watch, "check", lambda _self: True)
    return made


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """No terminal, until it answers."""
    made = Terminal()
    monkeypatch.setattr(prompt, "is_interactive", lambda: made.is_open)
    monkeypatch.setattr("builtins.input", made.read)
    return made


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A clone with a chart."""
    (tmp_path / "platform-chart").mkdir()
    (tmp_path / "platform-chart" / "values-local.yaml").touch()
    return tmp_path
