"""`inv release.prepare` and `release.finish` act only after a confirmation."""

from collections.abc import Sequence
from typing import Any

import pytest
from invoke.collection import Collection
from invoke.program import Program

from delivery import prompt
from delivery.errors import DeclarationError
from delivery.project.declaration import Declaration
from delivery.project.preparation import Preparation
from delivery.release import finishing, preparing
from delivery.release.finishing import Finish
from delivery.release.tagging import NewTag
from delivery.tasks import release
from tests.project.examples import version
from tests.tasks.running import run

APPS = version("apps", next="1.1.0", bump="minor", because="feat: a page")
PREPARED = Preparation({"apps": APPS}, {"apps": {"api-rest/pyproject.toml": ""}})
TAG = NewTag("apps-v1.1.0", "apps 1.1.0\n\n### Added\n\n- A page.\n")


class Done:
    """The calls of the tasks, and the results that they get."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.subprojects: Sequence[str] = ()
        self.prepared = PREPARED
        self.finish = Finish((TAG,), "1.1.0", (), "main")
        self.unpublished = False
        self.answer: bool | None = None


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> Done:
    made = Done()

    def prepare(_declaration: Declaration, subprojects: Sequence[str]) -> Preparation:
        made.subprojects = subprojects
        return made.prepared

    def finish(_declaration: Declaration, *, unpublished: bool) -> Finish:
        made.unpublished = unpublished
        return made.finish

    monkeypatch.setattr(preparing, "plan", prepare)
    monkeypatch.setattr(preparing, "write", lambda prepared: made.calls.append(prepared.subject))
    monkeypatch.setattr(finishing, "plan", finish)
    monkeypatch.setattr(
        finishing,
        "make_tags",
        lambda tags: made.calls.append(f"tag {', '.join(tag.name for tag in tags)}"),
    )
    monkeypatch.setattr(finishing, "remote_address", lambda remote: f"https://example.com/{remote}")
    monkeypatch.setattr(
        finishing,
        "push_tags",
        lambda names, to: made.calls.append(f"push {', '.join(names)} to {to}"),
    )
    monkeypatch.setattr(prompt, "is_interactive", lambda: made.answer is not None)
    monkeypatch.setattr(prompt, "ask_for_word", lambda _question, _wanted: made.answer)
    return made


def test_prepare_after_a_confirmation(done: Done, capsys: pytest.CaptureFixture[str]) -> None:
    done.answer = True
    run(release.prepare)
    done.answer = None
    run(release.prepare, yes=True)
    assert done.calls == ["chore(release): apps 1.1.0"] * 2
    assert "feat: a page" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "subprojects"),
    [
        ([], ()),
        (
            ["--subproject", "apps=1.1.0", "--subproject", "base-image=2.0.0"],
            ["apps=1.1.0", "base-image=2.0.0"],
        ),
    ],
)
def test_subproject_may_be_repeated(
    done: Done, line: list[str], subprojects: Sequence[str]
) -> None:
    Program(namespace=Collection(release.prepare)).run(
        ["inv", "prepare", "--dry-run", *line], exit=False
    )
    assert done.subprojects == subprojects


@pytest.mark.parametrize("task", [release.prepare, release.finish])
@pytest.mark.parametrize(
    ("answer", "problem"), [(False, "not confirmed"), (None, "no terminal to confirm it")]
)
def test_nothing_is_done_without_a_confirmation(
    done: Done,
    task: Any,  # one of the two
    answer: bool | None,
    problem: str,
) -> None:
    done.answer = answer
    with pytest.raises(DeclarationError, match=problem):
        run(task)
    assert done.calls == []


def test_a_dry_run_of_prepare_prints_the_commit(
    done: Done, capsys: pytest.CaptureFixture[str]
) -> None:
    run(release.prepare, dry_run=True, yes=True)
    assert done.calls == []
    assert "the commit would be: chore(release): apps 1.1.0" in capsys.readouterr().out


def test_nothing_to_prepare_needs_no_confirmation(
    done: Done, capsys: pytest.CaptureFixture[str]
) -> None:
    done.prepared = Preparation({"apps": APPS}, {"apps": {}})
    run(release.prepare)
    assert done.calls == []
    assert "nothing to do" in capsys.readouterr().out


def test_finish_makes_tags_and_prints_the_next_commands(
    done: Done, capsys: pytest.CaptureFixture[str]
) -> None:
    run(release.finish, yes=True)
    assert done.calls == ["tag apps-v1.1.0"]
    printed = capsys.readouterr().out
    assert "- A page." in printed
    assert "git push --atomic origin apps-v1.1.0" in printed
    assert "git merge --no-ff main" in printed


def test_finish_pushes_tags(done: Done, capsys: pytest.CaptureFixture[str]) -> None:
    run(release.finish, yes=True, push="origin")
    assert done.calls == ["tag apps-v1.1.0", "push apps-v1.1.0 to origin"]
    printed = capsys.readouterr().out
    assert "to be pushed to origin (https://example.com/origin): apps-v1.1.0" in printed
    assert "git push --atomic" not in printed


def test_an_unknown_remote_makes_no_tag(done: Done, monkeypatch: pytest.MonkeyPatch) -> None:
    def address(_remote: str) -> str:
        raise DeclarationError("push the tags to nowhere: it is no remote")

    monkeypatch.setattr(finishing, "remote_address", address)
    with pytest.raises(DeclarationError, match="it is no remote"):
        run(release.finish, yes=True, push="nowhere")
    assert done.calls == []


def test_existing_tags_are_only_pushed(done: Done) -> None:
    done.finish = Finish((), "1.1.0", ("apps-v1.1.0",), "main")
    run(release.finish, yes=True, push="origin")
    assert done.calls == ["push apps-v1.1.0 to origin"]


def test_a_dry_run_of_finish_prints_the_push(
    done: Done, capsys: pytest.CaptureFixture[str]
) -> None:
    run(release.finish, dry_run=True, push="origin", yes=True)
    assert done.calls == []
    assert "git push --atomic origin apps-v1.1.0" in capsys.readouterr().out


def test_nothing_to_tag_needs_no_confirmation(
    done: Done, capsys: pytest.CaptureFixture[str]
) -> None:
    done.finish = Finish((), "1.1.0", (), "main")
    run(release.finish)
    assert done.calls == []
    assert "nothing to tag: nothing changed since the last tags" in capsys.readouterr().out


@pytest.mark.parametrize("unpublished", [True, False])
def test_unpublished_skips_the_registry(done: Done, *, unpublished: bool) -> None:
    run(release.finish, yes=True, unpublished=unpublished)
    assert done.unpublished is unpublished
