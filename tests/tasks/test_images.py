"""`inv plan` says one thing alone where it is asked for that, and writes what --plan reads."""

import json
from pathlib import Path
from typing import Any

import pytest

from delivery.build import building, planning
from delivery.build.plan import Images, Plan, PlannedChart
from delivery.errors import DeclarationError, Problem, RegistryError
from delivery.host import engines
from delivery.platform import lifecycle
from delivery.project import files, gather
from delivery.project.declaration import Declaration
from delivery.project.facts import Ref
from delivery.project.gitflow import decide
from delivery.registry import local_registry
from delivery.registry.layers import Layer
from delivery.release import preflight
from delivery.release.released import Release, ReleasedPart
from delivery.tasks import images


@pytest.fixture(autouse=True)
def _project(monkeypatch: pytest.MonkeyPatch, declaration: Declaration) -> None:
    monkeypatch.setattr(files, "load_declaration", lambda: declaration)
    monkeypatch.setattr(
        gather, "load_decision", lambda told, _root, branch: decide(Ref("branch", branch), told)
    )
    monkeypatch.setattr(images, "is_reachable", lambda _address: False)


def planned(monkeypatch: pytest.MonkeyPatch, declaration: Declaration, **what: Any) -> Plan:  # noqa: ANN401
    """Have the plan of this clone be one of develop, without images; more fields of it as told."""
    chart = PlannedChart("r/platform-chart", "k", "", "1.0.0", "", "1.0.0")
    plan = Plan(
        "c" * 40, decide(Ref("branch", "develop"), declaration), (), Images(()), chart, **what
    )
    monkeypatch.setattr(preflight, "checked_plan", lambda *_arguments: plan)
    return plan


@pytest.mark.parametrize(
    ("branch", "pushes", "environment", "approval"),
    [
        ("feature/x", "false", "", "false"),
        ("develop", "true", "develop", "false"),
        ("release/1.2", "true", "staging", "false"),
        ("main", "true", "production", "true"),
    ],
)
def test_one_thing_is_said_alone(
    capsys: pytest.CaptureFixture[str], branch: str, pushes: str, environment: str, approval: str
) -> None:
    for what, said in (("pushes", pushes), ("environment", environment), ("approval", approval)):
        images.plan.body.__wrapped__(None, branch=branch, say=what)
        assert capsys.readouterr().out == f"{said}\n"


def test_another_thing_is_an_error() -> None:
    with pytest.raises(DeclarationError) as caught:
        images.plan.body.__wrapped__(None, say="weather")
    assert caught.value.hint == "one of pushes, environment, approval"


def test_the_file_is_what_plan_reads(
    monkeypatch: pytest.MonkeyPatch, declaration: Declaration, tmp_path: Path
) -> None:
    plan = planned(monkeypatch, declaration)
    file = tmp_path / "plan.json"
    images.plan.body.__wrapped__(None, file=str(file))
    assert planning.read(file) == plan
    planning.check_unchanged(file, plan)


def test_a_file_that_cannot_be_written_is_an_error(
    monkeypatch: pytest.MonkeyPatch, declaration: Declaration, tmp_path: Path
) -> None:
    planned(monkeypatch, declaration)
    (tmp_path / "plain").write_text("")
    with pytest.raises(DeclarationError, match="cannot write the plan"):
        images.plan.body.__wrapped__(None, file=str(tmp_path / "plain" / "plan.json"))
    with pytest.raises(DeclarationError, match="No such file or directory") as caught:
        images.plan.body.__wrapped__(None, file=str(tmp_path / "no where" / "plan.json"))
    assert caught.value.hint.startswith(
        f"create its folder by `mkdir -p '{tmp_path / 'no where'}'`"
    )
    assert not (tmp_path / "no where").exists()


PROBLEMS = (Problem("one thing", "`do this`", "seen", "registry"), Problem("another", "`do that`"))


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch, declaration: Declaration) -> Plan:
    """A plan that is not to be published, for two reasons."""
    images._looked.cache_clear()
    return planned(
        monkeypatch, declaration, problems=PROBLEMS, unchecked=("the weather: no window",)
    )


def test_problems_have_a_section_and_the_exit_code_of_the_refusal(
    stopped: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RegistryError, match=r"cannot publish 1\.0\.0: 2 things are in the way"):
        images.plan.body.__wrapped__(None)
    said = capsys.readouterr().out.splitlines()
    assert "not checked: the weather: no window" in said
    lines = ["one thing", "  seen", "  hint: `do this`", "another", "  hint: `do that`"]
    assert said[said.index("problems") :] == ["problems", *(f"  {line}" for line in lines)]
    with pytest.raises(RegistryError):
        images.plan.body.__wrapped__(None, json_=True)
    assert [one["hint"] for one in json.loads(capsys.readouterr().out)["problems"]] == [
        "`do this`",
        "`do that`",
    ]
    assert stopped.problems == PROBLEMS


@pytest.mark.parametrize("task", ["build", "push"])
@pytest.mark.parametrize("answers", [True, False])
def test_nothing_is_started_or_built_for_what_is_refused(
    stopped: Plan, monkeypatch: pytest.MonkeyPatch, task: str, *, answers: bool
) -> None:
    def unexpected(*_arguments: object) -> None:
        raise AssertionError("nothing is started or built")

    monkeypatch.setattr(images, "is_reachable", lambda _address: answers)
    monkeypatch.setattr(
        local_registry, "connect", (lambda _declaration: None) if answers else unexpected
    )
    monkeypatch.setattr(building, "build", unexpected)
    monkeypatch.setattr(engines, "ensure", unexpected)
    with pytest.raises(RegistryError, match="2 things are in the way") as caught:
        getattr(images, task).body.__wrapped__(None)
    assert "  hint: `do that`" in caught.value.details.splitlines()
    assert stopped.decision.pushes


@pytest.mark.parametrize("json_", [False, True])
def test_sizes_are_shown_by_layer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, json_: bool
) -> None:
    layers = [
        Layer("sha256:" + "a" * 64, 1_000_000, 3_000_000),
        Layer("sha256:" + "b" * 64, 500_000, 1_500_000),
    ]
    image = ReleasedPart("localhost:5001/api-rest", "k", "sha256:" + "c" * 64)
    monkeypatch.setattr(lifecycle, "released", lambda: Release({"api-rest": image}))
    monkeypatch.setattr(images, "read_sizes", lambda *_: layers)
    images.sizes.body.__wrapped__(None, json_=json_)
    printed = capsys.readouterr().out
    if json_:
        assert json.loads(printed) == {"api-rest": [vars(layer) for layer in layers]}
    else:
        assert "api-rest 4.5 MB 1.5 MB aaaaaaaaaaaa bbbbbbbbbbbb" in " ".join(printed.split())


def test_before_a_release_there_are_no_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "released", lambda: None)
    with pytest.raises(DeclarationError, match="nothing was built from this clone yet"):
        images.sizes.body.__wrapped__(None)
