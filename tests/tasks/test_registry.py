"""Nothing is removed that nobody agreed to."""

import json
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import pytest
from invoke.collection import Collection
from invoke.parser import Parser
from invoke.program import Program

from delivery import prompt
from delivery.errors import DeclarationError
from delivery.host import engines
from delivery.project import files
from delivery.project.declaration import Declaration
from delivery.retention import pruning
from delivery.retention.policy import PrunePlan, RegistryContents, StoredManifest, Use, Verdict
from delivery.tasks import registry

REMOVED = StoredManifest(
    "localhost:1/app", "sha256:" + "a" * 64, ("k1",), frozenset(), {"sha256:" + "a" * 64: 2_500_000}
)


@dataclass
class Done:
    """What the task asked for, and who is there."""

    told: dict[str, Any] = field(default_factory=dict)
    acted: list[str] = field(default_factory=list)
    terminal: bool = False
    typed: str = ""
    goes: bool = True


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch, declaration: Declaration) -> Done:
    made = Done()

    def find_uses(
        _declaration: Declaration, without: list[str], releases: list[str]
    ) -> tuple[Use, ...]:
        made.told = {"without": without, "in_use": releases}
        return ()

    def plan(*_: object) -> PrunePlan:
        contents = RegistryContents((), (REMOVED,), {}, {})
        verdicts = (Verdict(REMOVED, made.goes, "no release names it"),)
        return PrunePlan(contents, (), declaration.prune, date(2026, 11, 21), verdicts)

    monkeypatch.setattr(files, "load_declaration", lambda: declaration)
    monkeypatch.setattr(pruning, "find_uses", find_uses)
    monkeypatch.setattr(pruning, "plan", plan)
    monkeypatch.setattr(pruning, "prune", lambda *_: made.acted.append("prune"))
    monkeypatch.setattr(pruning, "collect_garbage", lambda *_: made.acted.append("collect"))
    monkeypatch.setattr(engines, "ensure", lambda: None)
    monkeypatch.setattr(prompt, "is_interactive", lambda: made.terminal)
    monkeypatch.setattr("builtins.input", lambda _prompt: made.typed)
    return made


def run(**arguments: Any) -> None:  # noqa: ANN401  # the task's flags
    task: Any = registry.prune
    task.body.__wrapped__(None, **arguments)


def test_where_nobody_can_be_asked_nothing_is_removed(
    done: Done, capsys: pytest.CaptureFixture[str]
) -> None:
    run()
    assert done.acted == []
    printed = capsys.readouterr().out
    assert "k1" in printed
    assert "no release names it" in printed
    assert "1 manifests to remove: 2.5 MB" in printed
    assert "--yes is not said" in printed


@pytest.mark.parametrize("terminal", [False, True])
def test_yes_is_enough(done: Done, *, terminal: bool) -> None:
    done.terminal = terminal
    run(yes=True)
    assert done.acted == ["prune"]


@pytest.mark.parametrize("terminal", [False, True])
def test_a_dry_run_removes_nothing_whatever_else_is_said(done: Done, *, terminal: bool) -> None:
    done.terminal = terminal
    run(yes=True, dry_run=True, collect=True)
    assert done.acted == []


def test_a_machine_reads_the_verdicts(done: Done, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["inv", "prune", "--dry-run", "--json"]
    Program(namespace=Collection(registry.prune)).run(line, exit=False)
    told = json.loads(capsys.readouterr().out)
    assert [(held["tags"], held["goes"]) for held in told["manifests"]] == [(["k1"], True)]
    assert (told["freed_bytes"], done.acted) == (2_500_000, [])


def test_at_a_terminal_it_is_typed(done: Done) -> None:
    done.terminal, done.typed = True, "yes"
    with pytest.raises(DeclarationError, match="not confirmed"):
        run()
    done.typed = "prune"
    run()
    assert done.acted == ["prune"]


def test_nothing_to_remove_is_no_question_but_is_remembered(done: Done) -> None:
    done.terminal, done.goes = True, False
    run()
    assert done.acted == ["prune"]


def test_bytes_are_collected_when_asked(done: Done) -> None:
    run(yes=True, collect=True)
    assert done.acted == ["prune", "collect"]


def test_flags_that_may_be_said_several_times_reach_the_step(done: Done) -> None:
    line = ["prune", "--without", "staging", "--in-use=release.json", "--without", "local"]
    (context,) = Parser(Collection(registry.prune).to_contexts()).parse_argv(line)
    run(**context.as_kwargs)
    assert done.told["without"] == ["staging", "local"]
    assert done.told["in_use"] == ["release.json"]
