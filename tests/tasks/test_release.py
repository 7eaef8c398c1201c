"""What is to be done is said first, and done after a yes."""

from collections.abc import Sequence
from typing import Any

import pytest
from invoke.collection import Collection
from invoke.context import Context
from invoke.program import Program

from delivery import prompt
from delivery.errors import DeclarationError
from delivery.project import files
from delivery.project.declaration import Declaration
from delivery.project.preparation import Preparation
from delivery.release import finishing, preparing
from delivery.release.finishing import Finish
from delivery.release.tagging import NewTag
from delivery.tasks import release
from tests.project.examples import version

APPS = version("apps", next="1.1.0", bump="minor", because="feat: a page")
PREPARED = Preparation(
    versions={"apps": APPS},
    texts={"api-rest/pyproject.toml": ""},
    subject="chore(release): apps 1.1.0",
    files={"apps": ("file",)},
)
TAG = NewTag("apps-v1.1.0", "apps 1.1.0\n\n### Added\n\n- A page.\n")


class Done:
    """What the tasks asked for, and what they find."""

    def __init__(self) -> None:
        self.did: list[str] = []
        self.told: Sequence[str] = ()
        self.prepared = PREPARED
        self.found = Finish((TAG,), "1.1.0", (), "main")
        self.unpublished = False
        self.answer: bool | None = None


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch, declaration: Declaration) -> Done:
    made = Done()

    def prepare(_declaration: Declaration, told: Sequence[str]) -> Preparation:
        made.told = told
        return made.prepared

    def finish(_declaration: Declaration, *, compare: Any) -> Finish:  # noqa: ANN401  # a function or None
        made.unpublished = compare is None
        return made.found

    monkeypatch.setattr(files, "load_declaration", lambda: declaration)
    monkeypatch.setattr(preparing, "plan", prepare)
    monkeypatch.setattr(preparing, "write", lambda prepared: made.did.append(prepared.subject))
    monkeypatch.setattr(finishing, "plan", finish)
    monkeypatch.setattr(
        finishing,
        "make_tags",
        lambda tags: made.did.append(f"tag {', '.join(tag.name for tag in tags)}"),
    )
    monkeypatch.setattr(finishing, "remote_address", lambda remote: f"https://example.com/{remote}")
    monkeypatch.setattr(
        finishing,
        "push_tags",
        lambda names, to: made.did.append(f"push {', '.join(names)} to {to}"),
    )
    monkeypatch.setattr(prompt, "is_interactive", lambda: made.answer is not None)
    monkeypatch.setattr(prompt, "ask_for_word", lambda _question, _wanted: made.answer)
    return made


def prepare(**flags: Any) -> None:  # noqa: ANN401  # the task's own
    release.prepare.body.__wrapped__(Context(), **flags)


def finish(**flags: Any) -> None:  # noqa: ANN401  # the task's own
    release.finish.body.__wrapped__(Context(), **flags)


def test_a_release_is_prepared_after_a_yes(done: Done, capsys: pytest.CaptureFixture[str]) -> None:
    done.answer = True
    prepare()
    done.answer = None
    prepare(yes=True)
    assert done.did == ["chore(release): apps 1.1.0"] * 2
    assert "feat: a page" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ([], ()),
        (
            ["--subproject", "apps=1.1.0", "--subproject", "base-image=2.0.0"],
            ["apps=1.1.0", "base-image=2.0.0"],
        ),
    ],
)
def test_a_command_line_may_name_several_subprojects(
    done: Done, line: list[str], told: Sequence[str]
) -> None:
    Program(namespace=Collection(release.prepare)).run(
        ["inv", "prepare", "--dry-run", *line], exit=False
    )
    assert done.told == told


@pytest.mark.parametrize("task", [prepare, finish])
@pytest.mark.parametrize(
    ("answer", "problem"), [(False, "not confirmed"), (None, "no terminal to confirm it")]
)
def test_without_a_yes_nothing_is_done(
    done: Done,
    task: Any,  # noqa: ANN401  # one of the two
    answer: bool | None,  # noqa: FBT001  # a row
    problem: str,
) -> None:
    done.answer = answer
    with pytest.raises(DeclarationError, match=problem):
        task()
    assert done.did == []


def test_a_dry_run_says_the_commit_and_makes_none(
    done: Done, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(dry_run=True, yes=True)
    assert done.did == []
    assert "it would be committed as: chore(release): apps 1.1.0" in capsys.readouterr().out


def test_nothing_to_prepare_is_said_and_not_asked(
    done: Done, capsys: pytest.CaptureFixture[str]
) -> None:
    done.prepared = Preparation({"apps": APPS}, {}, "", {"apps": ()})
    prepare()
    assert done.did == []
    assert "nothing to do" in capsys.readouterr().out


def test_tags_are_made_and_what_is_left_is_said(
    done: Done, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(yes=True)
    assert done.did == ["tag apps-v1.1.0"]
    said = capsys.readouterr().out
    assert "- A page." in said
    assert "git push --atomic origin apps-v1.1.0" in said
    assert "git merge --no-ff main" in said


def test_tags_are_pushed_when_that_is_asked_for(
    done: Done, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(yes=True, push="origin")
    assert done.did == ["tag apps-v1.1.0", "push apps-v1.1.0 to origin"]
    said = capsys.readouterr().out
    assert "to be pushed to origin, which is https://example.com/origin: apps-v1.1.0" in said
    assert "git push --atomic" not in said


def test_a_remote_that_is_not_there_stops_it_before_a_tag_is_made(
    done: Done, monkeypatch: pytest.MonkeyPatch
) -> None:
    def address(_remote: str) -> str:
        raise DeclarationError("push the tags to nowhere: it is no remote")

    monkeypatch.setattr(finishing, "remote_address", address)
    with pytest.raises(DeclarationError, match="it is no remote"):
        finish(yes=True, push="nowhere")
    assert done.did == []


def test_tags_that_are_there_are_pushed_without_being_made_again(done: Done) -> None:
    done.found = Finish((), "1.1.0", ("apps-v1.1.0",), "main")
    finish(yes=True, push="origin")
    assert done.did == ["push apps-v1.1.0 to origin"]


def test_a_dry_run_makes_no_tag_and_says_the_push_that_is_left(
    done: Done, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(dry_run=True, push="origin", yes=True)
    assert done.did == []
    assert "git push --atomic origin apps-v1.1.0" in capsys.readouterr().out


def test_nothing_to_tag_asks_nobody(done: Done, capsys: pytest.CaptureFixture[str]) -> None:
    done.found = Finish((), "1.1.0", (), "main")
    finish()
    assert done.did == []
    assert "nothing to tag: nothing changed since the last tags" in capsys.readouterr().out


@pytest.mark.parametrize("unpublished", [True, False])
def test_the_registry_is_asked_unless_that_is_left_out(done: Done, *, unpublished: bool) -> None:
    finish(yes=True, unpublished=unpublished)
    assert done.unpublished is unpublished
