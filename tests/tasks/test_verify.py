"""`inv verify` finds out where from its arguments, and leaves the rest to the step."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from delivery.build.plan import Images, Plan, PlannedChart
from delivery.deploy import serving, upgrade
from delivery.deploy.deployment import Revision
from delivery.deploy.upgrade import Options
from delivery.errors import DeclarationError, DeployError
from delivery.project import files
from delivery.project.declaration import Declaration
from delivery.project.facts import Ref
from delivery.project.gitflow import decide
from delivery.records import outbox
from delivery.release.contents import Contents
from delivery.tasks import verify


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch, declaration: Declaration) -> list[tuple[str, str, Options]]:
    """What was verified: environment, context, options."""
    found: list[tuple[str, str, Options]] = []
    place: dict[str, Any] = {}

    def target(_declaration: Declaration, name: str, context: str = "") -> str:
        upgrade.environment(declaration, name)
        place["context"] = context
        return name

    monkeypatch.setattr(files, "load_declaration", lambda: declaration)
    monkeypatch.setattr(upgrade, "target", target)

    def verify(name: str, options: Options, **_how: object) -> None:
        found.append((name, place["context"], options))

    monkeypatch.setattr(upgrade, "verify", verify)
    return found


def planned(declaration: Declaration, branch: str, folder: Path) -> str:
    """A plan's file for a branch."""
    decision = decide(Ref("branch", branch), declaration)
    plan = Plan("c" * 40, decision, (), Images(()), PlannedChart("r/platform-chart", "k", "", "1.0.0", "", "1.0.0"))
    file = folder / "plan.json"
    file.write_text(plan.to_json())
    return str(file)


def test_an_environment_is_verified(verified: list[tuple[str, str, Options]]) -> None:
    verify.verify.body.__wrapped__(None, environment="staging", context="there", timeout="2m", rollback=False)
    assert verified == [("staging", "there", Options(120, 600, rollback=False))]


@pytest.mark.parametrize(
    ("branch", "environment"), [("develop", "develop"), ("release/1.2", "staging"), ("main", "production")]
)
def test_a_plan_says_where(
    verified: list[tuple[str, str, Options]], declaration: Declaration, tmp_path: Path, branch: str, environment: str
) -> None:
    verify.verify.body.__wrapped__(None, plan=planned(declaration, branch, tmp_path))
    assert [where for where, *_ in verified] == [environment]


@pytest.mark.parametrize(
    ("branch", "environment", "says"),
    [
        ("feature/x", "", "it is deployed nowhere"),
        ("develop", "production", "the plan"),
    ],
)
def test_a_plan_that_says_something_else_is_an_error(
    verified: list[tuple[str, str, Options]],
    declaration: Declaration,
    tmp_path: Path,
    branch: str,
    environment: str,
    says: str,
) -> None:
    with pytest.raises(DeclarationError, match=says):
        verify.verify.body.__wrapped__(None, environment=environment, plan=planned(declaration, branch, tmp_path))
    assert verified == []


def test_nothing_told_is_an_error(verified: list[tuple[str, str, Options]]) -> None:
    with pytest.raises(DeclarationError, match="no environment is told"):
        verify.verify.body.__wrapped__(None)
    assert verified == []


def test_a_file_that_is_no_plan_is_an_error(verified: list[tuple[str, str, Options]], tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text("{}")
    with pytest.raises(DeclarationError, match="it is none"):
        verify.verify.body.__wrapped__(None, plan=str(tmp_path / "plan.json"))
    with pytest.raises(DeclarationError, match="read the plan"):
        verify.verify.body.__wrapped__(None, plan=str(tmp_path / "nowhere.json"))
    assert verified == []


@pytest.fixture
def fails(
    monkeypatch: pytest.MonkeyPatch,
    verified: list[tuple[str, str, Options]],
    tmp_path: Path,
) -> DeployError:
    """A verification that brings revision 1 back, which has another api-rest than revision 2."""
    error = DeployError("test: no greeting; revision 1 serves on", rolled_back=True)

    def verify(
        name: Any,  # noqa: ANN401
        options: Options,
        *,
        taken_back: Callable[[Revision, Revision], None],
    ) -> None:
        verified.append((name, "", options))
        one, two = (Revision(number, "deployed", datetime.now(UTC), "", "") for number in (1, 2))
        taken_back(two, one)
        raise error

    versions = {
        1: Contents({"api-rest": "1.0.0", "platform-chart": "1.0.0"}),
        2: Contents({"api-rest": "1.1.0", "platform-chart": "1.0.0"}, {"api-rest": "sha256:b"}),
    }
    target = SimpleNamespace(name="staging")
    monkeypatch.setattr(upgrade, "target", lambda *_: target)
    monkeypatch.setattr(upgrade, "verify", verify)
    monkeypatch.setattr(serving, "of_revision", lambda *of: versions[of[2].number])
    monkeypatch.setenv("DELIVERY_OUTBOX", str(tmp_path / "outbox"))
    monkeypatch.setenv("DELIVERY_LEDGER", "http://localhost:1")
    return error


def recorded() -> list[tuple[str, ...]]:
    names = ("component", "version", "environment", "stage", "status")
    return [tuple(str(one.event[name]) for name in names) for one in outbox.waiting()]


def test_by_hand_a_version_that_is_taken_back_is_recorded(fails: DeployError) -> None:
    with pytest.raises(DeployError, match="no greeting") as caught:
        verify.verify.body.__wrapped__(None, environment="staging")
    assert caught.value is fails
    assert recorded() == [
        ("api-rest", "1.1.0", "staging", "verify", "started"),
        ("api-rest", "1.1.0", "staging", "verify", "failed"),
        ("api-rest", "1.1.0", "staging", "verify", "rolled-back"),
    ]


@pytest.mark.usefixtures("fails")
def test_in_a_pipeline_it_is_the_stage_that_records_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUILD_URL", "https://ci.example.com/job/delivery/7/")
    with pytest.raises(DeployError):
        verify.verify.body.__wrapped__(None, environment="staging")
    assert recorded() == []
