"""`inv registry.prune` removes nothing without a confirmation."""

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
from delivery.project.declaration import Declaration
from delivery.retention import pruning
from delivery.retention.policy import PrunePlan, RegistryContents, StoredManifest, Use, Verdict
from delivery.tasks import registry
from tests.tasks.running import run

REMOVED = StoredManifest(
    "localhost:1/app", "sha256:" + "a" * 64, ("k1",), frozenset(), {"sha256:" + "a" * 64: 2_500_000}
)


@dataclass
class Done:
    """The arguments and the calls of the task, and the answers that it gets."""

    arguments: dict[str, Any] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    terminal: bool = False
    typed: str = ""
    removes: bool = True


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch, declaration: Declaration) -> Done:
    made = Done()

    def find_uses(
        _declaration: Declaration, without: list[str], releases: list[str]
    ) -> tuple[Use, ...]:
        made.arguments = {"without": without, "in_use": releases}
        return ()

    def plan(*_: object) -> PrunePlan:
        contents = RegistryContents((), (REMOVED,), {}, {})
        verdicts = (Verdict(REMOVED, made.removes, "no release names it"),)
        return PrunePlan(contents, (), declaration.prune, date(2026, 11, 21), verdicts)

    monkeypatch.setattr(pruning, "find_uses", find_uses)
    monkeypatch.setattr(pruning, "plan", plan)
    monkeypatch.setattr(pruning, "prune", lambda *_: made.calls.append("prune"))
    monkeypatch.setattr(pruning, "collect_garbage", lambda *_: made.calls.append("collect"))
    monkeypatch.setattr(engines, "ensure", lambda: None)
    monkeypatch.setattr(prompt, "is_interactive", lambda: made.terminal)
    monkeypatch.setattr("builtins.input", lambda _prompt: made.typed)
    return made


def test_without_a_terminal_nothing_is_removed(
    done: Done, capsys: pytest.CaptureFixture[str]
) -> None:
    run(registry.prune)
    assert done.calls == []
    printed = capsys.readouterr().out
    assert "k1" in printed
    assert "no release names it" in printed
    assert "1 manifest to remove: 2.5 MB" in printed
    assert "pass --yes" in printed


@pytest.mark.parametrize("terminal", [False, True])
def test_yes_confirms(done: Done, *, terminal: bool) -> None:
    done.terminal = terminal
    run(registry.prune, yes=True)
    assert done.calls == ["prune"]


@pytest.mark.parametrize("terminal", [False, True])
def test_a_dry_run_removes_nothing(done: Done, *, terminal: bool) -> None:
    done.terminal = terminal
    run(registry.prune, yes=True, dry_run=True, collect=True)
    assert done.calls == []


def test_verdicts_as_json(done: Done, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["inv", "prune", "--dry-run", "--json"]
    Program(namespace=Collection(registry.prune)).run(line, exit=False)
    output = json.loads(capsys.readouterr().out)
    assert [(item["tags"], item["goes"]) for item in output["manifests"]] == [(["k1"], True)]
    assert (output["freed_bytes"], done.calls) == (2_500_000, [])


def test_a_terminal_confirms_by_a_word(done: Done) -> None:
    done.terminal, done.typed = True, "yes"
    with pytest.raises(DeclarationError, match="not confirmed"):
        run(registry.prune)
    done.typed = "prune"
    run(registry.prune)
    assert done.calls == ["prune"]


def test_nothing_to_remove_needs_no_confirmation(done: Done) -> None:
    done.terminal, done.removes = True, False
    run(registry.prune)
    assert done.calls == ["prune"]


def test_collect_frees_the_disk_space(done: Done) -> None:
    run(registry.prune, yes=True, collect=True)
    assert done.calls == ["prune", "collect"]


def test_repeated_flags_are_passed_on(done: Done) -> None:
    line = ["prune", "--without", "staging", "--in-use=release.json", "--without", "local"]
    (context,) = Parser(Collection(registry.prune).to_contexts()).parse_argv(line)
    run(registry.prune, **context.as_kwargs)
    assert done.arguments["without"] == ["staging", "local"]
    assert done.arguments["in_use"] == ["release.json"]
