"""A clone to record from, and a ledger that accepts everything."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from delivery.records.events import Details, Record
from tests.conftest import DECLARATION, FOREIGN
from tests.registries import Answer, serving
from tests.repositories import Repository, environment

BUILD = "https://ci.example.com/job/delivery/job/develop/7/"


def record(
    stage: str, component: str = "api-rest", status: str = "started", **details: Any
) -> Record:
    """A record of a component, with these details."""
    return Record(
        component=component,
        version="1.0.0",
        environment="develop",
        responsible="Zoë",
        stage=stage,
        status=status,
        details=Details(**details),
    )


@pytest.fixture
def no_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An outbox of the test's own, and a ledger that does not answer."""
    for name in [*(name for name in os.environ if name.startswith("GIT_")), *FOREIGN]:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DELIVERY_OUTBOX", str(tmp_path / "outbox"))
    monkeypatch.setenv("DELIVERY_LEDGER", "http://localhost:1")


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of a pipeline."""
    monkeypatch.setenv("BUILD_URL", BUILD)


@pytest.fixture
def sample(tmp_path: Path, no_ledger: None) -> Repository:
    """A clone with everything at 1.0.0, tagged, on develop with a feature."""
    del no_ledger
    made = Repository(tmp_path / "sample")
    made.write("base-image/VERSION", "1.0.0\n")
    made.write("api-rest/pyproject.toml", '[project]\nname = "api-rest"\nversion = "1.0.0"\n')
    made.write("platform-chart/Chart.yaml", "apiVersion: v2\nname: platform\nversion: 1.0.0\n")
    for name in ("debian", "registry", "kind-node"):
        made.write(f"ops/upstream/{name}/Dockerfile", "FROM scratch\n")
    for name in ("develop", "staging", "production"):
        made.write(f"platform-chart/values-{name}.yaml", "{}\n")
    made.write("delivery.toml", DECLARATION)
    made.write(".gitignore", ".delivery\n")
    made.commit("feat: begin")
    made.tag("base-image-v1.0.0", "apps-v1.0.0", "platform-chart-v1.0.0")
    made.branch("develop")
    made.commit("feat: more", "api-rest/src/a")
    return made


class FakeLedger:
    """A ledger that accepts each event under its key."""

    def __init__(self) -> None:
        self.status = 202
        self.accepted: dict[str, dict[str, Any]] = {}
        self.stored: list[dict[str, Any]] = []
        self.tokens: set[str] = set()

    def __call__(self, method: str, _path: str, headers: dict[str, str], body: bytes) -> Answer:
        self.tokens.add(headers.get("Authorization", ""))
        if method == "GET":
            return 200, {}, json.dumps({"deployments": self.stored, "next": None}).encode()
        if self.status == 202:
            self.accepted.setdefault(headers["Idempotency-Key"], json.loads(body))
        return self.status, {}, b"{}"


@pytest.fixture
def ledger(no_ledger: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeLedger]:
    """The ledger that DELIVERY_LEDGER names."""
    del no_ledger
    fake = FakeLedger()
    with serving(fake) as (address, _):
        monkeypatch.setenv("DELIVERY_LEDGER", f"http://{address}")
        yield fake
