"""`inv plan`, `build`, `push` and `images.sizes`."""

import json
from pathlib import Path
from typing import Any

import pytest

from delivery import console
from delivery.build import building, planning
from delivery.build.plan import Images, Plan, PlannedChart
from delivery.errors import DeclarationError, Problem, RegistryError
from delivery.host import engines
from delivery.platform import lifecycle
from delivery.project import files, gather
from delivery.project.declaration import Declaration
from delivery.project.facts import Ref
from delivery.project.gitflow import decide
from delivery.registry import client, layers, local_registry
from delivery.registry.layers import Layer
from delivery.release import preflight
from delivery.release.released import Release, ReleasedPart
from delivery.tasks import images
from tests.tasks.running import run


@pytest.fixture(autouse=True)
def _decision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        gather,
        "load_decision",
        lambda declared, _root, branch: decide(Ref("branch", branch), declared),
    )
    monkeypatch.setattr(client, "is_reachable", lambda _address: False)


def planned(monkeypatch: pytest.MonkeyPatch, declaration: Declaration, **fields: Any) -> Plan:
    """Make the plan of this clone one of develop without images, with these further fields."""
    chart = PlannedChart("r/platform-chart", "k", "", "1.0.0", "", "1.0.0")
    plan = Plan(
        "c" * 40, decide(Ref("branch", "develop"), declaration), (), Images(()), chart, **fields
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
def test_say_prints_one_fact(
    capsys: pytest.CaptureFixture[str], branch: str, pushes: str, environment: str, approval: str
) -> None:
    facts = {"pushes": pushes, "environment": environment, "approval": approval}
    for fact, text in facts.items():
        run(images.plan, branch=branch, say=fact)
        assert capsys.readouterr().out == f"{text}\n"


def test_a_preview_is_said_by_the_declared_name_and_pushes_images(
    capsys: pytest.CaptureFixture[str], with_previews: Declaration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "load_declaration", lambda: with_previews)
    for fact, text in {"pushes": "images", "environment": "preview", "approval": "false"}.items():
        run(images.plan, branch="feature/x", say=fact)
        assert capsys.readouterr().out == f"{text}\n"


def test_an_unknown_fact_is_an_error() -> None:
    with pytest.raises(DeclarationError) as caught:
        run(images.plan, say="size")
    assert caught.value.hint == "choose from pushes, environment, approval"


def test_a_written_plan_can_be_read(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    declaration: Declaration,
    tmp_path: Path,
) -> None:
    plan = planned(monkeypatch, declaration)
    file = tmp_path / "plan.json"
    run(images.plan, file=str(file))
    assert capsys.readouterr().out.splitlines()[-1] == f"written to {file}"
    assert planning.read(file) == plan
    planning.check_unchanged(file, plan)
    with console.to_stderr():
        run(images.plan, file=str(file), json_=True)
    printed = capsys.readouterr()
    assert json.loads(printed.out) == json.loads(file.read_text())
    assert printed.err == f"written to {file}\n"


@pytest.mark.parametrize("content", [b"# Title\n", b"[1]", b'{"name": "another"}', b"\xff"])
def test_a_file_that_is_no_plan_is_not_overwritten(
    monkeypatch: pytest.MonkeyPatch, declaration: Declaration, tmp_path: Path, content: bytes
) -> None:
    planned(monkeypatch, declaration)
    file = tmp_path / "README.md"
    file.write_bytes(content)
    with pytest.raises(DeclarationError) as caught:
        run(images.plan, file=str(file))
    assert caught.value.message == f"cannot write the plan {file}: the file exists and is no plan"
    assert caught.value.hint
    assert file.read_bytes() == content


def test_an_empty_file_may_become_a_plan(
    monkeypatch: pytest.MonkeyPatch, declaration: Declaration, tmp_path: Path
) -> None:
    plan = planned(monkeypatch, declaration)
    file = tmp_path / "plan.json"
    file.touch()
    run(images.plan, file=str(file))
    assert planning.read(file) == plan


def test_a_file_that_cannot_be_written_is_an_error(
    monkeypatch: pytest.MonkeyPatch, declaration: Declaration, tmp_path: Path
) -> None:
    planned(monkeypatch, declaration)
    (tmp_path / "plain").write_text("")
    with pytest.raises(DeclarationError, match="cannot write the plan"):
        run(images.plan, file=str(tmp_path / "plain" / "plan.json"))
    with pytest.raises(DeclarationError, match="No such file or directory") as caught:
        run(images.plan, file=str(tmp_path / "missing folder" / "plan.json"))
    assert caught.value.hint.startswith(
        f"create its folder by `mkdir -p '{tmp_path / 'missing folder'}'`"
    )
    assert not (tmp_path / "missing folder").exists()


PROBLEMS = (Problem("one thing", "`do this`", "seen", "registry"), Problem("another", "`do that`"))


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch, declaration: Declaration) -> Plan:
    """A plan with two problems."""
    images._checked_plan.cache_clear()
    return planned(
        monkeypatch, declaration, problems=PROBLEMS, unchecked=("signatures: no cosign",)
    )


def test_problems_are_printed_and_give_the_exit_code(
    stopped: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RegistryError, match=r"cannot publish 1\.0\.0: 2 problems"):
        run(images.plan)
    printed = capsys.readouterr().out.splitlines()
    assert "not checked: signatures: no cosign" in printed
    lines = ["one thing", "  seen", "  hint: `do this`", "another", "  hint: `do that`"]
    assert printed[printed.index("problems") :] == ["problems", *(f"  {line}" for line in lines)]
    with pytest.raises(RegistryError):
        run(images.plan, json_=True)
    problems = json.loads(capsys.readouterr().out)["problems"]
    assert [problem["hint"] for problem in problems] == ["`do this`", "`do that`"]
    assert stopped.problems == PROBLEMS


@pytest.mark.parametrize("task", ["build", "push"])
@pytest.mark.parametrize("answers", [True, False])
def test_a_plan_with_problems_starts_and_builds_nothing(
    stopped: Plan, monkeypatch: pytest.MonkeyPatch, task: str, *, answers: bool
) -> None:
    def unexpected(*_arguments: object) -> None:
        raise AssertionError("nothing is started or built")

    monkeypatch.setattr(client, "is_reachable", lambda _address: answers)
    monkeypatch.setattr(
        local_registry, "connect", (lambda _declaration: None) if answers else unexpected
    )
    monkeypatch.setattr(building, "build", unexpected)
    monkeypatch.setattr(engines, "ensure", unexpected)
    with pytest.raises(RegistryError, match="2 problems") as caught:
        run(getattr(images, task))
    assert "  hint: `do that`" in caught.value.details.splitlines()
    assert stopped.decision.pushes


@pytest.mark.parametrize("json_", [False, True])
def test_sizes_are_shown_by_layer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, json_: bool
) -> None:
    known = [
        Layer("sha256:" + "a" * 64, 1_000_000, 3_000_000),
        Layer("sha256:" + "b" * 64, 500_000, 1_500_000),
    ]
    image = ReleasedPart("localhost:5001/api-rest", "k", "sha256:" + "c" * 64)
    monkeypatch.setattr(lifecycle, "released", lambda: Release({"api-rest": image}))
    monkeypatch.setattr(layers, "read_sizes", lambda *_: {"": known})
    run(images.sizes, json_=json_)
    printed = capsys.readouterr().out
    if json_:
        assert json.loads(printed) == {"api-rest": [vars(layer) for layer in known]}
    else:
        assert "api-rest 4.5 MB 1.5 MB aaaaaaaaaaaa bbbbbbbbbbbb" in " ".join(printed.split())


def test_sizes_of_an_image_for_several_platforms_are_shown_for_each(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = [Layer("sha256:" + "a" * 64, 1_000_000, 3_000_000)]
    image = ReleasedPart("localhost:5001/api-rest", "k", "sha256:" + "c" * 64)
    monkeypatch.setattr(lifecycle, "released", lambda: Release({"api-rest": image}))
    monkeypatch.setattr(layers, "read_sizes", lambda *_: {"linux/amd64": known, "linux/arm64": []})
    run(images.sizes, json_=True)
    printed = json.loads(capsys.readouterr().out)
    assert [*printed] == ["api-rest linux/amd64", "api-rest linux/arm64"]


def test_before_a_release_there_are_no_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "released", lambda: None)
    with pytest.raises(DeclarationError, match="nothing was built from this clone yet"):
        run(images.sizes)
