"""`inv verify` finds out where from its arguments, and leaves the rest to the step."""

from pathlib import Path
from typing import Any

import pytest

from delivery.core.declaration import Declaration
from delivery.core.errors import DeclarationError
from delivery.core.facts import Ref
from delivery.core.gitflow import decide
from delivery.core.plan import Images, Plan, PlannedChart
from delivery.steps import deploy as deploys
from delivery.steps.deploy import Options
from delivery.tasks import verify as tasks
from delivery.tools import files


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch, declaration: Declaration) -> list[tuple[str, str, Options]]:
    """What was verified: environment, context, options."""
    found: list[tuple[str, str, Options]] = []
    place: dict[str, Any] = {}

    def target(_declaration: Declaration, name: str, context: str = "") -> str:
        deploys.environment(declaration, name)
        place["context"] = context
        return name

    monkeypatch.setattr(files, "load_declaration", lambda: declaration)
    monkeypatch.setattr(deploys, "target", target)
    monkeypatch.setattr(deploys, "verify", lambda name, options: found.append((name, place["context"], options)))
    return found


def planned(declaration: Declaration, branch: str, folder: Path) -> str:
    """A plan's file for a branch."""
    decision = decide(Ref("branch", branch), declaration)
    plan = Plan("c" * 40, decision, (), Images(()), PlannedChart("r/platform-chart", "k", "", "1.0.0", "", "1.0.0"))
    file = folder / "plan.json"
    file.write_text(plan.to_json())
    return str(file)


def test_an_environment_is_verified(verified: list[tuple[str, str, Options]]) -> None:
    tasks.verify.body.__wrapped__(None, environment="staging", context="there", timeout="2m", rollback=False)
    assert verified == [("staging", "there", Options(120, 600, rollback=False))]


@pytest.mark.parametrize(
    ("branch", "environment"), [("develop", "develop"), ("release/1.2", "staging"), ("main", "production")]
)
def test_a_plan_says_where(
    verified: list[tuple[str, str, Options]], declaration: Declaration, tmp_path: Path, branch: str, environment: str
) -> None:
    tasks.verify.body.__wrapped__(None, plan=planned(declaration, branch, tmp_path))
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
        tasks.verify.body.__wrapped__(None, environment=environment, plan=planned(declaration, branch, tmp_path))
    assert verified == []


def test_nothing_told_is_an_error(verified: list[tuple[str, str, Options]]) -> None:
    with pytest.raises(DeclarationError, match="no environment is told"):
        tasks.verify.body.__wrapped__(None)
    assert verified == []


def test_a_file_that_is_no_plan_is_an_error(verified: list[tuple[str, str, Options]], tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text("{}")
    with pytest.raises(DeclarationError, match="it is none"):
        tasks.verify.body.__wrapped__(None, plan=str(tmp_path / "plan.json"))
    with pytest.raises(DeclarationError, match="read the plan"):
        tasks.verify.body.__wrapped__(None, plan=str(tmp_path / "nowhere.json"))
    assert verified == []
